"""A CTR-GCN `.npz` ends in what was written, or in a ValueError that says what is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hiclr.data.recordings.ctrgcn import open_ctrgcn
from writers.ctrgcn import LENGTHS, ctrgcn_arrays, write_ctrgcn


@pytest.mark.parametrize("compressed", [False, True])
def test_sequences_are_what_was_written(tmp_path: Path, compressed: bool) -> None:
    arrays = ctrgcn_arrays()
    path = tmp_path / "a.npz"
    (np.savez_compressed if compressed else np.savez)(path, **arrays)
    file = open_ctrgcn(path)
    assert file.names == ("train_000000", "train_000001", "train_000002", "test_000000", "test_000001")
    assert file.classes == 60
    index = 0
    for side, lengths in LENGTHS.items():
        for i, length in enumerate(lengths):
            recording = file.read(index)
            assert recording.name == file.names[index]
            assert recording.frames.shape == (length, 2, 25, 3) and recording.frames.dtype == np.float32
            for m in range(2):
                for v in range(25):
                    at = 75 * m + 3 * v
                    np.testing.assert_array_equal(
                        recording.frames[:, m, v], arrays[f"x_{side}"][i, :length, at : at + 3]
                    )
            index += 1
    for side, labels in zip(LENGTHS, file.labels, strict=True):
        assert labels.tolist() == [row.tolist().index(1) for row in arrays[f"y_{side}"]]


def test_only_empty_frames_at_the_end_are_dropped(tmp_path: Path) -> None:
    arrays = ctrgcn_arrays()
    x = arrays["x_train"]
    x[0, :2] = x[0, 4] = 0
    x[1, :] = 0
    x[2, 0] = 0
    x[2, 7, 149] = np.nan
    file = open_ctrgcn(write_ctrgcn(tmp_path / "a.npz", arrays))
    np.testing.assert_array_equal(file.read(0).frames.reshape(-1, 150), x[0, :4])
    assert file.read(1).frames.shape == (0, 2, 25, 3)
    assert file.read(2).frames.shape == (8, 2, 25, 3) and np.isnan(file.read(2).frames[7, 1, 24, 2])


def test_labels_as_indices(tmp_path: Path) -> None:
    labels = {"y_train": np.array([4, 0, 1]), "y_test": np.array([2, 6], np.uint8)}
    file = open_ctrgcn(write_ctrgcn(tmp_path / "a.npz", ctrgcn_arrays() | labels))
    assert [label.tolist() for label in file.labels] == [[4, 0, 1], [2, 6]] and file.classes == 7


def one_hot(*changes: tuple[int, int, float]) -> Any:
    y = np.eye(60)[:3]
    for row, column, value in changes:
        y[row, column] = value
    return y


# what is wrong -> (keys changed, what the sentence says)
FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "no test side": ({"x_test": None}, "lacks the key 'x_test'; it holds x_train, y_train, y_test"),
    "no labels": ({"y_train": None}, "lacks the key 'y_train'"),
    "four dimensions": ({"x_train": np.zeros((3, 12, 2, 75))}, r"x_train must be \(sequences, frames, 150: 2 bodies"),
    "one body": ({"x_test": np.zeros((2, 12, 75))}, r"x_test must be .*, got \(2, 12, 75\)"),
    "text": ({"x_test": np.full((2, 1, 150), "x")}, "x_test must hold numbers, got <U1"),
    "too few labels": ({"y_train": one_hot()[:2]}, r"y_train must be \(3, classes\) or \(3,\) as x_train is, got \(2,"),
    "labels as a cube": ({"y_train": np.zeros((3, 2, 2))}, "y_train must be"),
    "labels as text": ({"y_train": np.array(["a", "b", "c"])}, "y_train must hold one-hot rows or whole numbers"),
    "labels as fractions": ({"y_train": np.array([0.0, 1.0, 2.0])}, "y_train must hold .* got float64"),
    "another width": ({"y_test": np.eye(61)[:2]}, r"y_train is \(3, 60\) and y_test \(2, 61\): they must tell the sam"),
    "another form": ({"y_test": np.array([0, 1])}, r"y_train is \(3, 60\) and y_test \(2,\)"),
    "two ones": ({"y_train": one_hot((1, 7, 1))}, "y_train row 1 is not one-hot: 2 of its numbers are not zero"),
    "no one": ({"y_train": one_hot((2, 2, 0))}, "y_train row 2 is not one-hot: 0 of its numbers"),
    "a half": ({"y_train": one_hot((0, 0, 0.5))}, "y_train row 0 is not one-hot"),
    "NaN": ({"y_train": one_hot((0, 3, np.nan))}, "y_train row 0 is not one-hot"),
    "negative": ({"y_train": np.array([0, -2, 1]), "y_test": np.array([0, 1])}, "y_train row 1 is -2, no class from 0"),
    "a large class": ({"y_train": np.array([0, 1, 1 << 40]), "y_test": np.array([0, 1])}, "y_train row 2 is 10995116"),
    "many classes": (
        {"y_train": np.zeros((3, 65_537), bool), "y_test": np.zeros((2, 65_537), bool)},
        "y_train tells 65537 classes, more than 65536",
    ),
    "no classes": ({"y_train": np.zeros((3, 0)), "y_test": np.zeros((2, 0))}, "y_train row 0 is not one-hot"),
    "pickled": ({"y_train": np.array([{}, 1, 2], dtype=object)}, "no .npz of plain arrays"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_named(tmp_path: Path, fault: str) -> None:
    changes, sentence = FAULTS[fault]
    path = write_ctrgcn(tmp_path / "a.npz", ctrgcn_arrays() | changes)
    with pytest.raises(ValueError, match=sentence) as caught:
        open_ctrgcn(path)
    assert str(caught.value).startswith(str(path))
