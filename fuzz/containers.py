"""Bytes as the inner content of a true container, so that damage gets past its checksums."""

from __future__ import annotations

import io
import json
import struct
import warnings
import zipfile
import zlib
from pathlib import Path

from hiclr.encoders.shared import CONFIG, WEIGHTS, digest

_MAT_HEADER = 128
_COMPRESSED = 15


def from_zip(content: bytes) -> bytes:
    """The entries of a zip archive, one after the other: name, line end, size in four bytes, content."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = [(name.encode(), archive.read(name)) for name in archive.namelist()]
    return b"".join(name + b"\n" + struct.pack("<I", len(data)) + data for name, data in entries)


def to_zip(entries: bytes) -> bytes:
    """The inverse of `from_zip` for any bytes: true sizes and checksums."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a name may occur twice
        while entries:
            name, _, rest = entries.partition(b"\n")
            size = int.from_bytes(rest[:4], "little")
            archive.writestr(zipfile.ZipInfo(name.decode("utf-8", "replace")), rest[4 : 4 + size])
            entries = rest[4 + size :]
    return packed.getvalue()


def to_mat(content: bytes) -> bytes:
    """A MATLAB file of one array as one whose array is compressed."""
    packed = zlib.compress(content[_MAT_HEADER:])
    return content[:_MAT_HEADER].ljust(_MAT_HEADER) + struct.pack("<II", _COMPRESSED, len(packed)) + packed


def agree(folder: Path) -> None:
    """Makes the configuration of a model folder state the checksum of the weights beside it."""
    config = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps(config | {"weights": digest((folder / WEIGHTS).read_bytes())}))
