"""How large what is measured is, and random sequences of that size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from hiclr.skeleton import SKELETONS

Work = Callable[[], object]  # what is done again and again

NTU = SKELETONS["ntu25"]


@dataclass(frozen=True)
class Size:
    """Of a measurement; the defaults are NTU RGB+D 60's, cross-subject.

    Args:
        batch: sequences in a step, N.
        frames: T.
        bodies: M; all but the first are absent in 7 sequences of 10.
        queue: past keys, K.
        width: of the encoder.
        train: features that are searched.
        test: features that are searched for.
        stored: sequences on the disk that batches are drawn from.
        device: on which ours works.
    """

    batch: int = 128
    frames: int = 50
    bodies: int = 2
    queue: int = 32768
    width: int = 16
    train: int = 40_091
    test: int = 16_487
    stored: int = 8_000
    device: str = "cpu"

    def sequences(self) -> Tensor:
        """x (N, 3, T, V, M), the same at every call."""
        x = torch.randn(
            self.batch, 3, self.frames, NTU.num_joints, self.bodies, generator=torch.Generator().manual_seed(0)
        )
        x[torch.arange(self.batch) % 10 < 7, ..., 1:] = 0
        return x


FULL = Size()
QUICK = Size(batch=10, frames=16, queue=200, width=4, train=500, test=300, stored=60)
