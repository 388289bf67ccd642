"""Pickles of PYSKL and MMAction2."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from hiclr.data.corpora.base import Corpus, contents
from hiclr.data.corpora.ntu import (
    NTU60_CLASSES,
    NTU60_PUBLISHED,
    NTU120_CLASSES,
    NTU120_PUBLISHED,
    NTUName,
    ntu_name,
)
from hiclr.data.recordings.base import PREPARED_COLUMNS
from hiclr.data.recordings.pyskl import PysklFile, open_pyskl
from hiclr.forms import reason
from hiclr.skeleton import SKELETONS, Skeleton, as_skeleton, skeleton_of

_TEST_SIDES = ("test", "val")  # the first that is there
_TAKEN = ("name", "label", "subject", "camera", "setup", "rep", *PREPARED_COLUMNS)
_UNKNOWN = NTUName(0, 0, 0, 0, 0)


def pyskl(raw: Path | str, skeleton: str | None = None) -> Corpus:
    """A PYSKL or MMAction2 pickle: a dictionary with `split` and `annotations`, or a list of annotations.

    Nothing in the pickle is run. Splits called <benchmark>_train and <benchmark>_test (or _val) become a benchmark,
    plain `train` and `test` (or `val`) one called "split". Poses of three coordinates are metres; those of two are
    pixels, which are moved to the middle of the image and divided by its height, with y up and z = 0.

    Args:
        raw: the file.
        skeleton: a known layout (ntu25, kinect20, coco17, openpose18, mediapipe33, h36m17) or a `.yaml` file of joints
            and parents; when not given, the number of joints tells it (17 in the plane: coco17).

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no such pickle, asks for other things than arrays and plain containers, a name is on both
            sides of a benchmark, or the skeleton has another number of joints.
    """
    raw = Path(raw)
    content = open_pyskl(raw)
    try:
        layout = _layout(content, skeleton)
        benchmarks, notes = _benchmarks(content.split)
        samples = _samples(content, benchmarks)
    except ValueError as error:
        raise ValueError(f"{raw}: {reason(error)}") from None
    names = set(samples["name"])
    listed = {name for sides in benchmarks.values() for side in sides for name in content.split[side]}
    class_names = _class_names(content)
    return Corpus(
        name=raw.stem,
        skeleton=layout,
        class_names=class_names,
        benchmarks=tuple(benchmarks),
        bodies=max(1, min(content.bodies, 2)),
        samples=samples,
        read=content.read,
        files=(raw,),
        fingerprint=contents(raw),
        planar=content.planar,
        published=_published(class_names, benchmarks),
        absent=tuple(sorted(listed - names)),
        notes=(*notes, *_unlisted(len(names - listed), bool(benchmarks))),
        meta={"units": "height of the image" if content.planar else "metre"},
    )


class _Sides(NamedTuple):
    """The names of the two splits of a benchmark."""

    train: str
    test: str


def _layout(content: PysklFile, stated: str | None) -> Skeleton:
    joints = content.joints
    if stated is None and content.planar and joints == SKELETONS["coco17"].num_joints:
        return SKELETONS["coco17"]  # as 2-D estimators give them; in space they may as well be Human3.6M's
    if stated is None:
        try:
            return skeleton_of(joints)
        except ValueError as error:
            raise ValueError(f"{error}: say which with skeleton (--skeleton NAME or FILE.yaml)") from None
    skeleton = as_skeleton(stated)
    if skeleton.num_joints != joints:
        raise ValueError(f"holds {joints} joints, but skeleton {skeleton.name!r} has {skeleton.num_joints}")
    return skeleton


def _benchmarks(split: Mapping[str, Sequence[str]]) -> tuple[dict[str, _Sides], tuple[str, ...]]:
    """Benchmark -> its two splits, and sentences on those that make none."""
    sides: dict[str, dict[str, str]] = {}
    for name in split:
        if match := re.fullmatch(r"(?:(.+)_)?(train|test|val)(\d*)", name):
            benchmark, side, number = match.groups()
            sides.setdefault((benchmark or "split") + number, {}).setdefault(side, name)
    benchmarks = {}
    for benchmark, found in sides.items():
        test = next((found[side] for side in _TEST_SIDES if side in found), None)
        if "train" in found and test is not None:
            benchmarks[benchmark] = _Sides(found["train"], test)
    for benchmark, (train, test) in benchmarks.items():
        if benchmark in _TAKEN:
            raise ValueError(f"split {train!r} would make a column {benchmark!r}, which is taken: rename it")
        twice = sorted(set(split[train]) & set(split[test]))
        if twice:
            raise ValueError(f"{twice[0]!r} is in both {train} and {test} ({len(twice)} such names)")
    used = {name for pair in benchmarks.values() for name in pair}
    unused = [name for name in split if name not in used]
    return benchmarks, (f"splits that make no benchmark, not used: {', '.join(unused)}",) if unused else ()


def _samples(content: PysklFile, benchmarks: Mapping[str, _Sides]) -> pd.DataFrame:
    names = [annotation.name for annotation in content.annotations]
    numbers = [ntu_name(name) or _UNKNOWN for name in names]
    columns: dict[str, Any] = {
        "name": names,
        "label": [annotation.label for annotation in content.annotations],
        "subject": [number.performer for number in numbers],
        "camera": [number.camera for number in numbers],
        "setup": [number.setup for number in numbers],
    }
    if any(number != _UNKNOWN for number in numbers):
        columns["rep"] = [number.repetition for number in numbers]
    for benchmark, (train, test) in benchmarks.items():
        side = dict.fromkeys(content.split[train], "train") | dict.fromkeys(content.split[test], "test")
        columns[benchmark] = [side.get(name, "") for name in names]
    return pd.DataFrame(columns)


def _class_names(content: PysklFile) -> tuple[str, ...]:
    """NTU's where all names and labels are NTU's, otherwise numbers."""
    count = max(annotation.label for annotation in content.annotations) + 1
    numbers = (ntu_name(annotation.name) for annotation in content.annotations)
    ntu = all(
        number is not None and number.action == annotation.label + 1
        for number, annotation in zip(numbers, content.annotations, strict=True)
    )
    fitting = (names for names in (NTU60_CLASSES, NTU120_CLASSES) if ntu and count <= len(names))
    return next(fitting, tuple(map(str, range(count))))


def _published(class_names: tuple[str, ...], benchmarks: Mapping[str, _Sides]) -> dict[str, tuple[int, int]]:
    known = {NTU60_CLASSES: NTU60_PUBLISHED, NTU120_CLASSES: NTU120_PUBLISHED}.get(class_names, {})
    return {benchmark: counts for benchmark, counts in known.items() if benchmark in benchmarks}


def _unlisted(count: int, benchmarks: bool) -> Iterator[str]:
    if count and benchmarks:
        yield f"{count} annotations are in no split: prepared, but in no benchmark"
