"""Clips of one's own: `.npy` and `.csv` files and the table that names them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hiclr.skeleton import SKELETONS, Skeleton

Table = Sequence[Mapping[str, Any]]


def poses(frames: int = 5, joints: int = 20, seed: int = 0) -> NDArray[np.float64]:
    """Joints (F, V, 3) that move at random, with as many digits as `csv_text` writes."""
    return np.random.default_rng(seed).normal(0, 1, (frames, joints, 3)).round(6)


def joint_columns(skeleton: Skeleton, spelling: str = "{joint}_{axis}") -> list[str]:
    """Column names; the spelling may say {joint}, {JOINT}, {number}, {number1} and {axis}, {AXIS}."""
    return [
        spelling.format(joint=joint, JOINT=joint.upper(), number=i, number1=i + 1, axis=axis, AXIS=axis.upper())
        for i, joint in enumerate(skeleton.joint_names)
        for axis in "xyz"
    ]


def csv_text(header: Sequence[str] | None, rows: Sequence[Sequence[Any]], delimiter: str = ",") -> str:
    """A text table; numbers have six digits, NaN is an empty cell."""
    lines = [] if header is None else [delimiter.join(header)]
    lines += [delimiter.join(map(_cell, row)) for row in rows]
    return "\n".join(lines) + "\n"


def _cell(value: Any) -> str:
    return value if isinstance(value, str) else "" if np.isnan(value) else f"{value:.6f}".rstrip("0").rstrip(".")


def write_text(path: Path, text: str | bytes) -> Path:
    """Writes a file as it stands, line ends included."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def write_csv_clip(path: Path, frames: NDArray[np.float64], skeleton: Skeleton) -> Path:
    """Writes joints (F, V, 3) with a header, a frame a row."""
    return write_text(path, csv_text(joint_columns(skeleton), frames.reshape(len(frames), -1)))


def write_npy_clip(path: Path, frames: NDArray[Any]) -> Path:
    """Writes an array as it stands."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, frames)
    return path


def write_table(path: Path, rows: Table) -> Path:
    """Writes the table of clips; all rows have the first one's columns."""
    return write_text(path, csv_text(list(rows[0]), [[str(cell) for cell in row.values()] for row in rows]))


def small_clips(root: Path) -> dict[str, Any]:
    """Four clips of two people, in subfolders, one of them `.npy`."""
    kinect = SKELETONS["kinect20"]
    for seed, name in enumerate(("walk/01", "walk/02", "sit/01")):
        write_csv_clip(root / "clips" / f"{name}.csv", poses(seed=seed), kinect)
    write_npy_clip(root / "clips" / "sit" / "02.npy", poses(seed=3))
    rows = [
        {"name": f"{action}/0{subject}", "label": action, "subject": subject}
        for action in ("walk", "sit")
        for subject in (1, 2)
    ]
    return {"raw": root / "clips", "table": write_table(root / "clips.csv", rows), "split_by": "subject"}
