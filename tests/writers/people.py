"""Bodies that could be alive, and corpora of them that lie in memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hiclr.data.corpora.base import Corpus
from hiclr.data.recordings.base import Recording
from hiclr.skeleton import SKELETONS, Skeleton


def person(frames: int, seed: int = 0, skeleton: Skeleton = SKELETONS["ntu25"]) -> NDArray[np.float32]:
    """Somebody 3 m away who sways with stiff bones of 20 cm: (F, 1, V, 3) in metres."""
    rng = np.random.default_rng(seed)
    bones = rng.normal(0, 1, (skeleton.num_joints, 3))
    bones *= 0.2 / np.linalg.norm(bones, axis=1, keepdims=True)
    pose = np.array([sum(bones[above] for above in skeleton.path_to_root(joint)) for joint in range(len(bones))])
    angles = np.cumsum(rng.uniform(0.01, 0.03, frames))
    cos, sin, one = np.cos(angles), np.sin(angles), np.zeros(frames)
    turns = np.array([[cos, one, sin], [one, one + 1, one], [-sin, one, cos]]).transpose(2, 0, 1)
    poses = np.einsum("fij,vj->fvi", turns, pose) + np.array([0, 0, 3])
    return poses[:, None].astype(np.float32)


def corpus_of(recordings: Sequence[NDArray[np.float32] | Exception], **columns: Any) -> Corpus:
    """A corpus "drawn" of two classes and four subjects, xsub: odd ones train; columns of its table can be replaced."""

    def read(row: int) -> Recording:
        content = recordings[row]
        if isinstance(content, Exception):
            raise content
        return Recording(f"r{row}", content)

    rows = np.arange(len(recordings))
    facts = {
        "name": [f"r{row}" for row in rows],
        "label": rows // 4 % 2,
        "subject": 1 + rows % 4,
        "camera": 0,
        "setup": 0,
        "xsub": np.where(rows % 2, "test", "train"),
    }
    samples = pd.DataFrame(facts | columns)
    benchmarks = tuple(column for column in samples if str(column).startswith("x"))
    skeleton = SKELETONS["ntu25"]
    return Corpus("drawn", skeleton, ("walk", "sit"), benchmarks, 2, samples, read, (Path("drawn.npz"),), "drawn")
