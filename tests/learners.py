"""Learners small enough for a test, beside a stub of a trainer, and what is common to their slow references."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import partial
from types import SimpleNamespace
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hiclr.encoders.base import EdgeChange, Encoder
from hiclr.encoders.stgcn import STGCN
from hiclr.functional import Stream, to_stream
from hiclr.methods.aimclr import AimCLR
from hiclr.methods.base import Learner
from hiclr.methods.crossclr import CrosSCLR
from hiclr.methods.hiclr import HiCLR
from hiclr.methods.skeletonclr import SkeletonCLR
from hiclr.skeleton import SKELETONS, Skeleton

KINECT = SKELETONS["kinect20"]
METHODS: tuple[type[Learner], ...] = (HiCLR, SkeletonCLR, AimCLR, CrosSCLR)
N, K = 6, 11

Array = NDArray[np.float64]
Method = TypeVar("Method", bound=Learner)

tiny_stgcn = partial(STGCN, width=2, dropout=0.0, init="pytorch")


class Flat(Encoder):
    """A linear map of the mean pose."""

    def __init__(self, skeleton: Skeleton) -> None:
        super().__init__(skeleton, 8, {})
        self.map = nn.Linear(3 * skeleton.num_joints, 8)

    def feature_map(self, x: Tensor, edges: EdgeChange | None = None) -> Tensor:
        features: Tensor = self.map(x.mean((2, 4)).flatten(1))
        return features[:, :, None, None, None]


class PerJoint(Encoder):
    """A linear map of the coordinates of every frame, joint and body: a feature map worth dropping from."""

    def __init__(self, skeleton: Skeleton) -> None:
        super().__init__(skeleton, 8, {})
        self.map = nn.Linear(3, 8)

    def feature_map(self, x: Tensor, edges: EdgeChange | None = None) -> Tensor:
        features: Tensor = self.map(x.movedim(1, -1))
        return features.movedim(-1, 1)


class Watched(PerJoint):
    """Remembers of every call, by query or key, what was made of the edges of its two layers."""

    calls: ClassVar[list[tuple[Tensor, Tensor] | None]] = []

    def feature_map(self, x: Tensor, edges: EdgeChange | None = None) -> Tensor:
        full = torch.ones(len(x), 1, 30, 30)
        self.calls.append(None if edges is None else (edges(full, 1.0), edges(full, 1.0)))
        return super().feature_map(x, edges)


class Handed(nn.Module):
    """A view that hands out prepared tensors, one a call, and changes no edges."""

    edges = None

    def __init__(self, *views: Tensor) -> None:
        super().__init__()
        self.waiting = list(views)

    def forward(self, x: Tensor) -> Tensor:
        return self.waiting.pop(0)

    augment_joints = forward

    def augment_stream(self, x: Tensor, stream: Stream) -> Tensor:
        return to_stream(x, stream, KINECT.parents)


def small(kind: type[Method], **settings: Any) -> Method:
    torch.manual_seed(0)
    return kind(KINECT, **{"encoder": Flat, "queue_size": K, **settings})


def attached(learner: Learner, epoch: int = 0, max_epochs: int = 10) -> dict[str, Tensor]:
    """Puts a learner beside a stub of a trainer; what it logs appears in the result."""
    stub: Any = SimpleNamespace(current_epoch=epoch, max_epochs=max_epochs)
    learner.trainer = stub
    terms: dict[str, Tensor] = {}
    learner.log_terms = lambda **logged: terms.update(logged)  # type: ignore[method-assign]
    return terms


def poses(n: int = N, seed: int = 0, frames: int = 12) -> Tensor:
    return torch.randn(n, 3, frames, 20, 2, generator=torch.Generator().manual_seed(seed))


def moved_on(learner: Learner) -> None:
    """Takes the queries some way from their keys."""
    with torch.no_grad():
        for stream in learner.streams:
            for parameter in learner.contrast_of(stream).query.parameters():
                parameter.mul_(1.5)


# --- slow references ------------------------------------------------------------------------------


def unit(vector: Array) -> Array:
    return vector / math.sqrt(sum(value * value for value in vector))


def softmax(logits: Iterable[float]) -> list[float]:
    exponentials = [math.exp(logit) for logit in logits]
    return [value / sum(exponentials) for value in exponentials]


def distribution(query: Array, key: Array, queue: Array) -> list[float]:
    """p over the key and the memories, of one query (D,)."""
    z, z_key = unit(query), unit(key)
    return softmax([z @ z_key / 0.07, *(z @ memory / 0.07 for memory in queue)])


def cross_entropy(target: list[float], p: list[float]) -> float:
    return -sum(a * math.log(b) for a, b in zip(target, p, strict=True))


def info(p: list[float], positives: set[int]) -> float:
    return -sum(math.log(p[j]) for j in positives) / len(positives)


def nearest(p: list[float]) -> int:
    """Place in p of the memory most similar to the query."""
    return 1 + int(np.argmax(p[1:]))
