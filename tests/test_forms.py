"""What is said of a file stays one short line, whatever of the file it quotes."""

from __future__ import annotations

import pytest

from hiclr.forms import reason


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("cut"), "cut"),
        ("C error: expected 10 fields\n", "C error: expected 10 fields"),
        (ValueError("line 8\n    column 21:\r\n\t^"), "line 8 column 21: ^"),
        (ValueError("\x1b[2Jgone\x00"), "?[2Jgone?"),
        (KeyError(), "KeyError"),
        (ValueError("x" * 5000), "x" * 300 + "..."),
    ],
)
def test_a_reason_is_one_short_line(error: Exception | str, said: str) -> None:
    assert reason(error) == said
