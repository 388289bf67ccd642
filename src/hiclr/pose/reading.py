"""The frames of a video file."""

from __future__ import annotations

import logging
import math
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hiclr.pose.base import Image, load_extra

VIDEO_SUFFIXES = (
    ".3gp", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ogv", ".webm", ".wmv",
)  # fmt: skip
MAX_FPS = 1000.0  # of the fastest cameras that film people

_DAMAGE = (OSError, RuntimeError, ValueError, LookupError, AttributeError, AssertionError)  # of imageio-ffmpeg's parser


@dataclass(frozen=True)
class Video:
    """A video file that can be read, or a part of one.

    Args:
        path: where it lies.
        fps: frames a second that `frames` gives.
        length: of the file, by what it says, seconds; None where it does not.
        start: where the part begins, seconds.
        stop: where it ends; the end of the file when None.
    """

    path: Path
    fps: float
    length: float | None
    start: float = 0.0
    stop: float | None = None

    @property
    def expected_frames(self) -> int | None:
        """How many frames there are, by what the file says."""
        ends = [end for end in (self.stop, self.length) if end is not None]
        return max(round((min(ends) - self.start) * self.fps), 1) if ends else None

    def frames(self) -> Generator[Image, None, None]:
        """The frames one after the other, (height, width, 3), RGB, upright as a player shows them.

        Raises:
            ValueError: the file is damaged.
        """
        part = (
            ["-ss", f"{self.start:.6f}"] if self.start else []
        )  # of what is decoded: a jump in the file misses frames
        part += [] if self.stop is None else ["-t", f"{self.stop - self.start:.6f}"]
        with closing(_ffmpeg(self.path, ["-r", f"{self.fps:.6f}", *part])) as stream:
            width, height = next(stream)["size"]
            for picture in stream:
                yield np.frombuffer(picture, np.uint8).reshape(height, width, 3)


def open_video(path: Path, start: float = 0.0, stop: float | None = None, fps: float | None = None) -> Video:
    """Looks at a video file.

    Args:
        path: any file that ffmpeg reads.
        start: where to begin, seconds.
        stop: where to end, seconds; the end of the file when None.
        fps: frames a second to take; those of the file when None. A phone's uneven frames become even ones.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no video, ends before `start`, or tells no frame rate.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no video {path}")
    with closing(_ffmpeg(path, ["-frames:v", "1"])) as stream:
        facts = next(stream)
        empty = next(stream, None) is None
    if empty:
        raise ValueError(f"{path} cannot be read as a video (it holds no picture)")
    length = float(facts["duration"]) or None
    if length is not None and start >= length:
        raise ValueError(f"{path} ends after {length:g} seconds, before start {start:g}")
    rate = fps or float(facts["fps"])
    if not 0 < rate <= MAX_FPS:
        raise ValueError(f"{path} tells no frame rate: say it with fps (--fps 30)")
    return Video(path, rate, length, start, stop)


def _ffmpeg(path: Path, options: list[str]) -> Generator[Any, None, None]:
    """Facts, then frames. Only what lies on the disk is read: a playlist could name places in the network."""
    ffmpeg = load_extra("imageio_ffmpeg")
    logging.getLogger("imageio_ffmpeg").setLevel(logging.ERROR)  # it warns of every video that a phone turned
    disk = ["-protocol_whitelist", "file"]
    try:
        with closing(ffmpeg.read_frames(f"file:{path}", input_params=disk, output_params=options)) as stream:
            yield from stream
    except _DAMAGE as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> ValueError:
    """One sentence out of all that ffmpeg said, of which the last line sums up."""
    last = (str(error).strip().splitlines() or [""])[-1]
    reason = last.rpartition(": ")[2].strip()
    return ValueError(f"{path} cannot be read as a video ({reason or type(error).__name__})")


def check_part(start: float, stop: float | None, fps: float | None) -> None:
    """Refuses a part of a video that no video has.

    Raises:
        ValueError: the sentence says which number.
    """
    if not (math.isfinite(start) and start >= 0):
        raise ValueError(f"start must be 0 or more seconds, got {start}")
    if stop is not None and not (math.isfinite(stop) and stop > start):
        raise ValueError(f"stop must come after start {start:g}, got {stop}")
    if fps is not None and not 0 < fps <= MAX_FPS:
        raise ValueError(f"fps must be above 0 and at most {MAX_FPS:g}, got {fps}")
