"""Writing a prepared folder, so that a kill at any moment loses little and leaves nothing half-made behind."""

from __future__ import annotations

import csv
import json
import math
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pandas as pd
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from hiclr.data.folder import ABOUT, SAMPLES, SEQUENCES, PreparedFolder
from hiclr.resources import NoRoomError, check_disk, room_for, why_full

_NO_TEXT = re.compile("[\ud800-\udfff]")
_CHANGED = {
    "source_hash": "raw files, table or options of the corpus differ",
    "source_times": "raw files or table were written again",
}
_TRIES = 100  # of taking a lock whose folder another process removes at this moment
_ROW = 256  # bytes of a row in the table and in the notes, rather more than most take
_NPY_HEADER = 128  # bytes, whatever the number of sequences, which is known only at the end


class FolderWriter:
    """A prepared folder in the making.

    All is written into `<root>.partial` and renamed when whole. The sequences come in chunks, in any order and from any
    process, each into its own place of the memory-mapped array. Beside each chunk stands a note of the caller's, so
    that work that was killed goes on where it stopped.

    Args:
        root: the folder to make.
        recipe: all that its bytes depend on; these facts must be in `about` when it comes to `finish`.
        shape: of one sequence, (3, T, V, M).
        rows: how many sequences there are at most.
        chunk: how many of them are in a chunk, at most.
        overwrite: whether a folder made by another recipe may be replaced.
    """

    def __init__(
        self,
        root: Path | str,
        recipe: dict[str, Any],
        shape: tuple[int, ...],
        rows: int,
        chunk: int,
        overwrite: bool = False,
    ) -> None:
        self.notes: dict[int, Any] = {}
        self._shown = Path(root)
        self._out = Path(os.path.realpath(root))  # a link to a folder elsewhere stays one
        self._work = self._out.with_name(self._out.name + ".partial")
        self._new, self._progress, self._replaced, self._closed, self._lock = (
            self._work / name for name in ("new", "progress.jsonl", "replaced", "closed", "lock")
        )
        self._recipe, self._shape, self._rows, self._chunk = recipe, shape, rows, chunk
        self._overwrite = overwrite
        self._counts: dict[int, int] = {}

    @property
    def root(self) -> Path:
        """The folder to make, as the user calls it."""
        return self._shown

    @property
    def disk(self) -> int:
        """Bytes that it takes on disk, if no row is left out."""
        return self._size(self._rows) + _ROW * self._rows

    def is_done(self) -> bool:
        """Whether the folder is there already, made by this recipe.

        Raises:
            ValueError: something else is there; or a folder made by another recipe, unless it may be overwritten.
        """
        if self._out.is_symlink():
            raise ValueError(f"{self._shown} is a link that leads back to itself: choose another place")
        if not self._out.exists() or (self._out.is_dir() and not any(self._out.iterdir())):
            return False
        ours = self._out.is_dir() and {path.name for path in self._out.iterdir()} <= {SEQUENCES, SAMPLES, ABOUT}
        if not ours:
            raise ValueError(f"{self._shown} holds other things than a prepared folder: choose another place")
        try:
            there = PreparedFolder.open(self._shown).about
        except ValueError:
            if self._overwrite:
                return False
            raise
        changed = {key: value for key, value in self._recipe.items() if there.get(key) != value}
        if changed and not self._overwrite:
            if "source_hash" in changed:
                changed.pop("source_times", None)  # which tells no more
            difference = "; ".join(
                _CHANGED.get(key) or f"{key} {there.get(key)!r}, now {value!r}" for key, value in changed.items()
            )
            raise ValueError(
                f"{self._shown} was prepared from another source or with other options ({difference}): "
                "choose another place, or replace it with overwrite (--overwrite true)"
            )
        return not changed

    def is_begun(self) -> bool:
        """Whether `<root>.partial` holds work on this very folder, if only the tidying that a kill prevented."""
        if not self._work.is_dir():
            return False
        return self._noted()[:1] == [self._head] or {path.name for path in self._work.iterdir()} <= {self._lock.name}

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps other processes from making the same folder.

        Raises:
            ValueError: another one is at it, or there is something else at `<root>.partial`.
            OSError: no folder can be made there.
        """
        parts = {path.name for path in (self._new, self._progress, self._replaced, self._closed, self._lock)}
        if self._work.is_dir() and not {path.name for path in self._work.iterdir()} <= parts:
            raise ValueError(f"{self._work} holds other things than an unfinished folder: move it away")
        with self._acquired():
            yield

    def _acquired(self) -> FileLock:
        for _ in range(_TRIES):
            try:
                self._work.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise OSError(f"{self._work} cannot be made ({error.strerror}): choose another place") from None
            lock = FileLock(self._lock)
            try:
                lock.acquire(timeout=1)
            except FileNotFoundError:  # another process has finished and tidied up this moment
                continue
            except Timeout:
                raise ValueError(
                    f"another hiclr prepare is making {self._shown}: let it finish or stop it first"
                ) from None
            return lock
        raise OSError(f"{self._lock} cannot be made: remove {self._work.name}")

    def start(self) -> list[str]:
        """Takes up what an earlier start left (then `notes` holds its notes, by chunk) or begins anew.

        Returns:
            Sentences that say so; none where nothing was left.

        Raises:
            OSError: the disk has no room for it.
        """
        head, *entries = self._noted() or [None]
        if head != self._head:
            entries = []
        self._counts = {chunk: count for chunk, count, _ in entries}
        data, there = self._new / SEQUENCES, sum(self._counts.values())
        if head == self._head and data.is_file() and data.stat().st_size in (self._size(self._rows), self._size(there)):
            self.notes = {chunk: note for chunk, _, note in entries}
            os.truncate(self._progress, self._progress.read_bytes().rfind(b"\n") + 1)
            return [f"going on with {self._work.name}: {there} sequences are there"]
        self._counts = {}
        self._tidy()
        self._new.mkdir(parents=True)
        self._reserve(data)
        self._write_line(self._head)
        if head in (None, self._head):
            return []
        return [f"{self._work.name} was begun from another source or with other options: starting anew"]

    def write(self, chunk: int, sequences: NDArray[np.float32]) -> None:
        """Writes the sequences (n, 3, T, V, M) of a chunk, n of 0 or more, into their place; any process may."""
        if not len(sequences):
            return
        # by a file, not a map: where a file system has not kept the room it reserved, a map would kill the process
        with self._room(SEQUENCES), (self._new / SEQUENCES).open("r+b") as file:
            file.seek(self._size(chunk * self._chunk))
            file.write(np.ascontiguousarray(sequences, "<f4").data)
            _to_disk(file)

    def note(self, chunk: int, count: int, note: Any) -> None:
        """Notes that a chunk of `count` sequences is written."""
        self._write_line([chunk, count, note])
        self._counts[chunk], self.notes[chunk] = count, note

    def finish(self, samples: pd.DataFrame, about: dict[str, Any]) -> None:
        """Writes table and description, and puts the folder into place.

        Raises:
            ValueError: something that may not be replaced has come there meanwhile; the work is kept.
            OSError: the disk is full; the work is kept.
        """
        self._close_gaps()
        with self._room(SEQUENCES), (self._new / SEQUENCES).open("r+b") as file:
            file.write(_npy_header((sum(self._counts.values()), *self._shape)))
            _to_disk(file)
        self._write_text(SAMPLES, _csv_text(samples))
        text = json.dumps(about, indent=1, ensure_ascii=False) + "\n"
        # a byte of a name that is no text is written as in the table; to JSON one backslash would be an escape
        self._write_text(ABOUT, _NO_TEXT.sub(lambda byte: f"\\\\u{ord(byte[0]):04x}", text))
        self.is_done()
        if self._out.exists():
            shutil.rmtree(self._replaced, ignore_errors=True)
            self._out.rename(self._replaced)
        self._new.rename(self._out)
        self.abandon()

    def abandon(self) -> None:
        """Takes `<root>.partial` away, the notes last: as long as they are there it is ours to tidy up."""
        self._tidy()
        shutil.rmtree(self._work, ignore_errors=True)  # another process may wait for the lock in it

    @property
    def _head(self) -> dict[str, Any]:
        """The first line of the notes: what they are true for."""
        return {"recipe": self._recipe, "shape": list(self._shape), "rows": self._rows, "chunk": self._chunk}

    def _size(self, rows: int) -> int:
        """Bytes of a file of so many sequences, or where the next one begins."""
        return _NPY_HEADER + 4 * math.prod(self._shape) * rows

    def _tidy(self) -> None:
        for path in (self._new, self._replaced):
            shutil.rmtree(path, ignore_errors=True)
        for path in (self._closed, self._progress):
            path.unlink(missing_ok=True)

    def _reserve(self, data: Path) -> None:
        """Makes the file at its full size: a disk that fills up later would kill whoever writes to the mapped array."""
        try:
            check_disk(self._shown, self.disk)  # found out by trying, it would for a while be full for everybody
            with self._room(SEQUENCES, "nothing was begun"), data.open("wb") as file:
                _allocate(file.fileno(), self._size(self._rows))
        except NoRoomError:
            self.abandon()
            raise

    def _close_gaps(self) -> None:
        """Moves the chunks together where sequences were left out.

        A kill leaves the one file or the other, told apart by their sizes.
        """
        data, size = self._new / SEQUENCES, self._size(sum(self._counts.values()))
        if data.stat().st_size == size:
            return
        try:
            with self._room(SEQUENCES), data.open("rb") as source, self._closed.open("wb") as target:
                _allocate(target.fileno(), size)  # a second copy: better no room at its beginning than at its end
                target.write(bytes(_NPY_HEADER))
                for chunk, count in sorted(self._counts.items()):
                    source.seek(self._size(chunk * self._chunk))
                    target.write(source.read(self._size(count) - _NPY_HEADER))
                _to_disk(target)
        except NoRoomError:
            self._closed.unlink(missing_ok=True)
            raise
        self._closed.replace(data)

    def _noted(self) -> list[Any]:
        """The head and [chunk, number of sequences, note] of each chunk; half a line left by a kill does not count."""
        if not self._progress.is_file():
            return []
        text = self._progress.read_bytes()
        try:
            return [json.loads(line) for line in text[: text.rfind(b"\n") + 1].splitlines()]
        except (ValueError, RecursionError):  # no kill leaves that, a power cut may
            return []

    def _write_line(self, line: Any) -> None:
        with self._room(self._progress.name), self._progress.open("ab") as file:
            file.write(json.dumps(line).encode() + b"\n")
            _to_disk(file)

    def _write_text(self, name: str, text: str) -> None:
        with self._room(name), (self._new / name).open("wb") as file:
            file.write(text.encode("utf-8", "backslashreplace"))  # names of files need not be text
            _to_disk(file)

    def _room(self, name: str, kept: str = "what is prepared is kept") -> AbstractContextManager[None]:
        """A full disk is said by the name that the user gave to the folder."""
        return room_for(self._shown / name, kept)


def _csv_text(samples: pd.DataFrame) -> str:
    text = samples.to_csv(index=False, lineterminator="\n")
    if "\r" in text:  # who reads it takes that for the end of a line, but who wrote it saw no need for quotes
        text = samples.to_csv(index=False, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    return text


def _to_disk(file: BinaryIO) -> None:
    """Waits until what was written would outlive a power cut."""
    file.flush()
    os.fsync(file.fileno())


def _allocate(file: int, size: int) -> None:
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(file, 0, size)
        except OSError as error:
            if why_full(error):
                raise  # elsewhere it may only be that the file system reserves nothing
    os.truncate(file, size)


def _npy_header(shape: tuple[int, ...]) -> bytes:
    """The start of a `.npy` file of float32, always `_NPY_HEADER` bytes long."""
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}"
    length = _NPY_HEADER - 10
    return b"\x93NUMPY\x01\x00" + length.to_bytes(2, "little") + text.ljust(length - 1).encode("ascii") + b"\n"
