"""Fusion: the sum against a loop, names whatever their order, weights against a search by hand."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from hiclr.evaluation import Scores
from hiclr.fusion import best_weights, fuse, matched

N, CLASSES = 20, 4
NAMES = tuple(f"s{row}" for row in range(N))
LABELS = torch.arange(N) % CLASSES


def scores(seed: int, right: float = 0.0) -> Scores:
    """Random scores that lean so much to the right class."""
    chance = torch.Generator().manual_seed(seed)
    return Scores(NAMES, LABELS, torch.randn(N, CLASSES, generator=chance) + right * torch.eye(CLASSES)[LABELS])


def shuffled(one: Scores, seed: int) -> Scores:
    order = torch.randperm(N, generator=torch.Generator().manual_seed(seed))
    return Scores(tuple(one.names[row] for row in order), one.labels[order], one.scores[order])


def by_path(*several: Scores) -> dict[Path, Scores]:
    return {Path(f"{row}.npz"): one for row, one in enumerate(several)}


# --- matching by name -----------------------------------------------------------------------------


def test_matching_undoes_any_order() -> None:
    originals = [scores(0), scores(1), scores(2)]
    rows = matched(by_path(originals[0], shuffled(originals[1], 5), shuffled(originals[2], 6)))
    for row, original in zip(rows, originals, strict=True):
        assert row.names == NAMES
        assert torch.equal(row.labels, LABELS) and torch.equal(row.scores, original.scores)


def test_fused_figures_do_not_depend_on_the_order_in_the_files() -> None:
    straight = fuse(matched(by_path(scores(0), scores(1))), [0.5, 0.5])
    mixed = fuse(matched(by_path(shuffled(scores(0), 3), shuffled(scores(1), 4))), [0.5, 0.5])
    assert mixed.top1 == straight.top1 and np.array_equal(mixed.confusion(), straight.confusion())


def test_other_sequences_are_named_and_counted() -> None:
    other = Scores((*NAMES[:-3], "x", "y", "z"), LABELS, scores(1).scores)
    with pytest.raises(ValueError, match=r"0\.npz and 1\.npz are of different sequences: 6 \(s17, s18, s19, \.\.\.\)"):
        matched(by_path(scores(0), other))


def test_part_of_the_sequences_is_refused() -> None:
    part = Scores(NAMES[1:], LABELS[1:], scores(1).scores[1:])
    for pair in ((scores(0), part), (part, scores(0))):
        with pytest.raises(ValueError, match=r"different sequences: 1 \(s0\)"):
            matched(by_path(*pair))


def test_other_labels_are_refused() -> None:
    labels = LABELS.clone()
    labels[4] = 3
    with pytest.raises(ValueError, match=r"labels of 1 \(s4\)"):
        matched(by_path(scores(0), scores(1), shuffled(Scores(NAMES, labels, scores(2).scores), 0)))


def test_other_classes_are_refused() -> None:
    wider = Scores(NAMES, LABELS, torch.zeros(N, CLASSES + 1))
    with pytest.raises(ValueError, match=r"4 classes, 1\.npz for 5"):
        matched(by_path(scores(0), wider))


# --- the sum --------------------------------------------------------------------------------------


def test_sum_equals_the_loop() -> None:
    parts, weights = [scores(0), scores(1), scores(2)], [0.6, 0.0, 1.3]
    fused = fuse(parts, weights)
    for row, label in itertools.product(range(N), range(CLASSES)):
        expected = sum(w * part.scores[row, label].item() for w, part in zip(weights, parts, strict=True))
        assert fused.scores[row, label].item() == pytest.approx(expected, abs=1e-5)
    assert fused.names == NAMES and torch.equal(fused.labels, LABELS)


def test_all_weight_on_one_is_that_one() -> None:
    assert torch.equal(fuse([scores(0), scores(1)], [0, 1]).scores, scores(1).scores)


@pytest.mark.parametrize(
    ("weights", "sentence"),
    [
        ([1.0], "2 results need 2 weights"),
        ([1.0, 1.0, 1.0], "2 results need 2 weights"),
        ([1.0, -0.1], "positive numbers or zero"),
        ([0.0, 0.0], "not all zero"),
        ([1.0, float("nan")], "positive numbers or zero"),
        ([1.0, float("inf")], "positive numbers or zero"),
    ],
)
def test_weights_are_checked(weights: list[float], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        fuse([scores(0), scores(1)], weights)


# --- the best weights -----------------------------------------------------------------------------


@pytest.mark.parametrize("seeds", [(0, 1), (2, 3), (0, 1, 2), (3, 4, 5)])
def test_best_weights_equal_the_search_by_hand(seeds: tuple[int, ...]) -> None:
    parts = [scores(seed, right=0.4 * place) for place, seed in enumerate(seeds)]
    best: tuple[float, float] | None = None
    for twelfths in itertools.product(range(13), repeat=len(seeds)):
        if sum(twelfths) == 12:
            weights = [one / 12 for one in twelfths]
            found = fuse(parts, weights).top1, -float(np.var(weights))
            best = max(best or found, found)
    chosen = best_weights(parts)
    assert best is not None and sum(chosen) == pytest.approx(1)
    assert fuse(parts, chosen).top1 == best[0] and np.var(chosen) == pytest.approx(-best[1])


@pytest.mark.parametrize("count", [2, 3, 4])
def test_ties_go_to_the_most_equal(count: int) -> None:
    assert best_weights([scores(0)] * count) == pytest.approx([1 / count] * count)


def test_a_result_that_only_harms_is_left_out() -> None:
    wrong = Scores(NAMES, LABELS, 100 * torch.eye(CLASSES)[(LABELS + 1) % CLASSES])
    assert best_weights([wrong, scores(0, right=10)]) == (0.0, 1.0)
