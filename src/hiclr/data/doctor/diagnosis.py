"""The outcome of an examination: as an object, as JSON, as tables on the screen."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import shorten
from typing import Any

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from hiclr.data.doctor.findings import Checkup, Finding, Severity
from hiclr.data.opening import PREPARED

SCHEMA = 1
_ORDER: tuple[Severity, ...] = ("spoils", "look", "fine")
_STYLES: dict[Severity, str] = {"spoils": "bold red", "look": "yellow", "fine": "dim"}
_NEXT = 3  # things worth doing
_SHOWN = 3  # names of a finding on the screen
_WIDTH = 100  # letters of each: a group of duplicates may be long
_SMALL = 5000  # recordings, up to which the recipe for small data does better than the paper's settings


@dataclass(frozen=True)
class Diagnosis:
    """What was found.

    Args:
        path: what was examined.
        kind: what it was taken for.
        corpus: its name and what is known of it (see `to_dict`); empty where it could not be opened.
        counts: see `to_dict`.
        findings: the worst first.
        next: one to three things worth doing next.
        notes: what the corpus' reader says it left out and why.
        options: with which it was opened.
    """

    path: Path
    kind: str
    findings: tuple[Finding, ...]
    next: tuple[str, ...]
    corpus: Mapping[str, Any] = field(default_factory=dict)
    counts: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, checkup: Checkup, findings: Sequence[Finding]) -> Diagnosis:
        """Puts together what was found in data that could be opened."""
        worst_first = tuple(sorted(findings, key=lambda finding: _ORDER.index(finding.severity)))
        corpus, frames = checkup.corpus, checkup.recorded[checkup.usable]
        known = {
            "name": corpus.name,
            "synthetic": corpus.synthetic,
            "skeleton": corpus.skeleton.name,
            "joints": corpus.skeleton.num_joints,
            "bodies": corpus.bodies,
            "recordings": len(corpus.samples),
            "usable": len(checkup.used),
            "frames": {"min": int(frames.min()), "median": float(frames.median()), "max": int(frames.max())}
            if len(frames)
            else None,
        }
        return cls(
            checkup.path,
            checkup.kind,
            worst_first,
            tuple(_next(checkup, worst_first)),
            known,
            _counts(checkup),
            corpus.notes,
            {option: str(value) for option, value in checkup.options.items()},
        )

    @classmethod
    def unopened(cls, path: Path, kind: str, why: str) -> Diagnosis:
        """The diagnosis of data that cannot be opened, for a reason that says the way out."""
        return cls(path, kind, (Finding(f"cannot be used: {why}", 1, "spoils", advice=why),), (why,))

    @property
    def spoils(self) -> bool:
        """Whether something would spoil a result."""
        return any(finding.severity == "spoils" for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """The diagnosis in plain containers, for JSON.

        Keys, none of which is ever left out:

        - `schema`: 1. `path`, `kind`: texts. `options`: {name: text}. `spoils`: whether something would spoil a result.
        - `corpus`: {} where it could not be opened, else `name`, `synthetic`, `skeleton`, `joints` (V), `bodies` (M),
          `recordings` (N), `usable` (those that preparation keeps), `frames` ({min, median, max} in which usable ones
          show their first body; null where there are none).
        - `counts` of the usable recordings; {} where it could not be opened, else
          `class`: [{label, name, count}], one per class;
          `subject`, `camera`, `setup`: [{value, count}], empty where unknown;
          `benchmark`: [{name, train, test, unused, published ([train, test] or null), classes ([train, test]),
          subjects ([train, test])}].
        - `findings`, the worst first: [{what, count, severity ("spoils", "look", "fine"), names (all), done, advice}].
        - `notes`, `next`: lists of sentences.
        """
        return {
            "schema": SCHEMA,
            "path": str(self.path),
            "kind": self.kind,
            "options": dict(self.options),
            "spoils": self.spoils,
            "corpus": dict(self.corpus),
            "counts": dict(self.counts),
            "findings": [finding.to_dict() for finding in self.findings],
            "notes": list(self.notes),
            "next": list(self.next),
        }

    def print(self, console: Console) -> None:
        """Shows it as tables; what is long is shortened."""
        for part in (*self._head(), *self._tables(), *self._foot()):
            console.print(part, soft_wrap=isinstance(part, Text))  # so that commands can be copied whole

    def _head(self) -> Iterator[Text]:
        what = "a prepared folder" if self.kind == PREPARED else f"read as {self.kind}"
        options = "".join(f", {option} {value}" for option, value in self.options.items())
        yield Text.assemble((str(self.path), "bold"), f", {what}{options}")
        if not self.corpus:
            return
        known, frames = self.corpus, self.corpus["frames"]
        simulated = "simulated " * known["synthetic"]
        bodies = "1 body" if known["bodies"] == 1 else f"up to {known['bodies']} bodies"
        yield Text(
            f"{known['name']}: {known['recordings']:,} {simulated}recordings, {known['usable']:,} of them usable"
        )
        yield Text(
            f"{known['joints']} joints ({known['skeleton']}), {bodies}"
            + (f", {frames['min']:,} to {frames['max']:,} frames (median {frames['median']:,.0f})" if frames else "")
        )

    def _tables(self) -> Iterator[Table]:
        if self.counts:
            yield _table_of_counts(self.counts)
        if self.counts and self.counts["benchmark"]:
            yield _table_of_benchmarks(self.counts["benchmark"])
        if self.findings:
            yield _table_of_findings(self.findings, self.kind == PREPARED)

    def _foot(self) -> Iterator[Text]:
        for note in self.notes:
            yield Text(f"Note: {note}", style="dim")
        verdict = "Something here would spoil a result." if self.spoils else "Nothing here would spoil a result."
        yield Text(verdict, style=_STYLES["spoils"] if self.spoils else "bold green")
        for number, sentence in enumerate(self.next, 1):
            yield Text(f"{number}. {sentence}")


# --- what is derived ----------------------------------------------------------------------------------------------


def _next(checkup: Checkup, findings: Sequence[Finding]) -> Iterator[str]:
    """The advice of the worst findings, and the step that follows where nothing spoils a result."""
    advice = list(dict.fromkeys(finding.advice for finding in findings if finding.advice))
    if any(finding.severity == "spoils" for finding in findings):
        yield from advice[:_NEXT]
        if checkup.better:
            yield f"Then prepare it: {checkup.command()}"
        return
    if checkup.prepared:
        names = checkup.corpus.benchmarks
        benchmark = "xsub" if "xsub" in names else names[0] if names else "null"
        option = "" if benchmark == "xsub" else f" --data.benchmark {benchmark}"
        recipe = "" if len(checkup.used) > _SMALL else " --config recipes/small.yaml"
        yield f"Train: hiclr pretrain{recipe} --data.root {shlex.quote(str(checkup.path))}{option}"
    else:
        yield f"Prepare it: {checkup.command()}"
    yield from advice[: _NEXT - 1]


def _counts(checkup: Checkup) -> dict[str, Any]:
    corpus, samples = checkup.corpus, checkup.used
    by_label = samples["label"].value_counts()
    return {
        "class": [
            {"label": label, "name": name, "count": int(by_label.get(label, 0))}
            for label, name in enumerate(corpus.class_names)
        ],
        **{column: _values(samples[column]) for column in ("subject", "camera", "setup")},
        "benchmark": [_benchmark(checkup, benchmark) for benchmark in corpus.benchmarks],
    }


def _values(column: pd.Series[Any]) -> list[dict[str, Any]]:
    """How often each value occurs; nothing where none is known."""
    counts = column.value_counts().sort_index()
    if set(counts.index) <= {0, ""}:
        return []
    return [{"value": value, "count": count} for value, count in counts.to_dict().items()]


def _benchmark(checkup: Checkup, benchmark: str) -> dict[str, Any]:
    samples, stated = checkup.used, checkup.corpus.published.get(benchmark)
    train, test = (samples[samples[benchmark].eq(side)] for side in ("train", "test"))
    return {
        "name": benchmark,
        "train": len(train),
        "test": len(test),
        "unused": len(samples) - len(train) - len(test),
        "published": list(stated) if stated else None,
        "classes": [train["label"].nunique(), test["label"].nunique()],
        "subjects": [len(_values(side["subject"])) for side in (train, test)],
    }


# --- tables -------------------------------------------------------------------------------------------------------


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title_justify="left")
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number == 0 else "right")
    return table


def _table_of_counts(counts: Mapping[str, Any]) -> Table:
    table = _table("recordings of each", "number", "fewest", "median", "most")
    for column in ("class", "subject", "camera", "setup"):
        rows = counts[column]
        if not rows:
            table.add_row(column, "unknown", "", "", "")
            continue
        sizes = pd.Series([row["count"] for row in rows])
        ends = (rows[int(sizes.argmin())], rows[int(sizes.argmax())])
        told = (
            f"{end['count']:,}" + (f" ({end.get('name', end.get('value'))})" if sizes.nunique() > 1 else "")
            for end in ends
        )
        fewest, most = map(Text, told)
        table.add_row(column, f"{len(rows):,}", fewest, f"{sizes.median():,.0f}", most)
    return table


def _table_of_benchmarks(benchmarks: Sequence[Mapping[str, Any]]) -> Table:
    stated = any(one["published"] for one in benchmarks)
    table = _table("benchmark", "train", "test", "unused", *["published"] * stated, "classes", "subjects")
    for one in benchmarks:
        published = ["{:,} / {:,}".format(*one["published"]) if one["published"] else ""] * stated
        pairs = ("{:,} / {:,}".format(*one[key]) if any(one[key]) else "unknown" for key in ("classes", "subjects"))
        sides = (f"{one[key]:,}" for key in ("train", "test", "unused"))
        table.add_row(Text(one["name"]), *sides, *published, *pairs)
    return table


def _table_of_findings(findings: Sequence[Finding], prepared: bool) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("", no_wrap=True)
    table.add_column("found", ratio=7)
    table.add_column("number", justify="right", no_wrap=True)
    table.add_column("what was done" if prepared else "what prepare does", ratio=3)
    for finding in findings:
        found = Text(finding.what)
        if finding.names:
            hidden = len(finding.names) - _SHOWN
            more = f" and {hidden:,} more" if hidden > 0 else ""
            shown = "; ".join(shorten(name, _WIDTH, placeholder=" ...") for name in finding.names[:_SHOWN])
            found.append(f"\n{shown}{more}", style="dim")
        style = _STYLES[finding.severity]
        table.add_row(Text(finding.severity, style=style), found, f"{finding.count:,}", Text(finding.done))
    return table
