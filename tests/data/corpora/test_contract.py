"""What every corpus keeps, whatever its raw form."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hiclr.data import corpora
from writers import SMALL


def test_every_corpus_has_a_writer() -> None:
    assert set(SMALL) == set(corpora.__all__)


@pytest.mark.parametrize("kind", corpora.__all__)
def test_every_corpus_keeps_the_contract(kind: str, tmp_path: Path) -> None:
    corpus = getattr(corpora, kind)(**SMALL[kind](tmp_path))
    assert list(corpus.samples.columns[:5]) == ["name", "label", "subject", "camera", "setup"]
    assert len(corpus.samples) and corpus.samples["name"].is_unique
    assert corpus.samples["label"].between(0, len(corpus.class_names) - 1).all()
    assert corpus.files and all(Path(file).is_file() for file in corpus.files)
    for benchmark in corpus.benchmarks:
        assert set(corpus.samples[benchmark]) <= {"train", "test", ""}
    for row, name in enumerate(corpus.samples["name"]):
        recording = corpus.read(row)
        assert recording.name == name
        assert recording.frames.dtype == np.float32
        assert recording.frames.shape[2:] == (corpus.skeleton.num_joints, 3)
