"""A tiny prepared folder, runs of the `pretrain` verb on it, and what they leave."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from hiclr.cli import pretrain
from hiclr.data.module import SkeletonData
from hiclr.data.writer import FolderWriter
from hiclr.encoders.checkpoint import CHECKPOINT_KEY, LAST_CHECKPOINT
from hiclr.methods.training import METRICS
from hiclr.skeleton import SKELETONS, Skeleton

KINECT = SKELETONS["kinect20"]


def prepared(root: Path, skeleton: Skeleton = KINECT, n: int = 24, sequences: Any = None) -> Path:
    """A prepared folder in 3 classes, of random sequences unless others are given; a third is on the test side."""
    if sequences is None:
        sequences = np.random.default_rng(0).normal(0, 0.3, (n, 3, 16, skeleton.num_joints, 2)).astype(np.float32)
    writer = FolderWriter(root, {"corpus": "tiny"}, sequences.shape[1:], rows=n, chunk=n)
    writer.start()
    writer.write(0, sequences)
    writer.note(0, n, None)
    samples = pd.DataFrame(
        {
            "name": [f"s{i}" for i in range(n)],
            "label": np.arange(n) % 3,
            "subject": 0,
            "camera": 0,
            "setup": 0,
            "length": 16,
            "bodies": 2,
            "xsub": ["test" if i % 3 == 2 else "train" for i in range(n)],
        }
    )
    about = {
        "schema": 1,
        "corpus": "tiny",
        "frames": 16,
        "bodies": 2,
        "skeleton": skeleton.to_dict(),
        "class_names": ["a", "b", "c"],
        "benchmarks": ["xsub"],
    }
    writer.finish(samples, about)
    return root


def run(root: Path, out: Path, method: Any, max_epochs: int = 4, batch_size: int = 8, **options: Any) -> Path:
    data = SkeletonData(root, batch_size=batch_size)
    return pretrain(data, method, out=out, max_epochs=max_epochs, accelerator="cpu", **options)


def checkpoint(out: Path) -> dict[str, Any]:
    content: dict[str, Any] = torch.load(out / LAST_CHECKPOINT, weights_only=True)
    return content


def metrics(out: Path) -> pd.DataFrame:
    """Without the rate, which no seed determines."""
    return pd.read_csv(out / METRICS).drop(columns="sequences_per_second")


def assert_same_state(a: Path, b: Path) -> None:
    ours, theirs = checkpoint(a), checkpoint(b)
    assert ours["state_dict"].keys() == theirs["state_dict"].keys()
    for name, value in ours["state_dict"].items():
        assert torch.equal(value, theirs["state_dict"][name]), name
    speeds, others = (state["optimizer_states"][0]["state"] for state in (ours, theirs))
    for index, speed in speeds.items():
        assert torch.equal(speed["momentum_buffer"], others[index]["momentum_buffer"]), index
    assert torch.equal(ours[CHECKPOINT_KEY]["random_states"]["cpu"], theirs[CHECKPOINT_KEY]["random_states"]["cpu"])
    assert ours[CHECKPOINT_KEY]["epochs"] == theirs[CHECKPOINT_KEY]["epochs"]
