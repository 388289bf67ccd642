"""Words and their numbers, all at once, are those that Python finds one by one."""

from __future__ import annotations

import numpy as np
import pytest

from hiclr.data.recordings.words import Words


def words_of(text: bytes) -> Words:
    words = Words.of(text)
    assert words is not None
    return words


def test_words_and_lines_are_those_of_split() -> None:
    lines = [b"12 0.5 x", b"a", b"-1.25 +", b"z"]
    for text in (b"\n".join(lines), b"\n".join(lines) + b"\n", b"\r\n".join(lines), b"\r\n".join(lines) + b"\r\n"):
        words = words_of(text)
        assert words.at(np.arange(7)) == text.split()
        assert words.line_ends.tolist() == [2, 3, 5, 6]
        first = np.append(0, words.line_ends[:-1] + 1)
        assert words.at(first, words.line_ends) == lines


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\n",
        b" a",
        b"a ",
        b"a\n\nb",
        b"a  b",
        b"a\tb",
        b"a\x00b",
        b"a\r\r\nb",
        b"a\x0bb",
        "1\u00a02".encode("latin-1"),
    ],
)
def test_words_of_another_kind_of_text(text: bytes) -> None:
    assert Words.of(text) is None


def test_digits() -> None:
    texts = [b"0", b"9", b"10", b"-1", b"a", b"/", b":", b"5."]
    assert words_of(b" ".join(texts)).digits(np.arange(len(texts))).tolist() == [0, 9, -1, -1, -1, -1, -1, -1]


def test_plain_decimals_are_what_float_says() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(0, 1, 20000) * 10.0 ** rng.integers(-4, 1, 20000)
    texts = [f"{value:.{places}f}" for value, places in zip(values, rng.integers(1, 15, 20000), strict=True)]
    texts = [text for text in texts if len(text.lstrip("-").split(".")[0]) == 1] + ["-0.0", "9.99999999999999"]
    found = words_of(" ".join(texts).encode()).decimals(np.arange(len(texts)))
    np.testing.assert_array_equal(found, [float(text) for text in texts])
    np.testing.assert_array_equal(np.signbit(found), [text.startswith("-") for text in texts])


@pytest.mark.parametrize(
    "text",
    [
        "1",
        "-1",
        "12.5",
        "1.",
        ".5",
        "+1.5",
        "1e-05",
        "1.5e-05",
        "1.5e3",
        "nan",
        "1.2.3",
        "--1.5",
        "-",
        "-.",
        ".",
        "1,5",
    ],
)
@pytest.mark.parametrize("behind", ["", " 0.123456789012345", "\n9"])
def test_other_numbers_are_left_to_others(text: str, behind: str) -> None:
    for word in (text, "-" + text):
        assert np.isnan(words_of(f"{word}{behind}".encode()).decimals(np.arange(1))).all()


def test_more_decimals_than_float64_holds_are_left_to_others() -> None:
    assert np.isnan(words_of(b"0.123456789012345 0.12345678901234567890 1.25").decimals(np.arange(3))).tolist() == [
        1,
        1,
        0,
    ]
