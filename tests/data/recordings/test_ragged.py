"""A ragged `.npz` ends in what was written, or in a ValueError that says what is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hiclr.data.recordings.ragged import open_ragged
from hiclr.skeleton import SKELETONS


def test_ragged_sequences_are_what_was_written(
    ragged_arrays: dict[str, Any], write_ragged: Callable[..., Path]
) -> None:
    file = open_ragged(write_ragged(ragged_arrays))
    assert (file.name, file.class_names, file.benchmarks) == ("mine", ("walk", "sit", "wave"), ("xsub",))
    assert file.skeleton is SKELETONS["ntu25"]
    assert list(file.samples.columns) == ["name", "label", "subject", "camera", "setup", "effort", "xsub"]
    assert file.samples["camera"].tolist() == [1, 1, 2, 2, 3]
    assert file.samples["setup"].tolist() == [0] * 5
    assert file.samples["xsub"].tolist() == ["train", "test", "train", "test", ""]
    recording = file.read(2)
    assert recording.name == "NA"
    np.testing.assert_array_equal(recording.frames, ragged_arrays["frames"][5:12])


def test_ragged_defaults(ragged_arrays: dict[str, Any], write_ragged: Callable[..., Path]) -> None:
    needed = ("frames", "offsets", "label", "class_names")
    file = open_ragged(write_ragged({key: ragged_arrays[key] for key in needed}))
    assert file.name == "mine"  # the file's
    assert file.samples["name"].tolist() == ["000000", "000001", "000002", "000003", "000004"]
    assert file.benchmarks == () and file.meta == {}
    assert (file.samples[["subject", "camera", "setup"]] == 0).all(axis=None)


def test_ragged_whole_numbers_are_scaled(ragged_arrays: dict[str, Any], write_ragged: Callable[..., Path]) -> None:
    units = np.round(ragged_arrays["frames"] * 1000).astype(np.int16)
    frames = open_ragged(write_ragged(ragged_arrays | {"frames": units, "scale": np.array(0.001)})).read(0).frames
    assert frames.dtype == np.float32
    np.testing.assert_allclose(frames, ragged_arrays["frames"][:4], atol=0.0006)


def test_ragged_states_its_own_skeleton(ragged_arrays: dict[str, Any], write_ragged: Callable[..., Path]) -> None:
    stated = {
        "frames": ragged_arrays["frames"][:, :, :4],
        "joint_names": np.array(["middle", "one", "other", "top"]),
        "parent": np.array([-1, 0, 0, 0]),
        "centre": np.array("middle"),
        "shoulders": np.array(["one", "other"]),
        "mirror": np.array([["one", "other"]]),
    }
    skeleton = open_ragged(write_ragged(ragged_arrays | stated)).skeleton
    assert (skeleton.name, skeleton.centre_joint, skeleton.shoulder_pair) == ("mine", 0, (1, 2))
    assert skeleton.mirror_pairs == ((1, 2),)


def test_ragged_recognises_a_known_skeleton(ragged_arrays: dict[str, Any], write_ragged: Callable[..., Path]) -> None:
    ntu = SKELETONS["ntu25"]
    stated = {"joint_names": np.array(ntu.joint_names), "parent": np.array(ntu.parents)}
    assert open_ragged(write_ragged(ragged_arrays | stated)).skeleton is ntu


def joints(count: int) -> dict[str, Any]:
    return {"frames": np.zeros((23, 1, count, 3), np.float32)}


# what is wrong -> (keys changed, what the sentence says)
FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "no frames": ({"frames": None}, "lacks the key 'frames'; it holds offsets, label"),
    "no offsets": ({"offsets": None}, "lacks the key 'offsets'"),
    "no label": ({"label": None}, "lacks the key 'label'"),
    "no class_names": ({"class_names": None}, "lacks the key 'class_names'"),
    "meta nested too deep": ({"meta": np.array("[" * 100_000)}, "meta is no JSON"),
    "three dimensions": ({"frames": np.zeros((23, 25, 3))}, r"frames must be \(frames, bodies, joints, 3\), got \(23"),
    "two coordinates": ({"frames": np.zeros((23, 1, 25, 2))}, r"frames must be"),
    "text frames": ({"frames": np.full((23, 1, 25, 3), "x")}, "frames must hold numbers"),
    "whole numbers without scale": ({"frames": np.zeros((23, 1, 25, 3), np.int16)}, "`scale`"),
    "scale of zero": ({"scale": np.array(0.0)}, "scale must be one number above 0"),
    "offsets fall": ({"offsets": np.array([0, 5, 4, 12, 20, 23])}, "offsets must rise from 0 to the 23 frames"),
    "offsets end early": ({"offsets": np.array([0, 4, 5, 12, 20, 22])}, "offsets must rise"),
    "offsets as fractions": ({"offsets": np.arange(6.0)}, "offsets must hold whole numbers"),
    "too few labels": ({"label": np.array([0, 1])}, r"label must be \(5,\), got \(2,\)"),
    "label out of range": ({"label": np.array([0, 1, 3, 0, 1])}, "label of sequence 2 is 3, outside the 3 class names"),
    "negative label": ({"label": np.array([0, 1, -1, 0, 1])}, "label of sequence 2 is -1"),
    "names twice": ({"name": np.array(list("abcda"))}, "'a' occurs twice"),
    "split of 2": ({"split_xsub": np.array([1, 0, 2, 0, 1])}, "split_xsub must hold 1 .*, got 2"),
    "split without a name": ({"split_": np.array([1, 0, 1, 0, 1])}, "split_ would make a column '', which is taken"),
    "split called label": ({"split_label": np.array([1, 0, 1, 0, 1])}, "a column 'label', which is taken"),
    "column called length": ({"length": np.arange(5)}, "the column 'length' is taken"),
    "view and camera": ({"camera": np.arange(5)}, "the column 'view' is taken"),
    "column of another length": ({"subject": np.arange(4)}, r"subject must be \(5,\), got \(4,\)"),
    "meta no JSON": ({"meta": np.array("{")}, "meta is no JSON"),
    "meta a list": ({"meta": np.array("[1]")}, "meta must be a JSON object"),
    "joints unknown": (joints(22), r"22 joints, which no known layout has: add joint_names"),
    "names without parents": ({"joint_names": np.array(list("abc"))}, "only one of joint_names and parent"),
    "parents run in a circle": (
        joints(3) | {"joint_names": np.array(list("abc")), "parent": np.array([-1, 2, 1])},
        "circle",
    ),
    "shoulder is no joint": (
        joints(2)
        | {"joint_names": np.array(["a", "b"]), "parent": np.array([-1, 0]), "shoulders": np.array(["a", "c"])},
        "no joint 'c'",
    ),
    "three shoulders": (
        joints(2)
        | {"joint_names": np.array(["a", "b"]), "parent": np.array([-1, 0]), "shoulders": np.array(["a", "b", "a"])},
        r"shoulders must hold joint names \(left, right\)",
    ),
    "pickled": ({"name": np.array([{}, 1, 2, 3, 4], dtype=object)}, "no .npz of plain arrays"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_ragged_faults_are_named(ragged_arrays: dict[str, Any], write_ragged: Callable[..., Path], fault: str) -> None:
    changes, sentence = FAULTS[fault]
    path = write_ragged(ragged_arrays | changes)
    with pytest.raises(ValueError, match=sentence) as caught:
        open_ragged(path)
    assert str(path) in str(caught.value)


def test_ragged_beyond_float32_is_infinite(ragged_arrays: dict[str, Any], write_ragged: Callable[..., Path]) -> None:
    path = write_ragged(ragged_arrays | {"frames": np.full((23, 1, 25, 3), 1e300)})
    with np.errstate(all="raise"):
        assert np.isposinf(open_ragged(path).read(0).frames).all()


def test_ragged_cut_file(ragged_arrays: dict[str, Any], write_ragged: Callable[..., Path]) -> None:
    path = write_ragged(ragged_arrays)
    whole = path.read_bytes()
    for length in range(0, len(whole), 97):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"no .npz of plain arrays"):
            open_ragged(path)
    with pytest.raises(FileNotFoundError):
        open_ragged(path.with_name("other.npz"))


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_ragged_damaged_frames(ragged_arrays: dict[str, Any], tmp_path: Path, save: Callable[..., None]) -> None:
    path = tmp_path / "mine.npz"
    save(path, **ragged_arrays)
    content = bytearray(path.read_bytes())
    content[2000] ^= 1  # frames come first
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"mine\.npz: no .npz of plain arrays \(frames: "):
        open_ragged(path)


def test_ragged_frames_in_fortran_order(ragged_arrays: dict[str, Any], write_ragged: Callable[..., Path]) -> None:
    frames = ragged_arrays["frames"]
    file = open_ragged(write_ragged(ragged_arrays | {"frames": np.asfortranarray(frames)}))
    np.testing.assert_array_equal(file.read(2).frames, frames[5:12])


def test_ragged_single_array(tmp_path: Path) -> None:
    path = tmp_path / "one.npy"
    np.save(path, np.zeros(3))
    with pytest.raises(ValueError, match="single array"):
        open_ragged(path)


@pytest.mark.parametrize(("name", "sequences", "joints"), [("utd_mhad", 861, 20), ("ui_prmd_kinect", 2000, 22)])
def test_ragged_real_data(shared: Path, name: str, sequences: int, joints: int) -> None:
    path = shared / "data" / f"{name}.npz"
    file = open_ragged(path)
    assert len(file.samples) == sequences and file.name == name and file.benchmarks == ("xsub",)
    assert file.skeleton.num_joints == joints and file.skeleton.mirror_pairs
    with np.load(path) as raw:
        first, last = raw["offsets"][7:9]
        expected = raw["frames"][first:last] * np.float32(raw.get("scale", 1))
        assert json.loads(str(raw["meta"])) == file.meta
    np.testing.assert_allclose(file.read(7).frames, expected, rtol=1e-6)
