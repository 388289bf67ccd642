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

from hiclr.data.folder import PreparedFolder
from hiclr.skeleton import SKELETONS
from writers.prepared import ABOUT, SEQUENCES, table, write_prepared


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_prepared(tmp_path / "prepared")


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
    "description nested too deep": (lambda root: (root / "about.json").write_text("[" * 100_000), "is no JSON"),
    "notes are a number": (change_about(notes=5), "something else than expected as 'notes'"),
    "a step without a name": (change_about(steps=[{}]), "something else than expected as 'steps'"),
    "published is no pair": (change_about(published={"xsub": [1]}), "something else than expected as 'published'"),
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
    "length is a word": (change_samples(lambda rows: rows.assign(length="long")), "column length holds other things"),
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
