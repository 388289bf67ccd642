"""What preparation must know of a data set."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from pandas.api.types import is_numeric_dtype

from hiclr.data.recordings.base import Recording
from hiclr.forms import is_file_name
from hiclr.skeleton import Skeleton


@dataclass(frozen=True, eq=False)
class Corpus:
    """What preparation must know of a data set; making one reads no coordinates from folders of files.

    Args:
        name: what `about.json` will call it.
        skeleton: the joint layout.
        class_names: one per label.
        benchmarks: names of the columns of `samples` that hold "train", "test" or "" (unused).
        bodies: M, how many bodies a prepared sequence has room for.
        samples: one row per recording: name, label, subject, camera, setup (0 where unknown), further columns and the
            benchmarks.
        read: row number -> the recording; ValueError where its file is damaged. Rows are read in ascending order by
            several processes, each from a copy of this object.
        files: the raw files, to see whether they were changed. 100,000 are better kept as text, a fifth of a Path.
        fingerprint: changes when the raw files change (names and sizes for folders, contents for one file).
        synthetic: whether the movements were computed rather than recorded.
        planar: whether the third coordinate is missing (zero), so that nobody can be turned to face the camera.
        published: benchmark -> the numbers of train and test sequences that the literature states.
        absent: recordings that should be there by the corpus' own lists and are not.
        surplus: recordings, or what looks like them, that are there but not used.
        notes: what was left out and why, in sentences.
        meta: what is known of the source: licence, citation, units, ...

    Raises:
        ValueError: a text holds what UTF-8 cannot spell, as parts of a damaged file do, or a benchmark's name leads
            into another folder.
    """

    name: str
    skeleton: Skeleton
    class_names: tuple[str, ...]
    benchmarks: tuple[str, ...]
    bodies: int
    samples: pd.DataFrame
    read: Callable[[int], Recording]
    files: tuple[Path | str, ...]
    fingerprint: str
    synthetic: bool = False
    planar: bool = False
    published: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    absent: tuple[str, ...] = ()
    surplus: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    meta: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        where = f"{self.files[-1]}: " if self.files else ""  # of one's own, the file with names or the table
        for benchmark in self.benchmarks:
            if not is_file_name(benchmark):  # results are named after it
                raise ValueError(f"{where}the benchmark {benchmark!a} cannot be part of a file's name: rename it")
        samples = self.samples
        texts = [*self.skeleton.joint_names, *self.class_names, *map(str, samples.columns), *self.absent]
        texts += [" ".join(map(str, samples[column])) for column in samples if not is_numeric_dtype(samples[column])]
        texts.append(json.dumps(self.meta, ensure_ascii=False))
        try:
            "\n".join(texts).encode()
        except UnicodeEncodeError as error:
            around = error.object[max(error.start - 20, 0) : error.end]
            raise ValueError(f"{where}{around!a} ends in what is no character of UTF-8: correct the text") from None


class Found(NamedTuple):
    """Something in a folder that is none itself.

    Args:
        path: where it lies.
        is_file: whether it can be read as one: a link may lead nowhere, and a pipe would never end.
    """

    path: str
    is_file: bool

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.path.rpartition(os.sep)[2]


class LeftOut(NamedTuple):
    """A recording that cannot be used, by name, and why."""

    name: str
    reason: str


NO_FILES = "no files, or links that lead nowhere"


def files_below(root: Path | str) -> Iterator[Found]:
    """What lies at and below a folder, in any order; a folder that links lead to again is looked at once.

    A file is all that lies at its path.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    root = Path(root)
    if root.is_file():
        yield Found(os.fspath(root), True)
        return
    if not root.is_dir():
        raise FileNotFoundError(f"no folder {root}")
    folders, visited = deque([os.fspath(root)]), set()
    while folders:
        folder = folders.popleft()
        facts = Path(folder).stat()
        if (facts.st_dev, facts.st_ino) in visited:
            continue
        visited.add((facts.st_dev, facts.st_ino))
        with os.scandir(folder) as entries:
            for entry in entries:
                target = Path(entry.path) if entry.is_symlink() else None
                if entry.is_dir(follow_symlinks=False):
                    folders.appendleft(entry.path)
                elif target and target.is_dir():
                    folders.append(entry.path)
                else:
                    yield Found(entry.path, target.is_file() if target else entry.is_file())


def readable(name: str) -> str:
    """A file name that can be shown and written, with escapes for bytes that are no text."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def left_out(why: str, names: Sequence[str]) -> Iterator[str]:
    """A sentence for `Corpus.notes`, none where no name was left out."""
    if names:
        yield f"{count(names, 'recording')} left out, {why}: {some(names)}"


def count(names: Sequence[str], what: str) -> str:
    """How many, as in "1 recording", "2 recordings"."""
    return f"{len(names)} {what}{'s'[: len(names) != 1]}"


def some(names: Sequence[str], most: int = 5) -> str:
    """The first few, for a sentence."""
    return ", ".join(names[:most]) + ", ..." * (len(names) > most)


def names_and_sizes(paths: Iterable[Path | str]) -> str:
    """A fingerprint of files that are too many to be read for it."""
    digest = hashlib.sha256()
    for path in map(Path, paths):
        digest.update(f"{path.name} {path.stat().st_size}\n".encode())
    return digest.hexdigest()


def contents(path: Path) -> str:
    """A fingerprint of one file; that of an `.npz` is made of the checksums in it, as it may be large."""
    if path.suffix == ".npz":
        with zipfile.ZipFile(path) as archive:
            entries = [(entry.filename, entry.file_size, entry.CRC) for entry in archive.infolist()]
        return hashlib.sha256(repr(entries).encode()).hexdigest()
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def listed(text: str) -> tuple[str, ...]:
    """Class names from text that separates them by semicolons."""
    return tuple(" ".join(name.split()) for name in text.split(";"))
