"""Who does what when: windows, what they see, and the stretches that come of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from hiclr.data.corpora.base import Corpus
from hiclr.data.prepare import prepare_batch
from hiclr.data.recordings.base import Recording
from hiclr.timeline import DAMAGED, NOBODY, Segment, Timeline, follow, window_starts
from toys import KINECT, hand_model, posing
from writers.timeline import corpus_of

NOBODY_THERE = np.zeros_like(posing(0, 1))


def watch(frames: NDArray[np.float32], window: int, stride: int, batch_size: int = 64) -> Timeline:
    recording = Recording("long", frames)
    corpus: Corpus = corpus_of(recording, KINECT)
    return follow(hand_model(), corpus, recording, window, stride, batch_size)


def names(timeline: Timeline) -> list[tuple[int, int, str]]:
    return [segment[:3] for segment in timeline.segments()]


@pytest.mark.parametrize(
    ("frames", "window", "stride", "starts"),
    [
        (10, 4, 2, [0, 2, 4, 6]),
        (11, 4, 2, [0, 2, 4, 6, 7]),  # the last ends with the recording
        (10, 4, 9, [0, 6]),
        (10, 10, 3, [0]),
        (10, 12, 3, [0]),
    ],
)
def test_windows_cover_a_recording(frames: int, window: int, stride: int, starts: list[int]) -> None:
    assert window_starts(frames, window, stride).tolist() == starts


def test_two_actions_glued_together_are_found() -> None:
    timeline = watch(np.concatenate([posing(0.9, 43), posing(-0.9, 57)]), window=16, stride=4)
    (up, down) = timeline.segments()
    assert (up.name, down.name) == ("up", "down")
    assert (up.start, up.end, down.end) == (0, down.start, 100)
    assert abs(up.end - 43) <= 4
    assert up.probability is not None and up.probability > 0.9


def test_a_window_sees_what_a_clip_shows() -> None:
    frames = np.concatenate([posing(0.9, 20), posing(0.1, 20), posing(-0.9, 20)])
    timeline, model = watch(frames, window=15, stride=15, batch_size=3), hand_model()
    assert timeline.starts.tolist() == [0, 15, 30, 45]
    for start, chances in zip(timeline.starts, timeline.probabilities, strict=True):
        clip = torch.from_numpy(frames[start : start + 15]).permute(3, 0, 2, 1)[None]
        with torch.no_grad():
            expected = model.probabilities(model(prepare_batch(clip, KINECT, 10)))[0].numpy()
        np.testing.assert_allclose(chances, [*expected, 0], rtol=1e-5)


def test_a_short_recording_is_one_window() -> None:
    timeline = watch(posing(0.9, 7), window=50, stride=10)
    assert names(timeline) == [(0, 7, "up")] and timeline.frames == 7


def test_a_moment_has_the_mean_of_the_windows_that_see_it() -> None:
    chance = np.random.default_rng(0)
    found = chance.dirichlet(np.ones(3), 8)
    found[3] = np.nan
    timeline = Timeline("long", ("a", "b", NOBODY), np.array([0, 3, 6, 9, 12, 15, 18, 20]), 7, found)
    edges, course = timeline.edges(), timeline.course()
    assert edges[0] == 0 and edges[-1] == timeline.frames == 27
    for frame in range(27):
        seeing = [i for i, start in enumerate(timeline.starts) if start <= frame < start + 7 and i != 3]
        stretch = np.searchsorted(edges, frame, side="right") - 1
        np.testing.assert_allclose(course[stretch], found[seeing].mean(0), atol=1e-12)
    by_frame = np.repeat(course, np.diff(edges), axis=0)
    for start, end, name, probability in timeline.segments():
        label = timeline.names.index(name)
        assert (by_frame[start:end].argmax(1) == label).all()
        assert probability == pytest.approx(by_frame[start:end, label].mean())


# --- nobody, and damage ---------------------------------------------------------------------------


def test_nobody_is_named() -> None:
    frames = np.concatenate([posing(0.9, 40), np.tile(NOBODY_THERE, (40, 1, 1, 1)), posing(-0.9, 40)])
    first, gap, last = watch(frames, window=16, stride=4).segments()
    assert [first.name, gap.name, last.name] == ["up", NOBODY, "down"]
    assert abs(gap.start - 40) <= 4 and abs(gap.end - 80) <= 4
    assert gap.probability is not None and gap.probability > 0.7


def test_an_empty_recording_is_of_nobody() -> None:
    assert watch(np.tile(NOBODY_THERE, (30, 1, 1, 1)), window=10, stride=5).segments() == [Segment(0, 30, NOBODY, 1.0)]
    assert names(watch(np.zeros((30, 0, 20, 3), np.float32), window=10, stride=5)) == [(0, 30, NOBODY)]


def test_a_few_lost_frames_are_not_nobody() -> None:
    frames = posing(0.9, 40)
    frames[20:23] = 0
    timeline = watch(frames, window=16, stride=4)
    assert names(timeline) == [(0, 40, "up")]
    assert timeline.probabilities[2, -1] == pytest.approx(3 / 16)  # of the window from frame 8 on
    np.testing.assert_allclose(timeline.probabilities.sum(1), 1, rtol=1e-6)


def test_who_comes_later_is_seen_too() -> None:
    frames = np.zeros((60, 2, KINECT.num_joints, 3), np.float32)
    frames[:30, 0], frames[30:, 1] = posing(0.9, 30)[:, 0], posing(-0.9, 30)[:, 0]
    assert [segment.name for segment in watch(frames, window=10, stride=10).segments()] == ["up", "down"]


def test_damaged_windows_are_left_out_of_the_mean() -> None:
    frames = posing(0.9, 60)
    frames[31] = np.nan
    assert names(watch(frames, window=10, stride=10)) == [(0, 30, "up"), (30, 40, DAMAGED), (40, 60, "up")]
    assert names(watch(frames, window=10, stride=5)) == [(0, 30, "up"), (30, 35, DAMAGED), (35, 60, "up")]
    assert watch(frames, window=10, stride=10).segments()[1].probability is None


def test_a_recording_without_frames_is_refused() -> None:
    with pytest.raises(ValueError, match="it has no frames"):
        watch(posing(0.9, 0), window=10, stride=5)
