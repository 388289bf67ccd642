"""Reading NTU text and preparing a sequence, step by step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_HANDS = ("left_confidence", "left_state", "right_confidence", "right_state")
_BODY = ("id", "clipped", *_HANDS, "restricted", "lean_x", "lean_y", "tracking")
_JOINT = ("x", "y", "z", "depth_x", "depth_y", "colour_x", "colour_y", "qw", "qx", "qy", "qz", "tracking")


def read_into_dicts(path: Path) -> list[list[dict[str, Any]]]:
    """An NTU `.skeleton` file, line by line: per frame the bodies, with every field by its name."""
    frames = []
    with path.open() as file:
        for _ in range(int(file.readline())):
            bodies = []
            for _ in range(int(file.readline())):
                body: dict[str, Any] = dict(zip(_BODY, map(float, file.readline().split()), strict=True))
                body["joints"] = [
                    dict(zip(_JOINT, map(float, file.readline().split()), strict=True))
                    for _ in range(int(file.readline()))
                ]
                bodies.append(body)
            frames.append(bodies)
    return frames


def read_coordinates(path: Path) -> NDArray[np.float32]:
    """The same with no more than is needed, and no checks: (F, 2, 25, 3), the bodies as they come in each frame."""
    with path.open() as file:
        frames = np.zeros((int(file.readline()), 2, 25, 3), np.float32)
        for frame in frames:
            for body in range(int(file.readline())):
                file.readline()
                for joint in range(int(file.readline())):
                    frame[body, joint] = [float(number) for number in file.readline().split()[:3]]
    return frames


def prepare_one(
    x: NDArray[np.float32], centre: int, shoulders: tuple[int, int], frames: int = 50
) -> NDArray[np.float32]:
    """The published preparation of one sequence (3, T, V, M), frame by frame."""
    length = sum(bool(x[:, t, :, 0].any()) for t in range(x.shape[1]))
    x = x[:, :length].copy()
    for t in range(length):
        for m in range(x.shape[3]):
            x[:, t, :, m] -= x[:, t, centre, m][:, None]
    resized = np.zeros((x.shape[0], frames, *x.shape[2:]), np.float32)
    for t in range(frames):
        position = max((t + 0.5) * length / frames - 0.5, 0)
        before = int(position)
        after = min(before + 1, length - 1)
        resized[:, t] = x[:, before] + (position - before) * (x[:, after] - x[:, before])
    left, right = shoulders
    for m in range(x.shape[3]):
        line = resized[:, :, right, m] - resized[:, :, left, m]
        sign = -1 if line[2].sum() < 0 else 1
        for t in range(frames):
            across, along = line[0, t], line[2, t]
            angle = sign * np.arccos(across / (np.sqrt(across**2 + along**2) + 1e-4))
            cos, sin = np.cos(angle), np.sin(angle)
            turn = np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])
            resized[:, t, :, m] = turn @ resized[:, t, :, m]
    return resized
