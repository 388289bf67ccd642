"""The tables of the page: accuracy, every result, what differs between the runs, data, commands; plain containers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from hiclr.data.folder import PreparedFolder
from hiclr.provenance import file_hash
from hiclr.reporting.gathering import Encoder, Gathered, Result
from hiclr.reporting.views import VIEWS, named_views
from hiclr.skeleton import Skeleton

_NAMES = {"linear": "linear", "knn": "kNN", "finetune": "fine-tuned"}
_NOT_SETTINGS = (
    *("data", "options", "command", "versions", "git_revision", "machine", "repeatable", "stream_seed"),
    *("pretraining", "checkpoint"),
)
_SIDES = ("train", "test")

Table = dict[str, Any]


def accuracy(gathered: Gathered) -> list[Table]:
    """A table for each data measured on: a row for each encoder, a column for each protocol; last epochs only."""
    first: dict[tuple[Any, ...], Result] = {}
    for result in ([gathered.main] if gathered.main else []) + gathered.results:
        first.setdefault(result.data, result)
    return [_accuracy(gathered, result) for result in first.values()]


def _accuracy(gathered: Gathered, first: Result) -> Table:
    here = {
        encoder: results
        for encoder in gathered.encoders
        if (results := [result for result in encoder.results if result.data == first.data])
    }
    kinds = _kinds(gathered.results)
    columns = _columns({result: kinds[result] for results in here.values() for result in results})
    rows: list[Table] = [
        {
            "name": encoder.name,
            "stream": encoder.stream,
            "seeds": len(encoder.seeds),
            "subject": encoder is gathered.subject,
            "cells": [_cell(results, column, kinds) for column in columns],
        }
        for encoder, results in here.items()
    ]
    facts = first.facts
    return {
        "data": f"{facts['data']['corpus']}, {facts['data']['benchmark']}",
        "synthetic": bool(facts["data"].get("synthetic")),
        "chance": f"{facts['chance']:.1f}",
        "columns": [column["label"] for column in columns],
        "rows": rows,
        "test_sequences": facts["test_sequences"],
        "one_sequence": f"{100 / max(facts['test_sequences'], 1):.2f}",
        "streams": len({encoder.stream for encoder in here}) > 1,
        "spread": any(cell["count"] > 1 for row in rows for cell in row["cells"]),
    }


def _kinds(results: Sequence[Result]) -> dict[Result, str]:
    """What a result shares with all others of its column: protocol and settings; an ensemble those of what it fuses."""
    single = {result: _kind(result) for result in results if not result.fused}
    by_file = {file_hash(result.path): kind for result, kind in single.items()}
    kinds = dict(single)
    for result in results:
        if result.fused:
            parts = {by_file.get(part.get("sha256")) for part in result.facts["results"]}
            home = parts.pop() if len(parts) == 1 else None
            kinds[result] = home or f"{result.fused}, fused"
    return kinds


def _kind(result: Result) -> str:
    return json.dumps([result.protocol, result.settings], sort_keys=True, default=str)


def _columns(kinds: Mapping[Result, str]) -> list[Table]:
    """One for each kind, and one for retrieval; what differs within a protocol stands in the name."""
    first: dict[str, Result] = {}
    for result in sorted(kinds, key=lambda result: (result.fused is not None, result.rank)):
        if result.top1 is not None:
            first.setdefault(kinds[result], result)
    columns: list[Table] = []
    for kind, result in first.items():
        alike = [other for other in first.values() if other.protocol == result.protocol]
        name = kind if result.fused else label(result, alike)
        columns.append({"kind": kind, "retrieval": False, "label": name})
        if result.facts.get("retrieval_map") is not None:
            columns.append({"kind": kind, "retrieval": True, "label": "retrieval mAP"})
    return columns


def label(result: Result, alike: Sequence[Result]) -> str:
    """The protocol, and those of its settings that tell it from its like."""
    settings = result.settings
    name = _NAMES.get(result.protocol, result.protocol)
    if result.protocol == "knn":
        name += f", k = {settings['k'][0]}" if settings.get("k") else ""
    share = settings.get("label_fraction")
    if share is not None:
        name += ", all labels" if share == 1 else f", {100 * share:g} % of the labels"
    twins = [other for other in alike if other.settings.get("label_fraction") == share]
    differing = [key for key in settings if any(other.settings.get(key) != settings[key] for other in twins)]
    return ", ".join([name, *(f"{key} {settings[key]}" for key in differing)])


def _cell(results: Sequence[Result], column: Table, kinds: Mapping[Result, str]) -> Table:
    """Mean and deviation of what stands in a column, each weights and seed once."""
    values: dict[str, float] = {}
    for result in results:
        value = result.facts.get("retrieval_map") if column["retrieval"] else result.top1
        if kinds[result] == column["kind"] and value is not None:
            which = [result.facts.get("checkpoint", {}).get("sha256"), result.facts["settings"]]
            values[json.dumps(which, sort_keys=True, default=str)] = value
    return {"text": mean_and_deviation(list(values.values())), "count": len(values)}


def mean_and_deviation(values: Sequence[float]) -> str:
    """As in "60.2 ± 5.0"; the deviation is that of a sample."""
    if not values:
        return "–"
    spread = f" ± {np.std(values, ddof=1):.1f}" if len(values) > 1 else ""
    return f"{np.mean(values):.1f}{spread}"


def every_result(gathered: Gathered) -> list[Table]:
    """A line for each result, with what was chosen on the test side."""
    return [
        {
            "encoder": encoder.name,
            "stream": encoder.stream,
            "seed": result.facts.get("pretraining", {}).get("seed", "–"),
            "protocol": label(result, []),
            "data": f"{result.facts['data']['corpus']}, {result.facts['data']['benchmark']}",
            "last": "–" if result.top1 is None else f"{result.top1:.2f}",
            "best": "–" if result.best_on_test is None else f"{result.best_on_test:.2f}",
            "path": str(result.path),
        }
        for encoder in gathered.encoders
        for result in sorted(encoder.results, key=lambda result: result.rank)
    ]


def remarks(gathered: Gathered) -> dict[str, list[str]]:
    """What figures must not be quoted without, and the encoders it is said of."""
    said: dict[str, list[str]] = {}
    for encoder in gathered.encoders:
        for result in encoder.results:
            for remark in result.facts.get("remarks", []):
                said.setdefault(str(remark), [])
                if gathered.label(encoder) not in said[str(remark)]:
                    said[str(remark)].append(gathered.label(encoder))
    return said


def configurations(gathered: Gathered) -> tuple[Table, Table]:
    """The settings of each encoder's training: a table of those that differ, and one of those that all share."""
    settings = {gathered.label(encoder): _settings(encoder) for encoder in gathered.encoders if encoder.facts}
    names = list(dict.fromkeys(name for one in settings.values() for name in one))
    rows = {name: [one.get(name, "–") for one in settings.values()] for name in names}
    differ = {name: row for name, row in rows.items() if len(set(row)) > 1}
    shared = {name: row[:1] for name, row in rows.items() if name not in differ}
    return {"heads": list(settings), "rows": differ}, {"heads": [], "rows": shared}


def _settings(encoder: Encoder) -> dict[str, str]:
    facts = {name: value for name, value in encoder.facts.items() if name not in _NOT_SETTINGS}
    learner = dict(facts.pop("learner", {}))
    facts["seed"] = ", ".join(encoder.seeds) or facts.get("seed", "–")
    skeleton = _skeleton(learner)
    if skeleton is not None:
        learner["encoder"] = {**learner["encoder"], "init_args": {**learner["encoder"]["init_args"]}}
        learner["encoder"]["init_args"]["skeleton"] = skeleton.name
        with suppress(ValueError):  # of one's own: their steps are listed
            sets = ", ".join(" + ".join(names) for names in named_views(learner, skeleton))
            learner = {name: value for name, value in learner.items() if name not in VIEWS} | {"views": sets}
    return dict(_flat({**learner, **facts}))


def _skeleton(learner: Mapping[str, Any]) -> Skeleton | None:
    try:
        return Skeleton.from_dict(learner["encoder"]["init_args"]["skeleton"])
    except (AttributeError, LookupError, TypeError, ValueError):
        return None


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    """Nested settings as ("optimizer.lr", "0.1"); an object's class stands under the object's name."""
    for key, value in settings.items():
        name = ".".join(part for part in (prefix, key) if part not in ("", "class_path", "init_args"))
        if isinstance(value, Mapping):
            yield from _flat(value, name)
        else:
            yield name, ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def data_facts(result: Result, folder: PreparedFolder | None) -> dict[str, Any]:
    """What was measured on, as far as the result tells, and more if the prepared folder is there."""
    facts = result.facts
    data = facts["data"]
    known = {
        "corpus": f"{data['corpus']} (synthetic data)" if data.get("synthetic") else data["corpus"],
        "sequences": f"{data.get('sequences', '–')} in {len(facts['top1_per_class'])} classes",
        "benchmark": f"{data['benchmark']}: {facts.get('train_sequences', '–')} to learn from, "
        f"{facts['test_sequences']} to test on",
    }
    if folder is not None:
        about, samples = folder.about, folder.samples
        length = samples["length"].quantile([0.05, 0.5, 0.95]).round().astype(int).tolist()
        known |= {
            "recordings": f"{length[1]} frames (median; {length[0]} to {length[2]} for nine of ten), "
            f"{_bodies(int(samples['bodies'].max()))} at most",
            "prepared": f"{about['frames']} frames of {folder.skeleton.num_joints} joints ({folder.skeleton.name}), "
            f"{_bodies(about['bodies'])}",
            "left out": _left_out(about.get("skipped", [])),
            "mended": "; ".join(
                f"{one['what']} in {one['sequences']}: {one['done']}" for one in about.get("dirty", [])
            ),
            "notes": " ".join(about.get("notes", [])),
            "source": about.get("source", {}).get("citation", ""),
        }
    return {**{name: value for name, value in known.items() if value}, "source hash": data.get("source_hash")}


def _bodies(count: int) -> str:
    return "1 body" if count == 1 else f"{count} bodies"


def _left_out(skipped: Sequence[Mapping[str, Any]]) -> str:
    if not skipped:
        return "nothing"
    shown = "; ".join(f"{one['name']} ({one['reason']})" for one in skipped[:3])
    return f"{len(skipped)} recordings: {shown}{' ...' if len(skipped) > 3 else ''}"


def class_counts(result: Result, folder: PreparedFolder | None) -> dict[str, list[int]] | None:
    """How many sequences of each class are on either side of the benchmark."""
    if folder is None:
        return None
    benchmark, labels = result.facts["data"]["benchmark"], folder.samples["label"].to_numpy()
    sides = folder.samples[benchmark].to_numpy()
    return {side: np.bincount(labels[sides == side], minlength=folder.num_classes).tolist() for side in _SIDES}


def commands(gathered: Gathered) -> list[str]:
    """That made everything, trainings first."""
    made = [run.facts.get("command") for encoder in gathered.encoders for run in encoder.runs]
    for result in gathered.results:
        made += [result.facts.get("pretraining", {}).get("command"), result.facts.get("command")]
    return list(dict.fromkeys(str(command) for command in made if command))


def versions(gathered: Gathered) -> dict[str, str]:
    """What everything was made with, each value once."""
    facts = [result.facts for result in gathered.results]
    facts += [run.facts for encoder in gathered.encoders for run in encoder.runs]
    made: dict[str, dict[str, None]] = {}
    for one in facts:
        said = {**one.get("versions", {}), "git revision": one.get("git_revision"), "machine": one.get("machine")}
        for name, value in said.items():
            made.setdefault(str(name), {})[str(value or "–")] = None
    return {name: ", ".join(values) for name, values in made.items()}
