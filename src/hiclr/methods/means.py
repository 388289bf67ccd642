"""Means of figures over an epoch, kept in the checkpoint, so that a run that goes on within an epoch logs the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, distributed

from hiclr.distributed import gathered, num_processes, summed


class EpochMeans:
    """Means over the steps of an epoch and all processes. Nothing waits for a GPU until they are asked for."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forgets all, for a new epoch."""
        self._names: list[str] = []
        self._sums = torch.zeros(1)  # of each figure times its weight, and of the weights

    def add(self, weight: int, figures: Mapping[str, Tensor]) -> None:
        """Adds a step: every step has the same figures, each a single number.

        Args:
            weight: what the step counts for, such as its number of sequences.
            figures: the step's.
        """
        one = torch.ones_like(next(iter(figures.values())), dtype=torch.float32)
        values = torch.stack([*(figure.detach().float() for figure in figures.values()), one])
        if not self._names:
            self._names, self._sums = list(figures), torch.zeros_like(values)
        self._sums = self._sums.to(values.device) + weight * values

    def means(self) -> dict[str, float]:
        """The means by now, over all processes, which must all ask; none before the first step."""
        *totals, weight = summed(self._sums).tolist()
        return {name: total / weight for name, total in zip(self._names, totals, strict=True)}

    def state_dict(self, device: torch.device) -> dict[str, Any]:
        """For the checkpoint, the sums of every process, which must all ask.

        Args:
            device: where the processes meet.
        """
        return {"names": self._names, "sums": gathered(self._sums[None].to(device), even=True).cpu()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes up what `state_dict` gave; with another number of processes, the first takes up all."""
        self._names, sums = list(state["names"]), state["sums"]
        rank = distributed.get_rank() if num_processes() > 1 else 0
        if len(sums) != num_processes():
            sums = torch.cat([sums.sum(0, keepdim=True), sums.new_zeros(num_processes() - 1, sums.shape[1])])
        self._sums = sums[rank]
