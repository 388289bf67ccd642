"""Whether a corpus is whole, and whether its benchmarks measure what their names say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from hiclr.data.doctor.findings import Checkup, Finding, Severity

_FETCH = "Fetch what is missing, or compare with no published number."

# what a benchmark keeps apart; others of the form x<column> keep that column apart
APART = {"xsub": "subject", "xview": "camera", "xset": "setup"}


def about_corpus(checkup: Checkup) -> Iterator[Finding]:
    """What is wrong with the corpus as a whole."""
    yield from _files(checkup)
    yield from _classes(checkup)
    for benchmark in checkup.corpus.benchmarks:
        yield from _published(checkup, benchmark)
        yield from _sides(checkup, benchmark)
        yield from _apart(checkup, benchmark)


def kept_apart(benchmark: str, samples: pd.DataFrame) -> str | None:
    """The column whose values a benchmark is to keep apart, None where its name tells none."""
    column = APART.get(benchmark, benchmark[1:] if benchmark.startswith("x") else "")
    return column if column in samples else None


def known_values(column: pd.Series[Any]) -> set[object]:
    """Distinct values of a column but for 0 and "", which stand for unknown."""
    return set(column.dropna()) - {0, ""}


def _files(checkup: Checkup) -> Iterator[Finding]:
    absent, surplus = checkup.corpus.absent, checkup.corpus.surplus
    if absent:
        severity: Severity = "spoils" if checkup.corpus.published else "look"
        yield Finding("missing: listed but not there", len(absent), severity, absent, "nothing", _FETCH)
    if surplus:
        yield Finding("surplus: there but not used", len(surplus), "look", surplus, "left out")


def _classes(checkup: Checkup) -> Iterator[Finding]:
    names = checkup.corpus.class_names
    there = set(checkup.used["label"])
    if checkup.corpus.benchmarks and len(there) == 1:
        advice = "Check the labels: with one class there is nothing to recognise."
        yield Finding("all labels are of one class", len(checkup.used), "spoils", (names[there.pop()],), "", advice)
        return
    empty = tuple(name for label, name in enumerate(names) if label not in there)
    if empty:
        yield Finding("classes without a recording", len(empty), "look", empty, "kept as classes")
    if not checkup.corpus.benchmarks:
        what = "no benchmark: fit for pre-training, not for evaluation"
        advice = ""
        if checkup.kind == "clips":
            advice = "For evaluation, state train and test in a column of the table."
            if "table" not in checkup.options:
                advice = "For evaluation, tell labels and subjects: --table=FILE.csv --split_by=subject."
            if "split_by" in checkup.better:
                advice = "For evaluation, divide it: --split_by=subject."
        if checkup.kind == "npz":
            advice = "For evaluation, add split_<benchmark> (N,) to the file: 1 train, 0 test, -1 unused."
        yield Finding(what, len(checkup.used), "look", (), "", advice)


def _published(checkup: Checkup, benchmark: str) -> Iterator[Finding]:
    stated = checkup.corpus.published.get(benchmark)
    found = tuple(int(checkup.used[benchmark].eq(side).sum()) for side in ("train", "test"))
    if stated is None or found == tuple(stated):
        return
    advice = _FETCH
    if sum(found) > sum(stated) and checkup.kind in ("ntu60", "ntu120"):
        advice = f"Leave out the samples on the owners' list: {checkup.command({'missing': 'LIST.txt'})}"
    yield Finding(
        f"{benchmark}: {found[0]:,} / {found[1]:,} sequences, published {stated[0]:,} / {stated[1]:,}",
        abs(sum(found) - sum(stated)),
        "spoils",
        (),
        "",
        advice,
    )


def _sides(checkup: Checkup, benchmark: str) -> Iterator[Finding]:
    """Sides without sequences, classes that only one side has."""
    names, samples = checkup.corpus.class_names, checkup.used
    classes = {side: set(samples["label"][samples[benchmark].eq(side)]) for side in ("train", "test")}
    for side, there in classes.items():
        if not there:
            advice = f"Choose another benchmark than {benchmark}."
            yield Finding(f"{benchmark}: no {side} sequences", 0, "spoils", (), "", advice)
    if not all(classes.values()):
        return
    unlearnt, untested = classes["test"] - classes["train"], classes["train"] - classes["test"]
    if unlearnt:
        advice = f"Leave the classes that {benchmark} only tests out, or add recordings of them to its training side."
        told = tuple(names[label] for label in sorted(unlearnt))
        yield Finding(f"{benchmark}: classes only in test", len(unlearnt), "spoils", told, "", advice)
    if untested:
        told = tuple(names[label] for label in sorted(untested))
        yield Finding(f"{benchmark}: classes only in train", len(untested), "look", told)


def _apart(checkup: Checkup, benchmark: str) -> Iterator[Finding]:
    """Subjects (cameras, setups) on both sides of what is to keep them apart."""
    samples = checkup.used
    column = kept_apart(benchmark, samples)
    shared = _on_both_sides(samples, benchmark, column or "subject")
    if not shared:
        return
    told = tuple(sorted(map(str, shared)))
    what = f"{benchmark}: {column or 'subject'}s on both sides"
    if column:
        advice = f"Divide {benchmark} anew: no {column} may be on both sides."
        yield Finding(what, len(shared), "spoils", told, "", advice)
    else:
        yield Finding(f"{what}: says little on new people", len(shared), "look", told)


def _on_both_sides(samples: pd.DataFrame, benchmark: str, column: str) -> set[object]:
    train, test = (known_values(samples[column][samples[benchmark].eq(side)]) for side in ("train", "test"))
    return train & test
