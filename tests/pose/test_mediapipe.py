"""MediaPipe Pose on a real photograph: the right joints in the right places, without a network."""

from __future__ import annotations

import importlib
import socket
import sys
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from hiclr.pose.base import Image
from hiclr.pose.mediapipe import MediaPipePose
from writers.videos import greys, portrait


def place(poses: NDArray[np.float32], joint: str) -> NDArray[np.float32]:
    """Where a joint is in the last frame: x, y, z."""
    return poses[-1, 0, MediaPipePose.skeleton.joint_names.index(joint), :3]


@pytest.fixture(scope="module")
def hopper() -> NDArray[np.float32]:
    """Poses of someone who looks at the camera."""
    return MediaPipePose().estimate(iter(portrait(6)), 15)


def test_a_person_is_found_in_every_frame(hopper: NDArray[np.float32]) -> None:
    assert hopper.shape == (6, 1, 33, 4) and hopper.dtype == np.float32
    assert (hopper[..., :3] != 0).any((1, 2, 3)).all()


def test_up_is_up_left_is_left_and_metres_are_metres(hopper: NDArray[np.float32]) -> None:
    nose, left, right = (place(hopper, joint) for joint in ("nose", "left_shoulder", "right_shoulder"))
    assert nose[1] > max(left[1], right[1]) > 0.2  # hips are at 0
    assert left[0] > nose[0] > right[0]  # who looks at the camera has the left hand on the picture's right
    assert 0.2 < np.linalg.norm(left - right) < 0.5
    assert 0.1 < nose[1] - left[1] < 0.4
    assert nose[2] > left[2]  # z points to the camera


def test_a_person_seen_in_a_mirror_still_has_a_left_side() -> None:
    mirrored = [picture[:, ::-1].copy() for picture in portrait(3)]
    poses = MediaPipePose().estimate(iter(mirrored), 15)
    assert place(poses, "left_shoulder")[0] > place(poses, "right_shoulder")[0]


def test_visibility_tells_what_is_seen_from_what_is_guessed(hopper: NDArray[np.float32]) -> None:
    visible = dict(zip(MediaPipePose.skeleton.joint_names, hopper[-1, 0, :, 3].tolist(), strict=True))
    assert visible["nose"] > 0.9 > 0.1 > visible["left_ankle"]  # it is a portrait


def test_nobody_is_zeros_and_each_video_starts_anew() -> None:
    finder = MediaPipePose()
    first = finder.estimate(iter(portrait(3)), 15)
    nobody = finder.estimate(iter(greys([80] * 3)), 15)
    assert nobody.shape == (3, 1, 33, 4) and not nobody.any()
    assert np.array_equal(finder.estimate(iter(portrait(3)), 15), first)
    assert finder.estimate(iter([]), 15).shape == (0, 1, 33, 4)


def test_it_needs_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("something wants the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert MediaPipePose().estimate(iter(portrait(2)), 15).any()


def test_it_says_nothing_of_its_insides(capfd: pytest.CaptureFixture[str]) -> None:
    def pictures() -> Iterator[Image]:
        print("between frames", file=sys.stderr)
        yield from portrait(2)

    MediaPipePose().estimate(pictures(), 15)
    assert capfd.readouterr().err == "between frames\n"


@pytest.mark.parametrize("model", ["lite", "heavy"])
def test_a_model_that_would_be_downloaded_is_refused(model: str) -> None:
    with pytest.raises(ValueError, match=rf"model '{model}' is not in mediapipe's wheel .* take full, or put"):
        MediaPipePose(model)  # type: ignore[arg-type]


def test_confidences_are_shares() -> None:
    with pytest.raises(ValueError, match=r"tracking_confidence must be from 0 to 1, got 1\.5"):
        MediaPipePose(tracking_confidence=1.5)


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mediapipe", None)
    with pytest.raises(ValueError, match=r'"video" \(mediapipe is missing\): pip install "hiclr\[video\]"'):
        MediaPipePose()


def test_on_a_machine_without_the_library_that_opencv_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> None:
        raise ImportError("libGL.so.1: cannot open shared object file: No such file or directory")

    monkeypatch.setattr(importlib, "import_module", fail)
    with pytest.raises(ValueError, match=r"mediapipe cannot be loaded: install what the system lacks \(libGL\.so\.1"):
        MediaPipePose()
