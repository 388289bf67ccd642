"""Sick training is found: before the first step in settings, data and views, while it runs in its figures."""

from __future__ import annotations

import math
import warnings
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.optim import SGD

from hiclr.data.module import Batches
from hiclr.encoders.base import EdgeChange
from hiclr.encoders.stgcn import STGCN
from hiclr.methods.classifier import Classifier
from hiclr.methods.health import CollapseWatch, LossWatch, Remarks, check_before, remarks
from hiclr.methods.hiclr import HiCLR
from hiclr.methods.skeletonclr import SkeletonCLR
from hiclr.skeleton import Skeleton
from hiclr.transforms import AxisMask, RandomMask, Shear
from learners import KINECT, METHODS, Flat, attached, small
from runs import prepared, run


def batches(n: int = 8, batch_size: int = 4, change: Any = None, frames: int = 6) -> Batches[Tensor]:
    x = np.random.default_rng(0).normal(0, 0.3, (n, 3, frames, 20, 2)).astype(np.float32)
    if change is not None:
        change(x)
    return Batches(x, np.arange(n), batch_size, drop_last=True)


# --- before the first step ------------------------------------------------------------------------


@pytest.mark.parametrize("kind", METHODS)
def test_what_is_healthy_passes_and_nothing_is_drawn_or_changed(kind: Any) -> None:
    learner, ours = small(kind), batches()
    before, chance = {k: v.clone() for k, v in learner.state_dict().items()}, torch.get_rng_state()
    check_before(learner, ours)
    assert torch.equal(torch.get_rng_state(), chance) and ours.epoch == 0
    assert all(torch.equal(value, before[name]) for name, value in learner.state_dict().items())


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_every_row_is_looked_at_and_the_broken_ones_are_counted(number: float) -> None:
    def broken(x: Any) -> None:
        x[[137, 2999], 1, 0, 3, 1] = number

    ours = Batches(batches(3000, change=broken, frames=1)._sequences, np.arange(100, 3000), 4)
    with pytest.raises(ValueError, match=r"2 of 2900 sequences hold NaN or infinite numbers, the first in row 137 of"):
        check_before(small(SkeletonCLR), ours)


def test_numbers_that_are_not_trained_on_do_not_matter() -> None:
    def broken(x: Any) -> None:
        x[7] = np.nan

    check_before(small(SkeletonCLR), Batches(batches(change=broken)._sequences, np.arange(7), 4))


@pytest.mark.parametrize(("batch_size", "processes", "least"), [(1, 1, 2), (2, 2, 4), (6, 4, 8)])
def test_a_process_with_less_than_two_sequences_is_refused(batch_size: int, processes: int, least: int) -> None:
    with pytest.raises(
        ValueError, match=rf"batch_size {batch_size} is too small.* set --data.batch_size to at least {least}"
    ):
        check_before(small(SkeletonCLR), batches(8, batch_size), processes)
    check_before(small(SkeletonCLR), batches(8, least), processes)


def test_a_classifier_may_learn_from_one_sequence() -> None:
    check_before(Classifier(Flat(KINECT), "joint", ["a", "b"]), batches(1, 1))


SIGHTLESS: dict[str, Any] = {
    "all axes": [AxisMask(1.0)] * 30,
    "too strong": [Shear(1e30), Shear(1e30)],
}


@pytest.mark.parametrize("kind", METHODS)
@pytest.mark.parametrize("case", SIGHTLESS)
def test_views_that_leave_nothing_or_no_numbers_are_refused_in_every_method(kind: Any, case: str) -> None:
    name = "arrangement" if kind is HiCLR else "basic" if hasattr(small(kind), "basic") else "augmentation"
    level = SIGHTLESS[case]
    learner = small(kind, **{name: [level] if kind is HiCLR else level})
    said = "nothing is left of 100% of the sequences after AxisMask" if case == "all axes" else "not finite come out of"
    with pytest.raises(ValueError, match=said):
        check_before(learner, batches())


def test_hiding_now_and_then_is_no_sickness() -> None:
    """Three axes at half each: an eighth of the draws hides the whole of a sequence, if that."""
    check_before(small(SkeletonCLR, augmentation=[AxisMask(0.5)] * 3), batches(64))


@pytest.mark.parametrize("joints", [2, 3, 5, 7, 20, 49, 67])
def test_the_ratio_that_a_mask_is_told_to_have_at_least_hides_one_joint(joints: int) -> None:
    skeleton = Skeleton("chain", tuple(f"j{i}" for i in range(joints)), tuple(range(-1, joints - 1)))
    with pytest.raises(ValueError, match=rf"of {joints} joints hides none: use at least (0\.\d+)") as refused:
        RandomMask(0.5 / joints).fitted(skeleton)
    mask = RandomMask(float(str(refused.value).split()[-1])).fitted(skeleton)
    x = torch.randn(4, 3, 5, joints, 1)
    assert (mask(x) == 0).all(1).sum(2).eq(1).all(), "one of the joints in every frame"


@pytest.mark.parametrize("joints", [2, 3, 5, 20])
@pytest.mark.parametrize("ratio", [0.99, math.nextafter(1, 0)])
def test_a_mask_never_hides_every_joint(joints: int, ratio: float) -> None:
    skeleton = Skeleton("chain", tuple(f"j{i}" for i in range(joints)), tuple(range(-1, joints - 1)))
    x = torch.randn(4, 3, 5, joints, 1)
    assert (RandomMask(ratio).fitted(skeleton)(x) != 0).all(1).sum(2).eq(1).all(), "one is left in every frame"


# --- what is said ---------------------------------------------------------------------------------


def test_only_a_queue_longer_than_the_data_is_remarked_on() -> None:
    learner = small(SkeletonCLR, queue_size=256)
    assert remarks(learner, 431) == [] and remarks(learner, 256) == []  # recipes/small.yaml on UTD-MHAD
    (said,) = remarks(learner, 128)
    assert said == (
        "The queue of 256 keys is longer than the 128 training sequences: each is contrasted with about 2.0 past keys "
        "of its own; fewer: --method.queue_size 64"
    )


def test_the_first_process_alone_says_what_is_known() -> None:
    said: list[str] = []
    for first in (True, False):
        trainer: Any = SimpleNamespace(is_global_zero=first)
        Remarks(["one", "two"], said.append).on_train_start(trainer, small(SkeletonCLR))
    assert said == ["one", "two"]


# --- while it runs --------------------------------------------------------------------------------

GUESSING = math.log(256)


def warned(epoch: int, info: float, spread: float, similarity: float = 0.1, mined: bool = False) -> list[str]:
    learner = small(HiCLR, mining_start=0.0 if mined else 1.0)
    attached(learner, epoch - 1)
    learner.figures = {"loss": 9.0, "info": info, "feature_spread": spread, "queue_similarity": similarity}
    trainer: Any = SimpleNamespace(current_epoch=epoch - 1)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        CollapseWatch(negatives=255).on_train_epoch_end(trainer, learner)
    return [str(warning.message) for warning in caught]


@pytest.mark.parametrize(
    ("epoch", "info", "spread", "similarity", "expected"),
    [
        (5, GUESSING, 0.9, 0.1, True),
        (10, 0.99 * GUESSING, 0.9, 0.1, True),
        (5, 0.9 * GUESSING, 0.9, 0.1, False),
        (5, 3 * GUESSING, 0.9, 0.1, True),  # far above guessing
        (5, 1.0, 0.01, 0.1, True),
        (5, 1.0, 0.1, 0.1, False),
        (5, 1.0, 0.9, 0.995, True),  # whatever the batch, the queue is one point
        (5, 1.0, 0.9, 0.98, False),
        (4, GUESSING, 0.01, 1.0, False),  # too early to say
        (11, GUESSING, 0.01, 1.0, False),  # was said after epoch 10
    ],
)
def test_collapse_is_noticed(epoch: int, info: float, spread: float, similarity: float, expected: bool) -> None:
    said = warned(epoch, info, spread, similarity)
    assert len(said) == expected
    assert all(f"epoch {epoch}: training looks collapsed" in sentence for sentence in said)


def test_mined_positives_may_cost_more_than_guessing() -> None:
    assert not warned(5, 1.2 * GUESSING, 0.9, mined=True)
    assert warned(5, 1.2 * GUESSING, 0.01, mined=True), "features that are alike are sick in any stage"


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_no_number_is_refused_in_any_epoch(loss: float) -> None:
    learner = small(HiCLR)
    learner.figures = {"loss": loss, "info": 1.0, "feature_spread": 0.9, "queue_similarity": 0.1}
    for epoch, kept in [(1, False), (3, True)]:
        trainer: Any = SimpleNamespace(current_epoch=epoch - 1)
        with pytest.raises(
            ValueError, match=rf"the loss is {loss} in epoch {epoch}: lower the learning rate"
        ) as refused:
            CollapseWatch(negatives=255).on_train_epoch_end(trainer, learner)
        assert ("the checkpoint of epoch 2 is kept" in str(refused.value)) is kept


@pytest.mark.parametrize(("epoch", "loss", "expected"), [(5, 50.0, True), (5, 20.0, False), (4, 1e9, False)])
def test_a_classifier_far_above_guessing_is_noticed(epoch: int, loss: float, expected: bool) -> None:
    stub: Any = SimpleNamespace(current_epoch=epoch - 1, figures={"loss": loss})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        LossWatch(classes=27).on_train_epoch_end(stub, stub)
    assert len(caught) == expected


@pytest.mark.parametrize("dead", [True, False])
def test_a_collapsed_run_says_so_and_a_healthy_one_does_not(tmp_path: Path, dead: bool) -> None:
    """People standing still in poses of their own; in the dead run the features hardly differ."""
    poses = 3 * np.random.default_rng(0).normal(0, 1, (24, 3, 1, 20, 2)).astype(np.float32)
    data = prepared(tmp_path / "poses", sequences=poses.repeat(16, axis=2))

    class Scaled(STGCN):
        def forward(self, x: Tensor, edges: EdgeChange | None = None) -> Tensor:
            return (1e-3 if dead else 1.0) * super().forward(x, edges)

    method = partial(
        HiCLR,
        queue_size=16,
        encoder=partial(Scaled, width=4, dropout=0.0, init="pytorch"),
        arrangement=[[Shear(0.1)]],
        key_momentum=0.9,
        optimizer=partial(SGD, lr=0.0 if dead else 0.05, momentum=0.9),
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run(data, tmp_path / "out", method, max_epochs=5)
    said = [str(warning.message) for warning in caught if "collapsed" in str(warning.message)]
    assert len(said) == dead
    assert all("epoch 5" in sentence for sentence in said)
