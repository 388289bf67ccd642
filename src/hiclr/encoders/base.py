"""What every encoder is: a network from a batch of sequences to one feature vector each."""

from __future__ import annotations

import abc
from typing import Any

from torch import Tensor, nn

from hiclr.skeleton import Skeleton


class Encoder(nn.Module, abc.ABC):
    """From sequences (N, C, T, V, M) to features (N, D).

    Args:
        skeleton: the joints the encoder is built for.
        feature_dim: D.
        settings: all other arguments of the class, so that a checkpoint can rebuild it.
    """

    def __init__(self, skeleton: Skeleton, feature_dim: int, settings: dict[str, Any]) -> None:
        super().__init__()
        self.skeleton = skeleton
        self.feature_dim = feature_dim
        self.settings = settings

    @abc.abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """x (N, C, T, V, M) -> features (N, D)."""

    def check_joints(self, x: Tensor) -> None:
        """ValueError unless x (N, C, T, V, M) has 3 coordinates and this encoder's joints."""
        if x.ndim != 5 or x.shape[1] != 3:
            raise ValueError(f"expected x of shape (N, 3, T, V, M), got {tuple(x.shape)}")
        expected, got = self.skeleton.num_joints, x.shape[3]
        if got != expected:
            raise ValueError(
                f"expected {expected} joints ({self.skeleton.name}), got {got}: "
                "build the encoder with the skeleton of the data"
            )
