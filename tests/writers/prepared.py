"""A small prepared folder, written through `FolderWriter`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hiclr.data.writer import FolderWriter
from hiclr.skeleton import SKELETONS

RECIPE = {"corpus": "mine", "source_hash": "abc", "frames": 4}
SEQUENCES = np.random.default_rng(0).normal(0, 1, (5, 3, 4, 20, 1)).astype(np.float32)
ABOUT: dict[str, Any] = {
    "schema": 1,
    **RECIPE,
    "bodies": 1,
    "skeleton": SKELETONS["kinect20"].to_dict(),
    "class_names": ["walk", "sit"],
    "benchmarks": ["xsub", "xview"],
}


def table() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "name": ["a", "NA", "007", "d, e", "nan"],
            "label": [0, 1, 1, 0, 1],
            "subject": [1, 2, 3, 4, 5],
            "camera": 0,
            "setup": 0,
            "length": [30, 31, 32, 33, 34],
            "bodies": 1,
            "effort": [0.5, np.nan, 1.0, 1.5, 2.0],
            "xsub": ["train", "test", "train", "", "test"],
            "xview": ["train", "train", "", "", ""],
        }
    )


CHUNKS = (SEQUENCES[:2], SEQUENCES[:0], SEQUENCES[2:])  # of at most three: the first two leave gaps


def writer_of(root: Path, overwrite: bool = False, **recipe: Any) -> FolderWriter:
    return FolderWriter(root, RECIPE | recipe, SEQUENCES.shape[1:], rows=9, chunk=3, overwrite=overwrite)


def add(writer: FolderWriter, chunk: int) -> None:
    writer.write(chunk, CHUNKS[chunk])
    writer.note(chunk, len(CHUNKS[chunk]), f"chunk {chunk}")


def write_prepared(root: Path, about: dict[str, Any] = ABOUT, samples: pd.DataFrame | None = None) -> Path:
    writer = writer_of(root)
    with writer.locked():
        assert writer.start() == []
        for chunk in (2, 1, 0):
            add(writer, chunk)
        writer.finish(table() if samples is None else samples, about)
    return root
