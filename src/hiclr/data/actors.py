"""Who of the bodies in a recording is kept, and in which slot.

A tracker sees bodies where there are none, loses people and finds them again as somebody else, and mixes up two who
come close. "file order" takes its word for all of it, as published; "motion" cleans up first, by three means:

1. Tracks of one person are joined: one that begins near the place where another ended before.
2. Two tracks that exchange their bodies from one frame to the next are changed back.
3. What is no person is dropped by the rule of NTU RGB+D's authors as the field's preparations apply it (first in
   github.com/microsoft/SGN): tracks that are seldom seen, wider than people are, or move too little or too much.

All lengths are in metres with y up. In data of other units or axes "motion" still keeps somebody, by thresholds that
mean nothing there.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Actors = Literal["file order", "motion"]

BRIEF = 11  # frames: a track that is seen in no more is noise
WIDE = 0.8  # a body wider (x) than this times its height (y) is noise in that frame
OFTEN_WIDE = 0.69754  # a track that is too wide in this share of its frames, or a larger one, is noise
STILL, WILD = 0.089925, 2.0  # square metres: a track that moves less or more is noise, unless it moves most
NEAR = 1.0  # metres that somebody may walk while the tracker looks for them (0.7 s at a good pace)
STEP = 0.3  # metres that nobody moves from one frame to the next (9 m/s), and nearer than two people stand
# How much less two bodies must move if they are thought exchanged. People who stand one in the other differ by noise
# alone either way, which comes nowhere near a half; a true exchange leaves next to nothing.
CLEARLY = 0.5


def choose_actors(frames: NDArray[np.float32], bodies: int, actors: Actors = "file order") -> NDArray[np.float32]:
    """Keeps up to `bodies` bodies of a recording; missing ones become zero.

    "file order" keeps the first. "motion" joins, changes back and drops tracks (see above), puts those with the most
    movement first and drops the frames that do not show the first. No rule applies that would leave nobody, so a single
    body passes as it is. Frames in which a kept track is too wide stay, and count as movement.

    Args:
        frames: (F, any, V, 3) in metres, finite.
        bodies: M of the result.
        actors: see above.

    Returns:
        (F', M, V, 3); F' = F in file order.
    """
    if actors == "motion" and frames.any():
        frames = _people_by_movement(_unswitched(_joined(frames)))
    kept = frames[:, :bodies]
    return np.pad(kept, ((0, 0), (0, bodies - kept.shape[1]), (0, 0), (0, 0)))


def seen_bodies(frames: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which bodies are there: (F, M, V, 3) -> (F, M)."""
    return np.asarray(frames.any((2, 3)))


def body_switches(frames: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Frames at which two bodies change slots.

    They do where less than half the way brings them from the slots of the frame before into the other's than into their
    own, by the mean distance that joints move; and where the only body is gone but one is now in the other slot not a
    step away. Frames without bodies are passed over. Of more than two bodies the two that are seen most often are
    looked at.

    Args:
        frames: (F, M, V, 3) in metres, finite.

    Returns:
        (F,)
    """
    switches = np.zeros(len(frames), bool)
    seen = seen_bodies(frames)
    pair = _most_seen(seen)
    there = np.flatnonzero(seen[:, pair].any(1))
    if len(pair) < 2 or len(there) < 2:
        return switches
    seen, bodies = seen[np.ix_(there, pair)], frames[np.ix_(there, pair)].astype(np.float64)
    known = seen[:-1, :, None] & seen[1:, None]  # (F-1, slot before, slot now)
    moved = known * np.linalg.norm(bodies[:-1, :, None] - bodies[1:, None], axis=-1).mean(-1)
    stay, cross = (np.trace(way, axis1=1, axis2=2) for way in (moved, moved[:, ::-1]))
    can_stay, can_cross = (np.trace(way, axis1=1, axis2=2) > 0 for way in (known, known[:, ::-1]))
    # where both ways are known, both are known for equally many bodies
    switches[there[1:]] = can_cross & (cross < np.where(can_stay, CLEARLY * stay, STEP))
    return switches


def _most_seen(seen: NDArray[np.bool_]) -> NDArray[np.intp]:
    return np.argsort(-seen.sum(0), kind="stable")[:2]


def _joined(frames: NDArray[np.float32]) -> NDArray[np.float32]:
    """Tracks (F, M, V, 3), those of one person as one: each goes on with the nearest that begins after its end."""
    seen = seen_bodies(frames)
    frames, seen = frames[:, seen.any(0)], seen[:, seen.any(0)]
    tracks = np.arange(seen.shape[1])
    first, last = seen.argmax(0), len(seen) - 1 - seen[::-1].argmax(0)
    middles = frames.mean(2, dtype=np.float64)
    way = np.linalg.norm(middles[last, tracks][:, None] - middles[first, tracks], axis=-1)  # (ending, beginning)
    ending, beginning = np.nonzero((last[:, None] < first) & (way <= NEAR))
    order = np.lexsort((way[ending, beginning], first[beginning]))
    person, goes_on = tracks.copy(), np.zeros(len(tracks), bool)
    for one, other in zip(ending[order], beginning[order], strict=True):
        if person[other] == other and not goes_on[one]:
            person[other], goes_on[one] = person[one], True
    joined = np.zeros_like(frames)
    for track in tracks:
        joined[seen[:, track], person[track]] = frames[seen[:, track], track]
    return joined[:, person == tracks]


def _unswitched(tracks: NDArray[np.float32]) -> NDArray[np.float32]:
    """Tracks (F, M, V, 3), the two seen most often each with one body throughout."""
    wrong = np.flatnonzero(np.logical_xor.accumulate(body_switches(tracks)))
    pair = _most_seen(seen_bodies(tracks))
    tracks = tracks.copy()
    tracks[np.ix_(wrong, pair)] = tracks[np.ix_(wrong, pair[::-1])]
    return tracks


def _people_by_movement(tracks: NDArray[np.float32]) -> NDArray[np.float32]:
    """Tracks (F, M, V, 3) that are no noise, most movement first, in the frames that show the first."""
    tracks = tracks[:, seen_bodies(tracks).any(0)]
    seen = seen_bodies(tracks)
    length = seen.sum(0)
    width, height = np.ptp(tracks[..., 0], 2), np.ptp(tracks[..., 1], 2)  # absent bodies: zero, so not wide
    people = np.ones(len(length), bool)
    for fine in (length > BRIEF, (width > WIDE * height).sum(0) < OFTEN_WIDE * length):
        people = people & fine if (people & fine).any() else people
    joints = (tracks[seen[:, m], m].reshape(-1, 3) for m in range(len(people)))
    movement = np.array([places.var(0, dtype=np.float64).sum() for places in joints])
    order = np.argsort(-movement, kind="stable")
    order = order[people[order]]
    others = order[1:]
    order = np.append(order[:1], others[(movement[others] >= STILL) & (movement[others] <= WILD)])
    people_in_order: NDArray[np.float32] = tracks[seen[:, order[0]]][:, order]
    return people_in_order
