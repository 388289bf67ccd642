"""Figures: one sequence under the growing views, the learning curves, the confusion matrix.

Every function returns a `matplotlib.figure.Figure` of its own; nothing here opens a window or keeps global state.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from hiclr.skeleton import Skeleton

Points = NDArray[np.float64]

# Okabe and Ito's palette: told apart by the colour-blind
LEFT, RIGHT, MIDDLE = "#D55E00", "#0072B2", "#404040"
_FAINT, _TEXT = "#D0D0D0", "#404040"

_WIDTH = 9.0  # inches; a page of 800 pixels still shows the letters at 9 pixels
_YAW, _PITCH = np.deg2rad(20.0), np.deg2rad(10.0)
_TALLEST = 1.5  # times the first row; taller rows (the published blur multiplies by up to 5) are drawn smaller
_GAP = 0.12  # metres around every pose

# figures of an epoch that share a panel, with what each is called; others get a panel of their own
_PANELS: dict[str, dict[str, str]] = {
    "loss": {"loss": "in all", "info": "contrastive"},
    "hierarchical consistency": {"consistency": "consistency"},
    "similarity to the queue": {"queue_similarity": "similarity"},
    "feature spread (1 even, 0 collapsed)": {"feature_spread": "spread"},
    "learning rate": {"lr": "learning rate"},
    "sequences per second": {"sequences_per_second": "sequences per second"},
}
_NO_PANEL = ("epoch", "step")


def png(figure: Figure, dpi: int = 200) -> bytes:
    """The figure as a PNG file; the same figure gives the same bytes."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=dpi, metadata={"Software": None})
    return file.getvalue()


# --- growing views ----------------------------------------------------------------------------


def growing_views_figure(views: Mapping[str, ArrayLike], skeleton: Skeleton, steps: int = 8) -> Figure:
    """One sequence under several views: a row of stick figures per view, time from left to right.

    All rows have one scale, but a row much taller than the first is drawn smaller, and says so. Bodies,
    which preparation centred each on its own, stand side by side. A masked joint is left out together
    with its bones, whose other ends get a ring: where the joint was, the view no longer knows.

    Args:
        views: name and joint positions (3, T, V, M) in metres, as the "joint" stream has them.
        skeleton: of V joints.
        steps: frames to show, spread over the T.

    Raises:
        ValueError: for a view of another shape, or when no view shows a joint.
    """
    shown = {name: np.asarray(view, dtype=np.float64) for name, view in views.items()}
    for name, view in shown.items():
        if view.ndim != 4 or (view.shape[0], view.shape[2]) != (3, skeleton.num_joints):
            raise ValueError(f"view {name!r}: expected (3, T, {skeleton.num_joints}, M), got {view.shape}")
    poses = [_poses(view, skeleton.centre_joint, steps) for view in shown.values()]
    there = np.any([np.isfinite(pose).any((0, 1, 2)) for pose in poses], axis=0)
    if not there.any():
        raise ValueError("no view shows a joint: they are empty or masked altogether")
    poses = [pose[..., there] for pose in poses]
    shrinks = [min(1.0, _TALLEST * _size(poses[0]) / _size(pose)) for pose in poses]
    names = [name if shrink == 1 else f"{name}\n(at {shrink:.0%})" for name, shrink in zip(shown, shrinks, strict=True)]
    poses = [pose * shrink for pose, shrink in zip(poses, shrinks, strict=True)]
    frames = [_frames(view, steps) for view in shown.values()]
    return _pose_grid(names, poses, frames[0], skeleton)


def visible_joints(view: Points, centre: int) -> NDArray[np.bool_]:
    """Which joints of a view (3, T, V, M) are there to be drawn: (T, V, M).

    Masking writes one number into all coordinates of a joint, and an absent body is zero: no joint in
    space has three equal coordinates, but for the centre joint, which preparation puts at the origin.
    """
    blank = (view == view[:1]).all(0)
    body_there = ~blank.all(1, keepdims=True)
    blank[:, centre] &= (view[:, :, centre] != 0).any(0)
    return np.asarray(~blank & body_there)


def _frames(view: Points, steps: int) -> NDArray[np.int64]:
    return np.unique(np.linspace(0, view.shape[1] - 1, steps).round().astype(np.int64))


def _poses(view: Points, centre: int, steps: int) -> Points:
    """The chosen frames as seen by the viewer, x right and y up: (2, S, V, M), nan where nothing is to be seen."""
    chosen = view[:, _frames(view, steps)]
    x, y, z = np.where(visible_joints(chosen, centre), chosen, np.nan)
    across, towards = x * np.cos(_YAW) + z * np.sin(_YAW), z * np.cos(_YAW) - x * np.sin(_YAW)
    return np.stack([across, y * np.cos(_PITCH) - towards * np.sin(_PITCH)])


def _bounds(poses: Points) -> tuple[Points, Points]:
    """Lowest and highest x and y of any pose; zero where there is none."""
    flat = poses.reshape(2, -1)
    flat = flat[:, np.isfinite(flat).all(0)]
    return (flat.min(1), flat.max(1)) if flat.size else (np.zeros(2), np.zeros(2))


def _size(poses: Points) -> float:
    low, high = _bounds(poses)
    return float((high - low).max()) or 1.0


def _pose_grid(names: Sequence[str], poses: Sequence[Points], frames: NDArray[np.int64], skeleton: Skeleton) -> Figure:
    bounds = [_bounds(pose) for pose in poses]
    left, right = min(low[0] for low, _ in bounds), max(high[0] for _, high in bounds)
    body = right - left + _GAP
    bodies, columns = poses[0].shape[3], max(pose.shape[1] for pose in poses)
    cell, label = body * bodies, 0.12 * _WIDTH
    floors = -np.cumsum([high[1] - low[1] + _GAP for low, high in bounds])
    inch = (_WIDTH - label) / (cell * columns)  # per metre
    head, foot = 0.35, 0.35
    height = head + foot - floors[-1] * inch
    figure = Figure(figsize=(_WIDTH, height), facecolor="white")
    axes = figure.add_axes(
        (label / _WIDTH, foot / height, 1 - label / _WIDTH, 1 - (head + foot) / height),
        aspect="equal",
        xlim=(0, cell * columns),
        ylim=(floors[-1], 0),
    )
    start = np.arange(columns)[:, None, None] * cell + np.arange(bodies) * body + _GAP / 2 - left
    for pose, (low, _), floor in zip(poses, bounds, floors, strict=True):
        up = floor + _GAP / 2 - low[1]
        _draw(axes, np.stack([pose[0] + start[: pose.shape[1]], pose[1] + up]), skeleton)
    middles = floors + np.diff(floors, prepend=0) / -2
    axes.set_yticks(middles, [""] * len(names))
    for name, middle in zip(names, middles, strict=True):
        axes.text(-0.1, middle, name, ha="right", va="center", fontsize=9, color="black", parse_math=False)
    axes.set_xticks(cell * (np.arange(columns) + 0.5), [f"frame {frame + 1}" for frame in frames], fontsize=8)
    axes.tick_params(length=0, colors=_TEXT)
    axes.hlines(floors[:-1], 0, cell * columns, colors=_FAINT, linewidth=0.6)
    axes.spines[:].set_visible(False)
    _legend(figure, skeleton)
    return figure


def _draw(axes: Axes, poses: Points, skeleton: Skeleton) -> None:
    """All bones of a row (2, S, V, M) as one collection, all joints as another, open ends as rings."""
    colours = _joint_colours(skeleton)
    bones = [(joint, parent) for joint, parent in enumerate(skeleton.parents) if parent != -1]
    points = poses.transpose(1, 3, 2, 0).reshape(-1, skeleton.num_joints, 2)
    points = points[np.isfinite(points).any((1, 2))]
    seen = np.isfinite(points).all(2)
    whole = [(pose, *bone) for pose in range(len(points)) for bone in bones if seen[pose, bone].all()]
    open_ends = [points[pose, end] for pose in range(len(points)) for end in _open_ends(seen[pose], bones)]
    axes.add_collection(
        LineCollection(
            [points[pose, (joint, parent), :] for pose, joint, parent in whole],
            colors=[colours[joint] for _, joint, _ in whole],
            linewidths=1.3,
            capstyle="round",
        ),
        autolim=False,
    )
    axes.scatter(*points[seen].T, s=2.5, c=[colours[joint] for _, joint in np.argwhere(seen)], linewidths=0, zorder=3)
    if open_ends:
        axes.scatter(*np.transpose(open_ends), s=14, facecolors="white", edgecolors="black", linewidths=0.7, zorder=4)


def _open_ends(seen: NDArray[np.bool_], bones: Sequence[tuple[int, int]]) -> Iterator[int]:
    for joint, parent in bones:
        if seen[joint] != seen[parent]:
            yield joint if seen[joint] else parent


def _joint_colours(skeleton: Skeleton) -> list[str]:
    colours = [MIDDLE] * skeleton.num_joints
    try:
        pairs = skeleton.mirror_pairs
    except ValueError:  # a layout that tells no left from right
        return colours
    for left, right in pairs:
        colours[left], colours[right] = LEFT, RIGHT
    return colours


def _legend(figure: Figure, skeleton: Skeleton) -> None:
    sides = {LEFT: "left", RIGHT: "right", MIDDLE: "middle"}
    used = _joint_colours(skeleton)
    handles = [Line2D([], [], color=colour, label=side) for colour, side in sides.items() if colour in used]
    ring = {"marker": "o", "markerfacecolor": "white", "markeredgecolor": "black", "markersize": 4}
    handles.append(Line2D([], [], linestyle="none", label="next to a masked joint", **ring))
    figure.legend(handles=handles, loc="upper right", ncols=len(handles), frameon=False, fontsize=8, borderaxespad=0.2)


# --- learning curves --------------------------------------------------------------------------


def learning_curve_figure(metrics: pd.DataFrame) -> Figure:
    """How pre-training went: a panel for each figure in `metrics.csv`, over the epochs.

    Args:
        metrics: a row per epoch; column "epoch" and any figures.

    Raises:
        ValueError: when there is no epoch or nothing but the epoch.
    """
    known = {title: {c: label for c, label in lines.items() if c in metrics} for title, lines in _PANELS.items()}
    named = {column for lines in known.values() for column in lines}
    others = {c: {c: c} for c in metrics.columns if c not in named and c not in _NO_PANEL}
    panels = {title: lines for title, lines in (known | others).items() if lines}
    if "epoch" not in metrics or metrics.empty or not panels:
        raise ValueError(f"metrics need a column 'epoch', a figure and a row, got {list(metrics.columns)}")
    rows = -(-len(panels) // 3)
    figure = Figure(figsize=(_WIDTH, 2.2 * rows), facecolor="white", layout="constrained")
    cells = figure.subplots(rows, 3, squeeze=False).flat
    for axes, (title, lines) in zip(cells, panels.items(), strict=False):
        _curves(axes, metrics, title, lines)
    for axes in list(cells)[len(panels) :]:
        axes.remove()
    return figure


def _curves(axes: Axes, metrics: pd.DataFrame, title: str, lines: Mapping[str, str]) -> None:
    marker = "o" if len(metrics) < 20 else None
    for (column, label), colour, style in zip(lines.items(), (RIGHT, LEFT), ("-", "--"), strict=False):
        axes.plot(metrics["epoch"], metrics[column], style, color=colour, label=label, marker=marker, markersize=3)
    axes.set_title(title, fontsize=9, parse_math=False)
    axes.set_xlabel("epoch", fontsize=8)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.tick_params(labelsize=8, colors=_TEXT)
    axes.grid(color=_FAINT, linewidth=0.5)
    axes.spines[["top", "right"]].set_visible(False)
    if len(lines) > 1:
        axes.legend(fontsize=8, frameon=False)


# --- confusion --------------------------------------------------------------------------------


def confusion_figure(confusion: ArrayLike, class_names: Sequence[str]) -> Figure:
    """Which class is taken for which: shares of every true class, in per cent of its test sequences.

    Args:
        confusion: counts (L, L), row the true class, column the predicted one.
        class_names: L of them.

    Raises:
        ValueError: when the two do not fit.
    """
    counts = np.asarray(confusion, dtype=np.float64)
    classes = len(class_names)
    if counts.shape != (classes, classes):
        raise ValueError(f"expected counts ({classes}, {classes}) for {classes} class names, got {counts.shape}")
    totals = counts.sum(1, keepdims=True)
    share = 100 * np.divide(counts, totals, out=np.full_like(counts, np.nan), where=totals > 0)
    figure = Figure(figsize=(_WIDTH, _WIDTH * 0.95), facecolor="white", layout="constrained")
    axes = figure.subplots()
    axes.set_facecolor(_FAINT)  # shows through where a class has no test sequence
    image = axes.imshow(share, cmap="Blues", vmin=0, vmax=100)
    names = [_short(name) for name in class_names]
    size = float(np.clip(360 / classes, 5.5, 9))
    axes.set_xticks(range(classes), names, rotation=90, fontsize=size, parse_math=False)
    axes.set_yticks(range(classes), names, fontsize=size, parse_math=False)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.tick_params(length=2, colors=_TEXT)
    if classes <= 30:
        for row, column in np.argwhere(share >= 0.5):
            colour = "white" if share[row, column] > 60 else "black"
            axes.text(column, row, f"{share[row, column]:.0f}", ha="center", va="center", fontsize=size, color=colour)
    figure.colorbar(image, ax=axes, label="% of the true class", shrink=0.6, pad=0.02)
    return figure


def _short(name: str, limit: int = 32) -> str:
    name = " ".join(name.split())
    return name if len(name) <= limit else f"{name[: limit - 1]}…"
