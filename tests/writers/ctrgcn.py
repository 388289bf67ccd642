"""The `.npz` of CTR-GCN."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

LENGTHS = {"train": (5, 12, 1), "test": (8, 3)}


def ctrgcn_arrays(frames: int = 12, classes: int = 60) -> dict[str, Any]:
    """Three sequences to train on and two to test on; the first of each shows two bodies, the others one.

    True files hold 300 frames; change the arrays before writing.
    """
    rng = np.random.default_rng(0)
    arrays: dict[str, Any] = {}
    for side, lengths in LENGTHS.items():
        x = np.zeros((len(lengths), frames, 2, 25, 3), np.float32)
        for i, length in enumerate(lengths):
            bodies = 2 if i == 0 else 1
            x[i, :length, :bodies] = rng.normal(0, 1, (length, bodies, 25, 3))
        arrays[f"x_{side}"] = x.reshape(len(lengths), frames, 150)
        arrays[f"y_{side}"] = np.eye(classes)[rng.integers(0, classes, len(lengths))]
    return arrays


def write_ctrgcn(path: Path, arrays: Mapping[str, Any]) -> Path:
    """Writes an `.npz`; keys whose value is None are left out."""
    np.savez(path, **{key: value for key, value in arrays.items() if value is not None})
    return path


def small_ctrgcn(root: Path) -> dict[str, Any]:
    """A file by the name of the cross-subject benchmark."""
    return {"raw": write_ctrgcn(root / "NTU60_CS.npz", ctrgcn_arrays())}
