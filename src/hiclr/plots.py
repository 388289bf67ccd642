"""Figures: one sequence under the growing views, tables of comparisons, speed.

Nothing here opens a window or keeps global state.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from numpy.typing import NDArray

from hiclr.skeleton import Skeleton

Points = NDArray[np.float64]

# Okabe and Ito's palette: told apart by the colour-blind
LEFT, RIGHT, MIDDLE = "#D55E00", "#0072B2", "#404040"
_FAINT, _TEXT = "#D0D0D0", "#404040"

_WIDTH = 9.0  # inches; a page of 800 pixels still shows the letters at 9 pixels
_YAW, _PITCH = np.deg2rad(20.0), np.deg2rad(10.0)
_LARGEST = (0.7, 1.4)  # width and height of a row over the size of the first: blur may multiply by 5, shear widens
_GAP = 0.12  # metres around every pose


def growing_views_figure(views: Mapping[str, NDArray[np.floating[Any]]], skeleton: Skeleton, steps: int = 8) -> Figure:
    """One sequence under several views: a row of stick figures per view, time from left to right.

    All rows have one scale, but a row much larger than the first is drawn smaller, and says so. Bodies,
    which preparation centred each on its own, stand side by side. A masked joint is left out together
    with its bones, whose other ends get a ring: where the joint was, the view no longer knows.

    Args:
        views: name and joint positions (3, T, V, M) in metres, as the "joint" stream has them.
        skeleton: of V joints.
        steps: frames to show, spread over the T.

    Raises:
        ValueError: for a view of another shape, or one that shows no joint.
    """
    length, bodies = next(iter(views.values())).shape[1::2]
    for name, view in views.items():
        if view.shape != (expected := (3, length, skeleton.num_joints, bodies)):
            raise ValueError(f"view {name!r}: expected (3, T, V, M) {expected}, got {view.shape}")
    frames = np.unique(np.linspace(0, length - 1, steps).round().astype(np.int64))
    poses = [_poses(name, view[:, frames], skeleton) for name, view in views.items()]
    there = np.any([np.isfinite(pose).any((0, 1, 2)) for pose in poses], axis=0)
    sizes = [np.subtract(*_bounds(pose)) for pose in poses]
    largest = np.maximum(sizes[0], np.array(_LARGEST) * sizes[0].max())
    shrinks = [min(1.0, *(largest / size)) for size in sizes]
    names = ["\n".join(textwrap.wrap(name, 20)) for name in views]
    labels = [
        name if shrink == 1 else f"{name}\n(at {shrink:.0%})" for name, shrink in zip(names, shrinks, strict=True)
    ]
    rows = [pose[..., there] * shrink for pose, shrink in zip(poses, shrinks, strict=True)]
    return _pose_grid(labels, rows, frames, skeleton)


def ablation_figure(runs: pd.DataFrame, published: str, title: str = "", figure: str = "linear, last epoch") -> Figure:
    """The rows of an ablation from top to bottom: every run a dot, their mean a bar, chance a line.

    Args:
        runs: one line a run, with the columns row, chance, `figure` and `published` (all in per cent).
        published: column of the published figures, drawn as hollow diamonds: another corpus, other numbers.
        title: what was measured on.
        figure: column to draw.
    """
    rows = list(dict.fromkeys(runs["row"]))
    drawing = Figure(figsize=(_WIDTH, 1.2 + 0.4 * len(rows)), layout="constrained")
    axes = drawing.subplots()
    groups = [runs[runs["row"] == row] for row in rows]
    axes.barh(range(len(rows)), [group[figure].mean() for group in groups], color=_FAINT, height=0.6, label="mean")
    for place, group in enumerate(groups):
        first = place == 0
        axes.plot(group[figure], [place] * len(group), "o", color=RIGHT, label="a seed" if first else None)
    literature = [group[published].iloc[0] for group in groups]
    if not all(pd.isna(literature)):
        axes.plot(literature, range(len(rows)), "D", mfc="none", color=LEFT, label=published)
    axes.axvline(runs["chance"].iloc[0], color=_TEXT, linestyle=":", label="chance")
    axes.set_yticks(range(len(rows)), rows)
    axes.invert_yaxis()
    axes.set_xlim(0, 100)
    axes.set_xlabel(f"{title + ': ' if title else ''}top-1, % ({figure})")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4, frameon=False)
    return drawing


def speed_figure(ratios: pd.DataFrame, growth: Sequence[Mapping[str, Any]]) -> Figure:
    """How many times faster than straightforward, and how time and memory grow.

    Args:
        ratios: one line a hot path: what, ratio, low, high (of the rounds); none leaves that part out.
        growth: of each thing that grows: what, values, seconds and peak_memory (MB; None where unknown) of each value,
            exponent. None leaves that part out.
    """
    bars, panels = 0.4 * len(ratios) + 0.8, math.ceil(len(growth) / 3)
    heights = [bars] * (len(ratios) > 0) + [2.5 * panels] * (panels > 0)
    figure = Figure(figsize=(_WIDTH, sum(heights) or 1), facecolor="white", layout="constrained")
    if not heights:
        return figure
    parts = figure.subfigures(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
    if len(ratios):
        _ratio_bars(parts[0].subplots(), ratios)
    for place, axis in enumerate(growth):
        _growth_lines(parts[-1].add_subplot(panels, 3, place + 1), axis, first=place == 0)
    return figure


def _ratio_bars(axes: Axes, ratios: pd.DataFrame) -> None:
    places = range(len(ratios))
    axes.barh(places, ratios["ratio"] - 1, left=1, color=_FAINT, height=0.6)
    axes.hlines(places, ratios["low"], ratios["high"], color=RIGHT, linewidth=2)
    axes.plot(ratios["ratio"], places, "o", color=RIGHT, markersize=4)
    for place, ratio, high in zip(places, ratios["ratio"], ratios["high"], strict=True):
        axes.annotate(f"{ratio:.3g}x", (high, place), (5, 0), textcoords="offset points", va="center", fontsize=8)
    axes.axvline(1, color=_TEXT, linestyle=":")
    axes.set_xscale("log")
    axes.set_xlim(min(0.8, 0.9 * ratios["low"].min()), 2 * ratios["high"].max())
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_yticks(places, ratios["what"], fontsize=8, parse_math=False)
    axes.invert_yaxis()
    axes.set_xlabel("times as fast as straightforward (median of the rounds, smallest to largest)", fontsize=8)
    axes.tick_params(labelsize=8, colors=_TEXT)
    axes.spines[["top", "right"]].set_visible(False)


def _growth_lines(axes: Axes, axis: Mapping[str, Any], first: bool) -> None:
    """Time, and memory where it is known, over what grows: each as a multiple of its first value."""
    values = list(axis["values"])
    lines = {"time": (axis["seconds"], RIGHT, "o-"), "peak memory": (axis["peak_memory"], LEFT, "s--")}
    for name, (figures, colour, style) in lines.items():
        if None not in figures:
            relative = [figure / figures[0] for figure in figures]
            axes.plot(values, relative, style, color=colour, label=name, markersize=4)
    axes.plot(values, [value / values[0] for value in values], ":", color=_FAINT, label="in proportion", zorder=0)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    axes.set_xticks(values, [f"{value:,}" for value in values])
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set_title(f"{axis['what']}\n(time: power {axis['exponent']:.2f})", fontsize=9)
    axes.tick_params(labelsize=8, colors=_TEXT)
    axes.minorticks_off()
    axes.grid(color=_FAINT, linewidth=0.5)
    axes.spines[["top", "right"]].set_visible(False)
    if first:
        axes.set_ylabel("times the first", fontsize=8)
        axes.legend(fontsize=8, frameon=False)


def visible_joints(view: NDArray[np.floating[Any]], centre: int) -> NDArray[np.bool_]:
    """Which joints of a view (3, T, V, M) are there to be drawn: (T, V, M).

    Masking writes one number into all coordinates of a joint, and an absent body is zero: no joint in
    space has three equal coordinates, but for the centre joint, which preparation puts at the origin.
    """
    blank = (view == view[:1]).all(0)
    body_there = ~blank.all(1, keepdims=True)
    blank[:, centre] &= (view[:, :, centre] != 0).any(0)
    return np.asarray(~blank & body_there)


def _poses(name: str, view: NDArray[np.floating[Any]], skeleton: Skeleton) -> Points:
    """The frames of a view as seen by the reader, x right and y up: (2, S, V, M), nan where nothing is to be seen."""
    seen = visible_joints(view, skeleton.centre_joint)
    if not seen.any():
        raise ValueError(f"view {name!r} shows no joint: it is empty or masked altogether")
    x, y, z = np.where(seen, view.astype(np.float64), np.nan)
    across, towards = x * np.cos(_YAW) + z * np.sin(_YAW), z * np.cos(_YAW) - x * np.sin(_YAW)
    return np.stack([across, y * np.cos(_PITCH) - towards * np.sin(_PITCH)])


def _bounds(poses: Points) -> tuple[Points, Points]:
    """Highest and lowest x and y of any pose."""
    return np.nanmax(poses, (1, 2, 3)), np.nanmin(poses, (1, 2, 3))


def _pose_grid(labels: Sequence[str], rows: Sequence[Points], frames: NDArray[np.int64], skeleton: Skeleton) -> Figure:
    """Rows (2, S, V, M) one below the other, in one coordinate system of metres."""
    highs, lows = (np.array(ends) for ends in zip(*map(_bounds, rows), strict=True))
    heights = highs[:, 1] - lows[:, 1]
    heights = np.maximum(heights, heights.max() / 3) + _GAP  # a row that lies flat keeps room for its label
    floors = -np.cumsum(heights)
    middles = floors + heights / 2
    bodies = rows[0].shape[3]
    body = max(highs[:, 0].max() - lows[:, 0].min() + _GAP, heights.max() / 2)
    cells = np.arange(len(frames)) * body * bodies
    width = len(frames) * body * bodies
    right = cells[:, None, None] + (np.arange(bodies) + 0.5) * body - (highs[:, 0].max() + lows[:, 0].min()) / 2
    ups = middles - (highs + lows)[:, 1] / 2
    figure = Figure(figsize=(_WIDTH, 0.5 - floors[-1] * _WIDTH / width), facecolor="white")
    axes = figure.subplots(subplot_kw={"aspect": "equal", "xlim": (0, width), "ylim": (floors[-1], 0)})
    placed = [np.stack([row[0] + right, row[1] + up]) for row, up in zip(rows, ups, strict=True)]
    _draw(axes, np.concatenate(placed, axis=1), skeleton)
    axes.hlines(floors[:-1], 0, width, colors=_FAINT, linewidth=0.6)
    axes.set_yticks(middles, labels, fontsize=9, parse_math=False)
    axes.set_xticks(cells + body * bodies / 2, [f"frame {frame + 1}" for frame in frames], fontsize=8)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=4, frameon=False, fontsize=8)
    return figure


def _draw(axes: Axes, poses: Points, skeleton: Skeleton) -> None:
    """Bones, joints and rings of poses (2, S, V, M), one collection each."""
    colours = _joint_colours(skeleton)
    for colour, side in {LEFT: "left", RIGHT: "right", MIDDLE: "middle"}.items():
        if colour in colours:
            axes.plot([], [], color=colour, label=side)
    points = poses.transpose(1, 3, 2, 0).reshape(-1, skeleton.num_joints, 2)
    seen = np.isfinite(points[:, :, 0])
    bones: list[Points] = []
    bone_colours, rings = [], np.zeros_like(seen)
    for joint, parent in ((joint, parent) for joint, parent in enumerate(skeleton.parents) if parent != -1):
        whole = seen[:, joint] & seen[:, parent]
        bones += list(points[whole][:, (joint, parent)])
        bone_colours += [colours[joint]] * int(whole.sum())
        rings[:, joint] |= seen[:, joint] & ~seen[:, parent]
        rings[:, parent] |= seen[:, parent] & ~seen[:, joint]
    axes.add_collection(LineCollection(bones, colors=bone_colours, linewidths=1.3, capstyle="round"), autolim=False)
    x, y = points[seen].T
    axes.scatter(x, y, s=3.5, c=[colours[joint] for _, joint in np.argwhere(seen)], linewidths=0, zorder=3)
    if rings.any():
        x, y = points[rings].T
        label = "next to a masked joint"
        axes.scatter(x, y, s=14, facecolors="white", edgecolors="black", linewidths=0.7, zorder=4, label=label)


def _joint_colours(skeleton: Skeleton) -> list[str]:
    colours = [MIDDLE] * skeleton.num_joints
    try:
        pairs = skeleton.mirror_pairs
    except ValueError:  # a layout that tells no left from right
        return colours
    for left, right in pairs:
        colours[left], colours[right] = LEFT, RIGHT
    return colours
