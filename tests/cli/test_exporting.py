"""`hiclr export`: the file is written when its numbers are right, with a result that says how right."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hiclr.__main__ import main
from hiclr.cli import export, exporting
from hiclr.data.folder import Preparation, PreparedFolder
from hiclr.data.opening import open_corpus
from hiclr.encoders.base import Encoder
from hiclr.encoders.head import LinearHead
from hiclr.encoders.stgcn import STGCN
from hiclr.model import Model, load_model
from hiclr.onnx import metadata, random_sequences, to_onnx

onnx = pytest.importorskip("onnx", reason="no onnx: install the extra export")
onnxruntime = pytest.importorskip("onnxruntime", reason="no onnxruntime: install the extra export")

CLASSES = ("wave", "squat", "jump")


def model_of(encoder: Encoder, classes: tuple[str, ...] = CLASSES) -> Model:
    torch.manual_seed(0)
    head = LinearHead(classes, torch.randn(len(classes), encoder.feature_dim), torch.randn(len(classes)))
    return Model(encoder, "motion", Preparation(frames=16, bodies=1), head, figures={"top1": 50.0})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A place with 40 clips, raw in `mine.npz` (one of which is damaged) and prepared in `mine`, and `model`."""
    place = tmp_path_factory.mktemp("exporting")
    chance = np.random.default_rng(0)
    frames = chance.normal(0, 0.3, (400, 1, 20, 3)).astype(np.float32)
    frames[25] = np.nan  # of clip 2
    np.savez(
        place / "mine.npz",
        frames=frames,
        offsets=np.arange(0, 401, 10),
        label=np.arange(40) % 3,
        class_names=list(CLASSES),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        main(["prepare", "npz", "mine.npz", "mine", "--frames", "16"])
    skeleton = PreparedFolder.open(place / "mine").skeleton
    torch.manual_seed(0)
    model_of(STGCN(skeleton, 2, init="pytorch")).save_pretrained(place / "model")
    return place


@pytest.fixture
def here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(scope="module")
def contents(folder: Path) -> bytes:
    return to_onnx(load_model(folder / "model"))


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch, contents: bytes) -> None:
    """Exports once for all: the model is always the same."""
    monkeypatch.setattr(exporting, "to_onnx", lambda model: contents)


def test_from_the_command_line(here: Path, tmp_path: Path, fast: None, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new" / "mine.onnx"
    main(["export", "--model", "model", "--out", str(out), "--data", "mine", "--clips", "30"])
    screen = capsys.readouterr()
    lines = screen.out.splitlines()
    assert lines[0].startswith("export features: onnxruntime and PyTorch differ by at most ")
    assert lines[1].startswith("export probabilities: ") and len(lines) == 2
    assert "Compared on 30 clips of mine" in screen.err and "mine.onnx.json" in screen.err
    assert {path.name for path in out.parent.iterdir()} == {"mine.onnx", "mine.onnx.json"}

    result = json.loads(out.with_name("mine.onnx.json").read_text(encoding="utf-8"))
    assert set(result["difference"]) == {"features", "probabilities"}
    assert all(0 <= one["absolute"] < 1e-4 for one in result["difference"].values())
    assert result["clips"] == 30 and result["data"] == "mine" and result["skipped"] == []
    assert result["sizes"] == {"N": [1, 2, 3, 4, 5, 6, 7], "T": [8, 16, 32], "M": [1, 2]}
    assert result["options"]["clips"] == 30 and result["versions"]["hiclr"]
    model = load_model("model")
    assert result["metadata"] == metadata(model)

    x = np.array(PreparedFolder.open("mine").sequences[:5])
    features, probabilities = onnxruntime.InferenceSession(out).run(None, {"sequences": x})
    np.testing.assert_allclose(features, model(torch.from_numpy(x)).detach(), atol=1e-5)
    np.testing.assert_allclose(probabilities, model.probabilities(torch.from_numpy(features)), atol=1e-5)


def test_raw_recordings_are_prepared_and_the_damaged_named(
    here: Path, tmp_path: Path, fast: None, capsys: pytest.CaptureFixture[str]
) -> None:
    result = export(Path("model"), tmp_path / "raw.onnx", Path("mine.npz"))
    assert result["clips"] == 39
    assert [one["name"] for one in result["skipped"]] == ["000002"] and "NaN" in result["skipped"][0]["reason"]
    assert "Left out: 000002: NaN" in capsys.readouterr().err
    x = exporting._clips(load_model("model"), Path("mine.npz"), None, None, 100, 0).x
    assert torch.equal(x, torch.from_numpy(np.array(PreparedFolder.open("mine").sequences)))


def test_clips_come_from_all_over_the_data(here: Path) -> None:
    names = PreparedFolder.open("mine").samples["name"]
    model, every = load_model("model"), PreparedFolder.open("mine").sequences
    few = exporting._clips(model, Path("mine"), None, None, 3, 0).x
    assert torch.equal(few, torch.from_numpy(every[[0, 19, 38]])) and len(names) == 39
    raw = exporting._clips(model, Path("mine.npz"), None, None, 4, 0)
    assert torch.equal(raw.x, torch.from_numpy(every[[0, 12, 25, 38]])) and not raw.skipped


def test_without_data_random_sequences(here: Path, tmp_path: Path, fast: None) -> None:
    result = export(Path("model"), tmp_path / "random.onnx", clips=9, seed=3)
    assert result["data"] == "random" and result["clips"] == 9
    x = exporting._clips(load_model("model"), None, None, None, 9, 3).x
    assert torch.equal(x, random_sequences(load_model("model").skeleton, 16, 1, 9, 3))


def test_every_clip_is_compared_and_other_shapes_are(here: Path) -> None:
    x = torch.randn(40, 3, 10, 20, 2)
    *whole, half, double, alone, more = exporting._batches(x)
    assert torch.equal(torch.cat(whole), x) and {len(batch) for batch in whole} == set(range(1, 8))
    assert (half.shape[2], double.shape[2], alone.shape[4], more.shape[4]) == (5, 20, 1, 3)
    assert not more[..., 2].any()


@pytest.mark.parametrize("size", [1, 2])
def test_one_clip_is_enough(here: Path, tmp_path: Path, fast: None, size: int) -> None:
    assert export(Path("model"), tmp_path / "one.onnx", Path("mine"), clips=size)["clips"] == size


# --- what is refused, before anything is written ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"out": "mine.onx"}, r"out is the file to write and ends in \.onnx, got .*mine\.onx"),
        ({"out": "taken.onnx"}, r"taken\.onnx is a folder"),
        ({"clips": 0}, "clips must be at least 1, got 0"),
        ({"tolerance": 0.0}, "tolerance must be above 0, got 0"),
        ({"tolerance": float("nan")}, "tolerance must be above 0, got nan"),
        ({"tolerance": 1e-12}, r"differ by .* in the features .*, more than 1e-12: nothing is written"),
        ({"model": Path("gone")}, "gone"),
        ({"data": Path("gone")}, "no file or folder gone"),
        ({"data": Path("other.npz")}, r"other\.npz have 25 joints .*, the model expects 20"),
        ({"data": Path("nan.npz")}, r"none of 2 recordings of nan\.npz can be used: NaN"),
        ({"stream": "bone"}, "motion"),
    ],
)
def test_refusals(here: Path, tmp_path: Path, fast: None, options: dict[str, Any], sentence: str) -> None:
    (tmp_path / "taken.onnx").mkdir()
    for name, joints, value in (("other.npz", 25, 1.0), ("nan.npz", 20, np.nan)):
        frames = np.full((20, 1, joints, 3), value, np.float32)
        np.savez(name, frames=frames, offsets=[0, 10, 20], label=[0, 1], class_names=["a", "b"])
    given = {"model": Path("model"), "data": Path("mine"), **options}
    with pytest.raises((ValueError, FileNotFoundError), match=sentence):
        export(out=tmp_path / given.pop("out", "new.onnx"), **given)
    assert [path.name for path in tmp_path.iterdir()] == ["taken.onnx"]


def test_a_file_that_computes_something_else_is_not_written(
    here: Path, tmp_path: Path, contents: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = onnx.load_from_string(contents)
    classifier = next(tensor for tensor in wrong.graph.initializer if tensor.name == "model.head.bias")
    classifier.CopyFrom(onnx.numpy_helper.from_array(np.ones(3, np.float32), classifier.name))
    monkeypatch.setattr(exporting, "to_onnx", lambda model: wrong.SerializeToString())
    (tmp_path / "mine.onnx").write_text("the old one")
    with pytest.raises(ValueError, match=r"differ by .* in the probabilities \(.* of the largest\), more than 0\.0001"):
        export(Path("model"), tmp_path / "mine.onnx", Path("mine"))
    assert [path.read_text() for path in tmp_path.iterdir()] == ["the old one"]


def test_without_the_extra(here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(SystemExit, match="2"):
        main(["export", "--model", "model", "--out", str(tmp_path / "mine.onnx")])
    assert 'hiclr export needs the extra "export" (onnxruntime): pip install "hiclr[export]"' in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


# --- real data --------------------------------------------------------------------------------------------------------


def test_on_a_hundred_real_clips(shared: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    skeleton = open_corpus(shared / "data" / "utd_mhad.npz").skeleton
    encoder = STGCN(skeleton, init="pytorch")
    with torch.no_grad():
        for seed in range(5):  # statistics of its own
            encoder.train()(random_sequences(skeleton, 16, 1, 8, seed))
    Model(encoder, "bone").save_pretrained(tmp_path / "model")
    result = export(tmp_path / "model", tmp_path / "utd.onnx", shared / "data" / "utd_mhad.npz")
    assert result["clips"] == 100 and not result["skipped"]
    assert result["difference"]["features"]["absolute"] < 1e-4
