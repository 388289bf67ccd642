"""PKU-MMD recordings, label files and split files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def write_pku_recording(path: Path, frames: NDArray[np.floating[Any]]) -> Path:
    """Writes a recording (F, up to 2, 25, 3): one line a frame, zeros for an absent second body."""
    bodies = np.zeros((len(frames), 2, 25, 3))
    bodies[:, : frames.shape[1]] = frames
    lines = (" ".join(f"{number:.7g}" for number in frame) for frame in bodies.reshape(len(frames), -1))
    return _write(path, "".join(f"{line}\n" for line in lines))


def write_pku_labels(path: Path, *actions: tuple[int, int, int] | tuple[int, int, int, int]) -> Path:
    """Writes a label file of actions (class, first, last) or (class, first, last, confidence)."""
    lines = (",".join(map(str, action if len(action) == 4 else (*action, 2))) for action in actions)
    return _write(path, "".join(f"{line}\n" for line in lines))


def write_pku_split(path: Path, train: Sequence[str], test: Sequence[str]) -> Path:
    """Writes the two sides of a benchmark, with the owners' headlines and the comma they leave at the end."""
    return _write(path, f"Training videos:\n{', '.join(train)}, \nValidation videos:\n{', '.join(test)}, \n")


def _write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def pku_frames(count: int, bodies: int = 1, seed: int = 0) -> NDArray[np.float64]:
    """People who stand 3 m away and move at random: (count, bodies, 25, 3)."""
    return np.random.default_rng(seed).normal((0, 0, 3), 0.5, (count, bodies, 25, 3))


def small_pkummd1(root: Path) -> dict[str, Any]:
    """Three recordings of one scene with five actions."""
    for seed, name in enumerate(("0002-L", "0002-M", "0002-R")):
        write_pku_recording(root / "raw" / "PKU_Skeleton_Renew" / f"{name}.txt", pku_frames(40, 1 + seed % 2, seed))
    labels = root / "raw" / "Train_Label_PKU_final"
    write_pku_labels(labels / "0002-L.txt", (26, 21, 30), (1, 3, 12))
    write_pku_labels(labels / "0002-M.txt", (26, 21, 30), (1, 3, 12, 1))
    write_pku_labels(labels / "0002-R.txt", (51, 35, 40))
    write_pku_split(root / "raw" / "Split" / "cross-subject.txt", ["0002-L", "0002-M"], ["0002-R"])
    write_pku_split(root / "raw" / "Split" / "cross-view.txt", ["0002-M", "0002-R"], ["0002-L"])
    return {"raw": root / "raw"}


def small_pkummd2(root: Path) -> dict[str, Any]:
    """Two recordings of two subjects, all files in one folder but the label files."""
    for seed, name in enumerate(("A01N01-L", "A02N13-M")):
        write_pku_recording(root / "raw" / f"{name}.txt", pku_frames(30, seed=seed))
        write_pku_labels(root / "raw" / "Label_PKUMMD_v2" / f"{name}.txt", (8, 1, 9), (9 + seed, 10, 30))
    write_pku_split(root / "raw" / "cross_subject_v2.txt", ["A01N01-L"], ["A02N13-M"])
    write_pku_split(root / "raw" / "cross_view_v2.txt", ["A02N13-M"], ["A01N01-L"])
    return {"raw": root / "raw"}
