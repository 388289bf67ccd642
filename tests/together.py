"""What two processes do in `tests/methods/test_together.py`: started once, it starts the other one itself.

Every method is trained, and what distributed.py can do is done; each process writes what came out.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim import SGD

from hiclr.cli import pretrain
from hiclr.data.module import SkeletonData
from hiclr.distributed import gathered, num_processes, own_rows, own_views, seed_all, summed
from hiclr.methods.base import Learner
from hiclr.methods.hiclr import HiCLR
from learners import METHODS, PerJoint, tiny_stgcn

SETTINGS: dict[str, Any] = {"queue_size": 24, "key_momentum": 0.9, "optimizer": partial(SGD, lr=0.02, momentum=0.9)}
# without BatchNorm, or with that of the whole batch: equal to one process
EQUAL: dict[str, Callable[..., Learner]] = {
    **{kind.__name__: partial(kind, encoder=PerJoint, **SETTINGS) for kind in METHODS},
    "SyncBatchNorm": partial(HiCLR, encoder=tiny_stgcn, **SETTINGS),
}
OTHER: dict[str, Callable[..., Learner]] = {
    "BatchNorm": partial(HiCLR, encoder=tiny_stgcn, **SETTINGS),
    "edges": partial(HiCLR, encoder=partial(tiny_stgcn, dropout=0.5), arrangement="BA,DAE+AdaIN", **SETTINGS),
}


def train(
    name: str, folder: Path, devices: int, out: Path | None = None, max_epochs: int = 2, ckpt_path: Path | None = None
) -> Learner:
    """Epochs of two steps; the second form of the loss begins after half of them. Leaves `<name>-<devices>`."""
    learners = []

    def method(*skeleton: Any) -> Learner:
        learners.append((EQUAL | OTHER)[name](*skeleton))
        return learners[0]

    double: Any = "64-true"  # rounding grows from layer to layer
    pretrain(
        SkeletonData(folder / "tiny", batch_size=8),
        method,
        out or folder / f"{name}-{devices}",
        max_epochs,
        precision=double,
        accelerator="cpu",
        devices=devices,
        sync_batchnorm=name == "SyncBatchNorm",
        ckpt_path=ckpt_path,
    )
    return learners[0]


def shares() -> dict[str, Tensor]:
    """Of nine rows, and of draws."""
    x = torch.arange(18.0).view(9, 2)
    own = own_rows(x)
    seed_all(3, 4)
    view = torch.rand(4, 1)
    (half,) = own_views([view])
    after = torch.rand(5)
    seed_all(3, 5)
    return {
        "own": own,
        "gathered": gathered(own),
        "evenly": gathered(own[:4], even=True),
        "summed": summed(own.sum(0)),
        "view": view,
        "half": half,
        "after": after,
        "next": torch.rand(5),
        "processes": torch.tensor(num_processes()),
    }


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    for name in EQUAL | OTHER:
        learner = train(name, folder, devices=2)
        torch.save(learner.state_dict(), folder / f"{name}-rank{os.environ['LOCAL_RANK']}.pt")
    torch.save(shares(), folder / f"shares-rank{os.environ['LOCAL_RANK']}.pt")
