"""How much memory a training will take, found on a copy of the learner by two tiny steps; nothing of the run changes.

Every operation of a step of 2 sequences, then of 4, notes how many bytes of tensors live once it is done. What it would
be at the size of the run follows by a straight line for each operation; the largest is the peak. (The peak of the tiny
steps would not do: of 2 sequences most memory goes to the queue, of 128 to the layers.)
"""

from __future__ import annotations

import copy
import warnings
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from hiclr.data.processes import one_thread
from hiclr.methods.trainee import Trainee

_SIZES = 2, 4  # sequences in the two steps


@dataclass(frozen=True)
class Footprint:
    """What a training takes, in bytes.

    Args:
        checkpoint: weights, statistics, queue and state of the optimizer: a checkpoint on disk, and as much memory.
        gradients: of all weights that learn.
        step: what else lives in the memory at the peak of a step; None if that cannot be told before a real one.
    """

    checkpoint: int
    gradients: int
    step: int | None

    @property
    def memory(self) -> int | None:
        """All together, on each device."""
        return None if self.step is None else self.checkpoint + self.gradients + self.step


def footprint(trainee: Trainee, batch: Callable[[int], Any], size: int, half: bool = False) -> Footprint:
    """What a training will take. Weights, statistics, queue and chance are afterwards what they were.

    Args:
        trainee: what will be trained.
        batch: makes a batch of so many sequences, on the CPU.
        size: sequences in a step of the run, in each process.
        half: whether the run computes in half precision.
    """
    tried = copy.deepcopy(trainee).cpu().train()
    # its first epoch is its last, in which the loss has all of its terms
    stub: Any = SimpleNamespace(current_epoch=0, max_epochs=0, global_step=0, world_size=1)
    tried.trainer = stub
    tried.log = lambda *_, **__: None  # type: ignore[method-assign]

    def step(sequences: int) -> None:
        tried.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            loss = tried.training_step(batch(sequences), 0)
        assert isinstance(loss, Tensor)
        loss.backward()

    with one_thread(), torch.random.fork_rng(devices=[]), warnings.catch_warnings(action="ignore"):
        try:
            peak = peak_memory(step, size)
        except Exception:  # of somebody's own method, which may want a whole trainer: no estimate may forbid its run
            peak = None
    learning = [parameter for parameter in tried.parameters() if parameter.requires_grad]
    gradients = sum(parameter.nbytes for parameter in learning)
    weights = sum(tensor.nbytes for tensor in tried.state_dict().values())
    return Footprint(weights + _state(tried, learning), gradients, peak)


def _state(tried: Trainee, learning: Sequence[nn.Parameter]) -> int:
    """Bytes that the optimizer remembers from a step to the next."""
    optimizer = tried.make_optimizer(learning)
    for parameter in learning:
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    return sum(value.nbytes for facts in optimizer.state.values() for value in facts.values() if torch.is_tensor(value))


def peak_memory(work: Callable[[int], object], size: int) -> int:
    """Most bytes of new tensors that live at once while `work` runs at a size, from runs at two small ones."""
    few, more = (_traced(work, small) for small in _SIZES)
    if len(few) != len(more):  # a first run may fill tables that stay
        few = _traced(work, _SIZES[0])
    if len(few) != len(more):  # it goes another way for another size
        few, more = [max(few, default=0)], [max(more, default=0)]
    low, high = _SIZES
    return max((round(a + (b - a) * (size - low) / (high - low)) for a, b in zip(few, more, strict=True)), default=0)


def _traced(work: Callable[[int], object], size: int) -> Sequence[int]:
    live = _Live()
    with live:
        work(size)
    return live.trace


class _Live(TorchDispatchMode):
    """Counts the bytes of all tensors made meanwhile that still live, after every operation."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.trace: list[int] = []
        self._alive: set[int] = set()  # storages
        self._now = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if _makes_anew(func):
            for tensor in result if isinstance(result, tuple | list) else [result]:
                if isinstance(tensor, Tensor):
                    self._count(tensor.untyped_storage())
            self.trace.append(self._now)
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        name, size = storage._cdata, storage.nbytes()
        if name not in self._alive:
            self._alive.add(name)
            self._now += size
            weakref.finalize(storage, self._gone, name, size)

    def _gone(self, name: int, size: int) -> None:
        self._alive.discard(name)
        self._now -= size


@cache
def _makes_anew(func: Any) -> bool:
    """Whether what an operation returns is neither a view nor changed in place."""
    return all(returned.alias_info is None for returned in func._schema.returns)
