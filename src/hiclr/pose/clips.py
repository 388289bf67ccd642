"""Poses as a clip that `hiclr prepare clips` and all other verbs read without any option."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from hiclr.skeleton import Skeleton


def clip_text(poses: NDArray[np.float32], skeleton: Skeleton, fps: float, start: float = 0.0) -> str:
    """The `.csv` of a clip: a header, then a row for each frame, and for each body where there are several.

    Args:
        poses: joints (F, M, V, 3) in metres, y up, or (F, M, V, 4) with their visibility; a body whose joints are all
            zero was not found, and its cells are empty.
        skeleton: names of the V joints.
        fps: frames a second.
        start: time of the first frame, seconds.
    """
    axes = ("x", "y", "z", "visibility")[: poses.shape[3]]
    several = poses.shape[1] > 1
    columns = [f"{joint}_{axis}" for joint in skeleton.joint_names for axis in axes]
    lines = [["frame", "time", *["body"][:several], *columns]]
    for frame, bodies in enumerate(poses):
        for body, joints in enumerate(bodies):
            place = [str(frame), f"{start + frame / fps:.4f}", *[str(body)][:several]]
            lines.append([*place, *_cells(joints)])
    return "".join(f"{','.join(line)}\n" for line in lines)


def found(poses: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which bodies are there, (F, M)."""
    there: NDArray[np.bool_] = (np.nan_to_num(poses[..., :3]) != 0).any((2, 3))
    return there


def _cells(joints: NDArray[np.float32]) -> Iterator[str]:
    """Tenths of millimetres; nothing for a body that is not there or a number that is none."""
    there = found(joints[None, None]).item()
    return (f"{value:.4f}" if there and np.isfinite(value) else "" for value in joints.ravel().tolist())
