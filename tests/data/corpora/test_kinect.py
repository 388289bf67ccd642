"""Which clips NW-UCLA and UTD-MHAD have and on which side they are; UTD-MHAD against the real thing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hiclr.data.corpora import npz, nwucla, utdmhad
from hiclr.data.corpora.base import Corpus
from hiclr.data.corpora.kinect import NWUCLA_CLASSES, UTDMHAD_CLASSES
from hiclr.data.prepare import prepare
from hiclr.skeleton import SKELETONS
from writers.kinect import kinect_frames, small_nwucla, small_utdmhad, write_nwucla, write_utdmhad

# --- NW-UCLA ----------------------------------------------------------------------------------------------------------


def test_nwucla_describes_its_clips(tmp_path: Path) -> None:
    corpus = nwucla(**small_nwucla(tmp_path))
    assert (corpus.name, corpus.bodies, corpus.benchmarks) == ("nwucla", 1, ("xview",))
    assert corpus.skeleton is SKELETONS["kinect20"] and corpus.class_names is NWUCLA_CLASSES
    assert corpus.samples.to_dict("list") == {
        "name": ["a01_s01_e00_v01", "a08_s02_e01_v02", "a12_s10_e04_v03"],
        "label": [0, 6, 9],
        "subject": [1, 2, 10],
        "camera": [1, 2, 3],
        "setup": [0, 0, 0],
        "rep": [0, 1, 4],
        "xview": ["train", "train", "test"],
    }
    for row in range(3):
        expected = kinect_frames(5 + row, row).astype(np.float32)
        np.testing.assert_array_equal(corpus.read(row).frames[:, 0], expected)


def test_nwucla_actions_are_the_ten_classes_in_order(tmp_path: Path) -> None:
    for label, action in enumerate((1, 2, 3, 4, 5, 6, 8, 9, 11, 12), 1):
        write_nwucla(tmp_path / f"a{action:02d}_s01_e00_v01.json", kinect_frames(2), label)
    corpus = nwucla(tmp_path)
    assert corpus.samples["label"].tolist() == list(range(10))
    assert [corpus.read(row).name[:3] for row in range(10)] == corpus.samples["name"].str[:3].tolist()
    picked = {1: "pick up with one hand", 4: "walk around", 7: "donning", 8: "doffing", 9: "throw", 10: "carry"}
    assert {number: NWUCLA_CLASSES[number - 1] for number in picked} == picked


def test_nwucla_says_what_it_left_out(tmp_path: Path) -> None:
    raw = small_nwucla(tmp_path)["raw"]
    for name in ("a07_s01_e00_v01", "a1_s01_e00_v01", "a٠١_s01_e00_v01", "Übersicht"):
        write_nwucla(raw / f"{name}.json", kinect_frames(2), 1)
    write_nwucla(raw / "a01_s01_e00_v04.json", kinect_frames(2), 1)
    (raw / "readme.txt").write_text("not a clip")
    corpus = nwucla(raw)
    assert len(corpus.samples) == 4 and corpus.samples["xview"].tolist() == ["train", "", "train", "test"]
    assert corpus.notes == (
        "3 recordings left out, not named aAA_sSS_eEE_vVV.json: "
        "a1_s01_e00_v01.json, a٠١_s01_e00_v01.json, Übersicht.json",
        "1 recording left out, of actions that are no class: a07_s01_e00_v01.json",
    )
    assert set(corpus.surplus) == {path.name for path in raw.rglob("*.json")} - {path.name for path in corpus.files}


def test_nwucla_names_and_files_must_agree(tmp_path: Path) -> None:
    raw = small_nwucla(tmp_path)["raw"]
    write_nwucla(raw / "view_2" / "a08_s02_e01_v02.json", kinect_frames(2), label=8)
    folder = prepare(nwucla(raw), tmp_path / "out", frames=8, progress=False)
    assert folder.samples["name"].tolist() == ["a01_s01_e00_v01", "a12_s10_e04_v03"]
    (skipped,) = folder.about["skipped"]
    assert skipped["reason"] == "a08_s02_e01_v02.json has label 8, but by its name it must be 7"


# --- UTD-MHAD ---------------------------------------------------------------------------------------------------------


def test_utdmhad_describes_its_clips(tmp_path: Path) -> None:
    corpus = utdmhad(**small_utdmhad(tmp_path))
    assert (corpus.name, corpus.bodies, corpus.benchmarks) == ("utdmhad", 1, ("xsub",))
    assert corpus.class_names is UTDMHAD_CLASSES
    assert corpus.samples.to_dict("list") == {
        "name": ["a10_s2_t4", "a1_s1_t1", "a27_s8_t2"],
        "label": [9, 0, 26],
        "subject": [2, 1, 8],
        "camera": [1, 1, 1],
        "setup": [0, 0, 0],
        "rep": [4, 1, 2],
        "xsub": ["test", "train", "test"],
    }


def test_utdmhad_says_what_it_left_out(tmp_path: Path) -> None:
    raw = small_utdmhad(tmp_path)["raw"]
    for name in ("a28_s1_t1_skeleton", "a0_s1_t1_skeleton", "a1_s1_t1_inertial"):
        write_utdmhad(raw / f"{name}.mat", kinect_frames(2))
    (raw / "a2_s1_t1_skeleton.mat").write_bytes(b"MATLAB")
    corpus = utdmhad(raw)
    assert corpus.notes == (
        "1 recording left out, not named aA_sS_tT_skeleton.mat: a1_s1_t1_inertial.mat",
        "2 recordings left out, of actions that are no class: a0_s1_t1_skeleton.mat, a28_s1_t1_skeleton.mat",
    )
    folder = prepare(corpus, tmp_path / "out", frames=8, progress=False)
    (skipped,) = folder.about["skipped"]
    assert skipped["name"] == "a2_s1_t1" and skipped["reason"].startswith("a2_s1_t1_skeleton.mat is no MATLAB 5 file")


def test_utdmhad_agrees_with_the_real_data_as_npz(shared: Path, tmp_path: Path) -> None:
    path = shared / "data" / "utd_mhad.npz"
    real = npz(path)
    rows = range(7, 861, 29)
    for row in rows:
        clip = real.read(row)
        write_utdmhad(tmp_path / f"{clip.name}_skeleton.mat", clip.frames[:, 0].astype(np.float64))
    corpus = utdmhad(tmp_path)
    assert len(corpus.samples) == 30
    expected = real.samples.iloc[list(rows)].reset_index(drop=True)
    np.testing.assert_array_equal(corpus.samples.to_numpy(), expected[corpus.samples.columns].to_numpy())
    assert set(corpus.samples.columns) == set(expected.columns)
    assert corpus.class_names == real.class_names and corpus.bodies == real.bodies
    for ours, theirs in enumerate(rows):
        np.testing.assert_array_equal(corpus.read(ours).frames, real.read(theirs).frames)
    ours_told, real_told = ({**skeleton.to_dict(), "name": ""} for skeleton in (corpus.skeleton, real.skeleton))
    assert ours_told == real_told
    for fact in ("centre_joint", "shoulder_pair", "mirror_pairs"):
        assert getattr(corpus.skeleton, fact) == getattr(real.skeleton, fact)
    assert {key: corpus.meta[key] for key in ("units", "fps", "axes", "citation")}.items() <= real.meta.items()
    sides = real.samples["xsub"].value_counts()
    assert corpus.published == {"xsub": (sides["train"], sides["test"])}


# --- both -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [nwucla, utdmhad])
def test_kinect_faults(kind: Callable[..., Corpus], tmp_path: Path) -> None:
    small = small_nwucla if kind is nwucla else small_utdmhad
    with pytest.raises(FileNotFoundError, match="no folder"):
        kind(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"none of the 0 \.(json|mat) files below .*empty is a clip aA"):
        kind(tmp_path / "empty")
    raw = small(tmp_path)["raw"]
    first = kind(raw).files[0]
    (raw / "again").mkdir()
    (raw / "again" / first.name).write_bytes(first.read_bytes())
    with pytest.raises(ValueError, match=f"^{first.name} occurs twice below .*: keep one"):
        kind(raw)


def test_kinect_fingerprint_follows_names_and_sizes(tmp_path: Path) -> None:
    raw = small_nwucla(tmp_path)["raw"]
    before = nwucla(raw).fingerprint
    assert nwucla(raw).fingerprint == before
    path = nwucla(raw).files[0]
    path.write_text(json.dumps(json.loads(path.read_text()), indent=1))
    longer = nwucla(raw).fingerprint
    path.rename(path.with_name("a01_s01_e01_v01.json"))
    assert len({before, longer, nwucla(raw).fingerprint}) == 3
