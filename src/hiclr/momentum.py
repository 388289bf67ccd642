"""What MoCo keeps beside the network: a slowly following copy and a queue of past keys (He et al., CVPR 2020)."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from hiclr.distributed import gathered


class MomentumEncoder(nn.Module):
    """A copy of a network whose weights follow it as an exponential moving average.

    The copy keeps BatchNorm statistics of its own, from its own batches. It starts as an exact copy
    (the published code draws it anew).

    Args:
        network: what to follow.
        momentum: share of the old value kept at each `follow`, in 0..1.
    """

    def __init__(self, network: nn.Module, momentum: float) -> None:
        super().__init__()
        if not 0 <= momentum <= 1:
            raise ValueError(f"momentum must lie in 0..1, got {momentum}")
        self.network = copy.deepcopy(network).requires_grad_(False)
        self.momentum = momentum

    @torch.no_grad()
    def follow(self, network: nn.Module) -> None:
        """Moves every parameter by (1 - momentum) of the way to the network's."""
        torch._foreach_lerp_(list(self.network.parameters()), list(network.parameters()), 1 - self.momentum)

    @torch.no_grad()
    def forward(self, *args: Any) -> Tensor:
        """The copy's output, without gradient."""
        output: Tensor = self.network(*args)
        return output


class KeyQueue(nn.Module):
    """The last `size` keys, first in first out; starts with normalised random vectors.

    Processes that train together hold the same queue. Keys and place are buffers: a checkpoint holds both.

    Args:
        size: K.
        dim: D.
    """

    keys: Tensor
    place: Tensor

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        if size < 1:
            raise ValueError(f"the queue needs room for at least one key, got size {size}")
        self.register_buffer("keys", normalize(torch.randn(size, dim), dim=1))
        self.register_buffer("place", torch.zeros((), dtype=torch.long))

    def snapshot(self) -> Tensor:
        """A copy of the keys, (K, D), that a later `push` leaves as it is."""
        return self.keys.clone()

    @torch.no_grad()
    def push(self, keys: Tensor) -> None:
        """Takes in keys (N, D), any number of them, over the oldest ones.

        Of several processes, each gives its share of the keys, all of the same number; they enter in the order of the
        processes, which is that of the batch.
        """
        keys = gathered(keys, even=True)
        size = len(self.keys)
        skipped = max(len(keys) - size, 0)
        rows = torch.arange(skipped, len(keys), device=self.place.device)
        self.keys[(self.place + rows) % size] = keys[skipped:].detach().to(self.keys)
        self.place.copy_((self.place + len(keys)) % size)
