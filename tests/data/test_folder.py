"""The prepared folder: what is written is what is read, and what is wrong is said."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from hiclr.data.folder import FolderWriter, PreparedFolder
from hiclr.skeleton import SKELETONS

RECIPE = {"corpus": "mine", "source_hash": "abc", "frames": 4}
SEQUENCES = np.random.default_rng(0).normal(0, 1, (5, 3, 4, 20, 1)).astype(np.float32)
ABOUT: dict[str, Any] = {
    "schema": 1,
    **RECIPE,
    "bodies": 1,
    "skeleton": SKELETONS["kinect20"].to_dict(),
    "class_names": ["walk", "sit"],
    "benchmarks": ["xsub", "xview"],
}


def table() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "name": ["a", "NA", "007", "d, e", "nan"],
            "label": [0, 1, 1, 0, 1],
            "subject": [1, 2, 3, 4, 5],
            "camera": 0,
            "setup": 0,
            "length": [30, 31, 32, 33, 34],
            "bodies": 1,
            "effort": [0.5, np.nan, 1.0, 1.5, 2.0],
            "xsub": ["train", "test", "train", "", "test"],
            "xview": ["train", "train", "", "", ""],
        }
    )


def write(root: Path, about: dict[str, Any] = ABOUT, samples: pd.DataFrame | None = None) -> Path:
    writer = FolderWriter(root, RECIPE, SEQUENCES.shape[1:])
    assert writer.start() == []
    writer.append(SEQUENCES[:2], "first")
    writer.append(SEQUENCES[:0], "none")
    writer.append(SEQUENCES[2:], "second")
    writer.finish(table() if samples is None else samples, about)
    return root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write(tmp_path / "prepared")


def test_what_is_written_is_what_is_read(root: Path) -> None:
    folder = PreparedFolder.open(root)
    assert isinstance(folder.sequences, np.memmap) and not folder.sequences.flags.writeable
    np.testing.assert_array_equal(folder.sequences, SEQUENCES)
    pd.testing.assert_frame_equal(folder.samples, table(), check_dtype=False)
    assert folder.about == ABOUT
    assert folder.skeleton == SKELETONS["kinect20"]
    assert (folder.class_names, folder.num_classes) == (("walk", "sit"), 2)
    assert folder.benchmarks == ("xsub", "xview")
    assert sorted(path.name for path in root.parent.iterdir()) == ["prepared"]


def test_indices_are_the_rows_of_a_side(root: Path) -> None:
    folder = PreparedFolder.open(root)
    train, test = folder.indices("xsub", "train"), folder.indices("xsub", "test")
    assert train.dtype == np.int64
    assert (train.tolist(), test.tolist()) == ([0, 2], [1, 4])


def test_indices_name_what_there_is(root: Path) -> None:
    folder = PreparedFolder.open(root)
    with pytest.raises(ValueError, match="no benchmark 'xset': it has xsub, xview"):
        folder.indices("xset", "train")
    with pytest.raises(ValueError, match="benchmark 'xview' has no test sequences"):
        folder.indices("xview", "test")
    with pytest.raises(ValueError, match="'train' or 'test', got 'Test'"):
        folder.indices("xsub", "Test")  # type: ignore[arg-type]


def test_header_is_numpys_for_any_number_of_sequences(tmp_path: Path) -> None:
    for count in (0, 1, 56_578, 10**9):
        path = tmp_path / "header.npy"
        writer = FolderWriter(tmp_path / "out", RECIPE, (3, 50, 25, 2))
        writer.start()
        writer._count = count
        writer.finish(table(), ABOUT)
        with (tmp_path / "out" / "sequences.npy").open("rb") as file:
            assert np.lib.format.read_magic(file) == (1, 0)
            assert np.lib.format.read_array_header_1_0(file) == ((count, 3, 50, 25, 2), False, np.dtype("<f4"))
            assert file.tell() == 128
        assert not path.exists()


def test_reading_needs_neither_torch_nor_lightning() -> None:
    code = "import sys, hiclr.data.folder; sys.exit(bool({'torch', 'lightning'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


# --- faults -----------------------------------------------------------------------------------------------------------


def change_about(**changes: Any) -> Callable[[Path], object]:
    about = {key: value for key, value in (ABOUT | changes).items() if value is not None}
    return lambda root: (root / "about.json").write_text(json.dumps(about))


def change_samples(change: Callable[[pd.DataFrame], pd.DataFrame]) -> Callable[[Path], object]:
    return lambda root: change(table()).to_csv(root / "samples.csv", index=False)


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty": (lambda root: [path.unlink() for path in root.iterdir()], "not a prepared folder .*run `hiclr prepare`"),
    "half": (lambda root: (root / "sequences.npy").unlink(), r"half-written \(no sequences.npy\)"),
    "no description": (lambda root: (root / "about.json").unlink(), r"half-written \(no about.json\)"),
    "description cut": (lambda root: os.truncate(root / "about.json", 30), "about.json is no JSON"),
    "description of something else": (lambda root: (root / "about.json").write_text("[]"), "states no schema"),
    "another schema": (change_about(schema=2), "about.json is of schema 2, this hiclr reads 1"),
    "no class names": (change_about(class_names=None), "lacks class_names"),
    "array cut": (lambda root: os.truncate(root / "sequences.npy", 1000), "sequences.npy is cut or no array"),
    "array empty": (lambda root: os.truncate(root / "sequences.npy", 0), "sequences.npy is cut or no array"),
    "float64": (lambda root: np.save(root / "sequences.npy", SEQUENCES.astype(float)), "holds float64"),
    "other frames": (change_about(frames=50), r"\(5, 3, 4, 20, 1\), about.json says float32 \(N, 3, 50, 20, 1\)"),
    "row missing": (change_samples(lambda rows: rows[1:]), "sequences.npy holds 5 sequences but samples.csv 4 rows"),
    "column missing": (change_samples(lambda rows: rows.drop(columns=["xview"])), "lacks the columns xview"),
    "label too high": (
        change_samples(lambda rows: rows.assign(label=range(5))),
        "007 has label 2, outside the 2 class",
    ),
    "label is a word": (change_samples(lambda rows: rows.assign(label="walk")), "column label holds other things"),
    "side unknown": (change_samples(lambda rows: rows.assign(xsub="Train")), "column 'xsub' holds 'Train'"),
    "table empty": (lambda root: os.truncate(root / "samples.csv", 0), "samples.csv cannot be read"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_named(root: Path, fault: str) -> None:
    damage, sentence = FAULTS[fault]
    damage(root)
    with pytest.raises(ValueError, match=sentence) as caught:
        PreparedFolder.open(root)
    assert str(root) in str(caught.value) and "\n" not in str(caught.value)


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="run `hiclr prepare`"):
        PreparedFolder.open(tmp_path / "nowhere")


# --- writing ----------------------------------------------------------------------------------------------------------


def bytes_below(root: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in root.iterdir()}


def test_a_kill_leaves_pieces_that_are_taken_up(root: Path, tmp_path: Path) -> None:
    first = FolderWriter(tmp_path / "killed", RECIPE, SEQUENCES.shape[1:])
    first.start()
    first.append(SEQUENCES[:2], "first")
    partial = tmp_path / "killed.partial"
    with (partial / "new" / "sequences.npy").open("ab") as data, (partial / "progress.jsonl").open("ab") as progress:
        data.write(b"half a sequence")
        progress.write(b'[3, "sec')
    second = FolderWriter(tmp_path / "killed", RECIPE, SEQUENCES.shape[1:])
    assert not second.is_done()
    assert second.start() == ["going on with killed.partial: 2 sequences are there"]
    assert second.notes == ["first"]
    second.append(SEQUENCES[2:], "second")
    second.finish(table(), ABOUT)
    assert second.is_done()
    assert bytes_below(tmp_path / "killed") == bytes_below(root)


@pytest.mark.parametrize("damage", ["recipe", "array lost", "array short", "notes garbled"])
def test_pieces_that_do_not_fit_are_begun_anew(tmp_path: Path, damage: str) -> None:
    first = FolderWriter(tmp_path / "out", RECIPE | {"frames": 5 if damage == "recipe" else 4}, SEQUENCES.shape[1:])
    first.start()
    first.append(SEQUENCES[:2], "first")
    partial = tmp_path / "out.partial"
    if damage == "array lost":
        (partial / "new" / "sequences.npy").unlink()
    if damage == "array short":
        os.truncate(partial / "new" / "sequences.npy", 1000)
    if damage == "notes garbled":
        (partial / "progress.jsonl").write_bytes(b"\x00\x00\n")
    writer = FolderWriter(tmp_path / "out", RECIPE, SEQUENCES.shape[1:])
    said = writer.start()
    assert said == (
        ["out.partial was begun from another source or with other options: starting anew"] * (damage == "recipe")
    )
    assert writer.notes == []
    writer.append(SEQUENCES, "all")
    writer.finish(table(), ABOUT)
    np.testing.assert_array_equal(PreparedFolder.open(tmp_path / "out").sequences, SEQUENCES)


def test_a_folder_of_another_recipe_is_replaced_only_when_told(root: Path) -> None:
    writer = FolderWriter(root, RECIPE | {"frames": 5}, SEQUENCES.shape[1:])
    with pytest.raises(ValueError, match=r"other options \(frames 4, now 5\): choose another place, or .* overwrite"):
        writer.is_done()
    assert not writer.is_done(overwrite=True)
    assert FolderWriter(root, RECIPE, SEQUENCES.shape[1:]).is_done()


def test_a_broken_folder_is_replaced_only_when_told(root: Path) -> None:
    (root / "samples.csv").unlink()
    writer = FolderWriter(root, RECIPE, SEQUENCES.shape[1:])
    with pytest.raises(ValueError, match=r"half-written .*overwrite"):
        writer.is_done()
    assert not writer.is_done(overwrite=True)


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_is_not_ours_is_never_replaced(tmp_path: Path, kind: str) -> None:
    out = tmp_path / "thesis"
    if kind == "folder":
        out.mkdir()
        (out / "chapter1.tex").touch()
    else:
        out.touch()
    writer = FolderWriter(out, RECIPE, SEQUENCES.shape[1:])
    with pytest.raises(ValueError, match="holds other things than a prepared folder"):
        writer.is_done(overwrite=True)


def test_a_partial_folder_that_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "out.partial").mkdir()
    (tmp_path / "out.partial" / "chapter1.tex").touch()
    with pytest.raises(ValueError, match="move it away"):
        FolderWriter(tmp_path / "out", RECIPE, SEQUENCES.shape[1:]).start()
    assert (tmp_path / "out.partial" / "chapter1.tex").exists()


def test_an_empty_folder_may_be_filled_also_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    write(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert len(PreparedFolder.open(tmp_path / "elsewhere").samples) == 5
