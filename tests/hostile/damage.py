"""Ways in which a file can be wrong: bytes that are damaged, and true contents of which one part is another thing."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

# the same examples every time, as many as a suite that runs often can bear
SAME = settings(
    deadline=None,
    derandomize=True,
    database=None,
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)

_EXTREMES = (b"0", b"-1", b"2147483648", b"9" * 25, b"1e999", b"nan", b"NaN", b"-inf", b"0.0.0", b"", b"x", b"\0")
_BYTES = (b"\0", b"\xff", b"\n", b"\r", b",", b'"', b"{", b"[", b"]", b"\x1b[2J", b"\x80" * 8, b"A" * 300)
_MOST_COPIED = 1 << 12

JUNK = (
    *(None, True, False, 0, -1, 1, 2**31, 2**63, 10**400, 1.5, math.nan, math.inf, -math.inf),
    *("", "x", "joint", "../../x", "/etc/passwd", "a/b", "a\0b", "a\nb", "\x1b]0;x\x07", "<script>", "\ud800"),
    "9" * 5000,
    *([], [[]], [None], ["x"], [1, 2], [[1, 2], [3]], {}, {"x": 1}, {"": None}, {"x": {"x": []}}),
)  # fmt: skip


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """A file's bytes after one to four accidents: bytes changed, cut, inserted or doubled, numbers replaced."""
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(content)))
        size = draw(st.integers(1, 16))
        kind = draw(st.sampled_from(("flip", "cut", "end", "insert", "double", "number")))
        if kind == "flip":
            content = content[:at] + draw(st.binary(min_size=size, max_size=size)) + content[at + size :]
        elif kind == "cut":
            content = content[:at] + content[at + size :]
        elif kind == "end":
            content = content[:at]
        elif kind == "insert":
            content = content[:at] + draw(st.sampled_from(_BYTES)) + content[at:]
        elif kind == "double":
            content = content[: at + min(size * size, _MOST_COPIED)] + content[at:]
        else:
            content = _number_replaced(content, at, draw(st.sampled_from(_EXTREMES)))
    return content


def _number_replaced(content: bytes, at: int, number: bytes) -> bytes:
    """The next run of digits from a place is another number."""
    start = next((place for place in range(at, len(content)) if content[place : place + 1].isdigit()), len(content))
    stop = start
    while content[stop : stop + 1].isdigit():
        stop += 1
    return content[:start] + number + content[stop:]


@st.composite
def misshapen(draw: st.DrawFn, content: Any, junk: tuple[Any, ...] = JUNK) -> Any:
    """A copy of nested containers in which one to three parts are lost or something else altogether."""
    content = {"": copy.deepcopy(content)}
    for _ in range(draw(st.integers(1, 3))):
        holder, key = draw(st.sampled_from(list(_places(content))))
        if isinstance(holder, dict) and len(holder) and key and draw(st.integers(0, 3)) == 0:
            del holder[key]
        else:
            holder[key] = copy.deepcopy(draw(st.sampled_from(junk)))
    return content.get("")


def _places(holder: Any) -> Iterator[tuple[Any, Any]]:
    """Every place in nested dictionaries and lists: who holds it, and under what; of long lists the ends."""
    if isinstance(holder, Mapping):
        keys = list(holder)
    elif isinstance(holder, list):
        keys = [at for at in range(len(holder)) if at < 2 or at == len(holder) - 1]
    else:
        return
    for key in keys:
        yield holder, key
        yield from _places(holder[key])
