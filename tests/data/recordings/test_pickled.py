"""A pickle ends in what was pickled, or in a ValueError that names what it asks for; nothing in it is ever run."""

from __future__ import annotations

import collections
import copyreg
import os
import pickle
import pickletools
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hiclr.data.recordings.pickled import Array, read_pickle

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)
every_protocol = pytest.mark.parametrize("protocol", PROTOCOLS)
RNG = np.random.default_rng(0)
ARRAYS: dict[str, NDArray[Any]] = {
    "float16": RNG.normal(0, 1, (2, 9, 25, 3)).astype(np.float16),
    "a few": np.arange(6.0).reshape(2, 3),
    "fortran": np.asfortranarray(RNG.normal(0, 1, (5, 40, 3))),
    "transposed": RNG.normal(0, 1, (5, 40, 3)).transpose(1, 0, 2),
    "every other": np.arange(200)[::2],
    "swapped": np.arange(300, dtype=">i4"),
    "bool": np.array([True, False]),
    "text": np.array(["a", "\N{SNOWMAN}"]),
    "number": np.array(2.5),
    "empty": np.zeros((0, 4, 3)),
    "read-only": np.broadcast_to(np.arange(100.0), (2, 100)),
}


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def plain(content: Any) -> Any:
    """What was read, with arrays as NumPy's."""
    if isinstance(content, Array):
        return content.array
    if isinstance(content, dict):
        return {key: plain(value) for key, value in content.items()}
    return [plain(item) for item in content] if isinstance(content, list) else content


@every_protocol
@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_are_what_was_pickled(tmp_path: Path, protocol: int, name: str) -> None:
    expected = ARRAYS[name]
    array = read_pickle(write(tmp_path / "a.pkl", pickle.dumps(expected, protocol))).array
    assert (array.shape, array.dtype) == (expected.shape, expected.dtype)
    np.testing.assert_array_equal(array, expected)


@every_protocol
def test_the_older_names_of_numpy(tmp_path: Path, protocol: int) -> None:
    expected = ARRAYS["float16"]
    new = [
        (opcode, f"{argument}".replace("numpy._core", "numpy.core"))
        for opcode, argument, _ in pickletools.genops(pickle.dumps(expected, protocol))
        if "numpy._core" in str(argument)
    ]
    content = pickle.dumps(expected, protocol)
    for opcode, name in new:  # the text, and before it its length where the protocol states it
        old = name.replace("numpy.core", "numpy._core")
        if opcode.name == "GLOBAL":
            content = content.replace(old.replace(" ", "\n").encode(), name.replace(" ", "\n").encode())
        else:
            content = content.replace(bytes([len(old)]) + old.encode(), bytes([len(name)]) + name.encode())
    assert b"numpy.core" in content and b"_core" not in content
    np.testing.assert_array_equal(read_pickle(write(tmp_path / "a.pkl", content)).array, expected)


@every_protocol
def test_plain_containers(tmp_path: Path, protocol: int) -> None:
    shared = ["same", 3]
    content = {
        "text": ["", "a", "\N{SNOWMAN}" * 20, "newline\n'quote'\\"],
        "numbers": [0, -1, 255, 256, 70_000, -(1 << 31), 1 << 40, 1 << 3000, 0.1, -1e300, float("inf")],
        "others": [True, False, None, b"", b"\x00\xff", (), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), [], {}],
        "nested": {"a": [{"b": ([1], {2: "c"})}]},
        "shared": [shared, shared],
        "ordered": collections.OrderedDict(x=1, y=2),
        "of numpy": [np.int64(5), np.float32(0.5), np.str_("name"), np.bool_(True)],
    }
    found = read_pickle(write(tmp_path / "a.pkl", pickle.dumps(content, protocol)))
    assert found == content
    assert [type(value) for value in found["of numpy"]] == [int, float, str, bool]
    assert found["shared"][0] is found["shared"][1]
    for some in ({1, 2, 3}, frozenset("abc"), set()):
        found = read_pickle(write(tmp_path / "a.pkl", pickle.dumps(some, protocol)))
        assert isinstance(found, list) and len(found) == len(some) and set(found) == some


def test_optimized_and_python_2(tmp_path: Path) -> None:
    content = {"a": [1, 2], "b": ["a", "b"], "c": ARRAYS["float16"]}
    optimized = pickletools.optimize(pickle.dumps(content, 4))
    found = plain(read_pickle(write(tmp_path / "a.pkl", optimized)))
    assert found["a"] == [1, 2] and found["b"] == ["a", "b"]
    np.testing.assert_array_equal(found["c"], ARRAYS["float16"])
    # cPickle of Python 2: byte strings where Python 3 has bytes or text, places that count from 1
    state = (
        b"(I1\n(I2\ntcnumpy\ndtype\n(U\x02f8I0\nI1\ntR(I3\nU\x01<NNNI-1\nI-1\nI0\ntbI00\nU\x10" + np.ones(2).tobytes()
    )
    array = b"cnumpy.core.multiarray\n_reconstruct\nq\x01(cnumpy\nndarray\n(I0\ntU\x01btRq\x02" + state + b"tb"
    found = read_pickle(write(tmp_path / "a.pkl", b"\x80\x02}U\x03key" + array + b"s."))
    np.testing.assert_array_equal(found["key"].array, np.ones(2))


def test_a_list_in_itself(tmp_path: Path) -> None:
    content: list[Any] = []
    content.append(content)
    found = read_pickle(write(tmp_path / "a.pkl", pickle.dumps(content)))
    assert found[0] is found


def test_an_array_that_is_never_stated_is_empty(tmp_path: Path) -> None:
    content = pickle.dumps(np.zeros(3), 2)
    found = read_pickle(write(tmp_path / "a.pkl", content[: content.index(b"(", 80)] + b"."))
    assert found.array.shape == (0,)


def test_a_shared_array_is_filled_wherever_it_is(tmp_path: Path) -> None:
    array = ARRAYS["a few"]
    first, second = read_pickle(write(tmp_path / "a.pkl", pickle.dumps([array, array], 2)))
    assert first is second
    np.testing.assert_array_equal(first.array, array)


def test_a_bytearray_is_bytes(tmp_path: Path) -> None:
    found = read_pickle(write(tmp_path / "a.pkl", pickle.dumps(bytearray(b"abc"), 5)))
    assert type(found) is bytes and found == b"abc"


class Asks:
    """Pickled as a call."""

    def __init__(self, *call: Any) -> None:
        self.call = call

    def __reduce__(self) -> Any:
        return self.call


def _global(name: str) -> bytes:
    module, _, attribute = name.rpartition(".")
    return f"c{module}\n{attribute}\n".encode()


RECONSTRUCT = _global("numpy.core.multiarray._reconstruct")
EMPTY = RECONSTRUCT + b"(" + _global("numpy.ndarray") + b"K\x00\x85C\x01btR"
DTYPE = _global("numpy.dtype") + b"X\x02\x00\x00\x00f8\x89\x88\x87R"
DEEP = b")" + b"\x85" * 100_000  # a tuple in a tuple in ..., whose hash overflows the stack of C
REFUSED: dict[str, tuple[bytes, str]] = {
    "os.system": (pickle.dumps(Asks(os.system, ("touch pwned",)), 2), r"it asks for posix\.system"),
    "stack global": (pickle.dumps(Asks(os.system, ("touch pwned",)), 4), r"it asks for posix\.system"),
    "eval": (pickle.dumps(Asks(eval, ("1",))), r"asks for builtins\.eval"),
    "python 2": (b"c__builtin__\neval\n(S'1'\ntR.", r"asks for builtins\.eval"),
    "getattr": (pickle.dumps(Asks(getattr, ("", "upper"))), r"asks for builtins\.getattr"),
    "a class": (pickle.dumps(Path("a")), r"asks for pathlib\.\w+"),
    "a name without a call": (_global("os.system") + b".", r"asks for os\.system"),
    "a dotted attribute": (b"\x80\x04\x8c\x05numpy\x8c\x0bdtype.mro.a\x93.", r"asks for numpy\.dtype\.mro\.a"),
    "another function of numpy": (_global("numpy.load") + b"(S'a'\ntR.", r"asks for numpy\.load"),
    "an old object": (b"(S'touch pwned'\nios\nsystem\n.", r"asks for os\.system"),
    "an instance of no class": (RECONSTRUCT + b")\x81.", "not a type object"),
    "an instance of an array": (EMPTY + b")\x81.", "not a type object"),
    "a dtype that was never made": (EMPTY + b"(I1\n(I0\nt" + _global("numpy.dtype") + b")\x81\x89C\x00tb.", "'code'"),
    "letters that there are not": (
        pickle.dumps(np.frombuffer(b"\0\0\x11\0", "<U1"), 2),
        "text with letters that there are not",
    ),
    "a persistent id": (b"P1\n.", "persistent id"),
    "a binary persistent id": (b"NQ.", "persistent id"),
    "an extension": (b"\x82\x01.", "asks for extension 1"),
    "a buffer elsewhere": (pickle.dumps(pickle.PickleBuffer(b"a"), 5, buffer_callback=lambda _: None), "out-of-band"),
    "another array class": (
        RECONSTRUCT + b"(" + _global("collections.OrderedDict") + b"(I0\ntS'b'\ntR.",
        "makes an array of another class than NumPy's",
    ),
    "a subclass of arrays": (pickle.dumps(np.zeros(2).view(np.recarray)), r"asks for numpy\.(rec\.)?recarray"),
    "an array of objects": (pickle.dumps(np.array([{}, None])), "an array of type 'O8', not of numbers"),
    "an array of records": (pickle.dumps(np.zeros(2, "f4,i4")), "an array of type 'V8'"),
    "an array of dates": (pickle.dumps(np.zeros(2, "M8[s]")), "an array of type 'M8'"),
    "a byte order": (DTYPE + b"(I3\nS'O'\nNtb.", "of the byte order 'O'"),
    "a state for a dictionary": (b"}}b.", "changes a _Dict, which is no array"),
    "a state for a class": (_global("numpy.dtype") + b"}b.", "changes a type, which is no array"),
    "a state for a function": (RECONSTRUCT + b"N}S'__defaults__'\n)s\x86b.", "changes a function"),
    "a state for a loose name": (_global("numpy.ndarray") + b"}b.", "changes a str"),
    "a call of a list": (b"])R.", "'list' object is not callable"),
    "a call of ndarray": (_global("numpy.ndarray") + b"(I99999999\ntR.", "'str' object is not callable"),
    "an encoding": (_global("_codecs.encode") + b"(S'a'\nS'zlib'\ntR.", r"asks for _codecs\.encode\('zlib'\)"),
    "bytes of a size": (_global("builtins.bytes") + b"(I9999999999\ntR.", "takes 0 positional arguments"),
    "a large array": (
        EMPTY + b"(I1\n(J\xff\xff\xff\x7fJ\xff\xff\xff\x7ft" + DTYPE + b"\x89C\x00tb.",
        "but 0 are there",
    ),
    "a large number": (_global("numpy.core.multiarray.scalar") + b"(" + DTYPE + b"C\x04aaaatR.", "but 4 are there"),
    "a negative array": (EMPTY + b"(I1\n(I-1\nI-1\nt" + DTYPE + b"\x89C\x08aaaaaaaatb.", "an array of no shape"),
    "an array of no type": (EMPTY + b"(I1\n(I0\ntN\x89C\x00tb.", "no type or without"),
    "an array of no bytes": (EMPTY + b"(I1\n(I0\nt" + DTYPE + b"\x89Ntb.", "without its numbers"),
    "an unknown place": (b"j\xff\xff\xff\xff.", "4294967295"),
    "a large size": (b"\x80\x04\x8e" + (1 << 60).to_bytes(8, "little") + b"abc.", "no pickle of NumPy arrays"),
    "a larger size": (b"\x80\x04\x8e" + b"\xff" * 8 + b"abc.", "no pickle of NumPy arrays"),
    "a large bytearray": (b"\x80\x05\x96" + (1 << 60).to_bytes(8, "little") + b"abc.", "no pickle of NumPy arrays"),
    "a large frame": (b"\x80\x04\x95" + (1 << 60).to_bytes(8, "little") + b"N.", "no pickle of NumPy arrays"),
    "a tuple as a key": (b"}" + DEEP + b"Ns.", "a key of the type tuple"),
    "a tuple as one of two keys": (b"}(I1\nN" + DEEP + b"Nu.", "a key of the type tuple"),
    "a tuple as the key of an old dictionary": (b"(" + DEEP + b"Nd.", "a key of the type tuple"),
    "a tuple as the key of pairs": (
        _global("collections.OrderedDict") + b"]" + DEEP + b"N\x86a\x85R.",
        "a key of the type tuple",
    ),
    "a tuple of nothing": (b"\x85.", "no pickle of NumPy arrays"),
    "no mark": (b"t.", "no pickle of NumPy arrays"),
    "nothing": (b".", "no pickle of NumPy arrays"),
    "an odd dictionary": (b"(Nd.", "no pickle of NumPy arrays"),
    "items of a list": (b"](NNu.", "no pickle of NumPy arrays"),
    "a dictionary appended to": (b"}Na.", "no pickle of NumPy arrays"),
    "an empty file": (b"", "no pickle of NumPy arrays"),
    "text": (b"frame_dir,label\n", "no pickle of NumPy arrays"),
    "a zip": (b"PK\x03\x04abc\n", "no pickle of NumPy arrays"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_anything_else_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    monkeypatch.chdir(tmp_path)
    content, sentence = REFUSED[what]
    path = write(tmp_path / "evil.pkl", content)
    with pytest.raises(ValueError, match=sentence) as caught:
        read_pickle(path)
    assert str(caught.value).startswith(f"{path} is no pickle of NumPy arrays and plain containers (")
    assert list(tmp_path.iterdir()) == [path]


def test_an_extension_that_python_remembers_is_refused_too(tmp_path: Path) -> None:
    copyreg.add_extension("posixpath", "basename", 0x7FFF1234)
    try:
        content = pickle.dumps(os.path.basename, 2)
        assert content[2:3] == pickle.EXT4 and pickle.loads(content) is os.path.basename
        with pytest.raises(ValueError, match=f"asks for extension {0x7FFF1234}"):
            read_pickle(write(tmp_path / "a.pkl", content))
    finally:
        copyreg.remove_extension("posixpath", "basename", 0x7FFF1234)


@pytest.mark.parametrize("hashed", [b"\x8f(" + DEEP + b"\x90.", b"(" + DEEP + b"\x91."])
def test_what_is_in_a_set_is_not_hashed(tmp_path: Path, hashed: bytes) -> None:
    (found,) = read_pickle(write(tmp_path / "a.pkl", hashed))
    assert isinstance(found, tuple)


def test_a_high_place_takes_no_memory(tmp_path: Path) -> None:
    path = write(tmp_path / "a.pkl", b"Nr\xff\xff\xff\x00.")
    tracemalloc.start()
    try:
        assert read_pickle(path) is None
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_deep_nesting(tmp_path: Path) -> None:
    depth = 200_000
    found = read_pickle(write(tmp_path / "a.pkl", b"]" * depth + b"a" * (depth - 1) + b"."))
    for _ in range(depth - 1):
        (found,) = found
    assert found == []


@every_protocol
def test_every_cut_and_every_flipped_byte(tmp_path: Path, protocol: int) -> None:
    content = {"split": {"xsub_train": ["a"]}, "annotations": [{"frame_dir": "a", "keypoint": ARRAYS["a few"]}]}
    whole = pickle.dumps(content, protocol)
    path = tmp_path / "a.pkl"
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"a\.pkl"):
            read_pickle(path)
    same = 0
    for at in range(len(whole)):
        changed = bytearray(whole)
        changed[at] ^= 1 << at % 8
        path.write_bytes(changed)
        try:
            same += repr(plain(read_pickle(path))) == repr(content)
        except ValueError as error:
            assert str(error).startswith(str(path))
    assert same < len(whole) // 3  # the others are other content, or refused


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no file"):
        read_pickle(tmp_path / "nowhere.pkl")
