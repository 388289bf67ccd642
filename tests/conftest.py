"""What several test files need: where the shared material lies, and small inputs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


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
