"""Small models, as they come out of training, for the tests of what is done with them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hiclr.data.folder import Preparation
from hiclr.encoders.base import Encoder
from hiclr.encoders.head import LinearHead
from hiclr.encoders.stgcn import STGCN
from hiclr.functional import Stream
from hiclr.model import Model
from hiclr.skeleton import Skeleton

SMALL = Skeleton("small", ("hip", "hand_l", "hand_r"), (-1, 0, 0), "hip", ("hand_l", "hand_r"))
CLASSES = ("wave", "put on a hat/cap", "sit | stand")
RUN: dict[str, Any] = {
    "data": {"root": "/home/ada/secret project/mine", "corpus": "mine", "sequences": 24, "benchmark": "xsub"},
    "seed": 3,
    "batch_size": 8,
    "max_epochs": 4,
    "learner": {
        "method": "HiCLR",
        "arrangement": [["Shear(p=1.0)"], ["Shear(p=1.0)", "Rotate(p=1.0)"], ["AxisMask(p=0.5)"]],
        "optimizer": {"name": "SGD", "lr": 0.1},
        "class_names": list(CLASSES),
    },
    "command": "hiclr pretrain --config recipes/small.yaml --data.root '/home/ada/secret project/mine' --seed=3",
    "options": {"data": {"root": "/home/ada/secret project/mine"}, "out": "C:\\Users\\ada\\runs"},
    "git_revision": "abc123",
    "versions": {"hiclr": "0.1.0"},
}


def trained(encoder: Encoder) -> Encoder:
    """Batch norms that have seen something."""
    torch.manual_seed(1)
    with torch.no_grad():
        encoder.train()(torch.randn(4, 3, 16, encoder.skeleton.num_joints, 2))
    return encoder.eval()


def small_model(
    skeleton: Skeleton = SMALL, stream: Stream = "joint", head: bool = False, encoder: type[Encoder] = STGCN
) -> Model:
    torch.manual_seed(0)
    size: dict[str, Any] = {"width": 2, "init": "pytorch"} if encoder is STGCN else {"base_channels": 4}
    kind: Any = encoder
    network = trained(kind(skeleton=skeleton, **size))
    layer = LinearHead(CLASSES, torch.randn(3, network.feature_dim), torch.randn(3), normalized=True)
    preparation = Preparation(frames=16, bodies=1)
    figures = {"linear top-1 on xsub, last epoch, %": 61.25}
    return Model(network, stream, preparation, layer if head else None, 4, RUN, figures)


def batch(model: Model, n: int = 3) -> Tensor:
    """Prepared sequences that a model takes."""
    torch.manual_seed(2)
    return torch.randn(n, 3, 16, model.skeleton.num_joints, 2)


def clips(n: int, skeleton: Skeleton = SMALL, frames: int = 12, seed: int = 0) -> NDArray[np.float32]:
    """Raw clips (n, F, V, 3) of a body that stands 3 m away and moves its joints, every other one more."""
    rng = np.random.default_rng(seed)
    pose = np.random.default_rng(9).normal(0, 0.4, (skeleton.num_joints, 3)) + np.array([0, 0, 3])
    reach = np.where(np.arange(n) % 2, 2.0, 0.1)[:, None, None, None]
    sway = (
        reach * np.sin(np.linspace(0, 6, frames))[:, None, None] * rng.normal(0.3, 0.05, (n, 1, skeleton.num_joints, 3))
    )
    return (pose + sway).astype(np.float32)
