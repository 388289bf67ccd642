"""The page itself: everything gathered, in one HTML file that needs no network and nothing beside it."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader
from plotly.offline import get_plotlyjs

from hiclr import player
from hiclr.data.folder import PreparedFolder
from hiclr.pages import read_page
from hiclr.provenance import write_whole
from hiclr.reporting import tables
from hiclr.reporting.gathering import Gathered, Result, Run

_PARTS = {
    "accuracy": "Accuracy",
    "data": "Data",
    "curves": "Learning curves",
    "classes": "Classes",
    "map": "Map of the features",
    "answers": "Right and wrong answers",
    "neighbours": "Nearest neighbours",
    "views": "Views in training",
    "settings": "Settings",
}
_PANELS = {  # figures of `metrics.csv` that have a name of their own, in this order
    "info": "contrastive loss",
    "loss": "loss",
    "consistency": "hierarchical consistency",
    "feature_spread": "feature spread (1 even, 0 collapsed)",
    "queue_similarity": "similarity to the queue",
    "lr": "learning rate",
    "sequences_per_second": "sequences per second",
}
_EXPLAINED = {
    "linear": "Linear: a linear classifier, trained on the frozen features of the labelled training sequences.",
    "knn": "kNN: the most similar training sequences vote. mAP: how far in front a search finds those of the class.",
    "finetune": "Fine-tuned: encoder and classifier learn together from labels.",
    "ensemble": "Ensemble: the class scores of several results, added up.",
}
_MATRICES = 20  # results whose confusions the page holds


def write_report(
    path: Path,
    gathered: Gathered,
    folder: PreparedFolder | None,
    looks: Mapping[str, Any],
    title: str | None = None,
    command: str | None = None,
    data_missing: str = "",
) -> None:
    """Writes the page; an interrupted write leaves the old file.

    Args:
        path: the `.html` file to write; its folder is made.
        gathered: runs and results.
        folder: the prepared folder of the subject's results, if it is still there.
        looks: what `looking.look` returned, or {"missing": why}.
        title: of the page; method and corpus when not given.
        command: that repeats everything; those of the runs and results when not given.
        data_missing: why there is no prepared folder.
    """
    text = page(gathered, folder, looks, title, command, data_missing)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, lambda file: file.write_text(text, encoding="utf-8"))


def page(
    gathered: Gathered,
    folder: PreparedFolder | None,
    looks: Mapping[str, Any],
    title: str | None = None,
    command: str | None = None,
    data_missing: str = "",
) -> str:
    """The HTML, see `write_report`."""
    subject = gathered.subject
    main = gathered.main
    matrices = _matrices(gathered, main, folder)
    accuracy = tables.accuracy(gathered)
    curves = _curves(gathered)
    differing, shared = tables.configurations(gathered)
    data = {"curves": curves, "matrices": matrices, "looks": {} if "missing" in looks else looks}
    if main is not None:
        data["classes"] = list(main.facts["top1_per_class"])
    scripts = [get_plotlyjs(), player.script(), read_page("report.js")]
    environment = Environment(loader=PackageLoader("hiclr", "pages"), autoescape=True)
    facts = tables.data_facts(main, folder) if main is not None else {}
    return environment.get_template("report.html").render(
        title=title or _title(gathered, main),
        policy=_policy(scripts),
        style=player.style() + read_page("report.css"),
        synthetic=any(table["synthetic"] for table in accuracy),
        lede=_lede(gathered, main, folder),
        headline=_headline(accuracy),
        parts={anchor: name for anchor, name in _PARTS.items() if anchor != "classes" or matrices},
        tables=accuracy,
        explanations=[
            text for kind, text in _EXPLAINED.items() if any(r.protocol.startswith(kind) for r in gathered.results)
        ],
        remarks=tables.remarks(gathered),
        results=tables.every_result(gathered),
        left_out=gathered.left_out,
        data_rows={name: [value] for name, value in facts.items()},
        data_missing=data_missing,
        curves=curves,
        matrices=matrices,
        looks=looks,
        map_note=_map_note(looks, main),
        answers_note=_answers_note(main, subject.name),
        neighbours_note=_neighbours_note(looks),
        differing=differing,
        shared=shared,
        protocols=_protocols(gathered),
        commands=[command] if command else tables.commands(gathered),
        versions={name: [value] for name, value in tables.versions(gathered).items()},
        data=_json(data),
        scripts=scripts,
    )


# --- words ----------------------------------------------------------------------------------------


def _title(gathered: Gathered, main: Result | None) -> str:
    if main is None:
        return f"{gathered.subject.name}: not measured yet"
    return f"{gathered.subject.name} on {main.facts['data']['corpus']}, {main.facts['data']['benchmark']}"


def _lede(gathered: Gathered, main: Result | None, folder: PreparedFolder | None) -> str:
    """What was measured, on which data, in two sentences."""
    subject = gathered.subject
    if main is None:
        return f"{subject.name}, {subject.stream} stream. Nothing was measured yet."
    facts = main.facts
    joints = f" of {folder.skeleton.num_joints} joints" if folder is not None else ""
    learnt = f"{facts['train_sequences']} sequences to learn from, " if "train_sequences" in facts else ""
    others = len(gathered.encoders) - 1
    beside = (
        f" Beside it: {'; '.join(gathered.label(encoder) for encoder in gathered.encoders if encoder is not subject)}."
        if (0 < others <= 4)
        else f" Beside it: {others} others."
        if others
        else ""
    )
    return (
        f"{subject.name}, {subject.stream} stream. Skeleton sequences{joints} of {facts['data']['corpus']} in "
        f"{len(facts['top1_per_class'])} classes, benchmark {facts['data']['benchmark']}: {learnt}"
        f"{facts['test_sequences']} to test on.{beside}"
    )


def _headline(accuracy: Sequence[tables.Table]) -> list[dict[str, str]]:
    """The figures of the subject, as its row has them."""
    if not accuracy:
        return []
    row = next((row for row in accuracy[0]["rows"] if row["subject"]), accuracy[0]["rows"][0])
    cells = zip(accuracy[0]["columns"], row["cells"], strict=True)
    return [{"label": label, "text": cell["text"]} for label, cell in cells if cell["count"]][:6]


def _map_note(looks: Mapping[str, Any], main: Result | None) -> str:
    if "missing" in looks or "missing" in looks["features"]:
        return ""
    shown, there = len(looks["examples"]), looks["test_sequences"]
    which = (
        f"All {there} test sequences" if shown == there else f"{shown} of the {there} test sequences, of all classes"
    )
    first, second = looks["features"]["explained"]
    return (
        f"{which}, by their features in two dimensions, made from directions alone (cosine). PCA keeps distances as "
        f"far as two axes can ({first} and {second} % of the variance); t-SNE keeps neighbours together, distances "
        "between groups mean nothing."
    )


def _answers_note(main: Result | None, name: str) -> str:
    if main is None:
        return ""
    how = "its share of the neighbours' votes" if main.protocol == "knn" else "the softmax of the classifier's scores"
    return f"Answers of the {main.protocol} evaluation of {name}. The probability is {how}; nothing has calibrated it."


def _neighbours_note(looks: Mapping[str, Any]) -> str:
    if "missing" in looks or "missing" in looks["neighbours"]:
        return ""
    near = looks["neighbours"]
    bank = f"{near['searched']} of the {near['training']}" if near["searched"] < near["training"] else near["training"]
    return (
        f"A test sequence, and the training sequences whose features are most like its own (cosine; {bank} were "
        f"searched). Of the sequences on the map, {near['first_right']:.0f} % have a nearest neighbour of their class."
    )


def _protocols(gathered: Gathered) -> dict[str, dict[str, list[str]]]:
    said: dict[str, dict[str, list[str]]] = {}
    for result in gathered.results:
        for name, value in result.facts["settings"].items():
            values = said.setdefault(result.protocol, {}).setdefault(name, [""])
            known = [part for part in values[0].split("; ") if part]
            values[0] = "; ".join(dict.fromkeys([*known, str(value)]))
    return said


# --- what the script draws ------------------------------------------------------------------------


def _matrices(gathered: Gathered, main: Result | None, folder: PreparedFolder | None) -> list[dict[str, Any]]:
    """Counts of each result on the subject's data, the subject's first."""
    if main is None:
        return []
    subject = gathered.subject
    encoders = [subject, *(encoder for encoder in gathered.encoders if encoder is not subject)]
    counts = tables.class_counts(main, folder)
    return [
        {
            "label": f"{encoder.name}, {encoder.stream}: {tables.label(result, [])}",
            "counts": result.facts["confusion"],
            "learnt": counts and counts["train"],
        }
        for encoder in encoders
        for result in sorted(encoder.results, key=lambda result: result.rank)
        if result.data == main.data
    ][:_MATRICES]


def _curves(gathered: Gathered) -> list[dict[str, Any]]:
    """A panel for each figure over the epochs, with a line for each run that has it."""
    panels: dict[str, dict[str, Any]] = {}
    for colour, encoder in enumerate(gathered.encoders):
        for run in encoder.runs:
            _add(panels, run, gathered.label(encoder), colour, "")
        for result in encoder.results:
            if result.protocol == "linear" and len(result.facts.get("top1_by_epoch") or {}) > 1:
                panel = "linear classifier: test accuracy, %"
                by_epoch = result.facts["top1_by_epoch"].items()
                line = {"name": gathered.label(encoder), "colour": colour, "x": [int(x) for x, _ in by_epoch]}
                panels.setdefault(panel, {"title": panel, "lines": []})["lines"].append(
                    {**line, "y": [round(y, 2) for _, y in by_epoch]}
                )
    for place, run in enumerate(gathered.finetunings):
        _add(panels, run, run.folder.name, len(gathered.encoders) + place, "fine-tuning: ")
    order = [*_PANELS.values(), *panels]
    return sorted(panels.values(), key=lambda panel: order.index(panel["title"]))


def _add(panels: dict[str, dict[str, Any]], run: Run, name: str, colour: int, what: str) -> None:
    if run.metrics is None:
        return
    same = "info" in run.metrics and "loss" in run.metrics and run.metrics["info"].equals(run.metrics["loss"])
    for column in run.metrics.columns.drop(["epoch", "step", *(["loss"] if same else [])], errors="ignore"):
        values = pd.to_numeric(run.metrics[column], errors="coerce")
        known = values.notna() & ~values.isin([float("inf"), float("-inf")])
        title = what + _PANELS.get(column, column)
        line = {"name": name, "colour": colour, "x": run.metrics.loc[known, "epoch"].tolist()}
        if known.any():
            y = [float(f"{value:.5g}") for value in values[known]]
            panels.setdefault(title, {"title": title, "lines": []})["lines"].append({**line, "y": y})


def _json(data: Mapping[str, Any]) -> str:
    """For a script element: no name in it can end the element."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _policy(scripts: Sequence[str]) -> str:
    """The browser too sees to it that nothing is fetched, and that no scripts run but these."""
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    allowed = " ".join(f"'sha256-{one}'" for one in hashes)
    return f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:"
