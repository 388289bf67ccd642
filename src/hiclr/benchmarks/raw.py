"""Raw files to measure with: random numbers in the form, and of the size, of NTU RGB+D's."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

_LOW = (-1.0, -1.0, 2.0, 100, 100, 400, 300, -1, -1, -1, -1)  # x y z, depth and colour pixels, orientation
_HIGH = (1.0, 1.0, 4.0, 400, 300, 1500, 800, 1, 1, 1, 1)


def write_recording(path: Path, frames: int, people: int = 1, seed: int = 0) -> Path:
    """Writes a `.skeleton` file; seven significant digits, as Kinect's recorder writes them."""
    chance = np.random.default_rng(seed)
    lines = [str(frames)]
    for _ in range(frames):
        lines.append(str(people))
        for person in range(people):
            lines += [f"{72057594037931101 + person} 0 1 1 1 1 0 0.02764709 0.05745083 2", "25"]
            numbers = chance.uniform(_LOW, _HIGH, (25, len(_LOW))).tolist()
            lines += [" ".join(f"{number:.7g}" for number in joint) + " 2" for joint in numbers]
    path.write_text("\n".join(lines) + "\n", newline="\n")
    return path


def make_corpus(folder: Path, recordings: int, distinct: int = 24) -> Path:
    """A folder with NTU60's names, most of them hard links to a few short recordings."""
    folder.mkdir()
    paths = [folder / name for name in itertools.islice(_names(), recordings)]
    for i, path in enumerate(paths):
        if i < distinct:
            write_recording(path, 8 + i % 5, 1 + i % 2, seed=i)
        else:
            os.link(paths[i % distinct], path)
    return folder


def _names() -> Iterator[str]:
    numbers = (range(1, 18), range(1, 4), range(1, 41), range(1, 3), range(1, 61))
    for setup, camera, performer, repetition, action in itertools.product(*numbers):
        yield f"S{setup:03d}C{camera:03d}P{performer:03d}R{repetition:03d}A{action:03d}.skeleton"
