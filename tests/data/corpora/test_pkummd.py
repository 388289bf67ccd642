"""Which actions PKU-MMD's files give and on which side they are, wherever the files lie."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hiclr.data.corpora import pkummd as room
from hiclr.data.corpora import pkummd1, pkummd2
from hiclr.data.corpora.pkummd import PKU_CLASSES
from hiclr.data.prepare import prepare
from hiclr.data.recordings.pkummd import read_pku_recording
from hiclr.skeleton import SKELETONS
from writers.pkummd import (
    pku_frames,
    small_pkummd1,
    small_pkummd2,
    write_pku_labels,
    write_pku_recording,
    write_pku_split,
)

NO_XSUB = (
    "no split file cross-subject.txt was found, so there is no benchmark xsub: "
    "to evaluate on it, put the owners' file into the folder and prepare it again"
)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    return Path(small_pkummd1(tmp_path)["raw"])


@pytest.fixture
def labels(raw: Path) -> Path:
    return raw / "Train_Label_PKU_final"


def test_pku_class_names_in_the_owners_order() -> None:
    assert (len(PKU_CLASSES), len(set(PKU_CLASSES))) == (51, 51)
    picked = {1: "bow", 12: "giving something to other person", 26: "punching/slapping other person", 51: "writing"}
    assert {number: PKU_CLASSES[number - 1] for number in picked} == picked
    assert list(PKU_CLASSES) == sorted(PKU_CLASSES)  # the owners' order is that of the alphabet


# --- what is there ----------------------------------------------------------------------------------------------------


def test_pkummd1_describes_its_actions(raw: Path) -> None:
    corpus = pkummd1(raw)
    assert (corpus.name, corpus.bodies, corpus.benchmarks) == ("pkummd1", 2, ("xsub", "xview"))
    assert corpus.skeleton is SKELETONS["ntu25"] and corpus.class_names is PKU_CLASSES
    assert corpus.samples.to_dict("list") == {
        "name": ["0002-L-002", "0002-L-001", "0002-M-002", "0002-M-001", "0002-R-001"],
        "label": [0, 25, 0, 25, 50],
        "subject": [0] * 5,
        "camera": [1, 1, 2, 2, 3],
        "setup": [0] * 5,
        "recording": ["0002-L", "0002-L", "0002-M", "0002-M", "0002-R"],
        "first": [3, 21, 3, 21, 35],
        "last": [12, 30, 12, 30, 40],
        "confidence": [2, 2, 1, 2, 2],
        "xsub": ["train", "train", "train", "train", "test"],
        "xview": ["test", "test", "train", "train", "train"],
    }
    assert (corpus.notes, corpus.absent, corpus.surplus) == ((), (), ())
    assert len(corpus.files) == 8 and "academic" in corpus.meta["licence"]


def test_pkummd1_clips_are_the_frames_of_their_recordings(raw: Path) -> None:
    corpus = pkummd1(raw)
    for row, sample in enumerate(corpus.samples.itertuples()):
        whole = read_pku_recording(raw / "PKU_Skeleton_Renew" / f"{sample.recording}.txt")
        expected = whole[int(sample.first) - 1 : int(sample.last)]  # type: ignore[arg-type]
        bodies = 2 if sample.camera == 2 else 1  # the others hold zeros in place of a second body
        np.testing.assert_array_equal(corpus.read(row).frames, expected[:, :bodies])


def test_pkummd2_describes_its_actions(tmp_path: Path) -> None:
    corpus = pkummd2(**small_pkummd2(tmp_path))
    assert corpus.samples.drop(columns=["setup", "confidence"]).to_dict("list") == {
        "name": ["A01N01-L-001", "A01N01-L-002", "A02N13-M-001", "A02N13-M-002"],
        "label": [7, 8, 7, 9],
        "subject": [1, 1, 13, 13],
        "camera": [1, 1, 2, 2],
        "recording": ["A01N01-L", "A01N01-L", "A02N13-M", "A02N13-M"],
        "first": [1, 10, 1, 10],
        "last": [9, 30, 9, 30],
        "xsub": ["train", "train", "test", "test"],
        "xview": ["test", "test", "train", "train"],
    }
    assert corpus.name == "pkummd2" and corpus.notes == () and corpus.class_names is PKU_CLASSES


def test_pku_folders_may_be_called_anything(raw: Path, tmp_path: Path) -> None:
    expected = pkummd1(raw)
    other = tmp_path / "Daten für später"
    for source, target in (("PKU_Skeleton_Renew", "."), ("Train_Label_PKU_final", "Marken ü"), ("Split", "Marken ü/x")):
        shutil.copytree(raw / source, other / target, dirs_exist_ok=True)
    (other / "x").mkdir()
    (other / "Marken ü" / "x" / "cross-view.txt").rename(other / "x" / "Cross_View.txt")
    (other / "readme.txt").write_text("not, a, recording\n")
    corpus = pkummd1(other)
    assert corpus.samples.equals(expected.samples) and corpus.notes == ()


def test_pku_a_recording_is_read_once_for_all_its_actions(raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    monkeypatch.setattr(room, "read_pku_recording", lambda path: calls.append(path.stem) or read_pku_recording(path))
    corpus = pkummd1(raw)
    assert calls == []  # making a corpus reads no coordinates
    for row in range(len(corpus.samples)):
        corpus.read(row)
    assert calls == ["0002-L", "0002-M", "0002-R"]


def test_pku_long_actions_keep_their_middle(raw: Path, labels: Path) -> None:
    frames = pku_frames(500)
    write_pku_recording(raw / "PKU_Skeleton_Renew" / "0002-R.txt", frames)
    write_pku_labels(labels / "0002-R.txt", (1, 11, 410))
    clip = pkummd1(raw).read(4).frames
    np.testing.assert_allclose(clip, frames[60:360], atol=1e-5)


def test_pku_fingerprint_follows_names_and_sizes(raw: Path, labels: Path) -> None:
    seen = {pkummd1(raw).fingerprint, pkummd1(raw).fingerprint}
    assert len(seen) == 1
    for path in (raw / "PKU_Skeleton_Renew" / "0002-L.txt", labels / "0002-L.txt", raw / "Split" / "cross-view.txt"):
        path.write_text(path.read_text() + "\n")
        seen.add(pkummd1(raw).fingerprint)
    assert len(seen) == 4


# --- what is not there, or too much -----------------------------------------------------------------------------------


def test_pku_without_split_files_it_can_still_pretrain(raw: Path) -> None:
    (raw / "Split" / "cross-subject.txt").unlink()
    corpus = pkummd1(raw)
    assert corpus.benchmarks == ("xview",) and corpus.notes == (NO_XSUB,)
    shutil.rmtree(raw / "Split")
    corpus = pkummd1(raw)
    assert corpus.benchmarks == () and len(corpus.notes) == 2 and len(corpus.samples) == 5


def test_pku_says_what_its_lists_promise_and_what_is_not_used(raw: Path, labels: Path) -> None:
    write_pku_split(raw / "Split" / "cross-subject.txt", ["0002-L", "0007-L"], ["0002-R"])
    write_pku_labels(labels / "0008-L.txt", (1, 1, 2))
    write_pku_recording(raw / "PKU_Skeleton_Renew" / "0009-L.txt", pku_frames(2))
    write_pku_recording(raw / "v2" / "A01N01-L.txt", pku_frames(2))
    corpus = pkummd1(raw)
    assert corpus.absent == ("0007-L", "0008-L") and corpus.surplus == ("0009-L", "A01N01-L")
    assert corpus.notes == (
        "1 recording on no side of xsub: 0002-M",
        "2 recordings left out, named in split or label files but not there: 0007-L, 0008-L",
        "1 recording left out, without a label file: 0009-L",
        "1 recording left out, of the other part (use `hiclr prepare pkummd2`): A01N01-L",
    )
    assert corpus.samples["xsub"].tolist() == ["train", "train", "", "", "test"]
    assert not [path for path in corpus.files if path.stem in ("0008-L", "0009-L", "A01N01-L")]


def test_pku_parts_in_one_folder_are_told_apart(tmp_path: Path) -> None:
    for part in (small_pkummd1, small_pkummd2):
        part(tmp_path)
    assert len(pkummd1(tmp_path).samples) == 5 and len(pkummd2(tmp_path).samples) == 4
    assert pkummd1(tmp_path).benchmarks == pkummd2(tmp_path).benchmarks == ("xsub", "xview")


def test_pku_actions_of_no_class_are_left_out_and_named(raw: Path, labels: Path) -> None:
    write_pku_labels(labels / "0002-L.txt", (26, 21, 30), (52, 1, 9), (0, 3, 12))
    corpus = pkummd1(raw)
    assert corpus.samples["name"].tolist()[:2] == ["0002-L-001", "0002-M-002"]
    assert corpus.notes == (
        "2 actions left out, of classes other than 1 to 51: "
        "Train_Label_PKU_final/0002-L.txt line 2 (class 52), Train_Label_PKU_final/0002-L.txt line 3 (class 0)",
    )


def test_pku_blank_files_are_a_recording_without_frames_or_labels_without_actions(raw: Path, labels: Path) -> None:
    (labels / "0002-L.txt").write_text("\n")
    (raw / "PKU_Skeleton_Renew" / "0002-R.txt").write_text("")
    corpus = pkummd1(raw)
    assert corpus.samples["recording"].tolist() == ["0002-M", "0002-M", "0002-R"]
    with pytest.raises(ValueError, match=r"0002-R.txt line 1: .* frame 35 to 40, but .* from 1 to 0"):
        corpus.read(2)


# --- damage -----------------------------------------------------------------------------------------------------------


def test_pku_actions_past_the_end_are_skipped_and_named_and_the_rest_prepared(
    raw: Path, labels: Path, tmp_path: Path
) -> None:
    write_pku_labels(labels / "0002-L.txt", (26, 35, 41), (1, 3, 12), (5, 30, 21))
    broken = raw / "PKU_Skeleton_Renew" / "0002-R.txt"
    broken.write_bytes(broken.read_bytes()[:-900])
    folder = prepare(pkummd1(raw), tmp_path / "out", frames=8, progress=False)
    assert folder.samples["name"].tolist() == ["0002-L-002", "0002-M-002", "0002-M-001"]
    assert folder.samples["bodies"].tolist() == [1, 2, 2]
    reasons = {skipped["name"]: skipped["reason"] for skipped in folder.about["skipped"]}
    assert reasons["0002-L-001"].startswith(
        "Train_Label_PKU_final/0002-L.txt line 1: the action lasts from frame 35 to 41"
    )
    assert reasons["0002-L-003"].startswith(
        "Train_Label_PKU_final/0002-L.txt line 3: the action lasts from frame 30 to 21"
    )
    assert reasons["0002-R-001"].startswith("PKU_Skeleton_Renew/0002-R.txt line 3")
    assert len(reasons) == 3


Spoil = Callable[[Path], Any]
FAULTS: dict[str, tuple[Spoil, str]] = {
    "malformed labels": (
        lambda raw: (raw / "Train_Label_PKU_final" / "0002-M.txt").write_text("1,2,3,2\n1,2,3\n"),
        r"^Train_Label_PKU_final/0002-M\.txt line 2: expected class,first,last,confidence",
    ),
    "a malformed split": (
        lambda raw: (raw / "Split" / "cross-view.txt").write_text("Training videos:\n0002-L\n"),
        r"^Split/cross-view\.txt: expected two lines of recordings",
    ),
    "a recording twice": (
        lambda raw: shutil.copytree(raw / "PKU_Skeleton_Renew", raw / "again"),
        r"^0002-. occurs twice below .*: .*0002-..txt and .*0002-..txt: keep one",
    ),
    "labels twice": (lambda raw: shutil.copytree(raw / "Train_Label_PKU_final", raw / "again"), "occurs twice below"),
    "a split twice": (lambda raw: shutil.copytree(raw / "Split", raw / "again"), "^x(sub|view) occurs twice below"),
    "no recordings": (
        lambda raw: shutil.rmtree(raw / "PKU_Skeleton_Renew"),
        r"^no recordings of pkummd1 \(0002-L\.txt, \.\.\.\) below .*raw$",
    ),
    "no labels": (
        lambda raw: shutil.rmtree(raw / "Train_Label_PKU_final"),
        r"^no label files of pkummd1 .*unpack them below this folder too",
    ),
    "no actions": (
        lambda raw: [write_pku_labels(raw / "Train_Label_PKU_final" / f"0002-{c}.txt", (77, 1, 2)) for c in "LMR"],
        "^the label files below .* name no actions of the recordings there",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_pku_faults(raw: Path, fault: str) -> None:
    spoil, sentence = FAULTS[fault]
    spoil(raw)
    with pytest.raises(ValueError, match=sentence):
        pkummd1(raw)


def test_pku_hints_at_the_other_part(raw: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"no recordings of pkummd2 .*: it holds the other part, use `hiclr prepare pkummd1`"
    ):
        pkummd2(raw)
    with pytest.raises(FileNotFoundError, match="no folder"):
        pkummd1(tmp_path / "nowhere")
