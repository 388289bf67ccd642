"""PKU-MMD, both parts: actions cut from long recordings."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from hiclr.data.corpora.base import NO_FILES, Corpus, count, files_below, left_out, listed, names_and_sizes, some
from hiclr.data.recordings.base import Recording
from hiclr.data.recordings.pkummd import (
    PKU1_NAME,
    PKU2_NAME,
    PKU_BODIES,
    Action,
    cut_action,
    place,
    read_pku_labels,
    read_pku_recording,
    read_pku_split,
)
from hiclr.skeleton import SKELETONS

_CAMERAS = {"L": 1, "M": 2, "R": 3}
_SPLIT_NAME = re.compile(r"cross[-_](subject|view)(_v2)?", re.IGNORECASE)
_BENCHMARKS = {"subject": "xsub", "view": "xview"}


class _Part(NamedTuple):
    """One of the two parts, told apart by the names of recordings."""

    kind: str
    form: re.Pattern[str]
    example: str
    split_files: Mapping[str, str]


_PARTS = (
    _Part("pkummd1", PKU1_NAME, "0002-L.txt", {"xsub": "cross-subject.txt", "xview": "cross-view.txt"}),
    _Part("pkummd2", PKU2_NAME, "A01N01-L.txt", {"xsub": "cross_subject_v2.txt", "xview": "cross_view_v2.txt"}),
)


def pkummd1(raw: Path | str) -> Corpus:
    """PKU-MMD part I: a folder with recordings, label files and split files.

    They may lie in it or anywhere below, and are told apart by what stands in them. Every line of a label file is a
    sequence: `0002-L-003` is line 3 (from 1) for recording 0002-L, and of more than 300 frames the middle 300 are kept.
    A line that names frames the recording does not have is skipped when it is read, and named.

    Args:
        raw: the folder.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: it lacks recordings or label files, holds one twice, or a label or split file is malformed.
    """
    return _pkummd(Path(raw), *_PARTS)


def pkummd2(raw: Path | str) -> Corpus:
    """PKU-MMD part II: a folder with recordings, label files and split files.

    As part I; recordings are named by their subjects (A01N07-L is subject 7). The label files use the class numbers of
    part I, of which 41 occur; all 51 names are kept, as in published code, so that labels mean the same in both parts.

    Args:
        raw: the folder.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: as for part I.
    """
    return _pkummd(Path(raw), *_PARTS[::-1])


class _Files(NamedTuple):
    """The files of one part below a folder, by recording or benchmark."""

    recordings: dict[str, Path]
    labels: dict[str, Path]
    splits: dict[str, Path]
    others: tuple[str, ...]
    no_files: tuple[str, ...]


Sides = dict[str, dict[str, str]]
"""Benchmark -> recording -> "train" or "test"."""


def _pkummd(root: Path, part: _Part, other: _Part) -> Corpus:
    files = _scan(root, part, other)
    sides = _sides(files.splits, part)
    actions = {name: read_pku_labels(path) for name, path in sorted(files.labels.items())}
    used = [name for name in actions if name in files.recordings]
    rows = [
        (name, action)
        for name in used
        for action in sorted(actions[name], key=lambda action: (action.first, action.line))
        if _is_class(action)
    ]
    if not rows:
        raise ValueError(f"the label files below {root} name no actions of the recordings there")
    promised = actions.keys() | {name for side in sides.values() for name in side}
    absent = sorted(promised - files.recordings.keys())
    unlabelled = sorted(files.recordings.keys() - actions.keys())
    read_whole = lru_cache(maxsize=1)(read_pku_recording)  # rows ascend, and some twenty are cut from one recording

    def read(row: int) -> Recording:
        name, action = rows[row]
        clip = cut_action(read_whole(files.recordings[name]), action, files.labels[name])
        return Recording(_clip_name(name, action), clip)

    split_files = [files.splits[benchmark] for benchmark in sides]
    paths = (*(files.recordings[name] for name in used), *(files.labels[name] for name in used), *split_files)
    return Corpus(
        name=part.kind,
        skeleton=SKELETONS["ntu25"],
        class_names=PKU_CLASSES,
        benchmarks=tuple(sides),
        bodies=PKU_BODIES,
        samples=_samples(rows, sides),
        read=read,
        files=paths,
        fingerprint=names_and_sizes(paths),
        absent=tuple(absent),
        surplus=(*unlabelled, *files.others),
        notes=(
            *_about_sides(sides, part, used),
            *left_out("named in split or label files but not there", absent),
            *left_out("without a label file", unlabelled),
            *left_out(NO_FILES, files.no_files),
            *left_out(f"of the other part (use `hiclr prepare {other.kind}`)", files.others),
            *_of_no_class(files.labels, {name: actions[name] for name in used}),
        ),
        meta={
            "units": "metre",
            "fps": 30,
            "axes": "Kinect camera space: y up, z away from the camera",
            "licence": "academic research only, by agreement with the owners (Peking University)",
            "citation": "C. Liu, Y. Hu, Y. Li, S. Song, J. Liu. PKU-MMD: A Large Scale Benchmark for Continuous "
            "Multi-Modal Human Action Understanding. arXiv:1703.07475, 2017.",
        },
    )


def _is_class(action: Action) -> bool:
    return 1 <= action.number <= len(PKU_CLASSES)


def _of_no_class(labels: Mapping[str, Path], actions: Mapping[str, list[Action]]) -> Iterator[str]:
    lines = [
        f"{place(labels[name])} line {action.line} (class {action.number})"
        for name in actions
        for action in actions[name]
        if not _is_class(action)
    ]
    if lines:
        yield f"{count(lines, 'action')} left out, of classes other than 1 to {len(PKU_CLASSES)}: {some(lines)}"


def _samples(rows: list[tuple[str, Action]], sides: Sides) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "name": [_clip_name(name, action) for name, action in rows],
            "label": [action.number - 1 for _, action in rows],
            "subject": [int(name[4:6]) if PKU2_NAME.fullmatch(name) else 0 for name, _ in rows],
            "camera": [_CAMERAS[name[-1]] for name, _ in rows],
            "setup": 0,
            "recording": [name for name, _ in rows],
            "first": [action.first for _, action in rows],
            "last": [action.last for _, action in rows],
            "confidence": [action.confidence for _, action in rows],
            **{benchmark: [side.get(name, "") for name, _ in rows] for benchmark, side in sides.items()},
        }
    )


def _clip_name(name: str, action: Action) -> str:
    return f"{name}-{action.line:03d}"


# --- files ------------------------------------------------------------------------------------------------------------


def _scan(root: Path, part: _Part, other: _Part) -> _Files:
    """Finds the files of a part; a recording and its label file have the same name."""
    files = _Files({}, {}, {}, (), ())
    blank: list[Path] = []
    others: set[str] = set()
    no_files: list[str] = []
    for entry in files_below(root):
        path = Path(entry.path)
        if path.suffix != ".txt":
            continue
        split = _SPLIT_NAME.fullmatch(path.stem)
        if not entry.is_file:
            no_files += [path.stem] * bool(part.form.fullmatch(path.stem) or split)
        elif part.form.fullmatch(path.stem):
            labels = _holds_labels(path)
            if labels is None:
                blank.append(path)
            else:
                _enter(files.labels if labels else files.recordings, path.stem, path, root)
        elif other.form.fullmatch(path.stem):
            others.add(path.stem)
        elif split and _is_of(part, path):
            _enter(files.splits, _BENCHMARKS[split[1].lower()], path, root)
    for path in blank:  # a recording without frames, or labels without actions: whichever there is none of
        _enter(files.labels if path.stem in files.recordings else files.recordings, path.stem, path, root)
    hint = f": it holds the other part, use `hiclr prepare {other.kind}`" if others else ""
    if not files.recordings:
        raise ValueError(f"no recordings of {part.kind} ({part.example}, ...) below {root}{hint}")
    if not files.labels:
        raise ValueError(
            f"no label files of {part.kind} ({part.example}, ... with lines class,first,last,confidence) below {root}: "
            "they come apart from the recordings, unpack them below this folder too"
        )
    return files._replace(others=tuple(sorted(others)), no_files=tuple(sorted(no_files)))


def _enter(files: dict[str, Path], name: str, path: Path, root: Path) -> None:
    if name in files:
        raise ValueError(f"{name} occurs twice below {root}: {files[name]} and {path}: keep one")
    files[name] = path


def _holds_labels(path: Path) -> bool | None:
    """Whether numbers are separated by commas, as only in label files; None for a blank file."""
    with path.open("rb") as stream:
        lines = stream.read(1 << 12).strip().splitlines()
    return b"," in lines[0] if lines else None


def _is_of(part: _Part, split_file: Path) -> bool:
    return any(part.form.fullmatch(name) for side in read_pku_split(split_file) for name in side)


def _sides(files: Mapping[str, Path], part: _Part) -> Sides:
    sides = {}
    for benchmark in part.split_files:
        if benchmark in files:
            train, test = read_pku_split(files[benchmark])
            sides[benchmark] = dict.fromkeys(train, "train") | dict.fromkeys(test, "test")
    return sides


def _about_sides(sides: Sides, part: _Part, recordings: Sequence[str]) -> Iterator[str]:
    for benchmark, file_name in part.split_files.items():
        if benchmark not in sides:
            yield (
                f"no split file {file_name} was found, so there is no benchmark {benchmark}: "
                "to evaluate on it, put the owners' file into the folder and prepare it again"
            )
            continue
        neither = [name for name in recordings if name not in sides[benchmark]]
        if neither:
            yield f"{count(neither, 'recording')} on no side of {benchmark}: {some(neither)}"


# --- class names, in the owners' order (long ones shortened) ----------------------------------------------------------


PKU_CLASSES = listed("""
    bow; brushing hair; brushing teeth; check time (from watch); cheer up; clapping; cross hands in front; drink water;
    drop; eat meal/snack; falling; giving something to other person; hand waving; handshaking; hopping;
    hugging other person; jump up; kicking other person; kicking something; make a phone call/answer phone;
    pat on back of other person; pickup; playing with phone/tablet; point finger at the other person;
    pointing to something with finger; punching/slapping other person; pushing other person; put on a hat/cap;
    put something inside pocket; reading; rub two hands together; salute; sitting down; standing up;
    take off a hat/cap; take off glasses; take off jacket; take out something from pocket; taking a selfie;
    tear up paper; throw; touch back (backache); touch chest (stomachache/heart pain); touch head (headache);
    touch neck (neckache); typing on a keyboard; use a fan/feeling warm; wear jacket; wear on glasses; wipe face;
    writing
""")
