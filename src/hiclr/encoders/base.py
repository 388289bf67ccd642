"""What every encoder is: a network from a batch of sequences to one feature vector each."""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any, ClassVar

from torch import Tensor, nn

from hiclr.skeleton import Skeleton

# changes the edges (B, S, V, V) of B bodies and S graph subsets or attention heads; an edge that is
# switched on gets the value, one number or one a matrix
EdgeChange = Callable[[Tensor, Tensor | float], Tensor]


class Encoder(nn.Module, abc.ABC):
    """From sequences (N, C, T, V, M) to features (N, D): the mean of a feature map over frames, joints and bodies.

    Args:
        skeleton: the joints the encoder is built for.
        feature_dim: D.
        settings: all other arguments of the class, so that a checkpoint can rebuild it.

    Attributes:
        graph_tensors: names, as shell-style patterns, of the parameters and buffers that depend on the joints. An
            encoder that moves to another skeleton makes these anew and takes all others along.
    """

    graph_tensors: ClassVar[tuple[str, ...]] = ()

    def __init__(self, skeleton: Skeleton, feature_dim: int, settings: dict[str, Any]) -> None:
        super().__init__()
        self.skeleton = skeleton
        self.feature_dim = feature_dim
        self.settings = settings

    @abc.abstractmethod
    def feature_map(self, x: Tensor, edges: EdgeChange | None = None) -> Tensor:
        """x (N, C, T, V, M) -> features before the mean (N, D, T', V', M').

        Args:
            x: sequences.
            edges: what is done to the edges of every graph layer, drawn anew in each (DropAddEdges).
        """

    def forward(self, x: Tensor, edges: EdgeChange | None = None) -> Tensor:
        """x (N, C, T, V, M) -> features (N, D)."""
        return pooled(self.feature_map(x, edges))

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


def pooled(features: Tensor) -> Tensor:
    """The mean over frames, joints and bodies: (N, D, T, V, M) -> (N, D)."""
    return features.mean((2, 3, 4))
