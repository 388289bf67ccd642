"""What a pose estimator is."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from hiclr.skeleton import Skeleton

Image = NDArray[np.uint8]
"""A picture, (height, width, 3), RGB."""


class PoseEstimator(ABC):
    """Finds people in the frames of a video. One of your own is a subclass: `hiclr video --estimator my.module.MyPose`.

    Attributes:
        skeleton: the joints that `estimate` gives, in its order.
    """

    skeleton: Skeleton

    @abstractmethod
    def estimate(self, frames: Iterator[Image], fps: float) -> NDArray[np.float32]:
        """Finds the joints of everyone in every frame.

        It is called once a video, so that tracking starts anew with each.

        Args:
            frames: pictures (height, width, 3) of one size, RGB, read-only, read as they are asked for: take all.
            fps: frames a second.

        Returns:
            Joints (F, M, V, 3) in metres, y up, zeros where a person was not found; a person keeps the place in M.
            Or (F, M, V, 4): the fourth number says how visible a joint is, 0 to 1.
        """


def poses_of(estimator: PoseEstimator, frames: Iterator[Image], fps: float) -> NDArray[np.float32]:
    """What an estimator finds in a video, in the form that it promised.

    Returns:
        Joints (F, M, V, 3) or (F, M, V, 4).

    Raises:
        ValueError: the estimator gave something else; the sentence says what.
    """
    taken = 0

    def counted() -> Iterator[Image]:
        nonlocal taken
        for frame in frames:
            taken += 1
            yield frame

    poses = np.asarray(estimator.estimate(counted(), fps), np.float32)
    joints = estimator.skeleton.num_joints
    if poses.ndim != 4 or len(poses) != taken or poses.shape[2] != joints or poses.shape[3] not in (3, 4):
        raise ValueError(
            f"{type(estimator).__name__} must give (frames, bodies, joints, 3 or 4), for this video ({taken}, any, "
            f"{joints}, 3 or 4), got {poses.shape}"
        )
    return poses


def load_extra(module: str) -> ModuleType:
    """A module of the extra "video".

    Raises:
        ValueError: it is not installed, or lacks a library of the system.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = f"{error.name} is missing"
        raise ValueError(f'hiclr video needs the extra "video" ({missing}): pip install "hiclr[video]"') from None
    except ImportError as error:  # of OpenCV, which MediaPipe brings: libGL.so.1 on a bare server
        raise ValueError(f"{module} cannot be loaded: install what the system lacks ({error})") from None
