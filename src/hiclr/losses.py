"""The losses of HiCLR, from similarities to a number (Zhang, Lin, Liu, AAAI 2023, arXiv 2211.13466)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def similarity_logits(query: Tensor, key: Tensor, queue: Tensor, temperature: float) -> Tensor:
    """Similarity of each query to its own key (column 0) and to every key of the queue.

    Args:
        query: (N, D), normalised.
        key: (N, D), normalised.
        queue: (K, D), normalised.
        temperature: divides the similarities (tau).

    Returns:
        (N, 1+K).
    """
    own = (query * key).sum(1, keepdim=True)
    return torch.cat([own, query @ queue.T], dim=1) / temperature


def info_nce(logits: Tensor, positives: Tensor | None = None) -> Tensor:
    """-log p of the key, p = softmax(logits); with more positives the mean over them. A scalar.

    Args:
        logits: (N, 1+K), the key in column 0.
        positives: bool (N, 1+K), as from `nearest_positives`; the key counts in any case.
    """
    log_p = logits.log_softmax(1)
    if positives is None:
        return -log_p[:, 0].mean()
    positives = positives.clone()
    positives[:, 0] = True
    return -((log_p * positives).sum(1) / positives.sum(1)).mean()


def hierarchical_consistency(levels: Sequence[Tensor], weights: Sequence[float] | None = None) -> Tensor:
    """Pulls each stronger view's distribution towards the next weaker one's. A scalar.

    Sum over i >= 1 of weights[i-1] * H(stopgrad(p_{i-1}), p_i). The cross-entropy H of the published
    code is the paper's KL divergence plus the entropy of the fixed target: the same gradient.

    Args:
        levels: L logits (N, 1+K), from the weakest to the strongest view.
        weights: one for each level above the first, L-1 of them; all 1 when None.

    Raises:
        ValueError: for another number of weights.
    """
    loss = levels[0].new_zeros(())
    for weaker, stronger, weight in zip(levels, levels[1:], branch_weights(len(levels), weights), strict=False):
        target = weaker.detach().softmax(1)
        loss = loss - weight * (target * stronger.log_softmax(1)).sum(1).mean()
    return loss


def branch_weights(levels: int, weights: Sequence[float] | None = None) -> Sequence[float]:
    """One weight for each level above the first: those given, or ones.

    Raises:
        ValueError: for another number of weights.
    """
    steps = levels - 1
    if weights is not None and len(weights) != steps:
        raise ValueError(f"{levels} levels need {steps} weights (one for each above the first), got {len(weights)}")
    return [1.0] * steps if weights is None else weights


@torch.no_grad()
def nearest_positives(levels: Sequence[Tensor], k: int) -> Tensor:
    """The key and, of every level, the k queue entries most similar to it: bool (N, 1+K).

    Args:
        levels: logits (N, 1+K).
        k: entries a level adds (published: 1).
    """
    positives = torch.zeros_like(levels[0], dtype=torch.bool)
    positives[:, 0] = True
    for logits in levels:
        positives.scatter_(1, logits[:, 1:].topk(k, dim=1).indices + 1, True)
    return positives
