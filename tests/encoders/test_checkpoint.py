"""From a checkpoint of ours to the same encoder, bit for bit; what is no encoder is refused."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hiclr.encoders.base import Encoder
from hiclr.encoders.checkpoint import (
    CHECKPOINT_KEY,
    LAST_CHECKPOINT,
    checkpoint_path,
    describe,
    load_encoder,
)
from hiclr.encoders.stgcn import STGCN
from hiclr.skeleton import SKELETONS, Skeleton

SMALL = Skeleton("small", ("a", "b", "c"), (-1, 0, 0), shoulders=("b", "c"), mirror=(("b", "c"),))


def content(encoder: Encoder, stream: Any = "bone") -> dict[str, Any]:
    """As a learner saves it."""
    state = {f"query.encoder.{name}": value for name, value in encoder.state_dict().items()}
    others = {"query.head.0.weight": torch.ones(2), "key.network.encoder.adjacency": torch.ones(3), "queue.place": 0}
    return {
        "state_dict": {**others, **state},
        CHECKPOINT_KEY: {**describe(encoder, stream), "epochs": 12, "run": {"seed": 3}},
    }


def saved(what: Any, path: Path) -> Path:
    torch.save(what, path)
    return path


@pytest.mark.parametrize("skeleton", [SKELETONS["ntu25"], SMALL], ids=["known", "own"])
def test_gives_the_same_features(tmp_path: Path, skeleton: Skeleton) -> None:
    encoder = STGCN(skeleton, 2, dropout=0.2, partition="spatial", init="pytorch")
    x = torch.randn(3, 3, 9, skeleton.num_joints, 2)
    encoder.train()(x)  # moves the batch norm statistics
    trained = load_encoder(saved(content(encoder), tmp_path / "epoch.ckpt"))
    assert not trained.encoder.training
    assert torch.equal(trained.encoder(x), encoder.eval()(x))
    assert trained.encoder.skeleton == skeleton and trained.encoder.settings == encoder.settings
    assert trained.stream == "bone" and trained.epochs == 12 and trained.run == {"seed": 3}


def test_a_runs_folder_means_its_last_checkpoint(tmp_path: Path) -> None:
    path = saved(content(STGCN(SMALL, 1)), tmp_path / LAST_CHECKPOINT)
    assert checkpoint_path(tmp_path) == checkpoint_path(str(path)) == path
    assert load_encoder(tmp_path).path == path


@pytest.mark.parametrize("name", ["", "none.ckpt"])
def test_no_checkpoint(tmp_path: Path, name: str) -> None:
    with pytest.raises(FileNotFoundError, match=r"no checkpoint .*: give a run's folder or a \.ckpt file"):
        load_encoder(tmp_path / name)


def test_stream_is_known_and_checked(tmp_path: Path) -> None:
    path = saved(content(STGCN(SMALL, 1), "motion"), tmp_path / "a.ckpt")
    assert load_encoder(path, "motion").stream == "motion"
    with pytest.raises(ValueError, match="was trained on the motion stream, not on joint"):
        load_encoder(path, "joint")


@pytest.mark.parametrize("stream", [None, "joint", "bone"])
def test_published_weights_fall_back(shared: Path, stream: Any) -> None:
    trained = load_encoder(shared / "parity" / "stgcn_official.pt", stream)
    assert isinstance(trained.encoder, STGCN) and not trained.encoder.training
    assert trained.stream == (stream or "joint") and trained.epochs is None and trained.run == {}


def test_description_holds_plain_containers_alone() -> None:
    def check(value: Any) -> None:
        assert value is None or isinstance(value, str | int | float | list | dict), value
        for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            check(item)

    check(describe(STGCN(SMALL, 1), "joint"))


class Averages(Encoder):
    """An encoder of someone's own."""

    def __init__(self, skeleton: Any) -> None:
        super().__init__(Skeleton.from_dict(skeleton) if isinstance(skeleton, dict) else skeleton, 9, {})
        self.scale = nn.Parameter(torch.full((1,), 2.0))

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * x.mean((2, 4)).flatten(1)


def test_an_encoder_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, Averages.__module__, sys.modules.get(Averages.__module__))
    monkeypatch.setattr(Averages, "__module__", "my_encoders")
    monkeypatch.setitem(sys.modules, "my_encoders", type(sys)("my_encoders"))
    monkeypatch.setattr(sys.modules["my_encoders"], "Averages", Averages, raising=False)
    trained = load_encoder(saved(content(Averages(SMALL)), tmp_path / "own.ckpt"))
    x = torch.randn(2, 3, 5, 3, 1)
    assert torch.equal(trained.encoder(x), 2 * x.mean((2, 4)).flatten(1))


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize("class_path", ["torch.nn.Linear", "os.system", "hiclr.encoders.stgcn.Gone", "builtins.dict"])
def test_a_class_that_is_no_encoder_is_refused(tmp_path: Path, class_path: str) -> None:
    broken = content(STGCN(SMALL, 1))
    broken[CHECKPOINT_KEY]["encoder"]["class_path"] = class_path
    with pytest.raises(ValueError, match=f"{class_path} is no hiclr Encoder"):
        load_encoder(saved(broken, tmp_path / "a.ckpt"))


@pytest.mark.parametrize("class_path", ["gone.for.good.Encoder", "STGCN", "hiclr.encoders.base.Encoder"])
def test_a_class_that_cannot_be_had_is_refused(tmp_path: Path, class_path: str) -> None:
    broken = content(STGCN(SMALL, 1))
    broken[CHECKPOINT_KEY]["encoder"]["class_path"] = class_path
    with pytest.raises(ValueError, match=class_path):
        load_encoder(saved(broken, tmp_path / "a.ckpt"))


def test_a_class_path_runs_no_code_of_a_module_lying_about(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lying_about.py").write_text("import pathlib\npathlib.Path(__file__).with_suffix('.ran').touch()\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    broken = content(STGCN(SMALL, 1))
    broken[CHECKPOINT_KEY]["encoder"]["class_path"] = "lying_about.Encoder"
    with pytest.raises(ValueError, match="lying_about"):
        load_encoder(saved(broken, tmp_path / "a.ckpt"))
    assert not (tmp_path / "lying_about.ran").exists()


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    broken = content(STGCN(SMALL, 1))
    broken[CHECKPOINT_KEY]["encoder"]["init_args"]["width"] = 2
    with pytest.raises(ValueError, match=r"a\.ckpt"):
        load_encoder(saved(broken, tmp_path / "a.ckpt"))


@pytest.mark.parametrize("lost", ["state_dict", CHECKPOINT_KEY])
def test_a_part_is_lost(tmp_path: Path, lost: str) -> None:
    broken = content(STGCN(SMALL, 1))
    del broken[lost]
    with pytest.raises(ValueError, match=r"a\.ckpt"):
        load_encoder(saved(broken, tmp_path / "a.ckpt"))


def test_a_truncated_checkpoint_is_refused(tmp_path: Path) -> None:
    path = saved(content(STGCN(SMALL, 1)), tmp_path / "a.ckpt")
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(ValueError, match=r"a\.ckpt is no file of tensors"):
        load_encoder(path)
