"""Writers of raw files as fixtures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from writers import ntu, ragged


@pytest.fixture
def write_ntu() -> Callable[..., Path]:
    """Writes a `.skeleton` file."""
    return ntu.write_ntu


@pytest.fixture
def write_person() -> Callable[..., Path]:
    """Writes a `.skeleton` file of one person who moves at random."""
    return ntu.write_person


@pytest.fixture
def ragged_arrays() -> dict[str, Any]:
    """What a ragged `.npz` of five sequences of 25 joints holds; change it before writing."""
    return ragged.ragged_arrays()


@pytest.fixture
def write_ragged(tmp_path: Path) -> Callable[[Mapping[str, Any]], Path]:
    """Writes `mine.npz`; keys whose value is None are left out."""
    return lambda arrays: ragged.write_ragged(tmp_path / "mine.npz", arrays)
