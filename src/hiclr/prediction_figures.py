"""Figures of predictions: bars for clips, and who does what when for long recordings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from hiclr.inference import Predictions
from hiclr.plots import LEFT, MIDDLE, RIGHT
from hiclr.timeline import Timeline

MOST_CLIPS = 24  # that get bars of their own
MOST_TIMELINES = 8
WORTH_TELLING = 0.005  # a probability that is not 0 %
_MOST_CLASSES = 12  # rows of a timeline
_WIDTH = 9.0
_GAP = 0.6  # between two clips, in bars
_FAINT = "#D0D0D0"


def predictions_figure(predictions: Predictions, top: int = 3) -> Figure:
    """The most probable classes of each clip; of many clips, how many are of each class.

    Args:
        predictions: of N clips.
        top: classes shown of a clip.
    """
    return _clip_bars(predictions, top) if len(predictions.names) <= MOST_CLIPS else _class_bars(predictions)


def _clip_bars(predictions: Predictions, top: int) -> Figure:
    """A group of bars for each clip, the most probable class dark."""
    best = [[one for one in classes if one[1] >= WORTH_TELLING] for classes in predictions.top(top)]
    places = np.cumsum([0, *(len(classes) + _GAP for classes in best)])
    figure = Figure(figsize=(_WIDTH, 0.8 + 0.24 * places[-1]), facecolor="white", layout="constrained")
    axes = figure.subplots()
    for first, classes, right, truth in zip(places[:-1], best, predictions.right, predictions.truths, strict=True):
        for rank, (name, probability) in enumerate(classes):
            axes.barh(first + rank, probability, 0.85, color=_FAINT if rank else RIGHT)
            said = f"{_short(name)}  {probability:.0%}"
            if rank == 0 and right is not None:
                said += "  (right)" if right else f"  (is {_short(str(truth))})"
            axes.annotate(
                said,
                (probability, first + rank),
                (4, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
                color=LEFT if rank == 0 and right is False else MIDDLE,
                parse_math=False,
            )
    axes.set_yticks(places[:-1], [_short(name, 36) for name in predictions.names], fontsize=8, parse_math=False)
    axes.set_ylim(places[-1] - 0.5, -0.9)
    axes.set_xlim(0, 1.35)
    axes.set_xticks(np.linspace(0, 1, 5), [f"{share:.0%}" for share in np.linspace(0, 1, 5)], fontsize=8)
    axes.set_xlabel("probability", fontsize=8)
    _plain(axes)
    return figure


def _class_bars(predictions: Predictions) -> Figure:
    """How many clips are of each class and, where that is known, how many of these are."""
    found = np.array(predictions.classes)
    sure = predictions.probabilities.max(1)
    right = np.array([{None: 0, True: 1, False: 2}[answer] for answer in predictions.right])
    names, counts = np.unique(found, return_counts=True)
    names = names[np.argsort(-counts, kind="stable")]
    figure = Figure(figsize=(_WIDTH, 1.0 + 0.26 * len(names)), facecolor="white", layout="constrained")
    axes = figure.subplots()
    start = np.zeros(len(names))
    for answer, label, colour in ((1, "right", RIGHT), (2, "wrong", LEFT), (0, "not known", _FAINT)):
        number = np.array([((found == name) & (right == answer)).sum() for name in names])
        if number.any():
            shown = "clips" if answer == 0 and (right == 0).all() else label
            axes.barh(range(len(names)), number, left=start, color=colour, height=0.7, label=shown)
        start += number
    for place, name in enumerate(names):
        said = f"{start[place]:.0f}, mean probability {sure[found == name].mean():.0%}"
        axes.annotate(said, (start[place], place), (4, 0), textcoords="offset points", va="center", fontsize=8)
    axes.set_yticks(range(len(names)), [_short(name, 36) for name in names], fontsize=8, parse_math=False)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlim(0, 1.35 * start.max())
    axes.set_xlabel(f"clips taken for each class, of {len(found)}", fontsize=8)
    _plain(axes)
    if (right > 0).any():
        axes.legend(loc="lower right", frameon=False, fontsize=8)
    return figure


def timelines_figure(timelines: Sequence[Timeline], fps: float | None = None) -> Figure:
    """A panel for each recording: time to the right, a row a class, dark where it is probable; the class that wins.

    Args:
        timelines: of recordings.
        fps: frames in a second; the axis counts frames when None.
    """
    rows = [_shown_classes(timeline) for timeline in timelines]
    heights = [0.75 + 0.25 * max(len(classes), 1) for classes in rows]
    figure = Figure(figsize=(_WIDTH, sum(heights) + 0.4), facecolor="white", layout="constrained")
    panels = figure.subplots(len(timelines), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axes, timeline, classes in zip(panels, timelines, rows, strict=True):
        _timeline(axes, timeline, classes, fps or 1.0)
    panels[-1].set_xlabel("frames" if fps is None else "seconds", fontsize=8)
    scale = ScalarMappable(Normalize(0, 1), "Blues")
    bar = figure.colorbar(scale, ax=list(panels), shrink=min(1.0, 1.8 / sum(heights)), pad=0.02, aspect=12)
    bar.set_label("probability", fontsize=8)
    bar.ax.tick_params(labelsize=8)
    return figure


def _shown_classes(timeline: Timeline) -> list[int]:
    """Classes that win somewhere, in the order in which they do."""
    winners = [segment.name for segment in timeline.segments() if segment.name in timeline.names]
    return [timeline.names.index(name) for name in dict.fromkeys(winners)][:_MOST_CLASSES]


def _timeline(axes: Axes, timeline: Timeline, classes: Sequence[int], fps: float) -> None:
    rows = {timeline.names[label]: row for row, label in enumerate(classes)}
    levels = max(len(rows), 1)
    if rows:
        course = timeline.course()[:, list(classes)].T
        axes.pcolormesh(timeline.edges() / fps, np.arange(levels + 1) - 0.5, course, cmap="Blues", vmin=0, vmax=1)
    for segment in timeline.segments():
        start, end = segment.start / fps, segment.end / fps
        if segment.name in rows:
            axes.hlines(rows[segment.name] + 0.4, start, end, color=LEFT, linewidth=2.5)
        elif segment.probability is None:
            axes.axvspan(start, end, facecolor="white", edgecolor=_FAINT, hatch="///", linewidth=0)
            axes.text((start + end) / 2, (levels - 1) / 2, segment.name, ha="center", va="center", fontsize=8)
    axes.set_yticks(range(len(rows)), [_short(name) for name in rows], fontsize=8, parse_math=False)
    axes.set_ylim(levels - 0.5, -0.5)
    axes.set_xlim(0, timeline.frames / fps)
    axes.set_title(_short(timeline.name, 80), fontsize=9, loc="left", parse_math=False)
    _plain(axes)


def _plain(axes: Axes) -> None:
    axes.tick_params(labelsize=8, length=2, colors=MIDDLE)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _short(name: str, limit: int = 32) -> str:
    name = " ".join(name.split())
    return name if len(name) <= limit else f"{name[: limit - 1]}…"
