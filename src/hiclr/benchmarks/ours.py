"""Our training step as `hiclr pretrain` runs it, without the loop around it."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from hiclr.encoders.stgcn import STGCN
from hiclr.methods.hiclr import HiCLR
from hiclr.methods.training import Precision
from hiclr.skeleton import Skeleton


class OurStep:
    """HiCLR, k = 3 with RandomMask, its optimizer and a batch.

    Args:
        x: (N, 3, T, V, M), on the device to work on.
        skeleton: of V joints.
        precision: of the arithmetic.
        width: of the encoder.
        dropout: of the encoder.
        queue_size: K.
    """

    def __init__(
        self,
        x: Tensor,
        skeleton: Skeleton,
        precision: Precision = "32-true",
        width: int = 16,
        dropout: float = 0.5,
        queue_size: int = 32768,
    ) -> None:
        encoder = partial(STGCN, width=width, dropout=dropout)
        self.x = x
        self.precision = precision
        self.learner = HiCLR(skeleton, encoder=encoder, queue_size=queue_size).to(x.device)
        stub: Any = SimpleNamespace(current_epoch=0, max_epochs=300)  # the epoch is all it asks its trainer for
        self.learner.trainer = stub
        self.learner.log_terms = lambda **terms: None  # type: ignore[method-assign]
        self.optimizer = self.learner.configure_optimizers()

    def __call__(self) -> Tensor:
        """One step; returns the loss."""
        with self._autocast():
            loss = self.learner.training_step(self.x, 0)
        self.optimizer.zero_grad()
        with torch.profiler.record_function("backward"):
            loss.backward()
        with torch.profiler.record_function("optimizer"):
            self.optimizer.step()
        return loss

    def _autocast(self) -> AbstractContextManager[Any]:
        types = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
        if self.precision not in types:
            return nullcontext()
        return torch.autocast(self.x.device.type, types[self.precision])
