"""Pickles of NumPy arrays and plain containers, read without calling anything that they name.

The unpickler is Python's, in which the handful of names with which NumPy writes arrays mean something of ours, and no
other name means anything.
"""

from __future__ import annotations

import math
import pickle
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from hiclr.data.recordings.base import check_text
from hiclr.forms import reason


class Array:
    """An array of a pickle. What refers to it may be there before its numbers are, hence a thing of its own.

    Args:
        array: numbers, bool or text; read-only.
    """

    def __init__(self, array: NDArray[Any]) -> None:
        self.array = array

    def fill(self, state: Any) -> None:
        """Gives it the numbers."""
        _, shape, dtype, fortran, content = state
        self.array = _array(content, dtype, shape, "F" if fortran else "C")


def read_pickle(path: Path | str) -> Any:
    """What a pickle of NumPy arrays and plain containers holds: arrays as `Array`, sets as lists.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no pickle, breaks off, or asks for anything else, which the sentence names.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}")
    with path.open("rb") as stream:
        try:
            return _Unpickler(stream, encoding="latin1").load()
        except Exception as error:  # the library has a dozen kinds for what is no pickle
            why = reason(error if isinstance(error, ValueError) else repr(error))
            raise ValueError(f"{path} is no pickle of NumPy arrays and plain containers ({why})") from None


class _DType:
    """A dtype: its code and, once it is stated, its byte order."""

    def __init__(self, code: Any, *_: Any) -> None:
        if not isinstance(code, str) or not re.fullmatch(r"[?biufcSU][0-9]{0,4}", code):
            raise ValueError(f"it holds an array of type {code!r}, not of numbers, bool or text")
        self.code = code

    def fill(self, state: Any) -> None:
        if state[1] not in ("<", ">", "|", "="):
            raise ValueError(f"it holds an array of the byte order {state[1]!r}")
        self.code = state[1] + self.code.lstrip("<>|=")


class _Dict(dict[Any, Any]):
    """A dictionary with plain keys: the hash of a deep tuple would end the process."""

    def __init__(self, pairs: Iterable[Any] = ()) -> None:
        for key, value in pairs:
            self[key] = value

    def __setitem__(self, key: Any, value: Any) -> None:
        if not isinstance(key, str | int | float | bytes | None):
            raise ValueError(f"it holds a dictionary with a key of the type {type(key).__name__}")
        super().__setitem__(key, value)


def _array(content: Any, dtype: Any, shape: Any, order: Any = "C", axes: Any = None) -> NDArray[Any]:
    if not isinstance(shape, tuple) or not all(type(length) is int and length >= 0 for length in shape):
        raise ValueError("it holds an array of no shape")
    if isinstance(content, str):  # bytes of Python 2
        content = content.encode("latin1")
    if not isinstance(content, bytes) or not isinstance(dtype, _DType):
        raise ValueError("it holds an array of no type or without its numbers")
    stated = np.dtype(dtype.code)
    wanted = math.prod(shape) * stated.itemsize
    if len(content) != wanted:
        raise ValueError(f"an array {stated} {shape} takes {wanted} bytes, but {len(content)} are there")
    array = np.frombuffer(content, stated).reshape(shape, order="C" if order == "K" else order)
    check_text(array)
    return array if axes is None else array.transpose(axes)


def _reconstruct(kind: Any, *_: Any) -> Array:
    if kind != "numpy.ndarray":
        raise ValueError("it makes an array of another class than NumPy's")
    return Array(np.zeros(0, np.uint8))


def _encode(text: str, encoding: Any) -> bytes:
    if encoding not in ("latin1", "latin-1"):
        raise ValueError(f"it asks for _codecs.encode({encoding!r}), and only bytes are written so")
    return text.encode("latin1")


_NAMES: dict[str, Any] = {
    "numpy.ndarray": "numpy.ndarray",
    "numpy.dtype": _DType,
    "numpy.core.multiarray._reconstruct": _reconstruct,
    "numpy.core.multiarray.scalar": lambda dtype, content: _array(content, dtype, ()).item(),
    "numpy.core.numeric._frombuffer": lambda *arguments: Array(_array(*arguments)),
    "_codecs.encode": _encode,
    "builtins.bytes": lambda: b"",  # how low protocols write it
    "builtins.set": list,
    "builtins.frozenset": list,
    "collections.OrderedDict": _Dict,
}
_STOCK: Any = pickle._Unpickler.dispatch


def _dict(unpickler: Any) -> None:
    items = unpickler.pop_mark()  # before `append`, which is of the stack below the mark from then on
    unpickler.append(_Dict(zip(items[::2], items[1::2], strict=True)))


def _build(unpickler: Any) -> None:
    state, target = unpickler.stack.pop(), unpickler.stack[-1]
    if not isinstance(target, Array | _DType):
        raise ValueError(f"it changes a {type(target).__name__}, which is no array")
    target.fill(state)


class _Unpickler(pickle._Unpickler):
    """The one written in Python: the one in C takes memory for the highest place that a pickle numbers."""

    dispatch: ClassVar[Any] = {
        **_STOCK,
        pickle.BUILD[0]: _build,
        pickle.EMPTY_DICT[0]: lambda unpickler: unpickler.append(_Dict()),
        pickle.DICT[0]: _dict,
        pickle.EMPTY_SET[0]: _STOCK[pickle.EMPTY_LIST[0]],  # a set would hash what it holds
        pickle.ADDITEMS[0]: _STOCK[pickle.APPENDS[0]],
        pickle.FROZENSET[0]: _STOCK[pickle.LIST[0]],
        pickle.BYTEARRAY8[0]: _STOCK[pickle.BINBYTES8[0]],  # a bytearray would be made before its bytes are there
    }

    def find_class(self, module: str, name: str) -> Any:
        dotted = f"{module}.{name}".replace("__builtin__.", "builtins.").replace("numpy._core.", "numpy.core.")
        if dotted not in _NAMES:
            raise ValueError(f"it asks for {dotted}")
        return _NAMES[dotted]

    def get_extension(self, code: int) -> None:
        raise ValueError(f"it asks for extension {code}")
