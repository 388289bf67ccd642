"""Who does what when: a window slides over a recording, and what it sees is classified."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from hiclr.data.actors import seen_bodies
from hiclr.data.corpora.base import Corpus
from hiclr.data.prepare import PreparedBatch, prepared_batches
from hiclr.data.recordings.base import Recording
from hiclr.inference import LeftOut, Progress
from hiclr.model import Model

NOBODY, DAMAGED = "nobody", "damaged"


class Segment(NamedTuple):
    """A stretch of a recording in which one class is the most probable.

    Args:
        start: its first frame, counted from 0.
        end: the frame after its last.
        name: the class; `NOBODY` or `DAMAGED` where no window that sees the stretch could be classified.
        probability: of the class, the mean over the stretch; None where there is no class.
    """

    start: int
    end: int
    name: str
    probability: float | None


@dataclass(frozen=True, eq=False)
class Timeline:
    """What a sliding window saw in a recording.

    Args:
        name: of the recording.
        class_names: of the L classes.
        starts: (W,) the first frame of each window, ascending.
        window: frames in a window.
        probabilities: (W, L); NaN where a window could not be classified.
        nobody: (W,) bool: nobody is seen in the window.
    """

    name: str
    class_names: tuple[str, ...]
    starts: NDArray[np.int64]
    window: int
    probabilities: NDArray[np.float32]
    nobody: NDArray[np.bool_]

    @property
    def frames(self) -> int:
        """Of the recording."""
        return int(self.starts[-1]) + self.window

    def edges(self) -> NDArray[np.int64]:
        """(E + 1,) the frames at which a window begins or ends."""
        edges: NDArray[np.int64] = np.unique([self.starts, self.starts + self.window])
        return edges

    def course(self) -> NDArray[np.float64]:
        """(E, L) probabilities between the edges: the mean of all windows that see that stretch, NaN if of none."""
        known = np.isfinite(self.probabilities).all(1)
        return _mean_over_windows(self, np.where(known[:, None], self.probabilities, 0), known)

    def segments(self) -> list[Segment]:
        """From the beginning to the end, each of another name than the one before."""
        edges, course = self.edges(), self.course()
        known = np.isfinite(course).all(1)
        empty = _mean_over_windows(self, self.nobody[:, None], np.ones(len(self.starts), bool))[:, 0] > 0
        labels = np.where(known, np.where(known[:, None], course, 0).argmax(1), np.where(empty, -1, -2))
        borders = np.flatnonzero(np.diff(labels)) + 1
        segments = []
        for first, last in zip([0, *borders], [*borders, len(labels)], strict=True):
            label, ends = int(labels[first]), edges[first : last + 1]
            mean = float(np.average(course[first:last, label], weights=np.diff(ends))) if label >= 0 else None
            name = self.class_names[label] if label >= 0 else {-1: NOBODY, -2: DAMAGED}[label]
            segments.append(Segment(int(ends[0]), int(ends[-1]), name, mean))
        return segments


@dataclass(frozen=True, eq=False)
class Timelines:
    """Who does what when in some recordings.

    Args:
        class_names: of the L classes.
        timelines: one a recording.
        skipped: recordings that cannot be used.
    """

    class_names: tuple[str, ...]
    timelines: tuple[Timeline, ...]
    skipped: tuple[LeftOut, ...] = ()


def _mean_over_windows(
    timeline: Timeline, values: NDArray[np.generic], counted: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """(E, K): between two edges, the mean of values (W, K) over the windows there that are counted (W,)."""
    edges = timeline.edges()
    begins, ends = (np.searchsorted(edges, timeline.starts + shift) for shift in (0, timeline.window))
    weighted = np.column_stack([values, np.ones(len(values))]) * counted[:, None]
    steps = np.zeros((len(edges), weighted.shape[1]))
    np.add.at(steps, begins, weighted)
    np.subtract.at(steps, ends, weighted)
    sums = steps.cumsum(0)[:-1]
    number = sums[:, -1:].round()
    return np.divide(sums[:, :-1], number, out=np.full_like(sums[:, :-1], np.nan), where=number > 0)


def window_starts(frames: int, window: int, stride: int) -> NDArray[np.int64]:
    """The first frames of windows over a recording; the last window ends with it, a short recording is one window."""
    last = max(frames - window, 0)
    return np.array([*range(0, last, stride), last])


@torch.inference_mode()
def follow(
    model: Model,
    corpus: Corpus,
    recording: Recording,
    window: int,
    stride: int,
    batch_size: int = 64,
    device: torch.device | str = "cpu",
    progress: Progress = iter,
) -> Timeline:
    """Slides a window over a recording; each window is prepared and classified like a clip.

    Args:
        model: with a classifier.
        corpus: the recording is of.
        recording: with at least one frame.
        window: frames in a window.
        stride: frames from the beginning of one window to that of the next.
        batch_size: windows at a time.
        device: where to compute.
        progress: wraps the batches, for a progress bar.

    Raises:
        ValueError: the model has no classifier, or the recording no frame.
    """
    frames = recording.frames
    if not len(frames):
        raise ValueError("it has no frames")
    window = min(window, len(frames))
    starts = window_starts(len(frames), window, stride)
    parts = [frames[start : start + window] for start in starts]
    probabilities = np.full((len(parts), len(model.class_names)), np.nan, np.float32)
    model.to(device)
    for first in progress(range(0, len(parts), batch_size)):
        batch = _prepared(model, corpus, parts[first : first + batch_size])
        if batch.rows:
            found = model.probabilities(model(batch.x.to(device)))
            probabilities[first + np.array(batch.rows)] = found.cpu().numpy()
    nobody = np.array([not part.any() for part in parts])
    return Timeline(recording.name, model.class_names, starts, window, probabilities, nobody)


def _prepared(model: Model, corpus: Corpus, parts: Sequence[NDArray[np.float32]]) -> PreparedBatch:
    samples = pd.DataFrame({"name": range(len(parts))})
    windows = replace(
        corpus, samples=samples, read=lambda place: Recording(str(place), _by_first_appearance(parts[place]))
    )
    (batch,) = prepared_batches(windows, model.preparation, len(parts))
    return batch


def _by_first_appearance(frames: NDArray[np.float32]) -> NDArray[np.float32]:
    """The bodies that are seen in frames (F, M, V, 3), in the order of a recording of its own."""
    seen = seen_bodies(frames)
    order = np.argsort(seen.argmax(0), kind="stable")
    return frames[:, order[seen.any(0)[order]]]
