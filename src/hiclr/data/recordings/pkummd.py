"""PKU-MMD text files: long recordings, the actions labelled in them, and the two sides of a benchmark."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hiclr.data.recordings.base import shown, to_float32

PKU_BODIES = 2
PKU_JOINTS = 25
PKU_NUMBERS = PKU_BODIES * PKU_JOINTS * 3  # in a line, which is a frame
PKU_LONGEST = 300  # frames kept of an action

PKU1_NAME = re.compile(r"[0-9]{4}-[LMR]")
PKU2_NAME = re.compile(r"A[0-9]{2}N[0-9]{2}-[LMR]")

_ACTION = re.compile(rb"\s*,\s*".join([rb"(-?[0-9]{1,9})"] * 4))  # more digits would not fit the table


class Action(NamedTuple):
    """An interval of a recording and what happens in it: one line of a label file, counted from 1 as editors count.

    Classes and frames count from 1 too, and the last frame belongs to the action.
    """

    line: int
    number: int
    first: int
    last: int
    confidence: int


def read_pku_recording(path: Path | str) -> NDArray[np.float32]:
    """Reads a whole recording, one line a frame: (F, 2, 25, 3) in metres, an absent body is zero.

    Blank lines and any line ends are accepted.

    Raises:
        ValueError: a line holds something else than 150 numbers; the sentence names file and line.
    """
    path = Path(path)
    lines = path.read_bytes().splitlines()
    rows = [line for line in lines if line and not line.isspace()]
    if not rows:
        return np.zeros((0, PKU_BODIES, PKU_JOINTS, 3), np.float32)
    try:
        values: NDArray[np.float64] = np.loadtxt(rows, comments=None, ndmin=2)
    except ValueError:
        values = np.zeros((0, 0))
    if values.shape != (len(rows), PKU_NUMBERS):
        at, line = next((i, line) for i, line in enumerate(lines, 1) if line.strip() and not _is_frame(line))
        raise ValueError(
            f"{place(path)} line {at}: expected the {PKU_NUMBERS} numbers of two bodies, "
            f"got {len(line.split())} words, {shown(line)}"
        )
    return to_float32(values).reshape(-1, PKU_BODIES, PKU_JOINTS, 3)


def read_pku_labels(path: Path | str) -> list[Action]:
    """Reads the actions labelled in a recording, in the order of the file; none where the file is blank.

    Whether class and frames exist is not looked at: a label file does not tell.

    Raises:
        ValueError: a line is no class,first,last,confidence; the sentence names file and line.
    """
    path = Path(path)
    actions = []
    for at, line in enumerate(path.read_bytes().splitlines(), 1):
        if not line.strip():
            continue
        fields = _ACTION.fullmatch(line.strip())
        if not fields:
            raise ValueError(
                f"{place(path)} line {at}: expected class,first,last,confidence in whole numbers, got {shown(line)}"
            )
        actions.append(Action(at, *map(int, fields.groups())))
    return actions


def cut_action(frames: NDArray[np.float32], action: Action, labels: Path) -> NDArray[np.float32]:
    """Cuts an action out of its recording: the middle 300 frames where it is longer, without bodies never seen in it.

    Args:
        frames: (F, 2, 25, 3), the recording.
        action: where to cut.
        labels: the file that says so, for the sentence.

    Returns:
        (up to 300, M, 25, 3), a copy.

    Raises:
        ValueError: the recording has no such frames.
    """
    if not 1 <= action.first <= action.last <= len(frames):
        raise ValueError(
            f"{place(labels)} line {action.line}: the action lasts from frame {action.first} to {action.last}, "
            f"but the recording's frames count from 1 to {len(frames)}: correct or delete the line"
        )
    spare = max(action.last - action.first + 1 - PKU_LONGEST, 0) // 2
    first = action.first - 1 + spare
    clip = frames[first : min(action.last, first + PKU_LONGEST)]
    return clip[:, clip.any((0, 2, 3))]


def read_pku_split(path: Path | str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Reads the recordings on the training and on the test side of a benchmark: two lists, each below a headline.

    Raises:
        ValueError: there are not two such lists, or a recording is in both or has no PKU-MMD name.
    """
    path = Path(path)
    lists: list[tuple[str, ...]] = []
    for at, line in enumerate(path.read_bytes().decode("utf-8", "backslashreplace").splitlines(), 1):
        names = tuple(name.strip() for name in line.split(",") if name.strip())
        strange = [name for name in names if not (PKU1_NAME.fullmatch(name) or PKU2_NAME.fullmatch(name))]
        if len(strange) == len(names):
            continue  # a headline, or blank
        if strange:
            raise ValueError(
                f"{place(path)} line {at}: {shown(strange[0])} is no name of a recording such as 0002-L or A01N01-L"
            )
        lists.append(names)
    if len(lists) != 2:
        raise ValueError(
            f"{place(path)}: expected two lines of recordings, of the training and of the test side, found {len(lists)}"
        )
    both = sorted(set(lists[0]) & set(lists[1]))
    if both:
        raise ValueError(f"{place(path)}: {both[0]} is on both sides: a recording can only be on one")
    return lists[0], lists[1]


def place(path: Path) -> str:
    """What to call a file: recordings and label files have the same name and differ by their folders."""
    return f"{path.parent.name}/{path.name}"


def _is_frame(line: bytes) -> bool:
    if len(line.split()) != PKU_NUMBERS:
        return False
    try:
        return np.loadtxt([line], comments=None).shape == (PKU_NUMBERS,)
    except ValueError:
        return False
