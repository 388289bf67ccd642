"""What every encoder is: a network from a batch of sequences to one feature vector each."""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any, ClassVar

import torch
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
    def body_maps(self, x: Tensor, edges: EdgeChange | None = None, copies: int = 1) -> Tensor:
        """Bodies x (B, C, T, V) -> features of each (B, D, T', V').

        Args:
            x: bodies, in channels-last memory.
            edges: what is done to the edges of every graph layer, drawn anew in each (DropAddEdges).
            copies: how many equal bodies the last one stands for, in every statistic over bodies.
        """

    def feature_map(self, x: Tensor, edges: EdgeChange | None = None) -> Tensor:
        """x (N, C, T, V, M) -> features before the mean (N, D, T', V', M)."""
        self.check_joints(x)
        bodies, copies, place = distinct_bodies(x)
        return self.body_maps(bodies, edges, copies)[place].movedim(1, -1)

    def forward(self, x: Tensor, edges: EdgeChange | None = None) -> Tensor:
        """x (N, C, T, V, M) -> features (N, D)."""
        self.check_joints(x)
        bodies, copies, place = distinct_bodies(x)
        return self.body_maps(bodies, edges, copies).mean((2, 3))[place].mean(1)

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


def distinct_bodies(x: Tensor) -> tuple[Tensor, int, Tensor]:
    """The bodies of a batch, all that are not there (all zero) as one, the last.

    A body's features depend on the others only through the statistics of the batch, so that many equal ones need to be
    encoded once only. Not done on a GPU, where counting them would hold up the host.

    Args:
        x: (N, C, T, V, M).

    Returns:
        The bodies (B, C, T, V) in channels-last memory, how many of x the last one stands for, and which of them is
        body m of sequence n, (N, M).
    """
    n, _, _, _, m = x.shape
    bodies = x.permute(0, 4, 2, 3, 1).flatten(0, 1)
    place = torch.arange(n * m, device=x.device)
    absent = 0
    if not x.is_cuda:
        there = bodies.ne(0).flatten(1).any(1)
        absent = n * m - int(there.sum())
    if absent > 1:
        last = n * m - absent
        rows = torch.cat([place[there], place[~there][:1]])
        bodies, place = bodies[rows], torch.where(there, there.cumsum(0) - 1, last)
    return bodies.permute(0, 3, 1, 2), max(absent, 1), place.view(n, m)
