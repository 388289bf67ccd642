"""NTU text ends in the coordinates that were written, or in a ValueError that says what is wrong where."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hiclr.data.recordings.ntu import _any_frames, _usual_frames, read_ntu_skeleton
from writers.ntu import ntu_text

FIRST, NEIGHBOUR = "72057594037944738", "72057594037944739"  # one number in float64


def poses(frames: int, seed: int = 0) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(0, 1, (frames, 25, 3)).round(5)


def slowly(path: Path) -> NDArray[np.float32]:
    """The format read line by line, as its description goes."""
    lines = iter(path.read_text().split("\n"))
    rows, order = [], []
    for frame in range(int(next(lines))):
        for _ in range(int(next(lines))):
            body = next(lines).split()[0]
            if body not in order:
                order.append(body)
            for joint in range(int(next(lines))):
                rows.append((frame, order.index(body), joint, *map(float, next(lines).split()[:3])))
    frames = np.zeros((int(path.read_text().split()[0]), len(order), 25, 3), np.float32)
    for frame, body, joint, *xyz in rows:
        frames[frame, body, joint] = xyz
    return frames


def test_ntu_bodies_are_told_apart_by_their_ids(tmp_path: Path, write_ntu: Callable[..., Path]) -> None:
    a, b = poses(4, seed=1), poses(4, seed=2)
    content = [[(FIRST, a[0])], [(NEIGHBOUR, b[1]), (FIRST, a[1])], [], [(NEIGHBOUR, b[3])]]
    recording = read_ntu_skeleton(write_ntu(tmp_path / "S001C001P001R001A001.skeleton", content))
    expected = np.zeros((4, 2, 25, 3))
    expected[[0, 1], 0] = a[:2]
    expected[[1, 3], 1] = b[[1, 3]]
    assert recording.name == "S001C001P001R001A001"
    assert recording.frames.dtype == np.float32
    np.testing.assert_array_equal(recording.frames, expected.astype(np.float32))


def test_ntu_agrees_with_a_slow_loop_on_six_bodies_that_come_and_go(
    tmp_path: Path, write_ntu: Callable[..., Path]
) -> None:
    rng = np.random.default_rng(3)
    content = [
        [(str(int(FIRST) + m), rng.normal(0, 1, (25, 3))) for m in rng.permutation(6) if rng.random() < 0.5]
        for _ in range(20)
    ]
    path = write_ntu(tmp_path / "six.skeleton", content)
    frames = read_ntu_skeleton(path).frames
    assert frames.shape == (20, 6, 25, 3)
    np.testing.assert_array_equal(frames, slowly(path))


@pytest.mark.parametrize("content", [[], [[], [], []]], ids=["no frames", "no bodies"])
def test_ntu_without_anything_in_it(tmp_path: Path, write_ntu: Callable[..., Path], content: list[Any]) -> None:
    recording = read_ntu_skeleton(write_ntu(tmp_path / "empty.skeleton", content))
    assert recording.frames.shape == (len(content), 0, 25, 3)


@pytest.mark.parametrize(("old", "new"), [("\n", "\r\n"), ("\n", "\n\n \n"), (" ", "\t  "), ("\n", " \n")])
def test_ntu_line_ends_and_blanks_do_not_matter(
    tmp_path: Path, write_person: Callable[..., Path], old: str, new: str
) -> None:
    path = write_person(tmp_path / "a.skeleton")
    frames = read_ntu_skeleton(path).frames
    path.write_bytes(path.read_text().replace(old, new).encode())
    np.testing.assert_array_equal(read_ntu_skeleton(path).frames, frames)


# what is wrong -> (line number from 1, what stands there instead, what the sentence says)
DAMAGES = {
    "frames are a word": (1, "many", "line 1: expected the number of frames, got 'many'"),
    "huge number of frames": (1, str(10**12), "line 1: 1000000000000 frames announced, but only"),
    "negative number of frames": (1, "-1", "line 1: -1 frames announced"),
    "more frames than there are": (1, "7", "line 170: the file ends where the number of bodies should stand"),
    "fewer frames than there are": (1, "5", "line 142: the text goes on after the last of 5 frames"),
    "huge number of bodies": (30, str(10**12), "line 30: 1000000000000 bodies announced"),
    "bodies are a fraction": (30, "1.0", "line 30: expected the number of bodies, got '1.0'"),
    "wrong number of joints": (4, "20", "line 4: expected 25 joints, got 20"),
    "a word for a number": (
        5,
        "0.1 zwei 0.3 1 2 3 4 5 6 7 8 2",
        "line 5: expected the 12 numbers of a joint, got '0.1",
    ),
    "a cut joint": (33, "0.1 0.2 0.3 1 2", "line 33: expected the 12 numbers of a joint, got '0.1 0.2 0.3 1 2'"),
    "a joint of ten": (33, "1 2 3 4 5 6 7 8 9 10", "line 33: expected the 12 numbers"),
    "no-break spaces are a blank line": (33, "\xa0", "line 59: expected the number of bodies, got '7205"),
    "bytes of another kind": (33, "\x00\xff\x00", "line 33: expected the 12 numbers"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_ntu_damage_is_named_by_file_and_line(tmp_path: Path, write_person: Callable[..., Path], damage: str) -> None:
    path = write_person(tmp_path / "bad.skeleton")
    number, text, sentence = DAMAGES[damage]
    lines = path.read_text().split("\n")
    lines[number - 1] = text
    path.write_bytes("\n".join(lines).encode("latin-1"))
    with pytest.raises(ValueError) as caught:
        read_ntu_skeleton(path)
    assert str(caught.value).startswith(f"bad.skeleton {sentence}")
    assert "\n" not in str(caught.value)


def test_ntu_line_numbers_count_blank_lines(tmp_path: Path, write_person: Callable[..., Path]) -> None:
    path = write_person(tmp_path / "bad.skeleton")
    path.write_text("\n\n" + path.read_text().replace("\n25\n", "\n24\n", 1))
    with pytest.raises(ValueError, match=r"line 6: expected 25 joints, got 24"):
        read_ntu_skeleton(path)


def test_ntu_same_body_twice_in_a_frame(tmp_path: Path, write_ntu: Callable[..., Path]) -> None:
    path = write_ntu(tmp_path / "twice.skeleton", [[(FIRST, poses(1)[0]), (FIRST, poses(1)[0])]])
    with pytest.raises(ValueError, match=rf"line 30: body '{FIRST}' occurs twice in frame 1"):
        read_ntu_skeleton(path)


def test_ntu_a_crowd_asks_for_no_memory(tmp_path: Path, write_ntu: Callable[..., Path]) -> None:
    path = write_ntu(tmp_path / "crowd.skeleton", [[(str(i), poses(1)[0])] for i in range(150)])
    with pytest.raises(ValueError, match="more than 100 different bodies"):
        read_ntu_skeleton(path)


def test_ntu_cut_anywhere_it_is_whole_or_an_error(tmp_path: Path, write_person: Callable[..., Path]) -> None:
    path = write_person(tmp_path / "cut.skeleton", frames=1)
    whole, frames = path.read_bytes(), read_ntu_skeleton(path).frames
    readable = 0
    for length in (*range(0, len(whole) - 99, 9), *range(len(whole) - 99, len(whole))):
        path.write_bytes(whole[:length])
        try:
            np.testing.assert_array_equal(read_ntu_skeleton(path).frames, frames)
            readable += 1
        except ValueError as error:
            assert str(error).startswith("cut.skeleton line ")
    assert readable == 1  # without the last line end


def test_ntu_cut_between_two_bodies_of_a_frame(tmp_path: Path, write_ntu: Callable[..., Path]) -> None:
    path = write_ntu(tmp_path / "cut.skeleton", [[(FIRST, poses(1)[0]), (NEIGHBOUR, poses(1)[0])]])
    path.write_text(path.read_text().partition(NEIGHBOUR)[0])
    with pytest.raises(ValueError, match=r"^cut.skeleton line 30: the file ends where the id of a body should stand$"):
        read_ntu_skeleton(path)


def test_ntu_changed_bytes_end_in_an_array_or_a_sentence(tmp_path: Path, write_person: Callable[..., Path]) -> None:
    path = write_person(tmp_path / "noise.skeleton", frames=2)
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    outcomes = {True: 0, False: 0}
    for _ in range(300):
        text = bytearray(whole)
        text[rng.integers(len(text))] = rng.integers(256)
        path.write_bytes(bytes(text))
        try:
            frames = read_ntu_skeleton(path).frames
            assert frames.shape[0] == 2 and frames.shape[2:] == (25, 3)
            outcomes[True] += 1
        except ValueError as error:
            assert str(error).startswith("noise.skeleton line ")
            outcomes[False] += 1
    assert min(outcomes.values()) > 0


# --- all lines at once, or line by line: both read alike --------------------------------------------------------------


def recorded(rng: np.random.Generator, frames: int = 12, bodies: int = 3) -> bytes:
    """A text as recorders write it, of people who come and go, with coordinates of any size."""
    people = [str(int(FIRST) + int(number)) for number in rng.permutation(9)[:bodies]]
    content = [
        [(body, rng.normal(0, 1, (25, 3)) * 10.0 ** rng.integers(-7, 2, (25, 3))) for body in rng.permutation(people)]
        for _ in range(frames)
    ]
    return ntu_text([seen[: rng.integers(bodies + 1)] for seen in content]).encode()


def with_numbers(text: bytes, rng: np.random.Generator, numbers: list[str]) -> bytes:
    """Some coordinates of the text replaced."""
    lines = text.decode().split("\n")
    for at, line in enumerate(lines):
        words = line.split(" ")
        if len(words) == 12 and rng.random() < 0.5:
            words[rng.integers(3)] = str(rng.choice(numbers))
            lines[at] = " ".join(words)
    return "\n".join(lines).encode()


NUMBERS = [
    "0",
    "-0",
    "0.0",
    "-0.0",
    "7",
    "12.5",
    "+1.5",
    ".5",
    "5.",
    "1e-05",
    "-7.2e-3",
    "1E2",
    "0.12345678",
    "-9.99999999",
]
NUMBERS += [
    "0.00012345678901234",
    "0.000123456789012345678",
    "-0.30000000000000004",
    "9.99999999999999",
    "nan",
    "1e400",
]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_ntu_at_once_is_line_by_line_is_a_slow_loop(tmp_path: Path, seed: int, end: str) -> None:
    rng = np.random.default_rng(seed)
    text = with_numbers(recorded(rng), rng, NUMBERS if seed else NUMBERS[:3]).replace(b"\n", end.encode())
    at_once = _usual_frames(text)
    assert at_once is not None
    (tmp_path / "a.skeleton").write_bytes(text)
    for other in (_any_frames(text, "a"), slowly(tmp_path / "a.skeleton")):
        np.testing.assert_array_equal(at_once, other)
        np.testing.assert_array_equal(np.signbit(at_once), np.signbit(other))


@pytest.mark.parametrize("text", [b"0\n", b"0", b"3\n0\n0\n0\n"])
def test_ntu_at_once_without_anything_in_it(text: bytes) -> None:
    at_once = _usual_frames(text)
    assert at_once is not None
    assert at_once.shape == _any_frames(text, "a").shape


@pytest.mark.parametrize(
    "number", ["1.2.3", "--1.2", "-", "1.-2", "1,5", "0x1.8", "1.5f", "1#.QNAN", "1_0.5", "1.0_5", "l.5"]
)
def test_ntu_no_number_is_no_number_either_way(number: str) -> None:
    rng = np.random.default_rng(0)
    text = with_numbers(recorded(rng), rng, [number])
    assert _usual_frames(text) is None
    with pytest.raises(ValueError, match="expected the 12 numbers of a joint"):
        _any_frames(text, "a")


def test_ntu_what_is_read_at_once_is_read_alike_line_by_line() -> None:
    rng = np.random.default_rng(1)
    whole = recorded(rng, frames=3)
    read = 0
    for _ in range(1500):
        text = bytearray(whole)
        start = rng.integers(len(text))
        hurt = rng.integers(5)
        if hurt == 0:  # another byte
            text[start] = rng.integers(256)
        elif hurt == 1:  # one of those that make the form
            text[start : start + 1] = bytes(rng.choice(list(b" \n\r\t.-0123456789\x0b\x1c\x85\xa0"), rng.integers(3)))
        elif hurt == 2:  # lost
            del text[start : start + rng.integers(1, 200)]
        elif hurt == 3:  # said twice
            text[start:start] = text[start : start + rng.integers(1, 200)]
        else:  # whole lines moved
            lines = bytes(text).split(b"\n")
            a, b = rng.integers(0, len(lines), 2)
            lines[a], lines[b] = lines[b], lines[a]
            text = bytearray(b"\n".join(lines))
        at_once = _usual_frames(bytes(text))
        if at_once is not None:
            np.testing.assert_array_equal(at_once, _any_frames(bytes(text), "a"))
            read += bytes(text) != whole
    assert 100 < read < 1400
