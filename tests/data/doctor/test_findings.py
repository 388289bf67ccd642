"""Each fault is found, counted and weighed; nothing is found where nothing is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hiclr.data.corpora import npz
from hiclr.data.corpora.base import Corpus
from hiclr.data.doctor.facts import all_facts
from hiclr.data.doctor.findings import Checkup, Finding, about_recordings
from hiclr.data.doctor.splits import about_corpus, kept_apart
from hiclr.skeleton import SKELETONS
from writers.people import corpus_of, person

Recordings = list[Any]


def checkup_of(corpus: Corpus, kind: str = "npz") -> Checkup:
    facts = all_facts(corpus, centred=False, processes=1, progress=False)
    return Checkup(Path("drawn.npz"), kind, corpus, facts)


def findings_of(corpus: Corpus, kind: str = "npz") -> list[Finding]:
    checkup = checkup_of(corpus, kind)
    return [*about_corpus(checkup), *about_recordings(checkup)]


def the_one(corpus: Corpus, kind: str = "npz") -> Finding:
    (finding,) = findings_of(corpus, kind)
    return finding


@pytest.fixture
def people() -> Recordings:
    return [person(20, seed=seed) for seed in range(200)]


def test_nothing_is_found_where_nothing_is_wrong(people: Recordings) -> None:
    assert findings_of(corpus_of(people)) == []


@pytest.mark.parametrize("name", ["utd_mhad", "ui_prmd_kinect"])
def test_nothing_is_found_in_clean_real_data(shared: Path, name: str) -> None:
    assert findings_of(npz(shared / "data" / f"{name}.npz")) == []


# --- recordings that cannot be used -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("recording", "what", "name"),
    [
        (ValueError("r3.txt line 2: cut"), "cannot be read", "r3.txt line 2: cut"),
        (ValueError("the file is cut"), "cannot be read", "r3: the file is cut"),
        (np.full((9, 1, 25, 3), np.nan, np.float32), "NaN (or an empty cell), or coordinates beyond 1,000,000 m", "r3"),
        (np.zeros((9, 2, 25, 3), np.float32), "no (first) body in any frame", "r3"),
        (np.zeros((0, 0, 25, 3), np.float32), "no (first) body in any frame", "r3"),
    ],
)
def test_a_few_useless_recordings_are_looked_at_many_spoil(
    people: Recordings, recording: Any, what: str, name: str
) -> None:
    people[3] = recording
    finding = the_one(corpus_of(people))
    assert (finding.what, finding.count, finding.severity, finding.names) == (what, 1, "look", (name,))
    assert finding.done == "left out, named in about.json"
    for row in (10, 11, 12):
        people[row] = recording
    assert the_one(corpus_of(people)).severity == "look"  # 2 %
    people[13] = recording
    assert the_one(corpus_of(people)).severity == "spoils"


def test_useless_recordings_are_weighed_together(people: Recordings) -> None:
    people[:5] = [ValueError("cut"), ValueError("cut"), *[np.full((2, 1, 25, 3), np.inf, np.float32)] * 3]
    assert [(one.count, one.severity) for one in findings_of(corpus_of(people))] == [(2, "spoils"), (3, "spoils")]


def test_empty_files_are_counted(people: Recordings, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "full").write_text("full")
    people[:2] = [ValueError("cut")] * 2
    corpus = replace(corpus_of(people), files=(tmp_path / "empty", tmp_path / "full", tmp_path / "gone"))
    assert the_one(corpus).what == "cannot be read (1 empty)"


def test_another_body_than_the_first_is_told(people: Recordings) -> None:
    people[3] = np.concatenate([np.zeros_like(people[3]), people[3]], axis=1)
    assert the_one(corpus_of(people)).advice == "1 of them show another body: --actors motion takes it."


# --- recordings that show little, or odd things -----------------------------------------------------------------------


def test_one_frame(people: Recordings) -> None:
    people[3] = people[3][:1]
    finding = the_one(corpus_of(people))
    assert (finding.what, finding.severity, finding.names) == ("one frame only", "look", ("r3",))


def test_frames_without_the_first_body(people: Recordings) -> None:
    people[3][4] = 0
    finding = the_one(corpus_of(people))
    assert (finding.what, finding.severity, finding.names) == ("frames without the first body", "fine", ("r3",))


def test_frozen_bodies(people: Recordings) -> None:
    people[3] = person(40)
    people[3][10:24] = people[3][10]  # 14 frames
    assert findings_of(corpus_of(people)) == []
    people[3][10:25] = people[3][10]
    people[4] = np.repeat(people[4][:1], 3, axis=0)  # short, but still altogether
    finding = the_one(corpus_of(people))
    assert (finding.severity, finding.names) == ("look", ("r3", "r4"))
    assert finding.what == "frozen: no movement in 15 frames or at all"


def test_frozen_bodies_of_resampled_sequences(people: Recordings) -> None:
    people[3][5:10] = people[3][5]  # four steps of 20 frames: of 69 frames it is 13.8 steps, of 70 it is 14
    corpus = corpus_of(people, length=np.where(np.arange(200) == 3, 69, 5000))
    assert not [one for one in findings_of(corpus, "prepared") if one.what.startswith("frozen")]
    finding = the_one(corpus_of(people, length=70), "prepared")
    assert (finding.names, finding.done) == (("r3",), "used as it is")
    people[4] = np.repeat(people[4][:1], 20, axis=0)  # one frame is no frozen body
    assert the_one(corpus_of(people[4:5] + people[5:], length=[1] + [30] * 195), "prepared").what == "one frame only"


def test_crowds(people: Recordings) -> None:
    people[3] = np.concatenate([person(20, seed) + np.float32([3 * seed, 0, 0]) for seed in range(3)], axis=1)
    finding = the_one(corpus_of(people))
    assert (finding.what, finding.severity, finding.done) == (
        "more than 2 bodies",
        "fine",
        "the first 2 in file order kept",
    )


def test_body_switches(people: Recordings) -> None:
    pair = np.concatenate([person(20, seed=1), person(20, seed=2) + np.float32(1.5)], axis=1)
    people[3] = pair
    assert findings_of(corpus_of(people)) == []
    people[3] = np.concatenate([pair[:9], pair[9:, ::-1]])
    finding = the_one(corpus_of(people))
    assert (finding.what, finding.severity, finding.names) == ("bodies change places", "look", ("r3",))
    assert finding.advice.endswith("hiclr prepare npz drawn.npz data/drawn --actors=motion")


def test_impossible_bones(people: Recordings) -> None:
    people[3][:4, 0, 3] += 0.7
    assert findings_of(corpus_of(people)) == []
    people[3][:5, 0, 3] += 0.7
    finding = the_one(corpus_of(people))
    assert (finding.what, finding.names) == ("impossible bone lengths in over 20% of the frames", ("r3",))


@pytest.mark.parametrize(
    ("factor", "what", "severity"),
    [
        (1000, "millimetres?", "spoils"),
        (100, "centimetres?", "spoils"),
        (10, "no metres", "spoils"),
        (0.1, "no metres", "look"),
        (0.01, "no metres", "spoils"),
    ],
)
def test_units_are_one_finding(people: Recordings, factor: float, what: str, severity: str) -> None:
    corpus = corpus_of([np.float32(factor) * one for one in people])
    finding = the_one(corpus)
    assert finding.what.endswith(what) and finding.severity == severity and finding.count == 200
    assert "`scale`" in finding.advice
    assert findings_of(replace(corpus, planar=True)) == []


def test_units_of_clips_are_an_option(people: Recordings) -> None:
    finding = the_one(corpus_of([np.float32(1000) * one for one in people]), "clips")
    assert finding.advice == "State the units: --units=mm."


def test_one_body_of_impossible_size(people: Recordings) -> None:
    people[3] *= np.float32(0.1)
    finding = the_one(corpus_of(people))
    assert (finding.severity, finding.names) == ("look", ("r3",))


@pytest.mark.parametrize(
    ("copies", "what", "severity", "count"),
    [
        ((0, 2), "duplicates", "look", 1),
        ((0, 1), "duplicates across train and test of xsub", "spoils", 1),
        ((0, 4), "duplicates, 1 with several labels", "look", 1),
        ((0, 2, 8, 11), "duplicates across train and test of xsub", "spoils", 3),
    ],
)
def test_duplicates(people: Recordings, copies: Sequence[int], what: str, severity: str, count: int) -> None:
    for copy in copies[1:]:
        people[copy] = people[copies[0]].copy()
    finding = the_one(corpus_of(people))
    assert (finding.what, finding.severity, finding.count) == (what, severity, count)
    assert finding.names == (" = ".join(f"r{copy}" for copy in copies),)


def test_useless_recordings_are_no_duplicates(people: Recordings) -> None:
    nothing: NDArray[np.float32] = np.zeros((4, 1, 25, 3), np.float32)
    people[:4] = [nothing, nothing, ValueError("cut"), ValueError("cut")]
    assert not [one for one in findings_of(corpus_of(people)) if one.what.startswith("duplicates")]


# --- the corpus -------------------------------------------------------------------------------------------------------


def test_missing_and_surplus_files(people: Recordings) -> None:
    corpus = replace(corpus_of(people), absent=("a", "b"), surplus=("c",))
    missing, surplus = findings_of(corpus)
    assert (missing.count, missing.names, missing.severity) == (2, ("a", "b"), "look")
    assert (surplus.count, surplus.names, surplus.done) == (1, ("c",), "left out")
    assert findings_of(replace(corpus, published={"xsub": (100, 100)}))[0].severity == "spoils"


def test_published_counts(people: Recordings) -> None:
    corpus = corpus_of(people)
    assert findings_of(replace(corpus, published={"xsub": (100, 100)})) == []
    finding = the_one(replace(corpus, published={"xsub": (90, 95)}), "ntu60")
    assert (finding.what, finding.count, finding.severity) == (
        "xsub: 100 / 100 sequences, published 90 / 95",
        15,
        "spoils",
    )
    assert finding.advice.endswith("hiclr prepare ntu60 drawn.npz data/drawn --missing=LIST.txt")
    people[3] = ValueError("cut")  # what is left out does not count
    assert findings_of(replace(corpus_of(people), published={"xsub": (100, 99)}))[0].what == "cannot be read"


def test_a_side_without_sequences(people: Recordings) -> None:
    finding = the_one(corpus_of(people, xsub="train"))
    assert (finding.what, finding.severity) == ("xsub: no test sequences", "spoils")


@pytest.mark.parametrize(
    ("alone", "what", "severity"),
    [("test", "xsub: classes only in test", "spoils"), ("train", "xsub: classes only in train", "look")],
)
def test_classes_on_one_side(people: Recordings, alone: str, what: str, severity: str) -> None:
    corpus = corpus_of(people)
    corpus.samples["label"] = (corpus.samples["xsub"] == alone) & (corpus.samples.index > 99)
    corpus.samples["label"] = corpus.samples["label"].astype(int)
    finding = the_one(corpus)
    assert (finding.what, finding.severity, finding.names) == (what, severity, ("sit",))


def test_labels(people: Recordings) -> None:
    finding = the_one(corpus_of(people, label=1))
    assert (finding.what, finding.severity, finding.names) == ("all labels are of one class", "spoils", ("sit",))
    corpus = corpus_of(people)
    finding = the_one(replace(corpus, class_names=("walk", "sit", "fly", "swim")))
    assert (finding.count, finding.severity, finding.names) == (2, "look", ("fly", "swim"))


def test_no_benchmark(people: Recordings) -> None:
    corpus = replace(corpus_of(people, label=0), benchmarks=(), class_names=("unlabelled",))
    finding = the_one(corpus, "clips")
    assert finding.severity == "look" and finding.what.startswith("no benchmark")
    assert finding.advice == "For evaluation, divide it: --split_by=subject."
    nobody = replace(corpus, samples=corpus.samples.assign(subject=0))
    assert the_one(nobody, "clips").advice.endswith("tell labels and subjects: --table=FILE.csv --split_by=subject.")


@pytest.mark.parametrize("factor", [1, 1000])
@pytest.mark.parametrize(
    ("turn", "what", "severity", "option"),
    [
        ([1, -1, 1], "bodies are upside down", "spoils", "--up=-y"),
        ([[1, 0, 0], [0, 0, -1], [0, 1, 0]], "bodies lie along z", "look", "--up=z"),
        ([[0, 1, 0], [1, 0, 0], [0, 0, 1]], "bodies lie along x", "look", ""),
    ],
)
def test_bodies_should_stand(factor: int, turn: Any, what: str, severity: str, option: str) -> None:
    standing = [upright(person(20, seed=seed)) for seed in range(40)]
    assert not findings_of(corpus_of(standing))
    matrix = np.diag(turn) if np.ndim(turn) == 1 else np.array(turn).T
    turned = corpus_of([np.float32(factor) * (one @ matrix).astype(np.float32) for one in standing])
    found = [finding for finding in findings_of(turned, "clips") if finding.what == what]
    assert [(finding.severity, finding.count) for finding in found] == [(severity, 40)]
    checkup = Checkup(Path("c"), "clips", turned, all_facts(turned, False, 1, False), {"table": "t.csv"})
    options = " ".join(["--table=t.csv", *["--units=mm"] * (factor > 1), *[option] * bool(option)])
    assert checkup.command() == f"hiclr prepare clips c data/drawn {options}"


def test_options_that_were_stated_are_not_asked_for_again(people: Recordings) -> None:
    upside_down = [np.float32([1, -1, 1]) * upright(person(20, seed=seed)) for seed in range(40)]
    corpus = corpus_of([1000 * one for one in upside_down])
    facts = all_facts(corpus, False, 1, False)
    stated = {"units": "mm", "up": "-y"}  # so it was stated wrongly, both times
    assert Checkup(Path("c"), "clips", corpus, facts, stated).better == {"up": "y"}
    assert Checkup(Path("c"), "clips", corpus, facts).better == {"up": "-y", "units": "mm"}
    assert Checkup(Path("c"), "npz", corpus, facts).better == {}


def upright(frames: NDArray[np.float32]) -> NDArray[np.float32]:
    """The same person, turned so that the shoulders are above the hips."""
    ntu = SKELETONS["ntu25"]
    shoulders = frames[:, 0, list(ntu.shoulder_pair)].mean(1)
    hips = frames[:, 0, [ntu.index("hip_left"), ntu.index("hip_right")]].mean(1)
    trunk = np.median(shoulders - hips, axis=0)
    up, axis = trunk / np.linalg.norm(trunk), np.array([0.0, 1, 0])
    half = (up + axis) / np.linalg.norm(up + axis)
    return (2 * (frames @ half)[..., None] * half - frames).astype(np.float32)


def test_what_a_benchmark_keeps_apart(people: Recordings) -> None:
    everyone = 1 + np.arange(200) // 8 % 4  # each on both sides
    finding = the_one(corpus_of(people, subject=everyone))
    assert (finding.what, finding.severity, finding.names) == (
        "xsub: subjects on both sides",
        "spoils",
        ("1", "2", "3", "4"),
    )
    sides = corpus_of(people).samples["xsub"]
    assert findings_of(corpus_of(people, subject=0)) == []  # unknown
    assert findings_of(corpus_of(people, subject=np.where(np.arange(200) < 50, 0, 1 + np.arange(200) % 4))) == []
    by_camera = corpus_of(people, subject=everyone, camera=1 + np.arange(200) % 2, xview=sides)
    assert findings_of(replace(by_camera, benchmarks=("xview",))) == []  # shares subjects by design
    by_hall = corpus_of(people, hall=["north", "south"] * 100, xhall=sides)
    assert findings_of(by_hall) == []
    assert the_one(corpus_of(people, hall="north", xhall=sides)).what == "xhall: halls on both sides"
    other = replace(corpus_of(people, subject=everyone, fold=sides), benchmarks=("fold",))
    assert the_one(other).severity == "look"


def test_which_column_a_benchmark_keeps_apart(people: Recordings) -> None:
    samples = corpus_of(people, hall=1).samples
    names = ("xsub", "xview", "xset", "xhall", "xroom", "hall", "fold")
    assert [kept_apart(name, samples) for name in names] == ["subject", "camera", "setup", "hall", None, None, None]
