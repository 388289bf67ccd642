"""Small videos: a person out of a photograph, pictures of one grey; and an estimator that sees greys."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import imageio_ffmpeg
import numpy as np
from matplotlib.cbook import get_sample_data
from matplotlib.image import imread
from numpy.typing import NDArray

from hiclr.pose.base import Image, PoseEstimator
from hiclr.skeleton import SKELETONS, Skeleton


def write_video(
    path: Path, pictures: Iterable[NDArray[np.uint8]], fps: float = 15, options: Sequence[str] = ()
) -> Path:
    """Writes pictures (height, width, 3) whose sides are multiples of 16."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = None
    for picture in pictures:
        if file is None:
            size = (picture.shape[1], picture.shape[0])
            file = imageio_ffmpeg.write_frames(
                path, size, fps=fps, ffmpeg_log_level="error", output_params=list(options)
            )
            file.send(None)
        file.send(np.ascontiguousarray(picture))
    assert file is not None
    file.close()
    return path


def portrait(frames: int = 8) -> list[NDArray[np.uint8]]:
    """A photograph of Grace Hopper, who looks at the camera, which moves to the side."""
    photograph = imread(get_sample_data("grace_hopper.jpg"))  # (600, 512, 3)
    return [photograph[20:580, at : at + 480].copy() for at in np.linspace(8, 32, frames, dtype=int)]


def greys(levels: Iterable[int]) -> list[NDArray[np.uint8]]:
    """Pictures of 64 by 48 in one grey each."""
    return [np.full((48, 64, 3), level, np.uint8) for level in levels]


def write_greys(path: Path, levels: Iterable[int], fps: float = 10) -> Path:
    """Writes a video of one grey a frame."""
    return write_video(path, greys(levels), fps)


def turn(path: Path, degrees: int) -> Path:
    """The same video with a note that it is to be shown turned, as phones write."""
    turned = path.with_stem(f"{path.stem}-turned")
    options = ["-v", "error", "-y", "-display_rotation", str(degrees), "-i", path, "-c", "copy", turned]
    subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), *options], check=True)
    return turned


class GreyPose(PoseEstimator):
    """Two bodies, all joints at a height of the picture's mean grey, 0 to 1; black pictures show nobody.

    Args:
        second: whether the second body is there.
        joints: of coco17; other numbers make a skeleton of their own.
    """

    def __init__(self, second: bool = True, joints: int = 17) -> None:
        names = ("left_bead", "right_bead", *(f"bead_{i}" for i in range(2, joints)))
        chain = Skeleton("chain", names, tuple(range(-1, joints - 1)))
        self.skeleton = SKELETONS["coco17"] if joints == 17 else chain
        self.second = second

    def estimate(self, frames: Iterator[Image], fps: float) -> NDArray[np.float32]:
        heights = np.array([frame.mean() / 255 for frame in frames], np.float32)
        heights[heights < 0.02] = 0
        poses = np.zeros((len(heights), 2, self.skeleton.num_joints, 3), np.float32)
        poses[:, :, :, 1] = heights[:, None, None]
        poses[:, 1] *= self.second
        return poses
