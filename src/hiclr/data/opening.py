"""What lies at a path, told by names alone, and how it is opened."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable, Collection, Mapping
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np

from hiclr.data import corpora
from hiclr.data.corpora.base import Corpus, files_below
from hiclr.data.corpora.clips import is_table, names_clips
from hiclr.data.corpora.kinect import NWUCLA_FILE, UTDMHAD_FILE
from hiclr.data.corpora.ntu import ntu_name, synthetic
from hiclr.data.folder import ABOUT, SEQUENCES, PreparedFolder
from hiclr.data.recordings.base import Recording
from hiclr.data.recordings.pkummd import PKU1_NAME, PKU2_NAME
from hiclr.data.synthetic import MARKER

PREPARED = "prepared"

Names = Collection[str]
"""Paths of the files in a folder, relative to it; or the keys of an `.npz`."""


def _some(form: re.Pattern[str], suffix: str = "") -> Callable[[Names], bool]:
    """Whether some file has a name of a form."""
    return lambda names: any(
        name.endswith(suffix) and form.fullmatch(name.rpartition("/")[2].removesuffix(suffix)) for name in names
    )


def _some_of_ntu120_alone(names: Names) -> bool:
    parsed = (ntu_name(Path(name).stem) for name in names if name.endswith(".skeleton"))
    return any(numbers and (numbers.setup > 17 or numbers.action > 60) for numbers in parsed)


# the first whose rule holds; of a file alone its name
FOLDERS: dict[str, Callable[[Names], bool]] = {
    PREPARED: lambda names: ABOUT in names or SEQUENCES in names,
    "synthetic": _some(re.compile(re.escape(MARKER))),
    "ntu120": _some_of_ntu120_alone,
    "ntu60": _some(re.compile(r"(?i).*\.skeleton")),
    "nwucla": _some(NWUCLA_FILE),
    "utdmhad": _some(UTDMHAD_FILE),
    "pkummd2": _some(PKU2_NAME, ".txt"),
    "pkummd1": _some(PKU1_NAME, ".txt"),
    "clips": _some(re.compile(r"(?i).*\.(npy|csv)")),
}
ARCHIVES: dict[str, Callable[[Names], bool]] = {
    "ctrgcn": lambda keys: "x_train" in keys,
    "npz": lambda keys: "frames" in keys or "offsets" in keys,
}
_PICKLES = (".pkl", ".pickle")
_READABLE = (
    "a folder that `hiclr prepare` made, of NTU .skeleton files, of PKU-MMD .txt, NW-UCLA .json or UTD-MHAD .mat "
    "files or of .npy or .csv clips, or one such file; or one .npz (ragged or CTR-GCN) or .pkl (PYSKL)"
)


def open_corpus(path: Path | str, kind: str | None = None, options: Mapping[str, Any] | None = None) -> Corpus:
    """Opens raw or prepared data of any kind.

    Args:
        path: a folder or file of any kind that `hiclr prepare` reads, a single clip or recording, or a prepared folder
            (whose sequences are recordings like others then).
        kind: what to take it for: "prepared", "synthetic" or a verb of `hiclr prepare`; recognised when None.
        options: further arguments of that verb's corpus function. A table of clips (a CSV with the columns name and
            label, in the folder or beside it) is found when there is only one.

    Raises:
        FileNotFoundError: there is nothing at `path`.
        ValueError: nothing there is known, an option is not one of that kind, or the data cannot be opened.
    """
    path, options = Path(path), dict(options or {})
    kind = kind or recognise(path)
    return opener(kind, options)(path, **with_table(kind, path, options))


def recognise(path: Path) -> str:
    """The kind of data at a path: "prepared", "synthetic" or a verb of `hiclr prepare`.

    Raises:
        FileNotFoundError: there is nothing.
        ValueError: nothing there is known, or it is unfinished.
    """
    if not path.exists():
        raise FileNotFoundError(f"no file or folder {path}")
    if path.is_dir() and path.suffix == ".partial":
        raise ValueError(f"{path} is a preparation that did not finish: start `hiclr prepare` again to go on")
    if path.is_dir():
        names = _files_below(path)
        kind = next((kind for kind, holds in FOLDERS.items() if holds(names)), None)
        files = sorted(name for name in names if name.endswith((".npz", *_PICKLES)))
        hint = f": it holds {', '.join(files[:3])}: name one of them" if files else ""
    elif path.is_file():
        kind, hint = _kind_of_file(path), ""
    else:
        raise ValueError(f"{path} is neither a file nor a folder")
    if kind is None:
        raise ValueError(f"{path} is nothing that is known here{hint or f', which is {_READABLE}'}")
    return kind


def opener(kind: str, options: Mapping[str, Any]) -> Callable[..., Corpus]:
    """The function that opens data of a kind as a corpus, prepared folders too.

    Args:
        kind: what to take it for (see `recognise`).
        options: further arguments of the function, such as `missing` of ntu60 or `table` of clips.

    Raises:
        ValueError: there is no such kind, or it has no such options.
    """
    kinds = (*_OWN, *corpora.__all__)
    if kind not in kinds:
        raise ValueError(f"unknown kind {kind!r}: choose one of {', '.join(kinds)}")
    function: Callable[..., Corpus] = _OWN[kind] if kind in _OWN else getattr(corpora, kind)
    known = list(signature(function).parameters)[1:]
    for option in options:
        if option not in known:
            raise ValueError(f"{kind} has no option {option!r}: it has {', '.join(known) or 'none'}")
    return function


def with_table(kind: str, path: Path, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a kind, with the table of clips that was found."""
    table = table_of(path) if kind == "clips" and "table" not in options and path.is_dir() else None
    return {**options, **({} if table is None else {"table": table})}


def table_of(path: Path) -> Path | None:
    """The table of a folder of clips: the CSV in it, else beside it, whose header names `name` and `label`.

    One beside it that names none of its clips is of another folder.

    Raises:
        ValueError: there are several.
    """
    inside, beside = (list(filter(is_table, sorted(folder.glob("*.csv")))) for folder in (path, path.parent))
    found = inside or [table for table in beside if names_clips(table, path)]
    if len(found) > 1:
        raise ValueError(f"{' and '.join(map(str, found))} look like tables: say which with --options.table")
    return found[0] if found else None


def _files_below(root: Path) -> frozenset[str]:
    return frozenset(Path(entry.path).relative_to(root).as_posix() for entry in files_below(root))


def _kind_of_file(path: Path) -> str | None:
    if path.suffix in _PICKLES:
        return "pyskl"
    if path.suffix != ".npz":
        rules = {kind: holds for kind, holds in FOLDERS.items() if kind != PREPARED}
        return next((kind for kind, holds in rules.items() if holds([path.name])), None)
    try:
        with zipfile.ZipFile(path) as archive:
            keys = {name.removesuffix(".npy") for name in archive.namelist()}
    except (zipfile.BadZipFile, OSError, ValueError, RuntimeError) as error:
        raise ValueError(f"{path} is no .npz ({error})") from None
    return next((kind for kind, holds in ARCHIVES.items() if holds(keys)), None)


def _prepared(root: Path) -> Corpus:
    """A prepared folder with its sequences as recordings (T, M, V, 3), so that the same checks look at them."""
    folder = PreparedFolder.open(root)
    about, names = folder.about, folder.samples["name"]

    def read(row: int) -> Recording:
        return Recording(str(names.iloc[row]), np.ascontiguousarray(folder.sequences[row].transpose(1, 3, 2, 0)))

    dirty, notes = about.get("dirty", []), about.get("notes", [])
    return Corpus(
        name=str(about["corpus"]),
        skeleton=folder.skeleton,
        class_names=folder.class_names,
        benchmarks=folder.benchmarks,
        bodies=about["bodies"],
        samples=folder.samples,
        read=read,
        files=(folder.root / SEQUENCES,),
        fingerprint=str(about.get("source_hash", "")),
        synthetic=bool(about.get("synthetic", False)),
        planar=folder.preparation.planar,
        published={benchmark: (sides[0], sides[1]) for benchmark, sides in about.get("published", {}).items()},
        notes=(*(f"{one['what']} in {one['sequences']} of the sequences: {one['done']}" for one in dirty), *notes),
        meta={"skipped": about.get("skipped", []), **about.get("source", {})},
    )


_OWN: dict[str, Callable[..., Corpus]] = {PREPARED: _prepared, "synthetic": synthetic}  # no verbs of `hiclr prepare`
