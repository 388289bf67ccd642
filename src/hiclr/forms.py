"""What is asked of plain containers that come from files, before anything relies on them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

MOST_TEXT = 256 * 2**20  # bytes of a file of text that is read whole; the largest that we write takes some ten million
_MOST_DEPTH = 100
# C0 and C1 but tab and line end, and the marks that change the direction of writing
_STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_LONGEST_REASON = 300  # letters
_LONGEST_NAME = 100  # there are systems that end at 255 bytes
_TOO_DEEP = f"it holds lists within lists, more than {_MOST_DEPTH} deep"
_MOST = 2**63  # a whole number that no integer of a computer holds cannot be meant


class Maybe(NamedTuple):
    """A key that may be left out."""

    form: Any


class Null(NamedTuple):
    """What may be null."""

    form: Any


def fits(value: Any, form: Any) -> bool:
    """Whether a value is of a form.

    Args:
        value: plain containers, as JSON and checkpoints hold them.
        form: a type (`float`: any finite number); a set of values; `[form]`, a list of what fits; a tuple of forms, a
            list of so many parts; a dict of keys and their forms, of which those that are `Maybe` need not be there, or
            of `...`, which stands for every key; or `Null`, any of these or null.
    """
    if isinstance(form, Null):
        return value is None or fits(value, form.form)
    if isinstance(form, type):
        return _is_a(value, form)
    if isinstance(form, frozenset):
        return isinstance(value, str) and value in form
    if isinstance(form, dict):
        return isinstance(value, dict) and not misfits(value, form)
    if isinstance(form, list | tuple) and isinstance(value, list | tuple):
        each = form * len(value) if isinstance(form, list) else form
        return len(value) == len(each) and all(map(fits, value, each))
    return False


def misfits(value: dict[Any, Any], form: dict[Any, Any]) -> list[str]:
    """The keys of a dict that are missing, or hold something else; other keys may hold anything."""
    if not all(_is_a(key, str) for key in value):
        return ["names"]
    forms = dict.fromkeys(value, form[...]) if ... in form else form
    return [key for key, one in forms.items() if not _holds(value, key, one)]


def _holds(value: dict[str, Any], key: str, form: Any) -> bool:
    if isinstance(form, Maybe):
        return key not in value or fits(value[key], form.form)
    return key in value and fits(value[key], form)


def _is_a(value: Any, kind: type) -> bool:
    if isinstance(value, bool):
        return kind in (bool, object)
    if isinstance(value, str):
        return kind in (str, object) and _is_text(value)
    if kind is float:
        return isinstance(value, int | float) and -_MOST < value < _MOST
    return isinstance(value, kind) and not (isinstance(value, int) and not -_MOST < value < _MOST)


def _is_text(value: str) -> bool:
    """Whether a text could be written: half of a pair of surrogates is no character."""
    return value == value.encode(errors="replace").decode()


def is_file_name(text: str) -> bool:
    """Whether a name that comes from a file may be part of the name of another: it leads into no folder."""
    return 0 < len(text) <= _LONGEST_NAME and text.isprintable() and not {"/", "\\"} & set(text) and set(text) != {"."}


def printable(text: str) -> str:
    """A text that can be shown: what would steer a terminal, or turn the line round, becomes a question mark."""
    return _STEERING.sub("?", text)


def reason(error: Exception | str) -> str:
    """What is wrong with a file, in one line of some length, whatever of the file it quotes."""
    text = printable(" ".join(str(error).split())) or type(error).__name__
    return text if len(text) <= _LONGEST_REASON else f"{text[:_LONGEST_REASON]}..."


def read_text(path: Path) -> str:
    """A file of text.

    Raises:
        ValueError: it is larger than any that is meant, or no UTF-8.
    """
    size = path.stat().st_size
    if size > MOST_TEXT:
        raise ValueError(f"it takes {size} bytes, more than {MOST_TEXT}")
    return path.read_text(encoding="utf-8-sig")


def read_json(path: Path) -> Any:
    """What a JSON file holds.

    Raises:
        ValueError: it is none, or too large to be meant.
    """
    try:
        content = json.loads(read_text(path))
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    level = [content]
    for _ in range(_MOST_DEPTH):
        level = [part for one in level for part in _parts(one)]
        if not level:
            return content
    raise ValueError(_TOO_DEEP)


def _parts(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()
