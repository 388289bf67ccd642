"""NW-UCLA and UTD-MHAD files end in the clip that stands in them, or in a sentence that names the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat

from hiclr.data.recordings.kinect import MAT_LARGEST, read_nwucla, read_utdmhad
from hiclr.skeleton import SKELETONS
from writers.kinect import kinect_frames, write_nwucla, write_utdmhad

NWUCLA = "a08_s02_e01_v02.json"
UTDMHAD = "a1_s1_t1_skeleton.mat"


# --- NW-UCLA ----------------------------------------------------------------------------------------------------------


def test_nwucla_clips_are_what_was_written(tmp_path: Path) -> None:
    frames = kinect_frames(7)
    recording = read_nwucla(write_nwucla(tmp_path / NWUCLA, frames, 7), label=7)
    assert recording.name == "a08_s02_e01_v02" and recording.frames.dtype == np.float32
    np.testing.assert_array_equal(recording.frames, frames.astype(np.float32)[:, None])


def test_nwucla_without_frames_and_with_nan(tmp_path: Path) -> None:
    path = write_nwucla(tmp_path / NWUCLA, kinect_frames(0), 7)
    assert json.loads(path.read_text())["skeletons"] == []
    assert read_nwucla(path, 7).frames.shape == (0, 1, 20, 3)
    frames = kinect_frames(2)
    frames[1, 3] = np.nan, np.inf, 1e300
    read = read_nwucla(write_nwucla(path, frames, 7), 7).frames
    assert np.isnan(read[1, 0, 3, 0]) and np.isinf(read[1, 0, 3, 1:]).all() and np.isfinite(read).sum() == 117


RAGGED = kinect_frames(3).tolist()
RAGGED[1] = RAGGED[1][:19]
STRINGS = [[["0.1", "0.2", "0.3"]] * 20]

# what is wrong -> (keys changed, what the sentence says)
FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "25 joints": ({"skeletons": [[[0.1] * 3] * 25] * 4}, r"expected numbers (frames, 20, 3), got float64 (4, 25, 3)"),
    "two coordinates": ({"skeletons": [[[0.1] * 2] * 20]}, r"expected numbers (frames, 20, 3), got float64 (1, 20, 2)"),
    "two bodies": (
        {"skeletons": [[[[0.1] * 3] * 20] * 2]},
        r"expected numbers (frames, 20, 3), got float64 (1, 2, 20, 3)",
    ),
    "one frame short of a joint": ({"skeletons": RAGGED}, "expected numbers (frames, 20, 3), got lists of unequal"),
    "words": ({"skeletons": STRINGS}, "expected numbers (frames, 20, 3), got <U3"),
    "truths": ({"skeletons": [[[True] * 3] * 20]}, "expected numbers (frames, 20, 3), got bool"),
    "nothing": ({"skeletons": None}, "expected numbers (frames, 20, 3), got object ()"),
    "a huge number": ({"skeletons": [[[10**40] * 3] * 20]}, "expected numbers (frames, 20, 3), got object (1, 20, 3)"),
    "another name": ({"file_name": "a09_s02_e01_v02"}, " says it is 'a09_s02_e01_v02': give it its own name back"),
    "another label": ({"label": 8}, " has label 8, but by its name it must be 7"),
    "label a word": ({"label": "7"}, " has label '7', but by its name it must be 7"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_nwucla_faults_are_named(tmp_path: Path, fault: str) -> None:
    changes, sentence = FAULTS[fault]
    path = write_nwucla(tmp_path / NWUCLA, kinect_frames(3), **{"label": 7} | changes)
    with pytest.raises(ValueError) as caught:
        read_nwucla(path, 7)
    assert str(caught.value).removeprefix(NWUCLA).removeprefix(": ").startswith(sentence)
    assert str(caught.value).startswith(NWUCLA)


@pytest.mark.parametrize("content", ["[1, 2]", '{"file_name": "a08_s02_e01_v02", "label": 7}', "7", "null"])
def test_nwucla_other_json(tmp_path: Path, content: str) -> None:
    (tmp_path / NWUCLA).write_text(content)
    with pytest.raises(ValueError, match=f"^{NWUCLA}: expected an object with file_name, skeletons and label"):
        read_nwucla(tmp_path / NWUCLA, 7)


def test_nwucla_no_json(tmp_path: Path) -> None:
    path = write_nwucla(tmp_path / NWUCLA, kinect_frames(1), 7)
    whole = path.read_bytes()
    for content in (
        *(whole[:length] for length in range(0, len(whole), 17)),
        b"[" * 100_000,
        b"\xff\xfe\xfa",
        b"9" * 9999,
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=f"^{NWUCLA} is no JSON"):
            read_nwucla(path, 7)


# --- UTD-MHAD ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compressed", [False, True])
def test_utdmhad_joints_come_in_the_order_of_the_sdk(tmp_path: Path, compressed: bool) -> None:
    frames = kinect_frames(7)
    recording = read_utdmhad(write_utdmhad(tmp_path / UTDMHAD, frames, compressed))
    assert recording.name == "a1_s1_t1" and recording.frames.dtype == np.float32
    np.testing.assert_array_equal(recording.frames, frames.astype(np.float32)[:, None])


def test_utdmhad_lists_joints_from_the_head(tmp_path: Path) -> None:
    numbered = np.broadcast_to(np.arange(20.0)[:, None, None], (20, 3, 2))
    savemat(tmp_path / UTDMHAD, {"d_skel": numbered})
    places = read_utdmhad(tmp_path / UTDMHAD).frames[0, 0, :, 0].tolist()
    place = dict(zip(SKELETONS["kinect20"].joint_names, places, strict=True))
    assert [place[joint] for joint in ("head", "shoulder_center", "spine", "hip_center")] == [0, 1, 2, 3]
    assert [place[f"{joint}_left"] for joint in ("shoulder", "elbow", "wrist", "hand")] == [4, 5, 6, 7]
    assert [place[f"{joint}_right"] for joint in ("shoulder", "elbow", "wrist", "hand")] == [8, 9, 10, 11]
    assert [place[f"{joint}_left"] for joint in ("hip", "knee", "ankle", "foot")] == [12, 13, 14, 15]
    assert [place[f"{joint}_right"] for joint in ("hip", "knee", "ankle", "foot")] == [16, 17, 18, 19]


@pytest.mark.parametrize("count", [0, 1])
def test_utdmhad_with_hardly_any_frames(tmp_path: Path, count: int) -> None:
    frames = kinect_frames(count)
    read = read_utdmhad(write_utdmhad(tmp_path / UTDMHAD, frames)).frames
    np.testing.assert_array_equal(read, frames.astype(np.float32)[:, None])
    savemat(tmp_path / UTDMHAD, {"d_skel": np.ones((20, 3))})  # so MATLAB writes a single frame
    assert read_utdmhad(tmp_path / UTDMHAD).frames.shape == (1, 1, 20, 3)


def test_utdmhad_nan_passes_through(tmp_path: Path) -> None:
    frames = kinect_frames(3)
    frames[1, 2, 0], frames[2, 2, 0] = np.nan, 1e300
    read = read_utdmhad(write_utdmhad(tmp_path / UTDMHAD, frames)).frames
    assert np.isnan(read[1, 0, 2, 0]) and np.isinf(read[2, 0, 2, 0])


@pytest.mark.parametrize("shape", [(25, 3, 4), (3, 20, 4), (20, 2, 4), (20, 3, 4, 2), (60, 4), (1, 1)])
def test_utdmhad_of_another_shape(tmp_path: Path, shape: tuple[int, ...]) -> None:
    savemat(tmp_path / UTDMHAD, {"d_skel": np.ones(shape)})
    with pytest.raises(ValueError, match=rf"^{UTDMHAD}: expected d_skel as \(20, 3, frames\), got \({shape[0]}, "):
        read_utdmhad(tmp_path / UTDMHAD)


def test_utdmhad_of_another_kind(tmp_path: Path) -> None:
    path = tmp_path / UTDMHAD
    savemat(path, {"d_iner": np.ones((20, 6))})
    with pytest.raises(ValueError, match=rf"^{UTDMHAD} is no MATLAB 5 file with the numbers d_skel \(no array of that"):
        read_utdmhad(path)
    path.write_bytes(b"\0" * (MAT_LARGEST + 1))
    with pytest.raises(ValueError, match=rf"^{UTDMHAD} takes 1048577 bytes, expected no more than 1048576"):
        read_utdmhad(path)
