"""The result page: one HTML file with its pictures inside, that needs no network, no script and nothing beside it."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from hiclr.plots import confusion_figure, growing_views_figure, learning_curve_figure
from hiclr.skeleton import Skeleton

Result = Mapping[str, Any]

_SAME_DATA = ("corpus", "source_hash", "benchmark", "sequences")  # in which the rows of a page must agree
_NOT_SETTINGS = ("data", "options", "command", "versions", "git_revision", "machine")

_SYNTHETIC = """<p><span class="badge">synthetic data</span></p>
<p>The movements are computed, not recorded: this shows that the tool works, not how well it recognises people.</p>"""

_STYLE = """
:root { color-scheme: light } h1 { line-height: 1.2; margin: 0 0 .5rem }
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff; max-width: 62rem; padding: 1.5rem;
  margin: auto }
h2 { font-size: 1.25rem; margin: 2.5rem 0 .6rem; padding-top: .6rem; border-top: 1px solid #ccc; break-after: avoid }
.badge { padding: .1rem .7rem; border: 2px solid; border-radius: 1rem; color: #9a3d00; font-weight: 600 }
.note, figcaption { color: #444; font-size: .9rem; max-width: 48rem }
caption { text-align: left; font-weight: 600; padding: 1rem 0 .2rem } caption:empty { display: none }
th, td { padding: .3rem 1.5rem .3rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid #ddd }
tr > th:first-child { font-weight: 400 } td, li span { overflow-wrap: anywhere } tr, li, figure { break-inside: avoid }
.accuracy td, .accuracy th + th { text-align: right; font-variant-numeric: tabular-nums }
table { border-collapse: collapse } .accuracy tr:last-child > * { font-weight: 600 } .facts { font-size: .9rem }
figure { margin: 0 } img { width: 100% }
pre { background: #f4f4f4; padding: .6rem .8rem; white-space: pre-wrap; overflow-wrap: anywhere }
ul { columns: 15rem; padding: 0; font-size: .9rem } li { display: flex; gap: 1rem; margin-right: 1.5rem }
li b { font-weight: 400; margin-left: auto } @media print { body { font-size: 10pt; max-width: none; padding: 0 } }
"""


@dataclass(frozen=True)
class Row:
    """An encoder in the accuracy table: its name (each once), what `linear` and what `knn` returned for it."""

    name: str
    linear: Result | None = None
    knn: Result | None = None

    @property
    def results(self) -> tuple[Result, ...]:
        """Those there are, the linear one first."""
        return tuple(result for result in (self.linear, self.knn) if result is not None)


@dataclass(frozen=True, eq=False)
class Picture:
    """A figure, its title, and a sentence that says what is to be seen."""

    title: str
    figure: Figure
    caption: str


def standard_pictures(
    views: Mapping[str, NDArray[np.floating[Any]]], skeleton: Skeleton, metrics: pd.DataFrame, result: Result
) -> list[Picture]:
    """The three pictures of a run: the views of one sequence (3, T, V, M), its `metrics.csv`, a result's confusion."""
    return [
        Picture(
            "One sequence under the growing views",
            growing_views_figure(views, skeleton),
            "Each row adds augmentations to those of the row above; a percentage says at which size a row is drawn.",
        ),
        Picture(
            "Pre-training",
            learning_curve_figure(metrics),
            "It works while the contrastive loss falls and the features stay spread out: near 0 they have collapsed.",
        ),
        Picture(
            "Which action is taken for which",
            confusion_figure(result["confusion"], list(result["top1_per_class"])),
            f"A row says what the test sequences of one action were taken for ({result['protocol']} evaluation); right "
            "answers lie on the diagonal, and a grey row has no test sequence.",
        ),
    ]


def write_report(
    path: Path,
    rows: Sequence[Row],
    pictures: Sequence[Picture],
    frames: int,
    skeleton: Skeleton,
    title: str = "Actions recognised from skeletons",
    command: str | None = None,
) -> None:
    """Writes the result page; an interrupted write leaves the old file.

    Args:
        path: the `.html` file to write; its folder is made.
        rows: the encoders to compare; the last one is what the page is about.
        pictures: in the order in which they are shown.
        frames: T of the prepared sequences.
        skeleton: their joints.
        title: of the page.
        command: that repeats everything; those in the results when not given.

    Raises:
        ValueError: when no row has a result, or two results are of different data.
    """
    results = [result for row in rows for result in row.results]
    _check_same_data(results)
    main = next(row.results[0] for row in reversed(rows) if row.results)
    parts = [
        _head(title, synthetic=any(result["data"]["synthetic"] for result in results)),
        f"<h2>Accuracy</h2>{_accuracy(rows, main)}",
        f"<h2>Data</h2>{_table({'': _data(main, frames, skeleton)})}",
        *(_picture(picture) for picture in pictures),
        f"<h2>Accuracy per action</h2>{_per_class(main)}",
        f"<h2>How to repeat it</h2>{_commands(results, command)}",
        _table({row.name: _pretraining(row) for row in rows}, "Pre-training"),
        _table({row.name: row.linear["settings"] for row in rows if row.linear}, "Linear evaluation"),
        _table({row.name: row.knn["settings"] for row in rows if row.knn}, "Nearest neighbours"),
        _table(
            {"": {**main["versions"], "git revision": main["git_revision"] or "–", "machine": main["machine"]}},
            "Made with",
        ),
        "</body></html>\n",
    ]
    partial = path.with_name(f"{path.name}.partial")
    partial.parent.mkdir(parents=True, exist_ok=True)
    partial.write_text("\n".join(parts), encoding="utf-8")
    partial.replace(path)


def _check_same_data(results: Sequence[Result]) -> None:
    if not results:
        raise ValueError("no row has a result: evaluate an encoder with linear or knn first")
    for fact in _SAME_DATA:
        values = sorted({str(result["data"].get(fact)) for result in results})
        if len(values) > 1:
            raise ValueError(f"a page compares results on the same data: {fact} differs, {' and '.join(values)}")


def _head(title: str, synthetic: bool) -> str:
    # the policy makes the browser too see to it that nothing is fetched or run
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{_text(title)}</title>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>{_STYLE}</style></head>
<body><h1>{_text(title)}</h1>{_SYNTHETIC if synthetic else ""}"""


def _accuracy(rows: Sequence[Row], main: Result) -> str:
    neighbours = sorted({row.knn["settings"]["k"][0] for row in rows if row.knn})
    knn_name = f"kNN, k = {' or '.join(map(str, neighbours))}" if neighbours else "kNN"
    heads = ["", "linear, last epoch", "linear, best on test *", knn_name]
    lines = [_line("chance", [f"{main['chance']:.2f}"] * 3)]
    for row in rows:
        linear, knn = row.linear or {}, row.knn or {}
        values = [linear.get("top1_last_epoch"), linear.get("top1_best_on_test"), knn.get("top1")]
        lines.append(_line(row.name, ["–" if value is None else f"{value:.2f}" for value in values]))
    train, test = main["train_sequences"], main["test_sequences"]
    return f"""<table class="accuracy"><thead><tr><th>{"<th>".join(map(_text, heads))}</thead>{"".join(lines)}</table>
<p class="note">Per cent of the {test} test sequences that are recognised; one sequence is {100 / test:.2f} points.
Linear: a linear classifier, trained on the frozen features of the {train} labelled training sequences; its last epoch
is the result. kNN: the most similar training sequences vote. Neither changes the encoder.</p>
<p class="note">* The best epoch is chosen on the test side, as published figures are: only for comparison with the
literature, not the accuracy to expect on new data.</p>"""


def _data(main: Result, frames: int, skeleton: Skeleton) -> dict[str, Any]:
    data = main["data"]
    return {
        "corpus": f"{data['corpus']} (synthetic data)" if data["synthetic"] else data["corpus"],
        "sequences": data["sequences"],
        "classes": len(main["top1_per_class"]),
        "benchmark": f"{data['benchmark']}: {main['train_sequences']} to train, {main['test_sequences']} to test",
        "a sequence": f"{frames} frames of {skeleton.num_joints} joints ({skeleton.name})",
        "stream": main["stream"],
        "source hash": data["source_hash"],
    }


def _picture(picture: Picture) -> str:
    file = io.BytesIO()
    picture.figure.savefig(file, dpi=200, bbox_inches="tight", pad_inches=0.05, metadata={"Software": None})
    image = base64.b64encode(file.getvalue()).decode("ascii")
    return f"""<h2>{_text(picture.title)}</h2>
<figure><img alt="{_text(picture.title)}" src="data:image/png;base64,{image}">
<figcaption>{_text(picture.caption)}</figcaption></figure>"""


def _per_class(main: Result) -> str:
    shares = zip(main["top1_per_class"].items(), np.sum(main["confusion"], axis=1), strict=True)
    items = [
        f"<li><span>{_text(name)}</span> <b>{f'{share:.2f}' if tested else '–'}</b></li>"
        for (name, share), tested in shares
    ]
    return f"<ul>{''.join(items)}</ul>"


def _commands(results: Sequence[Result], command: str | None) -> str:
    made = [command for result in results for command in (result["pretraining"].get("command"), result["command"])]
    known = [command] if command else dict.fromkeys(filter(None, made))
    return f"<pre>{_text(chr(10).join(known))}</pre>" if known else "<p>Made by calls from Python.</p>"


def _pretraining(row: Row) -> dict[str, str]:
    run = row.results[0]["pretraining"] if row.results else {}
    settings = {**(run.get("options") or {}), **run}
    return _flat({name: value for name, value in settings.items() if name not in _NOT_SETTINGS})


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested settings as {"method.optimizer.lr": "0.1"}; an object's class stands under the object's name."""
    flat: dict[str, str] = {}
    for key, value in settings.items():
        name = ".".join(part for part in (prefix, key) if part not in ("", "class_path", "init_args"))
        flat |= _flat(value, name) if isinstance(value, Mapping) else {name: str(value)}
    return flat


def _table(columns: Mapping[str, Mapping[str, Any]], caption: str = "") -> str:
    """A column of facts for each name that has any; what all share stands once."""
    columns = {name: facts for name, facts in columns.items() if facts}
    names = [name for facts in columns.values() for name in facts]
    values = {name: [str(facts.get(name, "–")) for facts in columns.values()] for name in names}
    shared = {name for name, row in values.items() if len(set(row)) == 1}
    lines = [_line(name, row[:1] if name in shared else row, len(row)) for name, row in values.items()]
    heads = "" if shared == values.keys() else f"<thead><tr><th><th>{'<th>'.join(map(_text, columns))}</thead>"
    return f'<table class="facts"><caption>{_text(caption)}</caption>{heads}{"".join(lines)}</table>' if lines else ""


def _line(name: str, values: Sequence[str], width: int = 0) -> str:
    span = f' colspan="{width}"' if len(values) == 1 < width else ""
    return f"<tr><th>{_text(name)}</th>{''.join(f'<td{span}>{_text(value)}</td>' for value in values)}</tr>"


def _text(value: Any) -> str:
    return html.escape(str(value))
