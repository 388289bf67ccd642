"""Every reader that is fuzzed (see `fuzz/`), under random damage to true files: read, or refused in one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
from fuzz.readers import READERS, Target
from hypothesis import given
from hypothesis import strategies as st

from hostile.damage import SAME, damaged


@pytest.mark.parametrize("name", READERS)
def test_damage_is_read_or_refused_in_one_sentence_that_names_the_file(name: str, tmp_path: Path) -> None:
    target = Target(READERS[name], tmp_path)
    seeds = target.seeds()

    @SAME
    @given(st.sampled_from(seeds).flatmap(lambda seed: damaged(seed[1:]).map(lambda content: seed[:1] + content)))
    def holds(content: bytes) -> None:
        target(content)  # a Finding would end the test

    holds()
