"""The `.npz` of CTR-GCN: two sides of one split, every sequence padded to one length."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hiclr.data.recordings.archive import Npz, Rows, open_npz
from hiclr.data.recordings.base import Recording, to_float32
from hiclr.data.recordings.pyskl import MAX_CLASSES

SIDES = ("train", "test")
BODIES, JOINTS, COORDINATES = 2, 25, 3
_VALUES = BODIES * JOINTS * COORDINATES


@dataclass(frozen=True, eq=False)
class CTRGCNFile:
    """A CTR-GCN `.npz`: the train side, then the test side.

    Args:
        x: one array (N, T, 150) per side, still on disk; 150 is two bodies x 25 joints x three coordinates.
        labels: one array (N,) per side.
        classes: L.
    """

    x: tuple[Rows, ...]
    labels: tuple[NDArray[np.int64], ...]
    classes: int

    @property
    def names(self) -> tuple[str, ...]:
        """`train_000000`, ..., `test_000000`, ..."""
        return tuple(f"{side}_{i:06d}" for side, rows in zip(SIDES, self.x, strict=True) for i in range(len(rows)))

    def read(self, index: int) -> Recording:
        """Sequence `index` of both sides behind one another, without the empty frames at its end."""
        side = int(index >= len(self.x[0]))
        row = index - side * len(self.x[0])
        frames = self.x[side][row : row + 1].reshape(-1, BODIES, JOINTS, COORDINATES)
        shown = np.flatnonzero(frames.any((1, 2, 3)))
        stop = shown[-1] + 1 if len(shown) else 0
        return Recording(f"{SIDES[side]}_{row:06d}", to_float32(frames[:stop]))


def open_ctrgcn(path: Path | str) -> CTRGCNFile:
    """Opens and checks a CTR-GCN `.npz`; the coordinates themselves are not looked at.

    It holds x_train (N, T, 150), y_train and the same for test; y is one-hot (N, L) or indices (N,).

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no `.npz`, holds pickles, or what it holds does not fit together.
    """
    with open_npz(path) as arrays:
        for key in (f"{letter}_{side}" for side in SIDES for letter in "xy"):
            if key not in arrays:
                raise ValueError(f"lacks the key {key!r}; it holds {', '.join(arrays)}")
        for side in SIDES:
            _check_shapes(arrays, f"x_{side}", f"y_{side}")
        widths = [arrays.header(f"y_{side}").shape[1:] for side in SIDES]
        if widths[0] != widths[1]:
            raise ValueError(
                f"y_train is {arrays.header('y_train').shape} and y_test {arrays.header('y_test').shape}: "
                "they must tell the same classes in the same way"
            )
        labels = tuple(_labels(arrays[f"y_{side}"], f"y_{side}") for side in SIDES)
        classes = widths[0][0] if widths[0] else 1 + max(int(label.max(initial=-1)) for label in labels)
        return CTRGCNFile(tuple(arrays.rows(f"x_{side}") for side in SIDES), labels, classes)


def _check_shapes(arrays: Npz, x: str, y: str) -> None:
    coordinates, labels = arrays.header(x), arrays.header(y)
    if len(coordinates.shape) != 3 or coordinates.shape[2] != _VALUES:
        raise ValueError(
            f"{x} must be (sequences, frames, {_VALUES}: {BODIES} bodies x {JOINTS} joints x {COORDINATES}), "
            f"got {coordinates.shape}"
        )
    if coordinates.dtype.kind not in "fiu":
        raise ValueError(f"{x} must hold numbers, got {coordinates.dtype}")
    if len(labels.shape) not in (1, 2) or labels.shape[0] != coordinates.shape[0]:
        raise ValueError(
            f"{y} must be ({coordinates.shape[0]}, classes) or ({coordinates.shape[0]},) as {x} is, got {labels.shape}"
        )
    if max(labels.shape[1:], default=0) > MAX_CLASSES:
        raise ValueError(f"{y} tells {labels.shape[1]} classes, more than {MAX_CLASSES}")
    if labels.dtype.kind not in ("biuf" if len(labels.shape) == 2 else "iu"):
        raise ValueError(f"{y} must hold one-hot rows or whole numbers, got {labels.dtype} {labels.shape}")


def _labels(y: NDArray[Any], name: str) -> NDArray[np.int64]:
    if y.ndim == 1:
        outside = np.flatnonzero((y < 0) | (y >= MAX_CLASSES))
        if len(outside):
            raise ValueError(f"{name} row {outside[0]} is {y[outside[0]]}, no class from 0 to {MAX_CLASSES - 1}")
        return y.astype(np.int64)
    one_hot = ((y == 0) | (y == 1)).all(1) & ((y == 1).sum(1) == 1)
    if not one_hot.all():
        row = int(np.flatnonzero(~one_hot)[0])
        raise ValueError(f"{name} row {row} is not one-hot: {np.count_nonzero(y[row])} of its numbers are not zero")
    return (y == 1).argmax(1).astype(np.int64) if y.shape[1] else np.zeros(0, np.int64)
