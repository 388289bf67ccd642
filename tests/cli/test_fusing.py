"""`hiclr ensemble`: which results it takes, with which weights, under which name it saves them."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hiclr.__main__ import main
from hiclr.cli import ensemble
from hiclr.cli.results import SCORES, VALIDATION_SCORES, by_class, save
from hiclr.evaluation import Scores
from hiclr.fusion import best_weights, fuse
from hiclr.provenance import file_hash

CLASSES = ["wave", "squat", "jump"]
DATA = {"root": "data/mine", "corpus": "mine", "source_hash": "1234", "benchmark": "xsub", "sequences": 180}
NAMES = tuple(f"s{row}" for row in range(60))
LABELS = torch.arange(60) % 3


def scores(seed: int) -> Scores:
    noise = torch.randn(60, 3, generator=torch.Generator().manual_seed(seed))
    return Scores(NAMES, LABELS, noise + torch.eye(3)[LABELS])


def saved(run: str, stream: str, seed: int, protocol: str = "linear", **changes: Any) -> Path:
    """A result as the verbs save it, with random scores; those to validate on are of another seed."""
    result = {
        "protocol": protocol,
        "top1_last_epoch": scores(seed).top1,
        "chance": 100 / 3,
        **by_class(scores(seed), CLASSES),
        "stream": stream,
        "settings": {"validation": 0.2},
        "data": DATA,
        "test_sequences": 60,
        "remarks": [],
        **changes,
    }
    path = Path("runs", run, f"{protocol}-xsub.json")
    save(result, path, {SCORES: scores(seed), VALIDATION_SCORES: scores(seed + 100)})
    return path


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> list[Path]:
    """Folders of a joint, a bone and a motion result."""
    monkeypatch.chdir(tmp_path)
    folders = [saved(stream, stream, seed).parent for seed, stream in enumerate(("joint", "bone", "motion"))]
    capsys.readouterr()
    return folders


def read(path: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
    return content


# --- what is saved --------------------------------------------------------------------------------


def test_equal_weights_unless_told(runs: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    result = ensemble(runs)
    said = capsys.readouterr()
    fused = fuse([scores(0), scores(1), scores(2)], [1 / 3] * 3)
    on_disk = read("runs/ensemble/ensemble-xsub.json")
    assert on_disk["top1_last_epoch"] == result["top1_last_epoch"] == fused.top1
    assert on_disk["confusion"] == fused.confusion().tolist() and list(on_disk["top1_per_class"]) == CLASSES
    assert on_disk["weights"] == [1 / 3] * 3 and on_disk["streams"] == ["joint", "bone", "motion"]
    assert torch.equal(Scores.load(Path("runs/ensemble/ensemble-xsub-scores.npz")).scores, fused.scores)
    assert f"ensemble top1_last_epoch: {fused.top1:.2f} %  (chance 33.33 %)" in said.out
    assert f"bone top1: {scores(1).top1:.2f} %" in said.out
    assert "runs/ensemble/ensemble-xsub.json" in said.err.replace("\n", "")
    assert {"command", "versions", "git_revision", "data", "test_sequences"} <= set(on_disk)


def test_each_result_stands_beside_the_fused_one(runs: list[Path]) -> None:
    for seed, single in enumerate(ensemble(runs, weights=[1, 2, 0.5])["results"]):
        path = runs[seed] / "linear-xsub.json"
        assert single["path"] == str(path) and single["sha256"] == file_hash(path)
        assert single["scores_sha256"] == file_hash(runs[seed] / "linear-xsub-scores.npz")
        assert single["top1"] == scores(seed).top1 and single["weight"] == [1, 2, 0.5][seed]


def test_weights_of_the_command_line_are_in_the_order_of_the_results(runs: list[Path]) -> None:
    main(shlex.split("ensemble --results runs/motion runs/joint --weights 0.2 1 --out fused"))
    result = read("fused/ensemble-xsub.json")
    assert result["streams"] == ["motion", "joint"] and result["weights"] == [0.2, 1.0]
    assert result["top1_last_epoch"] == fuse([scores(2), scores(0)], [0.2, 1]).top1
    assert result["options"]["results"] == ["runs/motion", "runs/joint"]


def test_files_and_folders_of_any_protocol(runs: list[Path]) -> None:
    saved("joint", "joint", 7, protocol="finetune-10pct")
    other = saved("bone", "bone", 8, protocol="finetune-10pct")
    result = ensemble([runs[0], other], protocol="finetune-10pct")
    assert result["top1_last_epoch"] == fuse([scores(7), scores(8)], [0.5, 0.5]).top1
    assert [single["protocol"] for single in result["results"]] == ["finetune-10pct"] * 2


def test_an_ensemble_of_other_results_is_not_overwritten(runs: list[Path]) -> None:
    first = ensemble(runs)
    again = ensemble(runs, weights=[1, 1, 0])
    assert again["weights"] != first["weights"]
    with pytest.raises(ValueError, match=r"ensemble-xsub\.json is not of these results: .*--out"):
        ensemble(runs[:2])
    assert read("runs/ensemble/ensemble-xsub.json")["weights"] == [1, 1, 0]


def test_remarks_of_the_results_hold_for_the_fused_one(runs: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    for seed, stream in enumerate(("joint", "bone")):
        saved(stream, stream, seed, remarks=["Trained with labels"])
    capsys.readouterr()
    assert ensemble(runs)["remarks"] == ["Trained with labels"]
    assert capsys.readouterr().err.count("Trained with labels\n") == 1


# --- weights chosen on a validation side ----------------------------------------------------------


def test_validation_weights_see_nothing_of_the_test_side(runs: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    main(shlex.split("ensemble --results runs/joint runs/bone runs/motion --weights validation"))
    result = read("runs/ensemble/ensemble-xsub.json")
    validation = [scores(100), scores(101), scores(102)]
    assert tuple(result["weights"]) == best_weights(validation)
    assert result["validation_top1"] == fuse(validation, result["weights"]).top1
    assert result["top1_last_epoch"] == fuse([scores(0), scores(1), scores(2)], result["weights"]).top1
    assert f"ensemble validation_top1: {result['validation_top1']:.2f} %" in capsys.readouterr().out


def test_validation_needs_scores_of_this_probe(runs: list[Path]) -> None:
    saved("bone", "bone", 1, settings={"validation": 0.0})  # the file of an earlier probe lies there still
    with pytest.raises(ValueError, match=r"runs/bone/linear-xsub\.json was made without validation: .*--validation"):
        ensemble(runs, weights="validation")


def test_only_linear_results_have_validation_scores(runs: list[Path]) -> None:
    folders = [saved(stream, stream, 4, protocol="finetune").parent for stream in ("joint", "bone")]
    with pytest.raises(ValueError, match=r"runs/joint/finetune-xsub\.json: only results of hiclr linear have"):
        ensemble(folders, protocol="finetune", weights="validation")


def test_validation_sides_must_be_the_same(runs: list[Path]) -> None:
    part = scores(101)
    Scores(part.names[1:], part.labels[1:], part.scores[1:]).save(runs[1] / "linear-xsub-validation-scores.npz")
    with pytest.raises(ValueError, match=r"validation-scores\.npz are of different sequences: 1 \(s0\)"):
        ensemble(runs, weights="validation")


# --- the published protocol -----------------------------------------------------------------------


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_published_protocol_takes_the_better_on_test_and_says_so(runs: list[Path], order: tuple[int, ...]) -> None:
    main(["ensemble", "--results", *(str(runs[place]) for place in order), "--published-protocol", "true"])
    result = read("runs/ensemble/ensemble-published-protocol-xsub.json")
    parts = [scores(0), scores(1), scores(2)]  # joint, bone, motion
    both = [fuse(parts, weights).top1 for weights in ([0.5, 0.5, 0.5], [0.6, 0.6, 0.4])]
    assert result["protocol"] == "ensemble-published-protocol"
    assert result["top1_best_weights_on_test"] == max(both) and "top1_last_epoch" not in result
    assert list(result["top1_by_weights"].values()) == both
    assert sorted(result["weights"]) in ([0.5, 0.5, 0.5], [0.4, 0.6, 0.6])
    assert not Path("runs/ensemble/ensemble-xsub.json").exists()


def test_published_weights_follow_the_streams(runs: list[Path]) -> None:
    wrong = Scores(NAMES, LABELS, 3 * torch.eye(3)[(LABELS + 1) % 3])  # the less of it, the better
    save(
        read("runs/motion/linear-xsub.json") | by_class(wrong, CLASSES),
        Path("runs/motion/linear-xsub.json"),
        {SCORES: wrong},
    )
    assert ensemble([runs[2], runs[0], runs[1]], published_protocol=True)["weights"] == [0.4, 0.6, 0.6]


def test_published_protocol_needs_its_three_streams(runs: list[Path]) -> None:
    twice = saved("joint2", "joint", 5)
    with pytest.raises(ValueError, match="one result each of joint, bone, motion, got joint, bone, joint"):
        ensemble([*runs[:2], twice], published_protocol=True)
    with pytest.raises(ValueError, match=r"got joint, bone$"):
        ensemble(runs[:2], published_protocol=True)
    with pytest.raises(ValueError, match="leave --weights out"):
        ensemble(runs, weights=[1, 1, 1], published_protocol=True)


# --- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        ("--results [runs/joint]", "needs at least two results, got 1"),
        ("--results runs/joint runs/joint", "runs/joint/linear-xsub.json is named twice"),
        ("--results runs/joint runs/gone", "no result runs/gone: make it first"),
        ("--results runs/joint runs/bone --protocol knn", "no result runs/joint/knn-xsub.json"),
        ("--results runs/joint runs/bone --benchmark xview", "no result runs/joint/linear-xview.json"),
        ("--results runs/joint runs/bone --weights 1 2 3", "2 results need 2 weights"),
        ("--results runs/joint runs/bone --weights 1 -2", "positive numbers or zero"),
        ("--results runs/joint runs/bone --weights 0 0", "not all zero"),
        ("--results runs/joint runs/bone --weights test", "cannot be test"),
        ("--results runs/joint runs/other", "of different data (source_hash 1234 and 99)"),
        ("--results runs/joint runs/xview", "of different data (benchmark xsub and xview)"),
        ("--results runs/joint runs/broken.json", "runs/broken.json is no JSON"),
        ("--results runs/joint runs/list.json", "runs/list.json is no result of one encoder"),
        ("--results runs/joint runs/stale", "holds other scores than runs/stale/linear-xsub.json"),
        ("--results runs/joint runs/bare", "no scores runs/bare/linear-xsub-scores.npz"),
    ],
)
def test_refusal_is_one_sentence_and_nothing_is_written(
    runs: list[Path], capsys: pytest.CaptureFixture[str], command: str, sentence: str
) -> None:
    saved("other", "bone", 1, data={**DATA, "source_hash": "99"})
    saved("xview", "bone", 1, data={**DATA, "benchmark": "xview"})
    Path("runs/broken.json").write_text("{", encoding="utf-8")
    Path("runs/list.json").write_text("[1]", encoding="utf-8")
    scores(9).save(saved("stale", "bone", 1).with_name("linear-xsub-scores.npz"))
    saved("bare", "bone", 1).with_name("linear-xsub-scores.npz").unlink()
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        main(["ensemble", *shlex.split(command)])
    said = capsys.readouterr().err.strip()
    assert stopped.value.code == 2
    assert sentence in said and said.startswith("hiclr: ") and "\n" not in said
    assert not Path("runs/ensemble").exists()


def test_scores_of_other_sequences_are_refused(runs: list[Path]) -> None:
    other = Scores(tuple(name.upper() for name in NAMES), LABELS, scores(1).scores)
    other.save(runs[1] / "linear-xsub-scores.npz")
    with pytest.raises(ValueError, match=r"different sequences: 120 \(S0, S1, S10, \.\.\.\)"):
        ensemble(runs)
    assert np.array_equal(other.confusion(), scores(1).confusion())  # only the names tell
