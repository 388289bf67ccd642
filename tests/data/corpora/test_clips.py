"""A folder of one's own clips and its table, or a sentence that says what does not fit."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from unicodedata import normalize

import numpy as np
import pytest

from hiclr.data.corpora import clips
from hiclr.data.corpora.base import Corpus
from hiclr.data.folder import PreparedFolder
from hiclr.data.prepare import prepare
from hiclr.skeleton import SKELETONS
from writers.clips import (
    csv_text,
    joint_columns,
    poses,
    small_clips,
    write_csv_clip,
    write_npy_clip,
    write_table,
    write_text,
)

KINECT = SKELETONS["kinect20"]
NAMES = ("sit/01", "sit/02", "walk/01", "walk/02", "walk/03")


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Clips `NAMES` of 20 joints, walk/03 a `.npy`; clip i is poses(seed=i)."""
    for seed, name in enumerate(NAMES[:4]):
        write_csv_clip(tmp_path / "clips" / f"{name}.csv", poses(seed=seed), KINECT)
    write_npy_clip(tmp_path / "clips" / f"{NAMES[4]}.npy", poses(seed=4))
    return tmp_path / "clips"


def rows(**columns: Sequence[Any]) -> list[dict[str, Any]]:
    """A row for each of `NAMES`, with its folder as label."""
    table = {"name": NAMES, "label": [name.split("/")[0] for name in NAMES], **columns}
    return [dict(zip(table, cells, strict=True)) for cells in zip(*table.values(), strict=True)]


def with_rows(raw: Path, table: Sequence[Mapping[str, Any]], **options: Any) -> Corpus:
    return clips(raw, write_table(raw.parent / "table.csv", table), **options)


# --- what is there ----------------------------------------------------------------------------------------------------


def test_clips_are_described_by_their_table(raw: Path) -> None:
    table = rows(
        subject=["2", "2", "7", "7", ""],
        View=["left", "left", "", "front", "front"],
        effort=["0.50", "", "1", "007", "NA"],
        split_mine=["train", "test", "", "Train", "test"],
        fold=["test", "train", "train", "train", "train"],
        remark=["train", "platform", "", "", ""],
    )
    corpus = with_rows(raw, table[::-1])
    assert corpus.name == "clips" and corpus.skeleton is KINECT and corpus.bodies == 1
    assert corpus.class_names == ("sit", "walk") and corpus.benchmarks == ("mine", "fold")
    assert corpus.samples.to_dict("list") == {
        "name": list(NAMES),
        "label": [0, 0, 1, 1, 1],
        "subject": [2, 2, 7, 7, 0],
        "camera": ["left", "left", "", "front", "front"],
        "setup": [0] * 5,
        "effort": ["0.50", "", "1", "007", "NA"],
        "remark": ["train", "platform", "", "", ""],
        "mine": ["train", "test", "", "train", "test"],
        "fold": ["test", "train", "train", "train", "train"],
    }
    for seed, name in enumerate(NAMES):
        recording = corpus.read(seed)
        assert recording.name == name
        np.testing.assert_array_equal(recording.frames[:, 0], poses(seed=seed).astype(np.float32))
    assert corpus.absent == corpus.surplus == corpus.notes == ()
    assert set(corpus.files) == {*raw.rglob("*.csv"), *raw.rglob("*.npy"), raw.parent / "table.csv"}


@pytest.mark.parametrize("text", ["{}", "{}.csv", "{}.CSV", "./{}.npy"])
def test_names_may_be_written_in_several_ways(raw: Path, text: str) -> None:
    table = [row | {"name": text.format(row["name"])} for row in rows()]
    assert with_rows(raw, table).samples["name"].tolist() == list(NAMES)
    backslashes = [row | {"name": row["name"].replace("/", "\\")} for row in table]
    assert with_rows(raw, backslashes).samples["name"].tolist() == list(NAMES)


def test_a_file_name_alone_is_enough_where_one_is_called_so(raw: Path) -> None:
    table = rows()
    table[4]["name"] = "03"
    assert with_rows(raw, table).samples["name"].tolist() == list(NAMES)
    table[3]["name"] = "02.csv"
    with pytest.raises(ValueError, match=r"table.csv line 5: '02.csv' may be sit/02 or walk/02: write the folder too"):
        with_rows(raw, table)


def test_what_is_missing_on_either_side_is_named(raw: Path) -> None:
    corpus = with_rows(raw, [*rows()[1:], {"name": "run/01", "label": "run"}])
    assert (corpus.absent, corpus.surplus) == (("run/01",), ("sit/01",))
    assert corpus.class_names == ("run", "sit", "walk")  # of the whole table: a missing file changes no labels
    assert corpus.notes == (
        "1 recording left out, in the table but not in the folder: run/01",
        "1 recording left out, not in the table: sit/01",
    )
    assert [corpus.read(row).name for row in range(4)] == list(NAMES[1:])


def test_names_of_any_alphabet(tmp_path: Path) -> None:
    raw = tmp_path / "aufnahmen"
    table = []
    for name in ("Kniebeuge-Übung", "蹲", "a b,c"):
        write_npy_clip(raw / f"{normalize('NFD', name)}.npy", poses())  # as some systems store names
        table.append({"name": f'"{normalize("NFC", name)}"', "label": "größer"})
    corpus = clips(raw, write_table(tmp_path / "table.csv", table))
    assert sorted(corpus.samples["name"]) == ["Kniebeuge-Übung", "a b,c", "蹲"] and corpus.class_names == ("größer",)
    folder = prepare(corpus, tmp_path / "out", frames=4, progress=False)
    assert folder.samples["name"].tolist() == corpus.samples["name"].tolist()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names themselves")
def test_a_file_name_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / os.fsdecode(b"\xff.npy")).touch()
    with pytest.raises(ValueError, match=r"the file name '.*\\udcff.npy' is no UTF-8: rename it"):
        clips(tmp_path / "clips")


def test_hidden_files_and_the_table_itself_are_no_clips(raw: Path) -> None:
    for hidden in ("walk/._01.csv", ".ipynb_checkpoints/01.csv", "walk/.DS_Store", "readme.txt"):
        write_text(raw / hidden, "x")
    corpus = clips(raw, write_table(raw / "table.csv", rows()))
    assert corpus.surplus == () and len(corpus.samples) == 5


def test_what_prepare_writes_is_no_clip(raw: Path) -> None:
    before = clips(raw).samples["name"].tolist()
    for place in (raw / "out", raw / "out.partial" / "new"):
        write_npy_clip(place / "sequences.npy", np.zeros((4, 3, 50, 20, 1)))
        (place / "samples.csv").touch()
    (raw / "out" / "about.json").touch()
    assert clips(raw).samples["name"].tolist() == before


def test_without_a_table_clips_are_for_pretraining(raw: Path) -> None:
    corpus = clips(raw)
    assert corpus.samples["name"].tolist() == list(NAMES) and set(corpus.samples["label"]) == {0}
    assert corpus.class_names == ("unlabelled",) and corpus.benchmarks == ()
    assert corpus.notes == (
        "no table was given: all clips are of one class, 'unlabelled', and serve pre-training alone",
    )


# --- labels and splits ------------------------------------------------------------------------------------------------


def test_numbered_labels_stay_as_they_are(raw: Path) -> None:
    corpus = with_rows(raw, rows(label=[3, 10, 3, 1, 1]))
    assert corpus.samples["label"].tolist() == [3, 10, 3, 1, 1]
    assert corpus.class_names == tuple(map(str, range(11)))
    assert corpus.notes == ("numbered labels count from 0; no clip has 0, 2, 4, 5, 6, 7, 8, 9",)


@pytest.mark.parametrize(
    ("column", "values", "benchmark", "train"),
    [
        ("subject", [10, 9, 2, 10, 1], "xsub", [1, 9]),
        ("Subject", [10, 9, 2, 10, 1], "xsub", [1, 9]),
        ("subject", ["bo", "anna", "cem", "bo", "dora"], "xsub", ["anna", "cem"]),
        ("subject", ["P10", "7", "P9", "7", "7"], "xsub", ["7", "P9"]),
        ("view", [1, 2, 2, 3, 3], "xview", [1, 3]),
        ("camera", [1, 2, 2, 3, 3], "xview", [1, 3]),
        ("setup", ["a", "a", "b", "b", "b"], "xset", ["a"]),
        ("site", ["01", "1", "2", "3", "02"], "xsite", ["01", "1", "3"]),
    ],
)
def test_split_by_alternates_over_sorted_values(
    raw: Path, column: str, values: list[Any], benchmark: str, train: list[Any]
) -> None:
    corpus = with_rows(raw, rows(**{column.lower(): values}), split_by=column)
    assert corpus.benchmarks == (benchmark,)
    expected = ["train" if value in train else "test" for value in values]
    assert corpus.samples[benchmark].tolist() == expected
    named = ", ".join(dict.fromkeys(str(value).lstrip("0") for value in train))
    assert f"{benchmark}: split by {'camera' if column == 'view' else column.lower()}, in turn: {named} train" in str(
        corpus.notes
    )


def test_a_clip_that_is_missing_changes_no_sides(raw: Path) -> None:
    table = rows(subject=[1, 2, 3, 4, 5])
    whole = with_rows(raw, table, split_by="subject").samples.set_index("name")["xsub"]
    (raw / "walk" / "01.csv").unlink()
    rest = with_rows(raw, table, split_by="subject").samples.set_index("name")["xsub"]
    assert rest.equals(whole.drop("walk/01"))


def test_split_by_beside_a_split_of_the_table(raw: Path) -> None:
    table = rows(subject=[1, 2, 1, 2, 2], split_mine=["train", "test", "test", "", ""])
    corpus = with_rows(raw, table, split_by="subject")
    assert corpus.benchmarks == ("mine", "xsub")
    assert corpus.samples["xsub"].tolist() == ["train", "test", "train", "test", "test"]


SPLIT_FAULTS: dict[str, tuple[dict[str, list[Any]], str, str]] = {
    "no such column": ({"subject": [1] * 5}, "who", "split_by 'who' is no column to split by: table.csv has subject"),
    "by label": ({}, "label", "split_by 'label' is no column to split by: table.csv has none"),
    "one value": ({"subject": [1] * 5}, "subject", "needs two values or more, all clips have '1'"),
    "a gap": ({"subject": [1, 2, "", 1, 1]}, "subject", "table.csv line 4: the cell in column 'subject' is empty"),
    "two spellings": (
        {"subject": ["Anna", "bo", "anna", "bo", "bo"]},
        "subject",
        "line 4: subject 'anna' was 'Anna' before: spell it alike",
    ),
    "taken": ({"subject": [1, 2, 1, 2, 1], "xsub": list("abcde")}, "subject", "makes a column 'xsub', which the table"),
}


@pytest.mark.parametrize("fault", SPLIT_FAULTS)
def test_split_by_faults(raw: Path, fault: str) -> None:
    columns, split_by, sentence = SPLIT_FAULTS[fault]
    with pytest.raises(ValueError, match=sentence):
        with_rows(raw, rows(**columns), split_by=split_by)


def test_split_by_needs_a_table(raw: Path) -> None:
    with pytest.raises(ValueError, match=r"split_by 'subject' needs a table .*--table"):
        clips(raw, split_by="subject")


# --- faults of the table ----------------------------------------------------------------------------------------------

TABLE_FAULTS: dict[str, tuple[str, str]] = {
    "no name": ("clip,label\nwalk/01,walk\n", "line 1: no column 'name': it has clip, label"),
    "no label": ("name,class\nwalk/01,walk\n", "line 1: no column 'label': it has name, class"),
    "header alone": ("name,label\n,\n", "line 1: no clip is named below it"),
    "empty": ("\n", "table.csv is empty"),
    "empty name": ("name,label\nwalk/01,walk\n\n,walk\n", "line 4: the cell in column 'name' is empty"),
    "empty label": ("name,label\nwalk/01,walk\nwalk/02,\n", "line 3: the cell in column 'label' is empty"),
    "twice": ("name,label\nwalk/01,walk\nwalk/01.csv,sit\n", "line 3: clip 'walk/01' is in line 2 already"),
    "twice, absent": ("name,label\nwalk/01,a\nx,a\nx.npy,b\n", "line 4: clip 'x' is in line 3 already"),
    "twice, by its file": ("name,label\nwalk/03,a\n03,b\n", "line 3: clip 'walk/03' is in line 2 already"),
    "two spellings": ("name,label\nwalk/01,Walk\nwalk/02,walk\n", "line 3: label 'walk' was 'Walk' before"),
    "below 0": ("name,label\nwalk/01,0\nwalk/02,-1\n", "line 3: label -1: numbered labels count from 0"),
    "far above": ("name,label\nwalk/01,0\nwalk/02,1000000000\n", "line 3: label 1000000000: .* end below 10000"),
    "column twice": ("name,label,label\nwalk/01,a,b\n", "line 1: column 'label' occurs twice"),
    "view and camera": ("name,label,view,camera\nwalk/01,a,1,2\n", "line 1: column 'camera' occurs twice .view is"),
    "taken": ("name,label,length\nwalk/01,a,1\n", "line 1: the column 'length' is taken"),
    "ragged": ("name,label\nwalk/01,a,b\n", "line 2: expected 2 cells as in line 1, got 3"),
    "validation": (
        "name,label,split\nwalk/01,a,train\nwalk/02,a,val\n",
        "line 3: column 'split' holds 'val': call it train or test",
    ),
    "another side": (
        "name,label,split_x\nwalk/01,a,train\nwalk/02,a,1\n",
        r"line 3: column 'split_x' holds '1': expected train, test or nothing \(unused\)",
    ),
    "split without a name": ("name,label,split_\nwalk/01,a,train\n", "line 1: split_ would make a column ''"),
    "split called label": ("name,label,split_label\nwalk/01,a,train\n", "a column 'label', which is taken"),
    "split twice": ("name,label,split_x,x\nwalk/01,a,train,test\n", "a column 'x', which is taken"),
    "no clip named": (
        "name,label\n/data/walk/01,a\n",
        "none of the 1 names in .* '/data/walk/01', the first clip 'sit",
    ),
}


@pytest.mark.parametrize("fault", TABLE_FAULTS)
def test_table_faults_are_named(raw: Path, fault: str) -> None:
    text, sentence = TABLE_FAULTS[fault]
    for written in (text, "\ufeff" + text.replace("\n", "\r\n"), text.replace(",", ";")):
        with pytest.raises(ValueError, match=sentence):
            clips(raw, write_text(raw.parent / "table.csv", written))


def test_an_index_column_of_a_program_is_passed_over(raw: Path) -> None:
    corpus = clips(raw, write_text(raw.parent / "table.csv", ",name,label\n0,walk/01,a\n1,walk/02,b\n"))
    assert list(corpus.samples) == ["name", "label", "subject", "camera", "setup"]


# --- faults of the folder ---------------------------------------------------------------------------------------------


def test_folder_faults(raw: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no folder .*nowhere"):
        clips(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"no table .*nowhere.csv"):
        clips(raw, tmp_path / "nowhere.csv")
    with pytest.raises(FileNotFoundError, match=r"no skeleton file .*nowhere.yaml"):
        clips(raw, skeleton=tmp_path / "nowhere.yaml")
    with pytest.raises(ValueError, match="unknown skeleton 'kinect'"):
        clips(raw, skeleton="kinect")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"no .npy or .csv clips in .*empty"):
        clips(tmp_path / "empty")
    write_npy_clip(raw / "walk" / "01.NPY.npy", poses()).rename(raw / "walk" / "01.NPY")
    with pytest.raises(ValueError, match=r"clip walk/01 occurs twice: .*walk/01.(csv|NPY) and "):
        clips(raw)


@pytest.mark.parametrize(("option", "value"), [("units", "px"), ("up", "x"), ("bodies", 0), ("bodies", 101)])
def test_options_out_of_range(raw: Path, option: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{option} must be .*, got"):
        clips(raw, **{option: value})


# --- joints and bodies ------------------------------------------------------------------------------------------------


def test_the_first_clip_that_can_be_read_tells_joints_and_bodies(raw: Path) -> None:
    write_text(raw / "sit" / "01.csv", "cut")
    assert clips(raw).skeleton is KINECT
    write_npy_clip(raw / "sit" / "00.npy", poses().reshape(5, 1, 20, 3).repeat(3, 1))
    corpus = clips(raw)
    assert corpus.bodies == 3 and clips(raw, bodies=2).bodies == 2
    with pytest.raises(ValueError, match=r"^01.csv line 1: "):
        corpus.read(1)


def test_no_clip_can_be_read(raw: Path) -> None:
    with pytest.raises(
        ValueError, match=r"01.csv line 1: no column 'nose_x', which coco17 needs|names a joint"
    ) as caught:
        clips(raw, skeleton="coco17")
    assert str(raw / "sit") in str(caught.value)


def test_a_skeleton_of_ones_own(tmp_path: Path) -> None:
    file = write_text(tmp_path / "mine.yaml", "joints: {hip: null, left_shoulder: hip, right_shoulder: hip}\n")
    columns = [f"{joint}_{axis}" for joint in ("right_shoulder", "left_shoulder", "hip") for axis in "xyz"]
    x = poses(joints=3)
    text = csv_text([*columns, "note"], [[*pose[::-1].ravel(), "hi"] for pose in x])
    write_text(tmp_path / "raw" / "a.csv", text)
    corpus = clips(tmp_path / "raw", skeleton=str(file))
    assert corpus.skeleton.name == "mine"
    np.testing.assert_array_equal(corpus.read(0).frames[:, 0], x.astype(np.float32))
    assert "columns of the clips that nothing was read from: note" in corpus.notes


# --- units and axes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("units", "metres"), [("m", 1.0), ("cm", 0.01), ("mm", 0.001)])
def test_units_become_metres(tmp_path: Path, units: Any, metres: float) -> None:
    write_npy_clip(tmp_path / "a.npy", poses() / metres)
    np.testing.assert_allclose(clips(tmp_path, units=units).read(0).frames[:, 0], poses(), rtol=1e-5)


# what the data calls x, y, z of a point that is (right, up, towards us) = (1, 2, 3)
AXES = {"y": (1, 2, 3), "z": (1, -3, 2), "-y": (1, -2, -3)}


@pytest.mark.parametrize("up", AXES)
def test_up_is_turned_to_y_without_a_mirror(tmp_path: Path, up: Any) -> None:
    order, signs = np.abs(AXES[up]) - 1, np.sign(AXES[up])
    assert np.linalg.det(np.eye(3)[order] * signs) == pytest.approx(1)  # the data is right-handed too
    x = poses().copy()
    x[2] = 0
    write_npy_clip(tmp_path / "a.npy", x[..., order] * signs)
    frames = clips(tmp_path, up=up).read(0).frames
    np.testing.assert_array_equal(frames[:, 0], x.astype(np.float32))


def test_changed_files_and_options_are_noticed(raw: Path) -> None:
    prints = {clips(raw, units=units, up=up).fingerprint for units in ("m", "mm") for up in ("y", "z", "-y")}
    assert len(prints) == 6 and clips(raw).fingerprint in prints
    write_csv_clip(raw / "walk" / "01.csv", poses(frames=6), KINECT)
    assert clips(raw).fingerprint not in prints


# --- the whole way ----------------------------------------------------------------------------------------------------


def test_prepared_clips_come_back(raw: Path, tmp_path: Path) -> None:
    x = poses()
    x[1, 2, 0] = np.nan
    write_csv_clip(raw / "walk" / "01.csv", x, KINECT)
    header, *lines = csv_text(joint_columns(KINECT), poses(seed=3).reshape(5, -1)).splitlines()
    write_text(raw / "walk" / "02.csv", "\n".join([header, "", *lines, lines[0] + ",1"]))
    corpus = with_rows(raw, rows(subject=["anna", "bo", "cem", "anna", "bo"]), split_by="subject")
    prepare(corpus, tmp_path / "out", frames=5, progress=False)
    folder = PreparedFolder.open(tmp_path / "out")
    assert folder.samples["name"].tolist() == ["sit/01", "sit/02", "walk/03"]
    assert folder.samples["subject"].tolist() == ["anna", "bo", "bo"]
    assert folder.samples["xsub"].tolist() == ["train", "test", "test"]
    nan, ragged = folder.about["skipped"]
    assert nan["name"] == "walk/01" and "NaN" in nan["reason"]
    assert ragged["name"] == "walk/02" and ragged["reason"].startswith("02.csv line 8: expected 60 cells")
    centre = KINECT.centre_joint
    own = poses(seed=4) - poses(seed=4)[:, [centre]]
    np.testing.assert_allclose(folder.sequences[2, 1, :, :, 0], own[..., 1], atol=1e-5)  # y is not turned


def test_a_table_among_the_clips_is_not_taken_for_one(tmp_path: Path) -> None:
    arguments = small_clips(tmp_path)
    inside = arguments["table"].rename(arguments["raw"] / "table.csv")
    with pytest.raises(ValueError, match=r"table.csv looks like the table of the clips: say so with table"):
        clips(arguments["raw"])
    assert len(clips(arguments["raw"], inside).samples) == 4
