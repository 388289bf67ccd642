"""`hiclr embed` and `hiclr predict`: what they write and show, and what they refuse before they write anything."""

from __future__ import annotations

import importlib
import json
import shlex
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import hiclr
from hiclr.__main__ import main
from hiclr.data.folder import PreparedFolder
from hiclr.inference import Predictions
from hiclr.model import load_model
from hiclr.timeline import Timelines
from writers.clips import write_npy_clip, write_table
from writers.learnable import learnable_frames, write_learnable

MODEL = "run/linear-xsub-model"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A place with clips to learn from (`mine.npz`, `mine`), an untrained run, a classifier on it, and own clips."""
    place = tmp_path_factory.mktemp("using")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        write_learnable(Path("mine.npz"))
        main(["prepare", "npz", "mine.npz", "mine", "--frames", "16"])
        main(shlex.split("pretrain --data.root mine --data.batch_size 16 --max_epochs 0 --out run"
                         " --method.encoder.width 2 --method.queue_size 32"))  # fmt: skip
        main(shlex.split("linear --checkpoint run --data.root mine --epochs 3"))
        frames = learnable_frames()[:, 0]
        write_npy_clip(Path("clips/walk [1].npy"), frames[:10])
        write_npy_clip(Path("clips/still.npy"), frames[10:20])
        write_npy_clip(Path("clips/nobody.npy"), np.zeros((10, 20, 3)))
        write_npy_clip(Path("long.npy"), np.concatenate([frames[:60], np.zeros((40, 20, 3)), frames[60:120]]))
    return place


@pytest.fixture
def here(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place of its own, with all of that in it."""
    for part in folder.iterdir():
        (tmp_path / part.name).symlink_to(part)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(command: str) -> None:
    main(shlex.split(command))


def refused(command: str, capsys: pytest.CaptureFixture[str]) -> str:
    """The one sentence; nothing is written."""
    before = sorted(Path().iterdir())
    with pytest.raises(SystemExit) as stopped:
        run(command)
    assert stopped.value.code == 2 and sorted(Path().iterdir()) == before
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("hiclr: ")]
    return said[-1].removeprefix("hiclr: ")


def read(path: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
    return content


# --- embed ----------------------------------------------------------------------------------------


def test_embed_writes_features_with_names_and_labels(here: Path) -> None:
    run("embed --model run --data mine --out there/features.npz")
    prepared = PreparedFolder.open("mine")
    model = load_model("run")
    with torch.no_grad():
        expected = model(torch.from_numpy(np.array(prepared.sequences)))
    with np.load("there/features.npz", allow_pickle=False) as found:
        assert sorted(found) == ["class_names", "features", "labels", "names", "skipped"]
        np.testing.assert_array_equal(found["features"], expected)
        assert found["names"].tolist() == prepared.samples["name"].tolist()
        assert found["labels"].tolist() == prepared.samples["label"].tolist()
        assert found["class_names"].tolist() == ["wave", "squat", "jump"]


def test_embed_writes_parquet(here: Path) -> None:
    try:
        importlib.import_module("pyarrow")
    except ImportError as error:
        pytest.skip(f"no pyarrow: {error}")
    run("embed --model run --data mine.npz --out features.parquet")
    table = pd.read_parquet("features.parquet")
    found = hiclr.embed("run", "mine.npz")
    assert table["name"].tolist() == list(found.names) and table["class"].tolist() == list(found.classes)
    assert set(table["xsub"]) == {"train", "test"}
    features = table.filter(like="feature_").to_numpy()
    np.testing.assert_array_equal(features, found.features)


def test_embed_names_what_it_leaves_out(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("embed --model run --data clips --out features.npz")
    said = capsys.readouterr().err
    assert f"2 sequences, {load_model('run').encoder.feature_dim} features each" in said
    assert "skipped nobody: no first body in 10 frames" in said
    with np.load("features.npz") as found:
        assert found["names"].tolist() == ["still", "walk [1]"] and found["skipped"].tolist() == ["nobody"]
        assert "labels" not in found


def test_three_lines_of_python_write_nothing(here: Path) -> None:
    before = sorted(Path().iterdir())
    found = hiclr.embed("run", "clips")
    predicted = hiclr.predict(MODEL, "clips")
    assert found.features.shape[0] == 2 and sorted(Path().iterdir()) == before
    assert isinstance(predicted, Predictions) and predicted.names == ("still", "walk [1]")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ("--data mine", "say where the features shall go: --out features.npz, or features.parquet"),
        ("--data mine --out features.csv", "features are written as .npz or .parquet, not as 'features.csv'"),
        ("--data mine --out clips", "clips is a folder: name a file in it"),
        ("--data nowhere --out f.npz", "no file or folder nowhere"),
        ("--data mine --out f.npz --batch_size 0", "batch_size must be at least 1, got 0"),
        ("--data mine --out f.npz --stream bone", "was trained on the joint stream, not on bone"),
    ],
)
def test_embed_refuses(here: Path, capsys: pytest.CaptureFixture[str], options: str, sentence: str) -> None:
    assert sentence in refused(f"embed --model run {options}", capsys)


def test_parquet_without_the_extra(here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    sentence = refused("embed --model run --data mine --out f.parquet", capsys)
    assert 'a .parquet file needs the extra "export"' in sentence and 'pip install "hiclr[export]"' in sentence


# --- predict: clips -------------------------------------------------------------------------------


def test_predict_names_the_class_of_clips(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(f"predict --model {MODEL} --data clips --top 2")
    table, answer = pd.read_csv("clips-predictions/predictions.csv"), read("clips-predictions/predictions.json")
    model = load_model(MODEL)
    found = hiclr.predict(MODEL, "clips")
    assert isinstance(found, Predictions)
    assert list(table) == ["name", "class", "probability", "class_2", "probability_2"]
    assert table["name"].tolist() == ["still", "walk [1]"] and table["class"].tolist() == list(found.classes)
    np.testing.assert_allclose(table["probability"], found.probabilities.max(1), atol=1e-4)
    assert answer["classes"] == list(model.class_names) and answer["options"]["top"] == 2
    assert answer["skipped"] == [{"name": "nobody", "reason": "no first body in 10 frames"}]
    assert [(clip["name"], clip["class"], len(clip["top"])) for clip in answer["clips"]] == [
        (name, label, 2) for name, label in zip(found.names, found.classes, strict=True)
    ]
    assert "accuracy" not in answer and "known_class" not in answer["clips"][0]
    assert Path("clips-predictions/predictions.png").read_bytes().startswith(b"\x89PNG")
    said = capsys.readouterr()
    assert "walk [1]" in said.out and "skipped nobody" in said.err


def test_predict_says_how_many_are_right_where_that_is_known(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(f"predict --model {MODEL} --data mine --out there")
    answer, samples = read("there/predictions.json"), PreparedFolder.open("mine").samples
    names = ("wave", "squat", "jump")
    assert [clip["known_class"] for clip in answer["clips"]] == [names[label] for label in samples["label"]]
    right = sum(clip["class"] == clip["known_class"] for clip in answer["clips"])
    assert answer["known_clips"] == 48 and answer["accuracy"] == pytest.approx(100 * right / 48)
    assert f"Right: {right} of the 48 clips whose class is known" in capsys.readouterr().err


def test_classes_that_the_model_does_not_know_are_not_counted(here: Path) -> None:
    rows = [{"name": "walk [1]", "label": "wave"}, {"name": "still", "label": "dance"}]
    write_table(Path("table.csv"), rows)
    run(f"predict --model {MODEL} --data clips --out there --options.table table.csv")
    assert read("there/predictions.json")["known_clips"] == 1


# --- predict: a window ----------------------------------------------------------------------------


def test_a_window_tells_who_does_what_when(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(f"predict --model {MODEL} --data long.npy --window 20 --out there")
    (recording,) = read("there/predictions.json")["recordings"]
    segments, windows = recording["segments"], recording["windows"]
    assert recording["frames"] == 160 and read("there/predictions.json")["unit"] == "frames"
    assert [window["start"] for window in windows] == list(range(0, 141, 5))
    assert segments[0]["start"] == 0 and segments[-1]["end"] == 160
    assert all(one["end"] == other["start"] for one, other in pairwise(segments))
    (gap,) = [segment for segment in segments if segment["class"] == "nobody"]
    assert abs(gap["start"] - 60) <= 5 and abs(gap["end"] - 100) <= 5
    assert windows[14]["class"] == "nobody" and windows[14]["probability"] == 1
    table = pd.read_csv("there/predictions.csv")
    assert table[["start", "end", "class"]].to_dict("records") == [
        {key: segment[key] for key in ("start", "end", "class")} for segment in segments
    ]
    assert Path("there/predictions.png").stat().st_size > 5000
    assert "nobody" in capsys.readouterr().out


def test_seconds_are_frames_over_fps(here: Path) -> None:
    run(f"predict --model {MODEL} --data long.npy --window 20 --stride 5 --out frames")
    run(f"predict --model {MODEL} --data long.npy --window 2 --stride 0.5 --fps 10 --out seconds")
    frames, seconds = (pd.read_csv(f"{out}/predictions.csv") for out in ("frames", "seconds"))
    np.testing.assert_allclose(seconds[["start", "end"]], frames[["start", "end"]] / 10)
    assert seconds["class"].tolist() == frames["class"].tolist()
    assert read("seconds/predictions.json")["fps"] == 10


def test_a_window_over_many_recordings(here: Path) -> None:
    found = hiclr.predict(MODEL, "mine.npz", window=6)
    assert isinstance(found, Timelines) and len(found.timelines) == 48
    assert {timeline.frames for timeline in found.timelines} == {10}


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ("--data clips --model run", "the model has no classifier"),
        ("--data clips --top 0", "top must be at least 1, got 0"),
        ("--data mine --window 5", "mine is prepared, all of its sequences have one length"),
        ("--data long.npy --window 2.5", "a window of 2.5 is no number of frames: give --fps too, for seconds"),
        ("--data long.npy --window 0", "window must be at least 1 frame, got 0"),
        ("--data long.npy --window 2 --stride -1 --fps 10", "stride must be at least 1 frame, got -1 s"),
        ("--data long.npy --window nan", "window"),
        ("--data long.npy --window 20 --fps 0", "fps must be from 1 to 1000 frames in a second, got 0"),
        ("--data long.npy --stride 5", "stride and fps are of a window: say how long it shall be (--window)"),
        ("--data long.npy --out long.npy", "long.npy is a file: choose a folder for the predictions"),
        ("--data clips/nobody.npy", "none of the 1 recordings of nobody can be used"),
    ],
)
def test_predict_refuses(here: Path, capsys: pytest.CaptureFixture[str], options: str, sentence: str) -> None:
    model = "" if "--model" in options else f"--model {MODEL} "
    assert sentence in refused(f"predict {model}{options}", capsys)


# --- what it costs --------------------------------------------------------------------------------


def test_an_answer_does_not_wait_for_lightning(here: Path) -> None:
    code = (
        "import sys; from hiclr.__main__ import main; "
        f"main(['predict', '--model', {MODEL!r}, '--data', 'clips', '--out', 'there']); "
        "print([name for name in ('lightning', 'sklearn', 'plotly', 'tensorboard') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
