"""The losses against slow loops written from the paper's formulae, and the gradients they must and must not have."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from hiclr.losses import (
    Distance,
    branch_weights,
    cross_stream_nce,
    hierarchical_consistency,
    info_nce,
    nearest_positives,
    similarity_logits,
)

N, D, K = 5, 8, 13
Array = NDArray[np.float64]


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def levels(count: int) -> list[Tensor]:
    return [3 * draw(N, 1 + K, seed=seed) for seed in range(count)]


def softmax(row: Array) -> Array:
    exponentials = np.array([math.exp(value) for value in row])
    return exponentials / exponentials.sum()


# --- logits ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0.07, 1.0])
def test_similarity_logits_equal_the_loop(temperature: float) -> None:
    query, key, queue = (normalize(draw(size, D, seed=i)) for i, size in enumerate((N, N, K)))
    slow = np.empty((N, 1 + K))
    for n in range(N):
        slow[n, 0] = sum(query[n, d] * key[n, d] for d in range(D)) / temperature
        for k in range(K):
            slow[n, 1 + k] = sum(query[n, d] * queue[k, d] for d in range(D)) / temperature
    np.testing.assert_allclose(similarity_logits(query, key, queue, temperature).numpy(), slow, rtol=1e-12)


# --- InfoNCE --------------------------------------------------------------------------------------


def slow_info_nce(logits: Array, positives: NDArray[np.bool_]) -> float:
    total = 0.0
    for row, chosen in zip(logits, positives, strict=True):
        p = softmax(row)
        members = {0} | set(np.flatnonzero(chosen).tolist())
        total += -sum(math.log(p[j]) for j in members) / len(members)
    return total / len(logits)


def test_info_nce_equals_the_loop_and_cross_entropy() -> None:
    (logits,) = levels(1)
    none = np.zeros(logits.shape, bool)
    assert info_nce(logits).item() == pytest.approx(slow_info_nce(logits.numpy(), none), rel=1e-12)
    target = torch.zeros(N, dtype=torch.long)
    torch.testing.assert_close(info_nce(logits), torch.nn.functional.cross_entropy(logits, target))


@pytest.mark.parametrize("key_is_marked", [True, False])
def test_info_nce_with_positives_equals_the_loop(key_is_marked: bool) -> None:
    (logits,) = levels(1)
    positives = draw(N, 1 + K, seed=9) > 1
    positives[:, 0] = key_is_marked
    before = positives.clone()
    ours = info_nce(logits, positives)
    assert ours.item() == pytest.approx(slow_info_nce(logits.numpy(), before.numpy()), rel=1e-12)
    assert torch.equal(positives, before)


def test_info_nce_with_the_key_alone_as_positive_is_the_plain_one() -> None:
    (logits,) = levels(1)
    positives = torch.zeros(N, 1 + K, dtype=torch.bool)
    torch.testing.assert_close(info_nce(logits, positives), info_nce(logits))


def test_info_nce_of_guessing() -> None:
    assert info_nce(torch.zeros(N, 1 + K)).item() == pytest.approx(math.log(1 + K))


def test_info_nce_survives_large_logits() -> None:
    logits = torch.tensor([[-1e4, 1e4], [1e4, -1e4]])
    assert info_nce(logits).item() == pytest.approx(1e4)


# --- hierarchical consistency ---------------------------------------------------------------------


def slow_consistency(logits: list[Array], weights: list[float]) -> float:
    """Cross-entropies of the stronger level's distribution under the weaker one's."""
    total = 0.0
    for i, weight in enumerate(weights):
        for weaker, stronger in zip(logits[i], logits[i + 1], strict=True):
            p, q = softmax(weaker), softmax(stronger)
            total += weight * -sum(p[j] * math.log(q[j]) for j in range(len(p))) / len(logits[i])
    return total


@pytest.mark.parametrize(
    ("count", "weights"), [(2, None), (3, None), (4, None), (2, [2.0]), (4, [0.5, 0.3, 0.2]), (3, [0.0, 1.0])]
)
def test_consistency_equals_the_loop(count: int, weights: list[float] | None) -> None:
    logits = levels(count)
    slow = slow_consistency([level.numpy() for level in logits], weights or [1.0] * (count - 1))
    assert hierarchical_consistency(logits, weights).item() == pytest.approx(slow, rel=1e-12)


def test_one_level_has_nothing_to_agree_with() -> None:
    assert hierarchical_consistency(levels(1)).item() == 0
    assert hierarchical_consistency(levels(1), []).item() == 0


def test_the_weaker_view_is_a_fixed_target() -> None:
    logits = [level.requires_grad_() for level in levels(3)]
    hierarchical_consistency(logits).backward()
    assert logits[0].grad is None
    for weaker, stronger in itertools.pairwise(logits):
        # d/dl of -sum p log softmax(l) is softmax(l) - p
        assert stronger.grad is not None
        torch.testing.assert_close(stronger.grad, (stronger.softmax(1) - weaker.softmax(1)).detach() / N)


def test_the_gradient_is_that_of_the_papers_kl_divergence() -> None:
    weaker, stronger = (level.requires_grad_() for level in levels(2))
    (ours,) = torch.autograd.grad(hierarchical_consistency([weaker, stronger]), stronger)
    divergence = torch.nn.functional.kl_div(stronger.log_softmax(1), weaker.detach().softmax(1), reduction="batchmean")
    (kl,) = torch.autograd.grad(divergence, stronger)
    torch.testing.assert_close(ours, kl)


def test_agreement_costs_the_entropy_and_nothing_can_cost_less() -> None:
    weaker, other = levels(2)
    p = weaker.softmax(1)
    entropy = -(p * p.log()).sum(1).mean()
    torch.testing.assert_close(hierarchical_consistency([weaker, weaker + 5]), entropy)
    assert hierarchical_consistency([weaker, other]) > entropy


@pytest.mark.parametrize(("count", "weights"), [(3, [1.0]), (2, [1.0, 1.0]), (1, [1.0])])
def test_number_of_weights_is_checked(count: int, weights: list[float]) -> None:
    sentence = rf"{count} levels need {count - 1} weights .*, got {len(weights)}"
    with pytest.raises(ValueError, match=sentence):
        hierarchical_consistency(levels(count), weights)


def test_branch_weights_are_ones_unless_given() -> None:
    assert branch_weights(1) == [] and branch_weights(3) == [1.0, 1.0] and branch_weights(3, [0.3, 0.2]) == [0.3, 0.2]


# --- the distances it is compared with ------------------------------------------------------------


def apart(p: Array, q: Array, distance: Distance) -> float:
    """From the weaker level's p to the stronger one's q."""
    if distance == "squared":
        return sum((a - b) ** 2 for a, b in zip(p, q, strict=True))
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


@pytest.mark.parametrize("weights", [None, [0.5, 0.3]])
@pytest.mark.parametrize("distance", ["kl", "squared"])
def test_symmetric_consistency_equals_the_loop(distance: Distance, weights: list[float] | None) -> None:
    logits = levels(3)
    slow = 0.0
    for i, weight in enumerate(weights or [1.0, 1.0]):
        for weaker, stronger in zip(logits[i].numpy(), logits[i + 1].numpy(), strict=True):
            slow += weight * apart(softmax(weaker), softmax(stronger), distance) / N
    assert hierarchical_consistency(logits, weights, distance, symmetric=True).item() == pytest.approx(slow, rel=1e-12)


def gradients(a: Array, b: Array, distance: Distance) -> tuple[Array, Array]:
    """Of one row of logits of the weaker and of the stronger level, by hand; J is the softmax's derivative."""
    p, q = softmax(a), softmax(b)
    by_p, by_q = (2 * (p - q), 2 * (q - p)) if distance == "squared" else (np.log(p / q) + 1, -p / q)
    through_p, through_q = (np.diag(share) - np.outer(share, share) for share in (p, q))
    return through_p @ by_p, through_q @ by_q


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("distance", ["kl", "squared"])
def test_only_the_symmetric_one_teaches_the_weaker_level(distance: Distance, symmetric: bool) -> None:
    weaker, stronger = (level.requires_grad_() for level in levels(2))
    hierarchical_consistency([weaker, stronger], distance=distance, symmetric=symmetric).backward()
    rows = [gradients(*pair, distance) for pair in zip(weaker.detach().numpy(), stronger.detach().numpy(), strict=True)]
    by_weaker, by_stronger = (np.stack(parts) / N for parts in zip(*rows, strict=True))
    assert stronger.grad is not None
    np.testing.assert_allclose(stronger.grad, by_stronger, rtol=1e-9, atol=1e-15)
    if symmetric:
        assert weaker.grad is not None and weaker.grad.abs().max() > 0.01
        np.testing.assert_allclose(weaker.grad, by_weaker, rtol=1e-9, atol=1e-15)
    else:
        assert weaker.grad is None


@pytest.mark.parametrize(("distance", "symmetric"), [("squared", False), ("squared", True), ("kl", True)])
def test_agreement_costs_nothing(distance: Distance, symmetric: bool) -> None:
    weaker, other = levels(2)
    cost = hierarchical_consistency([weaker, weaker + 5], None, distance, symmetric)
    torch.testing.assert_close(cost, torch.zeros_like(cost))
    assert hierarchical_consistency([weaker, other], None, distance, symmetric) > 0.1


def test_an_unknown_distance_names_the_known_ones() -> None:
    unknown: Any = "cosine"
    with pytest.raises(ValueError, match="unknown distance 'cosine': choose one of kl, squared"):
        hierarchical_consistency(levels(2), distance=unknown)


# --- nearest neighbours ---------------------------------------------------------------------------


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("count", [1, 3])
def test_nearest_positives_equal_the_loop(count: int, k: int) -> None:
    logits = levels(count)
    slow = np.zeros((N, 1 + K), bool)
    for n in range(N):
        slow[n, 0] = True
        for level in logits:
            ranked = sorted(range(1, 1 + K), key=lambda j: -float(level[n, j]))
            slow[n, ranked[:k]] = True
    np.testing.assert_array_equal(nearest_positives(logits, k).numpy(), slow)


def test_levels_with_the_same_neighbour_add_it_once() -> None:
    (logits,) = levels(1)
    assert torch.equal(nearest_positives([logits, 2 * logits], 1), nearest_positives([logits], 1))


def test_the_key_is_never_its_own_neighbour() -> None:
    (logits,) = levels(1)
    logits[:, 0] = 100
    assert (nearest_positives([logits], 1).sum(1) == 2).all()


def test_mining_passes_no_gradient() -> None:
    logits = [level.requires_grad_() for level in levels(2)]
    positives = nearest_positives(logits, 1)
    assert positives.dtype == torch.bool and not positives.requires_grad
    info_nce(logits[0], positives).backward()
    assert logits[0].grad is not None and logits[1].grad is None


# --- across streams -------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0.07, 1.0])
def test_cross_stream_nce_equals_the_loop(temperature: float) -> None:
    """From embeddings: s_u = z_u . m_u; context s_u * s_v; positives: key, nearest of s_v, and its place in both."""
    ours, theirs = (
        [normalize(draw(size, D, seed=10 * stream + i)) for i, size in enumerate((N, N, K))] for stream in (1, 2)
    )
    slow = 0.0
    for n in range(N):
        (own, key), similar = (part[n].numpy() for part in ours[:2]), ours[2].numpy()
        to_mine = [float(own @ memory) for memory in similar]
        to_theirs = [float(theirs[0][n].numpy() @ memory) for memory in theirs[2].numpy()]
        nearest = int(np.argmax(to_theirs))
        context = [mine * other for mine, other in zip(to_mine, to_theirs, strict=True)]
        p = softmax(np.array([float(own @ key), *to_mine, *context]) / temperature)
        slow += -sum(math.log(p[j]) for j in (0, 1 + nearest, 1 + K + nearest)) / 3 / N
    logits, other = (similarity_logits(*stream, temperature) for stream in (ours, theirs))
    assert cross_stream_nce(logits, other, temperature).item() == pytest.approx(slow, rel=1e-12)


def test_cross_stream_nce_does_not_ask_the_other_streams_key() -> None:
    logits, other = levels(2)
    changed = other.clone()
    changed[:, 0] = 50
    assert cross_stream_nce(logits, changed, 1.0) == cross_stream_nce(logits, other, 1.0)
