"""Who does what when: a window slides over a recording, and what it sees is classified."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from hiclr.data.actors import seen_bodies
from hiclr.data.corpora.base import Corpus, LeftOut
from hiclr.data.prepare import PreparedBatch, prepared_batches
from hiclr.data.recordings.base import Recording
from hiclr.inference import Progress
from hiclr.model import Model

NOBODY, DAMAGED = "nobody", "damaged"


class Segment(NamedTuple):
    """A stretch of a recording in which one class is the most probable.

    Args:
        start: its first frame, counted from 0.
        end: the frame after its last.
        name: of the class, or `NOBODY`; `DAMAGED` where no window could be classified.
        probability: the mean over the stretch; None where it is damaged.
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
        names: of the L classes, and at the end `NOBODY`.
        starts: (W,) the first frame of each window, ascending.
        window: frames in a window.
        probabilities: (W, L + 1) that somebody does it, and that nobody is there: the share of such frames. NaN in a
            window that is damaged.
    """

    name: str
    names: tuple[str, ...]
    starts: NDArray[np.int64]
    window: int
    probabilities: NDArray[np.float64]

    @property
    def frames(self) -> int:
        """Of the recording."""
        return int(self.starts[-1]) + self.window

    def edges(self) -> NDArray[np.int64]:
        """(E + 1,) the frames at which a window begins or ends."""
        edges: NDArray[np.int64] = np.unique([self.starts, self.starts + self.window])
        return edges

    def course(self) -> NDArray[np.float64]:
        """(E, L + 1) probabilities between the edges: the mean of the windows that see the stretch; NaN without any."""
        edges = self.edges()
        whole = np.isfinite(self.probabilities).all(1)
        counted = np.column_stack([np.where(whole[:, None], self.probabilities, 0), whole])
        steps = np.zeros((len(edges), counted.shape[1]))
        np.add.at(steps, np.searchsorted(edges, self.starts), counted)
        np.subtract.at(steps, np.searchsorted(edges, self.starts + self.window), counted)
        sums = steps.cumsum(0)[:-1]
        number = sums[:, -1:].round()
        return np.divide(sums[:, :-1], number, out=np.full_like(sums[:, :-1], np.nan), where=number > 0)

    def segments(self) -> list[Segment]:
        """From the beginning to the end, each of another name than the one before."""
        edges, course = self.edges(), self.course()
        whole = np.isfinite(course).all(1)
        best = np.where(whole, np.nan_to_num(course).argmax(1), -1)
        borders = [0, *(np.flatnonzero(np.diff(best)) + 1), len(best)]
        segments = []
        for first, last in pairwise(borders):
            label, ends = int(best[first]), edges[first : last + 1]
            probability = None if label < 0 else float(np.average(course[first:last, label], weights=np.diff(ends)))
            name = DAMAGED if label < 0 else self.names[label]
            segments.append(Segment(int(ends[0]), int(ends[-1]), name, probability))
        return segments


@dataclass(frozen=True, eq=False)
class Timelines:
    """Who does what when in some recordings.

    Args:
        timelines: one a recording.
        skipped: recordings that cannot be used.
    """

    timelines: tuple[Timeline, ...]
    skipped: tuple[LeftOut, ...] = ()


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
    names = (*model.class_names, NOBODY)
    probabilities = np.zeros((len(parts), len(names)))
    probabilities[:, -1] = [1 - seen_bodies(part).any(1).mean() for part in parts]
    model.to(device)
    for first in progress(range(0, len(parts), batch_size)):
        batch = _prepared(model, corpus, parts[first : first + batch_size])
        for place, _ in batch.skipped:
            if parts[first + place].any():  # nobody is no damage
                probabilities[first + place] = np.nan
        if batch.rows:
            rows = first + np.array(batch.rows)
            found = model.probabilities(model(batch.x.to(device))).cpu().numpy()
            probabilities[rows, :-1] = (1 - probabilities[rows, -1:]) * found
    return Timeline(recording.name, names, starts, window, probabilities)


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
