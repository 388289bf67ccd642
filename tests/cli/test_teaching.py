"""`hiclr teach`: own classes from a few clips, and how well that goes on a benchmark."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np
import pytest

import hiclr
from hiclr.__main__ import main
from hiclr.data.folder import PreparedFolder
from hiclr.evaluation import Scores
from hiclr.inference import Predictions
from hiclr.model import load_model
from writers.clips import write_npy_clip, write_table
from writers.learnable import LABELS, learnable_frames, write_learnable


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A place with an untrained run, `mine` (prepared, with a benchmark) and `clips` beside their table."""
    place = tmp_path_factory.mktemp("teaching")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        write_learnable(Path("mine.npz"))
        main(["prepare", "npz", "mine.npz", "mine", "--frames", "16"])
        main(shlex.split("pretrain --data.root mine --data.batch_size 16 --max_epochs 0 --out run"
                         " --method.encoder.width 4 --method.queue_size 32"))  # fmt: skip
        clips = learnable_frames()[:, 0].reshape(48, 10, 20, 3)
        for row in range(24, 48):  # the quicker ones
            write_npy_clip(Path(f"clips/{row}.npy"), clips[row])
        rows = [{"name": f"{row}", "label": ("calm", "brisk", "wild")[LABELS[row]]} for row in range(24, 39)]
        write_table(Path("table.csv"), rows)
    return place


@pytest.fixture
def here(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for part in folder.iterdir():
        (tmp_path / part.name).symlink_to(part)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(command: str) -> None:
    main(shlex.split(command))


def test_own_classes_are_taught_saved_and_found_again(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("teach --model run --examples clips --options.table table.csv --out my-model")
    said = capsys.readouterr().err
    assert "15 examples of 3 classes, 5 of each" in said and "of 15 examples are recognised (chance 33.3 %)" in said
    model = load_model("my-model")
    assert model.class_names == ("brisk", "calm", "wild") and model.preparation == load_model("run").preparation
    assert "top-1 of examples left out of the learning, %" in model.figures
    found = hiclr.predict("my-model", "clips", kind="clips", options={"table": "table.csv"})
    assert isinstance(found, Predictions) and len(found.names) == 15
    assert np.mean([right is True for right in found.right]) >= 0.8


@pytest.mark.parametrize("classifier", ["mean", "logistic"])
def test_raw_and_prepared_examples_teach_alike(here: Path, classifier: str) -> None:
    for examples in ("mine.npz", "mine"):
        run(f"teach --model run --examples {examples} --classifier {classifier} --per_class 4 --out {examples}-model")
    one, other = (load_model(f"{examples}-model").state_dict() for examples in ("mine.npz", "mine"))
    for name, value in one.items():
        assert value.equal(other[name]), name
    assert load_model("mine-model").preparation == PreparedFolder.open("mine").preparation


def test_a_draw_is_of_its_seed(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    heads = []
    for seed in (0, 0, 1):
        model = hiclr.teach("run", "mine", "drawn", per_class=2, seed=seed)
        assert model.head is not None
        heads.append(model.head.weight)
    assert heads[0].equal(heads[1]) and not heads[0].equal(heads[2])
    assert "6 examples of 3 classes, 2 of each" in capsys.readouterr().err


def test_a_benchmark_is_scored_with_examples_of_its_training_side(here: Path) -> None:
    run("teach --model run --examples mine --benchmark xsub --per_class 5 --seed 3 --out there")
    result = json.loads(Path("there/teach-xsub.json").read_text(encoding="utf-8"))
    assert result["protocol"] == "teach" and result["train_sequences"] == 15 and result["test_sequences"] == 12
    assert result["settings"]["per_class"] == 5 and result["settings"]["classifier"] == "logistic"
    scores = Scores.load(Path("there/teach-xsub-scores.npz"))
    samples = PreparedFolder.open("mine").samples
    assert list(scores.names) == samples.loc[samples["xsub"] == "test", "name"].tolist()
    assert result["top1"] == scores.top1 and np.sum(result["confusion"]) == 12
    found = hiclr.predict("there/teach-xsub-model", "mine")
    assert isinstance(found, Predictions)
    np.testing.assert_allclose(scores.scores, found.probabilities[(samples["xsub"] == "test").to_numpy()], atol=1e-6)


def test_classes_without_examples_are_said_and_have_no_probability(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"name": f"{row}", "label": str(2 * LABELS[row])} for row in range(24, 33)]  # 0, 2, 4
    write_table(Path("numbered.csv"), rows)
    run("teach --model run --examples clips --options.table numbered.csv --out my-model")
    assert "Without examples, and so not taught: 1, 3" in capsys.readouterr().err
    assert load_model("my-model").class_names == ("0", "2", "4")


def test_single_examples_are_said(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("teach --model run --examples mine --per_class 1 --out single")
    assert "nothing can be left out" in capsys.readouterr().err
    rows = [{"name": f"{row}", "label": "wild" if row == 24 else "calm"} for row in range(24, 30)]
    write_table(Path("few.csv"), rows)
    run("teach --model run --examples clips --options.table few.csv --out few")
    said = capsys.readouterr().err
    assert "6 examples of 2 classes, 1 to 5 of each" in said and "One example alone, a weak one to go by: wild" in said
    assert "of 5 examples are recognised" in said


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ("--examples mine", "say where the model shall go: --out my-model"),
        ("--examples mine --out m --per_class 0", "per_class must be at least 1, got 0"),
        ("--examples mine --out m --classifier svm", "classifier"),
        ("--examples mine --benchmark xview", "mine has no benchmark 'xview'"),
        ("--examples mine.npz --benchmark xsub", "--benchmark needs a prepared folder, and mine.npz is none"),
        ("--examples unlabelled --out m", "unlabelled has no labels to learn from: lay a table"),
        ("--examples clips --options.table tables/one.csv --out m", "all examples are of one class, 'calm'"),
        (
            "--examples broken --options.table tables/broken.csv --out m",
            "no example of 'wild' can be used (30: no first body",
        ),
        ("--examples mine --out clips", "clips holds other things"),
        ("--examples nowhere --out m", "no file or folder nowhere"),
    ],
)
def test_what_cannot_be_taught(here: Path, capsys: pytest.CaptureFixture[str], options: str, sentence: str) -> None:
    clips = learnable_frames()[:, 0].reshape(48, 10, 20, 3)
    write_npy_clip(Path("unlabelled/30.npy"), clips[30])
    for row in (24, 25):
        write_npy_clip(Path(f"broken/{row}.npy"), clips[row])
    write_npy_clip(Path("broken/30.npy"), np.zeros((10, 20, 3)))
    write_table(Path("tables/one.csv"), [{"name": f"{row}", "label": "calm"} for row in range(24, 30)])
    write_table(
        Path("tables/broken.csv"),
        [{"name": f"{row}", "label": "wild" if row == 30 else "calm"} for row in (24, 25, 30)],
    )
    Path("table.csv").unlink()
    before = sorted(Path().rglob("*"))
    with pytest.raises(SystemExit) as stopped:
        run(f"teach --model run {options}")
    assert stopped.value.code == 2 and sorted(Path().rglob("*")) == before
    assert sentence in " ".join(capsys.readouterr().err.split())
