"""`hiclr linear` and `hiclr knn` on tiny clips: the validation side, drops, retrieval, checkpoints of three streams."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hiclr.__main__ import main
from hiclr.cli import knn, linear
from hiclr.cli.results import features, remarks, result_folder
from hiclr.data.folder import PreparedFolder
from hiclr.data.module import SkeletonData
from hiclr.encoders.checkpoint import TrainedEncoder, load_encoder
from hiclr.evaluation import Scores, linear_probe
from hiclr.model import load_model

SMALL = "--data.root mine --data.batch_size 16"
TINY = "--method.encoder.width 2 --method.queue_size 32 --max_epochs 0"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A place with `mine` (48 clips of 20 joints, 36 of them to train on) and an untrained run in `run`."""
    place = tmp_path_factory.mktemp("evaluating")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        chance = np.random.default_rng(0)
        label = np.arange(48) % 3
        speed = np.repeat(label, 10)[:, None, None, None] * np.linspace(0, 1, 480)[:, None, None, None]
        np.savez(
            "mine.npz",
            frames=(chance.normal(0, 0.3, (480, 1, 20, 3)) + speed).astype(np.float32),
            offsets=np.arange(0, 481, 10),
            label=label,
            class_names=["wave", "squat", "jump"],
            split_xsub=np.arange(48) < 36,
        )
        main(["prepare", "npz", "mine.npz", "mine", "--frames", "16"])
        main(shlex.split(f"pretrain {SMALL} {TINY} --out run"))
    return place


@pytest.fixture
def here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(folder)
    return folder


def read(path: Path | str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
    return content


def test_validation_changes_nothing_of_the_result(here: Path, tmp_path: Path) -> None:
    data = SkeletonData("mine")
    without = linear(Path("run"), data, out=tmp_path / "without", epochs=3)
    validated = linear(Path("run"), data, out=tmp_path / "with", epochs=3, validation=0.2)
    name = "linear-xsub-scores.npz"
    assert (tmp_path / "with" / name).read_bytes() == (tmp_path / "without" / name).read_bytes()
    assert validated["top1_by_epoch"] == without["top1_by_epoch"]
    assert "validation_top1" not in without
    assert not (tmp_path / "without" / "linear-xsub-validation-scores.npz").exists()


@pytest.mark.parametrize("standardize", [False, True])
def test_the_model_that_is_left_scores_like_the_probe(here: Path, tmp_path: Path, standardize: bool) -> None:
    linear(Path("run"), SkeletonData("mine"), out=tmp_path, epochs=3, standardize=standardize)
    model, folder = load_model(tmp_path / "linear-xsub-model"), PreparedFolder.open("mine")
    assert model.preparation == folder.preparation
    assert model.class_names == folder.class_names
    scores = Scores.load(tmp_path / "linear-xsub-scores.npz")
    with torch.no_grad():
        probabilities = model.probabilities(model(torch.from_numpy(folder.sequences[folder.indices("xsub", "test")])))
    torch.testing.assert_close(probabilities, scores.scores.softmax(1), rtol=1e-4, atol=1e-5)


def test_validation_scores_are_of_a_share_of_the_training_side(here: Path, tmp_path: Path) -> None:
    result = linear(Path("run"), SkeletonData("mine"), out=tmp_path, epochs=3, validation=0.2, standardize=True)
    scores = Scores.load(tmp_path / "linear-xsub-validation-scores.npz")
    samples = PreparedFolder.open("mine").samples.set_index("name").loc[list(scores.names)]
    assert (samples["xsub"] == "train").all()
    assert samples["label"].tolist() == scores.labels.tolist()
    assert scores.labels.bincount().tolist() == [round(0.2 * 12)] * 3
    assert result["validation_top1"] == scores.top1 and result["validation_sequences"] == 6
    assert result["settings"]["validation"] == 0.2


def test_learning_rate_falls_at_each_share(here: Path, tmp_path: Path) -> None:
    main(shlex.split(f"linear --checkpoint run {SMALL} --out {tmp_path} --epochs 10 --lr-drops 0.3 0.8"))
    assert read(tmp_path / "linear-xsub.json")["settings"]["lr_drops"] == [0.3, 0.8]
    banks = features(load_encoder("run"), SkeletonData("mine", batch_size=16), torch.device("cpu"))
    by_hand = linear_probe(*banks, 3, epochs=10, lr_drop_epochs=[3, 8]).scores.scores
    assert torch.equal(Scores.load(tmp_path / "linear-xsub-scores.npz").scores, by_hand)
    assert not torch.equal(linear_probe(*banks, 3, epochs=10).scores.scores, by_hand)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ("--validation 1", "validation is a share of the training side, from 0 to below 1, got 1.0"),
        ("--validation -0.1", "got -0.1"),
        ("--lr_drops [80]", "lr_drops are shares of the epochs, from 0 to 1, got [80.0]"),
    ],
)
def test_settings_that_cannot_be(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: str, sentence: str
) -> None:
    with pytest.raises(SystemExit):
        main(shlex.split(f"linear --checkpoint run {SMALL} --out {tmp_path}/out {options}"))
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_knn_reports_retrieval(here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(shlex.split(f"knn --checkpoint run {SMALL} --out {tmp_path} --k 3 1"))
    result = read(tmp_path / "knn-xsub.json")
    assert result["settings"]["k"] == [3, 1]
    assert 0 < result["retrieval_map"] <= 100 and result["retrieval_left_out"] == 0
    assert f"knn retrieval_map: {result['retrieval_map']:.2f} %\n" in capsys.readouterr().out


def test_queries_of_classes_to_train_on_alone_count(here: Path, tmp_path: Path) -> None:
    data = SkeletonData("mine")
    labels = data.folder.samples["label"].to_numpy()
    data.train_rows = data.train_rows[labels[data.train_rows] != 2]
    result = knn(Path("run"), data, out=tmp_path / "part", k=[1])
    assert result["retrieval_left_out"] == 4 and 0 < result["retrieval_map"] <= 100
    data.train_rows = data.train_rows[:3]
    test = data.folder.indices("xsub", "test")
    data.folder.samples.loc[test, "label"] = 2  # no class in common
    nothing = knn(Path("run"), data, out=tmp_path / "nothing", k=[1])
    assert nothing["retrieval_map"] is None and nothing["retrieval_left_out"] == 12


def test_results_of_three_streams_do_not_overwrite_each_other(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "cross"
    method = TINY.replace("--method.", "--method.init_args.")
    main(shlex.split(f"pretrain {SMALL} --method hiclr.methods.crossclr.CrosSCLR {method} --out {run}"))
    for stream in ("joint", "bone", "motion"):
        main(shlex.split(f"linear --checkpoint {run} {SMALL} --stream {stream} --epochs 2 --validation 0.2"))
        assert read(run / stream / "linear-xsub.json")["stream"] == stream
    main(["ensemble", "--results", *(str(run / stream) for stream in ("bone", "joint", "motion"))])
    result = read(run / "ensemble" / "ensemble-xsub.json")
    assert result["streams"] == ["bone", "joint", "motion"] and result["test_sequences"] == 12
    with pytest.raises(SystemExit):
        main(shlex.split(f"linear --checkpoint {run} {SMALL}"))
    assert "choose one with --stream" in capsys.readouterr().err


def test_results_of_one_stream_lie_beside_the_checkpoint(here: Path) -> None:
    main(shlex.split(f"knn --checkpoint run {SMALL} --k [1]"))
    assert Path("run/knn-xsub.json").is_file()
    assert read("run/knn-xsub.json")["remarks"] == [] and read("run/knn-xsub.json")["train_sequences"] == 36


# --- several processes ----------------------------------------------------------------------------

TOGETHER = """
import shlex
from pathlib import Path
from hiclr.__main__ import main
from hiclr.evaluation import Scores

def noted(scores, path, save=Scores.save):
    with Path("two/saved.txt").open("a") as file:
        file.write(f"{path.name}\\n")
    save(scores, path)

Scores.save = noted
for verb in ("linear --epochs 3 --validation 0.2", "knn --k 3 1", "knn --k 99"):
    main(shlex.split(f"{verb} --checkpoint run SMALL --accelerator cpu --devices 2 --out two"))
"""


@pytest.mark.parametrize("start", [[], ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]])
def test_two_processes_find_what_one_finds_and_the_first_alone_writes_and_speaks(
    here: Path, tmp_path: Path, start: list[str]
) -> None:
    """36 sequences to train on are 3 batches, two for the first process; the single one to test on leaves none."""
    script = tmp_path / "together.py"
    script.write_text(
        TOGETHER.replace("SMALL", SMALL.replace("mine", str(here / "mine"))).replace("run ", f"{here}/run ")
    )
    (tmp_path / "two").mkdir()
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *start, str(script)]
    said = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert said.returncode == (1 if start else 2)  # torchrun's own
    assert said.stderr.count("hiclr: k must lie in 1..36 (the training sequences), got [99]: set --k") == 1
    assert said.stderr.count("Result saved") == 2 and said.stdout.count("knn retrieval_map") == 1
    scores = [f"{name}-scores.npz" for name in ("linear-xsub", "linear-xsub-validation", "knn-xsub")]
    assert (tmp_path / "two" / "saved.txt").read_text().split() == scores
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for verb in ("linear --epochs 3 --validation 0.2", "knn --k 3 1"):
        main(shlex.split(f"{verb} --checkpoint run {SMALL} --accelerator cpu --out {tmp_path}/one"))
    torch.set_num_threads(threads)
    for name in scores:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    for name in ("linear-xsub.json", "knn-xsub.json"):
        one, two = (read(tmp_path / out / name) for out in ("one", "two"))
        assert (one["repeatable"]["processes"], two["repeatable"]["processes"]) == (1, 2)
        of_command = ("command", "options", "data", "checkpoint", "repeatable")
        assert {fact: one[fact] for fact in one if fact not in of_command} == {
            fact: two[fact] for fact in two if fact not in of_command
        }


# --- of files of weights, and of encoders that have seen more -------------------------------------


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("rel/joint.pt", "rel/joint/on-mine"),
        ("rel/bone.pt", "rel/bone/on-mine"),
        ("rel/joint.v2.pt", "rel/joint.v2/on-mine"),
        ("rel/joint", "rel/joint-results/on-mine"),  # where the file is, no folder can be
    ],
)
def test_results_of_published_weights_lie_by_file_and_data(here: Path, path: str, expected: str) -> None:
    published = replace(load_encoder("run"), path=Path(path), epochs=None, run={})
    assert result_folder(published, SkeletonData("mine"), None) == Path(expected)
    assert remarks(published, SkeletonData("mine")) == []


def test_results_of_a_kept_checkpoint_do_not_overwrite_those_of_the_last(here: Path) -> None:
    shutil.copy("run/last.ckpt", "run/kept.ckpt")
    main(shlex.split(f"knn --checkpoint run/kept.ckpt {SMALL} --k [1]"))
    assert Path("run/kept/knn-xsub.json").is_file()


def trained_on(benchmark: str | None, **changes: Any) -> TrainedEncoder:
    trained = load_encoder("run")
    there = {**trained.run["data"], "benchmark": benchmark, **changes}
    return replace(trained, run={**trained.run, "data": there})


@pytest.mark.parametrize(("benchmark", "where"), [("xview", "the training side of xview"), (None, "all sequences")])
def test_what_may_have_been_seen_of_the_test_side_is_said(here: Path, benchmark: str | None, where: str) -> None:
    sentence = f"The encoder was trained on {where}: it may have seen test sequences of xsub"
    data = SkeletonData("mine")
    assert remarks(trained_on(benchmark), data) == [sentence]
    assert result_folder(trained_on(benchmark), data, None) == Path("run")
    assert remarks(trained_on(benchmark, corpus="another"), data) == []
    assert remarks(trained_on(benchmark, source_hash="0"), data) == []


def test_what_came_before_fine_tuning_counts(here: Path) -> None:
    before, data = trained_on(None), SkeletonData("mine")
    tuned = {"learner": {"method": "Classifier"}, "data": load_encoder("run").run["data"], "pretraining": before.run}
    labels, seen = remarks(replace(before, run={**tuned, "pretraining": tuned}), data)
    assert "with labels" in labels and "all sequences" in seen  # each once


def test_remarks_are_on_the_screen(here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(shlex.split(f"pretrain {SMALL} --data.benchmark null {TINY} --out {tmp_path}/all"))
    main(shlex.split(f"linear --checkpoint {tmp_path}/all {SMALL} --epochs 1"))
    (remark,) = read(tmp_path / "all" / "linear-xsub.json")["remarks"]
    assert remark.startswith("The encoder was trained on all sequences")
    assert remark in " ".join(capsys.readouterr().err.split())
