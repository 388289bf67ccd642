"""A synthetic corpus: simulated performers before simulated Kinects, written as NTU `.skeleton` files.

For trying the tool, teaching and tests, where no recorded corpus may be shipped. Performances come from
`performers`; here stand three cameras, each sees the same performance with its own errors, and what it
sees is written under NTU's names, so that NTU's readers and splits apply unchanged. The folder is marked
by `synthetic.json`: nothing in it may be taken for recorded data.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from hiclr.data.actions import CLASS_NAMES
from hiclr.data.performers import FRAME_RATE, MIN_FRAMES, draw_subject, perform
from hiclr.skeleton import SKELETONS, Skeleton

__all__ = ["CAMERAS", "CLASS_NAMES", "MARKER", "observe", "synthesise", "write_skeleton"]

Array = NDArray[np.float64]

MARKER = "synthetic.json"
"""The file that marks a folder as synthetic."""

CAMERAS: dict[int, float] = {1: -45.0, 2: 0.0, 3: 45.0}
"""Degrees from the middle of the room at which each camera stands (NTU's camera 1 stands in the middle).

Performers face the middle between cameras 2 and 3, the training side of xview. So training sees them from the front,
a little from either side, and camera 1, the test side, from 67 degrees beside: nearly in profile, where half of a
body hides the other.
"""

_RECIPE = 1  # counts up when the same settings would give other files
_NTU25 = SKELETONS["ntu25"]
_FACING = 22.5  # degrees
_DISTANCE = 3.2  # metres from camera to the middle of the room
_CAMERA_HEIGHT = 1.2  # metres

# --- the sensor -------------------------------------------------------------------------------------------------------

# Metres of jitter where a joint is seen well.
_JITTER = {
    "spine_base": 0.014, "spine_mid": 0.012, "spine_shoulder": 0.006, "neck": 0.005, "head": 0.010,
    "shoulder": 0.008, "elbow": 0.014, "wrist": 0.011, "hand": 0.009, "hand_tip": 0.010, "thumb": 0.009,
    "hip": 0.006, "knee": 0.020, "ankle": 0.018, "foot": 0.019,
}  # fmt: skip
_JITTERS = np.array([_JITTER[n if n in _JITTER else n.rsplit("_", 1)[0]] for n in _NTU25.joint_names])
# Part of a bone's length by which a whole recording sees its end in the wrong place: the trunk is fitted best.
_TRUNK = ("spine_base", "spine_mid", "spine_shoulder", "neck", "head", "hip_left", "hip_right")
_MISFITS = np.array([0.15 if name in _TRUNK else 0.22 for name in _NTU25.joint_names])
_LOSSES = 0.7  # joints lost in a recording, on average
_RAY = np.array([1.0, 1.0, 1.5])  # depth is measured worst
# What a camera cannot see through: bones and how thick they are, in metres.
_SOLID = (
    ("spine_base", "spine_shoulder", 0.15), ("neck", "head", 0.10),
    ("shoulder_left", "elbow_left", 0.06), ("elbow_left", "wrist_left", 0.05),
    ("shoulder_right", "elbow_right", 0.06), ("elbow_right", "wrist_right", 0.05),
    ("hip_left", "knee_left", 0.09), ("knee_left", "ankle_left", 0.07),
    ("hip_right", "knee_right", 0.09), ("knee_right", "ankle_right", 0.07),
)  # fmt: skip
_UPPER = np.array([_NTU25.index(upper) for upper, _, _ in _SOLID])
_LOWER = np.array([_NTU25.index(lower) for _, lower, _ in _SOLID])
_RADIUS = np.array([radius for _, _, radius in _SOLID])
_JOINTS = range(_NTU25.num_joints)
_OWN = np.array([[joint in (up, low) for up, low in zip(_UPPER, _LOWER, strict=True)] for joint in _JOINTS])
_PARENTS = np.array([joint if parent < 0 else parent for joint, parent in enumerate(_NTU25.parents)])
_CHAINS = np.array([[above in _NTU25.path_to_root(joint) for above in _JOINTS] for joint in _JOINTS])
TRACKED, INFERRED, LOST = 2, 1, 0


def observe(motion: NDArray[np.floating[Any]], yaw: float, rng: np.random.Generator) -> tuple[Array, NDArray[np.intp]]:
    """What a Kinect reports of a performance.

    Seen joints jitter; those behind something are guessed near what hides them; some are lost: they freeze
    or jump. Errors last (AR(1)). The recording may start late and end early, miss a few frames altogether,
    notice the second body late or lose it for a while, and list two bodies in either order.

    Args:
        motion: (F, M, V, 3) metres, y up, the floor at 0, as `perform` gives it; F at least `MIN_FRAMES`.
        yaw: degrees from the z axis, to x, at which the camera stands.
        rng: source of all errors.

    Returns:
        Joints in camera space (z away from the camera, y up; metres), (F', M, V, 3), zero where a body is not
        seen, and the tracking state of each joint (2 tracked, 1 inferred, 0 lost), (F', M, V).

    Raises:
        ValueError: the performance is shorter.
    """
    if len(motion) < MIN_FRAMES:
        raise ValueError(f"expected a performance of at least {MIN_FRAMES} frames, got {len(motion)}")
    motion = _cut(np.asarray(motion, dtype=float), rng)
    truth = _to_camera(motion, yaw)
    hidden, front = _occlusion(truth)
    seen = truth + _errors(truth, hidden, front, rng)
    state = np.where(hidden > 0.5, INFERRED, TRACKED)
    _lose_joints(seen, state, rng)
    present = _presence(len(seen), seen.shape[1], rng)
    if rng.random() < 0.5:  # Kinect numbers bodies as it likes
        seen, state, present = seen[:, ::-1], state[:, ::-1], present[:, ::-1]
    return np.where(present[..., None, None], seen, 0.0), state


def _cut(motion: Array, rng: np.random.Generator) -> Array:
    """Each camera's recording is cut by itself: up to a third is missing at either end, 2.5 seconds at most."""
    most = min(len(motion) // 3, 5 * FRAME_RATE // 2)
    start, end = rng.integers(0, most + 1, 2)
    return motion[start : len(motion) - end]


def _to_camera(motion: Array, yaw: float) -> Array:
    """World to camera space: x grows to the sensor's left, which is the right of who faces it."""
    cos, sin = np.cos(np.deg2rad(yaw)), np.sin(np.deg2rad(yaw))
    axes = np.array([[-cos, 0.0, sin], [0.0, 1.0, 0.0], [-sin, 0.0, -cos]])
    return np.asarray(motion @ axes.T + np.array([0.0, -_CAMERA_HEIGHT, _DISTANCE]))


def _occlusion(points: Array) -> tuple[Array, Array]:
    """How far each joint is hidden, 0 to 1, and the depth of what hides it, (F, M, V) each.

    A joint is hidden by a limb, of its own body or of another, that is nearer and lies over it in the image.
    """
    frames, bodies, joints, _ = points.shape
    flat = points[..., :2] / points[..., 2:] * _DISTANCE  # the image, in metres at the middle of the room
    upper, lower = (flat[:, :, ends].reshape(frames, 1, 1, -1, 2) for ends in (_UPPER, _LOWER))
    near, far = (points[:, :, ends, 2].reshape(frames, 1, 1, -1) for ends in (_UPPER, _LOWER))
    bone = lower - upper
    away = flat[:, :, :, None] - upper
    along = np.clip((away * bone).sum(-1) / ((bone**2).sum(-1) + 1e-6), 0.0, 1.0)
    beside = np.linalg.norm(away - along[..., None] * bone, axis=-1)
    depth = near + along * (far - near)
    behind = points[..., 2][..., None] - depth
    covered = np.clip((np.tile(_RADIUS, bodies) - beside) / 0.05, 0, 1) * np.clip((behind - 0.04) / 0.06, 0, 1)
    covered = covered.reshape(frames, bodies, joints, bodies, len(_SOLID))
    for body in range(bodies):
        covered[:, body, :, body] *= ~_OWN  # no bone hides its own ends
    covered = covered.reshape(frames, bodies, joints, -1)
    worst = covered.argmax(-1)[..., None]
    return np.take_along_axis(covered, worst, -1)[..., 0], np.take_along_axis(depth, worst, -1)[..., 0]


def _errors(truth: Array, hidden: Array, front: Array, rng: np.random.Generator) -> Array:
    """How far off each joint is seen, (F, M, V, 3): worse where it is hidden, and there drawn to what hides it."""
    worse = 1 + 1.5 * hidden[..., None]
    quick, slow = (_lasting(truth.shape, memory, rng) for memory in (0.6, 0.96))
    jitter = (0.8 * quick * worse + 0.6 * slow * worse**2) * _JITTERS[:, None] * _RAY
    # The body model fits a view badly in one way throughout: a bone's error moves all that hangs on it.
    bones = np.linalg.norm(truth - truth[:, :, _PARENTS], axis=-1).mean(0)[..., None]
    misfit = _CHAINS @ (_MISFITS[:, None] * bones * rng.standard_normal(truth.shape[1:]))
    errors: Array = jitter + (1 + hidden[..., None]) * misfit
    errors[..., 2] -= hidden * rng.uniform(0.5, 0.9, truth.shape[1:3]) * (truth[..., 2] - front)
    return errors


def _lasting(shape: tuple[int, ...], memory: float, rng: np.random.Generator) -> Array:
    """Noise of size 1 that is AR(1) along the first axis."""
    noise = rng.standard_normal(shape)
    fresh = np.sqrt(1 - memory**2)
    for frame in range(1, len(noise)):
        noise[frame] = memory * noise[frame - 1] + fresh * noise[frame]
    return noise


def _lose_joints(seen: Array, state: NDArray[np.intp], rng: np.random.Generator) -> None:
    """Loses a joint and what hangs on it for a while, in place: it stays where it was, or jumps."""
    frames, bodies, joints, _ = seen.shape
    for _ in range(rng.poisson(_LOSSES * bodies)):
        body, joint, start = rng.integers(bodies), rng.integers(joints), rng.integers(1, frames)
        gone = slice(start, start + rng.integers(3, 16))
        limb = np.flatnonzero(_CHAINS[:, joint])
        jump = rng.integers(0, 2) * rng.normal(0.0, 0.15, 3)
        seen[gone, body, limb] = seen[start - 1, body, limb] + jump
        state[gone, body, limb] = LOST


def _presence(frames: int, bodies: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """In which frames each body is reported, (F, M)."""
    present = np.ones((frames, bodies), dtype=bool)
    if rng.random() < 0.2:  # nobody at all for a moment
        start = rng.integers(0, frames - 5)
        present[start : start + rng.integers(1, 5)] = False
    if bodies > 1:
        body = rng.integers(bodies)
        if rng.random() < 0.3:  # noticed late
            present[: rng.integers(3, frames // 4), body] = False
        if rng.random() < 0.2:  # lost behind the other
            start = rng.integers(frames // 3, 2 * frames // 3)
            present[start : start + rng.integers(3, frames // 5), body] = False
    return present


# --- the file format --------------------------------------------------------------------------------------------------

_JOINT_LINE = " ".join(["%.5f"] * 3 + ["%.2f"] * 4 + ["%.5f"] * 4 + ["%d"])
_FIRST_ID = 72057594037927936  # 2**56, where Kinect's ids begin
# Focal length and centre in pixels of the depth (512 x 424) and colour (1920 x 1080) cameras, and metres between them.
_DEPTH_LENS = (366.0, 256.5, 207.5, 0.0)
_COLOUR_LENS = (1063.0, 960.0, 567.0, 0.052)


def write_skeleton(
    path: Path | str,
    frames: NDArray[np.floating[Any]],
    *,
    tracking: NDArray[np.integer[Any]] | None = None,
    body_ids: Sequence[str] | None = None,
    skeleton: Skeleton = _NTU25,
) -> None:
    """Writes joints as an NTU RGB+D `.skeleton` text file.

    Depth and colour pixels and joint orientations are computed; hand states and lean are constants.

    Args:
        path: the file to write.
        frames: (F, M, V, 3) metres in camera space; a body that is all zero in a frame is left out of it.
        tracking: (F, M, V) states 2, 1, 0 of each joint; all tracked when None.
        body_ids: a number for each body, as text (17 digits in NTU).
        skeleton: whose V joints they are; bones give the orientations.

    Raises:
        ValueError: for another shape than that.
    """
    points = np.asarray(frames, dtype=float)
    if points.ndim != 4 or points.shape[2:] != (skeleton.num_joints, 3):
        raise ValueError(
            f"expected frames (F, M, {skeleton.num_joints}, 3), got {points.shape}: "
            f"the skeleton {skeleton.name!r} has {skeleton.num_joints} joints of 3 coordinates"
        )
    ids = [f"{_FIRST_ID + body}" for body in range(points.shape[1])] if body_ids is None else body_ids
    if len(ids) != points.shape[1] or not all(body_id.isdigit() for body_id in ids):
        raise ValueError(f"expected a number as id for each of {points.shape[1]} bodies, got {list(ids)}")
    states = np.full(points.shape[:3], TRACKED) if tracking is None else tracking
    pixels = _pixels(points, *_DEPTH_LENS), _pixels(points, *_COLOUR_LENS)
    numbers = np.concatenate([points, *pixels, _orientation(points, skeleton), states[..., None]], axis=-1)
    present = np.asarray(points.any((2, 3)))
    # One template and one formatting for the whole file: formatting is what takes the time.
    joints = f"{skeleton.num_joints}\n" + f"{_JOINT_LINE}\n" * skeleton.num_joints
    bodies = [f"{body_id} 0 1 1 1 1 0 0.0 0.0 2\n{joints}" for body_id in ids]
    template = "".join(
        f"{len(seen)}\n" + "".join(bodies[body] for body in seen) for seen in (np.flatnonzero(row) for row in present)
    )
    text = f"{len(points)}\n" + template % tuple(numbers[present].ravel().tolist())
    Path(path).write_text(text, encoding="ascii", newline="\n")


def _pixels(points: Array, focal: float, centre_x: float, centre_y: float, beside: float) -> Array:
    """Where points in camera space (..., 3) fall in an image, (..., 2); `beside` is how far its lens is off."""
    depth = np.maximum(points[..., 2], 0.1)
    across, up = (points[..., 0] + beside) / depth, points[..., 1] / depth
    return np.stack([centre_x + focal * across, centre_y - focal * up], axis=-1)


def _orientation(points: Array, skeleton: Skeleton) -> Array:
    """Quaternions (w, x, y, z) that turn the y axis to the bone which ends in a joint; zero at ends, as Kinect's."""
    parents = np.array([joint if parent < 0 else parent for joint, parent in enumerate(skeleton.parents)])
    bone = points - points[..., parents, :]
    length = np.linalg.norm(bone, axis=-1, keepdims=True)
    x, y, z = np.moveaxis(bone / np.maximum(length, 1e-9), -1, 0)
    # The root has no bone and no turn. A bone straight down has no shortest turn: any half turn about z will do.
    quaternion = np.stack([1 + y, z, np.zeros_like(y), np.where(y < -1 + 1e-9, 1.0, -x)], axis=-1)
    quaternion /= np.linalg.norm(quaternion, axis=-1, keepdims=True)
    ends = np.setdiff1d(np.arange(skeleton.num_joints), parents)
    quaternion[..., ends, :] = 0.0
    return np.asarray(quaternion)


# --- the corpus -------------------------------------------------------------------------------------------------------


def synthesise(
    out: Path | str,
    *,
    subjects: int = 8,
    repetitions: int = 2,
    seed: int = 0,
    classes: Sequence[str] | None = None,
) -> Path:
    """Writes a synthetic corpus of NTU `.skeleton` files: subjects x classes x repetitions x 3 cameras.

    Every sequence has its own seed, drawn from (seed, subject, action, repetition, camera): the same settings give
    the same bytes, and what a smaller corpus shares with a larger one is the same. The folder is written beside
    `out` and renamed when whole; where the same corpus is there already, nothing is done.

    Args:
        out: the folder to make.
        subjects: number of performers, numbered from 1. NTU's cross-subject split trains on 1, 2, 4, 5 and 8 of the
            first eight.
        repetitions: how often each performs each action.
        seed: of everything.
        classes: those of `CLASS_NAMES` to perform, all when None; each keeps its action number.

    Returns:
        `out`.

    Raises:
        ValueError: a number is out of range, a class is unknown, or `out` holds something else.
    """
    out = Path(out)
    actions = _action_numbers(classes)
    _check_range("subjects", subjects, 1, 999)
    _check_range("repetitions", repetitions, 1, 999)
    _check_range("seed", seed, 0, 2**63)
    settings = {
        "synthetic": True,
        "generator": "hiclr",
        "recipe": _RECIPE,
        "seed": seed,
        "subjects": subjects,
        "repetitions": repetitions,
        "cameras": {str(camera): yaw for camera, yaw in CAMERAS.items()},
        "class_names": list(CLASS_NAMES),
        "actions": actions,
    }
    if _is_there(out, settings):
        return out
    partial = out.with_name(f"{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    tasks = [(s, a, r) for s in range(1, subjects + 1) for a in actions for r in range(1, repetitions + 1)]
    for task in track(tasks, "simulating", console=Console(stderr=True, force_jupyter=False), transient=True):
        _record(partial, seed, *task)
    (partial / MARKER).write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8", newline="\n")
    if out.exists():  # and is empty
        out.rmdir()
    return partial.rename(out)


def _record(folder: Path, seed: int, subject: int, action: int, repetition: int) -> None:
    """Writes what the three cameras see of one performance."""
    rng = np.random.default_rng([seed, subject, action, repetition])
    partner = subject + 1 if subject % 2 else subject - 1
    people = [draw_subject(number, seed) for number in (subject, partner)]
    motion = perform(CLASS_NAMES[action - 1], people[0], rng, people[1])
    for camera, yaw in CAMERAS.items():
        errors = np.random.default_rng([seed, subject, action, repetition, camera])
        seen, state = observe(motion, yaw - _FACING, errors)
        first = _FIRST_ID + int(errors.integers(9999))
        ids = [f"{first + body}" for body in range(seen.shape[1])]
        name = f"S001C{camera:03d}P{subject:03d}R{repetition:03d}A{action:03d}.skeleton"
        write_skeleton(folder / name, seen, tracking=state, body_ids=ids)


def _action_numbers(classes: Sequence[str] | None) -> list[int]:
    if classes is None:
        classes = CLASS_NAMES
    unknown = [name for name in classes if name not in CLASS_NAMES]
    if unknown or not classes:
        problem = f"no class is called {unknown[0]!r}" if unknown else "no class is named"
        raise ValueError(f"{problem}: choose from {', '.join(CLASS_NAMES)}")
    return sorted({CLASS_NAMES.index(name) + 1 for name in classes})


def _check_range(what: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise ValueError(f"{what} must be from {least} to {most}, got {value}")


def _is_there(out: Path, settings: dict[str, Any]) -> bool:
    """Whether the corpus is written already; ValueError where something else is in its place."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    try:
        found = json.loads((out / MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise ValueError(f"{out} exists and is no synthetic corpus: name another folder or remove it") from None
    if found == settings:
        return True
    other = [key for key in settings if not isinstance(found, dict) or found.get(key) != settings[key]]
    raise ValueError(
        f"{out} holds a synthetic corpus with other settings ({', '.join(other)}): name another folder or remove it"
    )
