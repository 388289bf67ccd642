"""Pose annotations end in the coordinates that were written, or in a ValueError that says what is wrong where."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hiclr.data.recordings.pyskl import from_pixels, open_pyskl
from writers.pyskl import NAMES, annotation, in_pixels, pyskl_content, write_pyskl


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_sequences_are_what_was_written(tmp_path: Path, protocol: int) -> None:
    content = pyskl_content()
    file = open_pyskl(write_pyskl(tmp_path / "a.pkl", content, protocol))
    assert (file.joints, file.bodies, file.planar) == (25, 2, False)
    assert [annotation.name for annotation in file.annotations] == list(NAMES)
    assert [annotation.label for annotation in file.annotations] == [0, 59, 26, 2]
    assert file.split == {name: tuple(names) for name, names in content["split"].items()}
    for i, written in enumerate(content["annotations"]):
        recording = file.read(i)
        assert recording.name == NAMES[i] and recording.frames.dtype == np.float32
        assert recording.frames.shape == (5 + i, 1 + (i == 1), 25, 3)
        for m, body in enumerate(written["keypoint"]):
            np.testing.assert_array_equal(recording.frames[:, m], body)


def test_a_list_of_annotations_has_no_split(tmp_path: Path) -> None:
    content = pyskl_content()
    file = open_pyskl(write_pyskl(tmp_path / "a.pkl", content["annotations"]))
    assert len(file.annotations) == 4 and file.split == {}
    assert open_pyskl(write_pyskl(tmp_path / "b.pkl", content | {"split": None})).split == {}


def slowly(keypoint: NDArray[Any], height: float, width: float) -> NDArray[np.float64]:
    """One joint after the other: (M, T, V, 2) -> (T, M, V, 3)."""
    M, T, V, _ = keypoint.shape
    frames = np.zeros((T, M, V, 3))
    for m, t, v in np.ndindex(M, T, V):
        x, y = map(float, keypoint[m, t, v])
        if (x, y) != (0, 0):
            frames[t, m, v] = (x - width / 2) / height, (height / 2 - y) / height, 0
    return frames


def test_pixels_agree_with_a_slow_loop(tmp_path: Path) -> None:
    wide, tall = in_pixels("wide", 0, bodies=2), in_pixels("tall", 1, seed=1, img_shape=[640, 360])
    wide["keypoint"][1, 3:] = 0  # a body that leaves
    wide["keypoint"][0, 2, 5] = 0  # a joint that was not found
    file = open_pyskl(write_pyskl(tmp_path / "a.pkl", [wide, tall]))
    assert (file.joints, file.bodies, file.planar) == (17, 2, True)
    for i, (fields, (height, width)) in enumerate([(wide, (1080, 1920)), (tall, (640, 360))]):
        frames = file.read(i).frames
        assert frames.dtype == np.float32
        np.testing.assert_allclose(frames, slowly(fields["keypoint"], height, width), atol=1e-6)
    assert not file.read(0).frames[3:, 1].any()


def test_pixels_by_their_meaning() -> None:
    corners = np.array([[320, 240], [640, 240], [320, 1], [np.nan, 1]], np.float32)
    poses = from_pixels(corners, 480, 640)
    np.testing.assert_allclose(poses[:2], [[0, 0, 0], [640 / 2 / 480, 0, 0]])  # the middle, and its right border
    assert poses[2, 1] == pytest.approx(0.5, abs=0.01)  # high in the image is up
    assert np.isnan(poses[3, 0])


def test_nan_passes_and_pixels_with_a_score_do_not(tmp_path: Path) -> None:
    broken, scored = annotation("broken", 0), annotation("scored", 1)
    broken["keypoint"][0, 0, 0, 0] = np.nan
    scored["keypoint"][0, 3, 4] = 812, 431, 0.9
    file = open_pyskl(write_pyskl(tmp_path / "a.pkl", [broken, scored]))
    assert np.isnan(file.read(0).frames).sum() == 1
    with pytest.raises(ValueError, match=r"scored: coordinates reach 812, which are no metres .*keypoint_score"):
        file.read(1)


def test_no_frames_and_no_bodies(tmp_path: Path) -> None:
    file = open_pyskl(write_pyskl(tmp_path / "a.pkl", [annotation("a", 0, frames=0), annotation("b", 0, bodies=0)]))
    assert file.read(0).frames.shape == (0, 1, 25, 3)
    assert file.read(1).frames.shape == (7, 0, 25, 3)


def test_six_bodies_big_endian_and_numpy_scalars(tmp_path: Path) -> None:
    six = annotation("\N{SNOWMAN} name", 0, bodies=6, total_frames=np.int32(7))
    six |= {"label": np.int64(3), "keypoint": six["keypoint"].astype(">f8")}
    file = open_pyskl(write_pyskl(tmp_path / "a.pkl", [six]))
    assert (file.annotations[0].name, file.annotations[0].label) == ("\N{SNOWMAN} name", 3)
    np.testing.assert_array_equal(file.read(0).frames, six["keypoint"].swapaxes(0, 1).astype(np.float32))


def one(**fields: Any) -> list[Any]:
    """The annotation "a" with other fields, without those of None."""
    return [{key: value for key, value in (annotation("a", 0) | fields).items() if value is not None}]


# what is wrong -> (content, what the sentence says)
FAULTS: dict[str, tuple[Callable[[], Any], str]] = {
    "text": (lambda: "hello", "must hold a list of annotations, or a dictionary"),
    "no annotations": (lambda: {"split": {}}, "must hold a list of annotations"),
    "an empty list": (list, "holds no annotations"),
    "no dictionary": (lambda: [*one(), 3], "annotation 1 must be a dictionary, got int"),
    "no keypoint": (lambda: one(keypoint=None), r"annotation 0 \(a\) lacks the key 'keypoint'; it holds frame_dir, la"),
    "no name": (lambda: one(frame_dir=None), "annotation 0 lacks the key 'frame_dir'"),
    "no label": (lambda: one(label=None), r"annotation 0 \(a\) lacks the key 'label'"),
    "a number as name": (lambda: one(frame_dir=7), "frame_dir must be text, got 7"),
    "two labels": (lambda: one(label=[0, 1]), "label must be a whole number from 0 to 65535, got list"),
    "a negative label": (lambda: one(label=-1), r"annotation 0 \(a\): label must .*, got -1"),
    "a large label": (lambda: one(label=10**9), "label must .*, got 1000000000"),
    "a fraction": (lambda: one(label=0.5), "label must .*, got 0.5"),
    "lists": (lambda: one(keypoint=[[1.0, 2.0]]), "keypoint must be an array of numbers, got list"),
    "texts": (lambda: one(keypoint=np.full((1, 7, 25, 3), "x")), "keypoint must be .* got an array of <U1"),
    "three dimensions": (lambda: one(keypoint=np.ones((7, 25, 3))), r"keypoint must be \(bodies, .*, got \(7, 25, 3\)"),
    "four coordinates": (lambda: one(keypoint=np.ones((1, 7, 25, 4))), "keypoint must be"),
    "no joints": (lambda: one(keypoint=np.ones((1, 7, 0, 3))), "keypoint must be"),
    "another length": (lambda: one(total_frames=8), "total_frames is 8, but keypoint has 7 frames"),
    "no image": (
        lambda: [in_pixels("a", 0, img_shape=None)],
        r"annotation 0 \(a\) lacks `img_shape` \(height, width\)",
    ),
    "no size": (lambda: [in_pixels("a", 0, img_shape=(0, 640))], r"img_shape must be \(height, width\) in pixels"),
    "NaN size": (lambda: [in_pixels("a", 0, img_shape=(480, np.nan))], "img_shape must be"),
    "one size": (lambda: [in_pixels("a", 0, img_shape=480)], "img_shape must be .* got 480"),
    "other joints": (
        lambda: [*one(), annotation("b", 0, keypoint=np.ones((1, 7, 20, 3)))],
        r"annotation 1 \(b\) has 20 joints of 3 coordinates, but annotation 0 \(a\) 25 of 3",
    ),
    "the same name": (lambda: [*one(), annotation("b", 0), *one()], "annotation 2: frame_dir 'a' occurs twice"),
    "a list as split": (lambda: {"annotations": one(), "split": ["a"]}, "split must be a dictionary of lists"),
    "text as split": (lambda: {"annotations": one(), "split": {"train": "a"}}, "split 'train' must be a list of names"),
    "numbers as split": (lambda: {"annotations": one(), "split": {"train": [0]}}, "'train' must .* one of which is 0"),
    "a call": (lambda: one(label=Path("a")), r"asks for pathlib\.\w+"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_named(tmp_path: Path, fault: str) -> None:
    content, sentence = FAULTS[fault]
    path = write_pyskl(tmp_path / "a.pkl", content())
    with pytest.raises(ValueError, match=sentence) as caught:
        open_pyskl(path)
    assert str(caught.value).startswith(str(path))
