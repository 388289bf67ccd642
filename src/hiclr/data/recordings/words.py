"""Words of a text and the numbers they spell, all at once: no step of Python per word or line."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_NEWLINE, _SPACE, _MINUS, _POINT, _ZERO = b"\n -.0"

_ROW = 16  # bytes looked at behind a point
_PADDING = _ROW + 2  # a minus and a point
_ROW_TYPE = np.dtype(f"V{_ROW}")  # a row as one item, which NumPy copies in one go
_MAX_DECIMALS = 14  # with the digit before the point 15 in all: a whole number of 1e-14 that float64 holds
_UNITS = 10.0 ** np.maximum(_MAX_DECIMALS - 1 - np.arange(_ROW), 0)
_FIRST = (np.tri(_ROW + 1, _ROW, -1, np.uint8) * np.uint8(255)).view(_ROW_TYPE).ravel()  # item k keeps k bytes


@dataclass(frozen=True, eq=False)  # arrays do not compare to one bool
class Words:
    """The words of a text in which one space or one line end stands between any two.

    Args:
        text: ASCII.
        characters: the same and some padding, so that one may look a little behind every word.
        ends: (W,) where each word ends.
        line_ends: (L,) which word is the last of each line.
    """

    text: bytes
    characters: NDArray[np.uint8]
    ends: NDArray[np.intp]
    line_ends: NDArray[np.intp]

    @classmethod
    def of(cls, text: bytes) -> Words | None:
        """None for a text of another kind: with other blanks, several in a row, or bytes beyond ASCII."""
        if b"\r" in text:
            text = b"\n".join(text.splitlines())
        if not text.endswith(b"\n"):
            text += b"\n"
        characters = np.frombuffer(text + bytes(_PADDING), np.uint8)
        blank = characters[: len(text)] <= _SPACE
        ends = np.flatnonzero(blank)
        blanks = characters[ends]
        breaks = blanks == _NEWLINE
        if not text.isascii() or blank[0] or (blank[1:] & blank[:-1]).any() or not (breaks | (blanks == _SPACE)).all():
            return None
        return cls(text, characters, ends, np.flatnonzero(breaks))

    def starts(self, which: NDArray[np.intp]) -> NDArray[np.intp]:
        """Where some words begin."""
        return np.where(which > 0, self.ends[which - 1] + 1, 0)

    def at(self, which: NDArray[np.intp], last: NDArray[np.intp] | None = None) -> list[bytes]:
        """Some words as they are, or all from each of them to a last one."""
        ends = self.ends[which if last is None else last]
        return [self.text[start:end] for start, end in zip(self.starts(which).tolist(), ends.tolist(), strict=True)]

    def digits(self, which: NDArray[np.intp]) -> NDArray[np.intp]:
        """The values of words of one digit, -1 for other words."""
        starts = self.starts(which)
        values = self.characters[starts].astype(np.intp) - _ZERO
        return np.where((values >= 0) & (values <= 9) & (self.ends[which] - starts == 1), values, -1)

    def decimals(self, which: NDArray[np.intp]) -> NDArray[np.float64]:
        """The values of words such as `3.785547` or `-0.05349901`, NaN for words of another form.

        A plain decimal is one digit, a point and 1 to 14 decimals, perhaps with a minus before. Its digits make a whole
        number that float64 holds exactly, and one division by a power of ten rounds once: the value is `float(word)`.
        """
        characters, starts = self.characters, self.starts(which)
        negative = characters[starts] == _MINUS
        first = starts + negative
        size = self.ends[which] - first - 2
        whole = characters[first] - _ZERO  # what is below "0" wraps around to above 9
        decimals = (_rows(characters, first + 2) - _ZERO) & _bytes(_FIRST[size.clip(0, _ROW)])
        plain = (whole <= 9) & (characters[first + 1] == _POINT) & (size >= 1) & (size <= _MAX_DECIMALS)
        plain &= _all(decimals <= 9)
        units = whole.astype(np.float64) * 10.0**_MAX_DECIMALS + decimals.astype(np.float64) @ _UNITS
        values = np.where(negative, -units, units) / 10.0**_MAX_DECIMALS
        return np.where(plain, values, np.nan)


def _rows(characters: NDArray[np.uint8], places: NDArray[np.intp]) -> NDArray[np.uint8]:
    """The `_ROW` bytes from each of W places: (W, _ROW)."""
    overlapping: NDArray[np.void] = np.ndarray((len(characters) - _ROW + 1,), _ROW_TYPE, characters, strides=(1,))
    return _bytes(overlapping[places])


def _bytes(rows: NDArray[np.void]) -> NDArray[np.uint8]:
    return rows.view(np.uint8).reshape(-1, _ROW)


def _all(rows: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """`rows.all(1)`, eight at a time."""
    eights = rows.view(np.uint64) == np.uint64(0x0101010101010101)
    return np.asarray(eights[:, 0] & eights[:, 1])
