"""The losses of HiCLR, from similarities to a number (Zhang, Lin, Liu, AAAI 2023, arXiv 2211.13466)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

Distance = Literal["kl", "squared"]


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


def hierarchical_consistency(
    levels: Sequence[Tensor],
    weights: Sequence[float] | None = None,
    distance: Distance = "kl",
    symmetric: bool = False,
) -> Tensor:
    """Pulls each stronger view's distribution towards the next weaker one's. A scalar.

    Sum over i >= 1 of weights[i-1] * H(stopgrad(p_{i-1}), p_i). The cross-entropy H of the published
    code is the paper's KL divergence plus the entropy of the fixed target: the same gradient.

    `symmetric` and the squared distance are what the paper compares itself with: with the gradient flowing into
    the target too (and then KL itself, whose gradient is another), or |p_{i-1} - p_i|^2 in place of it.

    Args:
        levels: L logits (N, 1+K), from the weakest to the strongest view.
        weights: one for each level above the first, L-1 of them; all 1 when None.
        distance: "kl" or "squared".
        symmetric: let the weaker view learn from the stronger one as well (no stopgrad).

    Raises:
        ValueError: for another number of weights, or an unknown distance.
    """
    if distance not in get_args(Distance):
        raise ValueError(f"unknown distance {distance!r}: choose one of {', '.join(get_args(Distance))}")
    loss = levels[0].new_zeros(())
    for weaker, stronger, weight in zip(levels, levels[1:], branch_weights(len(levels), weights), strict=False):
        target = weaker if symmetric else weaker.detach()
        if distance == "squared":
            apart = (target.softmax(1) - stronger.softmax(1)).square()
        else:
            apart = -target.softmax(1) * stronger.log_softmax(1)
            if symmetric:
                apart = apart + target.softmax(1) * target.log_softmax(1)
        loss = loss + weight * apart.sum(1).mean()
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


def cross_stream_nce(logits: Tensor, other: Tensor, temperature: float) -> Tensor:
    """InfoNCE of one stream with positives and context from another (CrosSCLR: Li et al., CVPR 2021). A scalar.

    The queue entry most similar in the other stream is a positive beside the key. The logits are extended by the
    context, the products of both streams' similarities to each queue entry, in which the same entry is a positive too.

    Args:
        logits: (N, 1+K), as from `similarity_logits`, of the stream that learns.
        other: the same of the other stream; entry n of both queues is of the same sequence.
        temperature: with which both were made.
    """
    context = logits[:, 1:] * other[:, 1:] * temperature
    mined = nearest_positives([other], k=1)
    return info_nce(torch.cat([logits, context], dim=1), torch.cat([mined, mined[:, 1:]], dim=1))
