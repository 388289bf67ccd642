"""Numbers from MATLAB 5 files (`save` up to -v7), without anything else that such files can hold.

Not SciPy's reader: a file with a few wrong bytes can end the process there (segmentation fault).
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hiclr.forms import reason

_HEADER = 128
_MATRIX, _COMPRESSED = 14, 15
_STORED = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_NUMERIC_CLASSES = range(6, 16)  # double, single and the whole numbers; before them cells, structures, objects, text
_COMPLEX_OR_LOGICAL = 0x0A00


def read_mat(path: Path | str, name: str, largest: int) -> NDArray[Any]:
    """Reads one array of real numbers.

    Args:
        path: the file.
        name: of the array in it.
        largest: bytes that the file may take, and each array in it unpacked.

    Raises:
        ValueError: it is no such file, or has no such array; the sentence names the file.
    """
    path = Path(path)
    size = path.stat().st_size
    if size > largest:
        raise ValueError(f"{path.name} takes {size} bytes, expected no more than {largest}")
    try:
        return _array(path.read_bytes(), name, largest)
    except (ValueError, zlib.error) as error:
        raise ValueError(f"{path.name} is no MATLAB 5 file with the numbers {name} ({reason(error)})") from None


def _array(content: bytes, name: str, largest: int) -> NDArray[Any]:
    orders = {b"\x00\x01IM": "<", b"\x01\x00MI": ">"}
    order = orders.get(content[_HEADER - 4 : _HEADER])
    if order is None:
        raise ValueError("it does not begin like one: save as -v7 or older")
    for kind, data in _elements(content[_HEADER:], order):
        if kind == _COMPRESSED:
            unpacked = zlib.decompressobj().decompress(data, largest + 1)
            if len(unpacked) > largest:
                raise ValueError(f"an array unpacks to more than {largest} bytes")
            kind, data = next(_elements(unpacked, order), (0, b""))
        if kind != _MATRIX:
            raise ValueError(f"an element is of type {kind}, not an array")
        parts = [contents for _, contents in islice(_elements(data, order), 3)]  # flags, shape, name
        if len(parts) == 3 and parts[2] == name.encode():
            return _numbers(data, order)
    raise ValueError("no array of that name")


def _numbers(matrix: bytes, order: str) -> NDArray[Any]:
    (_, flags), (_, dimensions), _, (stored, data), *_ = (*_elements(matrix, order), (0, b""))
    kind = int.from_bytes(flags[:4], "little" if order == "<" else "big")
    if kind & 0xFF not in _NUMERIC_CLASSES or kind & _COMPLEX_OR_LOGICAL:
        raise ValueError("it holds something else under that name")
    if stored not in _STORED:
        raise ValueError(f"numbers of type {stored}")
    shape = np.frombuffer(dimensions, f"{order}i4").tolist()
    values = np.frombuffer(data, f"{order}{_STORED[stored]}")
    if min(shape, default=0) < 0 or math.prod(shape) != len(values):
        raise ValueError(f"{len(values)} numbers for the shape {shape}")
    return values.reshape(shape, order="F")


def _elements(data: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """The elements of a file or of an array: type and contents."""
    at = 0
    while at < len(data):
        try:
            kind, size = struct.unpack_from(f"{order}II", data, at)
        except struct.error:
            raise ValueError("it breaks off") from None
        first = at + 8
        if kind >> 16:  # up to four bytes share the eight of the tag
            kind, size, first = kind & 0xFFFF, kind >> 16, at + 4
        if first + size > len(data):
            raise ValueError("it breaks off")
        yield kind, data[first : first + size]
        padding = 0 if kind == _COMPRESSED else -(first + size) % 8
        at = first + size + padding
