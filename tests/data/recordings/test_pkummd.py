"""PKU-MMD files end in the numbers that stand in them, or in a sentence that names file and line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from hiclr.data.recordings.pkummd import (
    Action,
    cut_action,
    read_pku_labels,
    read_pku_recording,
    read_pku_split,
)
from writers.pkummd import pku_frames, write_pku_labels, write_pku_recording, write_pku_split


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_pku_recording(tmp_path / "skeleton" / "0002-L.txt", pku_frames(6, bodies=2))


def slowly(path: Path) -> NDArray[np.float32]:
    """The frames of a recording, number by number, as its description goes."""
    lines = [line.split() for line in path.read_text().split("\n") if line.strip()]
    frames = np.zeros((len(lines), 2, 25, 3), np.float32)
    for frame, body, joint, axis in np.ndindex(frames.shape):
        frames[frame, body, joint, axis] = float(lines[frame][75 * body + 3 * joint + axis])
    return frames


# --- recordings -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bodies", [1, 2])
def test_pku_recording_agrees_with_a_slow_loop(tmp_path: Path, bodies: int) -> None:
    written = pku_frames(9, bodies)
    path = write_pku_recording(tmp_path / "0002-L.txt", written)
    frames = read_pku_recording(path)
    assert frames.dtype == np.float32 and frames.shape == (9, 2, 25, 3)
    np.testing.assert_array_equal(frames, slowly(path))
    np.testing.assert_allclose(frames[:, :bodies], written, atol=1e-5)
    assert not frames[:, bodies:].any()


@pytest.mark.parametrize(
    ("old", "new"), [("\n", "\r\n"), ("\n", "\n\n \n"), (" ", "\t  "), ("\n", " \n"), ("\n", "\r")]
)
def test_pku_line_ends_and_blanks_do_not_matter(path: Path, old: str, new: str) -> None:
    frames = read_pku_recording(path)
    path.write_bytes(path.read_text().replace(old, new).encode())
    np.testing.assert_array_equal(read_pku_recording(path), frames)


@pytest.mark.parametrize("content", ["", "\n", "\r\n \n\t"])
def test_pku_blank_files_have_no_frames_and_no_actions(path: Path, content: str) -> None:
    path.write_text(content)
    assert read_pku_recording(path).shape == (0, 2, 25, 3)
    assert read_pku_labels(path) == []


def test_pku_nan_passes_through(path: Path) -> None:
    words = path.read_text().split(" ")
    words[3], words[4] = "nan", "1e300"
    path.write_text(" ".join(words))
    frames = read_pku_recording(path)
    assert (
        np.isnan(frames[0, 0, 1, 0]) and np.isinf(frames[0, 0, 1, 1]) and np.isfinite(frames).sum() == frames.size - 2
    )


# what is wrong -> (line number from 1, what stands there instead, what the sentence says)
DAMAGES = {
    "a cut line": (4, "0.1 0.2 0.3", "line 4: expected the 150 numbers of two bodies, got 3 words, '0.1 0.2 0.3'"),
    "one body only": (2, " ".join(["0.5"] * 75), "line 2: expected the 150 numbers of two bodies, got 75 words"),
    "20 joints": (1, " ".join(["0.5"] * 120), "line 1: expected the 150 numbers of two bodies, got 120 words"),
    "three bodies": (6, " ".join(["0.5"] * 225), "line 6: expected the 150 numbers of two bodies, got 225 words"),
    "a word": (
        3,
        " ".join(["zwei", *["0.5"] * 149]),
        "line 3: expected the 150 numbers of two bodies, got 150 words, 'zwei",
    ),
    "commas": (5, ",".join(["0.5"] * 150), "line 5: expected the 150 numbers of two bodies, got 1 words, '0.5,0.5"),
    "bytes of another kind": (3, "\xff\x00", "line 3: expected the 150 numbers of two bodies, got 1 words, '\\\\xff"),
    "a blank of another kind": (3, "\xa0", "line 3: expected the 150 numbers of two bodies, got 1 words"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_pku_damage_is_named_by_file_and_line(path: Path, damage: str) -> None:
    number, text, sentence = DAMAGES[damage]
    lines = path.read_text().split("\n")
    lines[number - 1] = text
    path.write_bytes("\n".join(lines).encode("latin-1"))
    with pytest.raises(ValueError) as caught:
        read_pku_recording(path)
    assert str(caught.value).startswith(f"skeleton/0002-L.txt {sentence}")
    assert "\n" not in str(caught.value)


def test_pku_all_lines_of_another_length(path: Path) -> None:
    path.write_text("\n" + "0.5 0.5 0.5\n" * 4)
    with pytest.raises(ValueError, match="line 2: expected the 150 numbers of two bodies, got 3 words"):
        read_pku_recording(path)


def test_pku_cut_in_a_line_it_is_an_error_and_between_lines_shorter(path: Path) -> None:
    whole, frames = path.read_bytes(), read_pku_recording(path)
    ends = {at for at, byte in enumerate(whole) if byte == 10}
    for length in (*range(1, len(whole), 41), *ends, *(end + 1 for end in ends), *(end - 30 for end in ends)):
        path.write_bytes(whole[:length])
        complete = whole[:length].count(b"\n") + (length in ends)
        if length in ends or length - 1 in ends:
            np.testing.assert_array_equal(read_pku_recording(path), frames[:complete])
        else:
            try:
                assert len(read_pku_recording(path)) == complete + 1  # cut in the last number of a line
                assert len(whole[:length].split(b"\n")[-1].split()) == 150
            except ValueError as error:
                assert f"line {complete + 1}: expected the 150 numbers" in str(error)


# --- labels -----------------------------------------------------------------------------------------------------------


def test_pku_labels_are_what_was_written(tmp_path: Path) -> None:
    path = write_pku_labels(tmp_path / "0002-L.txt", (26, 21, 30), (1, 3, 12, 1), (99, 0, -5))
    expected = [Action(1, 26, 21, 30, 2), Action(2, 1, 3, 12, 1), Action(3, 99, 0, -5, 2)]
    assert read_pku_labels(path) == expected
    path.write_text(path.read_text().replace(",", " , ").replace("\n", " \r\n"))
    assert read_pku_labels(path) == expected
    path.write_text("\n\n" + path.read_text())
    assert [action.line for action in read_pku_labels(path)] == [3, 4, 5]


@pytest.mark.parametrize(
    "line", ["1,2,3", "1,2,3,4,5", "1,2,3,", "1,2.0,3,4", "1 2 3 4", "a,2,3,4", "1,2,3,9999999999", "1,1_0,3,4", "\xff"]
)
def test_pku_malformed_labels_are_named_by_file_and_line(tmp_path: Path, line: str) -> None:
    path = write_pku_labels(tmp_path / "Label" / "0002-L.txt", (26, 21, 30))
    path.write_bytes(path.read_bytes() + line.encode("latin-1"))
    with pytest.raises(ValueError) as caught:
        read_pku_labels(path)
    assert str(caught.value).startswith(
        "Label/0002-L.txt line 2: expected class,first,last,confidence in whole numbers"
    )


# --- actions ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("first", "last"), [(1, 1), (1, 400), (3, 12), (50, 349), (50, 350), (50, 351), (397, 400)])
def test_pku_actions_are_their_frames_at_most_the_middle_300(first: int, last: int) -> None:
    numbered = np.broadcast_to(np.arange(1, 401, dtype=np.float32)[:, None, None, None], (400, 2, 25, 3))
    kept = list(range(first, last + 1))
    while len(kept) > 300:  # take off ends in turn, the last one first
        kept = kept[:-1] if (last - first - len(kept)) % 2 else kept[1:]
    clip = cut_action(numbered, Action(1, 1, first, last, 2), Path("Label/0002-L.txt"))
    assert clip.shape == (len(kept), 2, 25, 3)
    assert clip[:, 0, 0, 0].tolist() == kept


def test_pku_bodies_never_seen_in_an_action_are_dropped() -> None:
    frames = pku_frames(10, bodies=2).astype(np.float32)
    frames[:5, 0] = 0
    frames[8:] = 0
    for first, last, bodies in ((1, 5, [1]), (4, 7, [0, 1]), (9, 10, [])):
        clip = cut_action(frames, Action(1, 1, first, last, 2), Path("Label/0002-L.txt"))
        np.testing.assert_array_equal(clip, frames[first - 1 : last, bodies])


@pytest.mark.parametrize(("first", "last"), [(0, 5), (-3, 5), (7, 6), (5, 11), (11, 12), (1, 10**9 - 1)])
def test_pku_frames_that_are_not_there_are_refused(first: int, last: int) -> None:
    with pytest.raises(ValueError) as caught:
        cut_action(np.ones((10, 2, 25, 3), np.float32), Action(7, 1, first, last, 2), Path("a/Label/0002-L.txt"))
    assert str(caught.value) == (
        f"Label/0002-L.txt line 7: the action lasts from frame {first} to {last}, "
        "but the recording's frames count from 1 to 10: correct or delete the line"
    )


# --- splits -----------------------------------------------------------------------------------------------------------


def test_pku_split_lists_are_what_was_written(tmp_path: Path) -> None:
    train, test = ("0002-L", "0002-M", "0003-R"), ("A01N07-L",)
    path = write_pku_split(tmp_path / "cross-subject.txt", train, test)
    assert read_pku_split(path) == (train, test)
    path.write_bytes(path.read_text().replace(", ", ",").replace("\n", "\r\n\r\n").encode())
    assert read_pku_split(path) == (train, test)


FAULTS = {
    "no lists": ("Training videos:\n\nValidation videos:\n", ": expected two lines of recordings.* found 0"),
    "one list": ("Training videos:\n0002-L, 0002-M\n", ": expected two lines of recordings.* found 1"),
    "three lists": ("0002-L\n0002-M\n0002-R\n", ": expected two lines of recordings.* found 3"),
    "a strange name": ("Training:\n0002-L, 2-M\nTest:\n0002-R\n", " line 2: '2-M' is no name of a recording such as"),
    "a long one": (f"Training:\n0002-L, {'x' * 999}\nTest:\n0002-R\n", f" line 2: '{'x' * 40}...' is no name"),
    "not ASCII": ("Training:\n0002-L\nTest:\n0002-R, 0002-Ł\n", " line 4: '0002-Ł' is no name of a recording"),
    "on both sides": ("a\n0002-L, 0002-M\nb\n0002-R, 0002-L\n", ": 0002-L is on both sides"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_pku_split_faults_are_named(tmp_path: Path, fault: str) -> None:
    text, sentence = FAULTS[fault]
    path = tmp_path / "Split" / "cross-view.txt"
    path.parent.mkdir()
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=f"^Split/cross-view.txt{sentence}"):
        read_pku_split(path)
