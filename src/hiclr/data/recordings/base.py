"""What every reader returns."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)  # arrays do not compare to one bool
class Recording:
    """One recording as it lies in the raw file.

    Args:
        name: unique within its corpus.
        frames: (F, M, V, 3) float32 in metres. M is the number of bodies seen, in the order in which they first
            appear; a body that is absent from a frame is zero there. NaN passes through.
    """

    name: str
    frames: NDArray[np.float32]


PREPARED_COLUMNS = ("length", "bodies")  # of `samples.csv`: preparation counts them, so no source may bring its own
FARTHEST = 1e6  # metres; what lies beyond is no measurement, and its square may not fit into float32


def broken_frames(frames: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which of the frames (F, M, V, 3) hold NaN or coordinates beyond `FARTHEST`: (F,)."""
    return ~np.asarray((np.abs(frames) < FARTHEST).all((1, 2, 3)))


def to_float32(numbers: NDArray[Any]) -> NDArray[np.float32]:
    """A copy in float32; what that cannot hold becomes infinite, and preparation says so."""
    with np.errstate(over="ignore"):
        return numbers.astype(np.float32)


def shown(text: str | bytes) -> str:
    """What stands in a file, for a sentence: its first 40 letters."""
    if isinstance(text, bytes):
        text = text.decode("ascii", "backslashreplace")
    text = text.strip()
    return repr(text if len(text) <= 40 else text[:40] + "...")


def check_text(array: NDArray[Any]) -> None:
    """ValueError for an array of text with numbers that stand for no letter: Python fails in odd ways on those."""
    if array.dtype.kind == "U":
        letters = np.frombuffer(array.tobytes(), f"{array.dtype.str[0]}u4")
        if letters.max(initial=0) > sys.maxunicode:
            raise ValueError("it holds text with letters that there are not")
