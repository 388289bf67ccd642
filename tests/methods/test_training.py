"""A run from a prepared folder to a checkpoint: whole, repeatable, and resumed as if never stopped."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from lightning.pytorch import Trainer
from torch import Tensor
from torch.optim import SGD

import runs
from hiclr.cli import pretrain
from hiclr.data.module import SkeletonData
from hiclr.encoders.checkpoint import CHECKPOINT_KEY, LAST_CHECKPOINT, load_encoder
from hiclr.encoders.stgcn import STGCN
from hiclr.methods.aimclr import AimCLR
from hiclr.methods.checkpoints import LOCK
from hiclr.methods.hiclr import HiCLR
from hiclr.methods.training import METRICS, RUN, EpochLog, resume_point
from hiclr.skeleton import Skeleton
from hiclr.transforms import RandomMask, Rotate, Shear
from runs import KINECT, assert_same_state, checkpoint, metrics, prepared

FIVE = Skeleton("five", ("chest", "shoulder_left", "shoulder_right", "hand_left", "hand_right"), (-1, 0, 0, 1, 2))
small = partial(HiCLR, encoder=partial(STGCN, width=4, init="pytorch"), queue_size=16)


def run(root: Path, out: Path, method: Any = small, max_epochs: int = 4, **options: Any) -> Path:
    return runs.run(root, out, method, max_epochs, **options)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepared(tmp_path_factory.mktemp("data") / "tiny")


@pytest.fixture(scope="module")
def finished(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of four epochs. Tests read it, and copy it where they go on with it."""
    return run(root, tmp_path_factory.mktemp("runs") / "finished")


# --- what a run leaves ----------------------------------------------------------------------------


def test_files_are_written_and_all_is_finite(finished: Path) -> None:
    assert {path.name for path in finished.iterdir()} == {LAST_CHECKPOINT, RUN, METRICS, "tensorboard", LOCK}
    rows = metrics(finished)
    assert rows["epoch"].tolist() == [1, 2, 3, 4] and rows["step"].tolist() == [2, 4, 6, 8]
    assert {"loss", "info", "consistency", "queue_similarity", "feature_spread", "lr"} <= set(rows)
    assert np.isfinite(rows.to_numpy()).all()
    np.testing.assert_allclose(rows["loss"], rows["info"] + 0.5 * rows["consistency"], rtol=1e-5)


def test_each_row_says_the_learning_rate_its_epoch_was_trained_with(finished: Path) -> None:
    # 5/6 of four epochs, rounded: the last one has a tenth
    np.testing.assert_allclose(metrics(finished)["lr"], [0.1, 0.1, 0.1, 0.01], rtol=1e-6)


def test_run_is_described(finished: Path, root: Path) -> None:
    described = json.loads((finished / RUN).read_text())
    assert described["seed"] == 0 and described["batch_size"] == 8 and described["max_epochs"] == 4
    assert described["data"]["sequences"] == 24 and described["data"]["benchmark"] == "xsub"
    assert checkpoint(finished)[CHECKPOINT_KEY]["run"] == described


def test_checkpoint_is_whole(finished: Path) -> None:
    content = checkpoint(finished)  # read without running code
    state = content["state_dict"]
    assert state["contrasts.joint.queue.keys"].shape == (16, 128)
    assert state["contrasts.joint.queue.place"] == 8 * 8 % 16
    parts = {name.split(".")[2] for name in state if name.startswith("contrasts.joint.")}
    assert parts == {"query", "key", "queue"} and any(name.startswith("views.2.") for name in state)
    assert content["optimizer_states"]
    ours = content[CHECKPOINT_KEY]
    assert ours["epochs"] == 4 and ours["weights"] == {"joint": "contrasts.joint.query.encoder."}
    assert ours["encoder"]["class_path"] == "hiclr.encoders.stgcn.STGCN"
    assert ours["encoder"]["init_args"]["width"] == 4
    assert ours["encoder"]["init_args"]["skeleton"] == KINECT.to_dict()
    assert {"python", "hiclr", "torch", "lightning", "numpy"} <= set(ours["run"]["versions"])


def test_the_encoder_comes_back(finished: Path) -> None:
    trained = load_encoder(finished)
    state = checkpoint(finished)["state_dict"]
    for name, value in trained.encoder.state_dict().items():
        assert torch.equal(value, state[f"contrasts.joint.query.encoder.{name}"])
    assert trained.encoder(torch.randn(2, 3, 16, 20, 2)).shape == (2, 64)
    assert trained.epochs == 4 and trained.run["seed"] == 0


def test_no_epochs_save_the_untrained_network(root: Path, tmp_path: Path) -> None:
    out = run(root, tmp_path / "out", max_epochs=0)
    content = checkpoint(out)
    assert content[CHECKPOINT_KEY]["epochs"] == 0
    query = {k: v for k, v in content["state_dict"].items() if ".query." in k}
    for name, value in query.items():
        assert torch.equal(value, content["state_dict"][name.replace("query.", "key.network.", 1)])
    assert query and content["state_dict"]["contrasts.joint.queue.place"] == 0
    assert load_encoder(out).epochs == 0


def test_default_folder_says_data_benchmark_method_stream_and_seed(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    out = pretrain(SkeletonData(root, None, batch_size=8), partial(small, stream="bone"), max_epochs=0, seed=7)
    assert out == Path("runs/tiny-all-hiclr-bone-seed7") and (out / LAST_CHECKPOINT).is_file()


# --- repeatable -----------------------------------------------------------------------------------


def test_same_seed_same_run(finished: Path, root: Path, tmp_path: Path) -> None:
    torch.manual_seed(1234)  # what happened before does not matter
    again = run(root, tmp_path / "again")
    pd.testing.assert_frame_equal(metrics(again), metrics(finished), check_exact=True)
    assert_same_state(again, finished)


def test_other_seed_other_run(finished: Path, root: Path, tmp_path: Path) -> None:
    other = run(root, tmp_path / "other", seed=1, max_epochs=1)
    assert (metrics(other)["loss"] != metrics(finished)["loss"][0]).all()


def test_epochs_see_other_draws_and_orders(root: Path, tmp_path: Path) -> None:
    """With frozen weights, two epochs still differ: augmentations and order are not replayed."""
    frozen = partial(small, optimizer=partial(SGD, lr=0.0), key_momentum=1.0)
    rows = metrics(run(root, tmp_path / "out", frozen, max_epochs=3))
    assert rows["consistency"].nunique() == 3


# --- stopped and resumed --------------------------------------------------------------------------


class Killed(BaseException):
    """What nothing catches."""


@pytest.fixture(params=["first step of epoch 3", "in the middle of epoch 3", "last step of epoch 3"])
def killed(request: pytest.FixtureRequest, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The run of `finished`, killed at a step (of two an epoch)."""
    when = {"first step of epoch 3": (4, False), "in the middle of epoch 3": (4, True)}.get(request.param, (5, True))
    step = HiCLR.training_step

    def deadly(self: HiCLR, x: Tensor, i: int) -> Tensor:
        at, after = when
        if self.global_step == at and not after:
            raise Killed
        loss = step(self, x, i)
        if self.global_step == at and after:
            raise Killed
        return loss

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(HiCLR, "training_step", deadly)
        run(root, tmp_path / "killed")
    return tmp_path / "killed"


def test_resumed_equals_never_stopped(killed: Path, finished: Path, root: Path) -> None:
    assert checkpoint(killed)[CHECKPOINT_KEY]["epochs"] == 2
    torch.manual_seed(99)
    run(root, killed, ckpt_path=Path("last"))
    assert_same_state(killed, finished)
    pd.testing.assert_frame_equal(metrics(killed), metrics(finished), check_exact=True)


@pytest.mark.parametrize("killed", ["in the middle of epoch 3"], indirect=True)
def test_resumed_from_a_named_checkpoint_into_another_folder(
    killed: Path, finished: Path, root: Path, tmp_path: Path
) -> None:
    out = run(root, tmp_path / "elsewhere", ckpt_path=killed / LAST_CHECKPOINT)
    assert_same_state(out, finished)
    assert checkpoint(killed)[CHECKPOINT_KEY]["epochs"] == 2, "the first run stays as it was"


def test_more_epochs_than_first_planned_equal_a_run_planned_so(root: Path, tmp_path: Path) -> None:
    """Where neither the learning rate nor the positives would have changed in between."""
    method = partial(small, lr_drop=1.0, mining_start=1.0)
    out = run(root, tmp_path / "out", method, max_epochs=2)
    run(root, out, method, max_epochs=4, ckpt_path=Path("last"))
    assert metrics(out)["epoch"].tolist() == [1, 2, 3, 4]
    assert_same_state(out, run(root, tmp_path / "whole", method, max_epochs=4))


def test_a_finished_run_has_nothing_left_to_do(finished: Path, root: Path, tmp_path: Path) -> None:
    out = shutil.copytree(finished, tmp_path / "out")
    run(root, out, ckpt_path=Path("last"))
    after = checkpoint(out)["state_dict"]
    for name, value in checkpoint(finished)["state_dict"].items():
        assert torch.equal(value, after[name]), name


def test_fewer_epochs_than_are_done_are_refused(finished: Path, root: Path, tmp_path: Path) -> None:
    out = shutil.copytree(finished, tmp_path / "out")
    with pytest.raises(ValueError, match=r"\b4\b"):
        run(root, out, max_epochs=2, ckpt_path=Path("last"))


# --- what is refused ------------------------------------------------------------------------------


def test_a_folder_that_holds_a_run_is_refused(finished: Path, root: Path, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match="already holds a run: choose another --out, or go on with it by --ckpt_path"):
        run(root, finished)
    assert {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()} == before


def test_going_on_from_elsewhere_does_not_overwrite_a_run(finished: Path, root: Path, tmp_path: Path) -> None:
    other = run(root, tmp_path / "other", max_epochs=0)
    shutil.copytree(finished, tmp_path / "precious")
    with pytest.raises(ValueError, match="already holds a run"):
        run(root, tmp_path / "precious", ckpt_path=other / LAST_CHECKPOINT)


def test_resume_point(tmp_path: Path) -> None:
    assert resume_point(tmp_path / "new", None) is None
    with pytest.raises(FileNotFoundError, match=r"no checkpoint .*last\.ckpt"):
        resume_point(tmp_path, Path("last"))
    (tmp_path / LAST_CHECKPOINT).touch()
    assert resume_point(tmp_path, Path("last")) == tmp_path / LAST_CHECKPOINT
    assert resume_point(tmp_path / "new", tmp_path) == tmp_path / LAST_CHECKPOINT
    with pytest.raises(ValueError, match="already holds a run"):
        resume_point(tmp_path, None)


def test_a_run_that_was_killed_before_its_first_checkpoint_can_be_started_again(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def deadly(*_: Any) -> Tensor:
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(HiCLR, "training_step", deadly)
        run(root, tmp_path / "out", max_epochs=1)
    run(root, tmp_path / "out", max_epochs=1)
    assert metrics(tmp_path / "out")["epoch"].tolist() == [1]


OTHER_SETTINGS: dict[str, dict[str, Any]] = {
    "batch_size 8, not 4": {"batch_size": 4},
    "seed 0, not 3": {"seed": 3},
    "precision 32-true, not bf16-mixed": {"precision": "bf16-mixed"},
}


@pytest.mark.parametrize("said", OTHER_SETTINGS)
def test_going_on_with_other_settings_is_refused(finished: Path, root: Path, tmp_path: Path, said: str) -> None:
    out = shutil.copytree(finished, tmp_path / "out")
    with pytest.raises(ValueError, match=f"was trained with {said}: use the same"):
        run(root, out, ckpt_path=Path("last"), **OTHER_SETTINGS[said])


def test_going_on_with_other_data_is_refused(finished: Path, tmp_path: Path) -> None:
    out = shutil.copytree(finished, tmp_path / "out")
    with pytest.raises(ValueError, match=r"was trained with data\.sequences 24, not 30: use the same"):
        run(prepared(tmp_path / "others", n=30), out, ckpt_path=Path("last"))


def test_going_on_with_a_folder_that_was_moved(finished: Path, root: Path, tmp_path: Path) -> None:
    """The same data, seen from another place."""
    out = shutil.copytree(finished, tmp_path / "out")
    moved = shutil.copytree(root, tmp_path / "moved")
    run(moved, out, ckpt_path=Path("last"))


OTHER_METHODS: dict[str, Any] = {
    r"encoder\.init_args\.width 4, not 2": partial(small, encoder=partial(STGCN, width=2, init="pytorch")),
    "queue_size 16, not 8": partial(small, queue_size=8),
    r"streams \['joint'\], not \['motion'\]": partial(small, stream="motion"),
    r"arrangement .*RandomMask.*, not \[\['Shear[^\]]*TemporalCrop[^\]]*\]\]": partial(small, arrangement=["BA"]),
    r"temperature 0\.07, not 0\.2": partial(small, temperature=0.2),
    r"key_momentum 0\.999, not 0\.5": partial(small, key_momentum=0.5),
    r"mining_start 0\.5, not 1\.0": partial(small, mining_start=1.0),
    "distance kl, not squared": partial(small, distance="squared"),
    "symmetric False, not True": partial(small, symmetric=True),
    "method HiCLR, not AimCLR": partial(AimCLR, encoder=partial(STGCN, width=4, init="pytorch"), queue_size=16),
}


@pytest.mark.parametrize("said", OTHER_METHODS)
def test_going_on_with_another_method_is_refused(finished: Path, root: Path, tmp_path: Path, said: str) -> None:
    out = shutil.copytree(finished, tmp_path / "out")
    with pytest.raises(ValueError, match=rf"last\.ckpt was trained with {said}: use the same"):
        run(root, out, OTHER_METHODS[said], ckpt_path=Path("last"))


def test_going_on_with_a_transform_of_another_strength_is_refused(root: Path, tmp_path: Path) -> None:
    out = run(root, tmp_path / "out", partial(small, arrangement=[[Rotate(5)]]), max_epochs=0)
    with pytest.raises(ValueError, match=r"arrangement .*Rotate\(p=1\.0, main=5, .*, not .*Rotate\(p=1\.0, main=9,"):
        run(root, out, partial(small, arrangement=[[Rotate(9)]]), max_epochs=1, ckpt_path=Path("last"))


def test_published_weights_are_no_place_to_go_on_from(shared: Path, root: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no training state to go on from, only weights"):
        run(root, tmp_path / "out", ckpt_path=shared / "parity" / "stgcn_official.pt")
    assert not (tmp_path / "out").exists()


def test_a_batch_that_cannot_be_filled_is_refused_before_anything_is_written(root: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="batch_size 17 is larger than the 16 training sequences"):
        run(root, tmp_path / "out", batch_size=17)
    assert not (tmp_path / "out").exists()


# --- arrangements ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arrangement",
    [["BA"], ["BA", "NA"], ["BA", "NA", "Mask"], [[Shear(0.2)], [Rotate(), RandomMask(0.5)], "NA"]],
    ids=["k=1", "k=2", "k=3", "own"],
)
def test_every_arrangement_runs(root: Path, tmp_path: Path, arrangement: Any) -> None:
    rows = metrics(run(root, tmp_path / "out", partial(small, arrangement=arrangement), max_epochs=1))
    assert np.isfinite(rows.to_numpy()).all()
    assert (rows["consistency"][0] > 0) is np.bool_(len(arrangement) > 1)


@pytest.mark.parametrize("stream", ["motion", "bone"])
def test_other_streams_run_and_are_remembered(root: Path, tmp_path: Path, stream: Any) -> None:
    out = run(root, tmp_path / "out", partial(small, stream=stream), max_epochs=1)
    assert load_encoder(out).stream == stream


def test_a_small_skeleton_and_bf16(tmp_path: Path) -> None:
    method = partial(small, arrangement=["BA", "NA", [RandomMask(0.2)]])
    out = run(prepared(tmp_path / "five", FIVE), tmp_path / "out", method, max_epochs=1, precision="bf16-mixed")
    assert load_encoder(out).encoder.skeleton == FIVE
    assert np.isfinite(metrics(out).to_numpy()).all()


def test_a_mask_too_small_for_the_skeleton_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"ratio 0\.1 of 5 joints hides none"):
        run(prepared(tmp_path / "five", FIVE), tmp_path / "out")
    assert not (tmp_path / "out").exists()


# --- the log --------------------------------------------------------------------------------------


def test_a_repeated_epoch_replaces_its_row(tmp_path: Path) -> None:
    log = EpochLog(tmp_path / METRICS)
    for epoch, loss in [(1, 5.0), (2, 4.0), (3, 3.0), (2, 4.5)]:
        log._add_row({"epoch": epoch, "loss": loss})
    rows = pd.read_csv(tmp_path / METRICS)
    assert rows["epoch"].tolist() == [1, 2] and rows["loss"].tolist() == [5.0, 4.5]


def test_the_rate_counts_sequences(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(100))
    monkeypatch.setattr("hiclr.methods.training.time.perf_counter", lambda: float(next(clock)))
    log = EpochLog(tmp_path / METRICS)
    learner = small(KINECT)
    optimizer = SimpleNamespace(param_groups=[{"lr": 0.1}])
    trainer: Any = SimpleNamespace(optimizers=[optimizer], loggers=[], current_epoch=0, global_step=3)
    log.on_train_epoch_start(trainer, learner)
    for size in (8, 8, 5):
        log.on_train_batch_end(trainer, learner, None, torch.zeros(size), 0)
    log.on_train_epoch_end(trainer, learner)
    assert learner.figures["sequences_per_second"] == 21


def test_lightning_is_told_to_write_one_checkpoint_an_epoch(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved: list[int] = []
    save = Trainer.save_checkpoint

    def counting(self: Trainer, *args: Any, **kwargs: Any) -> None:
        save(self, *args, **kwargs)
        saved.append(checkpoint(tmp_path / "out")[CHECKPOINT_KEY]["epochs"])

    monkeypatch.setattr(Trainer, "save_checkpoint", counting)
    run(root, tmp_path / "out", max_epochs=3)
    assert saved == [1, 2, 3]
