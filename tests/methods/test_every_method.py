"""What all pre-training methods have in common: what is trained, when, that they learn, and whole runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.optim import SGD, Adam

from hiclr.encoders.checkpoint import load_encoder
from hiclr.methods.aimclr import AimCLR
from hiclr.methods.base import Learner
from hiclr.methods.crossclr import CrosSCLR
from hiclr.methods.hiclr import HiCLR
from hiclr.methods.skeletonclr import SkeletonCLR
from hiclr.transforms import RandomMask, Rotate, Shear, SkeletonAdaIN, TemporalCrop
from learners import KINECT, METHODS, PerJoint, attached, poses, small, tiny_stgcn
from runs import assert_same_state, checkpoint, metrics, prepared, run

every_method = pytest.mark.parametrize("kind", METHODS, ids=lambda kind: kind.__name__)

# --- what is trained ------------------------------------------------------------------------------


def masks(learner: Learner) -> list[torch.nn.Parameter]:
    return [module.value for module in learner.modules() if isinstance(module, RandomMask)]


@every_method
def test_the_optimizer_has_queries_and_masks_and_nothing_else(kind: type[Learner]) -> None:
    learner = small(kind)
    attached(learner, max_epochs=300)
    (group,) = learner.configure_optimizers().param_groups
    queries = [p for stream in learner.streams for p in learner.contrast_of(stream).query.parameters()]
    assert {id(p) for p in group["params"]} == {id(p) for p in [*queries, *masks(learner)]}
    assert len(group["params"]) == len(queries) + len(masks(learner))
    chosen = {name: group[name] for name in ("lr", "momentum", "weight_decay", "nesterov", "dampening")}
    assert chosen == {"lr": 0.1, "momentum": 0.9, "weight_decay": 1e-4, "nesterov": False, "dampening": 0}


@every_method
def test_an_optimizer_of_ones_own(kind: type[Learner]) -> None:
    learner = small(kind, optimizer=partial(Adam, lr=3e-4))
    attached(learner)
    optimizer = learner.configure_optimizers()
    assert isinstance(optimizer, Adam) and optimizer.param_groups[0]["lr"] == 3e-4


@every_method
def test_two_learners_share_nothing(kind: type[Learner]) -> None:
    first, second = small(kind), small(kind)
    assert not {id(p) for p in first.parameters()} & {id(p) for p in second.parameters()}


@every_method
def test_steps_move_all_that_should_move(kind: type[Learner]) -> None:
    learner = small(kind, encoder=PerJoint, key_momentum=0.5)
    attached(learner)
    optimizer = learner.configure_optimizers()
    before = {name: value.clone() for name, value in learner.state_dict().items()}
    for step in range(2):  # the key moves on the second step: it follows before the first one changes the query
        optimizer.zero_grad()
        learner.training_step(poses(seed=step), step).backward()
        optimizer.step()
    unmoved = [name for name, value in learner.state_dict().items() if torch.equal(value, before[name])]
    assert unmoved == []


@every_method
def test_settings_are_plain_and_name_the_method(kind: type[Learner]) -> None:
    settings = small(kind).settings
    assert json.loads(json.dumps(settings)) == settings
    assert settings["method"] == kind.__name__ and settings["temperature"] == 0.07


# --- when -----------------------------------------------------------------------------------------


# NTU and PKU-MMD I and II, as published
@every_method
@pytest.mark.parametrize(("epochs", "drop", "mining"), [(300, 250, 150), (600, 500, 300), (1500, 1250, 750)])
def test_published_epochs(kind: type[Learner], epochs: int, drop: int, mining: int) -> None:
    learner = small(kind)
    attached(learner, max_epochs=epochs)
    learner.trainer.optimizers = [learner.configure_optimizers()]
    rates, mined = [], []
    for epoch in range(epochs):
        learner.trainer.current_epoch = epoch  # type: ignore[misc]
        learner.on_train_epoch_start()
        rates.append(learner.trainer.optimizers[0].param_groups[0]["lr"])
        mined.append(learner.second_stage)
    assert rates[:drop] == [0.1] * drop and rates[drop:] == pytest.approx([0.01] * (epochs - drop))
    first = epochs if kind is SkeletonCLR else mining
    assert mined == [epoch >= first for epoch in range(epochs)]


STARTS: dict[type[Learner], str] = {HiCLR: "mining_start", AimCLR: "mining_start", CrosSCLR: "cross_start"}


@pytest.mark.parametrize("kind", STARTS)
@pytest.mark.parametrize(
    ("share", "epoch", "mined"), [(0.5, 4, False), (0.5, 5, True), (0.0, 0, True), (1.0, 9, False)]
)
def test_mining_starts_at_its_share(kind: type[Learner], share: float, epoch: int, mined: bool) -> None:
    losses = []
    for start in (share, 1.0):
        learner = small(kind, encoder=PerJoint, **{STARTS[kind]: start})
        attached(learner, epoch)
        losses.append(learner.training_step(poses(), 0).item())
    assert (losses[0] != losses[1]) is mined


# --- whether it learns ----------------------------------------------------------------------------

GENTLE = [TemporalCrop(), Shear(0.1)]
LEARNERS: dict[str, Callable[..., Learner]] = {
    "SkeletonCLR": partial(SkeletonCLR, augmentation=GENTLE),
    "AimCLR": partial(AimCLR, basic=GENTLE, extreme=[Rotate(5.0)], mining_start=1.0),
    "CrosSCLR": partial(CrosSCLR, augmentation=GENTLE, cross_start=1.0),
    **{
        f"HiCLR with {name}": partial(HiCLR, arrangement=[GENTLE, [Rotate(5.0)], strong], mining_start=1.0)
        for name, strong in {"Mask": "Mask", "AdaIN": [SkeletonAdaIN()], "DAE": "DAE"}.items()
    },
}


@pytest.mark.parametrize("name", LEARNERS)
def test_the_loss_falls_on_people_who_are_easy_to_tell_apart(name: str) -> None:
    torch.manual_seed(0)
    # 24 people in poses of their own, every joint moving in a direction of its own
    pose, direction = 3 * torch.randn(24, 3, 1, 20, 1), torch.randn(24, 3, 1, 20, 1)
    x = pose + direction * torch.linspace(-1, 1, 8).view(1, 1, 8, 1, 1)
    optimizer_of = partial(SGD, lr=0.02, momentum=0.9)
    learner = LEARNERS[name](KINECT, encoder=tiny_stgcn, queue_size=24, key_momentum=0.9, optimizer=optimizer_of)
    terms = attached(learner)
    optimizer = learner.configure_optimizers()
    losses = []
    for step in range(31):
        optimizer.zero_grad()
        learner.training_step(x, step).backward()
        optimizer.step()
        losses.append(terms["loss"].item())
    # in the first step the queue holds random keys, which nothing is like
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[1:6])


# --- runs -----------------------------------------------------------------------------------------


def methods(**settings: Any) -> dict[str, Callable[..., Learner]]:
    return {kind.__name__: partial(kind, encoder=partial(tiny_stgcn), queue_size=16, **settings) for kind in METHODS}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepared(tmp_path_factory.mktemp("data") / "tiny")


class Killed(BaseException):
    """What nothing catches."""


@every_method
def test_trains_saves_and_goes_on_as_if_never_stopped(
    kind: type[Learner], root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three epochs of two steps; the second form of the loss begins with the last one."""
    method = methods()[kind.__name__]
    whole = run(root, tmp_path / "whole", method, max_epochs=3)
    rows = metrics(whole)
    assert np.isfinite(rows.to_numpy()).all() and {"loss", "info", "queue_similarity", "feature_spread"} <= set(rows)
    assert len(rows) == 3

    step = kind.training_step

    def deadly(self: Any, x: torch.Tensor, i: int) -> Any:
        if self.global_step == 4:
            raise Killed
        return step(self, x, i)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(kind, "training_step", deadly)
        run(root, tmp_path / "killed", method, max_epochs=3)
    torch.manual_seed(99)
    run(root, tmp_path / "killed", method, max_epochs=3, ckpt_path=Path("last"))
    assert_same_state(tmp_path / "killed", whole)
    assert metrics(tmp_path / "killed").equals(rows)


@every_method
def test_the_encoder_of_a_run_comes_back(kind: type[Learner], root: Path, tmp_path: Path) -> None:
    out = run(root, tmp_path / "out", methods()[kind.__name__], max_epochs=1)
    streams: Any = ("joint", "motion", "bone") if kind is CrosSCLR else ("joint",)
    if len(streams) > 1:
        with pytest.raises(ValueError, match="an encoder for each of joint, motion, bone: choose one with --stream"):
            load_encoder(out)
    state = checkpoint(out)["state_dict"]
    for stream in streams:
        trained = load_encoder(out, stream)
        assert (
            trained.stream == stream
            and trained.streams == streams
            and trained.run["learner"]["method"] == kind.__name__
        )
        for name, value in trained.encoder.state_dict().items():
            assert torch.equal(value, state[f"contrasts.{stream}.query.encoder.{name}"])
    biases = [value for name, value in state.items() if name.endswith("query.encoder.blocks.0.graph.weight")]
    assert len(torch.stack(biases).flatten(1).unique(dim=0)) == len(streams), "each stream its own"
