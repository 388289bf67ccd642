"""From a checkpoint of ours to the same encoder, bit for bit; what is no encoder is refused."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hiclr.encoders.base import EdgeChange, Encoder
from hiclr.encoders.checkpoint import (
    CHECKPOINT_KEY,
    LAST_CHECKPOINT,
    checkpoint_path,
    describe,
    load_encoder,
)
from hiclr.encoders.stgcn import STGCN
from hiclr.functional import Stream
from hiclr.skeleton import SKELETONS, Skeleton

SMALL = Skeleton("small", ("a", "b", "c"), (-1, 0, 0), shoulders=("b", "c"), mirror=(("b", "c"),))


def content(*encoders: Encoder, streams: Sequence[Stream] = ("bone",)) -> dict[str, Any]:
    """As a learner saves it."""
    weights = {stream: f"contrasts.{stream}.query.encoder." for stream in streams}
    state: dict[str, Any] = {"contrasts.bone.query.head.0.weight": torch.ones(2), "contrasts.bone.queue.place": 0}
    for encoder, prefix in zip(encoders, weights.values(), strict=True):
        state[prefix.replace("query", "key.network") + "adjacency"] = torch.ones(3)
        state |= {f"{prefix}{name}": value for name, value in encoder.state_dict().items()}
    return {
        "state_dict": state,
        CHECKPOINT_KEY: {**describe(encoders[0], weights), "epochs": 12, "run": {"seed": 3}},
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
    assert trained.stream == "bone" and trained.streams == ("bone",)
    assert trained.epochs == 12 and trained.run == {"seed": 3}


def test_a_runs_folder_means_its_last_checkpoint(tmp_path: Path) -> None:
    path = saved(content(STGCN(SMALL, 1)), tmp_path / LAST_CHECKPOINT)
    assert checkpoint_path(tmp_path) == checkpoint_path(str(path)) == path
    assert load_encoder(tmp_path).path == path


@pytest.mark.parametrize("name", ["", "none.ckpt"])
def test_no_checkpoint(tmp_path: Path, name: str) -> None:
    with pytest.raises(FileNotFoundError, match=r"no checkpoint .*: give a run's folder or a \.ckpt file"):
        load_encoder(tmp_path / name)


def test_stream_is_known_and_checked(tmp_path: Path) -> None:
    path = saved(content(STGCN(SMALL, 1), streams=["motion"]), tmp_path / "a.ckpt")
    assert load_encoder(path).stream == load_encoder(path, "motion").stream == "motion"
    with pytest.raises(ValueError, match="was trained on the motion stream, not on joint"):
        load_encoder(path, "joint")


STREAMS: list[Stream] = ["joint", "motion", "bone"]


@pytest.fixture
def several(tmp_path: Path) -> tuple[list[STGCN], Path]:
    """Three encoders, and the file that holds them."""
    encoders = [STGCN(SMALL, 1, init="pytorch") for _ in STREAMS]
    return encoders, saved(content(*encoders, streams=STREAMS), tmp_path / "a.ckpt")


@pytest.mark.parametrize("stream", STREAMS)
def test_the_right_one_of_several_encoders(several: tuple[list[STGCN], Path], stream: Stream) -> None:
    encoders, path = several
    trained = load_encoder(path, stream)
    assert trained.stream == stream and trained.streams == tuple(STREAMS)
    right = encoders[STREAMS.index(stream)]
    assert all(torch.equal(value, right.state_dict()[name]) for name, value in trained.encoder.state_dict().items())


def test_of_several_encoders_one_must_be_chosen(several: tuple[list[STGCN], Path]) -> None:
    with pytest.raises(ValueError, match="holds an encoder for each of joint, motion, bone: choose one with --stream"):
        load_encoder(several[1])


def test_a_stream_that_none_of_several_has(tmp_path: Path) -> None:
    path = saved(content(STGCN(SMALL, 1), STGCN(SMALL, 1), streams=["joint", "bone"]), tmp_path / "a.ckpt")
    with pytest.raises(ValueError, match="was trained on the joint and the bone stream, not on motion"):
        load_encoder(path, "motion")


@pytest.mark.parametrize("stream", [None, "joint", "bone"])
def test_published_weights_fall_back(shared: Path, stream: Any) -> None:
    trained = load_encoder(shared / "parity" / "stgcn_official.pt", stream)
    assert isinstance(trained.encoder, STGCN) and not trained.encoder.training
    assert trained.stream == (stream or "joint") and trained.epochs is None and trained.run == {}


@pytest.mark.parametrize("stream", STREAMS)
def test_the_right_one_of_several_published_encoders(shared: Path, tmp_path: Path, stream: Stream) -> None:
    """As CrosSCLR publishes them: the joint stream's without a name."""
    one = torch.load(shared / "parity" / "stgcn_official.pt", weights_only=True)
    query = {key.removeprefix("encoder_q."): value for key, value in one.items() if key.startswith("encoder_q.")}
    name = "st_gcn_networks.0.gcn.conv.bias"
    together = {
        f"{prefix}.{key}": torch.full_like(value, i) if key == name else value
        for i, prefix in enumerate(("encoder_q", "encoder_q_motion", "encoder_q_bone"))
        for key, value in query.items()
    }
    trained = load_encoder(saved(together, tmp_path / "three.pt"), stream)
    assert trained.stream == stream
    assert (trained.encoder.state_dict()["blocks.0.graph.bias"] == STREAMS.index(stream)).all()


def test_description_holds_plain_containers_alone() -> None:
    def check(value: Any) -> None:
        assert value is None or isinstance(value, str | int | float | list | dict), value
        for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            check(item)

    check(describe(STGCN(SMALL, 1), {"joint": "query.encoder."}))


class Averages(Encoder):
    """An encoder of someone's own."""

    def __init__(self, skeleton: Any) -> None:
        super().__init__(Skeleton.from_dict(skeleton) if isinstance(skeleton, dict) else skeleton, 9, {})
        self.scale = nn.Parameter(torch.full((1,), 2.0))

    def feature_map(self, x: Tensor, edges: EdgeChange | None = None) -> Tensor:
        return self.scale * x.mean((2, 4)).flatten(1)[:, :, None, None, None]


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


@pytest.mark.parametrize("lost", ["encoder", "weights", "epochs", "run"])
def test_a_checkpoint_of_another_version_is_refused(tmp_path: Path, lost: str) -> None:
    broken = content(STGCN(SMALL, 1))
    del broken[CHECKPOINT_KEY][lost]
    with pytest.raises(ValueError, match=rf"a\.ckpt does not say its {lost}: it was written by another version"):
        load_encoder(saved(broken, tmp_path / "a.ckpt"))


def test_a_truncated_checkpoint_is_refused(tmp_path: Path) -> None:
    path = saved(content(STGCN(SMALL, 1)), tmp_path / "a.ckpt")
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(ValueError, match=r"a\.ckpt is no file of tensors"):
        load_encoder(path)
