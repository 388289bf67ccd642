"""The arrays of an `.npz`, without loading them whole."""

from __future__ import annotations

import math
import shutil
import tempfile
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hiclr.data.recordings.base import check_text
from hiclr.data.recordings.pages import Pages, map_pages
from hiclr.forms import reason
from hiclr.resources import NoRoomError, room_for

_PIECE = 1 << 20  # bytes unpacked at a time
_DEFLATE_LIMIT = 1032  # bytes that one packed byte can become at most
_NPY_MAGIC = b"\x93NUMPY"
_ZIP_ENTRY = 30  # bytes of a local header, before the name and the extra field whose lengths are its last four
_ENCRYPTED = 1  # bit of the flags


class Header(NamedTuple):
    """What an array is, before any of it is read."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    order: Literal["C", "F"]
    size: int  # bytes before the numbers


class Rows:
    """An array (N, ...) that stays on disk; a slice of it is a copy in memory.

    Args:
        pages: the bytes.
        at: where its numbers start in them.
        header: what it is. One in Fortran order is read as well, but a row of it lies all over the file.
    """

    def __init__(self, pages: Pages, at: int, header: Header) -> None:
        self._pages = pages
        self._array: NDArray[Any] = np.ndarray(header.shape, header.dtype, pages, at, order=header.order)
        self.shape = header.shape
        self.dtype = header.dtype

    def __len__(self) -> int:
        """N."""
        return self.shape[0]

    def __getitem__(self, rows: slice) -> NDArray[Any]:
        """Some rows, in memory."""
        copy = self._array[rows].copy()
        self._pages.done_with(copy.nbytes)
        return copy


class Npz(Mapping[str, NDArray[Any]]):
    """The arrays of an open `.npz`: opening it reads their headers, asking for one reads it whole.

    Args:
        stream: the open file.

    Raises:
        ValueError: it is no `.npz` of plain arrays, or is damaged; so do all ways to read an array.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        with _refused():
            if stream.read(len(_NPY_MAGIC)) == _NPY_MAGIC:
                raise ValueError("it is a single array")
            self._file_size = stream.seek(0, 2)
            self._zip = zipfile.ZipFile(stream)
            self._entries: dict[str, zipfile.ZipInfo] = {}
            for entry in self._zip.infolist():
                name = entry.filename.removesuffix(".npy")
                if name in self._entries:
                    raise ValueError(f"it holds {name!r} twice")
                if name != entry.filename:
                    self._entries[name] = entry
            if not self._entries:
                raise ValueError("it holds no arrays")
            self._headers = {name: self._header(name) for name in self._entries}

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __getitem__(self, name: str) -> NDArray[Any]:
        """An array, in memory."""
        header = self._headers[name]
        with _refused(name):
            content = bytearray(self._entries[name].file_size - header.size)
            at = -header.size
            for piece in self._pieces(name):
                content[max(at, 0) : at + len(piece)] = piece[max(-at, 0) :]
                at += len(piece)
            array: NDArray[Any] = np.ndarray(header.shape, header.dtype, content, order=header.order)
            check_text(array)
            return array

    def header(self, name: str) -> Header:
        """What an array is."""
        return self._headers[name]

    def rows(self, name: str) -> Rows:
        """An array that stays on disk: in this file, or unpacked in an unlinked temporary one where it is compressed.

        Its bytes are read once, to see whether they are whole.
        """
        header = self._headers[name]
        with _refused(name):
            if not header.shape:
                raise ValueError("a single number has no rows")
            if self._entries[name].compress_type == zipfile.ZIP_STORED:
                for _ in self._pieces(name):
                    pass
                return Rows(map_pages(self._stream), self._start(name) + header.size, header)
            self._check_disk(name)
            with tempfile.TemporaryFile() as unpacked:
                with room_for(tempfile.gettempdir(), "it is unpacked there, another folder can be named with TMPDIR"):
                    for piece in self._pieces(name):
                        unpacked.write(piece)
                    unpacked.flush()
                return Rows(map_pages(unpacked), header.size, header)

    def _header(self, name: str) -> Header:
        entry = self._entries[name]
        packed, size = entry.compress_size, entry.file_size
        with _refused(name):
            if entry.flag_bits & _ENCRYPTED:
                raise ValueError("it is encrypted")
            if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise ValueError("it is packed in a way that NumPy does not use")
            largest = packed if entry.compress_type == zipfile.ZIP_STORED else packed * _DEFLATE_LIMIT
            if packed > self._file_size or size > largest:
                raise ValueError(f"the file is too short for its {size} bytes")
            with self._zip.open(entry) as member:
                header = _npy_header(member)
            wanted = math.prod(header.shape) * header.dtype.itemsize
            if wanted != size - header.size:
                raise ValueError(
                    f"{header.dtype} {header.shape} takes {wanted} bytes, but {size - header.size} are there"
                )
            return header

    def _pieces(self, name: str) -> Iterator[bytes]:
        """The bytes of an entry; at their end their number and their checksum have been compared with the stated."""
        entry = self._entries[name]
        size = 0
        with self._zip.open(entry) as member:
            while piece := member.read(_PIECE):
                size += len(piece)
                yield piece
        if size != entry.file_size:
            raise ValueError(f"it breaks off after {size} of {entry.file_size} bytes")

    def _start(self, name: str) -> int:
        """Where in the file the bytes of an entry start that is not compressed."""
        self._stream.seek(self._entries[name].header_offset)
        local = self._stream.read(_ZIP_ENTRY)
        return self._stream.tell() + int.from_bytes(local[26:28], "little") + int.from_bytes(local[28:30], "little")

    def _check_disk(self, name: str) -> None:
        folder, size = tempfile.gettempdir(), self._entries[name].file_size
        free = shutil.disk_usage(folder).free
        if size > free:
            raise ValueError(
                f"it unpacks to {size} bytes and {folder} has only {free} free: let TMPDIR name a larger folder, "
                "or save the file uncompressed (np.savez)"
            )


@contextmanager
def open_npz(path: Path | str) -> Iterator[Npz]:
    """Opens an `.npz`; the file's name is put in front of every ValueError raised meanwhile.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no `.npz` of plain arrays.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}")
    try:
        with path.open("rb") as stream:
            yield Npz(stream)
    except ValueError as error:
        raise ValueError(f"{path}: {reason(error)}") from None


class _NpzError(ValueError):
    """A sentence that is whole."""


@contextmanager
def _refused(name: str | None = None) -> Iterator[None]:
    """One sentence for all the ways in which a file is no `.npz`."""
    try:
        yield
    except (_NpzError, NoRoomError):
        raise
    except (ValueError, OSError, EOFError, MemoryError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        why = reason(f"{name}: {reason(error)}" if name else error)
        raise _NpzError(f"no .npz of plain arrays ({why})") from None


def _npy_header(member: IO[bytes]) -> Header:
    version = np.lib.format.read_magic(member)
    readers: dict[tuple[int, int], Callable[[IO[bytes]], tuple[tuple[int, ...], bool, np.dtype[Any]]]] = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version not in readers:
        raise ValueError(f"NumPy's format {version[0]}.{version[1]}, which plain arrays do not need")
    try:
        shape, fortran, dtype = readers[version](member)
    except (TypeError, SyntaxError, RecursionError, tokenize.TokenError) as error:  # of what NumPy lets through
        raise ValueError(f"a header that tells no shape and type ({error})") from None
    if dtype.hasobject:
        raise ValueError("pickled objects")
    if dtype.names:
        raise ValueError("records of several fields")
    if dtype.itemsize == 0 or any(length < 0 for length in shape):
        raise ValueError(f"an array of {dtype} {shape}")
    return Header(shape, dtype, "F" if fortran else "C", member.tell())
