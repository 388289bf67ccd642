"""What disk and memory there are, said before the work; and a sentence where the disk fills up meanwhile."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_UNITS = ("bytes", "kB", "MB", "GB", "TB", "PB", "EB")
_PROC = Path("/proc")
_CGROUPS = Path("/sys/fs/cgroup")
_FULL = {  # what the system says where nothing more can be written, and what that means
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "your quota on this disk is used up",
    errno.EFBIG: "files may not become that large here (ulimit -f)",
}


def in_words(size: float) -> str:
    """A number of bytes in two or three digits: "3.2 GB", "640 MB"."""
    power = 0
    while round(size) >= 1000 and power < len(_UNITS) - 1:
        size, power = size / 1000, power + 1
    return f"{size:.1f} {_UNITS[power]}" if power and size < 9.95 else f"{size:.0f} {_UNITS[power]}"


class NoRoomError(OSError):
    """The disk has no room for something; the sentence says what and the way out."""


@dataclass(frozen=True)
class Needs:
    """What some work takes, to be said before it begins.

    Args:
        what: the work, "HiCLR on 40,091 sequences, batch 128".
        place: where its result will lie.
        disk: bytes of it there.
        memory: bytes that the work takes in each process, beside what it holds by now; None if that is not known.
        available: bytes of memory that all processes together may still take; None if that is not known.
        processes: how many share that memory.
    """

    what: str
    place: Path | str
    disk: int
    memory: int | None = None
    available: int | None = None
    processes: int = 1

    def __str__(self) -> str:
        """One sentence, with what there is in brackets; nothing is said of what is not known."""
        parts = [f"{in_words(self.disk)} on disk in {self.place} ({in_words(free_disk(self.place))} free)"]
        if self.memory is not None:
            each = f" in each of {self.processes} processes" if self.processes > 1 else ""
            there = "" if self.available is None else f" ({in_words(self.available)} available)"
            parts.insert(0, f"about {in_words(self.memory)} of memory{each}{there}")
        return f"{self.what}: {', '.join(parts)}"

    def remark(self, way_out: str) -> str | None:
        """A sentence if memory is short. An estimate forbids nothing."""
        if self.memory is None or self.available is None or self.memory * self.processes <= self.available:
            return None
        return f"There may not be enough memory, and the system may end the work: {way_out}"


# --- disk -------------------------------------------------------------------------------------------------------------


def free_disk(path: Path | str) -> int:
    """Bytes that may still be written where a path lies or will lie: on the disk of its nearest folder there is."""
    place = Path(os.path.realpath(path))
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


def check_disk(path: Path | str, needed: int) -> None:
    """Sees before the work that its result will have room.

    Raises:
        NoRoomError: it will not.
    """
    free = free_disk(path)
    if needed > free:
        raise NoRoomError(
            f"{path} needs {in_words(needed)} on disk, only {in_words(free)} are free: make room, or choose another "
            "place (--out)"
        )


@contextmanager
def room_for(path: Path | str, kept: str = "what is finished is kept") -> Iterator[None]:
    """Turns a disk that fills up while `path` is written into a sentence that names file and way out.

    Args:
        path: the file, as the user knows it.
        kept: what of the work is not lost.

    Raises:
        NoRoomError: the disk is full, with that sentence; anything else as it comes.
    """
    try:
        yield
    except NoRoomError:  # said already, by who knew better
        raise
    except Exception as error:
        reason = why_full(error)
        if reason is None:
            raise
        raise NoRoomError(
            f"{path} cannot be written, {reason} ({in_words(free_disk(path))} free): {kept}; make room and start the "
            "same command again"
        ) from error


def why_full(error: BaseException | None) -> str | None:
    """Why nothing more can be written (disk, quota, largest size of a file), if an error comes of that."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _FULL:
            return _FULL[error.errno]
        error = error.__cause__ or error.__context__  # as of torch.save, whose own is a RuntimeError
    return None


# --- memory -----------------------------------------------------------------------------------------------------------


def available_memory() -> int | None:
    """Bytes that this process may still take; None where the system does not say (it is asked on Linux alone).

    The least of what the machine can give without swapping and what is left to each control group that the process
    is in: a container's limit, or that of a SLURM job.
    """
    machine = _number_in(_PROC / "meminfo", "MemAvailable:")
    left = [] if machine is None else [1024 * machine]
    return min([*left, *_left_to_groups()], default=None)


def own_memory() -> int | None:
    """Bytes of memory that this process holds now, files it has mapped left out; None where the system does not say."""
    held = _number_in(_PROC / "self" / "status", "RssAnon:")
    return None if held is None else 1024 * held


def _left_to_groups() -> Iterator[int]:
    """Of each control group around this process that has a limit, what is left of it."""
    for line in _text(_PROC / "self" / "cgroup").splitlines():
        _, kinds, path = line.split(":", 2)
        if kinds and "memory" not in kinds.split(","):
            continue
        root = _CGROUPS / "memory" if kinds else _CGROUPS
        limit, used, cache = (
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            if kinds
            else ("memory.max", "memory.current", "inactive_file")
        )
        # a container may see its own group as the root, whatever the path says
        for group in {root, *(root / part for part in (Path(path.strip("/")), *Path(path.strip("/")).parents))}:
            most, now = _number_in(group / limit), _number_in(group / used)
            if most is not None and now is not None:
                reclaimable = _number_in(group / "memory.stat", cache) or 0  # of files read, given back when asked for
                yield max(0, most - now + reclaimable)


def _number_in(path: Path, name: str = "") -> int | None:
    """The number behind a name at the beginning of a line of a file, or its only one; None without file or number."""
    for line in _text(path).splitlines():
        key, *rest = line.split() if name else ("", *line.split())
        if key == name and rest:
            return int(rest[0]) if rest[0].isdigit() else None
    return None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
