"""What is wrong with the recordings of a corpus; `splits` looks at how they are counted and divided."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from hiclr.data.corpora.base import Corpus
from hiclr.data.opening import PREPARED
from hiclr.data.recordings.base import FARTHEST

Severity = Literal["spoils", "look", "fine"]

LOST = 0.02  # part of the recordings that may be useless before a result suffers
FEW = 3  # recordings that may be useless however small the data
ODD = 0.2  # part of a recording's frames with impossible bones from which it is named
FROZEN = 15  # frames, half a second of a Kinect
BODY_SIZE = 0.3, 3.0  # metres; a body's largest extent: a crouching child, a tall man who reaches up
NO_SIZE = 0.03  # metres; smaller than a hand
_LEFT_OUT = "left out, named in about.json"


@dataclass(frozen=True)
class Finding:
    """Something worth knowing about the data.

    Args:
        what: in a few words.
        count: how many recordings it concerns, or of what else `what` speaks of (classes, subjects, files).
        severity: "spoils" a result, have a "look", or "fine": preparation deals with it.
        names: which ones, all of them.
        done: what `prepare` does with them, or did.
        advice: what to do about it, "" where nothing need be done.
    """

    what: str
    count: int
    severity: Severity
    names: tuple[str, ...] = ()
    done: str = ""
    advice: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain containers."""
        return asdict(self) | {"names": list(self.names)}


@dataclass(frozen=True, eq=False)
class Checkup:
    """A corpus and what was seen in it.

    Args:
        path: what was examined.
        kind: what it was taken for.
        corpus: N recordings.
        facts: N rows, see `all_facts`.
        options: with which the corpus was opened.
    """

    path: Path
    kind: str
    corpus: Corpus
    facts: pd.DataFrame
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def prepared(self) -> bool:
        """Whether a prepared folder is examined."""
        return self.kind == PREPARED

    @cached_property
    def usable(self) -> pd.Series[bool]:
        """Which recordings preparation keeps (bodies in file order), (N,)."""
        return self.facts["fault"].eq("") & self.facts["broken"].eq(0) & self.facts["length"].gt(0)

    @cached_property
    def used(self) -> pd.DataFrame:
        """The rows of `corpus.samples` that preparation keeps."""
        return self.corpus.samples[self.usable]

    @cached_property
    def recorded(self) -> pd.Series[int]:
        """Frames in which each recording shows its first body, before any resampling, (N,)."""
        return self.corpus.samples["length"] if self.prepared else self.facts["length"]

    @cached_property
    def scale(self) -> float:
        """Metres, size of the usual body; 0 where sizes say nothing."""
        return 0.0 if self.corpus.planar or not len(self.used) else float(self.facts["size"][self.usable].median())

    def names(self, rows: pd.Series[bool]) -> tuple[str, ...]:
        """Of some recordings."""
        return tuple(self.corpus.samples["name"][rows])

    def done(self, by_prepare: str) -> str:
        """What is done with raw data; prepared data is used as it is."""
        return "used as it is" if self.prepared else by_prepare

    @cached_property
    def up(self) -> str:
        """The axis that points up in most recordings, "" where there is none."""
        axes = self.facts["up"][self.usable].value_counts()
        return str(axes.index[0]) if len(axes) and axes.iloc[0] > len(self.used) / 2 else ""

    @cached_property
    def better(self) -> dict[str, str]:
        """Options of `hiclr prepare clips` that these clips ask for."""
        if self.kind != "clips":
            return {}
        units = {"millimetres?": "mm", "centimetres?": "cm"}.get(unit_of(self.scale))
        asked = {"units": units if "units" not in self.options else None}
        up = {"-y": "-y", "z": "z"} if self.options.get("up", "y") == "y" else {"-y": "y"}
        asked["up"] = up.get(self.up)
        known = len(self.corpus.samples["subject"].unique()) > 1
        asked["split_by"] = "subject" if known and not self.corpus.benchmarks else None
        return {option: value for option, value in asked.items() if value}

    def command(self, more: Mapping[str, str] | None = None) -> str:
        """The command that prepares this data, with the options it was opened with, those it asks for, and more."""
        if self.kind == "synthetic":
            return "hiclr prepare synthetic OUT"  # simulates as well
        options = {**self.options, **self.better, **(more or {})}
        stated = [f"--{key}={value}" for key, value in options.items()]  # "=", for a value may begin with "-"
        return shlex.join(["hiclr", "prepare", self.kind, str(self.path), f"data/{self.corpus.name}", *stated])


def about_recordings(checkup: Checkup) -> Iterator[Finding]:
    """What is wrong with single recordings."""
    yield from _lost(checkup)
    yield from _thin(checkup)
    yield from _bodies(checkup)
    yield from _sizes(checkup)
    yield from _directions(checkup)
    yield from _duplicates(checkup)


def _lost(checkup: Checkup) -> Iterator[Finding]:
    """Recordings that cannot be used."""
    facts, size = checkup.facts, len(checkup.facts)
    unread, broken = facts["fault"].ne(""), facts["broken"].gt(0)
    nobody = ~checkup.usable & ~unread & ~broken
    severity: Severity = "spoils" if (~checkup.usable).sum() > max(LOST * size, FEW) else "look"
    done = checkup.done(_LEFT_OUT)
    if unread.any():
        empty = sum(file.is_file() and not file.stat().st_size for file in map(Path, checkup.corpus.files))
        reasons = tuple(
            fault if name in fault else f"{name}: {fault}"
            for name, fault in zip(checkup.names(unread), facts["fault"][unread], strict=True)
        )
        what = "cannot be read" + (f" ({empty} empty)" if empty else "")
        yield Finding(what, int(unread.sum()), severity, reasons, done, "Fetch, repair or remove the damaged files.")
    if broken.any():
        what = f"NaN (or an empty cell), or coordinates beyond {FARTHEST:,.0f} m"
        advice = "Fill the gaps where NaN marks lost joints (e.g. by interpolation): such recordings are left out."
        yield Finding(what, int(broken.sum()), severity, checkup.names(broken), done, advice)
    if nobody.any():
        elsewhere = int((nobody & facts["bodies"].gt(0)).sum())
        advice = f"{elsewhere} of them show another body: --actors motion takes it." if elsewhere else ""
        yield Finding("no (first) body in any frame", int(nobody.sum()), severity, checkup.names(nobody), done, advice)
    skipped = checkup.corpus.meta.get("skipped", []) if checkup.prepared else []
    if skipped:
        yield Finding(
            "left out when it was prepared",
            len(skipped),
            "spoils" if len(skipped) > max(LOST * (size + len(skipped)), FEW) else "look",
            tuple(f"{one['name']}: {one['reason']}" for one in skipped),
            "left out",
            "Repair those that were left out, or remove them, and prepare it again.",
        )


def _thin(checkup: Checkup) -> Iterator[Finding]:
    """Recordings that show little."""
    facts, recorded = checkup.facts, checkup.recorded
    short = checkup.usable & recorded.eq(1)
    if short.any():
        yield Finding("one frame only", int(short.sum()), "look", checkup.names(short), "repeated in all frames")
    gaps = checkup.usable & facts["length"].lt(facts["frames"])
    if gaps.any() and not checkup.prepared:
        done = "as many dropped at the end"
        yield Finding("frames without the first body", int(gaps.sum()), "fine", checkup.names(gaps), done)
    pace = recorded / facts["length"].clip(lower=1)  # frames of the recording to one of the array
    still = facts["still"].eq(facts["length"]) | ((facts["still"] - 1) * pace).ge(FROZEN - 1)
    frozen = checkup.usable & recorded.gt(1) & still
    if frozen.any():
        what = f"frozen: no movement in {FROZEN} frames or at all"
        advice = "Look at the frozen ones: the sensor repeated its last guess."
        yield Finding(what, int(frozen.sum()), "look", checkup.names(frozen), checkup.done("nothing"), advice)


def _bodies(checkup: Checkup) -> Iterator[Finding]:
    """Recordings with too many bodies, or with bodies that change places."""
    facts, room = checkup.facts, checkup.corpus.bodies
    crowd = checkup.usable & facts["bodies"].gt(room)
    if crowd.any():
        what = f"more than {room} {'body' if room == 1 else 'bodies'}"
        yield Finding(what, int(crowd.sum()), "fine", checkup.names(crowd), f"the first {room} in file order kept")
    switched = checkup.usable & facts["switches"].gt(0)
    if switched.any():
        planar = checkup.corpus.planar  # there "motion" has no metres to go by
        advice = "" if planar else f"Undo the body switches: {checkup.command({'actors': 'motion'})}"
        done = "nothing in file order"
        yield Finding("bodies change places", int(switched.sum()), "look", checkup.names(switched), done, advice)


def _sizes(checkup: Checkup) -> Iterator[Finding]:
    """Bodies and bones of impossible size; wrong units are one finding, not one a recording."""
    if not checkup.scale:
        return
    facts, (smallest, largest) = checkup.facts, BODY_SIZE
    if not smallest <= checkup.scale <= largest:
        wrong = checkup.scale > largest or checkup.scale < NO_SIZE
        yield Finding(
            f"bodies are {_told(checkup.scale)} m across: {unit_of(checkup.scale)}",
            int(checkup.usable.sum()),
            "spoils" if wrong else "look",
            (),
            checkup.done("taken as metres"),
            _units_advice(checkup),
        )
        return
    strange = checkup.usable & ~facts["size"].between(smallest, largest)
    if strange.any():
        what = f"the body is not {smallest:g} to {largest:g} m across"
        yield Finding(what, int(strange.sum()), "look", checkup.names(strange), checkup.done("nothing"))
    odd = checkup.usable & facts["odd"].gt(ODD)
    if odd.any():
        what = f"impossible bone lengths in over {ODD:.0%} of the frames"
        advice = "Look at those with impossible bones: joints were lost or taken for others."
        yield Finding(what, int(odd.sum()), "look", checkup.names(odd), checkup.done("nothing"), advice)


def _told(metres: float) -> str:
    return f"{metres:,.0f}" if metres >= 10 else f"{metres:.2g}"


def unit_of(scale: float) -> str:
    """What the usual size of bodies, in metres, says about their units."""
    if BODY_SIZE[0] <= scale <= BODY_SIZE[1]:
        return "metres"
    if 300 <= scale <= 3000:
        return "millimetres?"
    return "centimetres?" if 30 <= scale <= 300 else "no metres"


def _units_advice(checkup: Checkup) -> str:
    if "units" in checkup.better:
        return f"State the units: --units={checkup.better['units']}."
    if checkup.kind == "npz":
        return "State metres per unit in the file, as its key `scale`."
    return "Give coordinates in metres: augmentations and checks count on them."


def _directions(checkup: Checkup) -> Iterator[Finding]:
    """Bodies that do not stand along y, about which preparation turns them."""
    if checkup.up in ("", "y"):
        return
    rows = checkup.usable & checkup.facts["up"].eq(checkup.up)
    what = "bodies are upside down" if checkup.up == "-y" else f"bodies lie along {checkup.up.strip('-')}"
    advice = "Turn the data so that y points up: preparation and augmentations count on it."
    if "up" in checkup.better:
        advice = f"Say which axis points up: --up={checkup.better['up']}."
    severity: Severity = "spoils" if checkup.up == "-y" else "look"  # people lie, but hardly stand on their heads
    yield Finding(what, int(rows.sum()), severity, checkup.names(rows), checkup.done("y is taken as up"), advice)


def _duplicates(checkup: Checkup) -> Iterator[Finding]:
    """The same recording under two names, and whether that crosses a benchmark."""
    digest = checkup.facts["digest"].where(checkup.usable, "")
    doubles = checkup.used[digest[checkup.usable].duplicated(keep=False)]
    if not len(doubles):
        return
    groups = [group for _, group in doubles.groupby(digest[doubles.index], sort=False)]
    crossed = [
        benchmark
        for benchmark in checkup.corpus.benchmarks
        if any({"train", "test"} <= set(group[benchmark]) for group in groups)
    ]
    quarrels = sum(group["label"].nunique() > 1 for group in groups)
    what = "duplicates" + (f" across train and test of {', '.join(crossed)}" if crossed else "")
    yield Finding(
        what + (f", {quarrels} with several labels" if quarrels else ""),
        sum(len(group) - 1 for group in groups),
        "spoils" if crossed else "look",
        tuple(" = ".join(group["name"]) for group in groups),
        checkup.done("nothing: all are kept"),
        f"Keep one of each {'pair' if np.max([len(group) for group in groups]) == 2 else 'group'} of duplicates.",
    )
