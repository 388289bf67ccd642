"""A ragged file as a corpus."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hiclr.data.corpora import npz


def test_ragged_passes_its_file_on(ragged_arrays: dict[str, Any], write_ragged: Callable[..., Path]) -> None:
    corpus = npz(write_ragged(ragged_arrays | {"frames": np.ones((23, 3, 25, 3), np.float32)}))
    assert (corpus.name, corpus.bodies, corpus.synthetic) == ("mine", 3, False)
    assert corpus.read(0).frames.shape == (4, 3, 25, 3)
    assert corpus.meta["licence"] == "CC0"


def test_ragged_fingerprint_follows_the_contents(
    ragged_arrays: dict[str, Any], write_ragged: Callable[..., Path]
) -> None:
    before = npz(write_ragged(ragged_arrays)).fingerprint
    changed = ragged_arrays["frames"].copy()
    changed[0, 0, 0, 0] += 1
    assert npz(write_ragged(ragged_arrays)).fingerprint == before
    assert npz(write_ragged(ragged_arrays | {"frames": changed})).fingerprint != before


@pytest.mark.parametrize("key", ["name", "class_names", "meta"])
def test_text_that_no_file_can_hold_is_refused(
    ragged_arrays: dict[str, Any], write_ragged: Callable[..., Path], key: str
) -> None:
    half = {
        "name": [*"abcd", "sit\ud83d"],
        "class_names": ["walk", "sit\ud83d", "wave"],
        "meta": '{"of": "sit\\ud83d"}',
    }
    said = r"sit\\ud83d' ends in what is no character of UTF-8|can't encode character '\\ud83d'"  # pandas with pyarrow
    with pytest.raises(ValueError, match=said):
        npz(write_ragged(ragged_arrays | {key: np.array(half[key])}))
