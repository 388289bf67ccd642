"""NTU RGB+D `.skeleton` text files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hiclr.data.recordings.base import Recording

NTU_JOINTS = 25
NTU_JOINT_FIELDS = 12
# Kinect tracks six bodies at a time and a lost one returns under a new id: real files stay far below this,
# and a hostile one cannot ask for frames x ids of memory.
NTU_MAX_BODIES = 100


def read_ntu_skeleton(path: Path | str) -> Recording:
    """Reads an NTU RGB+D `.skeleton` text file: all its bodies, told apart by their ids.

    Blank lines and any line ends are accepted. M is 0 where no frame shows a body.

    Raises:
        ValueError: the text breaks off, goes on after the last frame, or holds something else than the format says;
            the sentence names file and line.
    """
    path = Path(path)
    text = _Lines(path)
    tracks: dict[bytes, int] = {}  # ids stay text: float64 confuses neighbouring 17-digit numbers
    places: list[tuple[int, int]] = []
    joint_rows: list[bytes] = []
    first_rows: list[int] = []
    num_frames = text.count("frames", lines_each=1)
    for frame in range(num_frames):
        seen = set()
        for _ in range(text.count("bodies", lines_each=2)):
            body_id = text.lines[text.at].split(None, 1)[0]
            if body_id in seen:
                raise text.error(text.at, f"body {_shown(body_id)} occurs twice in frame {frame + 1}")
            seen.add(body_id)
            places.append((frame, tracks.setdefault(body_id, len(tracks))))
            if len(tracks) > NTU_MAX_BODIES:
                raise text.error(text.at, f"more than {NTU_MAX_BODIES} different bodies in one recording")
            text.at += 1
            text.count("joints", lines_each=1, exactly=NTU_JOINTS)
            first_rows.append(text.at)
            joint_rows += text.lines[text.at : text.at + NTU_JOINTS]
            text.at += NTU_JOINTS
    if text.at < len(text.lines):
        raise text.error(text.at, f"the text goes on after the last of {num_frames} frames")
    frames = np.zeros((num_frames, len(tracks), NTU_JOINTS, 3), np.float32)
    if places:
        try:
            joints = _joint_numbers(joint_rows)
        except ValueError:
            row = next(i for i, line in enumerate(joint_rows) if not _is_joint(line))
            at = first_rows[row // NTU_JOINTS] + row % NTU_JOINTS
            problem = f"expected the {NTU_JOINT_FIELDS} numbers of a joint, got {_shown(joint_rows[row])}"
            raise text.error(at, problem) from None
        frame_of, track_of = np.array(places).T
        frames[frame_of, track_of] = joints.reshape(-1, NTU_JOINTS, 3)
    return Recording(path.stem, frames)


class _Lines:
    """The lines of a text that are not blank, and how far they have been read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._all = path.read_bytes().splitlines()
        self.lines = [line for line in self._all if line and not line.isspace()]
        self.at = 0

    def count(self, what: str, lines_each: int, exactly: int | None = None) -> int:
        """Reads a number of things, each of which takes some of the lines left: a false one asks for no memory."""
        left = len(self.lines) - self.at - 1
        if left < 0:
            raise self.error(self.at, f"the file ends where the number of {what} should stand")
        try:
            number = int(self.lines[self.at])
        except ValueError:
            raise self.error(self.at, f"expected the number of {what}, got {_shown(self.lines[self.at])}") from None
        if exactly is not None and number != exactly:
            raise self.error(self.at, f"expected {exactly} {what}, got {number}")
        if number < 0 or number * lines_each > left:
            raise self.error(self.at, f"{number} {what} announced, but only {left} lines follow")
        self.at += 1
        return number

    def error(self, at: int, problem: str) -> ValueError:
        """The sentence for non-blank line `at`, counted as an editor counts."""
        numbers = [i for i, line in enumerate(self._all, 1) if line and not line.isspace()]
        number = numbers[at] if at < len(numbers) else len(self._all) + 1
        return ValueError(f"{self.path.name} line {number}: {problem}")


def _joint_numbers(rows: list[bytes]) -> NDArray[np.float32]:
    # the last column is read only so that a line that was cut is found
    values: NDArray[np.float64] = np.loadtxt(rows, usecols=(0, 1, 2, NTU_JOINT_FIELDS - 1), comments=None, ndmin=2)
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and preparation says so
        return values[:, :3].astype(np.float32)


def _is_joint(line: bytes) -> bool:
    try:
        return len(_joint_numbers([line])) == 1
    except ValueError:
        return False


def _shown(line: bytes) -> str:
    text = line.decode("ascii", "backslashreplace").strip()
    return repr(text if len(text) <= 40 else text[:40] + "...")
