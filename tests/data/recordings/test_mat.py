"""MATLAB 5 files: what SciPy wrote is read back, anything else is refused in a sentence."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat

from hiclr.data.recordings.mat import read_mat

LARGEST = 1 << 20


def written(path: Path, compressed: bool = False, **arrays: Any) -> Path:
    savemat(path, arrays, do_compression=compressed)
    return path


def rewritten(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("dtype", ["f8", "f4", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", ">f8"])
def test_mat_numbers_are_what_was_written(tmp_path: Path, dtype: str, compressed: bool) -> None:
    array = np.random.default_rng(0).normal(50, 20, (4, 3, 5)).astype(dtype)
    path = written(tmp_path / "a.mat", compressed, other="text", skel=np.ones(3), d_skel=array, after={"b": 1})
    read = read_mat(path, "d_skel", LARGEST)
    assert read.dtype == array.dtype.newbyteorder("=")
    np.testing.assert_array_equal(read, array)


@pytest.mark.parametrize("shape", [(0, 0), (20, 3, 0), (1, 1), (20, 3), (2, 3, 4, 5)])
def test_mat_shapes(tmp_path: Path, shape: tuple[int, ...]) -> None:
    array = np.arange(np.prod(shape), dtype=float).reshape(shape)
    np.testing.assert_array_equal(read_mat(written(tmp_path / "a.mat", x=array), "x", LARGEST), array)


def big_endian(name: bytes, values: np.ndarray[Any, np.dtype[Any]]) -> bytes:
    """A file of one array of doubles as a computer of the other byte order writes it, small elements included."""
    flags = struct.pack(">IIII", 6, 8, 6, 0)
    shape = struct.pack(f">II{values.ndim}i", 5, 4 * values.ndim, *values.shape) + b"\0" * (4 * (values.ndim % 2))
    named = struct.pack(">HH4s", len(name), 1, name)
    data = values.astype(">f8").tobytes(order="F")
    matrix = flags + shape + named + struct.pack(">II", 9, len(data)) + data
    return b"MATLAB 5.0".ljust(124) + b"\x01\x00MI" + struct.pack(">II", 14, len(matrix)) + matrix


def test_mat_of_the_other_byte_order(tmp_path: Path) -> None:
    array = np.random.default_rng(0).normal(0, 1, (4, 3, 5))
    read = read_mat(rewritten(tmp_path / "a.mat", big_endian(b"skel", array)), "skel", LARGEST)
    np.testing.assert_array_equal(read, array)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("text", "something else under that name"),
        ({"a": np.ones(3)}, "something else under that name"),
        (np.array([1, "a"], dtype=object), "something else under that name"),
        (np.ones(3) > 0, "something else under that name"),
        (np.ones(3) * 1j, "something else under that name"),
    ],
)
def test_mat_only_real_numbers_are_read(tmp_path: Path, value: Any, problem: str) -> None:
    with pytest.raises(ValueError, match=rf"^a\.mat is no MATLAB 5 file with the numbers x \(it holds {problem}\)$"):
        read_mat(written(tmp_path / "a.mat", x=value), "x", LARGEST)


def test_mat_other_files(tmp_path: Path) -> None:
    path = written(tmp_path / "a.mat", y=np.ones(3))
    with pytest.raises(ValueError, match="no array of that name"):
        read_mat(path, "x", LARGEST)
    for content in (b"", b"x" * 500, b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + b"\x89HDF\r\n"):
        with pytest.raises(ValueError, match=r"a\.mat is no MATLAB 5 file .*it does not begin like one: save as -v7"):
            read_mat(rewritten(path, content), "x", LARGEST)


def test_mat_declared_sizes_ask_for_no_memory(tmp_path: Path) -> None:
    path = written(tmp_path / "a.mat", x=np.ones((2, 3)))
    whole = path.read_bytes()
    shape = struct.pack("<ii", 2, 3)
    assert whole.count(shape) == 1
    for declared in ((1 << 30, 1 << 30), (2, 4), (-2, -3), (2, 0)):
        with pytest.raises(ValueError, match=r"6 numbers for the shape"):
            read_mat(rewritten(path, whole.replace(shape, struct.pack("<ii", *declared))), "x", LARGEST)
    with pytest.raises(ValueError, match=r"takes \d+ bytes, expected no more than 100"):
        read_mat(path, "x", 100)
    bomb = zlib.compress(b"\0" * (LARGEST * 8))
    assert len(bomb) < 1 << 14
    rewritten(path, whole[:128] + struct.pack("<II", 15, len(bomb)) + bomb)
    with pytest.raises(ValueError, match=f"an array unpacks to more than {LARGEST} bytes"):
        read_mat(path, "x", LARGEST)


@pytest.mark.parametrize("compressed", [False, True])
def test_mat_cut_anywhere_it_is_a_sentence(tmp_path: Path, compressed: bool) -> None:
    array = np.random.default_rng(0).normal(0, 1, (4, 3))
    path = written(tmp_path / "a.mat", compressed, x=array)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"^a\.mat is no MATLAB 5 file with the numbers x \(.+\)$"):
            read_mat(path, "x", LARGEST)


def test_mat_changed_bytes_end_in_an_array_or_a_sentence(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    outcomes = {True: 0, False: 0}
    for compressed in (False, True):
        path = written(tmp_path / "a.mat", compressed, x=np.ones((4, 3)))
        whole = path.read_bytes()
        for _ in range(1500):
            content = bytearray(whole)
            for _ in range(rng.integers(1, 4)):
                content[rng.integers(120, len(content))] = rng.integers(256)
            path.write_bytes(bytes(content))
            try:
                outcomes[read_mat(path, "x", LARGEST).size == 12] += 1
            except ValueError as error:
                assert str(error).startswith("a.mat is no MATLAB 5 file")
                outcomes[False] += 1
    assert min(outcomes.values()) > 0
