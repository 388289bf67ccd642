"""One `.npz` of one's own."""

from __future__ import annotations

from pathlib import Path

from hiclr.data.corpora.base import Corpus, contents
from hiclr.data.recordings.ragged import open_ragged


def npz(raw: Path | str) -> Corpus:
    """One's own data in one "ragged" `.npz` file.

    Args:
        raw: the file (its keys: docs/how-to/own-recordings.md).

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not of this form.
    """
    raw = Path(raw)
    content = open_ragged(raw)
    return Corpus(
        name=content.name,
        skeleton=content.skeleton,
        class_names=content.class_names,
        benchmarks=content.benchmarks,
        bodies=content.frames.shape[1],
        samples=content.samples,
        read=content.read,
        files=(raw,),
        fingerprint=contents(raw),
        synthetic=bool(content.meta.get("synthetic", False)),
        meta=content.meta,
    )
