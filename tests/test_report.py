"""The report: what is gathered, what its tables say, what is looked into, and nothing that a name could make it do."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from hiclr.__main__ import main
from hiclr.data.folder import PreparedFolder
from hiclr.evaluation import Scores, scores_path
from hiclr.methods.aimclr import AimCLR
from hiclr.methods.hiclr import HiCLR
from hiclr.methods.skeletonclr import SkeletonCLR
from hiclr.provenance import file_hash
from hiclr.reporting import tables
from hiclr.reporting.gathering import Gathered, Result, gather
from hiclr.reporting.looking import look, probabilities, stratified
from hiclr.reporting.page import page, write_report
from hiclr.reporting.views import drawn_views, named_views
from hiclr.skeleton import SKELETONS
from hiclr.transforms import Shear
from learners import small
from runs import prepared

KINECT = SKELETONS["kinect20"]
HOSTILE = "</script><img src=x onerror=alert(1)>"
CLASSES = ("a", "b", "c")
DATA = {
    "root": "data/mine",
    "corpus": "mine",
    "synthetic": False,
    "source_hash": None,
    "sequences": 24,
    "benchmark": "xsub",
}


def run_facts(seed: int = 0, **changes: Any) -> dict[str, Any]:
    """As a run's `run.json` has them."""
    learner = json.loads(json.dumps(small(HiCLR, arrangement=["BA", "NA"]).settings, default=str))
    facts = {"data": DATA, "batch_size": 8, "max_epochs": 7, "seed": seed, "learner": learner}
    return {**facts, "command": f"hiclr pretrain --seed {seed}", "versions": {"hiclr": "0.1.0"}, **changes}


def result(
    protocol: str, figures: Mapping[str, Any], settings: Mapping[str, Any], seed: int = 0, **changes: Any
) -> dict[str, Any]:
    """As a verb that measures saves it: 8 test sequences, of which 5 are right, none of class c."""
    return {
        "protocol": protocol,
        **figures,
        "chance": 100 / 3,
        "top1_per_class": {"a": 75.0, "b": 50.0, "c": 0.0},
        "confusion": [[3, 1, 0], [1, 2, 1], [0, 0, 0]],
        "stream": "joint",
        "settings": dict(settings),
        "data": DATA,
        "train_sequences": 16,
        "test_sequences": 8,
        "checkpoint": {"path": f"runs/seed{seed}/last.ckpt", "sha256": f"sha{seed}", "epochs": 7},
        "pretraining": run_facts(seed),
        "remarks": [],
        "command": f"hiclr {protocol} --checkpoint runs/seed{seed}",
        "versions": {"hiclr": "0.1.0"},
        "git_revision": None,
        "machine": "Linux",
        **changes,
    }


def linear(top1: float = 61.23, best: float = 64.56, seed: int = 0, lr: float = 3.0, **changes: Any) -> dict[str, Any]:
    by_epoch = {"5": best, "10": top1}
    figures = {"top1_last_epoch": top1, "top1_best_on_test": best, "top1_by_epoch": by_epoch}
    return result("linear", figures, {"lr": lr, "seed": 0}, seed, **changes)


def knn(top1: float = 45.67, seed: int = 0, **changes: Any) -> dict[str, Any]:
    return result("knn", {"top1": top1, "retrieval_map": 40.0}, {"k": [1, 5]}, seed, **changes)


def finetuned(top1: float, fraction: float = 1.0, from_scratch: bool = False) -> dict[str, Any]:
    settings = {"label_fraction": fraction, "labels": 16, "from_scratch": from_scratch, "seed": 0, "max_epochs": 2}
    return result("finetune", {"top1_last_epoch": top1, "top1_best_on_test": top1 + 1}, settings)


def fused(*parts: Path, top1: float = 70.0) -> dict[str, Any]:
    singles = [{"protocol": "linear", "path": str(part), "sha256": file_hash(part)} for part in parts]
    figures = {"top1_last_epoch": top1, "streams": ["joint", "bone"], "weights": [0.5, 0.5], "results": singles}
    content = result("ensemble", figures, {"weights": None})
    return {name: value for name, value in content.items() if name not in ("stream", "checkpoint", "pretraining")}


def save(root: Path, name: str, content: Mapping[str, Any]) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def gathered(root: Path, *contents: Mapping[str, Any]) -> Gathered:
    for place, content in enumerate(contents):
        save(root / "runs", f"{place}/{content['protocol']}-xsub.json", content)
    return gather([root / "runs"])


def columns_of(table: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """The cells of a table by row and column."""
    return {
        f"{row['name']} | {row['stream']}": dict(
            zip(table["columns"], [cell["text"] for cell in row["cells"]], strict=True)
        )
        for row in table["rows"]
    }


# --- gathering ------------------------------------------------------------------------------------


def test_results_of_one_encoder_stand_in_one_row(tmp_path: Path) -> None:
    found = gathered(tmp_path, linear(), knn(), finetuned(80.0), finetuned(40.0, 0.1))
    (table,) = tables.accuracy(found)
    assert columns_of(table) == {
        "HiCLR, 7 epochs | joint": {
            "linear": "61.2",
            "kNN, k = 1": "45.7",
            "retrieval mAP": "40.0",
            "fine-tuned, all labels": "80.0",
            "fine-tuned, 10 % of the labels": "40.0",
        }
    }
    assert found.main is not None and found.main.protocol == "linear"


def test_seeds_make_a_mean_and_a_deviation(tmp_path: Path) -> None:
    found = gathered(tmp_path, linear(50.0, seed=0), linear(60.0, seed=1), linear(70.0, seed=2), knn(30.0, seed=1))
    (encoder,) = found.encoders
    assert encoder.seeds == ["0", "1", "2"]
    ((_, cells),) = columns_of(tables.accuracy(found)[0]).items()
    assert (cells["linear"], cells["kNN, k = 1"]) == ("60.0 ± 10.0", "30.0")


def test_a_result_that_is_there_twice_counts_once(tmp_path: Path) -> None:
    ((_, cells),) = columns_of(tables.accuracy(gathered(tmp_path, linear(), linear()))[0]).items()
    assert cells == {"linear": "61.2"}
    save(tmp_path, "runs/x/linear-xsub.json", linear())
    again = gather([tmp_path / "runs" / "x", tmp_path / "runs"])
    assert len(again.results) == 3


def test_what_differs_makes_another_row_or_column(tmp_path: Path) -> None:
    bone = linear(55.0, stream="bone")
    longer = linear(58.0, pretraining=run_facts(batch_size=16))
    found = gathered(tmp_path, linear(), linear(60.0, lr=1.0), bone, longer, finetuned(20.0, from_scratch=True))
    (table,) = tables.accuracy(found)
    cells = columns_of(table)
    assert list(cells) == [
        "HiCLR, 7 epochs (seed0) (1) | joint",
        "HiCLR, 7 epochs | bone",
        "HiCLR, 7 epochs (seed0) (3) | joint",
        "from scratch | joint",
    ]
    assert table["columns"] == ["linear, lr 3.0", "linear, lr 1.0", "fine-tuned, all labels"]
    assert cells["HiCLR, 7 epochs (seed0) (1) | joint"]["linear, lr 1.0"] == "60.0"
    differing, shared = tables.configurations(found)
    assert differing["rows"]["batch_size"] == ["8", "8", "16"]
    assert shared["rows"]["encoder.skeleton"] == ["kinect20"]
    assert shared["rows"]["views"] == ["BA, BA + NA"]


def test_an_ensemble_stands_in_the_column_of_what_it_fuses(tmp_path: Path) -> None:
    contents = linear(lr=3.0), linear(50.0, lr=1.0), linear(55.0, lr=1.0, stream="bone")
    paths = [save(tmp_path, f"runs/{place}/linear-xsub.json", content) for place, content in enumerate(contents)]
    save(tmp_path, "runs/e/ensemble-xsub.json", fused(*paths[1:]))
    (table,) = tables.accuracy(gather([tmp_path]))
    assert columns_of(table)["ensemble | joint + bone"] == {"linear, lr 3.0": "–", "linear, lr 1.0": "70.0"}
    save(tmp_path, "runs/f/ensemble-xsub.json", fused(paths[0], paths[2], top1=71.0))  # of different settings
    (table,) = tables.accuracy(gather([tmp_path]))
    assert table["columns"] == ["linear, lr 3.0", "linear, lr 1.0", "linear, fused"]
    assert columns_of(table)["ensemble (f) | joint + bone"]["linear, fused"] == "71.0"


def test_other_data_have_a_table_of_their_own(tmp_path: Path) -> None:
    other = {**DATA, "corpus": "theirs"}
    found = gathered(tmp_path, linear(), linear(30.0, data=other))
    first, second = tables.accuracy(found)
    assert (first["data"], second["data"]) == ("mine, xsub", "theirs, xsub")
    assert [columns_of(table)["HiCLR, 7 epochs | joint"]["linear"] for table in (first, second)] == ["61.2", "30.0"]


def test_what_was_chosen_on_the_test_side_is_never_the_headline(tmp_path: Path) -> None:
    part = save(tmp_path, "part/linear-xsub.json", linear())
    published = {**fused(part, part), "protocol": "ensemble-published-protocol", "top1_best_weights_on_test": 77.77}
    del published["top1_last_epoch"]
    found = gathered(tmp_path, linear(), published)
    shown = json.dumps(tables.accuracy(found))
    assert "77.8" not in shown and "64.6" not in shown
    assert [(line["last"], line["best"]) for line in tables.every_result(found)] == [("61.23", "64.56"), ("–", "77.77")]


def test_a_run_that_nobody_measured_has_its_curves(tmp_path: Path) -> None:
    save(tmp_path, "one/run.json", run_facts())
    pd.DataFrame({"epoch": [1, 2], "step": [1, 2], "loss": [2.0, 1.0]}).to_csv(tmp_path / "one/metrics.csv")
    found = gather([tmp_path / "one"])
    assert [(encoder.name, len(encoder.runs)) for encoder in found.encoders] == [("HiCLR, 2 epochs", 1)]
    assert found.main is None
    text = page(found, None, {"missing": "no encoder was measured yet"})
    assert "Nothing was measured yet" in text and '"title":"loss"' in text


def test_a_run_belongs_to_what_was_measured_of_it(tmp_path: Path) -> None:
    save(tmp_path, "one/run.json", run_facts())
    pd.DataFrame({"epoch": range(1, 8), "loss": np.ones(7)}).to_csv(tmp_path / "one/metrics.csv")
    save(tmp_path, "one/linear-xsub.json", linear())
    (encoder,) = gather([tmp_path]).encoders
    assert len(encoder.runs) == len(encoder.results) == 1


def test_spoilt_files_are_named_and_left_out(tmp_path: Path) -> None:
    save(tmp_path, "one/linear-xsub.json", linear())
    (tmp_path / "one" / "knn-xsub.json").write_text('{"protocol": "kn')
    save(tmp_path, "one/finetune-xsub.json", {**finetuned(1.0), "confusion": [[1]]})
    (tmp_path / "one" / "other.json").write_text("[1, 2")
    found = gather([tmp_path])
    assert len(found.results) == 1
    assert [line.split(":")[0].split("/")[-1] for line in found.left_out] == ["finetune-xsub.json", "knn-xsub.json"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("report gone", "no run gone: name a folder that hiclr pretrain"),
        ("report empty", "no run and no result in empty: train"),
        ("report empty --neighbours 8", "neighbours must be from 1 to 7, got 8"),
        ("report empty --sequences 2", "sequences must be at least 3, got 2"),
        ("report empty --out empty", "empty is a folder: name the page"),
        ("report runs --data gone", "no folder gone"),
        ("report", "required"),
    ],
)
def test_failures_are_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: str, sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    save(tmp_path, "runs/linear-xsub.json", linear())
    with pytest.raises(SystemExit) as stopped:
        main(words.split())
    said = capsys.readouterr().err.strip()
    assert stopped.value.code == 2 and sentence in said and "\n" not in said
    assert not Path("report.html").exists()


# --- looking --------------------------------------------------------------------------------------


def answers(root: Path, wrong: int = 3) -> tuple[Result, PreparedFolder]:
    """A prepared folder of 24 sequences, 8 of them tested, and a result on it, some answers of which are wrong."""
    folder = PreparedFolder.open(prepared(root / "data"))
    rows = folder.indices("xsub", "test")
    labels = torch.from_numpy(folder.samples["label"].to_numpy("int64")[rows])
    guessed = labels.clone()
    guessed[:wrong] = (labels[:wrong] + 1) % 3
    logits = torch.nn.functional.one_hot(guessed, 3).float() * torch.arange(1, len(rows) + 1)[:, None]
    scores = Scores(tuple(folder.samples["name"].iloc[rows]), labels, logits)
    content = linear(data={**DATA, "root": str(folder.root)}, confusion=scores.confusion().tolist())
    path = save(root, "run/linear-xsub.json", content)
    scores.save(scores_path(path))
    return Result(path, content), folder


def mean_pose(folder: PreparedFolder) -> Any:
    return lambda rows, what: torch.from_numpy(np.array(folder.sequences[rows])).mean((2, 4)).flatten(1)


def looked(root: Path, **changes: Any) -> dict[str, Any]:
    one, folder = answers(root)
    learner = one.facts["pretraining"]["learner"]
    options = {"features": mean_pose(folder), "learner": learner, "sequences": 400, "neighbours": 5, "seed": 0}
    return look(one, folder, **{**options, **changes})


def test_answers_are_those_of_the_scores(tmp_path: Path) -> None:
    shown = looked(tmp_path)
    examples = {example["row"]: example for example in shown["examples"]}
    assert len(examples) == 8 and shown["test_sequences"] == 8
    wrong = [examples[row] for row in shown["answers"]["wrong"]]
    assert len(wrong) == 3 and all(example["predicted"] != example["label"] for example in wrong)
    sure = [example["probability"] for example in wrong]
    assert sure == sorted(sure, reverse=True)
    assert sure[-1] == pytest.approx(np.e / (np.e + 2), abs=1e-4)  # logits 1, 0, 0
    right = [examples[row] for row in shown["answers"]["right"]]
    assert len(right) == 5 and all(example["predicted"] == example["label"] for example in right)


def test_votes_of_neighbours_are_shares() -> None:
    scores = Scores(("x",), torch.tensor([0]), torch.tensor([[3.0, 1.0]]))
    assert probabilities(scores, "knn").tolist() == [[0.75, 0.25]]
    assert probabilities(scores, "linear")[0, 0].item() == pytest.approx(1 / (1 + np.exp(-2)))


def test_neighbours_are_the_nearest_by_cosine(tmp_path: Path) -> None:
    shown = looked(tmp_path, neighbours=3)
    folder = PreparedFolder.open(tmp_path / "data")
    found = mean_pose(folder)(np.arange(24), "")
    train = folder.indices("xsub", "train")
    for query in shown["neighbours"]["queries"]:
        cosines = {int(row): float(torch.cosine_similarity(found[query["row"]], found[row], dim=0)) for row in train}
        nearest = sorted(cosines, key=lambda row: -cosines[row])[:3]
        assert [one["row"] for one in query["neighbours"]] == nearest
        for one in query["neighbours"]:
            assert one["cosine"] == pytest.approx(cosines[one["row"]], abs=6e-4)
            assert one["label"] == folder.samples["label"].iloc[one["row"]] and str(one["row"]) in shown["sequences"]


def test_the_same_seed_gives_the_same_page(tmp_path: Path) -> None:
    assert looked(tmp_path / "a", seed=3) == looked(tmp_path / "b", seed=3)
    assert looked(tmp_path / "c", seed=4)["views"] != looked(tmp_path / "d", seed=3)["views"]


def test_everything_that_plays_is_packed(tmp_path: Path) -> None:
    shown = looked(tmp_path, sequences=4)
    rows = {example["row"] for example in shown["examples"]}
    assert len(rows) >= 4 and {*shown["answers"]["wrong"], *shown["answers"]["right"]} <= rows
    assert {str(row) for row in rows} <= shown["sequences"].keys()
    (one, *_) = shown["sequences"].values()
    assert one["shape"] == [16, 2, 20] and shown["frames"] == 16


def test_what_cannot_be_shown_says_why(tmp_path: Path) -> None:
    def gone(rows: Any, what: str) -> Tensor:
        raise FileNotFoundError("the weights are gone")

    shown = looked(tmp_path, features=gone, learner={"arrangement": [["Twist(p=1.0)"]]})
    assert shown["features"] == shown["neighbours"] == {"missing": "the weights are gone"}
    assert "augmentations of its own (Twist)" in shown["views"]["missing"]
    assert len(shown["examples"]) == 8 and "wrong" in shown["answers"]
    scores_path(tmp_path / "run" / "linear-xsub.json").unlink()
    one, folder = Result(tmp_path / "run" / "linear-xsub.json", linear()), PreparedFolder.open(tmp_path / "data")
    unknown = look(one, folder, mean_pose(folder), {}, 400, 5, 0)
    assert "no scores" in unknown["answers"]["missing"] and "predicted" not in unknown["examples"][0]
    assert unknown["features"]["kinds"]


def test_too_many_sequences_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"100000 sequences do not fit on one page: set --sequences to at most \d+"):
        looked(tmp_path, sequences=100_000)


def test_a_stratified_draw_takes_from_every_class() -> None:
    labels = np.array([0] * 50 + [1] * 5 + [2] * 2)
    drawn = stratified(labels, 9, seed=0)
    assert np.bincount(labels[drawn]).tolist() == [4, 3, 2] or np.bincount(labels[drawn]).tolist() == [3, 4, 2]
    assert len(set(drawn.tolist())) == 9
    assert stratified(labels, 100, seed=0).tolist() == list(range(57))


# --- views ----------------------------------------------------------------------------------------


def test_views_are_named_by_the_published_sets() -> None:
    growing = small(HiCLR, arrangement="BA,Mask+NA,DAE,AdaIN").settings
    assert named_views(growing, KINECT)[-1][:1] == ["BA"] and named_views(growing, KINECT)[-1][-2:] == ["DAE", "AdaIN"]
    assert [len(names) for names in named_views(growing, KINECT)] == [1, 3, 4, 5]
    assert named_views(small(AimCLR).settings, KINECT) == [["BA"], ["BA", "NA"]]
    assert named_views(small(SkeletonCLR).settings, KINECT) == [["BA"]]
    assert named_views({}, KINECT) == []
    with pytest.raises(ValueError, match=r"augmentations of its own \(Shear\)"):
        named_views({"arrangement": [[str(Shear(amplitude=0.2))]]}, KINECT)


def test_drawn_views_start_with_the_sequence_itself() -> None:
    x = torch.randn(3, 3, 12, 20, 1, generator=torch.Generator().manual_seed(0))
    shown = drawn_views(x, small(HiCLR, arrangement="BA,AdaIN").settings, KINECT, seed=0)
    assert list(shown) == ["as prepared", "BA", "BA + AdaIN"]
    np.testing.assert_array_equal(shown["as prepared"], x[0].numpy())
    assert all(view.shape == (3, 12, 20, 1) for view in shown.values())
    assert not np.allclose(shown["BA"], shown["as prepared"])


# --- the page -------------------------------------------------------------------------------------


class Parsed(HTMLParser):
    """The tags of a page, and its words outside of scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.inside = tag

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""

    def handle_data(self, data: str) -> None:
        if self.inside not in ("script", "style"):
            self.words += f" {' '.join(data.split())}"


def test_names_of_strangers_stay_text(tmp_path: Path) -> None:
    content = linear(
        data={**DATA, "corpus": HOSTILE},
        top1_per_class={HOSTILE: 75.0, "b": 50.0, "c": 0.0},
        command=HOSTILE,
        remarks=[HOSTILE],
        machine=HOSTILE,
        versions={HOSTILE: HOSTILE},
    )
    text = page(gathered(tmp_path, content), None, {"missing": HOSTILE}, title=HOSTILE, data_missing=HOSTILE)
    parsed = Parsed(text)
    tags = [tag for tag, _ in parsed.tags]
    assert "img" not in tags and tags.count("script") == 4
    assert parsed.words.count(HOSTILE) >= 7
    assert not any(name.startswith("on") for _, attrs in parsed.tags for name in attrs)


def test_the_page_allows_its_own_scripts_and_nothing_else(tmp_path: Path) -> None:
    parsed = Parsed(page(gathered(tmp_path, linear()), None, {"missing": "gone"}))
    (policy,) = [attrs["content"] for _, attrs in parsed.tags if attrs.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'" and rules["script-src"].count("'sha256-") == 3
    assert "unsafe" not in rules["script-src"] and "connect-src" not in rules
    assert not any("src" in attrs or tag == "link" for tag, attrs in parsed.tags)


def test_the_first_screen_says_what_was_measured(tmp_path: Path) -> None:
    parsed = Parsed(page(gathered(tmp_path, linear(), knn()), None, {"missing": "gone"}))
    head = parsed.words.partition("Accuracy")[0]
    for words in (
        "HiCLR, 7 epochs",
        "mine",
        "xsub",
        "16 sequences to learn from, 8 to test on",
        "61.2",
        "45.7",
        "33.3",
    ):
        assert words in head
    assert "64.56" in parsed.words and "64.56" not in parsed.words.partition("best on test *")[0]


@pytest.mark.parametrize("synthetic", [False, True])
def test_synthetic_data_are_called_so(tmp_path: Path, synthetic: bool) -> None:
    parsed = Parsed(page(gathered(tmp_path, linear(data={**DATA, "synthetic": synthetic})), None, {"missing": "gone"}))
    assert any(attrs.get("class") == "badge" for _, attrs in parsed.tags) is synthetic
    assert ("computed, not recorded" in parsed.words) is synthetic


def test_remarks_commands_and_missing_parts_are_said(tmp_path: Path) -> None:
    found = gathered(tmp_path, linear(remarks=["The encoder was trained with labels"]))
    words = Parsed(page(found, None, {"missing": "no folder data/mine"}, data_missing="no folder data/mine")).words
    assert "The encoder was trained with labels" in words
    assert "hiclr pretrain --seed 0 hiclr linear --checkpoint runs/seed0" in words
    assert words.count("no folder data/mine") == 5  # data, map, answers, neighbours, views
    assert "hiclr demo" in Parsed(page(found, None, {"missing": "x"}, command="hiclr demo")).words


def test_an_interrupted_write_leaves_the_old_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, found = tmp_path / "new" / "page.html", gathered(tmp_path, linear())
    write_report(path, found, None, {"missing": "gone"})
    before = path.read_bytes()

    def half(self: Path, text: str, **_: Any) -> int:
        with self.open("w") as file:
            file.write(text[:100])
        raise OSError("disk full")

    monkeypatch.setattr(Path, "write_text", half)
    with pytest.raises(OSError, match="disk full"):
        write_report(path, found, None, {"missing": "other"})
    assert path.read_bytes() == before


def test_the_help_says_what_the_verb_does(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--help"])
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  report ")]
    assert "one HTML page of runs" in line
