"""Where one process computes."""

from __future__ import annotations

from typing import Literal

import torch

Accelerator = Literal["auto", "cpu", "gpu"]


def choose_device(accelerator: Accelerator = "auto") -> torch.device:
    """The GPU or the CPU; the GPU if there is one, for "auto".

    Raises:
        ValueError: a GPU is asked for and there is none that this PyTorch can use.
    """
    there = torch.cuda.is_available()
    if accelerator == "gpu" and not there:
        raise ValueError("there is no GPU that this PyTorch can use: set --accelerator cpu, or auto")
    return torch.device("cuda" if accelerator != "cpu" and there else "cpu")
