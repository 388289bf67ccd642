"""The hot paths, by name: their sides, and what a run of them gets through."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from hiclr.benchmarks import sides
from hiclr.benchmarks.sizes import Size, Work

PLAIN, OURS, OURS_BF16 = "straightforward", "ours", "ours, bf16"


@dataclass(frozen=True)
class HotPath:
    """Something that takes time.

    Args:
        title: what is done.
        sides: what makes the work of each; the first is what the others are compared with.
        amount: sequences the whole gets through, of a size; None where there is no such number.
        share: the part of the whole that one run of a side does, where it is not all.
        roofline: whether the limit of the machine is asked for.
    """

    title: str
    sides: Mapping[str, Callable[[Size], Work]]
    amount: Callable[[Size], int] | None = None
    share: Mapping[str, Callable[[Size], float]] | None = None
    roofline: bool = False

    def part(self, side: str, size: Size) -> float:
        """The part of the whole that one run of a side does."""
        return self.share[side](size) if self.share is not None and side in self.share else 1.0


def _batch(size: Size) -> int:
    return size.batch


_bf16_step = partial(sides.our_step, precision="bf16-mixed")

PATHS: dict[str, HotPath] = {
    "step": HotPath(
        "training step, k = 3, with augmentation",
        {PLAIN: sides.plain_step, OURS: sides.our_step, OURS_BF16: _bf16_step},
        _batch,
        roofline=True,
    ),
    "step-gpu": HotPath(
        "training step on the GPU",
        {OURS: sides.our_step, OURS_BF16: _bf16_step},
        _batch,
        roofline=True,
    ),
    "augmentation": HotPath("augmentation, 4 views", {PLAIN: sides.plain_views, OURS: sides.our_views}, _batch),
    "augmentation-lean": HotPath(
        "the same, against array arithmetic in NumPy",
        {PLAIN: partial(sides.plain_views, lean=True), OURS: sides.our_views},
        _batch,
    ),
    "encoder": HotPath(
        "features of a batch, eval mode",
        {PLAIN: sides.plain_encoder, OURS: sides.our_encoder},
        _batch,
        roofline=True,
    ),
    "contrast": HotPath(
        "loss of three levels, its gradient, queue", {PLAIN: sides.plain_contrast, OURS: sides.our_contrast}, _batch
    ),
    "follow": HotPath("key network follows", {PLAIN: sides.plain_follow, OURS: sides.our_follow}),
    "linear": HotPath(
        "linear probe, 100 epochs",
        {PLAIN: sides.plain_probe, OURS: sides.our_probe},
        _batch,
        {PLAIN: lambda size: 1 / sides.EPOCHS},
    ),
    "knn": HotPath(
        "nearest neighbours",
        {PLAIN: sides.plain_knn, OURS: sides.our_knn},
        lambda size: size.test,
    ),
    "batches": HotPath(
        "an epoch of batches from the disk",
        {PLAIN: sides.plain_batches, OURS: sides.our_batches},
        lambda size: size.stored,
    ),
    "preparation": HotPath(
        "preparation, one core",
        {PLAIN: sides.plain_preparation, OURS: sides.our_preparation},
        lambda size: sides.PREPARED,
    ),
    "reading": HotPath(
        "reading NTU text, one core",
        {PLAIN: sides.read_dicts, OURS: sides.our_reading},
        lambda size: sides.FILES,
    ),
    "reading-lean": HotPath(
        "the same, against coordinates alone",
        {PLAIN: sides.read_lean, OURS: sides.our_reading},
        lambda size: sides.FILES,
    ),
}
