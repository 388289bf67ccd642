"""What processes that train or measure together share (torch.distributed); with one process nothing is exchanged."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar, cast

import numpy as np
import torch
from torch import Tensor, distributed

Result = TypeVar("Result")


def num_processes() -> int:
    """How many processes work together."""
    return distributed.get_world_size() if _together() else 1


def own_rows(x: Tensor) -> Tensor:
    """This process's share of the rows of x: consecutive ones; the first processes have one more if it must be."""
    return x.tensor_split(num_processes())[distributed.get_rank()] if _together() else x


def own_views(views: Iterable[Tensor]) -> list[Tensor]:
    """This process's rows of views (N, C, T, V, M) of a whole batch, which every process has drawn alike.

    What is drawn afterwards (dropout, edges) is each process's own, until chance is seeded anew (`seed_all`).
    """
    shares = [own_rows(view) for view in views]
    if _together():
        seed_all(int(torch.randint(2**62, ())), distributed.get_rank())
    return shares


def seed_all(*numbers: int) -> None:
    """Seeds torch's chance on all devices with a mixture of numbers (from 0 on): near ones give unlike draws."""
    torch.manual_seed(int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0]))


def gathered(x: Tensor, even: bool = False) -> Tensor:
    """The rows of all processes' x (N_r, ...), in the order of the processes; without gradient.

    Args:
        x: this process's rows.
        even: all processes are known to have as many rows: a GPU then need not wait to hear how many.
    """
    if not _together():
        return x
    if even:
        return torch.cat(_of_all(x.detach()))
    counts = torch.stack(_of_all(torch.tensor(len(x), device=x.device))).tolist()
    shares = _of_all(torch.cat([x.detach(), x.new_zeros(max(counts) - len(x), *x.shape[1:])]))
    return torch.cat([share[:count] for share, count in zip(shares, counts, strict=True)])


def summed(x: Tensor) -> Tensor:
    """The sum of all processes' x; without gradient."""
    x = x.detach().clone()
    if _together():
        distributed.all_reduce(x)
    return x


def cpu_group() -> distributed.ProcessGroup | None:
    """A group of all processes that meets in the CPU's memory, where nobody waits for a GPU; all must ask for it."""
    return distributed.new_group(backend="gloo") if _together() else None


def any_of(group: distributed.ProcessGroup | None, *facts: bool) -> list[bool]:
    """Which of some facts hold in any process of a `cpu_group`, which must all ask."""
    held = torch.tensor(facts, dtype=torch.uint8)
    if group is not None:
        distributed.all_reduce(held, distributed.ReduceOp.MAX, group)
    return held.bool().tolist()


def by_first(work: Callable[[], Result]) -> Result:
    """What `work` returns, or raises, in the first process: it alone works, the others wait and are given the same."""
    if not _together():
        return work()
    outcome: list[Any] = [_outcome(work) if distributed.get_rank() == 0 else None]
    distributed.broadcast_object_list(outcome)
    result, error = outcome[0]
    if error is not None:
        raise error
    return cast("Result", result)


def _outcome(work: Callable[[], Result]) -> tuple[Result | None, Exception | None]:
    try:
        return work(), None
    except Exception as error:
        return None, error


def _of_all(x: Tensor) -> list[Tensor]:
    """Every process's x, all of one shape."""
    shares = [torch.empty_like(x, memory_format=torch.contiguous_format) for _ in range(num_processes())]
    distributed.all_gather(shares, x.contiguous())
    return shares


def _together() -> bool:
    return distributed.is_available() and distributed.is_initialized()
