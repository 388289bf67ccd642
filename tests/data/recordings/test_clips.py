"""A clip of one's own ends in what was written, or in a ValueError that names file and line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hiclr.data.recordings.clips import MAX_BODIES, guess_skeleton, read_clip, unused_columns
from hiclr.skeleton import SKELETONS, Skeleton
from writers.clips import csv_text, joint_columns, poses, write_csv_clip, write_npy_clip, write_text

KINECT = SKELETONS["kinect20"]
BODY = Skeleton("body", ("hip", "left_hand", "right_hand"), (-1, 0, 0))
X = poses(joints=3)
FLAT = X.reshape(5, 9)
HEADER = joint_columns(BODY)


def write(folder: Path, text: str | bytes) -> Path:
    return write_text(folder / "clip.csv", text)


def assert_read(path: Path, expected: NDArray[np.float64], skeleton: Skeleton = BODY) -> None:
    frames = read_clip(path, skeleton)
    assert frames.dtype == np.float32
    expected = expected[:, None] if expected.ndim == 3 else expected
    np.testing.assert_array_equal(frames, expected.astype(np.float32))


# --- .npy -------------------------------------------------------------------------------------------------------------

NPY_FORMS: dict[str, Callable[[NDArray[np.float64]], NDArray[Any]]] = {
    "joints": lambda x: x,
    "flat": lambda x: x.reshape(len(x), -1),
    "one body": lambda x: x[:, None],
    "fortran order": lambda x: np.asfortranarray(x),
    "flat in fortran order": lambda x: np.asfortranarray(x.reshape(len(x), -1)),
    "big endian": lambda x: x.astype(">f8"),
    "no frames": lambda x: x[:0],
}


@pytest.mark.parametrize("form", NPY_FORMS)
def test_npy_forms(tmp_path: Path, form: str) -> None:
    path = write_npy_clip(tmp_path / "clip.npy", NPY_FORMS[form](X))
    assert_read(path, X[:0] if form == "no frames" else X)


def test_npy_of_two_bodies_and_of_whole_numbers(tmp_path: Path) -> None:
    both = np.stack([X, X + 1], 1)
    assert_read(write_npy_clip(tmp_path / "two.npy", both), both)
    whole = (X * 1000).astype(np.int16)
    assert_read(write_npy_clip(tmp_path / "whole.npy", whole), whole.astype(np.float64))
    assert unused_columns(tmp_path / "two.npy", BODY) == ()


@pytest.mark.filterwarnings("error")
def test_npy_keeps_nan_and_what_is_too_large(tmp_path: Path) -> None:
    x = X.copy()
    x[1, 1, 1], x[2, 2, 2] = np.nan, 1e300
    frames = read_clip(write_npy_clip(tmp_path / "clip.npy", x), BODY)
    assert np.isnan(frames[1, 0, 1, 1]) and np.isinf(frames[2, 0, 2, 2])


@pytest.mark.parametrize(
    ("array", "sentence"),
    [
        (X[:, :2], "expected the 3 joints of body, got 2"),
        (X[..., :2], r"must be \(frames, joints, 3\), .*got \(5, 3, 2\)"),
        (X[0, 0], r"got \(3,\)"),
        (FLAT[:, :8], r"got \(5, 8\)"),
        (X[None, None], r"got \(1, 1, 5, 3, 3\)"),
        (np.zeros((2, MAX_BODIES + 1, 3, 3)), "must be .*bodies"),
        (X > 0, "must hold numbers, got bool"),
        (X.astype(complex), "must hold numbers, got complex"),
        (X.astype(str), "must hold numbers, got <U"),
        (np.full((5, 3, 3), None), "no .npy of numbers"),
        (np.zeros(5, [("x", float)]), "must hold numbers"),
    ],
)
def test_npy_faults(tmp_path: Path, array: NDArray[Any], sentence: str) -> None:
    path = write_npy_clip(tmp_path / "clip.npy", array)
    with pytest.raises(ValueError, match=f"^clip.npy.*{sentence}"):
        read_clip(path, BODY)


def test_npy_cut_anywhere_or_with_more_behind(tmp_path: Path) -> None:
    path = write_npy_clip(tmp_path / "clip.npy", X)
    whole = path.read_bytes()
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"^clip.npy is cut or no .npy"):
            read_clip(path, BODY)
    path.write_bytes(whole + whole)
    with pytest.raises(ValueError, match=r"^clip.npy goes on after its array of \(5, 3, 3\)"):
        read_clip(path, BODY)


@pytest.mark.parametrize("frames", [10**9, 2**62, 2**64, -1])
@pytest.mark.filterwarnings("ignore:overflow")
def test_npy_that_declares_more_than_it_holds_asks_for_no_memory(tmp_path: Path, frames: int) -> None:
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({frames}, 3, 3), }}".ljust(117) + "\n"
    path = write_text(tmp_path / "clip.npy", b"\x93NUMPY\x01\x00\x76\x00" + header.encode() + X.tobytes())
    with pytest.raises(ValueError, match=r"^clip.npy "):
        read_clip(path, BODY)


# --- .csv: columns ----------------------------------------------------------------------------------------------------

SPELLINGS = (
    *("{joint}_{axis}", "{joint}.{axis}", "{axis}_{joint}", "{JOINT}_{AXIS}", "{joint} {AXIS}", "{joint}:{axis}"),
    *(
        "{axis}{number}",
        "{axis}{number1}",
        "{number}_{axis}",
        "{axis}_{number}",
        "joint{number}_{axis}",
        "{number1}{AXIS}",
    ),
)


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_columns_are_found_by_name_or_number_in_any_order(tmp_path: Path, spelling: str) -> None:
    header = joint_columns(BODY, spelling)
    for order in (np.arange(9), np.random.default_rng(0).permutation(9)):
        path = write(tmp_path, csv_text([header[i] for i in order], FLAT[:, order]))
        assert_read(path, X)


@pytest.mark.parametrize(
    "spelling", ["{0}Hand_{1}", "{0}Hand{2}", "Hand{0}.{1}", "hand_{3}_{1}", "{4}Hand_{2}", "{2} hand {3}"]
)
def test_sides_are_understood_as_in_skeletons(tmp_path: Path, spelling: str) -> None:
    header = ["Hip_x", "Hip_y", "Hip_z"]
    header += [spelling.format(s, a, a.upper(), s.lower(), s[0]) for s in ("Left", "Right") for a in "xyz"]
    assert_read(write(tmp_path, csv_text(header, FLAT)), X)


def test_further_columns_are_left_aside_and_named(tmp_path: Path) -> None:
    header = ["time", *HEADER, "hip_confidence", "note"]
    rows = [[0.1, *row, 0.9, "a_b"] for row in FLAT]
    path = write(tmp_path, csv_text(header, rows))
    assert_read(path, X)
    assert unused_columns(path, BODY) == ("time", "hip_confidence", "note")


def test_visibility_beside_numbered_columns(tmp_path: Path) -> None:
    header = [f"{axis}{i}" for i in range(3) for axis in "xyzv"]
    rows = np.concatenate([X, np.ones((5, 3, 1))], 2).reshape(5, 12)
    path = write(tmp_path, csv_text(header, rows))
    assert_read(path, X)
    assert unused_columns(path, BODY) == ("v0", "v1", "v2")


@pytest.mark.parametrize("index", [False, True])
def test_columns_that_a_program_counted(tmp_path: Path, index: bool) -> None:
    header, rows = [str(i) for i in range(9)], [list(row) for row in FLAT]
    if index:
        header, rows = ["", *header], [[float(i), *row] for i, row in enumerate(rows)]
    path = write(tmp_path, csv_text(header, rows))
    assert_read(path, X)
    assert unused_columns(path, BODY) == (("(unnamed)",) if index else ())


def test_no_header_is_the_skeletons_order(tmp_path: Path) -> None:
    assert_read(write(tmp_path, csv_text(None, FLAT)), X)


HEADER_FAULTS = {
    "a joint is missing": ([*HEADER[:3], "head_x", *HEADER[4:]], "line 1: no column 'left_hand_x', which body needs"),
    "planar": ([f"c{i}" if i % 3 == 2 else name for i, name in enumerate(HEADER)], "line 1: no column 'hip_z'"),
    "other joints": ([f"{a}_{b}" for a in "abc" for b in "xyz"], "no column names a joint of body .as 'hip_x'.: a_x"),
    "twice": ([*HEADER[:8], "Hip.X"], "line 1: columns 'hip_x' and 'Hip.X' say the same"),
    "more numbered joints": (
        [f"{a}{i}" for i in range(3) for a in "xy"] + ["x3", "y3", "z3"],
        "numbered columns are not x, y, z of body's 3 joints, but of 4",
    ),
    "body without frame": ([*HEADER[:8], "body"], "line 1: a column 'body' needs a column 'frame'"),
    "frame twice": ([*HEADER[:7], "frame", "Frame"], "line 1: column 'frame' occurs twice"),
}


@pytest.mark.parametrize("fault", HEADER_FAULTS)
def test_header_faults(tmp_path: Path, fault: str) -> None:
    header, sentence = HEADER_FAULTS[fault]
    with pytest.raises(ValueError, match=f"^clip.csv .*{sentence}"):
        read_clip(write(tmp_path, csv_text(header, FLAT)), BODY)


@pytest.mark.parametrize(("columns", "more"), [(8, ""), (6, ""), (10, "only by a header"), (12, "only by a header")])
def test_wrong_number_of_columns_without_a_header(tmp_path: Path, columns: int, more: str) -> None:
    path = write(tmp_path, csv_text(None, np.ones((5, columns))))
    with pytest.raises(ValueError, match=rf"clip.csv line 1: expected 9 numbers .*, got {columns}.*{more}"):
        read_clip(path, BODY)


def test_joints_that_a_header_cannot_tell_apart(tmp_path: Path) -> None:
    same = Skeleton("same", ("a_b", "b_a", "c"), (-1, 0, 0))
    with pytest.raises(ValueError, match="line 1: same has joints whose names cannot be told apart"):
        read_clip(write(tmp_path, csv_text(joint_columns(same), FLAT)), same)


# --- .csv: cells ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize(("delimiter", "decimal"), [(",", "."), (";", "."), ("\t", "."), (";", ","), ("\t", ",")])
def test_separators(tmp_path: Path, header: bool, delimiter: str, decimal: str) -> None:
    text = csv_text(None, FLAT, delimiter)
    text = text.replace(".", decimal)
    assert_read(write(tmp_path, (delimiter.join(HEADER) + "\n" if header else "") + text), X)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends_byte_order_mark_quotes_and_blank_lines(tmp_path: Path, end: str) -> None:
    header, *lines = csv_text(HEADER, FLAT).splitlines()
    quoted = ",".join(f'"{name}"' for name in header.split(","))
    text = end.join(["", quoted, "", *(f" {line.replace(',', ' , ')} " for line in lines), "", "  ", ""])
    assert_read(write(tmp_path, b"\xef\xbb\xbf" + text.encode()), X)


def test_frames_in_which_nobody_was_found_are_zero(tmp_path: Path) -> None:
    x = poses(frames=4)
    x[2] = np.nan
    expected = np.nan_to_num(x).astype(np.float32)[:, None]
    for path in (write_csv_clip(tmp_path / "a.csv", x, KINECT), write_npy_clip(tmp_path / "b.npy", x)):
        np.testing.assert_array_equal(read_clip(path, KINECT), expected)
    two = np.stack([x, poses(frames=4, seed=1)], 1)
    frames = read_clip(write_npy_clip(tmp_path / "two.npy", two), KINECT)
    assert not frames[2, 0].any() and frames[:, 1].all()


@pytest.mark.parametrize("gap", ["", "NaN", "nan", "NA", "  "])
@pytest.mark.parametrize("first", [False, True])
def test_gaps_are_nan(tmp_path: Path, gap: str, first: bool) -> None:
    x = X.copy()
    rows = [[f"{value:.6f}" for value in row] for row in FLAT]
    row = 0 if first else 2
    rows[row][4], x[row, 1, 1] = gap, np.nan
    for header in (HEADER, None):
        frames = read_clip(write(tmp_path, csv_text(header, rows)), BODY)
        np.testing.assert_array_equal(frames, x[:, None].astype(np.float32))


def test_a_header_alone_is_a_clip_without_frames(tmp_path: Path) -> None:
    assert_read(write(tmp_path, csv_text(HEADER, [])), X[:0])


CELL_FAULTS = {
    "text": ("oops", "expected a number, got 'oops'"),
    "two points": ("1.2.3", "expected a number, got '1.2.3'"),
    "underscore": ("1_000", "expected a number, got '1_000'"),
    "formula": ("#DIV/0!", "expected a number"),
    "long": ("x" * 100, f"got '{'x' * 40}...'"),
    "a cell too many": ("1,2", "expected 9 cells as in line 1, got 10"),
    "quotes that do not close": ('"1', "unexpected end of data"),
}


@pytest.mark.parametrize("fault", CELL_FAULTS)
def test_cell_faults_name_the_line(tmp_path: Path, fault: str) -> None:
    cell, sentence = CELL_FAULTS[fault]
    lines = csv_text(HEADER, FLAT).splitlines()
    lines[5] = ",".join([cell, *lines[5].split(",")[1:]])  # the last: line 7 with a blank one before
    with pytest.raises(ValueError, match=f"^clip.csv line 7: .*{sentence}"):
        read_clip(write(tmp_path, "\n".join([lines[0], "", *lines[1:]]) + "\n"), BODY)


def test_points_among_decimal_commas_are_refused(tmp_path: Path) -> None:
    text = csv_text(HEADER, FLAT, ";").replace(".", ",").replace(",", ".", 1)
    with pytest.raises(ValueError, match=r"line 2: expected a number, got '0\.125"):
        read_clip(write(tmp_path, text), BODY)


def test_csv_cut_anywhere_is_shorter_or_refused(tmp_path: Path) -> None:
    whole = csv_text(HEADER, FLAT)
    for length in range(len(whole)):
        path = write(tmp_path, whole[:length])
        try:
            frames = read_clip(path, BODY)
        except ValueError as error:
            assert str(error).startswith("clip.csv ")
        else:  # at the end of a line, or in the digits of its last number, which nothing can tell
            assert whole[:length].count(",") % 8 == 0
            np.testing.assert_array_equal(frames[:, 0, :2], X[: len(frames), :2].astype(np.float32))


def test_csv_that_is_no_text(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^clip.csv is empty"):
        read_clip(write(tmp_path, "\r\n \n"), BODY)
    text = csv_text(["Füße", *HEADER], [["1", *map(str, row)] for row in FLAT])
    with pytest.raises(ValueError, match=r"^clip.csv line 2: no UTF-8 text: save it as CSV UTF-8"):
        read_clip(write(tmp_path, b"\n" + text.encode("latin1")), BODY)
    with pytest.raises(ValueError, match=r"^clip.csv line 1: no UTF-8 text"):
        read_clip(write(tmp_path, text.encode("utf-16")), BODY)


# --- .csv: several people ---------------------------------------------------------------------------------------------


def long_form(bodies: dict[str, list[int]], order: Callable[[int, str], Any]) -> tuple[str, NDArray[np.float64]]:
    """A row per frame and body in some order of rows, and the clip it is: bodies as they appear, frames renumbered."""
    times = sorted({frame for frames in bodies.values() for frame in frames})
    clip = np.zeros((len(times), len(bodies), 3, 3))
    rows = {}
    for m, (body, frames) in enumerate(bodies.items()):
        for i, frame in enumerate(frames):
            clip[times.index(frame), m] = poses(joints=3, seed=m)[i]
            rows[frame, body] = [float(frame), *clip[times.index(frame), m].ravel(), body]
    return csv_text(["frame", *HEADER, "body"], [rows[key] for key in sorted(rows, key=lambda key: order(*key))]), clip


BODIES = {"72057594037944738": [3, 4, 6], "72057594037944739": [4, 5, 6, 9], "anna": [5]}


@pytest.mark.parametrize(
    "order", [lambda frame, body: (frame, body), lambda frame, body: (body, frame)], ids=["by frame", "by body"]
)
def test_several_people(tmp_path: Path, order: Callable[[int, str], Any]) -> None:
    text, clip = long_form(BODIES, order)
    path = write(tmp_path, text)
    assert clip.shape == (5, 3, 3, 3)
    assert_read(path, clip)
    assert unused_columns(path, BODY) == ()


def test_several_people_faults(tmp_path: Path) -> None:
    rows: list[list[Any]] = [[frame, *FLAT[0], body] for frame, body in ((1.0, "a"), (1.0, "b"), (2.0, "a"))]
    header = ["frame", *HEADER, "body"]
    with pytest.raises(ValueError, match="line 5: body 'a' occurs twice in frame 2"):
        read_clip(write(tmp_path, csv_text(header, [*rows, rows[2]])), BODY)
    with pytest.raises(ValueError, match=r"line 3: frame 1 after frame 1: sort .*'body'"):
        read_clip(write(tmp_path, csv_text([*header[:-1], "person"], rows)), BODY)
    with pytest.raises(ValueError, match="line 3: the cell in column 'frame' is empty"):
        read_clip(write(tmp_path, csv_text(header, [rows[0], ["", *rows[1][1:]], rows[2]])), BODY)
    crowd = [[1.0, *FLAT[0], f"p{i}"] for i in range(MAX_BODIES + 1)]
    with pytest.raises(ValueError, match=f"line {MAX_BODIES + 2}: more than {MAX_BODIES} different bodies"):
        read_clip(write(tmp_path, csv_text(header, crowd)), BODY)
    assert read_clip(write(tmp_path, csv_text(header, [])), BODY).shape == (0, 0, 3, 3)


# --- which joints -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SKELETONS)
def test_a_header_tells_the_layout(tmp_path: Path, name: str) -> None:
    skeleton = SKELETONS[name]
    path = write_csv_clip(tmp_path / "clip.csv", poses(joints=skeleton.num_joints), skeleton)
    assert guess_skeleton(path) is skeleton


@pytest.mark.parametrize(("joints", "name"), [(25, "ntu25"), (20, "kinect20"), (33, "mediapipe33"), (18, "openpose18")])
def test_the_number_of_joints_tells_the_layout(tmp_path: Path, joints: int, name: str) -> None:
    x, skeleton = poses(joints=joints), SKELETONS[name]
    flat = x.reshape(5, -1)
    for path in (
        write_npy_clip(tmp_path / "a.npy", x),
        write_npy_clip(tmp_path / "b.npy", flat),
        write_text(tmp_path / "c.csv", csv_text(None, flat)),
        write_text(tmp_path / "d.csv", csv_text(joint_columns(skeleton, "{axis}{number}"), flat)),
        write_text(tmp_path / "e.csv", csv_text([str(i) for i in range(3 * joints)], flat)),
    ):
        assert guess_skeleton(path) is skeleton
        assert_read(path, x, skeleton)


def test_joints_that_are_not_told(tmp_path: Path) -> None:
    way_out = r"say which joints with skeleton \(--skeleton NAME or FILE.yaml\)"
    with pytest.raises(ValueError, match=f"a.npy holds 17 joints, which coco17 and h36m17 have: {way_out}"):
        guess_skeleton(write_npy_clip(tmp_path / "a.npy", poses(joints=17)))
    with pytest.raises(ValueError, match=f"a.npy holds 22 joints, which no known layout has: {way_out}"):
        guess_skeleton(write_npy_clip(tmp_path / "a.npy", poses(joints=22)))
    with pytest.raises(ValueError, match=f"clip.csv: its columns .hip_x, .* name the joints of no .*: {way_out}"):
        guess_skeleton(write(tmp_path, csv_text(HEADER, FLAT)))
    with pytest.raises(ValueError, match=r"^clip.csv line 1: columns 'nose_x' and 'nose_x' say the same$"):
        guess_skeleton(write(tmp_path, csv_text(["nose_x", "nose_x"], [[1, 2]])))
    with pytest.raises(ValueError, match=r"clip.csv line 1: 76 numbers are not x, y, z of some joints: .* by a header"):
        guess_skeleton(write(tmp_path, csv_text(None, np.ones((3, 76)))))
