"""What the synthetic performers do: one program per action.

A program is a short list of key poses with seconds between them, written for a performer 1.75 m
tall. `performers` turns it into the joints of somebody who is not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Anchor = Literal["shoulder", "chest", "head", "floor", "between", "partner"]
Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Reach:
    """Where a hand is: metres outward (away from the other hand), up and forward of an anchor.

    Anchors: the own shoulder, chest (spine_shoulder) or head, turning with them; the floor between
    the own feet as the performance began; the middle between two performers; the partner's chest.
    `elbow` says where the elbow points: 0 down and back, 1 sideways.
    """

    out: float
    up: float
    forward: float
    of: Anchor = "shoulder"
    elbow: float = 0.25


HANGING = Reach(0.05, -0.555, 0.04)


@dataclass(frozen=True)
class Pose:
    """One key of a program. "Main" is the side of the writing hand; None leaves a hand to the performer's habit.

    Args:
        hips: metres to the main side, up and forward of standing.
        trunk: degrees bent forward, turned to the main side, leant to the main side.
        head: the same, on top of the trunk.
        hand: where the main hand is.
        other_hand: where the other hand is.
        foot: metres outward, up and forward of where the main foot stands.
        other_foot: the same of the other foot.
        walk: metres walked forward since the start (feet step by themselves).
    """

    hips: Triple = (0.0, 0.0, 0.0)
    trunk: Triple = (0.0, 0.0, 0.0)
    head: Triple = (0.0, 0.0, 0.0)
    hand: Reach | None = None
    other_hand: Reach | None = None
    foot: Triple = (0.0, 0.0, 0.0)
    other_foot: Triple = (0.0, 0.0, 0.0)
    walk: float = 0.0


@dataclass(frozen=True)
class Program:
    """An action: key poses and the seconds between neighbours.

    Args:
        keys: K poses of the performer.
        seconds: K - 1 durations at tempo 1.
        partner: K poses of the second performer, who stands opposite; None for one performer.
        loop: first and last key of the part that is repeated; the two poses are the same.
        cycles: fewest and most repetitions of that part.
        distance: metres between two performers at the start.
        sided: whether left-handed performers mirror it (a handshake is right-handed by custom).
    """

    keys: tuple[Pose, ...]
    seconds: tuple[float, ...]
    partner: tuple[Pose, ...] | None = None
    loop: tuple[int, int] | None = None
    cycles: tuple[int, int] = (1, 1)
    distance: float = 0.0
    sided: bool = True

    def reversed(self) -> Program:
        """The same action backward in time."""
        last = len(self.keys) - 1
        return Program(
            keys=self.keys[::-1],
            seconds=self.seconds[::-1],
            partner=self.partner and self.partner[::-1],
            loop=self.loop and (last - self.loop[1], last - self.loop[0]),
            cycles=self.cycles,
            distance=self.distance,
            sided=self.sided,
        )

    def order(self, cycles: int) -> list[int]:
        """Indices of the keys as performed, the loop `cycles` times."""
        keys = list(range(len(self.keys)))
        if self.loop is None:
            return keys
        first, last = self.loop
        return keys[: last + 1] + keys[first + 1 : last + 1] * (cycles - 1) + keys[last + 1 :]


STAND = Pose()
_HOLD = Reach(-0.05, -0.27, 0.28)  # something held before the belly
_HAT = Pose(hand=Reach(-0.08, -0.30, 0.30), other_hand=Reach(-0.08, -0.30, 0.30), head=(12, 0, 0))
_HAT_LIFTED = Pose(hand=Reach(0.10, 0.20, 0.26, "head", 0.6))
_HAT_ON_HEAD = Pose(hand=Reach(0.06, 0.15, 0.03, "head", 0.9), head=(5, 0, 0))
_LAP = Reach(0.0, -0.36, 0.26, elbow=0.4)
_SEATED = Pose(hips=(0, -0.42, -0.40), trunk=(4, 0, 0), hand=_LAP, other_hand=_LAP)
_SITTING = Pose(hips=(0, -0.20, -0.24), trunk=(38, 0, 0), head=(-12, 0, 0), hand=Reach(0.06, -0.45, 0.24))
_SIT_DOWN = Program((STAND, _SITTING, _SEATED, _SEATED), (0.7, 0.8, 0.4))
_PUT_ON_HAT = Program((_HAT, _HAT_LIFTED, _HAT_ON_HEAD, _HAT_ON_HEAD, STAND), (0.6, 0.4, 0.4, 0.8))


def _at_face(where: Reach, head: Triple) -> Program:
    raised, lifted = Pose(hand=_HOLD, head=(6, 0, 0)), Pose(hand=where, head=head)
    return Program((STAND, raised, lifted, lifted, raised, STAND), (0.5, 0.6, 0.8, 0.6, 0.5))


def _wave() -> Program:
    out, back = Pose(hand=Reach(0.32, 0.22, 0.16, elbow=0.6)), Pose(hand=Reach(0.02, 0.28, 0.20, elbow=0.6))
    return Program((STAND, out, back, out, STAND), (0.6, 0.3, 0.3, 0.6), loop=(1, 3), cycles=(2, 5))


def _throw() -> Program:
    back = Pose(hand=Reach(0.22, 0.22, -0.18, elbow=0.8), other_hand=Reach(0.0, -0.1, 0.45), trunk=(-6, 32, 8))
    release = Pose(hand=Reach(-0.02, 0.28, 0.44), trunk=(16, -24, 0), other_foot=(0, 0, 0.28), hips=(0, -0.05, 0.14))
    through = Pose(hand=Reach(-0.28, -0.30, 0.30), trunk=(24, -30, 0), other_foot=(0, 0, 0.28), hips=(0, -0.05, 0.16))
    return Program((STAND, back, release, through, STAND), (0.8, 0.35, 0.3, 0.8))


def _kick() -> Program:
    swing, arm = (12.0, -8.0, 0.0), Reach(0.12, -0.40, 0.30)
    back = Pose(trunk=swing, foot=(0, 0.16, -0.34), hips=(-0.06, -0.02, 0), other_hand=Reach(0.1, -0.45, -0.2))
    hit = Pose(trunk=(-8, 8, 0), foot=(-0.04, 0.40, 0.66), hips=(-0.06, -0.02, 0.04), other_hand=arm)
    return Program((STAND, back, hit, STAND), (0.5, 0.35, 0.6))


def _pick_up() -> Program:
    down = Pose(trunk=(68, -12, 0), hips=(0, -0.36, -0.20), head=(-10, 0, 0), hand=Reach(0.02, 0.16, 0.36, "floor"))
    return Program((STAND, down, down, Pose(hand=_HOLD, head=(10, 0, 0))), (0.9, 0.2, 0.9))


def _handshake() -> Program:
    up = Pose(walk=0.10, hand=Reach(0.0, -0.24, 0.0, "between"), trunk=(5, 0, 0))
    low = Pose(walk=0.10, hand=Reach(0.0, -0.34, 0.0, "between"), trunk=(5, 0, 0))
    keys = (STAND, up, low, up, STAND)
    seconds = (0.8, 0.25, 0.25, 0.8)
    return Program(keys, seconds, partner=keys, loop=(1, 3), cycles=(1, 4), distance=1.2, sided=False)


def _push() -> Program:
    ready = Pose(walk=0.25, hand=Reach(0.0, -0.12, 0.22, elbow=0.5), other_hand=Reach(0.0, -0.12, 0.22, elbow=0.5))
    touch = Reach(0.12, -0.08, -0.10, "partner", 0.4)
    hit = Pose(walk=0.38, hand=touch, other_hand=touch, trunk=(14, 0, 0))
    after = Pose(walk=0.38, hand=Reach(0.0, -0.06, 0.52), other_hand=Reach(0.0, -0.06, 0.52), trunk=(16, 0, 0))
    end = Pose(walk=0.38)
    startled = Pose(trunk=(-14, 0, 0), walk=-0.25, hand=Reach(0.2, -0.3, 0.3), other_hand=Reach(0.2, -0.3, 0.3))
    pushed = (STAND, STAND, STAND, startled, Pose(walk=-0.45))
    return Program((STAND, ready, hit, after, end), (0.6, 0.3, 0.3, 0.8), partner=pushed, distance=1.0)


def _hug() -> Program:
    open_arms = Reach(0.30, -0.12, 0.36, elbow=0.5)
    wide = Pose(walk=0.46, hand=open_arms, other_hand=open_arms)
    back = Reach(0.04, -0.10, 0.16, "partner", 0.7)
    held = Pose(walk=0.58, hand=back, other_hand=Reach(0.08, -0.24, 0.15, "partner", 0.7), trunk=(8, 0, 0))
    keys = (STAND, wide, held, held, wide, STAND)
    return Program(keys, (0.9, 0.5, 0.7, 0.5, 0.9), partner=keys, distance=1.5)


PROGRAMS: dict[str, Program] = {
    "drink": _at_face(Reach(-0.04, -0.08, 0.12, "head", 0.25), (-12, 0, 0)),
    "phone call": _at_face(Reach(0.10, -0.03, 0.03, "head", 0.3), (0, 0, 6)),
    "put on hat": _PUT_ON_HAT,
    "take off hat": _PUT_ON_HAT.reversed(),
    "sit down": _SIT_DOWN,
    "stand up": _SIT_DOWN.reversed(),
    "wave": _wave(),
    "throw": _throw(),
    "kick": _kick(),
    "pick up": _pick_up(),
    "put down": _pick_up().reversed(),
    "push": _push(),
    "handshake": _handshake(),
    "hug": _hug(),
}

CLASS_NAMES: tuple[str, ...] = tuple(PROGRAMS)
"""Class names in the order of the action numbers: A001 is `CLASS_NAMES[0]`."""
