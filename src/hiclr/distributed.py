"""What processes that train or measure together share (torch.distributed); with one process nothing is exchanged."""

from __future__ import annotations

import torch
from torch import Tensor, distributed


def num_processes() -> int:
    """How many processes work together."""
    return distributed.get_world_size() if _together() else 1


def own_rows(x: Tensor) -> Tensor:
    """This process's share of the rows of x: consecutive ones, the first processes one more where they do not divide."""
    return x.tensor_split(num_processes())[distributed.get_rank()] if _together() else x


def gathered(x: Tensor) -> Tensor:
    """The rows of all processes' x (N_r, ...), in the order of the processes; without gradient."""
    if not _together():
        return x
    counts = [torch.zeros((), dtype=torch.long, device=x.device) for _ in range(num_processes())]
    distributed.all_gather(counts, torch.tensor(len(x), device=x.device))
    longest = int(torch.stack(counts).max())
    padded = torch.cat([x.detach(), x.new_zeros(longest - len(x), *x.shape[1:])])
    shares = [torch.empty_like(padded) for _ in counts]
    distributed.all_gather(shares, padded)
    return torch.cat([share[:count] for share, count in zip(shares, counts, strict=True)])


def summed(x: Tensor) -> Tensor:
    """The sum of all processes' x; without gradient."""
    x = x.detach().clone()
    if _together():
        distributed.all_reduce(x)
    return x


def _together() -> bool:
    return distributed.is_available() and distributed.is_initialized()
