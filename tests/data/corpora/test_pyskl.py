"""A pickle of pose annotations as a corpus."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hiclr.data.corpora import pyskl
from hiclr.data.corpora.ntu import NTU60_CLASSES, NTU120_CLASSES
from hiclr.skeleton import SKELETONS
from writers.pyskl import NAMES, annotation, in_pixels, pyskl_content, write_pyskl


def test_ntu_is_known_by_its_names(tmp_path: Path) -> None:
    corpus = pyskl(write_pyskl(tmp_path / "ntu60_3danno.pkl", pyskl_content()))
    assert (corpus.name, corpus.bodies, corpus.planar) == ("ntu60_3danno", 2, False)
    assert corpus.skeleton is SKELETONS["ntu25"] and corpus.class_names is NTU60_CLASSES
    assert corpus.samples.to_dict("list") == {
        "name": list(NAMES),
        "label": [0, 59, 26, 2],
        "subject": [1, 3, 40, 2],
        "camera": [1, 2, 3, 2],
        "setup": [1, 2, 17, 1],
        "rep": [1, 2, 1, 1],
        "xsub": ["train", "test", "test", "train"],
        "xview": ["test", "train", "train", "train"],
    }
    assert set(corpus.published) == {"xsub", "xview"}
    assert (corpus.absent, corpus.notes) == ((), ())


def corpus_of(tmp_path: Path, labels: dict[str, int], **split: list[str]) -> Any:
    annotations = [annotation(name, label) for name, label in labels.items()]
    return pyskl(write_pyskl(tmp_path / "a.pkl", {"annotations": annotations, "split": split}))


def test_class_names(tmp_path: Path) -> None:
    assert corpus_of(tmp_path, {"S018C001P041R001A061": 60}).class_names is NTU120_CLASSES
    other_order = corpus_of(tmp_path, {"S001C001P001R001A003": 1})
    assert other_order.class_names == ("0", "1") and other_order.samples["subject"].tolist() == [1]
    mixed = corpus_of(tmp_path, {"S001C001P001R001A002": 1, "mine": 0})
    assert mixed.class_names == ("0", "1") and mixed.samples["subject"].tolist() == [1, 0]
    mine = corpus_of(tmp_path, {"a": 3, "b": 0})
    assert mine.class_names == ("0", "1", "2", "3") and mine.benchmarks == () and mine.published == {}
    assert list(mine.samples) == ["name", "label", "subject", "camera", "setup"]


@pytest.mark.parametrize(
    ("splits", "benchmarks", "unused"),
    [
        (("train", "val"), ["split"], ""),
        (("test", "train"), ["split"], ""),
        (("xset_train", "xset_val"), ["xset"], ""),
        (("train1", "test1", "train2", "test2"), ["split1", "split2"], ""),
        (("train", "val", "test"), ["split"], "val"),
        (("a_b_train", "a_b_val", "rest"), ["a_b"], "rest"),
        (("train", "xsub_val"), [], "train, xsub_val"),
    ],
)
def test_splits_make_pairs(tmp_path: Path, splits: tuple[str, ...], benchmarks: list[str], unused: str) -> None:
    listed = {name: ["a"] if "train" in name else ["b"] for name in splits}
    corpus = corpus_of(tmp_path, {"a": 0, "b": 1, "c": 0}, **listed)
    assert sorted(corpus.benchmarks) == benchmarks
    for benchmark in benchmarks:
        assert corpus.samples[benchmark].tolist() == ["train", "test", ""]
    assert corpus.notes == (
        *((f"splits that make no benchmark, not used: {unused}",) if unused else ()),
        *(("1 annotations are in no split: prepared, but in no benchmark",) if benchmarks else ()),
    )


def test_the_test_side_is_test_where_there_is_val_too(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path, {"a": 0, "b": 0, "c": 0}, x_train=["a"], x_val=["b"], x_test=["c"])
    assert corpus.samples["x"].tolist() == ["train", "", "test"]


def test_names_without_an_annotation_are_absent(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path, {"a": 0, "b": 0}, train=["a", "z", "a"], val=["b", "y"], other=["x"])
    assert corpus.absent == ("y", "z")
    assert corpus.samples["split"].tolist() == ["train", "test"]


def test_splits_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a\.pkl: 'b' is in both xsub_train and xsub_val \(2 such names\)"):
        corpus_of(tmp_path, {"a": 0}, xsub_train=["c", "b", "a"], xsub_val=["b", "c"])
    with pytest.raises(ValueError, match="'label_train' would make a column 'label', which is taken"):
        corpus_of(tmp_path, {"a": 0}, label_train=["a"], label_val=["b"])


@pytest.mark.parametrize(("joints", "name"), [(25, "ntu25"), (20, "kinect20"), (18, "openpose18"), (33, "mediapipe33")])
def test_the_skeleton_is_known_by_its_joints(tmp_path: Path, joints: int, name: str) -> None:
    path = write_pyskl(tmp_path / "a.pkl", [annotation("a", 0, keypoint=np.ones((1, 7, joints, 3)))])
    assert pyskl(path).skeleton is SKELETONS[name]


def test_seventeen_joints_are_told_in_the_plane_alone(tmp_path: Path) -> None:
    flat = annotation("a", 0, keypoint=np.ones((1, 7, 17, 2)), img_shape=(480, 640))
    assert pyskl(write_pyskl(tmp_path / "flat.pkl", [flat])).skeleton is SKELETONS["coco17"]
    deep = annotation("a", 0, keypoint=np.ones((1, 7, 17, 3)))
    with pytest.raises(ValueError, match=r"holds 17 joints, which coco17 and h36m17 have: say which"):
        pyskl(write_pyskl(tmp_path / "deep.pkl", [deep]))


def test_the_skeleton_can_be_stated(tmp_path: Path) -> None:
    path = write_pyskl(tmp_path / "a.pkl", [annotation("a", 0, keypoint=np.ones((1, 7, 17, 3)))])
    assert pyskl(path, skeleton="h36m17").skeleton is SKELETONS["h36m17"]
    with pytest.raises(ValueError, match=r"a\.pkl: holds 17 joints, but skeleton 'ntu25' has 25"):
        pyskl(path, skeleton="ntu25")
    with pytest.raises(ValueError, match="unknown skeleton 'coco'"):
        pyskl(path, skeleton="coco")
    path = write_pyskl(tmp_path / "a.pkl", [annotation("a", 0, keypoint=np.ones((1, 7, 21, 3)))])
    with pytest.raises(ValueError, match=r"a\.pkl: holds 21 joints, which no known layout has: say which with"):
        pyskl(path)


def test_poses_in_pixels_are_planar(tmp_path: Path) -> None:
    corpus = pyskl(write_pyskl(tmp_path / "a.pkl", [in_pixels("a", 0, bodies=6), in_pixels("b", 1)]))
    assert (corpus.planar, corpus.bodies, corpus.skeleton) == (True, 2, SKELETONS["coco17"])
    assert corpus.meta["units"] == "height of the image"
    frames = corpus.read(0).frames
    assert frames.shape == (7, 6, 17, 3) and not frames[..., 2].any() and np.abs(frames).max() < 1


def test_bodies_are_those_that_occur(tmp_path: Path) -> None:
    for bodies, room in ((0, 1), (1, 1), (2, 2), (5, 2)):
        path = write_pyskl(tmp_path / "a.pkl", [annotation("a", 0, bodies=bodies), annotation("b", 0, bodies=0)])
        assert pyskl(path).bodies == room


def test_a_pickle_that_ends_as_a_zip_archive_does(tmp_path: Path) -> None:
    path = write_pyskl(tmp_path / "a.pkl", pyskl_content())
    path.write_bytes(path.read_bytes() + b"PK\5\6" + bytes(18))  # behind the end of the pickle, which nobody reads
    assert len(pyskl(path).fingerprint) == 64


def test_the_fingerprint_follows_the_contents(tmp_path: Path) -> None:
    content = pyskl_content()
    path = tmp_path / "a.pkl"
    before = pyskl(write_pyskl(path, content)).fingerprint
    assert pyskl(write_pyskl(path, content)).fingerprint == before
    content["annotations"][0]["keypoint"][0, 0, 0, 0] += 1
    assert pyskl(write_pyskl(path, content)).fingerprint != before
