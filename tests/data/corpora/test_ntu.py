"""Which recordings a corpus has and on which side they are, against the published counts."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hiclr.data.corpora import ntu, ntu60, ntu120
from hiclr.data.corpora.base import Corpus
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
OWNERS_FILE_120 = "NTU_RGBD120_samples_with_missing_skeletons.txt"


@pytest.fixture
def raw(tmp_path: Path, write_person: Callable[..., Path]) -> Path:
    for seed, name in enumerate(NAMES):
        write_person(tmp_path / "raw" / f"{name}.skeleton", seed=seed)
    return tmp_path / "raw"


def available_names(shared: Path, corpus: str) -> list[str]:
    """What remains of a corpus without its owners' list."""
    with gzip.open(shared / "ntu" / f"{corpus}_available_names.txt.gz", "rt") as lines:
        return lines.read().split()


# --- NTU names and splits ---------------------------------------------------------------------------------------------


def test_ntu_names() -> None:
    assert ntu_name("S017C003P040R002A060") == NTUName(17, 3, 40, 2, 60)
    assert str(NTUName(17, 3, 40, 2, 60)) == "S017C003P040R002A060"
    others = ("S017C003P040R002A060.skeleton", "s017C003P040R002A060", "S17C003P040R002A060", "")
    for other in (*others, "S017C003P040R002A060\n", "S017C003P040R002A06\u0966", "S017C003P040R002A060 (1)"):
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
    names = list(map(ntu_name, available_names(shared, corpus)))
    rows = [name for name in names if name]
    assert len(rows) == len(names) == published["all"]
    for benchmark, split in splits.items():
        train = sum(map(split, rows))
        assert (train, len(rows) - train) == published[benchmark]


def whole_corpus(shared: Path, corpus: str) -> list[str]:
    """Names of all recordings that were ever made, those without skeletons too."""
    people = {(name[:4], name[8:16]) for name in available_names(shared, corpus)}
    return [
        f"{setup}C00{camera}{person}A{action:03d}"
        for setup, person in people
        for camera in (1, 2, 3)
        for action in (range(1, 61) if setup <= "S017" else range(61, 121))
    ]


def assert_is_published(corpus: Corpus, names: list[str], missing: list[str]) -> None:
    assert corpus.samples["name"].tolist() == sorted(names)
    for benchmark in corpus.benchmarks:
        sides = corpus.samples[benchmark].value_counts()
        assert (sides["train"], sides["test"]) == corpus.published[benchmark]
    assert corpus.absent == () and corpus.surplus == tuple(sorted(missing))
    assert corpus.notes[1].startswith(f"{len(missing)} recordings left out, named in the owners' list: ")


@pytest.fixture
def crowded(tmp_path: Path) -> Iterator[Path]:
    """A folder that is not kept, as some 60,000 files would be for three runs."""
    (tmp_path / "crowded").mkdir()
    yield tmp_path / "crowded"
    shutil.rmtree(tmp_path / "crowded")


def test_the_whole_of_ntu60_without_the_owners_list_is_what_was_published(shared: Path, crowded: Path) -> None:
    everything, names = whole_corpus(shared, "ntu60"), available_names(shared, "ntu60")
    for name in everything:
        os.close(os.open(crowded / f"{name}.skeleton", os.O_CREAT | os.O_WRONLY))
    corpus = ntu60(crowded, missing=shared / "ntu" / OWNERS_FILE)
    missing = (shared / "ntu" / OWNERS_FILE).read_text().split()[-302:]
    assert len(everything) == len(set(everything)) == 56_880 == len(names) + len(missing)
    assert_is_published(corpus, names, missing)


@pytest.mark.parametrize("kind", ["ntu60", "ntu120"])
def test_the_whole_of_ntu120_holds_both(shared: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    everything = whole_corpus(shared, "ntu120")  # 114,480 files would take a disk too long
    scanned = ntu._Folder(shared, {name: Path(f"{name}.skeleton") for name in everything}, (), marked=False)
    monkeypatch.setattr(ntu, "_scan", lambda raw: scanned)
    monkeypatch.setattr(ntu, "names_and_sizes", lambda paths: "")
    listed = shared / "ntu" / OWNERS_FILE_120
    missing = listed.read_text().split()[-535:]
    assert len(everything) == len(set(everything)) == 114_480
    corpus = getattr(ntu, kind)(shared, missing=listed)
    if kind == "ntu60":  # the other half is none of its business
        later = {name for name in everything if name[-3:] > "060"}
        assert later < set(corpus.surplus)
        assert corpus.samples["name"].tolist() == sorted(available_names(shared, "ntu60"))
        assert corpus.absent == ()
    else:
        assert_is_published(corpus, available_names(shared, "ntu120"), missing)


def test_what_is_absent_is_told_by_what_is_there(shared: Path, tmp_path: Path) -> None:
    listed = shared / "ntu" / OWNERS_FILE_120
    missing = set(listed.read_text().split())
    # part of the corpus: one setup of each half, of which some recordings were lost
    everything = [name for name in whole_corpus(shared, "ntu120") if name[:12] in ("S001C001P001", "S018C003P041")]
    lost = {name for name in everything if name[-1] == "7"} - missing
    assert len({name[:4] for name in lost}) == 2
    for name in set(everything) - lost:
        (tmp_path / f"{name}.skeleton").touch()
    others = {name[:4] + camera + name[8:] for name in everything for camera in ("C001", "C002", "C003")}
    corpus = ntu120(tmp_path, missing=listed)
    assert corpus.absent == tuple(sorted(others - set(corpus.samples["name"]) - missing))
    assert lost < set(corpus.absent)
    first = ntu60(tmp_path, missing=listed)
    assert first.absent == tuple(name for name in corpus.absent if name < "S018")
    assert set(first.surplus) == {name for name in corpus.samples["name"] if name > "S018"} | set(corpus.surplus)


def test_the_grid_goes_on_where_the_owners_stopped() -> None:
    grid = list(ntu.ntu_grid([NTUName(17, 1, 3, 2, 5), NTUName(17, 2, 3, 2, 60), NTUName(18, 1, 3, 1, 61)]))
    assert len(grid) == len(set(grid)) == 2 * 3 * 60
    assert set(grid) == {NTUName(17, c, 3, 2, a) for c in (1, 2, 3) for a in range(1, 61)} | {
        NTUName(18, c, 3, 1, a) for c in (1, 2, 3) for a in range(61, 121)
    }
    assert not list(ntu.ntu_grid([NTUName(33, 1, 1, 1, 1), NTUName(0, 1, 1, 1, 1)]))  # somebody else's


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
    corpus = ntu60(raw)
    nothing_given, strange, others = corpus.notes
    assert OWNERS_FILE in nothing_given and "none was left out" in nothing_given
    assert strange == "1 recording left out, not named SsssCcccPpppRrrrAaaa: holiday"
    assert others == f"2 recordings left out, of actions other than A001 to A060: S001C001P001R001A000, {NAMES[3]}"
    assert corpus.surplus == ("S001C001P001R001A000", NAMES[3], "holiday")


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
        f"1 recording left out, named in the owners' list: {NAMES[1]}",
    )


@pytest.mark.parametrize("form", ["windows", "with suffixes", "of ntu120"])
def test_ntu60_reads_other_forms_of_the_list(raw: Path, form: str) -> None:
    texts = {
        "windows": f"\ufeff{NAMES[1]}\r\n{NAMES[2]}\r\n\r\n".encode(),
        "with suffixes": f"die fehlen: \xe4\n{NAMES[1]}.skeleton\n{NAMES[2]}.skeleton".encode("latin-1"),
        "of ntu120": f"{NAMES[1]}\n{NAMES[2]}\n{NAMES[3]}\n".encode(),
    }
    file = raw / (OWNERS_FILE_120 if form == "of ntu120" else OWNERS_FILE)
    file.write_bytes(texts[form])
    corpus = ntu60(raw)
    assert corpus.samples["name"].tolist() == [NAMES[0]]
    assert set(corpus.surplus) == {*NAMES[1:]} and file.name in corpus.notes[0]


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


def test_ntu_files_that_are_named_otherwise(raw: Path, write_person: Callable[..., Path]) -> None:
    (raw / f"{NAMES[1]}.skeleton").rename(raw / f"{NAMES[1]}.SKELETON")
    copied, accented, arabic = f"{NAMES[0]} (1)", "S001C001P001R001Ä001", "S001C001P001R001A00\u0661"
    for stem in (copied, accented, arabic, NAMES[0].lower()):
        write_person(raw / f"{stem}.skeleton")
    with open(os.fsencode(raw) + b"/S001\xff.skeleton", "wb"):  # noqa: PTH123 - bytes that are no text
        pass
    corpus = ntu60(raw)
    assert corpus.samples["name"].tolist() == list(NAMES[:3])
    assert corpus.read(1).name == NAMES[1] and Path(corpus.files[1]).suffix == ".SKELETON"
    strange = sorted([copied, accented, arabic, NAMES[0].lower(), r"S001\xff"])
    assert corpus.surplus == tuple(sorted([*strange, NAMES[3]]))
    assert corpus.notes[1] == f"5 recordings left out, not named SsssCcccPpppRrrrAaaa: {', '.join(strange)}"
    assert all(note.encode() for note in corpus.notes)
    write_person(raw / f"{NAMES[1]}.skeleton")
    with pytest.raises(ValueError, match=rf"{NAMES[1]} occurs twice below .*\.SKELETON and .*\.skeleton"):
        ntu60(raw)


def test_ntu_folders_and_links(raw: Path, tmp_path: Path, write_person: Callable[..., Path]) -> None:
    inside = write_person(raw / "x.skeleton" / "S003C001P001R001A001.skeleton")
    elsewhere = write_person(tmp_path / "disk2" / "deep" / "S004C001P001R001A001.skeleton")
    (raw / "more").symlink_to(tmp_path / "disk2")
    (raw / "x.skeleton" / "loop").symlink_to(raw)
    (raw / "again").symlink_to(tmp_path / "disk2" / "deep")
    (raw / "S005C001P001R001A001.skeleton").symlink_to(tmp_path / "nowhere")
    corpus = ntu60(raw)
    assert corpus.samples["name"].tolist() == sorted([*NAMES[:3], inside.stem, elsewhere.stem])
    assert corpus.surplus == ("S005C001P001R001A001", NAMES[3])
    assert corpus.notes[-1] == "1 recording left out, no files, or links that lead nowhere: S005C001P001R001A001"
    assert all(corpus.read(row).frames.any() for row in range(5))


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
