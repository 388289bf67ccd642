"""NTU RGB+D `.skeleton` text files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hiclr.data.recordings.base import Recording, shown, to_float32
from hiclr.data.recordings.words import Words

NTU_JOINTS = 25
NTU_JOINT_FIELDS = 12
NTU_BODY_FIELDS = 10
# Kinect tracks six bodies at a time and a lost one returns under a new id: real files stay far below this,
# and a hostile one cannot ask for frames x ids of memory.
NTU_MAX_BODIES = 100

_FIELDS_OF_BODY = np.array([NTU_BODY_FIELDS, 1, *[NTU_JOINT_FIELDS] * NTU_JOINTS])  # of its lines in one frame


def read_ntu_skeleton(path: Path | str) -> Recording:
    """Reads an NTU RGB+D `.skeleton` text file: all its bodies, told apart by their ids.

    Blank lines and any line ends are accepted. M is 0 where no frame shows a body.

    Raises:
        ValueError: the text breaks off, goes on after the last frame, or holds something else than the format says;
            the sentence names file and line.
    """
    path = Path(path)
    text = path.read_bytes()
    frames = _usual_frames(text)
    return Recording(path.stem, _any_frames(text, path.name) if frames is None else frames)


def _frames(
    num_frames: int, places: Sequence[tuple[int, int]], joints: NDArray[np.float32], tracks: int
) -> NDArray[np.float32]:
    """The joints of all bodies, one after the other, at their places (frame, track)."""
    frames = np.zeros((num_frames, tracks, NTU_JOINTS, 3), np.float32)
    frame_of, track_of = np.array(places, np.intp).reshape(-1, 2).T
    frames[frame_of, track_of] = joints.reshape(-1, NTU_JOINTS, 3)
    return frames


# --- the usual text: all lines at once --------------------------------------------------------------------------------


def _usual_frames(text: bytes) -> NDArray[np.float32] | None:
    """The frames (F, M, 25, 3) of a text written as recorders write it; None for any other, right or wrong.

    `_any_frames` reads those, and tells what is wrong. What is read here, it would read alike.
    """
    words = Words.of(text)
    if words is None:
        return None
    lines = _usual_lines(words)
    if lines is None:
        return None
    bodies, body_lines = lines
    ids = words.at(words.line_ends[body_lines[:, 0]] - NTU_BODY_FIELDS + 1)
    tracks = {body_id: track for track, body_id in enumerate(dict.fromkeys(ids))}
    frame_of = np.repeat(np.arange(len(bodies)), bodies).tolist()
    places = [(frame, tracks[body_id]) for frame, body_id in zip(frame_of, ids, strict=True)]
    joints = _usual_joints(words, words.line_ends[body_lines[:, 2:].ravel()])
    if joints is None or len(tracks) > NTU_MAX_BODIES or len(set(places)) < len(places):
        return None
    return _frames(len(bodies), places, joints, len(tracks))


def _usual_lines(words: Words) -> tuple[NDArray[np.intp], NDArray[np.intp]] | None:
    """How many bodies each frame has, (F,), and which lines are theirs, (bodies of all frames, 27).

    None unless every line has the fields that these numbers ask of it.
    """
    fields = np.diff(words.line_ends, prepend=-1)
    after_id = np.append(False, fields[:-1] == NTU_BODY_FIELDS)
    counts = np.flatnonzero((fields == 1) & ~after_id)  # the lines with the number of frames, then of bodies
    bodies = words.digits(words.line_ends[counts[1:]])
    lines_before = np.arange(len(bodies)) + len(_FIELDS_OF_BODY) * (np.cumsum(bodies) - bodies)
    of_bodies = np.delete(np.arange(len(fields)), counts)
    if (
        (bodies < 0).any()
        or len(of_bodies) != len(_FIELDS_OF_BODY) * bodies.sum()
        or not np.array_equal(counts, np.append(0, 1 + lines_before))
    ):
        return None
    body_lines = of_bodies.reshape(-1, len(_FIELDS_OF_BODY))
    num_frames, *num_joints = words.at(words.line_ends[np.append(0, body_lines[:, 1])])
    if (
        num_frames != b"%d" % len(bodies)
        or any(number != b"%d" % NTU_JOINTS for number in num_joints)
        or (fields[body_lines] != _FIELDS_OF_BODY).any()
    ):
        return None
    return bodies, body_lines


def _usual_joints(words: Words, last: NDArray[np.intp]) -> NDArray[np.float32] | None:
    """The coordinates (J, 3) in J lines of a joint, of which `last` are the last words; None for other lines."""
    first = last - NTU_JOINT_FIELDS + 1
    values = words.decimals((first[:, None] + np.arange(3)).ravel()).reshape(-1, 3)
    joints = values.astype(np.float32)
    x, y, z = values.T
    odd = np.flatnonzero(np.isnan(x + y + z) | (words.digits(last) < 0))  # such as 4.2e-05: in one line of a file or so
    if len(odd):
        try:
            joints[odd] = _joint_numbers(words.at(first[odd], last[odd]))
        except ValueError:
            return None
    return joints


# --- any text: line by line -------------------------------------------------------------------------------------------


def _any_frames(text: bytes, name: str) -> NDArray[np.float32]:
    """The frames (F, M, 25, 3), or the sentence that says what is wrong in which line of the file `name`."""
    lines = _Lines(text, name)
    tracks: dict[bytes, int] = {}  # ids stay text: float64 confuses neighbouring 17-digit numbers
    places: list[tuple[int, int]] = []
    joint_rows: list[bytes] = []
    first_rows: list[int] = []
    num_frames = lines.count("frames", lines_each=1)
    for frame in range(num_frames):
        seen = set()
        for _ in range(lines.count("bodies", lines_each=2)):
            if lines.at == len(lines.lines):
                raise lines.error(lines.at, "the file ends where the id of a body should stand")
            body_id = lines.lines[lines.at].split(None, 1)[0]
            if body_id in seen:
                raise lines.error(lines.at, f"body {shown(body_id)} occurs twice in frame {frame + 1}")
            seen.add(body_id)
            places.append((frame, tracks.setdefault(body_id, len(tracks))))
            if len(tracks) > NTU_MAX_BODIES:
                raise lines.error(lines.at, f"more than {NTU_MAX_BODIES} different bodies in one recording")
            lines.at += 1
            lines.count("joints", lines_each=1, exactly=NTU_JOINTS)
            first_rows.append(lines.at)
            joint_rows += lines.lines[lines.at : lines.at + NTU_JOINTS]
            lines.at += NTU_JOINTS
    if lines.at < len(lines.lines):
        raise lines.error(lines.at, f"the text goes on after the last of {num_frames} frames")
    try:
        joints = _joint_numbers(joint_rows)
    except ValueError:
        row = next(i for i, line in enumerate(joint_rows) if not _is_joint(line))
        at = first_rows[row // NTU_JOINTS] + row % NTU_JOINTS
        problem = f"expected the {NTU_JOINT_FIELDS} numbers of a joint, got {shown(joint_rows[row])}"
        raise lines.error(at, problem) from None
    return _frames(num_frames, places, joints, len(tracks))


class _Lines:
    """The lines of a text that are not blank, and how far they have been read."""

    def __init__(self, text: bytes, name: str) -> None:
        self._name = name
        self._all = text.splitlines()
        self.lines = [line for line in self._all if not _is_blank(line)]
        self.at = 0

    def count(self, what: str, lines_each: int, exactly: int | None = None) -> int:
        """Reads a number of things, each of which takes some of the lines left: a false one asks for no memory."""
        left = len(self.lines) - self.at - 1
        if left < 0:
            raise self.error(self.at, f"the file ends where the number of {what} should stand")
        try:
            number = int(self.lines[self.at])
        except ValueError:
            raise self.error(self.at, f"expected the number of {what}, got {shown(self.lines[self.at])}") from None
        if exactly is not None and number != exactly:
            raise self.error(self.at, f"expected {exactly} {what}, got {number}")
        if number < 0 or number * lines_each > left:
            raise self.error(self.at, f"{number} {what} announced, but only {left} lines follow")
        self.at += 1
        return number

    def error(self, at: int, problem: str) -> ValueError:
        """The sentence for non-blank line `at`, counted as an editor counts."""
        numbers = [i for i, line in enumerate(self._all, 1) if not _is_blank(line)]
        number = numbers[at] if at < len(numbers) else len(self._all) + 1
        return ValueError(f"{self._name} line {number}: {problem}")


def _is_blank(line: bytes) -> bool:
    """Whether NumPy would pass over it: for that a no-break space is a blank, too."""
    return not line.strip() or line.decode("latin-1").isspace()


def _joint_numbers(rows: list[bytes]) -> NDArray[np.float32]:
    if not rows:
        return np.empty((0, 3), np.float32)
    # the last column is read only so that a line that was cut is found
    values: NDArray[np.float64] = np.loadtxt(rows, usecols=(0, 1, 2, NTU_JOINT_FIELDS - 1), comments=None, ndmin=2)
    return to_float32(values[:, :3])


def _is_joint(line: bytes) -> bool:
    try:
        return len(_joint_numbers([line])) == 1
    except ValueError:
        return False
