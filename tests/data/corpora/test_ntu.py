"""Which recordings a corpus has and on which side they are, against the published counts."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hiclr.data.corpora import ntu60, ntu120
from hiclr.data.corpora.ntu import (
    NTU60_CLASSES,
    NTU60_SPLITS,
    NTU120_CLASSES,
    NTU120_SPLITS,
    NTUName,
    Split,
    ntu_name,
    synthetic,
)
from hiclr.skeleton import SKELETONS

NAMES = ("S001C001P001R001A001", "S002C002P003R002A060", "S017C003P040R001A027", "S018C001P041R001A061")
OWNERS_FILE = "NTU_RGBD_samples_with_missing_skeletons.txt"


@pytest.fixture
def raw(tmp_path: Path, write_person: Callable[..., Path]) -> Path:
    for seed, name in enumerate(NAMES):
        write_person(tmp_path / "raw" / f"{name}.skeleton", seed=seed)
    return tmp_path / "raw"


# --- NTU names and splits ---------------------------------------------------------------------------------------------


def test_ntu_names() -> None:
    assert ntu_name("S017C003P040R002A060") == NTUName(17, 3, 40, 2, 60)
    for other in ("S017C003P040R002A060.skeleton", "s017C003P040R002A060", "S17C003P040R002A060", ""):
        assert ntu_name(other) is None


@pytest.mark.parametrize(
    ("corpus", "splits", "published"),
    [
        ("ntu60", NTU60_SPLITS, {"all": 56_578, "xsub": (40_091, 16_487), "xview": (37_646, 18_932)}),
        ("ntu120", NTU120_SPLITS, {"all": 113_945, "xsub": (63_026, 50_919), "xset": (54_468, 59_477)}),
    ],
)
def test_ntu_splits_have_the_published_counts(
    shared: Path, corpus: str, splits: dict[str, Split], published: dict[str, Any]
) -> None:
    with gzip.open(shared / "ntu" / f"{corpus}_available_names.txt.gz", "rt") as lines:
        names = [ntu_name(line.strip()) for line in lines]
    rows = [name for name in names if name]
    assert len(rows) == len(names) == published["all"]
    for benchmark, split in splits.items():
        train = sum(map(split, rows))
        assert (train, len(rows) - train) == published[benchmark]


def test_ntu_class_names_in_the_owners_order() -> None:
    assert (len(NTU60_CLASSES), len(set(NTU60_CLASSES))) == (60, 60)
    assert (len(NTU120_CLASSES), len(set(NTU120_CLASSES))) == (120, 120)
    picked = {1: "drink water", 9: "standing up", 23: "hand waving", 43: "falling", 58: "handshaking"}
    assert {number: NTU60_CLASSES[number - 1] for number in picked} == picked
    picked = {60: "walking apart from each other", 61: "put on headphone", 100: "butt kicks", 112: "high-five"}
    assert {number: NTU120_CLASSES[number - 1] for number in picked} == picked


# --- NTU folders ------------------------------------------------------------------------------------------------------


def test_ntu60_describes_its_recordings(raw: Path) -> None:
    corpus = ntu60(raw)
    assert (corpus.name, corpus.bodies, corpus.synthetic) == ("ntu60", 2, False)
    assert corpus.skeleton is SKELETONS["ntu25"] and corpus.class_names is NTU60_CLASSES
    assert corpus.samples.to_dict("list") == {
        "name": list(NAMES[:3]),
        "label": [0, 59, 26],
        "subject": [1, 3, 40],
        "camera": [1, 2, 3],
        "setup": [1, 2, 17],
        "rep": [1, 2, 1],
        "xsub": ["train", "test", "test"],
        "xview": ["test", "train", "train"],
    }
    assert [corpus.read(row).name for row in range(3)] == list(NAMES[:3])
    assert "academic" in corpus.meta["licence"]


def test_ntu120_takes_all_actions_and_splits_by_setup(raw: Path) -> None:
    corpus = ntu120(raw)
    assert corpus.samples["name"].tolist() == list(NAMES)
    assert corpus.samples["xset"].tolist() == ["test", "train", "test", "train"]
    assert corpus.benchmarks == ("xsub", "xset")


def test_ntu60_says_what_it_left_out(raw: Path, write_person: Callable[..., Path]) -> None:
    write_person(raw / "below" / "holiday.skeleton")
    write_person(raw / "S001C001P001R001A000.skeleton")
    (raw / "readme.txt").write_text("not a recording")
    nothing_given, strange, others = ntu60(raw).notes
    assert OWNERS_FILE in nothing_given and "none was left out" in nothing_given
    assert strange == "1 recordings left out, not named SsssCcccPpppRrrrAaaa: holiday"
    assert others == f"2 recordings left out, of actions other than A001 to A060: S001C001P001R001A000, {NAMES[3]}"


@pytest.mark.parametrize("place", ["given", "in the folder", "beside it"])
def test_ntu60_leaves_out_what_the_owners_list(raw: Path, tmp_path: Path, place: str) -> None:
    paths = {
        "given": tmp_path / "lists" / "mine.txt",
        "in the folder": raw / OWNERS_FILE,
        "beside it": raw.parent / OWNERS_FILE,
    }
    paths[place].parent.mkdir(exist_ok=True)
    paths[place].write_text(f"2 of the samples are missing.\n\n{NAMES[1]}\nS099C001P001R001A001\n")
    corpus = ntu60(raw, missing=paths[place] if place == "given" else None)
    assert corpus.samples["name"].tolist() == [NAMES[0], NAMES[2]]
    assert corpus.notes[:2] == (
        f"2 names in the owners' list {paths[place].name}",
        f"1 recordings left out, named in the owners' list: {NAMES[1]}",
    )


def test_ntu60_reads_the_owners_list_whole(raw: Path, shared: Path) -> None:
    assert ntu60(raw, missing=shared / "ntu" / OWNERS_FILE).notes[0].startswith("302 names")


def test_ntu60_faults(raw: Path, tmp_path: Path, write_person: Callable[..., Path]) -> None:
    with pytest.raises(FileNotFoundError, match="no folder"):
        ntu60(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"no list of missing skeletons at .*nowhere.txt"):
        ntu60(raw, missing=tmp_path / "nowhere.txt")
    (tmp_path / "empty.txt").write_text("302 of the samples\n")
    with pytest.raises(ValueError, match="names no NTU samples"):
        ntu60(raw, missing=tmp_path / "empty.txt")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"no .skeleton files"):
        ntu60(tmp_path / "empty")
    write_person(tmp_path / "other" / "a.skeleton")
    with pytest.raises(ValueError, match=r"none of the 1 .skeleton files in .* is a recording of ntu60"):
        ntu60(tmp_path / "other")
    write_person(raw / "again" / f"{NAMES[0]}.skeleton")
    with pytest.raises(ValueError, match=f"{NAMES[0]} occurs twice"):
        ntu60(raw)


def test_ntu_fingerprint_follows_names_and_sizes(raw: Path) -> None:
    before = ntu60(raw).fingerprint
    assert ntu60(raw).fingerprint == before
    file = raw / f"{NAMES[0]}.skeleton"
    file.write_text(file.read_text() + "\n")
    longer = ntu60(raw).fingerprint
    file.rename(raw / "S001C001P001R002A001.skeleton")
    assert len({before, longer, ntu60(raw).fingerprint}) == 3


# --- synthetic --------------------------------------------------------------------------------------------------------


def test_synthetic_takes_its_classes_from_the_marker(raw: Path) -> None:
    (raw / "synthetic.json").write_text(json.dumps({"synthetic": True, "class_names": ["walk", "sit"], "seed": 7}))
    corpus = synthetic(raw)
    assert (corpus.name, corpus.synthetic, corpus.class_names) == ("synthetic", True, ("walk", "sit"))
    assert corpus.benchmarks == ("xsub", "xview") and corpus.meta["seed"] == 7
    assert corpus.samples["name"].tolist() == [NAMES[0]]  # the others do something else
    assert "A001 to A002" in corpus.notes[0]


def test_synthetic_is_never_taken_for_recorded(raw: Path) -> None:
    with pytest.raises(ValueError, match=r"no synthetic.json.*hiclr prepare ntu60"):
        synthetic(raw)
    (raw / "below").mkdir()
    for place in (raw, raw / "below"):
        (place / "synthetic.json").write_text("{}")
        for corpus in (ntu60, ntu120):
            with pytest.raises(ValueError, match=r"holds synthetic recordings .*use `hiclr prepare synthetic`"):
                corpus(raw)
        if place == raw:
            with pytest.raises(ValueError, match="does not state the class names"):
                synthetic(raw)
        (place / "synthetic.json").unlink()
