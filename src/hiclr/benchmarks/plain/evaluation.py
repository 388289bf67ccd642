"""Batches one sequence after the other, the linear probe behind the encoder, nearest neighbours all at once."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F


def batches(sequences: NDArray[np.float32], order: Tensor, batch_size: int) -> Iterator[Tensor]:
    """Full batches of sequences, in some order, each read and converted by itself, then stacked."""
    for rows in order.split(batch_size):
        if len(rows) == batch_size:
            yield torch.stack([torch.from_numpy(np.array(sequences[row])) for row in rows.tolist()])


def probe_epoch(
    encoder: nn.Module, layer: nn.Linear, optimizer: torch.optim.Optimizer, x: Tensor, labels: Tensor, rows: Tensor
) -> None:
    """One epoch of a linear layer behind a frozen encoder: every batch is encoded anew."""
    for batch in rows.split(128):
        with torch.no_grad():
            features = encoder(x[batch])
        optimizer.zero_grad()
        F.cross_entropy(layer(features), labels[batch]).backward()
        optimizer.step()


def nearest_labels(train: Tensor, labels: Tensor, test: Tensor) -> Tensor:
    """The label of each test feature's nearest training feature by cosine: (Q,) of (N, D), (N,) and (Q, D)."""
    return labels[(F.normalize(test) @ F.normalize(train).T).argmax(1)]
