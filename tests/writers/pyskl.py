"""Pickles of PYSKL and MMAction2."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np

NAMES = ("S001C001P001R001A001", "S002C002P003R002A060", "S017C003P040R001A027", "S001C002P002R001A003")


def annotation(name: str, label: int, bodies: int = 1, frames: int = 7, seed: int = 0, **fields: Any) -> dict[str, Any]:
    """A sequence of 25 joints in metres; a field of None is left out."""
    keypoint = np.random.default_rng(seed).normal(0, 1, (bodies, frames, 25, 3)).astype(np.float16)
    known = {"frame_dir": name, "label": label, "keypoint": keypoint, "total_frames": frames}
    return {key: value for key, value in (known | fields).items() if value is not None}


def in_pixels(name: str, label: int, bodies: int = 1, frames: int = 7, seed: int = 0, **fields: Any) -> dict[str, Any]:
    """A sequence of 17 joints in an image, as a pose estimator found them."""
    rng = np.random.default_rng(seed)
    keypoint = rng.uniform((1, 1), (1919, 1079), (bodies, frames, 17, 2)).astype(np.float16)
    score = rng.uniform(0, 1, (bodies, frames, 17)).astype(np.float16)
    known = {"keypoint": keypoint, "keypoint_score": score, "img_shape": (1080, 1920), "original_shape": (1080, 1920)}
    return annotation(name, label, bodies, frames, **(known | fields))


def pyskl_content() -> dict[str, Any]:
    """Four NTU sequences, one with two bodies; change it before writing."""
    annotations = [
        annotation(name, int(name[-3:]) - 1, bodies=1 + (i == 1), frames=5 + i, seed=i) for i, name in enumerate(NAMES)
    ]
    split = {
        "xsub_train": [NAMES[0], NAMES[3]],
        "xsub_val": list(NAMES[1:3]),
        "xview_train": [NAMES[1], NAMES[2], NAMES[3]],
        "xview_val": [NAMES[0]],
    }
    return {"split": split, "annotations": annotations}


def write_pyskl(path: Path, content: Any, protocol: int = 2) -> Path:
    """Writes a pickle, by default of the protocol that MMAction2 uses."""
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    return path


def small_pyskl(root: Path) -> dict[str, Any]:
    """NTU sequences with two benchmarks."""
    return {"raw": write_pyskl(root / "ntu60_3danno.pkl", pyskl_content())}
