"""48 short clips of 20 joints in three classes that can be told apart, in one ragged `.npz`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

LABELS = np.arange(48) % 3


def learnable_frames() -> NDArray[np.float32]:
    """(480, 1, 20, 3): ten frames a clip, in which all joints move along a line, each class at its own speed."""
    chance = np.random.default_rng(0)
    speed = np.repeat(LABELS, 10)[:, None, None, None] * np.linspace(0, 1, 480)[:, None, None, None]
    return (chance.normal(0, 0.3, (480, 1, 20, 3)) + speed).astype(np.float32)


def write_learnable(path: Path) -> None:
    """Writes them with a benchmark xsub: 36 clips to learn from, 12 to test on."""
    np.savez(
        path,
        frames=learnable_frames(),
        offsets=np.arange(0, 481, 10),
        label=LABELS,
        class_names=["wave", "squat", "jump"],
        split_xsub=np.arange(48) < 36,
    )
