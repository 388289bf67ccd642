"""The result page: one file, every number on it, and nothing that a stranger's name could make it do."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from hiclr.report import Picture, Row, standard_pictures, write_report
from hiclr.skeleton import SKELETONS

SKELETON = SKELETONS["kinect20"]
HOSTILE = "<script>alert('x')</script>"


class Page(HTMLParser):
    """The tags of a page, the text of each kind of element, the cells of each table row."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.lines: list[list[str]] = []
        self.texts: list[str] = []
        self.in_cell = False
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.lines.append([])
        self.in_cell = tag in ("th", "td")
        if self.in_cell:
            self.lines[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        self.in_cell = False

    def handle_data(self, data: str) -> None:
        self.texts.append(data)
        if self.in_cell:
            self.lines[-1][-1] += data

    def line(self, name: str) -> list[str]:
        """The cells behind a name that stands once."""
        (found,) = [cells for cells in self.lines if cells and cells[0] == name]
        return found[1:]

    def pictures(self) -> list[np.ndarray[Any, Any]]:
        sources = [attrs["src"] or "" for tag, attrs in self.tags if tag == "img"]
        head = "data:image/png;base64,"
        assert all(source.startswith(head) for source in sources)
        return [matplotlib.image.imread(io.BytesIO(base64.b64decode(source[len(head) :]))) for source in sources]


def result(protocol: str, figures: Mapping[str, Any], settings: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    """As `hiclr.cli` returns it."""
    return {
        "protocol": protocol,
        **figures,
        "chance": 100 / 3,
        "top1_per_class": {"walk": 71.43, HOSTILE: 12.34, "sit & stand": 0.0},
        "confusion": [[5, 2, 0], [1, 1, 6], [0, 0, 0]],
        "stream": "joint",
        "settings": settings,
        "data": {
            "root": "data/mine",
            "corpus": "mine",
            "synthetic": False,
            "source_hash": "abc123",
            "sequences": 987,
            "benchmark": "xsub",
        },
        "train_sequences": 654,
        "test_sequences": 250,
        "pretraining": {
            "data": {},
            "max_epochs": 7,
            "seed": 3,
            "command": "hiclr pretrain --seed 3",
            "options": {"method": {"class_path": "hiclr.HiCLR", "init_args": {"temperature": 0.07}}, "max_epochs": 7},
        },
        "command": f"hiclr {protocol} --checkpoint runs/a",
        "options": None,
        "git_revision": "0123456789ab-dirty",
        "versions": {"python": "3.11.7", "hiclr": "0.1.0"},
        "machine": "Linux x86_64",
        **changes,
    }


def linear(last: float = 61.23, best: float = 64.56, **changes: Any) -> dict[str, Any]:
    figures = {"top1_last_epoch": last, "top1_best_on_test": best}
    return result("linear", figures, {"epochs": 100, "lr": 3.0}, **changes)


def knn(top1: float = 45.67, **changes: Any) -> dict[str, Any]:
    return result("knn", {"top1": top1}, {"k": [5, 10]}, **changes)


def page(path: Path, *rows: Row, pictures: tuple[Picture, ...] = (), **options: Any) -> Page:
    write_report(path / "page.html", rows, pictures, 50, SKELETON, **options)
    return Page(path / "page.html")


UNTRAINED = Row("untrained encoder", linear(20.5, 21.75), knn(15.25))
TRAINED = Row("HiCLR", linear(), knn())


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Page:
    """A page with all there is on one."""
    x = np.random.default_rng(0).normal(0, 0.3, (3, 12, 20, 1))
    metrics = pd.DataFrame({"epoch": [1, 2], "loss": [2.0, 1.0]})
    pictures = standard_pictures({"original": x, "BA": x}, SKELETON, metrics, linear())
    return page(tmp_path_factory.mktemp("full"), UNTRAINED, TRAINED, pictures=tuple(pictures), title="A & B <i>")


def test_the_page_is_one_small_file_that_asks_for_nothing(full: Page) -> None:
    assert len(full.source) < 10e6
    tags = {tag for tag, _ in full.tags}
    assert not tags & {"script", "link", "iframe", "object", "embed", "base", "form", "svg"}
    assert not any(name.startswith("on") or name == "href" for _, attrs in full.tags for name in attrs)
    for outside in ("http://", "https://", "//", "url(", "@import"):
        assert outside not in "".join(piece.split('"')[-1] for piece in full.source.split("base64,"))
    sources = [attrs["src"] for _, attrs in full.tags if "src" in attrs]
    assert len(sources) == 3 and all(str(source).startswith("data:") for source in sources)
    (policy,) = [attrs["content"] for tag, attrs in full.tags if attrs.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None and policy.startswith("default-src 'none'")


def test_the_pictures_are_the_figures(full: Page) -> None:
    for image in full.pictures():
        height, width = image.shape[:2]
        assert width > 1500 and height > 300
        assert image[..., :3].std() > 0.01
    titles = [attrs["alt"] for tag, attrs in full.tags if tag == "img"]
    assert titles == ["One sequence under the growing views", "Pre-training", "Which action is taken for which"]
    assert sum(tag == "figcaption" for tag, _ in full.tags) == 3


def test_the_accuracy_table_holds_all_figures(full: Page) -> None:
    assert full.lines[:4] == [
        ["", "linear, last epoch", "linear, best on test *", "kNN, k = 5"],
        ["chance", "33.33", "33.33", "33.33"],
        ["untrained encoder", "20.50", "21.75", "15.25"],
        ["HiCLR", "61.23", "64.56", "45.67"],
    ]
    words = " ".join(" ".join(full.texts).split())
    assert "chosen on the test side" in words and "one sequence is 0.40 points" in words


def test_the_page_says_of_what_and_how(full: Page) -> None:
    assert full.line("corpus") == ["mine"]
    assert full.line("sequences") == ["987"]
    assert full.line("classes") == ["3"]
    assert full.line("benchmark") == ["xsub: 654 to train, 250 to test"]
    assert full.line("a sequence") == ["50 frames of 20 joints (kinect20)"]
    assert full.line("git revision") == ["0123456789ab-dirty"]
    assert full.line("hiclr") == ["0.1.0"]
    assert full.line("lr") == ["3.0"]
    assert full.line("k") == ["[5, 10]"]
    assert full.line("method") == ["hiclr.HiCLR"]
    assert full.line("method.temperature") == ["0.07"]
    (commands,) = [text for text in full.texts if text.startswith("hiclr pretrain")]
    commands_expected = ["hiclr pretrain --seed 3", "hiclr linear --checkpoint runs/a", "hiclr knn --checkpoint runs/a"]
    assert commands.splitlines() == commands_expected


def test_settings_that_differ_stand_side_by_side(tmp_path: Path) -> None:
    before = {**linear()["pretraining"], "max_epochs": 0}
    shown = page(tmp_path, Row("untrained", linear(pretraining=before)), TRAINED)
    assert shown.line("max_epochs") == ["0", "7"]
    assert shown.line("seed") == ["3"]
    assert ["", "untrained", "HiCLR"] in shown.lines


def test_published_weights_without_a_known_training_have_a_page(tmp_path: Path) -> None:
    shown = page(tmp_path, Row("published", linear(pretraining={}, command=None, git_revision=None)))
    assert "Pre-training" not in shown.texts
    assert "Made by calls from Python." in shown.texts
    assert shown.line("git revision") == ["–"]


def test_a_stated_command_replaces_those_of_the_results(tmp_path: Path) -> None:
    shown = page(tmp_path, TRAINED, command="hiclr demo && echo")
    assert "hiclr demo && echo" in shown.texts and "hiclr pretrain" not in shown.source


def test_any_list_of_rows_makes_a_table(tmp_path: Path) -> None:
    rows = [
        Row(f"method {i}", linear(10 + i, 20 + i) if i else None, knn(30 + i) if i != 1 else None) for i in range(3)
    ]
    shown = page(tmp_path, *rows)
    assert shown.line("method 0") == ["–", "–", "30.00"]
    assert shown.line("method 1") == ["11.00", "21.00", "–"]
    assert shown.line("method 2") == ["12.00", "22.00", "32.00"]


def test_a_page_without_neighbours_names_no_k(tmp_path: Path) -> None:
    assert page(tmp_path, Row("HiCLR", linear())).lines[0][-1] == "kNN"


def test_each_action_has_its_accuracy_but_those_never_tested(full: Page) -> None:
    words = [text.strip() for text in full.texts if text.strip()]
    assert [words[words.index(name) + 1] for name in ("walk", HOSTILE, "sit & stand")] == ["71.43", "12.34", "–"]


@pytest.mark.parametrize("synthetic", [False, True])
def test_synthetic_data_are_called_so(tmp_path: Path, synthetic: bool) -> None:
    data = {**linear()["data"], "synthetic": synthetic}
    shown = page(tmp_path, Row("HiCLR", linear(data=data), knn(data=data)))
    assert any(attrs.get("class") == "badge" for _, attrs in shown.tags) is synthetic
    assert ("synthetic" in shown.source) is synthetic


def test_names_of_strangers_stay_text(tmp_path: Path) -> None:
    bad = '"><img src=x onerror=alert(1)>'
    hostile = linear(data={**linear()["data"], "corpus": bad}, command=bad, machine=bad, versions={bad: bad})
    picture = Picture(bad, Figure(figsize=(1, 1)), HOSTILE)
    shown = page(tmp_path, Row(bad, hostile), pictures=(picture,), title=HOSTILE)
    tags = [tag for tag, _ in shown.tags]
    assert "script" not in tags and tags.count("img") == 1
    assert shown.texts.count(HOSTILE) == 4  # title, headline, caption, action
    assert shown.line("corpus") == [bad]
    assert [attrs["alt"] for tag, attrs in shown.tags if tag == "img"] == [bad]


@pytest.mark.parametrize("fact", ["corpus", "source_hash", "benchmark", "sequences"])
def test_results_on_different_data_are_not_compared(tmp_path: Path, fact: str) -> None:
    other = {**linear()["data"], fact: "other"}
    with pytest.raises(ValueError, match=f"same data: {fact} differs.*other"):
        page(tmp_path, UNTRAINED, Row("HiCLR", linear(), knn(data=other)))
    assert list(tmp_path.iterdir()) == []


def test_a_page_needs_a_result(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no row has a result"):
        page(tmp_path, Row("HiCLR"))


def test_an_interrupted_write_leaves_the_old_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "new" / "page.html"
    write_report(path, [UNTRAINED], [], 50, SKELETON)
    before = path.read_bytes()
    assert [file.name for file in path.parent.iterdir()] == ["page.html"]

    def half(self: Path, text: str, **_: Any) -> int:
        with self.open("w") as file:
            file.write(text[:100])
        raise OSError("disk full")

    monkeypatch.setattr(Path, "write_text", half)
    with pytest.raises(OSError, match="disk full"):
        write_report(path, [TRAINED], [], 50, SKELETON)
    assert path.read_bytes() == before
