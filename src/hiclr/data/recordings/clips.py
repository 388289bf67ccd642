"""Clips of one's own: one `.npy` or `.csv` file a clip."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hiclr.data.recordings.base import shown, to_float32
from hiclr.data.recordings.sheets import Sheet, read_sheet
from hiclr.forms import reason
from hiclr.skeleton import SKELETONS, Skeleton, name_words, skeleton_of

CLIP_SUFFIXES = (".npy", ".csv")
MAX_BODIES = 100  # no clip shows more people, and a damaged one cannot ask for frames x ids of memory

_AXES = "xyz"
_SIDES = {"l": "left", "r": "right"}
_NUMBERED = re.compile(r"(?:joint|landmark|keypoint|point)?[\W_]*(?:([xyz])[\W_]*(\d+)|(\d+)[\W_]*([xyz]))")
_GAPS = ("", "na", "nan")
_WAY_OUT = "say which joints with skeleton (--skeleton NAME or FILE.yaml)"
_HEADER = "a column of frames or times can be told only by a header"

Places = dict[tuple[int, int], int]
"""(joint, axis) -> column."""


def read_clip(path: Path, skeleton: Skeleton) -> NDArray[np.float32]:
    """Reads a clip, (F, M, V, 3), in the units and axes of the file.

    A `.npy` holds (F, V, 3), (F, M, V, 3) or (F, V * 3) numbers. A `.csv` holds a frame a row, its columns told by a
    header or in the order of the skeleton's joints; with the columns `frame` and `body` it holds a body a row, and a
    body without a row in a frame is zero there. Empty cells become NaN, but a body of which nothing but NaN is given in
    a frame was not found there: it is zero.

    Raises:
        ValueError: the file is damaged, of another form, or shows other joints; the sentence names file and line.
    """
    if path.suffix.lower() == ".npy":
        frames = _open_npy(path)
        if frames.shape[2] != skeleton.num_joints:
            raise ValueError(
                f"{path.name}: expected the {skeleton.num_joints} joints of {skeleton.name}, got {frames.shape[2]}"
            )
        clip = to_float32(frames)
    else:
        clip = _read_csv(read_sheet(path), skeleton)
    clip[np.isnan(clip).all((2, 3))] = 0
    return clip


def guess_skeleton(path: Path) -> Skeleton:
    """The known layout that a clip tells by the names in its header or by the number of its joints.

    Raises:
        ValueError: none or several fit, or the file is damaged.
    """
    if path.suffix.lower() == ".npy":
        return _known(path, _open_npy(path).shape[2])
    sheet = read_sheet(path)
    header = _header(sheet)
    if header is None:
        if len(sheet.rows[0]) % 3:
            raise sheet.error(0, f"{len(sheet.rows[0])} numbers are not x, y, z of some joints: {_HEADER}")
        return _known(path, len(sheet.rows[0]) // 3)
    try:
        named = [layout for layout in SKELETONS.values() if len(_named(header, layout)) == 3 * layout.num_joints]
        numbered = _numbered(header)
    except ValueError as error:
        raise sheet.error(0, str(error)) from None
    if named:  # a layout that holds the joints of another is the one that is meant
        return max(named, key=lambda layout: layout.num_joints)
    if not numbered:
        columns = ", ".join(header[:6])
        raise ValueError(
            f"{path.name}: its columns ({reason(columns)}, ...) name the joints of no known layout: {_WAY_OUT}"
        )
    return _known(path, len({joint for joint, _ in numbered}))


def unused_columns(path: Path, skeleton: Skeleton) -> tuple[str, ...]:
    """Names of the columns of a clip that nothing is read from; none for `.npy`."""
    return () if path.suffix.lower() == ".npy" else _columns(read_sheet(path), skeleton).unused


def _known(path: Path, joints: int) -> Skeleton:
    try:
        return skeleton_of(joints)
    except ValueError as error:
        raise ValueError(f"{path.name} {error}: {_WAY_OUT}") from None


# --- .npy -------------------------------------------------------------------------------------------------------------


def _open_npy(path: Path) -> NDArray[Any]:
    """The array of a file as (F, M, V, 3), memory-mapped, so that a size that is not there asks for no memory."""
    try:
        array: np.memmap[Any, np.dtype[Any]] = np.lib.format.open_memmap(path, mode="r")
    except Exception as error:  # damage shows in many ways
        raise ValueError(f"{path.name} is cut or no .npy of numbers ({reason(error)})") from None
    if array.dtype.kind not in "fiu":
        raise ValueError(f"{path.name} must hold numbers, got {array.dtype}")
    if path.stat().st_size != array.offset + array.nbytes:
        raise ValueError(f"{path.name} goes on after its array of {array.shape}")
    shape = array.shape
    if len(shape) == 2 and shape[1] % 3 == 0:
        shape = (*shape[:1], 1, shape[1] // 3, 3)
    elif len(shape) == 3:
        shape = (shape[0], 1, *shape[1:])
    if len(shape) != 4 or shape[3] != 3 or shape[1] > MAX_BODIES:
        raise ValueError(
            f"{path.name} must be (frames, joints, 3), (frames, bodies, joints, 3) or (frames, joints * 3), "
            f"got {array.shape}"
        )
    return array.reshape(shape)


# --- .csv: which column is what ---------------------------------------------------------------------------------------


class _Columns(NamedTuple):
    """Where in a sheet things stand."""

    first: int  # row of numbers
    joints: list[int]  # columns of x, y, z of each joint
    frame: int | None
    body: int | None
    unused: tuple[str, ...]


def _columns(sheet: Sheet, skeleton: Skeleton) -> _Columns:
    header, size = _header(sheet), 3 * skeleton.num_joints
    if header is None:
        return _Columns(0, _in_order(sheet, skeleton), None, None, ())
    lower = [name.lower() for name in header]
    for word in ("frame", "body"):
        if lower.count(word) > 1:
            raise sheet.error(0, f"column {word!r} occurs twice")
    frame, body = (lower.index(word) if word in lower else None for word in ("frame", "body"))
    if body is not None and frame is None:
        raise sheet.error(0, "a column 'body' needs a column 'frame' beside it")
    places = _places(sheet, header, skeleton)
    joints = [places[divmod(i, 3)] for i in range(size)]
    used = {*joints, body, frame if body is not None else None}
    unused = tuple(name or "(unnamed)" for column, name in enumerate(header) if column not in used)
    return _Columns(1, joints, frame, body, unused)


def _header(sheet: Sheet) -> tuple[str, ...] | None:
    """The first row, where it is no row of numbers; 0, 1, 2, ... is what programs name columns without a name."""
    cells = sheet.rows[0]
    if _counted(cells):
        return cells
    numbers = [cell for cell in cells if cell and (_is_number(cell, ".") or _is_number(cell, ","))]
    return cells if any(cells) and not numbers else None


def _counted(cells: Sequence[str]) -> bool:
    names = cells[not cells[0] :]  # an index before them has no name
    return len(names) > 1 and all(name == str(i) for i, name in enumerate(names))


def _in_order(sheet: Sheet, skeleton: Skeleton) -> list[int]:
    size, given = 3 * skeleton.num_joints, len(sheet.rows[0])
    if given != size:
        more = f": {_HEADER}" if given > size else ""
        raise sheet.error(0, f"expected {size} numbers (x, y, z of {skeleton.name}'s joints), got {given}{more}")
    return list(range(size))


def _places(sheet: Sheet, header: Sequence[str], skeleton: Skeleton) -> Places:
    try:
        named = _named(header, skeleton)
        if len(named) == 3 * skeleton.num_joints:
            return named
        numbered = _numbered(header)
    except ValueError as error:
        raise sheet.error(0, str(error)) from None
    wanted = [divmod(i, 3) for i in range(3 * skeleton.num_joints)]
    if set(numbered) == set(wanted):
        return numbered
    if named:
        joint, axis = next(place for place in wanted if place not in named)
        missing = f"{skeleton.joint_names[joint]}_{_AXES[axis]}"
        raise sheet.error(0, f"no column {missing!r}, which {skeleton.name} needs")
    if numbered:
        counted = len({joint for joint, _ in numbered})
        raise sheet.error(
            0,
            f"its numbered columns are not x, y, z of {skeleton.name}'s {skeleton.num_joints} joints, but of {counted}",
        )
    example = f"{skeleton.joint_names[0]}_x"
    raise sheet.error(0, f"no column names a joint of {skeleton.name} (as {example!r}): {', '.join(header[:6])}, ...")


def _named(header: Sequence[str], skeleton: Skeleton) -> Places:
    """Columns called by a joint's words and an axis, in any order and spelling: "nose_x", "x_nose", "Nose.X"."""
    wanted = {
        _key(f"{joint}_{axis}"): (i, j) for i, joint in enumerate(skeleton.joint_names) for j, axis in enumerate(_AXES)
    }
    if len(wanted) != 3 * skeleton.num_joints:
        raise ValueError(f"{skeleton.name} has joints whose names cannot be told apart in a header: rename them")
    keys = map(_key, header)
    return _placed(header, ((wanted[key], column) for column, key in enumerate(keys) if key in wanted))


def _key(name: str) -> tuple[str, ...]:
    return tuple(sorted(_SIDES.get(word, word) for word in name_words(name)))


def _numbered(header: Sequence[str]) -> Places:
    """Columns called by a joint's number and an axis ("x0", "12_y"), or counted through, from 0 or 1."""
    if _counted(header):
        return {divmod(i, 3): column for i, column in enumerate(range(not header[0], len(header)))}
    found = [(column, _NUMBERED.fullmatch(name.lower())) for column, name in enumerate(header)]
    places = [(column, int(m[2] or m[3]), _AXES.index(m[1] or m[4])) for column, m in found if m]
    base = min((number for _, number, _ in places), default=0) == 1
    return _placed(header, (((number - base, axis), column) for column, number, axis in places))


def _placed(header: Sequence[str], pairs: Iterable[tuple[tuple[int, int], int]]) -> Places:
    places: Places = {}
    for place, column in pairs:
        if place in places:
            raise ValueError(f"columns {header[places[place]]!r} and {header[column]!r} say the same")
        places[place] = column
    return places


# --- .csv: the numbers ------------------------------------------------------------------------------------------------


def _read_csv(sheet: Sheet, skeleton: Skeleton) -> NDArray[np.float32]:
    columns = _columns(sheet, skeleton)
    numbers = _numbers(sheet, columns.first, columns.joints)
    poses = to_float32(numbers).reshape(-1, skeleton.num_joints, 3)
    if columns.frame is None:
        return poses[:, None]
    frame_of = _numbers(sheet, columns.first, [columns.frame])[:, 0]
    if columns.body is None:
        late = np.flatnonzero(~(frame_of[1:] > frame_of[:-1]))
        if len(late):
            raise sheet.error(
                columns.first + int(late[0]) + 1,
                f"frame {frame_of[late[0] + 1]:g} after frame {frame_of[late[0]]:g}: sort the rows; where several "
                "people are seen, the column that tells them must be called 'body'",
            )
        return poses[:, None]
    gaps = np.flatnonzero(np.isnan(frame_of))
    if len(gaps):
        raise sheet.error(columns.first + int(gaps[0]), "the cell in column 'frame' is empty")
    return _by_body(sheet, columns.first, columns.body, frame_of, poses)


def _by_body(
    sheet: Sheet, first: int, body: int, frame_of: NDArray[np.float64], poses: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Rows of one body each as (F, M, V, 3); the frames are those that have a row."""
    times, frames = np.unique(frame_of, return_inverse=True)
    tracks: dict[str, int] = {}
    seen = set()
    track_of = np.zeros(len(frames), np.int64)
    for i in np.argsort(frames, kind="stable").tolist():
        name = sheet.rows[first + i][body]
        track_of[i] = tracks.setdefault(name, len(tracks))
        if (frames[i], name) in seen:
            raise sheet.error(first + i, f"body {shown(name)} occurs twice in frame {frame_of[i]:g}")
        seen.add((frames[i], name))
        if len(tracks) > MAX_BODIES:
            raise sheet.error(first + i, f"more than {MAX_BODIES} different bodies in one clip")
    clip = np.zeros((len(times), len(tracks), *poses.shape[1:]), np.float32)
    clip[frames, track_of] = poses
    return clip


def _numbers(sheet: Sheet, first: int, columns: Sequence[int]) -> NDArray[np.float64]:
    """Some columns as numbers, (rows, columns). Where cells are not separated by commas, these may be decimal ones."""
    rows = [[row[column] for column in columns] for row in sheet.rows[first:]]
    decimal = "," if sheet.delimiter != "," and any("," in cell for row in rows for cell in row) else "."
    numbers = np.empty((len(rows), len(columns)))
    for i, row in enumerate(rows):
        try:
            numbers[i] = _row(row, decimal)
        except ValueError:
            wrong = next(cell for cell in row if not _is_number(cell, decimal))
            raise sheet.error(first + i, f"expected a number, got {shown(wrong)}") from None
    return numbers


def _row(cells: Sequence[str], decimal: str) -> list[float]:
    if decimal == "." and not any("_" in cell for cell in cells):
        with suppress(ValueError):
            return list(map(float, cells))
    return [_number(cell, decimal) for cell in cells]


def _number(cell: str, decimal: str) -> float:
    if cell.lower() in _GAPS:
        return np.nan
    if "_" in cell or (decimal == "," and "." in cell):  # 1_000 is a number to Python alone
        raise ValueError(cell)
    return float(cell.replace(decimal, "."))


def _is_number(cell: str, decimal: str) -> bool:
    try:
        _number(cell, decimal)
    except ValueError:
        return False
    return True
