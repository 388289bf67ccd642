"""The `.npz` of CTR-GCN."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from hiclr.data.corpora.base import Corpus, contents
from hiclr.data.corpora.ntu import NTU60_CLASSES, NTU60_PUBLISHED, NTU120_CLASSES, NTU120_PUBLISHED
from hiclr.data.recordings.ctrgcn import BODIES, SIDES, open_ctrgcn
from hiclr.skeleton import SKELETONS

_BENCHMARKS = {"cs": "xsub", "csub": "xsub", "cv": "xview", "cset": "xset"}
_CLASS_NAMES = {60: NTU60_CLASSES, 120: NTU120_CLASSES}
_PUBLISHED = {60: NTU60_PUBLISHED, 120: NTU120_PUBLISHED}


def ctrgcn(raw: Path | str) -> Corpus:
    """A CTR-GCN `.npz` of NTU RGB+D: x_train (N, 300, 150), y_train, x_test and y_test.

    The benchmark is what the file name ends in: _CS and _CSub xsub, _CV xview, _CSet xset, otherwise "split". The file
    tells no subjects, cameras or names; the sequences are called train_000000, ..., test_000000, ...

    Args:
        raw: the file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not of this form.
    """
    raw = Path(raw)
    content = open_ctrgcn(raw)
    if not content.names:
        raise ValueError(f"{raw} holds no sequences")
    benchmark = _BENCHMARKS.get(raw.stem.rpartition("_")[2].lower(), "split")
    published = _PUBLISHED.get(content.classes, {})
    columns = {"name": content.names, "label": np.concatenate(content.labels), "subject": 0, "camera": 0, "setup": 0}
    return Corpus(
        name=raw.stem,
        skeleton=SKELETONS["ntu25"],
        class_names=_CLASS_NAMES.get(content.classes, tuple(map(str, range(content.classes)))),
        benchmarks=(benchmark,),
        bodies=BODIES,
        samples=pd.DataFrame(columns | {benchmark: np.repeat(SIDES, [len(side) for side in content.x])}),
        read=content.read,
        files=(raw,),
        fingerprint=contents(raw),
        published={benchmark: published[benchmark]} if benchmark in published else {},
        meta={"units": "metre"},
    )
