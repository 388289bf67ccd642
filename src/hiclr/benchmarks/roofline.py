"""What the machine could do at best, and how much of it a piece of work asks for (Williams et al., CACM 2009)."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from hiclr.benchmarks.sizes import Work

_NO_TRAFFIC = ("empty", "_unsafe_view")  # beside views


@dataclass(frozen=True)
class Peaks:
    """The best of some runs on this machine.

    Args:
        flops: floating-point operations a second, the better of a matrix product and a 9x1 convolution, by the name
            of the type.
        bandwidth: bytes a second, read and written, of a copy.
    """

    flops: Mapping[str, float]
    bandwidth: float


def peaks(device: str = "cpu", quick: bool = False) -> Peaks:
    """Measures the machine."""
    n = 256 if quick else 4096 if device == "cpu" else 8192
    flops = {}
    for kind in (torch.float32, torch.bfloat16):
        a, b = (torch.randn(n, n, device=device, dtype=kind) for _ in range(2))
        x = torch.randn(n // 16, 256, 13, 25, device=device, dtype=kind).contiguous(memory_format=torch.channels_last)
        w = torch.randn(256, 256, 9, 1, device=device, dtype=kind).contiguous(memory_format=torch.channels_last)
        product = 2 * n**3 / _shortest(partial(torch.mm, a, b))
        taken = _shortest(partial(torch.conv2d, x, w, padding=(4, 0)))
        convolution = 2 * x.numel() * w[:, 0].numel() / taken  # the padding counts, as `demand` counts it
        flops[str(kind).removeprefix("torch.")] = max(product, convolution)
    source = torch.ones(n * n * 4, device=device)
    target = torch.zeros_like(source)
    return Peaks(flops, 2 * source.nbytes / _shortest(partial(target.copy_, source)))


def demand(work: Work, peaks: Peaks) -> dict[str, float]:
    """Does the work once and counts what it asks for.

    Returns:
        `flops` of matrix products and convolutions, their padding included; `bytes` read and written, if every operator
        reads what it is given and writes what it gives; `floor`, the seconds it would take if each operator took what
        the larger of the two takes at the machine's best.
    """
    with _Counted(peaks) as counted:
        work()
    return {"flops": counted.flops, "bytes": counted.bytes, "floor": counted.floor}


class _Counted(TorchDispatchMode):
    """Adds up what the operators below it ask for."""

    def __init__(self, peaks: Peaks) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peaks = peaks
        self.flops = self.bytes = self.floor = 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        packet = func.overloadpacket
        tensors = [leaf for leaf in tree_leaves((args, kwargs, out)) if isinstance(leaf, Tensor)]
        if func.is_view or packet.__name__.startswith(_NO_TRAFFIC) or not tensors:
            return out
        flops = flop_registry[packet](*args, **(kwargs or {}), out_val=out) if packet in flop_registry else 0
        traffic = sum(
            min(tensor.numel() * tensor.element_size(), tensor.untyped_storage().nbytes()) for tensor in tensors
        )
        peak = self.peaks.flops["bfloat16" if tensors[0].dtype == torch.bfloat16 else "float32"]
        self.flops += flops
        self.bytes += traffic
        self.floor += max(flops / peak, traffic / self.peaks.bandwidth)
        return out


def _shortest(work: Callable[[], object], runs: int = 5) -> float:
    times = []
    for _ in range(runs + 1):
        start = time.perf_counter()
        work()
        if torch.cuda.is_initialized():
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return min(times[1:])
