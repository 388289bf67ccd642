"""The prepared folder: the contract between preparation and training (`writer` makes one).

A folder describes itself, so that training never asks which corpus it was:

- `sequences.npy`: (N, 3, T, V, M) float32, opened memory-mapped;
- `samples.csv`: one row a sequence, columns `COLUMNS`, then the source's own, then one column per benchmark
  that says "train", "test" or nothing (unused);
- `about.json`: the corpus, its skeleton and class names, what was done to it, what was left out and why.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hiclr.data.actors import Actors
from hiclr.forms import MOST_TEXT, Maybe, Null, is_file_name, misfits, read_json, reason
from hiclr.skeleton import Skeleton

SCHEMA = 1
SEQUENCES, SAMPLES, ABOUT = "sequences.npy", "samples.csv", "about.json"
COLUMNS = ("name", "label", "subject", "camera", "setup", "length", "bodies")

_NEEDED: dict[str, Any] = {
    "corpus": str,
    "skeleton": dict,
    "class_names": [str],
    "benchmarks": [str],
    "frames": int,
    "bodies": int,
}
_FORM = _NEEDED | {  # of `about.json`
    "actors": Maybe(frozenset(get_args(Actors))),
    "published": Maybe({...: (int, int)}),
    "steps": Maybe([{"step": str}]),
    "dirty": Maybe([{"what": str, "sequences": int, "done": str}]),
    "skipped": Maybe([{"name": str, "reason": str}]),
    "notes": Maybe([str]),
    "source": Maybe(dict),
    "source_hash": Maybe(Null(str)),
    "synthetic": Maybe(bool),
}

_MOST_COLUMNS = 1000
_AGAIN = "prepare it again with overwrite (--overwrite true)"

Side = Literal["train", "test"]


@dataclass(frozen=True)
class Preparation:
    """What is done to recordings before an encoder sees them; the defaults are the published ones.

    Args:
        frames: T, to which every sequence is resampled.
        actors: which bodies are kept, see `hiclr.data.actors`.
        bodies: M, how many are kept.
        planar: nobody is turned to face the camera, as for poses without depth.
    """

    frames: int = 50
    actors: Actors = "file order"
    bodies: int = 2
    planar: bool = False


@dataclass(frozen=True, eq=False)  # neither arrays nor tables compare to one bool
class PreparedFolder:
    """A prepared folder, checked and open for reading.

    Args:
        root: where it lies.
        sequences: (N, 3, T, V, M) float32 in metres, memory-mapped, read-only.
        samples: N rows, the columns of `samples.csv`; `length` counts valid frames before the resampling.
        about: the contents of `about.json`.
    """

    root: Path
    sequences: NDArray[np.float32]
    samples: pd.DataFrame
    about: dict[str, Any]

    @classmethod
    def open(cls, root: Path | str) -> PreparedFolder:
        """Opens and checks a prepared folder.

        Raises:
            FileNotFoundError: there is no such folder.
            ValueError: it is no prepared folder, is half-written, is of another schema, or its parts disagree.
        """
        root = Path(root)
        if not root.is_dir():
            raise FileNotFoundError(f"no folder {root}: run `hiclr prepare` to make it")
        there = [name for name in (SEQUENCES, SAMPLES, ABOUT) if (root / name).is_file()]
        missing = [name for name in (SEQUENCES, SAMPLES, ABOUT) if name not in there]
        if not there:
            raise ValueError(f"{root} is not a prepared folder (no {ABOUT} in it): run `hiclr prepare` to make one")
        if missing:
            raise ValueError(f"{root} is half-written (no {', '.join(missing)}): {_AGAIN}")
        about = _read_about(root / ABOUT)
        folder = cls(root, _read_sequences(root / SEQUENCES), _read_samples(root / SAMPLES, about), about)
        folder._check()
        return folder

    @cached_property
    def skeleton(self) -> Skeleton:
        """The joint layout."""
        try:
            return Skeleton.from_dict(self.about["skeleton"])
        except ValueError as error:
            raise ValueError(f"{self.root / ABOUT}: {error}") from None

    @property
    def class_names(self) -> tuple[str, ...]:
        """One name per label."""
        return tuple(self.about["class_names"])

    @property
    def num_classes(self) -> int:
        """Number of labels."""
        return len(self.class_names)

    @property
    def benchmarks(self) -> tuple[str, ...]:
        """Names of the train/test columns."""
        return tuple(self.about["benchmarks"])

    @property
    def preparation(self) -> Preparation:
        """What was done to the recordings."""
        steps = [step["step"] for step in self.about.get("steps", [])]
        planar = bool(steps) and "face camera" not in steps
        return Preparation(self.about["frames"], self.about.get("actors", "file order"), self.about["bodies"], planar)

    def indices(self, benchmark: str, side: Side) -> NDArray[np.int64]:
        """Rows of one side of a benchmark, ascending.

        Raises:
            ValueError: the folder has no such benchmark, or nothing is on that side.
        """
        if benchmark not in self.benchmarks:
            there = ", ".join(self.benchmarks) or "none (--data.benchmark null pre-trains on every sequence)"
            raise ValueError(f"{self.root} has no benchmark {benchmark!r}: it has {there}")
        if side not in ("train", "test"):
            raise ValueError(f"a benchmark's side is 'train' or 'test', got {side!r}")
        rows = np.flatnonzero(self.samples[benchmark].to_numpy() == side).astype(np.int64)
        if not len(rows):
            raise ValueError(f"{self.root}: benchmark {benchmark!r} has no {side} sequences: choose another benchmark")
        return rows

    def _check(self) -> None:
        shape, rows = self.sequences.shape, len(self.samples)
        expected = (3, self.about["frames"], self.skeleton.num_joints, self.about["bodies"])
        if self.sequences.dtype != np.float32 or shape[1:] != expected:
            raise ValueError(
                f"{self.root / SEQUENCES} holds {self.sequences.dtype} {shape}, {ABOUT} says float32 (N, "
                f"{', '.join(map(str, expected))}): {_AGAIN}"
            )
        if shape[0] != rows:
            raise ValueError(f"{self.root}: {SEQUENCES} holds {shape[0]} sequences but {SAMPLES} {rows} rows: {_AGAIN}")
        outside = self.samples.loc[~self.samples["label"].between(0, self.num_classes - 1)]
        if len(outside):
            row = outside.iloc[0]
            raise ValueError(
                f"{self.root / SAMPLES}: {row['name']} has label {row['label']}, "
                f"outside the {self.num_classes} class names (0..{self.num_classes - 1})"
            )
        for benchmark in self.benchmarks:
            strange = set(self.samples[benchmark]) - {"train", "test", ""}
            if strange:
                raise ValueError(
                    f"{self.root / SAMPLES}: column {benchmark!r} holds {min(strange)!r}, "
                    "expected train, test or nothing"
                )


def _read_about(path: Path) -> dict[str, Any]:
    try:
        about = read_json(path)
    except ValueError as error:
        raise ValueError(f"{path} is no JSON ({error}): {_AGAIN}") from None
    if not isinstance(about, dict) or "schema" not in about:
        raise ValueError(f"{path} states no schema, so it is not a prepared folder's: run `hiclr prepare`")
    if about["schema"] != SCHEMA:
        raise ValueError(f"{path} is of schema {about['schema']}, this hiclr reads {SCHEMA}: {_AGAIN}")
    missing = set(_NEEDED) - set(about)
    if missing:
        raise ValueError(f"{path} lacks {', '.join(sorted(missing))}: {_AGAIN}")
    if wrong := misfits(about, _FORM):
        raise ValueError(f"{path} holds something else than expected as {wrong[0]!r}: {_AGAIN}")
    for benchmark in about["benchmarks"]:
        if not is_file_name(benchmark):  # results are named after it
            raise ValueError(f"{path}: the benchmark {benchmark!a} cannot be part of a file's name: rename it")
    return about


def _read_samples(path: Path, about: dict[str, Any]) -> pd.DataFrame:
    if path.stat().st_size > MOST_TEXT:
        raise ValueError(f"{path} takes {path.stat().st_size} bytes, more than {MOST_TEXT}: {_AGAIN}")
    try:
        header = list(pd.read_csv(path, nrows=0, encoding="utf-8").columns)
        if len(header) > _MOST_COLUMNS:
            raise ValueError(f"{len(header)} columns, more than {_MOST_COLUMNS}")
        text = {"name", *about["benchmarks"]}
        # a sequence may be called "NA", and an unused one has an empty side: neither is a missing number
        gaps = {column: [""] for column in header if column not in text}
        samples = pd.read_csv(
            path, dtype=dict.fromkeys(text, str), keep_default_na=False, na_values=gaps, encoding="utf-8"
        )
    except (ValueError, pd.errors.ParserError) as error:
        raise ValueError(f"{path} cannot be read ({reason(error)}): {_AGAIN}") from None
    missing = [column for column in (*COLUMNS, *about["benchmarks"]) if column not in header]
    if missing:
        raise ValueError(f"{path} lacks the columns {', '.join(missing)}: {_AGAIN}")
    for column in ("label", "length", "bodies"):
        if not pd.api.types.is_integer_dtype(samples[column]):
            raise ValueError(f"{path}: column {column} holds other things than whole numbers: {_AGAIN}")
    return samples


def _read_sequences(path: Path) -> NDArray[np.float32]:
    try:
        sequences = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError:
        raise
    except Exception as error:  # headers go wrong in many ways
        raise ValueError(f"{path} is cut or no array ({reason(error)}): {_AGAIN}") from None
    if not isinstance(sequences, np.memmap):
        raise ValueError(f"{path} is no .npy array: {_AGAIN}")
    return sequences
