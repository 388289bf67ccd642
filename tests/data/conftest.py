"""Small raw files, true to their formats."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

# one entry per frame: (body id, joints (25, 3)) of each body in it
Frames = Sequence[Sequence[tuple[str, NDArray[np.float64]]]]


def ntu_text(frames: Frames) -> str:
    """The text of an NTU `.skeleton` file, with the fields nobody reads filled in as a Kinect does."""
    lines = [str(len(frames))]
    for bodies in frames:
        lines.append(str(len(bodies)))
        for body_id, joints in bodies:
            lines += [f"{body_id} 0 1 1 1 1 0 0.01119184 -0.256052 2", str(len(joints))]
            lines += [
                f"{x:.7g} {y:.7g} {z:.7g} 276.8 215.2 1005.71 538.3 -0.229687 0.0386662 0.97216 0.0301 2"
                for x, y, z in joints
            ]
    return "\n".join(lines) + "\n"


@pytest.fixture
def write_ntu() -> Callable[[Path, Frames], Path]:
    """Writes a `.skeleton` file."""

    def write(path: Path, frames: Frames) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(ntu_text(frames))
        return path

    return write


@pytest.fixture
def write_person(write_ntu: Callable[[Path, Frames], Path]) -> Callable[..., Path]:
    """Writes a `.skeleton` file of one person who moves at random."""

    def write(path: Path, frames: int = 6, seed: int = 0) -> Path:
        joints = np.random.default_rng(seed).normal((0, 0, 3), 1, (frames, 25, 3))
        return write_ntu(path, [[("72057594037944738", pose)] for pose in joints])

    return write


@pytest.fixture
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


@pytest.fixture
def write_ragged(tmp_path: Path) -> Callable[[Mapping[str, Any]], Path]:
    """Writes `mine.npz`; keys whose value is None are left out."""

    def write(arrays: Mapping[str, Any]) -> Path:
        path = tmp_path / "mine.npz"
        np.savez(path, **{key: value for key, value in arrays.items() if value is not None})
        return path

    return write
