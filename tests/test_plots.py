"""Figures: what is in the data is what is drawn, and what is not there is not drawn."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from numpy.typing import NDArray

from hiclr import functional
from hiclr.plots import (
    LEFT,
    RIGHT,
    growing_views_figure,
    speed_figure,
    visible_joints,
)
from hiclr.skeleton import SKELETONS, Skeleton

SKELETON = SKELETONS["kinect20"]
V, CENTRE = SKELETON.num_joints, SKELETON.centre_joint
HAND = SKELETON.index("hand_left")
Array = NDArray[np.float64]


def sequence(bodies: int = 1, frames: int = 10) -> Array:
    """Joints strewn over the size of a person, the centre at the origin: (3, T, V, M)."""
    x = np.random.default_rng(0).uniform(-1, 1, (3, frames, V, bodies)) * np.array([0.4, 0.9, 0.3])[:, None, None, None]
    x[:, :, CENTRE] = 0
    return x


def bones(figure: Figure) -> list[Array]:
    (collection,) = [c for c in figure.axes[0].collections if type(c) is LineCollection and len(c.get_segments()) > 3]
    return [np.asarray(segment) for segment in collection.get_segments()]


def points(figure: Figure) -> list[Array]:
    """Places of the joints, then of the rings where there are any."""
    return [np.asarray(c.get_offsets()) for c in figure.axes[0].collections if isinstance(c, PathCollection)]


# --- which joints are there -------------------------------------------------------------------


@pytest.mark.parametrize("number", [0.0, 0.0137])
def test_masked_joints_are_not_there(number: float) -> None:
    x = torch.from_numpy(sequence())[None]
    masked = torch.zeros(1, 10, V, dtype=torch.bool)
    masked[0, 3, [1, HAND]] = True
    view = functional.mask_joints(x, masked, number)[0].numpy()
    np.testing.assert_array_equal(visible_joints(view, CENTRE)[:, :, 0], ~masked[0].numpy())


def test_absent_bodies_and_frames_are_not_there() -> None:
    x = sequence(bodies=2)
    x[..., 1] = 0
    x[:, 4] = 0
    seen = visible_joints(x, CENTRE)
    assert not seen[..., 1].any() and not seen[4].any()
    assert np.delete(seen[..., 0], 4, axis=0).all()


def test_an_axis_that_is_masked_hides_no_joint() -> None:
    x = sequence()
    x[1] = 0
    assert visible_joints(x, CENTRE).all()


# --- growing views ----------------------------------------------------------------------------


def test_every_view_shows_every_step_and_body() -> None:
    x = sequence(bodies=2, frames=50)
    figure = growing_views_figure({"original": x, "BA": 1.1 * x}, SKELETON, steps=8)
    (axes,) = figure.axes
    assert len(bones(figure)) == 2 * 8 * 2 * (V - 1)
    (joints,) = points(figure)
    assert len(np.unique(joints.round(6), axis=0)) == 2 * 8 * 2 * V
    assert [label.get_text() for label in axes.get_yticklabels()] == ["original", "BA"]
    assert [label.get_text() for label in axes.get_xticklabels()] == [
        f"frame {i}" for i in (1, 8, 15, 22, 29, 36, 43, 50)
    ]
    assert axes.get_aspect() == 1
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    assert (joints > [left, bottom]).all() and (joints < [right, top]).all()


def test_poses_keep_to_their_cells() -> None:
    figure = growing_views_figure({"original": sequence(bodies=2)}, SKELETON, steps=4)
    (joints,) = points(figure)
    poses = joints.reshape(8, V, 2)[:, :, 0]
    spans = sorted((pose.min(), pose.max()) for pose in poses)
    assert all(before[1] < after[0] for before, after in pairwise(spans))


def test_the_viewer_stands_a_little_to_the_side_and_above() -> None:
    x = np.random.default_rng(1).normal(0, 1e-6, (3, 1, V, 1))
    x[:, 0, HAND, 0] = 0.5, 1.0, 0.3
    (joints,) = points(growing_views_figure({"original": x}, SKELETON))
    yaw, pitch = np.deg2rad([20, 10])
    right = np.array([np.cos(yaw), 0, np.sin(yaw)])
    up = np.array([np.sin(yaw) * np.sin(pitch), np.cos(pitch), -np.cos(yaw) * np.sin(pitch)])
    np.testing.assert_allclose(
        joints[HAND] - joints[CENTRE], [right @ x[:, 0, HAND, 0], up @ x[:, 0, HAND, 0]], atol=1e-4
    )
    assert right @ up == pytest.approx(0) and right @ right == pytest.approx(1) and up @ up == pytest.approx(1)


@pytest.mark.parametrize("number", [0.0, 0.02])
def test_no_bone_leads_to_a_masked_joint(number: float) -> None:
    x = sequence(frames=4)
    whole = growing_views_figure({"original": x}, SKELETON)
    elbow, below, above = (SKELETON.index(f"{joint}_left") for joint in ("elbow", "wrist", "shoulder"))
    masked = x.copy()
    masked[:, 2, elbow] = number
    figure = growing_views_figure({"original": x, "masked": masked}, SKELETON)
    assert len(bones(figure)) == 2 * len(bones(whole)) - 2
    lengths = {round(float(np.linalg.norm(b - a)), 6) for a, b in bones(whole)}
    assert {round(float(np.linalg.norm(b - a)), 6) for a, b in bones(figure)} == lengths
    joints, rings = points(figure)
    assert len(joints) == 2 * 4 * V - 1
    _, other = np.unique(np.concatenate([joints, rings]).round(9), axis=0, return_counts=True)
    assert len(rings) == 2 and (other == 2).sum() == 2  # the two rings lie on joints: the wrist and the shoulder
    frame = joints[4 * V + 2 * V :][: V - 1]
    np.testing.assert_allclose(np.sort(rings, axis=0), np.sort(frame[[above, below - 1]], axis=0))


def test_rings_are_explained_only_where_there_are_any() -> None:
    def legend(view: Array) -> list[str]:
        found = growing_views_figure({"view": view}, SKELETON).axes[0].get_legend()
        assert found is not None
        return [text.get_text() for text in found.get_texts()]

    x = sequence()
    assert legend(x) == ["left", "right", "middle"]
    x[:, :, HAND] = 0
    assert legend(x) == ["left", "right", "middle", "next to a masked joint"]


def test_left_and_right_have_their_colours() -> None:
    figure = growing_views_figure({"original": sequence(frames=1)}, SKELETON)
    (collection,) = [
        c for c in figure.axes[0].collections if isinstance(c, LineCollection) and len(c.get_segments()) > 3
    ]
    children = [joint for joint, parent in enumerate(SKELETON.parents) if parent != -1]
    colours = {
        joint: to_hex(colour).upper()
        for joint, colour in zip(children, np.asarray(collection.get_color()), strict=True)
    }
    for left, right in SKELETON.mirror_pairs:
        assert (colours[left], colours[right]) == (LEFT, RIGHT)


def test_a_skeleton_that_tells_no_side_is_drawn_in_one_colour() -> None:
    names = tuple(f"joint{i}" for i in range(V))
    plain = Skeleton("plain", names, SKELETON.parents, centre=names[CENTRE])
    legend = growing_views_figure({"original": sequence()}, plain).axes[0].get_legend()
    assert legend is not None and [text.get_text() for text in legend.get_texts()] == ["middle"]


def test_a_body_that_no_view_shows_takes_no_room() -> None:
    x = sequence(bodies=2)
    x[..., 1] = 0
    alone = growing_views_figure({"original": x[..., :1]}, SKELETON)
    assert growing_views_figure({"original": x}, SKELETON).axes[0].get_xlim() == alone.axes[0].get_xlim()


def test_a_row_that_outgrows_the_first_is_drawn_smaller_and_says_so() -> None:
    x = sequence(frames=1)
    figure = growing_views_figure({"original": x, "BA": 1.1 * x, "BA + NA": 4 * x}, SKELETON)
    (joints,) = points(figure)
    original, little, large = (float(np.ptp(row[:, 1])) for row in joints.reshape(3, V, 2))
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels[:2] == ["original", "BA"] and labels[2].startswith("BA + NA\n(at ")
    share = float(labels[2].split("at ")[1].rstrip("%)")) / 100
    assert little == pytest.approx(1.1 * original)
    assert large == pytest.approx(4 * share * original, rel=0.02) and large < 2 * original


def test_views_that_cannot_be_drawn_are_refused() -> None:
    x = sequence()
    with pytest.raises(ValueError, match=r"'BA': expected .*\(3, 10, 20, 1\), got \(3, 10, 19, 1\)"):
        growing_views_figure({"original": x, "BA": x[:, :, :19]}, SKELETON)
    with pytest.raises(ValueError, match="'BA': expected"):
        growing_views_figure({"original": x, "BA": x[:, :9]}, SKELETON)
    with pytest.raises(ValueError, match="'BA' shows no joint"):
        growing_views_figure({"original": x, "BA": np.zeros_like(x)}, SKELETON)


def test_nothing_global_is_used() -> None:
    program = "import sys, hiclr.reporting.page; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


# --- speed ----------------------------------------------------------------------------------------

RATIOS = pd.DataFrame({"what": ["step", "kNN"], "ratio": [4.0, 30.0], "low": [3.5, 20.0], "high": [4.5, 40.0]})
GROWTH = [
    {"what": "batch", "values": (16, 32), "seconds": [1.0, 2.0], "peak_memory": [500.0, 750.0], "exponent": 1.0},
    {"what": "queue", "values": (10, 20), "seconds": [1.0, 1.0], "peak_memory": [None, None], "exponent": 0.0},
]


def test_speed_shows_each_ratio_and_how_time_and_memory_grow() -> None:
    bars, batch, queue = speed_figure(RATIOS, GROWTH).axes
    assert [text.get_text() for text in bars.texts] == ["4x", "30x"]
    assert [label.get_text() for label in bars.get_yticklabels()] == ["step", "kNN"]
    assert np.asarray(bars.lines[0].get_xdata()).tolist() == [4.0, 30.0]
    time, memory, proportion = (np.asarray(line.get_ydata()).tolist() for line in batch.lines)
    assert (time, memory, proportion) == ([1, 2], [1, 1.5], [1, 2])
    assert len(queue.lines) == 2  # where the system does not tell the memory


@pytest.mark.parametrize(
    ("ratios", "growth", "panels"), [(RATIOS, [], 1), (RATIOS[:0], GROWTH, 2), (RATIOS[:0], [], 0)]
)
def test_speed_leaves_out_what_was_not_measured(ratios: pd.DataFrame, growth: list[Any], panels: int) -> None:
    figure = speed_figure(ratios, growth)
    FigureCanvasAgg(figure).draw()
    assert len(figure.axes) == panels
