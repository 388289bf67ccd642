"""A folder of one's own clips and a table that says who does what in them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args
from unicodedata import normalize

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hiclr.data.corpora.base import NO_FILES, Corpus, files_below, left_out, names_and_sizes, some
from hiclr.data.recordings.base import PREPARED_COLUMNS, Recording, shown
from hiclr.data.recordings.clips import CLIP_SUFFIXES, MAX_BODIES, guess_skeleton, read_clip, unused_columns
from hiclr.data.recordings.sheets import Sheet, read_sheet
from hiclr.skeleton import Skeleton, as_skeleton

Units = Literal["m", "cm", "mm"]
Up = Literal["y", "z", "-y"]

UNLABELLED = "unlabelled"
MOST_CLASSES = 10_000  # of numbered labels: a slip of the pen must not ask for millions of classes

_METRES: dict[str, float] = {"m": 1.0, "cm": 0.01, "mm": 0.001}
_COLUMNS = {column: column for column in ("name", "label", "subject", "camera", "setup")} | {"view": "camera"}
_SIDES = ("train", "test", "")
_THIRD_SIDES = ("val", "valid", "validation", "dev")
_BENCHMARKS = {"subject": "xsub", "camera": "xview", "setup": "xset"}
_WHOLE = re.compile(r"-?[0-9]{1,15}")
_MOST = 30  # names in a sentence that should tell all
_LOOKED_AT = 10  # clips, to learn the joints from one: the first may be damaged


def clips(
    raw: Path | str,
    table: Path | str | None = None,
    skeleton: Path | str | None = None,
    split_by: str | None = None,
    units: Units = "m",
    up: Up = "y",
    bodies: int | None = None,
) -> Corpus:
    """One's own clips: a folder of `.npy` or `.csv` files, and a table with a name and a label for each.

    The forms of clips and table: docs/how-to/own-recordings.md.

    Args:
        raw: the folder, in whose subfolders a clip is called walk/01; or one clip.
        table: `.csv` with the columns name, label and, if known, subject, camera (or view), setup, further ones, and
            columns of train and test, one a benchmark. Without it clips have no label and serve pre-training alone.
        skeleton: a known layout (ntu25, kinect20, coco17, openpose18, mediapipe33, h36m17) or a `.yaml` file of joints
            and parents; when not given, what the first clip tells.
        split_by: a column to make a benchmark of, so that what has the same value is on one side: its values, sorted,
            go to train and test in turn. subject makes xsub, camera xview, setup xset, another x<column>.
        units: of the coordinates.
        up: the axis that points up: y, z (motion capture stages) or -y (cameras, MediaPipe; write --up=-y).
        bodies: how many people a prepared sequence has room for; when not given, as many as the first clip.

    Raises:
        FileNotFoundError: no such folder, table or skeleton.
        ValueError: the table is of another form, names no clip or one twice; or the joints cannot be told.
    """
    for option, value, known in (("units", units, get_args(Units)), ("up", up, get_args(Up))):
        if value not in known:
            raise ValueError(f"{option} must be one of {', '.join(known)}, got {value!r}")
    if bodies is not None and not 1 <= bodies <= MAX_BODIES:
        raise ValueError(f"bodies must be from 1 to {MAX_BODIES}, got {bodies}")
    root = Path(raw)
    tables = sorted(filter(is_table, root.glob("*.csv"))) if table is None else []
    if tables:
        raise ValueError(f"{tables[0]} looks like the table of the clips: say so with table (--table {tables[0]})")
    found, no_files = _scan(root, None if table is None else Path(table))
    listing = _without_table(found, split_by) if table is None else _with_table(_read_table(table), found, split_by)
    names = listing.samples["name"].tolist()
    paths = [found[name] for name in names]
    layout, seen, unused = _learn(paths, None if skeleton is None else as_skeleton(skeleton))
    used = set(names)
    surplus = tuple(name for name in found if name not in used)
    notes = (
        *listing.notes,
        *left_out("in the table but not in the folder", listing.absent),
        *left_out("not in the table", surplus),
        *left_out(NO_FILES, no_files),
        *_about_columns(unused),
    )
    return Corpus(
        name=root.resolve().name if root.is_dir() else root.stem,
        skeleton=layout,
        class_names=listing.class_names,
        benchmarks=listing.benchmarks,
        bodies=bodies or seen,
        samples=listing.samples,
        read=lambda row: Recording(names[row], _upright(read_clip(paths[row], layout), units, up)),
        files=(*paths, *([] if table is None else [Path(table)])),
        fingerprint=f"{names_and_sizes(paths)} units {units} up {up}",
        absent=listing.absent,
        surplus=surplus,
        notes=notes,
        meta={"units": units, "up": up},
    )


# --- the clips --------------------------------------------------------------------------------------------------------


def is_table(file: Path) -> bool:
    """Whether the first line of a CSV names `name` and `label`."""
    if not file.is_file():
        return False
    with file.open("rb") as stream:
        header = stream.readline(1 << 16).decode("utf-8-sig", "replace")
    return {"name", "label"} <= {cell.strip(' "').lower() for cell in re.split("[,;\t]", header.strip())}


def names_clips(table: Path, root: Path) -> bool:
    """Whether a table names a clip of a folder; one that is wrong in itself does, so that opening says what is."""
    try:
        found, _ = _scan(root, table)
        return any(name in found for name in _match(_read_table(table), found))
    except ValueError:
        return True


def _scan(root: Path, table: Path | None) -> tuple[dict[str, Path], list[str]]:
    """The clips at and below a folder by name, in its order, and the names of what is no file.

    Hidden files are no clips, nor is the table, nor what `hiclr prepare` writes into the folder.
    """
    found: dict[str, Path] = {}
    no_files: list[str] = []
    for entry in files_below(root):
        path = Path(entry.path)
        inside = path.relative_to(root if root.is_dir() else root.parent)
        if _is_hidden(path, inside) or path.suffix.lower() not in CLIP_SUFFIXES or _same(path, table):
            continue
        name = _clip_name(inside.as_posix())
        if not _is_text(name):
            raise ValueError(f"the file name {str(path)!a} is no UTF-8: rename it")
        if not entry.is_file:
            no_files.append(name)
        elif name in found:
            raise ValueError(f"clip {name} occurs twice: {found[name]} and {path}")
        else:
            found[name] = path
    if not found:
        raise ValueError(f"no .npy or .csv clips in {root}")
    return dict(sorted(found.items())), sorted(no_files)


def _is_hidden(path: Path, inside: Path) -> bool:
    prepared = path.name in ("sequences.npy", "samples.csv") and path.with_name("about.json").exists()
    return prepared or any(part.startswith(".") or part.endswith(".partial") for part in inside.parts)


def _same(path: Path, table: Path | None) -> bool:
    return table is not None and path.name == table.name and table.exists() and path.samefile(table)


def _clip_name(path: str) -> str:
    """What a clip is called: its path below the folder without the ending, the same however a system writes it."""
    name = normalize("NFC", path).replace("\\", "/").removeprefix("./")
    ending = next((suffix for suffix in CLIP_SUFFIXES if name.lower().endswith(suffix)), "")
    return name[: len(name) - len(ending)]


def _is_text(name: str) -> bool:
    try:
        return bool(name.encode())
    except UnicodeEncodeError:
        return False


def _learn(paths: Sequence[Path], skeleton: Skeleton | None) -> tuple[Skeleton, int, tuple[str, ...]]:
    """Joints, number of bodies and unused columns of the first clip that can be read."""
    problems = []
    for path in paths[:_LOOKED_AT]:
        try:
            layout = skeleton or guess_skeleton(path)
            seen = read_clip(path, layout).shape[1]
            return layout, max(seen, 1), unused_columns(path, layout)
        except ValueError as error:
            problems.append(f"{error} (in {path.parent})")
    raise ValueError(problems[0])


def _upright(frames: NDArray[np.float32], units: Units, up: Up) -> NDArray[np.float32]:
    """In metres, turned about x so that y points up."""
    with np.errstate(invalid="ignore"):  # of NaN that should signal; preparation says which frames are broken
        frames = frames * np.float32(_METRES[units])
    if up == "z":
        frames = np.stack([frames[..., 0], frames[..., 2], -frames[..., 1]], -1)
    elif up == "-y":
        frames = frames * np.array([1, -1, -1], np.float32)
    return frames


def _about_columns(unused: Sequence[str]) -> Iterator[str]:
    if unused:
        yield f"columns of the clips that nothing was read from: {some(unused)}"


# --- the table --------------------------------------------------------------------------------------------------------


class _Listing(NamedTuple):
    """What is known of the clips, one row of `samples` a clip, in the order of their names."""

    samples: pd.DataFrame
    class_names: tuple[str, ...]
    benchmarks: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Table:
    """The table's columns as text; `rows` are their places in the sheet."""

    sheet: Sheet
    columns: dict[str, tuple[str, ...]]
    rows: tuple[int, ...]

    def error(self, at: int, problem: str) -> ValueError:
        return self.sheet.error(self.rows[at], problem)

    def refuse_gaps(self, column: str, why: str = "") -> None:
        for at, cell in enumerate(self.columns[column]):
            if not cell:
                raise self.error(at, f"the cell in column {column!r} is empty{why}")

    def refuse_spellings(self, column: str) -> None:
        """As "Anna" and "anna": they would be two subjects, one on each side of a split."""
        spelt: dict[str, str] = {}
        for at, cell in enumerate(self.columns[column]):
            before = spelt.setdefault(cell.casefold(), cell)
            if before != cell:
                raise self.error(at, f"{column} {shown(cell)} was {shown(before)} before: spell it alike")


def _without_table(found: Mapping[str, Path], split_by: str | None) -> _Listing:
    if split_by is not None:
        raise ValueError(f"split_by {split_by!r} needs a table with that column (--table FILE.csv)")
    samples = pd.DataFrame({"name": list(found)}).assign(label=0, subject=0, camera=0, setup=0)
    note = f"no table was given: all clips are of one class, {UNLABELLED!r}, and serve pre-training alone"
    return _Listing(samples, (UNLABELLED,), notes=(note,))


def _with_table(table: _Table, found: Mapping[str, Path], split_by: str | None) -> _Listing:
    matched = _match(table, found)
    labels, class_names = _labels(table)
    columns: dict[str, Any] = {"name": matched, "label": labels}
    for column in ("subject", "camera", "setup"):
        columns[column] = _numbers_or_text(table.columns.get(column, ("",) * len(labels)))
    benchmarks, others = _benchmarks(table)
    notes: list[str] = list(_unused_labels(labels, class_names))
    if split_by is not None:
        benchmark, sides, note = _alternating(table, split_by)
        if benchmark in benchmarks or benchmark in others:
            raise ValueError(
                f"split_by {split_by!r} makes a column {benchmark!r}, which the table has: rename that one"
            )
        benchmarks[benchmark] = sides
        notes.append(note)
    samples = pd.DataFrame(columns | others | benchmarks)
    there = samples[samples["name"].isin(list(found))].sort_values("name", ignore_index=True)
    absent = tuple(name for name in matched if name not in found)
    if not len(there):
        raise ValueError(
            f"none of the {len(matched)} names in {table.sheet.path} is a clip of the folder: "
            f"the first name is {absent[0]!r}, the first clip {next(iter(found))!r}"
        )
    return _Listing(there, class_names, tuple(benchmarks), absent, tuple(notes))


def _read_table(path: Path | str) -> _Table:
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no table {path}")
    sheet = read_sheet(path)
    header = [_COLUMNS.get(cell.lower(), cell) for cell in sheet.rows[0]]
    for column in filter(None, header):  # one without a name is the index that programs put first
        if header.count(column) > 1:
            also = " (view is another word for it)" if column == "camera" else ""
            raise sheet.error(0, f"column {column!r} occurs twice{also}")
        if column in PREPARED_COLUMNS:
            raise sheet.error(0, f"the column {column!r} is taken: rename it")
    for column in ("name", "label"):
        if column not in header:
            raise sheet.error(0, f"no column {column!r}: it has {', '.join(header)}")
    rows = tuple(i for i, row in enumerate(sheet.rows) if i and any(row))
    if not rows:
        raise sheet.error(0, "no clip is named below it")
    columns = {name: tuple(sheet.rows[i][column] for i in rows) for column, name in enumerate(header) if name}
    return _Table(sheet, columns, rows)


def _match(table: _Table, found: Mapping[str, Path]) -> list[str]:
    """For each row the clip it names: by its path, or by the file's name where only one is called so."""
    called: defaultdict[str, list[str]] = defaultdict(list)
    for name in found:
        called[name.rpartition("/")[2]].append(name)
    table.refuse_gaps("name")
    at_of: dict[str, int] = {}
    for at, cell in enumerate(table.columns["name"]):
        name = _clip_name(cell)
        same = [name] if name in found else called.get(name, [name])
        if len(same) > 1:
            raise table.error(at, f"{shown(cell)} may be {' or '.join(same[:2])}: write the folder too")
        if same[0] in at_of:
            line = table.sheet.lines[table.rows[at_of[same[0]]]]
            raise table.error(at, f"clip {shown(same[0])} is in line {line} already")
        at_of[same[0]] = at
    return list(at_of)


def _labels(table: _Table) -> tuple[list[int], tuple[str, ...]]:
    """Numbers as they are, or names in alphabetical order."""
    cells = table.columns["label"]
    table.refuse_gaps("label")
    if all(map(_WHOLE.fullmatch, cells)):
        numbers = list(map(int, cells))
        for at, number in enumerate(numbers):
            if not 0 <= number < MOST_CLASSES:
                raise table.error(at, f"label {number}: numbered labels count from 0 and end below {MOST_CLASSES}")
        return numbers, tuple(map(str, range(max(numbers) + 1)))
    table.refuse_spellings("label")
    class_names = sorted(set(cells))
    place = {name: i for i, name in enumerate(class_names)}
    return [place[cell] for cell in cells], tuple(class_names)


def _unused_labels(labels: Sequence[int], class_names: Sequence[str]) -> Iterator[str]:
    empty = sorted(set(range(len(class_names))) - set(labels))
    if empty:
        yield f"numbered labels count from 0; no clip has {some(list(map(str, empty)), _MOST)}"


def _numbers_or_text(cells: Sequence[str]) -> list[int] | list[str]:
    """Whole numbers, 0 where nothing stands, or text as it is."""
    if all(not cell or _WHOLE.fullmatch(cell) for cell in cells):
        return [int(cell or 0) for cell in cells]
    return list(cells)


def _benchmarks(table: _Table) -> tuple[dict[str, list[str]], dict[str, tuple[str, ...]]]:
    """The columns of train and test by the benchmark's name, and the further columns as they are."""
    benchmarks: dict[str, list[str]] = {}
    others: dict[str, tuple[str, ...]] = {}
    for column, cells in table.columns.items():
        if column in _COLUMNS:
            continue
        sides = [cell.lower() for cell in cells]
        meant = {"train", "test"} & set(sides) and set(sides) <= {*_SIDES, *_THIRD_SIDES}
        if not column.startswith("split_") and not meant:
            others[column] = cells
            continue
        for at, side in enumerate(sides):
            if side not in _SIDES:
                way_out = (
                    "call it train or test" if side in _THIRD_SIDES else "expected train, test or nothing (unused)"
                )
                raise table.error(at, f"column {column!r} holds {shown(cells[at])}: {way_out}")
        benchmark = column.removeprefix("split_")
        if not benchmark or benchmark in {*table.columns, *PREPARED_COLUMNS, *_COLUMNS, *benchmarks} - {column}:
            raise table.sheet.error(0, f"{column} would make a column {benchmark!r}, which is taken: rename it")
        benchmarks[benchmark] = sides
    return benchmarks, others


def _alternating(table: _Table, split_by: str) -> tuple[str, list[str], str]:
    """A benchmark whose sides take the sorted values of a column in turn: its name, sides and a sentence."""
    column = _COLUMNS.get(split_by.lower(), split_by)
    if column not in table.columns or column == "label":
        able = ", ".join(name for name in table.columns if name not in ("name", "label"))
        raise ValueError(
            f"split_by {split_by!r} is no column to split by: {table.sheet.path.name} has {able or 'none'}"
        )
    table.refuse_gaps(column, ", so the clip is on no side of the split")
    table.refuse_spellings(column)
    cells = [str(int(cell)) if _WHOLE.fullmatch(cell) else cell for cell in table.columns[column]]
    values = sorted(set(cells), key=lambda cell: (0, int(cell), "") if _WHOLE.fullmatch(cell) else (1, 0, cell))
    if len(values) < 2:
        raise ValueError(f"split_by {split_by!r} needs two values or more, all clips have {values[0]!r}")
    train = set(values[::2])
    benchmark = _BENCHMARKS.get(column, f"x{column}")
    note = (
        f"{benchmark}: split by {column}, in turn: {some(values[::2], _MOST)} train, {some(values[1::2], _MOST)} test"
    )
    return benchmark, ["train" if cell in train else "test" for cell in cells], note
