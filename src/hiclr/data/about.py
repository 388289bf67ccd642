"""What `about.json`, `samples.csv` and the last lines on screen say about a preparation."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from hiclr.data.actors import BRIEF, NEAR, OFTEN_WIDE, STILL, WIDE, WILD, Actors
from hiclr.data.corpora.base import Corpus
from hiclr.data.folder import ABOUT, COLUMNS, SCHEMA


class Kept(NamedTuple):
    """A recording that was prepared: its row in the corpus and what was seen in it."""

    row: int
    length: int  # valid frames
    bodies: int  # kept bodies that are seen at all
    empty: int  # frames without the first body
    late: int  # kept bodies that are absent from the first frame
    crowd: int  # bodies seen beyond those kept


class Skipped(NamedTuple):
    """A recording that was left out."""

    row: int
    reason: str


def source_hash(corpus: Corpus) -> str:
    """Changes with the raw files (as far as the corpus' fingerprint does), the labels and the sides."""
    facts = [corpus.fingerprint, corpus.skeleton.to_dict(), corpus.class_names, corpus.benchmarks, corpus.bodies]
    text = json.dumps(facts) + corpus.samples.to_csv(index=False)
    return hashlib.sha256(text.encode()).hexdigest()


def source_times(files: Sequence[Path | str]) -> str:
    """Tells files that were changed at the same size."""
    digest = hashlib.sha256()
    for file in map(Path, files):
        digest.update(f"{file.name} {file.stat().st_mtime_ns}\n".encode())
    return digest.hexdigest()


def samples_table(corpus: Corpus, kept: Sequence[Kept]) -> pd.DataFrame:
    """The rows of `samples.csv`."""
    table = corpus.samples.iloc[[facts.row for facts in kept]].assign(
        length=[facts.length for facts in kept], bodies=[facts.bodies for facts in kept]
    )
    others = [column for column in table.columns if column not in (*COLUMNS, *corpus.benchmarks)]
    return table[[*COLUMNS, *others, *corpus.benchmarks]]


def describe(
    corpus: Corpus, recipe: dict[str, Any], kept: Sequence[Kept], skipped: Sequence[Skipped]
) -> dict[str, Any]:
    """The contents of `about.json`; `recipe` is part of it."""
    joints, table = corpus.skeleton.joint_names, corpus.samples.iloc[[facts.row for facts in kept]]
    left, right = corpus.skeleton.shoulder_pair
    names = corpus.samples["name"]
    return {
        "schema": SCHEMA,
        **recipe,
        "synthetic": corpus.synthetic,
        "skeleton": corpus.skeleton.to_dict(),
        "class_names": list(corpus.class_names),
        "benchmarks": list(corpus.benchmarks),
        "published": {benchmark: list(sides) for benchmark, sides in corpus.published.items()},
        "bodies": corpus.bodies,
        "steps": [
            {"step": "choose actors", "actors": recipe["actors"], "bodies": corpus.bodies, **_CHOICE[recipe["actors"]]},
            {"step": "valid length", "frames": "as many as show body 1, from the start"},
            {"step": "centre", "joint": joints[corpus.skeleton.centre_joint]},
            {"step": "resample", "frames": recipe["frames"], "interpolation": "linear, half-pixel centres"},
            *([] if corpus.planar else [{"step": "face camera", "shoulders": [joints[left], joints[right]]}]),
        ],
        "counts": {
            "recordings": len(names),
            "kept": len(kept),
            "skipped": len(skipped),
            "benchmarks": {
                benchmark: {side: int((table[benchmark] == side).sum()) for side in ("train", "test")}
                for benchmark in corpus.benchmarks
            },
        },
        "dirty": _dirty(kept, recipe["actors"]),
        "skipped": [{"name": str(names.iloc[row]), "reason": reason} for row, reason in skipped],
        "notes": list(corpus.notes),
        "surplus": list(corpus.surplus),
        "source": corpus.meta,
        "tool_version": version("hiclr"),
    }


_CHOICE: dict[Actors, dict[str, Any]] = {
    "file order": {},
    "motion": {
        "join tracks within metres": NEAR,
        "undo switches": True,
        "drop tracks of frames up to": BRIEF,
        "drop tracks wider than height times": WIDE,
        "in a share of frames from": OFTEN_WIDE,
        "drop movement outside square metres": [STILL, WILD],
        "drop frames without body 1": True,
    },
}


def _dirty(kept: Sequence[Kept], actors: Actors) -> list[dict[str, Any]]:
    by_motion = actors == "motion"
    found = {
        "frames without the first body": (
            [facts.empty for facts in kept],
            "dropped" if by_motion else "as many frames dropped at the end, as published",
        ),
        "a body absent from the first frame": ([facts.late for facts in kept], "zero until it appears"),
        "more bodies than are kept": (
            [facts.crowd for facts in kept],
            "pieces of one person joined, noise dropped, most movement kept"
            if by_motion
            else "the first in file order kept",
        ),
        "only one valid frame": ([int(facts.length == 1) for facts in kept], "repeated in all frames"),
    }
    return [
        {"what": what, "sequences": sum(number > 0 for number in numbers), "done": done}
        for what, (numbers, done) in found.items()
        if any(numbers)
    ]


def summary(about: dict[str, Any]) -> Iterator[str]:
    """What was done and left out, in sentences."""
    counts = about["counts"]
    yield f"{about['corpus']}: {counts['kept']} of {counts['recordings']} recordings prepared"
    for skipped in about["skipped"][:5]:
        yield f"  skipped {skipped['name']}: {skipped['reason']}"
    if counts["skipped"] > 5:
        yield f"  ... and {counts['skipped'] - 5} more, all named in {ABOUT}"
    for dirty in about["dirty"]:
        yield f"  {dirty['what']} in {dirty['sequences']} of the sequences: {dirty['done']}"
    yield from about["notes"]
