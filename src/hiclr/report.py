"""The result page: one HTML file with its pictures inside, that needs no network, no script and nothing beside it."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterator, Mapping, Sequence
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

# what of a result says which data it is of: rows of one page must agree
_SAME_DATA = ("corpus", "source_hash", "benchmark", "sequences")
# shown elsewhere on the page than among the settings
_NOT_SETTINGS = ("data", "command", "versions", "git_revision", "machine")
_NOTHING = "–"

_STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff; max-width: 62rem; margin: 0 auto;
  padding: 1.5rem 1.5rem 4rem; }
h1 { font-size: 1.8rem; line-height: 1.2; margin: 0 0 .5rem; }
h2 { font-size: 1.25rem; margin: 2.5rem 0 .6rem; padding-top: .6rem; border-top: 1px solid #ccc; break-after: avoid; }
.badge { display: inline-block; padding: .1rem .7rem; border: 2px solid #9a3d00; border-radius: 1rem; color: #9a3d00;
  background: #fff4ec; font-weight: 600; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; margin: .5rem 0; }
caption { text-align: left; font-weight: 600; padding: .8rem 0 .2rem; break-after: avoid; }
th, td { padding: .3rem 1.2rem .3rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid #ddd; }
th { font-weight: 600; } tbody th { font-weight: 400; } tr { break-inside: avoid; }
.figures td, .figures thead th + th { text-align: right; font-variant-numeric: tabular-nums; padding-left: 1.2rem; }
.figures tbody tr:last-child { font-weight: 600; } .figures tbody tr:last-child th { font-weight: 600; }
.small { font-size: .85rem; } .small td { overflow-wrap: anywhere; }
.note { color: #555; font-size: .9rem; max-width: 48rem; }
figure { margin: 1rem 0 2rem; break-inside: avoid; }
img { display: block; width: 100%; height: auto; }
figcaption { color: #333; margin-top: .5rem; max-width: 48rem; }
pre { background: #f5f5f5; padding: .6rem .8rem; white-space: pre-wrap; overflow-wrap: anywhere; font-size: .85rem; }
ul.classes { columns: 15rem; padding: 0; list-style: none; font-size: .9rem; font-variant-numeric: tabular-nums; }
.classes li { display: flex; justify-content: space-between; gap: 1rem; margin-right: 1.5rem; break-inside: avoid;
  overflow-wrap: anywhere; }
@media print { body { font-size: 10pt; max-width: none; padding: 0; } pre { border: 1px solid #ccc; } }
"""


@dataclass(frozen=True)
class Row:
    """One encoder in the accuracy table.

    Args:
        name: what to call it.
        linear: what `hiclr.linear` returned, or its JSON file holds.
        knn: what `hiclr.knn` returned.
    """

    name: str
    linear: Result | None = None
    knn: Result | None = None

    @property
    def results(self) -> tuple[Result, ...]:
        """Those there are, the linear one first."""
        return tuple(result for result in (self.linear, self.knn) if result is not None)


@dataclass(frozen=True, eq=False)
class Picture:
    """A figure with its title and a sentence that says what is to be seen."""

    title: str
    figure: Figure
    caption: str


def standard_pictures(
    views: Mapping[str, NDArray[np.floating[Any]]], skeleton: Skeleton, metrics: pd.DataFrame, result: Result
) -> list[Picture]:
    """The three pictures of a run.

    Args:
        views: one sequence (3, T, V, M) under the growing views, by name.
        skeleton: of V joints.
        metrics: the run's `metrics.csv`.
        result: of `linear` or `knn`: its confusion is shown.
    """
    return [
        Picture(
            "One sequence under the growing views",
            growing_views_figure(views, skeleton),
            "Each row adds augmentations to those above it; HiCLR asks the encoder to recognise the sequence in every "
            "row, and to let a stronger view resemble other sequences as the weaker one does.",
        ),
        Picture(
            "Pre-training",
            learning_curve_figure(metrics),
            "The figures of every epoch: training works when the contrastive loss falls while the features stay spread "
            "out; it has collapsed when the spread nears 0.",
        ),
        Picture(
            "Which action is taken for which",
            confusion_figure(result["confusion"], list(result["top1_per_class"])),
            f"Each row shows what the test sequences of one action were taken for by the {result['protocol']} "
            "evaluation, in per cent: the diagonal is right; a grey row has no test sequence.",
        ),
    ]


def write_report(
    path: Path,
    rows: Sequence[Row],
    pictures: Sequence[Picture],
    frames: int,
    skeleton: Skeleton,
    title: str = "Action recognition from skeletons",
    command: str | None = None,
) -> Path:
    """Writes the result page; an interrupted write leaves the old file.

    Args:
        path: the `.html` file to write; its folder is made.
        rows: the encoders to compare, the one that the page is about last.
        pictures: in the order in which they are shown.
        frames: T of the prepared sequences.
        skeleton: their joints.
        title: of the page.
        command: that repeats everything; those in the results when not given.

    Returns:
        The path.

    Raises:
        ValueError: when no row has a result, or two results are of different data.
    """
    page = _page(title, _body(rows, pictures, frames, skeleton, title, command))
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(page, encoding="utf-8")
    partial.replace(path)
    return path


def _page(title: str, body: str) -> str:
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"  # the browser too sees to it: no network
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{_text(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
{body}
</body>
</html>
"""


def _body(
    rows: Sequence[Row],
    pictures: Sequence[Picture],
    frames: int,
    skeleton: Skeleton,
    title: str,
    command: str | None,
) -> str:
    results = [result for row in rows for result in row.results]
    _check_same_data(results)
    main = next(row for row in reversed(rows) if row.results).results[0]
    parts = [
        f"<header><h1>{_text(title)}</h1>{_badge(results)}</header>",
        "<h2>Accuracy</h2>",
        _accuracy(rows, main),
        "<h2>Data</h2>",
        _table(_data(main, frames, skeleton)),
        *(_figure(picture) for picture in pictures),
        "<h2>Accuracy per action</h2>",
        _per_class(main),
        "<h2>How to repeat it</h2>",
        _commands(rows, command),
        *_settings(rows),
        _table({**main.get("versions", {}), "git revision": main.get("git_revision"), "machine": main.get("machine")}),
    ]
    return "\n".join(parts)


def _check_same_data(results: Sequence[Result]) -> None:
    if not results:
        raise ValueError("no row has a result: evaluate an encoder with linear or knn first")
    for result in results[1:]:
        for fact in _SAME_DATA:
            first, other = results[0]["data"].get(fact), result["data"].get(fact)
            if first != other:
                raise ValueError(f"a page compares results on the same data: {fact} is {first!r} in one, {other!r}")


def _badge(results: Sequence[Result]) -> str:
    if not any(result["data"]["synthetic"] for result in results):
        return ""
    return (
        '<p><span class="badge">synthetic data</span></p><p>The movements were computed, not recorded: the figures '
        "show that the tool works, not how well it recognises people.</p>"
    )
