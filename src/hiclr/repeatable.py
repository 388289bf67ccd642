"""What numbers hang on beside the options and the seed: whoever repeats a result needs the same."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

import torch

_CPU = (
    "The same command and seed give the same numbers, bit for bit, on the same kind of processor, with the same "
    "versions and the same number of threads (OMP_NUM_THREADS) and processes; others round otherwise"
)
_GPU = (
    "A GPU adds in an order of its own: the same command and seed give numbers that are near, not the same. From "
    "Python, torch.use_deterministic_algorithms(True) asks for the same"
)
_GPU_ASKED = (
    "The same command and seed give the same numbers on the same kind of GPU, with the same versions and number of "
    "processes, as far as PyTorch's deterministic algorithms promise it"
)
_CHANGED = "The code had changes that are in no revision: keep them"


def repeatable(device: torch.device, processes: int, changed: bool = False) -> dict[str, Any]:
    """Whether the same command gives the same numbers again, and on which conditions, in plain containers.

    Args:
        device: that computes.
        processes: that share the work.
        changed: the code is not that of its revision.
    """
    on_gpu = device.type == "cuda"
    asked = torch.are_deterministic_algorithms_enabled()
    promise = _CPU if not on_gpu else _GPU_ASKED if asked else _GPU
    return {
        "bitwise": asked or not on_gpu,
        "says": ". ".join([promise, *([_CHANGED] if changed else [])]) + ".",
        "processor": processor(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "processes": processes,
        "gpu": _gpu(device, asked) if on_gpu else None,
    }


def processor() -> str:
    """What the processor calls itself."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines() if file.exists() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def _gpu(device: torch.device, asked: bool) -> dict[str, Any]:
    return {
        "name": torch.cuda.get_device_name(device),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "deterministic_algorithms": asked,
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
        "tf32": {"matmul": torch.backends.cuda.matmul.allow_tf32, "cudnn": torch.backends.cudnn.allow_tf32},
    }
