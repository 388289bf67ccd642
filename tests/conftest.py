"""What several test files need: where the shared material lies, and small inputs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from hiclr.cli import needs
from hiclr.methods.footprint import Footprint, footprint


def _shared_folder() -> Path | None:
    named = os.environ.get("HICLR_SHARED")
    places = [Path(named)] if named else [Path(__file__).parents[2] / "shared"]
    return next((place for place in places if (place / "parity").is_dir()), None)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The shared folder (specification, parity numbers, real data sets); skips where there is none."""
    folder = _shared_folder()
    if folder is None:
        pytest.skip("no shared folder: set HICLR_SHARED to the folder that holds parity/ and data/")
    return folder


@pytest.fixture(scope="session", autouse=True)
def memory_of_training_untold() -> Iterator[None]:
    """What a training takes is told by tiny steps of it, four times what a tiny run itself costs; some hundred tests
    train, and those about it (`told`) ask for it.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(needs, "footprint", lambda *_, **__: Footprint(0, 0, None))
        yield


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a training takes is told as it is for a user."""
    monkeypatch.setattr(needs, "footprint", footprint)
