"""What every corpus keeps, whatever its raw form."""

from __future__ import annotations

import os
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


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
@pytest.mark.parametrize("kind", ["clips", "ntu60", "nwucla", "pkummd1", "utdmhad"])
def test_links_in_circles_and_pipes_are_passed_over(kind: str, tmp_path: Path) -> None:
    arguments = SMALL[kind](tmp_path)
    before = getattr(corpora, kind)(**arguments)
    raw = Path(arguments["raw"])
    for name in ("again", "back"):  # two: what follows them blindly never ends
        (raw / name).symlink_to(raw)
    (raw / "no files").mkdir()
    os.mkfifo(raw / "no files" / Path(before.files[0]).name)
    corpus = getattr(corpora, kind)(**arguments)
    assert corpus.samples.equals(before.samples) and [*map(str, corpus.files)] == [*map(str, before.files)]
    assert any(note.startswith("1 recording left out, no files, or links that lead nowhere: ") for note in corpus.notes)
