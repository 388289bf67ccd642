"""Published weight files: read without running anything, and what is wrong with one is said."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from hiclr.encoders.base import Encoder
from hiclr.encoders.dsta import DSTA
from hiclr.encoders.official import encoder_from_published, load_official, read_safely
from hiclr.encoders.stgcn import STGCN
from hiclr.skeleton import SKELETONS

# parts of a block: our names -> published ones, written out once more by hand
STGCN_PARTS = {"graph": "gcn.conv", "norm": "tcn.0", "temporal.0": "tcn.2", "temporal.1": "tcn.3"}
DSTA_PARTS = {
    "attention.queries_keys": "in_nets", "attention.strength": "alphas", "attention.global_map": "attention0s",
    "mix": "out_nets", "mix_residual": "downs1", "feed_forward": "ff_nets", "feed_forward_residual": "downs2",
    "temporal": "out_nett", "temporal_residual": "downt2",
}  # fmt: skip


def renamed(name: str, parts: dict[str, str]) -> str:
    part = next((ours for ours in parts if name == ours or name.startswith(f"{ours}.")), None)
    return name if part is None else parts[part] + name.removeprefix(part)


def published_stgcn(name: str, importances_in_a_list: bool = False) -> str:
    if name == "adjacency":
        return "A"
    if name.startswith("input_norm"):
        return name.replace("input_norm", "data_bn")
    _, block, rest = name.split(".", 2)
    if rest == "importance":
        return f"edge_importance.{block}" if importances_in_a_list else f"edge_importance{int(block) + 1}"
    return f"st_gcn_networks.{block}.{renamed(rest, STGCN_PARTS)}"


def published_dsta(name: str) -> str:
    if name.startswith("input_map"):
        return renamed(name, {"input_map.0": "proj", "input_map.1": "input_map.0"})
    _, block, rest = name.split(".", 2)
    return f"graph_layers.{block}.{renamed(rest, DSTA_PARTS)}"


def published_state(encoder: Encoder, prefix: str = "encoder_q.", **spelling: bool) -> dict[str, Tensor]:
    """What the published code would have saved for this network."""
    name_of = published_dsta if isinstance(encoder, DSTA) else published_stgcn
    return {prefix + name_of(name, **spelling): value for name, value in encoder.state_dict().items()}


def same(loaded: Encoder, encoder: Encoder) -> bool:
    """Whether two encoders give the same features, bit by bit."""
    x = torch.randn(2, 3, 8, encoder.skeleton.num_joints, 2)
    return type(loaded) is type(encoder) and torch.equal(loaded(x), encoder.eval()(x))


@pytest.fixture
def encoder() -> STGCN:
    torch.manual_seed(0)
    return STGCN("kinect20", 2, init="pytorch")


@pytest.fixture(params=[1, 4])
def dsta(request: pytest.FixtureRequest) -> DSTA:
    torch.manual_seed(0)
    return DSTA("kinect20", base_channels=request.param)


@pytest.fixture
def state(encoder: STGCN) -> dict[str, Any]:
    return published_state(encoder)


def saved(state: Any, folder: Path, **options: Any) -> Path:
    path = folder / "weights.pt"
    torch.save(state, path, **options)
    return path


# --- what is read ---------------------------------------------------------------------------------


@pytest.mark.parametrize("zipped", [True, False])
def test_gives_the_same_features(encoder: STGCN, state: dict[str, Any], tmp_path: Path, zipped: bool) -> None:
    loaded = load_official(saved(state, tmp_path, _use_new_zipfile_serialization=zipped))
    assert not loaded.training and same(loaded, encoder)
    assert loaded.skeleton == SKELETONS["kinect20"] and loaded.feature_dim == 32


def test_gives_the_same_features_of_dsta(dsta: DSTA, tmp_path: Path) -> None:
    constants = {
        "encoder_q.graph_layers.0.atts": torch.zeros(1, 3, 20, 20),
        "encoder_q.graph_layers.0.pes.pe": torch.zeros(1, 4, 50, 20),
    }
    loaded = load_official(saved({**published_state(dsta), **constants}, tmp_path))
    assert not loaded.training and same(loaded, dsta)
    assert loaded.skeleton == SKELETONS["kinect20"] and loaded.feature_dim == dsta.feature_dim


@pytest.mark.parametrize("wrapped", ["", "module."])
@pytest.mark.parametrize("listed", [True, False])
def test_every_spelling_is_read(encoder: STGCN, dsta: DSTA, tmp_path: Path, listed: bool, wrapped: str) -> None:
    state = published_state(encoder, f"{wrapped}encoder_q.", importances_in_a_list=listed)
    assert same(load_official(saved(state, tmp_path)), encoder)
    assert same(load_official(saved(published_state(dsta, f"{wrapped}encoder_q."), tmp_path)), dsta)


def test_of_three_streams_the_joints_unless_told_otherwise(tmp_path: Path) -> None:
    prefixes = {"joint": "encoder_q.", "motion": "encoder_q_motion.", "bone": "encoder_q_bone."}
    encoders = {stream: STGCN("kinect20", 2, init="pytorch") for stream in prefixes}
    state = {}
    for stream, prefix in prefixes.items():
        state |= published_state(encoders[stream], prefix, importances_in_a_list=True)
    assert same(load_official(saved(state, tmp_path)), encoders["joint"])
    for stream, encoder in encoders.items():
        assert same(encoder_from_published(state, "weights.pt", stream), encoder)
    alone = published_state(encoders["bone"])  # a file of one stream does not say which
    assert same(encoder_from_published(alone, "weights.pt", "bone"), encoders["bone"])


def test_a_path_may_be_text(state: dict[str, Any], tmp_path: Path) -> None:
    assert isinstance(load_official(str(saved(state, tmp_path))), STGCN)


def test_what_else_a_file_holds_is_passed_over(encoder: STGCN, state: dict[str, Any], tmp_path: Path) -> None:
    extra = {
        "queue": torch.randn(128, 64),
        "epoch": 300,
        "encoder_q.fc.0.weight": torch.randn(3, 3),
        **published_state(STGCN("kinect20", 3), "encoder_k."),
    }
    loaded = load_official(saved({**state, **extra}, tmp_path))
    assert all(torch.equal(value, encoder.state_dict()[name]) for name, value in loaded.state_dict().items())


def test_the_files_adjacency_is_taken(state: dict[str, Any], tmp_path: Path) -> None:
    state["encoder_q.A"] = torch.rand(3, 20, 20)
    assert torch.equal(load_official(saved(state, tmp_path)).state_dict()["adjacency"], state["encoder_q.A"])


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no such file: .*gone"):
        load_official(tmp_path / "gone.pt")
    with pytest.raises(FileNotFoundError):
        load_official(tmp_path)


# --- what does not fit ----------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["encoder_q.A", "encoder_q.st_gcn_networks.0.tcn.0.weight"])
def test_no_stgcn_at_all(state: dict[str, Any], tmp_path: Path, key: str) -> None:
    del state[key]
    with pytest.raises(ValueError, match=f"holds no published ST-GCN weights: {key} is missing"):
        load_official(saved(state, tmp_path))


@pytest.mark.parametrize("key", ["encoder_q.graph_layers.0.attention0s", "encoder_q.proj.weight"])
def test_no_dsta_at_all(dsta: DSTA, tmp_path: Path, key: str) -> None:
    state = published_state(dsta)
    del state[key]
    with pytest.raises(ValueError, match=f"holds no published DSTA weights: {key} is missing"):
        load_official(saved(state, tmp_path))


@pytest.mark.parametrize("content", [{}, {"layer.weight": torch.ones(2)}, {"encoder_q.A": 3, 7: torch.ones(2)}])
def test_weights_of_something_else(tmp_path: Path, content: dict[Any, Any]) -> None:
    with pytest.raises(ValueError, match=r"holds no published weights: no tensor in it is named encoder_q\."):
        load_official(saved(content, tmp_path))


def test_what_does_not_fit_is_named_as_the_file_does(encoder: STGCN, dsta: DSTA, tmp_path: Path) -> None:
    state = published_state(encoder, "encoder_q_bone.", importances_in_a_list=True)
    del state["encoder_q_bone.edge_importance.2"]
    with pytest.raises(ValueError, match=r"lacks 1 of \d+ tensors: encoder_q_bone\.edge_importance\.2$"):
        encoder_from_published(state, "weights.pt", "bone")
    state = published_state(dsta) | {"encoder_q.graph_layers.7.alphas": torch.ones(1, 2, 1, 1)}
    with pytest.raises(
        ValueError, match=r"graph_layers\.7\.alphas has shape \(1, 2, 1, 1\), DSTA needs \(1, 3, 1, 1\)"
    ):
        load_official(saved(state, tmp_path))


def test_every_missing_tensor_is_missed(state: dict[str, Any], tmp_path: Path) -> None:
    for key in list(state)[::7]:
        rest = {name: value for name, value in state.items() if name != key}
        with pytest.raises(ValueError, match=f"{key}"):
            load_official(saved(rest, tmp_path))


def test_missing_tensors_are_counted_and_named(state: dict[str, Any], tmp_path: Path) -> None:
    for key in ("encoder_q.edge_importance3", "encoder_q.data_bn.running_var"):
        del state[key]
    with pytest.raises(ValueError, match=rf"lacks 2 of {len(state) + 2} tensors: ") as caught:
        load_official(saved(state, tmp_path))
    assert "encoder_q.edge_importance3" in str(caught.value) and "encoder_q.data_bn.running_var" in str(caught.value)


@pytest.mark.parametrize(
    ("key", "shape"),
    [
        ("encoder_q.st_gcn_networks.4.residual.0.weight", (4, 3, 1, 1)),
        ("encoder_q.edge_importance10", (3, 25, 25)),
        ("encoder_q.data_bn.weight", (75,)),
        ("encoder_q.A", (2, 20, 20)),
        ("encoder_q.A", ()),
        ("encoder_q.st_gcn_networks.0.tcn.0.weight", ()),
        ("encoder_q.st_gcn_networks.0.tcn.0.weight", (0,)),
        ("encoder_q.st_gcn_networks.0.tcn.0.weight", (5,)),
    ],
)
def test_wrong_shapes_are_named(state: dict[str, Any], tmp_path: Path, key: str, shape: tuple[int, ...]) -> None:
    state[key] = torch.ones(shape)
    with pytest.raises(ValueError, match="encoder_q"):
        load_official(saved(state, tmp_path))


def test_unknown_number_of_joints(state: dict[str, Any], tmp_path: Path) -> None:
    state["encoder_q.A"] = torch.ones(3, 19, 19)
    with pytest.raises(ValueError, match=r"made for 19 joints, which no known skeleton has \(ntu25, kinect20"):
        load_official(saved(state, tmp_path))


def test_values_that_are_no_tensors_count_as_missing(state: dict[str, Any], tmp_path: Path) -> None:
    state["encoder_q.edge_importance3"] = [1.0, 2.0]
    with pytest.raises(ValueError, match=r"lacks 1 .*edge_importance3"):
        load_official(saved(state, tmp_path))


# --- files that are damaged, or worse -------------------------------------------------------------


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_file_is_refused_and_not_run(state: dict[str, Any], tmp_path: Path, zipped: bool) -> None:
    caught = tmp_path / "caught"
    path = saved({**state, "note": Trap(caught)}, tmp_path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match="no file of tensors and plain values"):
        load_official(path)
    assert not caught.exists()
    torch.load(path, weights_only=False)
    assert caught.exists(), "the trap itself works"


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.01, 0.2, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused(state: dict[str, Any], tmp_path: Path, share: float, zipped: bool) -> None:
    path = saved(state, tmp_path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ValueError, match="no file of tensors"):
        load_official(path)


@pytest.mark.parametrize(
    "content", [b"", b"\x80", b"hello, world\n", b"PK\x03\x04", b"\x00" * 4096, b"\x80\x02}q\x00."]
)
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "weights.pt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"weights\.pt"):
        load_official(path)


@pytest.mark.parametrize("content", [[torch.ones(2)], torch.ones(2), 7])
def test_other_contents_are_refused(tmp_path: Path, content: Any) -> None:
    with pytest.raises(ValueError, match="expected a dict of tensors"):
        load_official(saved(content, tmp_path))


def test_a_whole_model_is_refused(encoder: STGCN, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no file of tensors and plain values"):
        load_official(saved(encoder, tmp_path))


def test_plain_containers_are_read(tmp_path: Path) -> None:
    content = {"a": [1, (2.0, "three")], "b": {"c": None}, "d": torch.ones(2)}
    read = read_safely(saved(content, tmp_path))
    assert read["a"] == [1, (2.0, "three")] and read["b"] == {"c": None} and torch.equal(read["d"], torch.ones(2))
