"""NTU RGB+D `.skeleton` files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
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


def write_ntu(path: Path, frames: Frames) -> Path:
    """Writes a `.skeleton` file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(ntu_text(frames))
    return path


def write_person(path: Path, frames: int = 6, seed: int = 0) -> Path:
    """Writes a `.skeleton` file of one person who moves at random."""
    joints = np.random.default_rng(seed).normal((0, 0, 3), 1, (frames, 25, 3))
    return write_ntu(path, [[("72057594037944738", pose)] for pose in joints])


def small_ntu60(root: Path) -> dict[str, Any]:
    """Three recordings that both NTU corpora have."""
    for seed, name in enumerate(("S001C001P001R001A001", "S002C002P003R002A060", "S017C003P040R001A027")):
        write_person(root / "raw" / f"{name}.skeleton", seed=seed)
    return {"raw": root / "raw"}


def small_ntu120(root: Path) -> dict[str, Any]:
    """The same, and one of NTU120 alone."""
    write_person(root / "raw" / "S018C001P041R001A061.skeleton", seed=3)
    return small_ntu60(root)
