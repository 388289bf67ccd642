"""Synthetic performers: their bodies and habits, and the kinematics that turn a program into joints.

Trunk and head follow from angles; each hand and foot follows a target, and the two bones above it
are solved (two-bone inverse kinematics), so that feet stay on the floor, hands meet what they reach
for, and knees and elbows bend the one way they can. All frames are computed at once.

World axes: y up, the floor at y = 0, metres; a body that faces z has its left at x (right-handed).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from hiclr.data.actions import CLASS_NAMES, HANGING, PROGRAMS, Anchor, Pose, Program, Reach
from hiclr.skeleton import SKELETONS

Array = NDArray[np.float64]

FRAME_RATE = 30
"""Frames a second, as a Kinect v2."""

MIN_FRAMES, MAX_FRAMES = 90, 200
"""Shortest and longest performance; a recording keeps a third of it at least."""

_STATURE = 1.75  # metres: the performer that programs and bone lengths are written for
_NTU25 = SKELETONS["ntu25"]
_ANCHORS: tuple[Anchor, ...] = get_args(Anchor)
_SIDES: dict[Literal["left", "right"], int] = {"left": 1, "right": -1}
_ANKLE_HEIGHT = 0.085  # metres
_STANDING = 0.985  # of a stretched leg
_STEP = 0.7  # metres, the longest
_TRUNK_SLIPS = (4.0, 12.0, 4.0)  # degrees: bending, turning, leaning that no action asks for
_HEADING = 20.0  # degrees that the facing direction varies
_STILL = (0.2, 3.0)  # seconds of waiting before and after
_RESTING = (HANGING, Reach(0.10, -0.36, 0.06, elbow=0.95), Reach(-0.12, -0.42, -0.12), Reach(-0.05, -0.25, 0.24))


@dataclass(frozen=True)
class Subject:
    """A performer's body and habits; draw one with `draw_subject`.

    Args:
        bones: length in metres of the bone that ends in each part, sides alike.
        height: metres.
        tempo: speed relative to the programs.
        amplitude: size of movements relative to the programs.
        left_handed: whether the main side is the left.
        stoop: degrees that the trunk leans forward at rest.
        stance: metres of each foot beside the hip.
        toes: degrees that each foot turns out.
        elbow: how far the elbows point sideways beyond the programs.
        sway: size of idle movement, degrees.
    """

    bones: dict[str, float]
    height: float
    tempo: float
    amplitude: float
    left_handed: bool
    stoop: float
    stance: float
    toes: float
    elbow: float
    sway: float


# Metres for 1.75 m: typical lengths a Kinect reports.
_BONES = {
    "spine_mid": 0.31, "spine_shoulder": 0.22, "neck": 0.08, "head": 0.15, "shoulder": 0.175, "elbow": 0.27,
    "wrist": 0.245, "hand": 0.08, "hand_tip": 0.08, "thumb": 0.055, "hip": 0.085, "knee": 0.40, "ankle": 0.385,
    "foot": 0.13,
}  # fmt: skip
_REGIONS = (
    ("spine_mid", "spine_shoulder", "neck", "head"),
    ("shoulder", "hip"),
    ("elbow", "wrist", "hand", "hand_tip", "thumb"),
    ("knee", "ankle", "foot"),
)


def draw_subject(number: int, seed: int = 0) -> Subject:
    """The performer of that number: the same for the same seed, however many others there are.

    Numbers 2 and 7 of the first eight are left-handed: one on either side of NTU's cross-subject split.
    """
    rng = np.random.default_rng([seed, number])
    height = float(rng.uniform(1.52, 1.92))
    bones: dict[str, float] = {}
    for region in _REGIONS:
        proportion = height / _STATURE * rng.normal(1.0, 0.05)
        bones |= {part: _BONES[part] * proportion * rng.normal(1.0, 0.02) for part in region}
    return Subject(
        bones=bones,
        height=height,
        tempo=float(rng.uniform(0.75, 1.35)),
        amplitude=float(rng.uniform(0.8, 1.2)),
        left_handed=number % 5 == 2,
        stoop=float(rng.uniform(-2, 9)),
        stance=float(rng.uniform(0.0, 0.10)),
        toes=float(rng.uniform(0, 20)),
        elbow=float(rng.uniform(-0.15, 0.3)),
        sway=float(rng.uniform(0.8, 2.2)),
    )


def perform(
    action: str, subject: Subject, rng: np.random.Generator, partner: Subject | None = None
) -> NDArray[np.float32]:
    """One performance of an action, as it happened: no camera, no noise.

    The performer stands near the origin and faces z; two performers face each other along x.

    Args:
        action: one of `CLASS_NAMES`.
        subject: who does it.
        rng: source of everything that varies from one repetition to the next.
        partner: the second performer of a two-person action; somebody of the same build when None.

    Returns:
        Joints in metres, (F, M, V, 3): `MIN_FRAMES` to `MAX_FRAMES` frames, M 1 or 2, V 25 as "ntu25".

    Raises:
        ValueError: for an action that is none of `CLASS_NAMES`.
    """
    if action not in PROGRAMS:
        raise ValueError(f"unknown action {action!r}: choose one of {', '.join(CLASS_NAMES)}")
    program = PROGRAMS[action]
    order = program.order(int(rng.integers(program.cycles[0], program.cycles[1] + 1)))
    beat = _beat(program, order, subject.tempo, rng)
    spot = np.array([*rng.uniform(-0.25, 0.25, 2), 0.0])[[0, 2, 1]]
    heading = rng.normal(0.0, _HEADING)
    if program.partner is None:
        bodies = [_Body(subject, program.keys, order, beat, program.sided, spot, heading, rng)]
    else:
        heading += rng.choice([-90.0, 90.0])
        gap = _turn(heading, 0.0, 0.0)[:, 2] * program.distance / 2
        bodies = [
            _Body(subject, program.keys, order, beat, program.sided, spot - gap, heading, rng),
            _Body(partner or subject, program.partner, order, beat, program.sided, spot + gap, heading + 180, rng),
        ]
    for body, other in zip(bodies, bodies[::-1], strict=True):
        body.reach(other)
    return np.stack([body.joints for body in bodies], axis=1).astype(np.float32)


@dataclass(frozen=True)
class _Beat:
    """Where each of F frames is between two keys: `share` (F,) of the way from key `index` (F,) to the next."""

    index: NDArray[np.intp]
    share: Array

    def blend(self, keys: Array) -> Array:
        """Values (K, ...) at the keys to values (F, ...) at the frames."""
        share = self.share.reshape(-1, *[1] * (keys.ndim - 1))
        between: Array = keys[self.index] * (1 - share) + keys[self.index + 1] * share
        return between


def _beat(program: Program, order: Sequence[int], tempo: float, rng: np.random.Generator) -> _Beat:
    """Draws how long each part takes, the stillness before and after included."""
    moves = np.array([program.seconds[key - 1] for key in order[1:]]) / tempo
    moves *= np.exp(rng.normal(0.0, 0.2, len(moves)))
    seconds = np.concatenate([rng.uniform(*_STILL, 1), moves, rng.uniform(*_STILL, 1)])
    frames = int(np.clip(round(seconds.sum() * FRAME_RATE), MIN_FRAMES, MAX_FRAMES))
    times = np.concatenate([[0.0], np.cumsum(seconds / seconds.sum())])
    now = (np.arange(frames) + 0.5) / frames
    index = np.searchsorted(times, now, side="right") - 1
    share = (now - times[index]) / (times[index + 1] - times[index])
    share **= np.exp(rng.normal(0.0, 0.2, len(seconds)))[index]  # who starts slowly, who ends slowly
    return _Beat(index, share**3 * (10 - 15 * share + 6 * share**2))  # minimum jerk


class _Body:
    """One performer, as far as computed: trunk and legs at once, arms when `reach` knows the other's trunk."""

    def __init__(
        self,
        subject: Subject,
        keys: Sequence[Pose],
        order: Sequence[int],
        beat: _Beat,
        sided: bool,
        spot: Array,
        heading: float,
        rng: np.random.Generator,
    ) -> None:
        self.subject = subject
        self.scale = subject.height / _STATURE
        self.main: Literal["left", "right"] = "left" if subject.left_handed and sided else "right"
        self.other: Literal["left", "right"] = "right" if self.main == "left" else "left"
        self.spot = spot
        self.beat = beat
        self.frames = len(beat.index)
        self.joints = np.zeros((self.frames, _NTU25.num_joints, 3))
        poses = [keys[key] for key in order]
        self.poses = [poses[0], *poses, poses[-1]]  # the stillness before and after
        self.amplitude = subject.amplitude * np.exp(rng.normal(0.0, 0.12))
        self._draw_habits(rng)
        self._trunk(heading)
        self._legs()

    def _draw_habits(self, rng: np.random.Generator) -> None:
        """What differs between two repetitions by the same performer, apart from time."""
        sway = self.subject.sway
        self.trunk_sway = _sway(self.frames, 3, rng) * sway + rng.normal(0.0, 2.0, 3)
        self.head_sway = _sway(self.frames, 3, rng) * 2 * sway + rng.normal(0.0, 5.0, 3)
        self.hip_sway = _sway(self.frames, 2, rng) * 0.006 * sway
        self.hand_sway = _sway(self.frames, 6, rng).reshape(-1, 2, 3) * 0.008 * sway
        self.hand_slips = rng.normal(0.0, 0.03, (len(self.poses), 2, 3))
        self.trunk_slips = self.beat.blend(rng.normal(0.0, _TRUNK_SLIPS, (len(self.poses), 3)))
        self.hip_slips = self.beat.blend(rng.normal(0.0, 0.025, (len(self.poses), 2)))
        self.rests = [self._rests(0.8, rng), self._rests(0.5, rng)]
        self.stance = self.subject.stance + rng.uniform(0.0, 0.08, 2)
        self.stagger = rng.normal(0.0, 0.06, 2)

    def _rests(self, hanging: float, rng: np.random.Generator) -> list[Reach]:
        """What a hand does at each key that asks nothing of it: mostly what it did before."""
        others = (1 - hanging) / (len(_RESTING) - 1)
        drawn = rng.choice(len(_RESTING), len(self.poses), p=[hanging] + [others] * (len(_RESTING) - 1))
        stays = rng.random(len(self.poses)) < 0.6
        for key in range(1, len(drawn)):
            drawn[key] = drawn[key - 1] if stays[key] else drawn[key]
        return [_RESTING[rest] for rest in drawn]

    def _trunk(self, heading: float) -> None:
        """Frames of reference (F, 3, 3) and the joints from spine_base to head, feet not yet regarded."""
        side = _SIDES[self.main]
        bend, turn, lean = (self._channel("trunk") * self.amplitude + self.trunk_sway + self.trunk_slips).T
        bend = bend + self.subject.stoop
        nod, shake, tilt = (self._channel("head") + self.head_sway).T
        self.ground = np.broadcast_to(_turn(heading, 0.0, 0.0), (self.frames, 3, 3))
        lower = self.ground @ _turn(side * turn * 0.4, bend * 0.6, -side * lean * 0.5)
        self.chest = self.ground @ _turn(side * turn, bend, -side * lean)
        self.head = self.chest @ _turn(side * shake, nod, -side * tilt)
        hips = self._channel("hips") * self.amplitude * self.scale
        self.walked = self._channel("walk")[:, 0]
        aside = side * hips[:, 0] + self.hip_sway[:, 0] + self.hip_slips[:, 0]
        ahead = self.walked + hips[:, 2] + self.hip_sway[:, 1] + self.hip_slips[:, 1]
        self.drop = hips[:, 1]
        self._set("spine_base", self.spot + _apply(self.ground, np.stack([aside, 0 * aside, ahead], -1)))
        for joint, parent, frame in (
            ("spine_mid", "spine_base", lower),
            ("spine_shoulder", "spine_mid", self.chest),
            ("neck", "spine_shoulder", self.chest),
            ("head", "neck", self.head),
        ):
            self._set(joint, self._at(parent) + frame[..., 1] * self.subject.bones[joint])

    def _legs(self) -> None:
        """Sets the feet down, lets the trunk stand on them and bends the knees."""
        bones = self.subject.bones
        ankles = {name: self._ankle(name) for name in (self.main, self.other)}
        self._stand_on(ankles)
        for name, ankle in ankles.items():
            side = _SIDES[name]
            toe_out = self.ground @ _turn(side * self.subject.toes, 0.0, 0.0)
            hip = self._hip(name)
            knee, ankle = _bend(hip, ankle, bones["knee"], bones["ankle"], toe_out[..., 2])
            self._set(f"hip_{name}", hip)
            self._set(f"knee_{name}", knee)
            self._set(f"ankle_{name}", ankle)
            toes = np.array([0.0, -0.05 * self.scale, np.sqrt(bones["foot"] ** 2 - (0.05 * self.scale) ** 2)])
            self._set(f"foot_{name}", ankle + _apply(toe_out, toes))

    def _ankle(self, name: Literal["left", "right"]) -> Array:
        second = int(name == self.other)
        foot = self._channel("other_foot" if second else "foot") * self.amplitude * self.scale
        forward, up = _steps(self.walked, second)
        beside = _SIDES[name] * (self.subject.bones["hip"] + self.stance[second] + foot[:, 0])
        height = _ANKLE_HEIGHT * self.scale + foot[:, 1] + up
        return self.spot + _apply(
            self.ground, np.stack([beside, height, forward + foot[:, 2] + self.stagger[second]], -1)
        )

    def _hip(self, name: Literal["left", "right"]) -> Array:
        return self._at("spine_base") + self.ground[..., 0] * _SIDES[name] * self.subject.bones["hip"]

    def _stand_on(self, ankles: dict[Literal["left", "right"], Array]) -> None:
        """Raises everything so far to standing height, or lower where a leg would not reach its foot."""
        bones = self.subject.bones
        leg = _STANDING * (bones["knee"] + bones["ankle"])
        height = leg + _ANKLE_HEIGHT * self.scale + self.drop
        for name, ankle in ankles.items():
            away = np.linalg.norm((ankle - self._hip(name))[:, [0, 2]], axis=-1)
            height = np.minimum(height, ankle[:, 1] + np.sqrt(np.maximum(leg**2 - away**2, 0.01)))
        for joint in ("spine_base", "spine_mid", "spine_shoulder", "neck", "head"):
            self.joints[:, _NTU25.index(joint), 1] += height

    def reach(self, other: _Body) -> None:
        """Both arms; `other` is whom hands may reach for (oneself, where nobody else is there)."""
        bones = self.subject.bones
        for second, name in enumerate((self.main, self.other)):
            aside = np.array([_SIDES[name], 1.0, 1.0])
            fall = np.array([0.96 * _SIDES[name], -0.28, 0.0])
            shoulder = self._at("spine_shoulder") + _apply(self.chest, fall) * bones["shoulder"]
            target, elbow_out = self._hand_target(second, shoulder, other, aside)
            down = np.stack([elbow_out, 0 * elbow_out - 0.6, -0.7 * (1 - elbow_out)], -1)
            arm = bones["elbow"], bones["wrist"] + bones["hand"]
            elbow, hand = _bend(shoulder, target, *arm, _apply(self.chest, down * aside))
            along = _unit(hand - elbow)
            self._set(f"shoulder_{name}", shoulder)
            self._set(f"elbow_{name}", elbow)
            self._set(f"wrist_{name}", elbow + along * bones["wrist"])
            self._set(f"hand_{name}", hand)
            thumb = _unit(_across(_apply(self.chest, np.array([-0.5, 0.5, 0.7]) * aside), along))
            self._set(f"thumb_{name}", hand + (0.6 * along + 0.8 * thumb) * bones["thumb"])
            self._set(f"hand_tip_{name}", hand + along * bones["hand_tip"])

    def _hand_target(self, second: int, shoulder: Array, other: _Body, aside: Array) -> tuple[Array, Array]:
        """Where a hand wants to be, (F, 3), and how far sideways the elbow points, (F,)."""
        mine, others = self._at("spine_shoulder"), other._at("spine_shoulder")
        origin: dict[Anchor, Array] = {
            "shoulder": shoulder, "chest": mine, "head": self._at("head"), "partner": others,
            "floor": np.broadcast_to(self.spot, mine.shape), "between": (mine + others) / 2,
        }  # fmt: skip
        frame: dict[Anchor, Array] = {"shoulder": self.chest, "chest": self.chest, "head": self.head}
        origins = np.stack([origin[anchor] for anchor in _ANCHORS])
        frames = np.stack([frame.get(anchor, self.ground) for anchor in _ANCHORS])
        asked = [pose.other_hand if second else pose.hand for pose in self.poses]
        reaches = [reach or rest for reach, rest in zip(asked, self.rests[second], strict=True)]
        anchors = np.array([_ANCHORS.index(reach.of) for reach in reaches])
        offsets = np.array([self._stretched(reach) for reach in reaches]) + self.hand_slips[:, second]
        everywhere = np.arange(self.frames)
        ends = [
            origins[anchors[key], everywhere]
            + _apply(frames[anchors[key], everywhere], offsets[key] * aside * self.scale)
            for key in (self.beat.index, self.beat.index + 1)
        ]
        share = self.beat.share[:, None]
        target = ends[0] * (1 - share) + ends[1] * share + self.hand_sway[:, second]
        elbow_out = self.beat.blend(np.array([reach.elbow for reach in reaches])) + self.subject.elbow
        return target, np.clip(elbow_out, 0.0, 1.0)

    def _stretched(self, reach: Reach) -> Array:
        """The offset with the performer's amplitude; what is touched stays where it is."""
        offset = np.array([reach.out, reach.up, reach.forward])
        if reach.of != "shoulder":
            return offset
        rest = np.array([HANGING.out, HANGING.up, HANGING.forward])
        return np.asarray(rest + self.amplitude * (offset - rest))

    def _channel(self, name: str) -> Array:
        """A number or triple of the poses over the frames, (F, 1) or (F, 3)."""
        return self.beat.blend(np.array([np.atleast_1d(getattr(pose, name)) for pose in self.poses], dtype=float))

    def _at(self, joint: str) -> Array:
        return np.asarray(self.joints[:, _NTU25.index(joint)])

    def _set(self, joint: str, position: Array) -> None:
        self.joints[:, _NTU25.index(joint)] = position


def _sway(frames: int, channels: int, rng: np.random.Generator) -> Array:
    """Slow idle movement of size about 1, (F, channels): three sines of 0.1 to 0.7 Hz."""
    time = np.arange(frames)[:, None, None] / FRAME_RATE
    waves = rng.uniform(0.1, 0.7, (3, channels)) * time + rng.uniform(0.0, 1.0, (3, channels))
    return np.asarray(np.sin(2 * np.pi * waves).sum(1) * np.sqrt(2 / 3))


def _steps(walked: Array, second: int) -> tuple[Array, Array]:
    """Where a foot is, forward of its start and above the floor, when the body has walked that far, (F,) each.

    The main foot swings in the first half of a double step, the other in the second; both end side by side.
    """
    longest = np.abs(walked).max()
    if longest == 0.0:
        return walked, walked
    double_step = longest / np.ceil(longest / _STEP)
    done, part = np.divmod(walked / double_step, 1.0)
    swing = np.clip(2 * part - second, 0.0, 1.0)
    return (done + swing**2 * (3 - 2 * swing)) * double_step, 0.1 * double_step * np.sin(np.pi * swing)


def _bend(start: Array, target: Array, upper: float, lower: float, towards: Array) -> tuple[Array, Array]:
    """Middle and end, (F, 3) each, of two bones from `start` to `target`, the middle bent `towards` a direction.

    A target out of reach is approached as far as the bones go.
    """
    span = target - start
    distance = np.linalg.norm(span, axis=-1, keepdims=True)
    along = span / np.maximum(distance, 1e-6)
    distance = np.clip(distance, abs(upper - lower) + 0.05, 0.999 * (upper + lower))
    cosine = (upper**2 + distance**2 - lower**2) / (2 * upper * distance)
    sine = np.sqrt(1 - np.minimum(cosine**2, 1.0))
    return start + upper * (cosine * along + sine * _unit(_across(towards, along))), start + distance * along


def _across(vector: Array, along: Array) -> Array:
    """The part of a vector at right angles to a unit vector."""
    return np.asarray(vector - (vector * along).sum(-1, keepdims=True) * along)


def _unit(vector: Array) -> Array:
    return np.asarray(vector / np.linalg.norm(vector, axis=-1, keepdims=True))


def _apply(rotation: Array, vector: Array) -> Array:
    """Rotations (F, 3, 3) of one vector (3,) or one per frame (F, 3)."""
    return np.asarray((rotation @ vector[..., None])[..., 0])


def _turn(yaw: Array | float, pitch: Array | float, roll: Array | float) -> Array:
    """Rotation matrices (..., 3, 3) from degrees: roll about z, pitch about x (forward), yaw about y (left)."""
    yaw, pitch, roll = np.broadcast_arrays(*(np.deg2rad(angle) for angle in (yaw, pitch, roll)))
    (cy, sy), (cx, sx), (cz, sz) = ((np.cos(angle), np.sin(angle)) for angle in (yaw, pitch, roll))
    rows = [
        [cy * cz + sy * sx * sz, sy * sx * cz - cy * sz, sy * cx],
        [cx * sz, cx * cz, -sx],
        [cy * sx * sz - sy * cz, sy * sz + cy * sx * cz, cy * cx],
    ]
    return np.moveaxis(np.array(rows), (0, 1), (-2, -1))
