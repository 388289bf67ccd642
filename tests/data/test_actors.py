"""Who is kept and in which slot: each rule against a slow loop, and people who are known because they were drawn."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from hiclr.data import actors
from hiclr.data.actors import body_switches, choose_actors
from hiclr.data.corpora import ntu60
from hiclr.data.prepare import prepare

Frames = NDArray[np.float32]


def person(frames: int, x: float = 0.0, seed: int = 0, size: float = 1.0, noise: float = 0.01) -> Frames:
    """Somebody 1.7 m high and 0.5 m wide who sways at a place, (F, 25, 3)."""
    rng = np.random.default_rng(seed)
    pose = rng.uniform((-0.25, -0.85, -0.1), (0.25, 0.85, 0.1), (25, 3))
    pose[:2] = (-0.25, -0.85, 0), (0.25, 0.85, 0)
    sway = 0.1 * np.sin(np.linspace(0, 6, frames) + seed)[:, None, None] * (1, 0, 0)
    return (size * pose + (x, 0, 3) + sway + rng.normal(0, noise, (frames, 25, 3))).astype(np.float32)


def seen_from(body: Frames, first: int, end: int) -> Frames:
    """The same body, absent from the other frames."""
    shown = np.zeros_like(body)
    shown[first:end] = body[first:end]
    return shown


def by_motion(*bodies: Frames, keep: int = 2) -> Frames:
    return choose_actors(np.stack(bodies, 1), keep, "motion")


def assert_kept(chosen: Frames, *bodies: Frames) -> None:
    """These and no others, in any order of movement."""
    assert {body.tobytes() for body in np.moveaxis(chosen, 1, 0) if body.any()} == {body.tobytes() for body in bodies}


# --- file order -------------------------------------------------------------------------------------------------------


def test_file_order_keeps_the_first_bodies() -> None:
    frames = np.random.default_rng(0).normal(0, 0.3, (5, 4, 25, 3)).astype(np.float32)
    np.testing.assert_array_equal(choose_actors(frames, 2), frames[:, :2])
    padded = choose_actors(frames[:, :1], 2)
    np.testing.assert_array_equal(padded[:, :1], frames[:, :1])
    assert padded.shape == (5, 2, 25, 3) and not padded[:, 1].any()


def test_file_order_undoes_nothing() -> None:
    frames = np.stack([person(30), person(30, x=2, seed=1), seen_from(person(30, x=5, seed=2), 3, 5)], 1)
    frames[10:, :2] = frames[10:, 1::-1]
    frames[20:, 0] = 0
    np.testing.assert_array_equal(choose_actors(frames, 3), frames)


# --- the denoising rule -----------------------------------------------------------------------------------------------


def slowly(frames: Frames) -> list[int]:
    """The tracks (F, M, V, 3) that are kept, most movement first: the rule track by track and frame by frame."""
    seen = {m: [f for f in range(len(frames)) if frames[f, m].any()] for m in range(frames.shape[1])}
    people = [m for m in seen if seen[m]]
    without_short = [m for m in people if len(seen[m]) > 11]
    people = without_short or people
    without_wide = []
    for m in people:
        wide = 0
        for f in seen[m]:
            xs, ys = frames[f, m, :, 0], frames[f, m, :, 1]
            wide += max(xs) - min(xs) > 0.8 * (max(ys) - min(ys))
        if wide / len(seen[m]) < 0.69754:
            without_wide.append(m)
    people = without_wide or people
    movement = {}
    for m in people:
        places = np.array([joint for f in seen[m] for joint in frames[f, m]], np.float64)
        movement[m] = sum(((places[:, c] - places[:, c].mean()) ** 2).mean() for c in range(3))
    people.sort(key=lambda m: -movement[m])
    return people[:1] + [m for m in people[1:] if 0.089925 <= movement[m] <= 2]


@pytest.mark.parametrize("seed", range(40))
def test_motion_agrees_with_a_slow_loop(seed: int) -> None:
    rng = np.random.default_rng(seed)
    bodies = []
    for m in range(rng.integers(2, 6)):
        # places two metres apart, so that no two tracks are one person; of all sizes, some widening in some frames
        body = person(40, x=2 * m, seed=100 * seed + m, size=rng.choice([0.3, 0.6, 1.0, 1.6]))
        centre = body.mean(1, keepdims=True)
        if rng.random() < 0.5:
            body = np.where(
                rng.random((40, 1, 1)) < rng.choice([0.5, 0.7, 0.9]), (body - centre) * (4, 1, 1) + centre, body
            )
        if rng.random() < 0.4:
            body = body + np.linspace(0, 12, 40)[:, None, None] * (0, 0, 1)
        length = rng.choice([3, 11, 12, 30, 40])
        first = rng.integers(0, 41 - length)
        bodies.append(seen_from(body.astype(np.float32), first, first + length))
    frames = np.stack(bodies, 1)
    expected = slowly(frames)
    chosen = choose_actors(frames, 6, "motion")
    there = frames[:, expected[0]].any((1, 2))
    np.testing.assert_array_equal(chosen[:, : len(expected)], frames[there][:, expected])
    assert not chosen[:, len(expected) :].any()


def test_the_slow_loop_was_asked_about_every_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, harmless in (("BRIEF", 0), ("OFTEN_WIDE", 2.0), ("STILL", 0.0), ("WILD", 1e9)):
        with monkeypatch.context() as changed, pytest.raises(AssertionError):
            changed.setattr(actors, name, harmless)
            for seed in range(40):
                test_motion_agrees_with_a_slow_loop(seed)


def test_each_rule_drops_what_it_is_for() -> None:
    man, woman = person(60), person(60, x=2, seed=1)
    brief = seen_from(person(60, x=4, seed=2), 20, 31)
    chair = person(60, x=4, seed=3, size=0.3)
    table = (person(60, x=4, seed=4) * (4, 1, 1)).astype(np.float32)
    ghost = (person(60, x=4, seed=5) + np.linspace(0, 5, 60)[:, None, None] * (0, 0, 1)).astype(np.float32)
    for noise in (brief, chair, table):
        assert_kept(by_motion(noise, man, woman, keep=3), man, woman)
    np.testing.assert_array_equal(by_motion(ghost, man)[:, 0], ghost)  # the one that moves most is never dropped
    wilder = (person(60, x=8, seed=6) + np.linspace(0, 7, 60)[:, None, None] * (0, 0, 1)).astype(np.float32)
    assert_kept(by_motion(ghost, wilder, man, keep=3), wilder, man)


@pytest.mark.parametrize("what", ["brief", "wide", "still", "wild"])
def test_no_rule_leaves_nobody(what: str) -> None:
    frames = 8 if what == "brief" else 40
    pair = [person(frames), person(frames, x=2, seed=1)]
    if what == "wide":
        pair = [(body[..., [1, 0, 2]]).astype(np.float32) for body in pair]
        pair[1][..., 1] += 2
    if what == "still":
        pair = [person(frames, x=2 * m, seed=m, size=0.2, noise=0) for m in range(2)]
    if what == "wild":
        away = np.linspace(0, 9, frames)[:, None, None] * (0, 0, 1)
        pair = [(body + away * (1 + m)).astype(np.float32) for m, body in enumerate(pair)]
    chosen = by_motion(*pair)
    if what in ("brief", "wide"):
        assert_kept(chosen, *pair)
    else:  # the rule of movement spares the one that moves most
        assert chosen[:, 0].any() and not chosen[:, 1].any()


def test_motion_puts_most_movement_first_and_keeps_its_frames() -> None:
    still, walker = person(30), person(30, x=2, seed=1)
    walker += np.linspace(0, 3, 30, dtype=np.float32)[:, None, None] * np.float32([0, 0, 1])
    walker[:6] = 0
    np.testing.assert_array_equal(by_motion(still, walker), np.stack([walker, still], 1)[6:])
    np.testing.assert_array_equal(by_motion(still, walker, keep=1), walker[6:, None])


def test_one_body_passes_unchanged() -> None:
    for body in (person(40), person(3), person(40) * np.float32(0.01), person(40, size=9), person(40)[..., [1, 0, 2]]):
        np.testing.assert_array_equal(by_motion(body, keep=1), body[:, None])
        assert_kept(by_motion(body), body)
        assert_kept(by_motion(np.zeros_like(body), body), body)
        gap = seen_from(body, 0, 2)
        np.testing.assert_array_equal(by_motion(gap)[:, 0], body[:2])


@pytest.mark.parametrize("shape", [(0, 0), (4, 0), (0, 2), (4, 3)])
def test_nobody_at_all(shape: tuple[int, int]) -> None:
    for order in ("file order", "motion"):
        chosen = choose_actors(np.zeros((*shape, 25, 3), np.float32), 2, order)
        assert chosen.shape == (shape[0], 2, 25, 3) and not chosen.any()


def test_the_order_of_the_tracks_does_not_matter() -> None:
    # two people, one of them lost twice, and two who are none
    man, woman = person(60), person(60, x=2, seed=1)
    chair, brief = person(60, x=5, seed=2, size=0.3), seen_from(person(60, x=8, seed=3), 7, 12)
    tracks = [seen_from(man, *when) for when in ((0, 20), (21, 45), (50, 60))] + [woman, chair, brief]
    man[[20, *range(45, 50)]] = 0
    expected = by_motion(man, woman)
    for order in permutations(tracks):
        np.testing.assert_array_equal(by_motion(*order), expected)


def test_absent_stays_exactly_zero() -> None:
    frames = np.stack([person(40), person(40, x=2, seed=1), person(40, x=4, seed=2)], 1)
    frames[np.random.default_rng(0).random((40, 3)) < 0.3] = 0
    rows = {row.tobytes() for row in frames.reshape(-1, 25, 3)} | {np.zeros((25, 3), np.float32).tobytes()}
    assert {row.tobytes() for row in choose_actors(frames, 4, "motion").reshape(-1, 25, 3)} <= rows


# --- a person who comes back ------------------------------------------------------------------------------------------


def joined_slowly(frames: Frames) -> list[list[int]]:
    """Tracks (F, M, V, 3) of one person each, followed frame by frame."""
    seen = [[f for f in range(len(frames)) if frames[f, m].any()] for m in range(frames.shape[1])]
    people: list[list[int]] = []
    for f in range(len(frames)):
        beginning = [m for m in range(len(seen)) if seen[m][0] == f]
        ended = [chain for chain in people if seen[chain[-1]][-1] < f]
        while beginning:
            ways = [
                (float(np.linalg.norm(frames[seen[chain[-1]][-1], chain[-1]].mean(0) - frames[f, m].mean(0))), m, chain)
                for m in beginning
                for chain in ended
            ]
            way, m, chain = min(ways, key=lambda found: found[0], default=(9.0, beginning[0], []))
            if way > 1:
                people += [[m] for m in beginning]
                break
            chain.append(m)
            ended = [other for other in ended if other is not chain]
            beginning.remove(m)
    return people


@pytest.mark.parametrize("seed", range(30))
def test_joining_agrees_with_a_slow_loop(seed: int) -> None:
    rng = np.random.default_rng(seed)
    bodies = []
    for m in range(rng.integers(1, 9)):
        first = rng.integers(0, 8) * 4
        body = person(40, x=rng.uniform(0, 3), seed=10 * seed + m)
        bodies.append(seen_from(body, first, first + rng.integers(2, 20)))
    frames = np.stack(bodies, 1)
    expected = [frames[:, chain].sum(1) for chain in joined_slowly(frames)]
    joined = actors._joined(frames)
    assert joined.shape[1] == len(expected)
    assert_kept(joined, *expected)


def test_who_comes_back_near_is_the_same() -> None:
    man, woman = person(60), person(60, x=3, seed=1, size=1.2)  # she moves more: no frame is dropped
    for way, same in ((0.5, True), (1.5, False)):
        back = seen_from(man + np.float32([way, 0, 0]), 33, 60)
        together = by_motion(seen_from(man, 0, 30), back, woman, keep=3)
        assert together[:, 2].any() != same
        if same:
            assert_kept(together, seen_from(man, 0, 30) + back, woman)


def test_brief_pieces_of_one_person_are_one_long_track() -> None:
    man, woman = person(60), person(60, x=3, seed=1)
    pieces = [seen_from(woman, start, start + 9) for start in range(0, 60, 10)]
    assert_kept(by_motion(man, *pieces), man, np.sum(pieces, 0, dtype=np.float32))


def test_two_who_come_back_at_once_are_not_mixed_up() -> None:
    man, woman = person(60), person(60, x=0.7, seed=1)
    both = [seen_from(body, *when) for when in ((0, 30), (35, 60)) for body in (woman, man)]
    man[30:35] = woman[30:35] = 0
    for order in permutations(both):
        assert_kept(by_motion(*order), man[[*range(30), *range(35, 60)]], woman[[*range(30), *range(35, 60)]])


# --- two who change slots ---------------------------------------------------------------------------------------------


def switches_slowly(frames: Frames) -> list[int]:
    """Frames at which the two bodies of (F, 2, V, 3) change slots."""
    found, before = [], None
    for f, bodies in enumerate(frames):
        if not bodies.any():
            continue
        if before is not None:
            ways = {}
            for switched in (False, True):
                ways[switched] = [
                    np.mean([np.linalg.norm(joint) for joint in bodies[m ^ switched] - before[m]])
                    for m in range(2)
                    if before[m].any() and bodies[m ^ switched].any()
                ]
            stay, cross = ways[False], ways[True]
            if (stay and cross and sum(cross) < 0.5 * sum(stay)) or (not stay and cross and cross[0] < 0.3):
                found.append(f)
        before = bodies
    return found


@pytest.mark.parametrize("seed", range(30))
def test_switches_agree_with_a_slow_loop(seed: int) -> None:
    rng = np.random.default_rng(seed)
    frames = np.stack([person(50, seed=1), person(50, x=rng.uniform(0, 1.5), seed=2)], 1)
    for f in rng.integers(1, 50, 6):
        frames[f:] = frames[f:, ::-1]
    frames[rng.random((50, 2)) < rng.choice([0, 0.2, 0.5])] = 0
    assert np.flatnonzero(body_switches(frames)).tolist() == switches_slowly(frames)
    assert body_switches(frames).dtype == bool


@pytest.mark.parametrize("gaps", [0.0, 0.3])
@pytest.mark.parametrize("seed", range(5))
def test_switches_are_found_and_undone(seed: int, gaps: float) -> None:
    rng = np.random.default_rng(seed)
    clean = np.stack([person(60, seed=seed), person(60, x=0.8, seed=seed + 50)], 1)
    clean[rng.random((60, 2)) < gaps] = 0
    there = np.flatnonzero(clean.any((1, 2, 3)))
    when = np.sort(rng.choice(there[1:], 5, replace=False))
    mixed = clean.copy()
    for f in when:
        mixed[f:] = mixed[f:, ::-1]
    assert not body_switches(clean).any()
    np.testing.assert_array_equal(np.flatnonzero(body_switches(mixed)), when)
    np.testing.assert_array_equal(choose_actors(mixed, 2, "motion"), choose_actors(clean, 2, "motion"))


def test_who_is_left_alone_moves_up_and_is_still_the_same() -> None:
    """As recordings with a fixed number of slots have it: they are filled from the first."""
    man, woman = person(60), person(60, x=0.8, seed=1)
    man[20:40] = 0
    clean = np.stack([man, woman], 1)
    packed = clean.copy()
    packed[20:40] = packed[20:40, ::-1]
    np.testing.assert_array_equal(np.flatnonzero(body_switches(packed)), [20, 40])
    np.testing.assert_array_equal(choose_actors(packed, 2, "motion"), choose_actors(clean, 2, "motion"))


def test_two_who_stand_one_in_the_other_do_not_switch() -> None:
    for seed in range(20):
        one = person(60, seed=seed, noise=0)
        rng = np.random.default_rng(seed)
        frames = (one[:, None] + rng.normal(0, 0.05, (60, 2, 25, 3))).astype(np.float32)
        assert not body_switches(frames).any()


def test_who_jumps_does_not_switch() -> None:
    alone = np.stack([person(20), np.zeros((20, 25, 3), np.float32)], 1)
    alone[10:] += np.float32([3, 0, 0]) * alone[10:].any((2, 3), keepdims=True)
    assert not body_switches(alone).any()
    both = np.stack([person(20), person(20, x=2, seed=1)], 1)
    both[10:] += np.float32([0, 0, 3])
    assert not body_switches(both).any()


def test_switches_of_fewer_and_of_more_than_two() -> None:
    man, woman, passer = person(40), person(40, x=1, seed=1), seen_from(person(40, x=3, seed=2, size=0.9), 5, 25)
    for bodies in ([], [man], [man, np.zeros_like(man)]):
        frames = np.stack([np.zeros_like(man), *bodies], 1)
        assert not body_switches(frames).any() and len(body_switches(frames)) == 40
    assert body_switches(np.zeros((0, 2, 25, 3), np.float32)).shape == (0,)
    three = np.stack([man, passer, woman], 1)
    three[30:, [0, 2]] = three[30:, [2, 0]]
    np.testing.assert_array_equal(np.flatnonzero(body_switches(three)), [30])
    assert_kept(choose_actors(three, 3, "motion"), man, passer, woman)


# --- in a prepared folder ---------------------------------------------------------------------------------------------


def test_actors_change_what_is_prepared(tmp_path: Path, write_ntu: Callable[..., Path]) -> None:
    man, noise = person(20), person(20, x=3, seed=1)
    name = "S001C001P001R001A001.skeleton"
    crowd = [[*([("7", noise[f])] if f < 5 else []), ("8", man[f])] for f in range(20)]
    write_ntu(tmp_path / "crowd" / name, crowd)
    write_ntu(tmp_path / "alone" / name, [[("8", pose)] for pose in man])
    by_order = prepare(ntu60(tmp_path / "crowd"), tmp_path / "order", progress=False)
    by_movement = prepare(ntu60(tmp_path / "crowd"), tmp_path / "motion", actors="motion", progress=False)
    alone = prepare(ntu60(tmp_path / "alone"), tmp_path / "man", progress=False)
    np.testing.assert_array_equal(by_movement.sequences, alone.sequences)
    assert by_order.samples["bodies"].tolist() == [2] and by_order.samples["length"].tolist() == [5]
    assert by_movement.samples["bodies"].tolist() == [1] and by_movement.samples["length"].tolist() == [20]
    assert not np.allclose(by_order.sequences, by_movement.sequences)
    done = "pieces of one person joined, noise dropped, most movement kept"
    assert [fact["done"] for fact in by_movement.about["dirty"]] == [done]
