"""Several classifiers as one: a weighted sum of their class scores, matched by the names of the sequences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, pairwise
from pathlib import Path

import torch

from hiclr.evaluation import Scores

# the published figures take the better of the two on the test side
PUBLISHED_WEIGHTS = ({"joint": 0.5, "bone": 0.5, "motion": 0.5}, {"joint": 0.6, "bone": 0.6, "motion": 0.4})

_PARTS = 12  # a half, a third, a quarter and a sixth are all on the grid
_SHOWN = 3


def matched(scores: Mapping[Path, Scores]) -> list[Scores]:
    """The same scores, all in the order of the first.

    Args:
        scores: by the file they come from.

    Raises:
        ValueError: if they are not of the same sequences, labels and number of classes.
    """
    (first_path, first), *others = scores.items()
    rows = [first]
    for path, other in others:
        place = {name: row for row, name in enumerate(other.names)}
        alone = sorted(place.keys() ^ set(first.names))
        if alone:
            raise ValueError(f"{first_path} and {path} are of different sequences: {_some(alone)} in one of them only")
        order = torch.tensor([place[name] for name in first.names])
        labels = other.labels[order]
        differing = [
            name for name, same in zip(first.names, (labels == first.labels).tolist(), strict=True) if not same
        ]
        if differing:
            raise ValueError(f"{first_path} and {path} do not agree in the labels of {_some(differing)}")
        if other.scores.shape[1] != first.scores.shape[1]:
            classes = f"{first.scores.shape[1]} classes, {path} for {other.scores.shape[1]}"
            raise ValueError(f"{first_path} holds scores for {classes}: fuse results of the same data")
        rows.append(Scores(first.names, first.labels, other.scores[order]))
    return rows


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_SHOWN])
    return f"{len(names)} ({shown}{', ...' if len(names) > _SHOWN else ''})"


def fuse(scores: Sequence[Scores], weights: Sequence[float]) -> Scores:
    """The weighted sum of class scores (N, L) of the same sequences in the same order, as `matched` makes them.

    Raises:
        ValueError: for weights of another number, negative ones, or all zero.
    """
    if len(weights) != len(scores):
        raise ValueError(f"{len(scores)} results need {len(scores)} weights, got {list(weights)}")
    share = torch.tensor(weights, dtype=scores[0].scores.dtype)
    if not share.isfinite().all() or share.min() < 0 or share.sum() == 0:
        raise ValueError(f"weights must be positive numbers or zero, and not all zero, got {list(weights)}")
    total = torch.tensordot(share, torch.stack([one.scores for one in scores]), dims=1)
    return Scores(scores[0].names, scores[0].labels, total)


def best_weights(scores: Sequence[Scores]) -> tuple[float, ...]:
    """The weights that fuse these scores best: to be asked of a validation side, never of the test side.

    Tries all weights in twelfths that sum to 1. Of equally good ones the most equal are taken (the smallest sum of
    squares), of these the ones that weigh the earlier scores more.
    """

    def worth(parts: tuple[int, ...]) -> tuple[float, int, tuple[int, ...]]:
        return fuse(scores, _shares(parts)).top1, -sum(part * part for part in parts), parts

    return _shares(max(_partitions(len(scores)), key=worth))


def _partitions(count: int) -> Iterator[tuple[int, ...]]:
    """All ways to share `_PARTS` out among so many: where the bars between them can stand."""
    places = _PARTS + count - 1
    for bars in combinations(range(places), count - 1):
        yield tuple(right - left - 1 for left, right in pairwise((-1, *bars, places)))


def _shares(parts: tuple[int, ...]) -> tuple[float, ...]:
    return tuple(part / _PARTS for part in parts)
