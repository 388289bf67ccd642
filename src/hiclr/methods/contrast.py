"""What MoCo compares (He et al., CVPR 2020): a query network, a key network that follows it, a queue of past keys."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import normalize

from hiclr.encoders.base import EdgeChange, Encoder
from hiclr.losses import similarity_logits
from hiclr.momentum import KeyQueue, MomentumEncoder

_EMBEDDING_DIM = 128
_COLDEST, _HOTTEST = 0.001, 100.0  # similarities differ by up to 2; in half precision by no less than some 0.001


class Projected(nn.Module):
    """An encoder and its projection head: x (N, C, T, V, M) -> embeddings (N, 128)."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        dim = encoder.feature_dim
        self.encoder = encoder
        self.embedding_dim = _EMBEDDING_DIM
        self.head = nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, _EMBEDDING_DIM))

    def forward(self, x: Tensor, edges: EdgeChange | None = None) -> Tensor:
        """x (N, C, T, V, M) -> embeddings (N, 128), not normalised; `edges` as in `Encoder.feature_map`."""
        embedding: Tensor = self.head(self.encoder(x, edges))
        return embedding


class Contrast(nn.Module):
    """Query network, key network and queue around one encoder.

    Args:
        encoder: what is to be trained.
        queue_size: past keys to contrast with, K.
        key_momentum: share of its weights the key network keeps at each step.
        temperature: of the similarities.

    Raises:
        ValueError: for a size, share or temperature that cannot be.
    """

    def __init__(self, encoder: Encoder, queue_size: int, key_momentum: float, temperature: float) -> None:
        super().__init__()
        if not temperature > 0:
            raise ValueError(f"temperature must be greater than 0, got {temperature}")
        if not _COLDEST <= temperature <= _HOTTEST:
            raise ValueError(
                f"temperature must lie in {_COLDEST}..{_HOTTEST} (published: 0.07), got {temperature}: beyond, the "
                "softmax is all or nothing, or the same for all keys"
            )
        self.query = Projected(encoder)
        self.key = MomentumEncoder(self.query, key_momentum)
        self.queue = KeyQueue(queue_size, self.query.embedding_dim)
        self.temperature = temperature
        self.settings: dict[str, Any] = {
            "queue_size": queue_size,
            "key_momentum": key_momentum,
            "temperature": temperature,
        }

    def embed(self, x: Tensor, edges: EdgeChange | None = None) -> Tensor:
        """Queries (N, 128), normalised, of augmented sequences x (N, C, T, V, M)."""
        return normalize(self.query(x, edges))

    def next_key(self, x: Tensor, edges: EdgeChange | None = None) -> Tensor:
        """Keys (N, 128), normalised, of augmented sequences x, after the key network has followed the query's."""
        self.key.follow(self.query)
        return normalize(self.key(x, edges))

    def compare(self, queries: Sequence[Tensor], key: Tensor) -> list[Tensor]:
        """Logits (N, 1+K) of each level's queries (N, 128) against the own key and the queue."""
        negatives = self.queue.snapshot()
        return [similarity_logits(query, key, negatives, self.temperature) for query in queries]

    def health(self, query: Tensor, logits: Tensor) -> dict[str, Tensor]:
        """Two signs of collapse, of queries (N, 128) and their logits (N, 1+K)."""
        return {
            "queue_similarity": logits[:, 1:].mean() * self.temperature,
            "feature_spread": feature_spread(query),
        }


def feature_spread(embeddings: Tensor) -> Tensor:
    """How far embeddings (N, D) fill the sphere: mean standard deviation of a coordinate, times sqrt(D).

    1 when they are spread evenly, 0 when all are the same.
    """
    spread: Tensor = normalize(embeddings).std(0).mean()
    return spread * math.sqrt(embeddings.shape[1])
