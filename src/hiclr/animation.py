"""Sequences as figures for papers and talks: a strip of poses, or poses that move (GIF, MP4)."""

from __future__ import annotations

import importlib
import shutil
import textwrap
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.animation import AbstractMovieWriter, FFMpegWriter, PillowWriter
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from hiclr.player import layout
from hiclr.plots import LEFT, MIDDLE, RIGHT
from hiclr.skeleton import Skeleton

Frames = NDArray[np.floating[Any]]
Points = NDArray[np.float64]

MOST = 8  # sequences in a figure
MOVING = (".gif", ".mp4")
SUFFIXES = (".png", *MOVING)

_COLOURS = {"left": LEFT, "right": RIGHT, "middle": MIDDLE}
_YAW, _PITCH = np.deg2rad(20.0), np.deg2rad(10.0)  # as the player shows them
_LARGEST = 1.4  # times the first sequence; what is larger is drawn smaller, and says so
_CELL = (3.2, 3.6)  # inches of a moving sequence: an even number of pixels, as MP4 asks for
_DPI = 100


def check_suffix(path: Path) -> None:
    """Says at once, before any work, that a figure of this kind cannot be written.

    Raises:
        ValueError: for another suffix than `SUFFIXES`, or MP4 without ffmpeg.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"{path} must end in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}")
    if path.suffix.lower() == ".mp4" and _ffmpeg() is None:
        raise ValueError('an MP4 needs ffmpeg or the extra "video": pip install "hiclr[video]", or write a .gif')


def strip_figure(sequences: Mapping[str, Frames], skeleton: Skeleton, steps: int = 8) -> Figure:
    """A row of poses for each sequence, time from left to right.

    All are seen by one camera, in front of the first one's first body, and have one scale; what is much larger than the
    first is drawn smaller and says so. Second bodies are hollow. Bones to a joint that is not there are left out, and
    their other ends get a ring.

    Args:
        sequences: name and frames (T, M, V, 3) in metres, NaN where nothing is; one to `MOST`.
        skeleton: of V joints.
        steps: poses of each, spread over its frames.

    Raises:
        ValueError: for no sequence, too many, or one that shows no joint.
    """
    scene = _Scene(sequences, skeleton)
    width, height = 2 * scene.half
    across = 10.0
    down = across / steps * height / width
    figure = Figure(figsize=(across, len(sequences) * (down + 0.25) + 0.35), facecolor="white", dpi=_DPI)
    grid = figure.subplots(len(sequences), steps, squeeze=False)
    for place, (cells, (name, frames)) in enumerate(zip(grid, sequences.items(), strict=True)):
        shown = np.linspace(0, len(frames) - 1, min(steps, len(frames))).round().astype(int)
        for axes in cells:
            scene.frame(axes)
        for axes, frame in zip(cells, shown, strict=False):
            scene.draw(axes, place, int(frame))
            axes.set_xlabel(f"frame {frame + 1}", fontsize=7, labelpad=1)
        cells[0].set_title(scene.label(place, name), fontsize=9, loc="left", parse_math=False)
    figure.subplots_adjust(0.005, 0.2 / figure.get_figheight(), 0.995, 1 - 0.35 / figure.get_figheight(), 0, 0.3)
    scene.legend(figure, "upper right")
    return figure


def animate(
    sequences: Mapping[str, Frames],
    skeleton: Skeleton,
    path: Path,
    fps: float = 15,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> None:
    """Writes a GIF or an MP4 of sequences beside each other; shorter ones keep their last pose.

    Args:
        sequences: as `strip_figure` takes them.
        skeleton: of V joints.
        path: whose suffix says which of the two.
        fps: frames a second.
        progress: is given the numbers of the frames and gives them back, to show how far it is.

    Raises:
        ValueError: as `strip_figure`, for another suffix, or for MP4 where there is no ffmpeg.
    """
    check_suffix(path)
    scene = _Scene(sequences, skeleton)
    figure = Figure(figsize=(_CELL[0] * len(sequences), _CELL[1]), facecolor="white", dpi=_DPI)
    cells = figure.subplots(1, len(sequences), squeeze=False)[0]
    for place, (axes, name) in enumerate(zip(cells, sequences, strict=True)):
        scene.frame(axes)
        axes.set_title(textwrap.fill(scene.label(place, name), 34), fontsize=10, parse_math=False)
    figure.subplots_adjust(0.01, 0.08, 0.99, 0.88, 0.02, 0)
    scene.legend(figure, "lower right")
    partial = path.with_name(f"{path.stem}.partial{path.suffix}")
    writer, ffmpeg = _writer(path, fps)
    try:
        with mpl.rc_context({"animation.ffmpeg_path": ffmpeg}), writer.saving(figure, str(partial), _DPI):
            for frame in progress(range(max(map(len, sequences.values())))):
                for place, (axes, frames) in enumerate(zip(cells, sequences.values(), strict=True)):
                    for artist in [*axes.collections, *axes.lines, *axes.texts]:
                        artist.remove()
                    scene.draw(axes, place, min(frame, len(frames) - 1))
                writer.grab_frame()
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _writer(path: Path, fps: float) -> tuple[AbstractMovieWriter, str]:
    if path.suffix.lower() == ".gif":
        return PillowWriter(fps=fps), ""  # type: ignore[arg-type]  # takes any number
    even = ["-pix_fmt", "yuv420p"]  # what every player shows
    return FFMpegWriter(fps=fps, codec="libx264", extra_args=even), _ffmpeg() or ""  # type: ignore[arg-type]


def _ffmpeg() -> str | None:
    """The system's ffmpeg, or the one in the wheel of imageio-ffmpeg."""
    if found := shutil.which("ffmpeg"):
        return found
    try:
        wheel: ModuleType = importlib.import_module("imageio_ffmpeg")
        return str(wheel.get_ffmpeg_exe())
    except (ImportError, RuntimeError):  # not installed, or no binary for this system
        return None


class _Scene:
    """Sequences as one camera sees them: (T, M, V, 2) each, around the middle of the cell they are drawn in.

    Args:
        sequences: name and frames (T, M, V, 3).
        skeleton: of V joints.
    """

    def __init__(self, sequences: Mapping[str, Frames], skeleton: Skeleton) -> None:
        if not 1 <= len(sequences) <= MOST:
            raise ValueError(f"a figure shows 1 to {MOST} sequences, got {len(sequences)}")
        for name, frames in sequences.items():
            if not np.isfinite(frames).all(3).any():
                raise ValueError(f"{name!r} shows no joint: it is empty or masked altogether")
        facts = layout(skeleton)
        self.bones = [(joint, parent) for joint, parent in enumerate(facts["parents"]) if parent >= 0]
        self.colours = np.array([_COLOURS[side] for side in facts["sides"]])
        self.sides = [side for side in _COLOURS if side in facts["sides"]]
        yaw = front(next(iter(sequences.values())), facts["sides"]) + _YAW
        seen = [_seen(frames.astype(np.float64), yaw) for frames in sequences.values()]
        halves = [_half(points) for points, _ in seen]
        self.shrinks = [min(1.0, _LARGEST * halves[0].max() / half.max()) for half in halves]
        self.points = [points * shrink for (points, _), shrink in zip(seen, self.shrinks, strict=True)]
        self.depths = [depth for _, depth in seen]
        self.half = 1.06 * np.max([half * shrink for half, shrink in zip(halves, self.shrinks, strict=True)], axis=0)

    def label(self, place: int, name: str) -> str:
        """What stands above a sequence."""
        return name if self.shrinks[place] == 1 else f"{name} (at {self.shrinks[place]:.0%})"

    def frame(self, axes: Axes) -> None:
        """Makes axes an empty cell."""
        axes.set(xlim=(-self.half[0], self.half[0]), ylim=(-self.half[1], self.half[1]), xticks=[], yticks=[])
        axes.set_aspect("equal")
        axes.set_autoscale_on(False)
        axes.spines[:].set_visible(False)

    def legend(self, figure: Figure, place: Literal["upper right", "lower right"]) -> None:
        """Says in a corner which colour is which side, where the layout tells."""
        if len(self.sides) > 1:
            lines = [Line2D([], [], color=_COLOURS[side], label=side) for side in self.sides]
            figure.legend(handles=lines, loc=place, ncols=3, frameon=False, fontsize=8, borderpad=0)

    def draw(self, axes: Axes, place: int, frame: int) -> None:
        """All bodies of one frame."""
        for body, (points, depth) in enumerate(
            zip(self.points[place][frame], self.depths[place][frame], strict=True), start=1
        ):
            there = np.isfinite(depth)
            whole = [bone for bone in self.bones if there[list(bone)].all()]
            whole.sort(key=lambda bone: depth[list(bone)].mean())
            lines = [points[list(bone)] for bone in whole]
            colours = [self.colours[joint] for joint, _ in whole]
            hollow = body > 1
            widths = (2.6, 1.2) if hollow else (1.8,)
            for width, colour in zip(widths, (colours, "white"), strict=False):
                bones = LineCollection(lines, colors=colour, linewidths=width, capstyle="round", zorder=body)
                axes.add_collection(bones)
            (x, y), edges = points[there].T, self.colours[there]
            faces = "white" if hollow else edges
            axes.scatter(x, y, s=7, c=faces, edgecolors=edges, linewidths=0.6, zorder=body)
            ends = {joint for bone in self.bones if bone not in whole for joint in bone if there[joint]}
            x, y = points[sorted(ends)].T
            axes.scatter(x, y, s=24, facecolors="white", edgecolors="black", linewidths=0.8, zorder=body)


def front(frames: Frames, sides: list[str]) -> float:
    """The turn about the vertical, in radians, from which the first body is seen from its front when it first shows.

    Args:
        frames: (T, M, V, 3), NaN where nothing is.
        sides: "left", "right" or "middle" for each joint.
    """
    if np.nanmax(frames[..., 2]) - np.nanmin(frames[..., 2]) < 1e-6:  # poses without depth
        return float(-_YAW)
    left, right = (np.array([side == which for side in sides]) for which in ("left", "right"))
    there = np.isfinite(frames[:, 0]).all(2)
    first = np.flatnonzero(there[:, left].any(1) & there[:, right].any(1))
    if not len(first):
        return 0.0
    pose, seen = frames[first[0], 0], there[first[0]]
    x, _, z = pose[left & seen].mean(0) - pose[right & seen].mean(0)
    return float(np.arctan2(z, x))


def _seen(frames: Points, yaw: float) -> tuple[Points, Points]:
    """Across and up (T, M, V, 2) around the middle, and the distance towards the viewer (T, M, V); NaN stays."""
    x, y, z = np.moveaxis(frames - _extent(frames).mean(0), 3, 0)
    towards = z * np.cos(yaw) - x * np.sin(yaw)
    up = y * np.cos(_PITCH) - towards * np.sin(_PITCH)
    seen = np.stack([x * np.cos(yaw) + z * np.sin(yaw), up], axis=3)
    return seen - _extent(seen).mean(0), towards


def _half(points: Points) -> Points:
    """Half the width and height of the points."""
    half: Points = np.maximum(np.diff(_extent(points), axis=0)[0] / 2, 0.1)
    return half


def _extent(points: Points) -> Points:
    """Lowest and highest value of each axis (2, axes); few points far off count little, which would dwarf the rest."""
    low, high = np.nanquantile(points, (0.002, 0.998), axis=(0, 1, 2))
    least, most = np.nanmin(points, axis=(0, 1, 2)), np.nanmax(points, axis=(0, 1, 2))
    far = (high - low) / 4
    return np.stack([np.maximum(least, low - far), np.minimum(most, high + far)])
