"""One training step of HiCLR, written down as the paper tells it."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hiclr.benchmarks.plain.network import PlainProjected
from hiclr.benchmarks.plain.views import Draw, batch_view
from hiclr.skeleton import Skeleton

TEMPERATURE, MOMENTUM, CONSISTENCY_WEIGHT = 0.07, 0.999, 0.5


class PlainStep:
    """Query and key network, queue and optimizer.

    Args:
        query: what is trained.
        queue: (K, 128) past keys, normalised.
        skeleton: of the sequences.
    """

    def __init__(self, query: PlainProjected, queue: Tensor, skeleton: Skeleton) -> None:
        self.query = query
        self.key = copy.deepcopy(query)
        self.mask_value = nn.Parameter(torch.zeros(1, dtype=queue.dtype))
        self.queue = queue
        self.place = 0
        self.skeleton = skeleton
        parameters = [*query.parameters(), self.mask_value]
        self.optimizer = torch.optim.SGD(parameters, lr=0.1, momentum=0.9, weight_decay=1e-4)

    def __call__(self, x: Tensor, views: Sequence[Sequence[Draw]], key_view: Sequence[Draw]) -> Tensor:
        """One step on x (N, C, T, V, M) with the draws of each view, one a sequence; returns the loss."""
        queries = [F.normalize(self.query(self._view(x, draws))) for draws in views]
        with torch.no_grad():
            follow(self.key, self.query)
            key = F.normalize(self.key(self._view(x, key_view)))
        loss = contrast(queries, key, self.queue)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.place = push(self.queue, key, self.place)
        return loss

    def _view(self, x: Tensor, draws: Sequence[Draw]) -> Tensor:
        return batch_view(x, draws, self.skeleton, self.mask_value)


def follow(key: nn.Module, query: nn.Module) -> None:
    """Moves the key network's parameters a thousandth of the way, one by one."""
    for slow, fast in zip(key.parameters(), query.parameters(), strict=True):
        slow.data = slow.data * MOMENTUM + fast.data * (1 - MOMENTUM)


def contrast(queries: Sequence[Tensor], key: Tensor, queue: Tensor) -> Tensor:
    """The loss of queries (N, D), one of each level, with their key (N, D) and past keys (K, D)."""
    levels = []
    for query in queries:
        own = torch.einsum("nd,nd->n", query, key)[:, None]
        past = torch.einsum("nd,kd->nk", query, queue.clone())
        levels.append(torch.cat([own, past], dim=1) / TEMPERATURE)
    loss = F.cross_entropy(levels[0], torch.zeros(len(key), dtype=torch.long))
    for weaker, stronger in pairwise(levels):
        apart = -(weaker.detach().softmax(1) * stronger.log_softmax(1)).sum(1).mean()
        loss = loss + CONSISTENCY_WEIGHT * apart
    return loss


def push(queue: Tensor, key: Tensor, place: int) -> int:
    """Writes the keys (N, D) over the oldest of the queue (K, D), K a multiple of N; returns the next place."""
    queue[place : place + len(key)] = key
    return (place + len(key)) % len(queue)
