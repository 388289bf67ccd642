"""Arrays of an `.npz` are what NumPy reads, without the memory, or a ValueError that says what is wrong."""

from __future__ import annotations

import io
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from hiclr.data.recordings.archive import Npz, open_npz
from hiclr.data.recordings.pages import RESIDENT

ARRAYS: dict[str, NDArray[Any]] = {
    "plain": np.arange(24, dtype=np.float32).reshape(4, 3, 2),
    "fortran": np.asfortranarray(np.arange(24.0).reshape(4, 3, 2)),
    "swapped": np.arange(6, dtype=">i2"),
    "text": np.array(["a", "bcd", "\N{SNOWMAN}"]),
    "number": np.array(0.5),
    "empty": np.zeros((0, 3)),
    "large": np.random.default_rng(0).integers(0, 9, (1 << 18, 5), np.uint8),  # more than one piece
}
SAVE: dict[str, Callable[..., None]] = {"stored": np.savez, "compressed": np.savez_compressed}
saved = pytest.mark.parametrize("how", SAVE)


def npy(array: NDArray[Any], **header: Any) -> bytes:
    """A `.npy` whose header says something else than the array is."""
    stream = io.BytesIO()
    true = {"descr": array.dtype.str, "fortran_order": False, "shape": array.shape}
    np.lib.format.write_array_header_1_0(stream, true | header)
    return stream.getvalue() + array.tobytes()


def write_zip(path: Path, packing: int = zipfile.ZIP_STORED, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", packing) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return path


@saved
def test_arrays_are_what_numpy_reads(tmp_path: Path, how: str) -> None:
    SAVE[how](tmp_path / "a.npz", **ARRAYS)
    with np.load(tmp_path / "a.npz") as expected, open_npz(tmp_path / "a.npz") as arrays:
        assert list(arrays) == expected.files and len(arrays) == len(ARRAYS) and "other" not in arrays
        for name in expected.files:
            header = arrays.header(name)
            assert (header.shape, header.dtype) == (expected[name].shape, expected[name].dtype)
            assert arrays[name].dtype == expected[name].dtype
            np.testing.assert_array_equal(arrays[name], expected[name])
            if header.shape:
                rows = arrays.rows(name)
                assert (len(rows), rows.shape, rows.dtype) == (len(expected[name]), header.shape, header.dtype)
                for some in (slice(None), slice(1, 3), slice(2, 2), slice(3, 99)):
                    np.testing.assert_array_equal(rows[some], expected[name][some])


@saved
def test_rows_outlive_the_open_file(tmp_path: Path, how: str) -> None:
    path = tmp_path / "a.npz"
    SAVE[how](path, **ARRAYS)
    with open_npz(path) as arrays:
        rows = arrays.rows("plain")
    path.unlink()
    np.testing.assert_array_equal(rows[1:3], ARRAYS["plain"][1:3])
    rows[1:3][:] = 7  # a copy
    np.testing.assert_array_equal(rows[1:3], ARRAYS["plain"][1:3])


def resident() -> int:
    """Bytes of this process in memory."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields["VmRSS"].split()[0]) * 1024


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="no /proc to read the memory from")
@saved
def test_reading_rows_does_not_grow(tmp_path: Path, how: str) -> None:
    size = 4 * RESIDENT
    SAVE[how](tmp_path / "a.npz", x=np.zeros((size >> 12, 1 << 12), np.uint8))
    with open_npz(tmp_path / "a.npz") as arrays:
        rows = arrays.rows("x")
    before = resident()
    most = 0
    for row in range(len(rows)):
        assert not rows[row : row + 1].any()
        most = max(most, resident()) if row % 512 == 0 else most
    assert most - before < size // 2


class Fault(NamedTuple):
    """A member `x` that is wrong, how it is packed, and what the sentence says."""

    content: bytes
    sentence: str
    packing: int = zipfile.ZIP_STORED


ONES = np.ones((4, 3))
FAULTS = {
    "more declared": Fault(npy(ONES, shape=(5, 3)), r"float64 \(5, 3\) takes 120 bytes, but 96 are there"),
    "less declared": Fault(npy(ONES, shape=(3, 3)), r"takes 72 bytes, but 96"),
    "far too much declared": Fault(npy(ONES, shape=(1 << 60, 1 << 60)), "takes .* bytes, but 96"),
    "negative": Fault(npy(ONES, shape=(-4, -3)), r"an array of float64 \(-4, -3\)"),
    "no size": Fault(npy(np.zeros(0), shape=(1 << 60,), descr="|S0"), "an array of"),
    "objects": Fault(npy(ONES, descr="|O"), "x: pickled objects"),
    "records": Fault(npy(ONES, descr=[("a", "<f4"), ("b", "<f4")]), "records of several fields"),
    "objects inside": Fault(npy(ONES, descr=[("a", "|O")]), "pickled objects"),
    "no dtype": Fault(npy(ONES, descr="<q9"), "descr is not a valid"),
    "another format": Fault(b"\x93NUMPY\x03\x00" + npy(ONES)[8:], r"NumPy's format 3\.0"),
    "header that ends early": Fault(npy(ONES).replace(b"), }", b"  [ "), "x: a header that tells no shape and type"),
    "header of other things": Fault(npy(ONES).replace(b"'descr':", b"7777777:"), "x: a header that tells no shape"),
    "code in the header": Fault(npy(ONES).replace(b"False", b"id(0)"), "x: "),
    "no array": Fault(b"hello", "x: "),
    "nothing": Fault(b"", "x: "),
    "packed otherwise": Fault(npy(ONES), "packed in a way that NumPy does not use", zipfile.ZIP_BZIP2),
}


def test_a_fault_is_one_line_whatever_the_array_is_called(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.npz", **{"two\nlines\x0b" + "x" * 999: b"hello"})
    with path.open("rb") as stream, pytest.raises(ValueError, match=r"\(two lines") as caught:
        Npz(stream)
    assert len(str(caught.value)) < 400 and str(caught.value).isprintable()


@pytest.mark.parametrize("order", "<>")
def test_letters_that_there_are_not(tmp_path: Path, order: str) -> None:
    last = np.array([["ab"], ["\U0010ffff"]], f"{order}U2")
    beyond = np.frombuffer(np.array([97, 0x110000], f"{order}u4").tobytes(), f"{order}U1")
    np.savez(tmp_path / "a.npz", last=last, beyond=beyond)
    with open_npz(tmp_path / "a.npz") as arrays:
        np.testing.assert_array_equal(arrays["last"], last)
        with pytest.raises(ValueError, match=r"beyond: it holds text with letters that there are not\)$"):
            arrays["beyond"]


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_named(tmp_path: Path, fault: str) -> None:
    content, sentence, packing = FAULTS[fault]
    path = write_zip(tmp_path / "a.npz", packing, x=content)
    with pytest.raises(ValueError, match=f"a.npz: no .npz of plain arrays .*{sentence}"), open_npz(path):
        pass


def test_faults_of_the_whole(tmp_path: Path) -> None:
    def refused(path: Path, sentence: str) -> None:
        with pytest.raises(ValueError, match=sentence) as caught, open_npz(path):
            pass
        assert str(path) in str(caught.value)

    with pytest.raises(FileNotFoundError, match="no file"), open_npz(tmp_path / "nowhere.npz"):
        pass
    np.save(tmp_path / "one.npy", ONES)
    refused(tmp_path / "one.npy", "it is a single array")
    (tmp_path / "empty.npz").write_bytes(b"")
    refused(tmp_path / "empty.npz", "no .npz of plain arrays")
    refused(write_zip(tmp_path / "none.npz"), "it holds no arrays")
    twice = write_zip(tmp_path / "twice.npz", x=npy(ONES), y=npy(ONES))
    twice.write_bytes(twice.read_bytes().replace(b"y.npy", b"x.npy"))
    refused(twice, "holds 'x' twice")


def central(path: Path, offset: int, value: bytes) -> None:
    """Changes the zip's directory, whose only entry starts with PK 1 2."""
    content = bytearray(path.read_bytes())
    at = content.rindex(b"PK\x01\x02") + offset
    content[at : at + len(value)] = value
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("offset", "value", "sentence"),
    [
        (8, b"\x01", "encrypted"),
        (24, b"\xff\xff\xff\x7f", "too short for its 2147483647 bytes"),
        (20, b"\xff\xff\xff\x7f", "too short"),
        (24, b"\xff\x01\x00\x00", "too short|takes 96 bytes"),
        (16, b"\x00\x00\x00\x00", "CRC"),
    ],
    ids=["encrypted", "size", "packed size", "a little larger", "checksum"],
)
@saved
def test_a_lying_directory(tmp_path: Path, how: str, offset: int, value: bytes, sentence: str) -> None:
    packing = zipfile.ZIP_STORED if how == "stored" else zipfile.ZIP_DEFLATED
    path = write_zip(tmp_path / "a.npz", packing, x=npy(ONES))
    central(path, offset, value)
    for read in (lambda arrays: arrays["x"], lambda arrays: arrays.rows("x")):
        with (
            pytest.raises(ValueError, match=f"a.npz: no .npz of plain arrays .*(?:{sentence})"),
            open_npz(path) as arrays,
        ):
            read(arrays)


def test_a_bomb_is_refused_before_it_unpacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_zip(tmp_path / "a.npz", zipfile.ZIP_DEFLATED, x=npy(np.zeros(1 << 17)))
    assert path.stat().st_size < 1 << 12
    full = shutil.disk_usage(tmp_path)._replace(free=1 << 19)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: full)
    sentence = "unpacks to 10487.. bytes and .* 524288 free: let TMPDIR"
    with pytest.raises(ValueError, match=sentence), open_npz(path) as arrays:
        arrays.rows("x")


@saved
def test_every_cut_and_every_flipped_byte(tmp_path: Path, how: str) -> None:
    path = tmp_path / "a.npz"
    SAVE[how](path, x=ONES.cumsum(0), y=np.arange(3))
    whole = path.read_bytes()

    def read() -> dict[str, NDArray[Any]]:
        with open_npz(path) as arrays:
            return {name: arrays.rows(name)[:] for name in arrays}

    expected = read()
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"a\.npz: no .npz of plain arrays"):
            read()
    harmless = 0
    for at in range(len(whole)):
        changed = bytearray(whole)
        changed[at] ^= 1 << at % 8
        path.write_bytes(changed)
        try:
            found = read()
        except ValueError as error:
            assert str(error).startswith(f"{path}: no .npz of plain arrays")
        else:
            harmless += 1  # dates, versions and the like, which nobody reads
            for name in found:
                np.testing.assert_array_equal(found[name], expected[name])
    assert 0 < harmless < len(whole)
