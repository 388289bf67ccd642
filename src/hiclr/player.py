"""The skeleton player: packs sequences for `pages/player.js`, which shows them in any page, without a network.

A page holds `style()` and `script()` once, and gives `HiclrPlayer` an element, a `layout` and `packed` sequences.
"""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hiclr.pages import read_page
from hiclr.plots import visible_joints
from hiclr.skeleton import Skeleton

_STEPS = 32767  # of int16, to both sides of the middle
_ABSENT = -32768
_FARTHEST = 1e6  # metres; as preparation has it
_APART = 1.0  # metres between the bodies of a prepared sequence


def packed(
    frames: NDArray[np.floating[Any]], title: str, caption: str = "", name: str = "", centre: int | None = None
) -> dict[str, Any]:
    """A sequence as JSON can carry it, in 2.7 bytes a coordinate: off by at most half a `scale` per coordinate.

    Args:
        frames: (T, M, V, 3) in metres, y up; see `there` for what is left out of them.
        title: what stands below the skeleton.
        caption: further lines.
        name: what a page knows the sequence by.
        centre: joint that preparation moved to the origin (`skeleton.centre_joint`); None for raw recordings.

    Raises:
        ValueError: for frames of another shape, or none.
    """
    if frames.ndim != 4 or frames.shape[3] != 3 or 0 in frames.shape:
        raise ValueError(f"expected frames (T, M, V, 3), got {frames.shape}")
    seen = there(frames, centre)
    points = frames[seen].astype(np.float64)
    low, high = (points.min(0), points.max(0)) if len(points) else (np.zeros(3), np.zeros(3))
    middle = low / 2 + high / 2
    scale = float((high / 2 - low / 2).max() / _STEPS) or 1.0
    steps = np.full(frames.shape, _ABSENT, "<i2")
    steps[seen] = np.rint((points - middle) / scale).clip(-_STEPS, _STEPS)
    return {
        "name": name,
        "title": title,
        "caption": caption,
        "shape": list(frames.shape[:3]),
        "scale": scale,
        "centre": middle.tolist(),
        "data": base64.b64encode(steps.tobytes()).decode("ascii"),
    }


def there(frames: NDArray[np.floating[Any]], centre: int | None = None) -> NDArray[np.bool_]:
    """Which joints are there (T, M, V): neither NaN nor too far off to be measured nor zero in all coordinates.

    Args:
        frames: (T, M, V, 3) in metres.
        centre: joint for which zero is a place like any other while its body shows another joint.
    """
    measured = np.asarray((np.abs(frames) < _FARTHEST).all(3))
    seen: NDArray[np.bool_] = measured & (frames != 0).any(3)
    if centre is not None:
        seen[:, :, centre] = measured[:, :, centre] & seen.any(2)
    return seen


def from_prepared(x: NDArray[np.floating[Any]], centre: int) -> NDArray[np.floating[Any]]:
    """A prepared sequence, or a view of one, as frames to be packed: NaN where a joint is masked, no absent bodies.

    Args:
        x: (3, T, V, M) in metres.
        centre: the joint that preparation puts at the origin.

    Returns:
        (T, M', V, 3); one body of NaN where there is none.
    """
    seen = visible_joints(x, centre)
    frames = np.where(seen, x, np.nan).transpose(1, 3, 2, 0)
    return side_by_side(frames[:, seen.any((0, 1))]) if seen.any() else frames[:, :1]


def side_by_side(frames: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    """Frames (T, M, V, 3) with bodies beside each other, each of which preparation puts at the origin."""
    bodies = frames.shape[1]
    steps = _APART * ((bodies - 1) / 2 - np.arange(bodies))  # the first to the left of who sees their fronts
    return np.asarray(frames + steps[:, None, None] * np.array([1, 0, 0]), frames.dtype)


def layout(skeleton: Skeleton) -> dict[str, Any]:
    """Joint names, parents (-1 for the root) and sides ("left", "right" or "middle"), for the player."""
    sides = ["middle"] * skeleton.num_joints
    for left, right in mirror_pairs(skeleton):
        sides[left], sides[right] = "left", "right"
    return {"names": list(skeleton.joint_names), "parents": list(skeleton.parents), "sides": sides}


def mirror_pairs(skeleton: Skeleton) -> tuple[tuple[int, int], ...]:
    """Index pairs (left, right); none where the layout tells no left from right."""
    try:
        return skeleton.mirror_pairs
    except ValueError:
        return ()


def script() -> str:
    """The JavaScript that defines `HiclrPlayer`, for a `<script>` element."""
    return read_page("player.js")


def style() -> str:
    """Its CSS, for a `<style>` element."""
    return read_page("player.css")
