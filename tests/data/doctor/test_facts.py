"""What is seen in one recording, against slow loops."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from hiclr.data.actors import body_switches
from hiclr.data.corpora.base import Corpus
from hiclr.data.doctor import facts as looking
from hiclr.data.doctor.facts import Facts, all_facts, facts_of, longest_still, odd_bones
from hiclr.skeleton import SKELETONS, Skeleton
from writers.people import corpus_of, person

NTU = SKELETONS["ntu25"]


def of(frames: NDArray[np.float32], corpus: Corpus | None = None, centred: bool = False) -> Facts:
    return facts_of(corpus or corpus_of([frames]), 0, centred)


def test_a_clean_recording() -> None:
    frames = np.concatenate([person(30, seed=1), person(30, seed=2)], axis=1)
    frames[:5, 1] = 0
    seen = of(frames)
    assert seen[:7] == ("", 30, 0, 0, 2, 30, 1)
    assert seen.odd == 0 and seen.switches == 0 and len(seen.digest) == 32
    extents = [max(pose[:, c].max() - pose[:, c].min() for c in range(3)) for pose in frames[:, 0]]
    assert seen.size == pytest.approx(np.median(extents))


def test_joints_without_sides_tell_no_direction() -> None:
    plain = Skeleton("plain", ("hip", "one", "other"), (-1, 0, 0), "hip", ("one", "other"))
    frames = person(9, skeleton=plain)
    seen = of(frames, replace(corpus_of([frames]), skeleton=plain))
    assert seen.length == 9 and seen.up == ""


def test_frames_without_bodies() -> None:
    frames = np.concatenate([person(12, seed=1), person(12, seed=2)], axis=1)
    frames[3:7] = 0
    frames[:9, 0] = 0
    seen = of(frames)
    assert (seen.frames, seen.no_body, seen.bodies, seen.length) == (12, 4, 2, 3)
    late = of(np.concatenate([np.zeros_like(frames[:, :1]), frames[:, 1:]], axis=1))
    assert (late.bodies, late.length, late.size) == (1, 0, 0.0)


@pytest.mark.parametrize("shape", [(0, 0), (0, 1), (7, 0), (7, 2)])
def test_nobody(shape: tuple[int, int]) -> None:
    assert of(np.zeros((*shape, 25, 3), np.float32)) == Facts(frames=shape[0], no_body=shape[0])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e7])
def test_what_is_no_measurement(value: float) -> None:
    frames = person(9)
    frames[2:4, 0, 7, 1] = value
    assert of(frames) == Facts(frames=9, broken=2)


@pytest.mark.parametrize("error", [ValueError("a.skeleton line 3: cut"), FileNotFoundError("no file a")])
def test_what_cannot_be_read(error: Exception) -> None:
    assert facts_of(corpus_of([error]), 0) == Facts(fault=str(error))


def test_stillness_agrees_with_a_slow_loop() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        steps = rng.random(rng.integers(0, 12)) < 0.4
        body = np.zeros((len(steps) + 1, 3, 3), np.float32)
        for frame, moves in enumerate(steps, 1):
            body[frame] = body[frame - 1]
            body[frame, rng.integers(3), rng.integers(3)] += 0.01 * moves
        longest = run = 1
        for moves in steps:
            run = 1 if moves else run + 1
            longest = max(longest, run)
        assert longest_still(body) == longest


def test_bones_agree_with_a_slow_loop() -> None:
    rng = np.random.default_rng(0)
    body = person(60)[:, 0]
    for _ in range(25):
        body[rng.integers(60), rng.integers(25)] += rng.normal(0, 0.4, 3).astype(np.float32)
    expected = np.zeros(60, bool)
    for joint, parent in enumerate(NTU.parents):
        if parent < 0:
            continue
        lengths = [float(np.sqrt(((pose[joint] - pose[parent]) ** 2).sum())) for pose in body]
        usual = float(np.median(lengths))
        for frame, length in enumerate(lengths):
            expected[frame] |= length > 1 or abs(length - usual) > max(0.5 * usual, 0.3)
    assert 5 < expected.sum() < 55
    np.testing.assert_array_equal(odd_bones(body, NTU), expected)
    assert of(body[:, None]).odd == pytest.approx(expected.mean())


def test_bones_are_looked_at_where_bodies_are_seen() -> None:
    frames = np.concatenate([person(20, seed=1), person(20, seed=2)], axis=1)
    frames[4, 1, 3] += 2
    frames[10:, 1] = 0
    assert of(frames).odd == 1 / 20
    assert of(frames, replace(corpus_of([frames]), planar=True)).odd == 0


def test_switches_are_counted_where_places_are_known() -> None:
    pair = np.concatenate([person(20, seed=1), person(20, seed=2) + np.float32(1.5)], axis=1)
    switched = pair.copy()
    switched[8:14] = pair[8:14, ::-1]
    assert of(pair).switches == 0
    assert of(switched).switches == body_switches(switched).sum() == 2
    assert of(switched, centred=True).switches == 0


def test_copies_have_one_digest() -> None:
    a, b = person(9, seed=1), person(9, seed=2)
    almost = a.copy()
    almost[8, 0, 24, 2] = np.nextafter(almost[8, 0, 24, 2], np.float32(9))
    digests = [of(frames).digest for frames in (a, a.copy(), b, almost, a[:8])]
    assert digests[0] == digests[1] and len(set(digests)) == 4


@pytest.mark.parametrize("processes", [1, 2])
def test_all_are_examined_in_order(monkeypatch: pytest.MonkeyPatch, processes: int) -> None:
    monkeypatch.setattr(looking, "CHUNK", 3)
    corpus = corpus_of([person(4 + row, seed=row) for row in range(10)] + [ValueError("cut")])
    table = all_facts(corpus, centred=False, processes=processes, progress=False)
    expected = pd.DataFrame([facts_of(corpus, row) for row in range(11)])
    pd.testing.assert_frame_equal(table, expected)
    assert table["frames"].tolist() == [*range(4, 14), 0]
