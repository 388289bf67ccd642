"""NW-UCLA `.json` and UTD-MHAD `.mat`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.io import savemat

# UTD-MHAD lists joints from the head: place in its files of each joint in the order of the Kinect SDK
HEAD_FIRST = (3, 2, 1, 0, *range(4, 20))


def write_nwucla(path: Path, frames: NDArray[np.floating[Any]], label: Any, **changes: Any) -> Path:
    """Writes frames (F, 20, 3) as NW-UCLA does; `changes` replaces or adds keys."""
    content = {"file_name": path.stem, "skeletons": frames.tolist(), "label": label} | changes
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def write_utdmhad(path: Path, frames: NDArray[np.floating[Any]], compressed: bool = True) -> Path:
    """Writes frames (F, 20, 3), joints in the order of the Kinect SDK, as UTD-MHAD does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, {"d_skel": frames[:, HEAD_FIRST].transpose(1, 2, 0)}, do_compression=compressed)
    return path


def kinect_frames(count: int, seed: int = 0) -> NDArray[np.float64]:
    """Somebody who stands 3 m away and moves at random: (count, 20, 3)."""
    return np.random.default_rng(seed).normal((0, 0, 3), 0.5, (count, 20, 3))


def small_nwucla(root: Path) -> dict[str, Any]:
    """Three clips, one of each camera."""
    for seed, (name, label) in enumerate({"a01_s01_e00_v01": 1, "a08_s02_e01_v02": 7, "a12_s10_e04_v03": 10}.items()):
        write_nwucla(root / "raw" / f"view_{name[-1]}" / f"{name}.json", kinect_frames(5 + seed, seed), label)
    return {"raw": root / "raw"}


def small_utdmhad(root: Path) -> dict[str, Any]:
    """Three clips of three subjects."""
    for seed, name in enumerate(("a1_s1_t1", "a10_s2_t4", "a27_s8_t2")):
        write_utdmhad(root / "raw" / f"{name}_skeleton.mat", kinect_frames(5 + seed, seed), compressed=seed > 0)
    return {"raw": root / "raw"}
