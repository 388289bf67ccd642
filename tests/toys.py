"""A model that one can follow in the head: it tells raised hands from lowered ones."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hiclr.data.folder import Preparation
from hiclr.encoders.base import EdgeChange, Encoder
from hiclr.encoders.head import LinearHead
from hiclr.model import Model
from hiclr.skeleton import SKELETONS, Skeleton

KINECT = SKELETONS["kinect20"]
HAND = KINECT.index("hand_left")


class Hand(Encoder):
    """The mean place of the first body's left hand: three features."""

    def __init__(self, skeleton: Skeleton = KINECT) -> None:
        super().__init__(skeleton, 3, {})

    def feature_map(self, x: Tensor, edges: EdgeChange | None = None) -> Tensor:
        return x[:, :, :, HAND : HAND + 1, :1]


def hand_model(sharpness: float = 4.0, frames: int = 10, bodies: int = 1) -> Model:
    """Knows "up" and "down" by the height of the hand."""
    weight = torch.tensor([[0.0, sharpness, 0.0], [0.0, -sharpness, 0.0]])
    head = LinearHead(("up", "down"), weight, torch.zeros(2))
    return Model(Hand(), preparation=Preparation(frames=frames, bodies=bodies), head=head)


def posing(hand: float, frames: int, bodies: int = 1) -> NDArray[np.float32]:
    """Somebody who stands still with the hand at a height in metres over the centre: (F, M, V, 3)."""
    pose = np.random.default_rng(0).normal(0, 0.3, (KINECT.num_joints, 3))
    pose -= pose[KINECT.centre_joint]
    pose[HAND, 1] = hand
    return np.tile(pose.astype(np.float32), (frames, bodies, 1, 1))
