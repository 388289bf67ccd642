"""MediaPipe Pose (BlazePose): 33 joints in metres from an ordinary video."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from hiclr.pose.base import Image, PoseEstimator, load_extra
from hiclr.skeleton import SKELETONS

_MODELS = ("lite", "full", "heavy")  # what it calls complexity 0, 1, 2


class MediaPipePose(PoseEstimator):
    """Finds the most prominent person with MediaPipe's Pose, offline: the model lies in its wheel.

    These are its world landmarks, in metres around the middle of the hips: how a person moves, but not where to. Joints
    out of the picture are guessed, with a low visibility.

    Source: Bazarevsky et al., BlazePose, 2020; mediapipe 0.10.21.

    Args:
        model: lite, full or heavy; the wheel holds full alone.
        detection_confidence: how sure it must be that somebody is there, 0 to 1.
        tracking_confidence: how sure it must be to follow somebody into the next frame, 0 to 1; below, it looks anew.
        smooth: filter the joints over the frames, against jitter.

    Raises:
        ValueError: the extra "video" or the model is missing, or a confidence is none.
    """

    skeleton = SKELETONS["mediapipe33"]

    def __init__(
        self,
        model: Literal["lite", "full", "heavy"] = "full",
        detection_confidence: float = 0.5,
        tracking_confidence: float = 0.5,
        smooth: bool = True,
    ) -> None:
        confidences = {"detection_confidence": detection_confidence, "tracking_confidence": tracking_confidence}
        for name, value in confidences.items():
            if not 0 <= value <= 1:
                raise ValueError(f"{name} must be from 0 to 1, got {value}")
        with _quiet_libraries():
            package = load_extra("mediapipe")
        _refuse_download(Path(package.__file__ or "").parent, model)
        self._pose: Any = package.solutions.pose.Pose
        self._options = {
            "model_complexity": _MODELS.index(model),
            "smooth_landmarks": smooth,
            **{f"min_{name}": value for name, value in confidences.items()},
        }

    def estimate(self, frames: Iterator[Image], fps: float) -> NDArray[np.float32]:
        """Joints (F, 1, 33, 4): metres from the middle of the hips, x to the picture's right, y up, z to the camera."""
        poses, met, pose = [], False, None
        with ExitStack() as stack:
            for frame in frames:
                with nullcontext() if met else _quiet_libraries():  # they talk when they start and of the first person
                    pose = pose or stack.enter_context(self._pose(**self._options))
                    landmarks = pose.process(frame).pose_world_landmarks
                met = met or landmarks is not None
                poses.append(_upright(landmarks))
        return np.array(poses, np.float32).reshape(-1, 1, self.skeleton.num_joints, 4)


def _upright(landmarks: Any) -> NDArray[np.float32]:
    """Joints (33, 4) with y up, of landmarks whose y points down and whose z points away; zeros for None."""
    if landmarks is None:
        return np.zeros((33, 4), np.float32)
    return np.array([(joint.x, -joint.y, -joint.z, joint.visibility) for joint in landmarks.landmark], np.float32)


def _refuse_download(package: Path, model: str) -> None:
    """MediaPipe would fetch a model that is not there from the network."""
    file = package / "modules" / "pose_landmark" / f"pose_landmark_{model}.tflite"
    if model not in _MODELS or not file.is_file():
        there = [name for name in _MODELS if file.with_name(f"pose_landmark_{name}.tflite").is_file()]
        raise ValueError(
            f"model {model!r} is not in mediapipe's wheel and hiclr downloads nothing: take {' or '.join(there)}, "
            f"or put {file.name} into {file.parent}"
        )


@contextmanager
def _quiet_libraries() -> Iterator[None]:
    """Drops what C++ writes to stderr, past Python and any setting: notes on its own insides."""
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
