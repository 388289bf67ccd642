"""The ragged `.npz` of one's own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np


def ragged_arrays() -> dict[str, Any]:
    """What a ragged `.npz` of five sequences of 25 joints holds; change it before writing."""
    rng = np.random.default_rng(0)
    offsets = np.array([0, 4, 5, 12, 20, 23])
    return {
        "frames": rng.normal(0, 1, (23, 1, 25, 3)).astype(np.float32),
        "offsets": offsets,
        "label": np.array([0, 1, 2, 0, 1]),
        "subject": np.array([1, 2, 3, 4, 5]),
        "view": np.array([1, 1, 2, 2, 3]),
        "name": np.array(["a", "b", "NA", "d", "007"]),
        "effort": np.array([0.5, np.nan, 1.5, 2.0, 2.5]),
        "class_names": np.array(["walk", "sit", "wave"]),
        "split_xsub": np.array([1, 0, 1, 0, -1]),
        "meta": np.array('{"dataset": "mine", "licence": "CC0"}'),
    }


def write_ragged(path: Path, arrays: Mapping[str, Any]) -> Path:
    """Writes an `.npz`; keys whose value is None are left out."""
    np.savez(path, **{key: value for key, value in arrays.items() if value is not None})
    return path


def small_npz(root: Path) -> dict[str, Any]:
    """A file of one's own."""
    return {"raw": write_ragged(root / "mine.npz", ragged_arrays())}
