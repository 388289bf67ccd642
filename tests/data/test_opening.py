"""What lies at a path is told by names alone."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from hiclr.data import corpora
from hiclr.data.opening import open_corpus, opener, recognise, table_of
from writers import SMALL
from writers.clips import poses, small_clips, write_npy_clip
from writers.ntu import write_person
from writers.prepared import SEQUENCES, write_prepared


def folder_of(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


@pytest.mark.parametrize("kind", sorted(set(SMALL) & set(corpora.__all__)))
def test_every_corpus_is_recognised(kind: str, tmp_path: Path) -> None:
    assert recognise(Path(SMALL[kind](tmp_path)["raw"])) == kind


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (("about.json", "samples.csv", "sequences.npy"), "prepared"),
        (("sequences.npy", "samples.csv"), "prepared"),  # half-written
        (("a/S001C001P001R001A001.skeleton", "a/synthetic.json"), "synthetic"),
        (("S017C001P001R001A060.skeleton", "about/about.json"), "ntu60"),
        (("x/S018C001P001R001A001.skeleton",), "ntu120"),
        (("S001C001P001R001A061.skeleton",), "ntu120"),
        (("notes.skeleton",), "ntu60"),
        (("x/a01_s01_e00_v01.json", "index.json"), "nwucla"),
        (("a1_s1_t1_skeleton.mat",), "utdmhad"),
        (("label/0002-L.txt", "cross-subject.txt"), "pkummd1"),
        (("A01N02-R.txt",), "pkummd2"),
        (("walk/01.csv", "table.csv"), "clips"),
        (("walk/é.NPY",), "clips"),
    ],
)
def test_folders(tmp_path: Path, names: tuple[str, ...], kind: str) -> None:
    assert recognise(folder_of(tmp_path, *names)) == kind


@pytest.mark.parametrize(
    ("keys", "kind"),
    [(("x_train", "y_train"), "ctrgcn"), (("frames", "offsets", "label"), "npz"), (("offsets",), "npz")],
)
def test_archives(tmp_path: Path, keys: tuple[str, ...], kind: str) -> None:
    np.savez(tmp_path / "mine.npz", **{key: np.zeros(1) for key in keys})
    assert recognise(tmp_path / "mine.npz") == kind


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("walk 1.npy", "clips"),
        ("walk.CSV", "clips"),
        ("S001C001P001R001A001.skeleton", "ntu60"),
        ("S018C001P001R001A061.skeleton", "ntu120"),
        ("a01_s01_e00_v01.json", "nwucla"),
        ("a1_s1_t1_skeleton.mat", "utdmhad"),
    ],
)
def test_a_single_recording_is_of_its_corpus(tmp_path: Path, name: str, kind: str) -> None:
    assert recognise(folder_of(tmp_path, name) / name) == kind


def test_pickles_are_not_opened(tmp_path: Path) -> None:
    assert recognise(folder_of(tmp_path, "ntu60_3d.pkl") / "ntu60_3d.pkl") == "pyskl"


@pytest.mark.parametrize("name", ["thesis.tex", "mine.npz"])
def test_what_is_unknown_is_one_sentence(tmp_path: Path, name: str) -> None:
    np.savez(tmp_path / "mine.npz", something=np.zeros(1))
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(ValueError, match=rf"{name} is nothing that is known here, which is a folder that .* \(PYSKL\)"):
        recognise(tmp_path / name)
    with pytest.raises(ValueError, match=r"nothing that is known here: it holds mine.npz: name one of them"):
        recognise(tmp_path)


def zip_of_a_later_version() -> bytes:
    content = io.BytesIO()
    np.savez(content, frames=np.zeros(1))
    entry = content.getvalue().index(b"PK\x01\x02")
    return content.getvalue()[: entry + 6] + b"\xff" + content.getvalue()[entry + 7 :]


def test_what_is_broken_or_missing_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "mine.npz").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(ValueError, match=r"mine.npz is no .npz"):
        recognise(tmp_path / "mine.npz")
    (tmp_path / "later.npz").write_bytes(zip_of_a_later_version())
    with pytest.raises(ValueError, match=r"later.npz is no .npz \(zip file version 25.5\)"):
        recognise(tmp_path / "later.npz")
    with pytest.raises(ValueError, match="/dev/null is neither a file nor a folder"):
        recognise(Path("/dev/null"))
    with pytest.raises(FileNotFoundError, match=r"no file or folder .*nowhere"):
        recognise(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"out.partial is a preparation that did not finish: start `hiclr prepare`"):
        recognise(folder_of(tmp_path / "out.partial", "new/sequences.npy"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty is nothing that is known here"):
        recognise(tmp_path / "empty")


# --- opening ----------------------------------------------------------------------------------------------------------


def test_a_prepared_folder_is_a_corpus(tmp_path: Path) -> None:
    corpus = opener("prepared", {})(write_prepared(tmp_path / "out"))
    assert (corpus.name, corpus.benchmarks, corpus.skeleton.num_joints) == ("mine", ("xsub", "xview"), 20)
    assert not corpus.planar  # it does not say
    for row, name in enumerate(corpus.samples["name"]):
        recording = corpus.read(row)
        assert recording.name == name
        for t, v in ((0, 0), (3, 19), (2, 7)):
            assert recording.frames[t, 0, v].tolist() == SEQUENCES[row, :, t, v, 0].tolist()


@pytest.mark.parametrize("kind", ["clips", "ntu60", "nwucla", "utdmhad"])
def test_a_single_recording_opens_like_the_one_in_its_folder(kind: str, tmp_path: Path) -> None:
    whole = open_corpus(Path(SMALL[kind](tmp_path)["raw"]))
    alone = open_corpus(Path(whole.files[1]))  # row by row
    assert alone.skeleton == whole.skeleton
    assert len(alone.samples) == 1
    assert np.array_equal(alone.read(0).frames, whole.read(1).frames)


def test_a_table_of_clips_is_found(tmp_path: Path) -> None:
    raw = Path(SMALL["clips"](tmp_path)["raw"])
    table = table_of(raw)
    assert table is not None
    told = open_corpus(raw, "clips", {"table": table})
    assert open_corpus(raw).samples.equals(told.samples)
    assert len(told.class_names) > 1


def test_a_table_beside_a_folder_may_be_another_folders(tmp_path: Path) -> None:
    raw = Path(small_clips(tmp_path)["raw"])
    write_npy_clip(tmp_path / "new" / "other.npy", poses())
    assert table_of(raw) == tmp_path / "clips.csv"
    assert table_of(tmp_path / "new") is None
    assert open_corpus(tmp_path / "new").samples["name"].tolist() == ["other"]


def test_options_are_the_corpus_own(tmp_path: Path) -> None:
    write_person(tmp_path / "raw" / "S001C001P001R001A001.skeleton")
    (tmp_path / "mine.txt").write_text("S001C001P001R001A002")
    notes = opener("ntu60", {"missing": 0})(tmp_path / "raw", missing=tmp_path / "mine.txt").notes
    assert any("mine.txt" in note for note in notes)
    with pytest.raises(ValueError, match="ntu60 has no option 'mising': it has missing"):
        opener("ntu60", {"mising": "mine.txt"})
    with pytest.raises(ValueError, match="prepared has no option 'frames': it has none"):
        opener("prepared", {"frames": 3})
    with pytest.raises(ValueError, match=r"unknown kind 'ntu': choose one of prepared, synthetic, .*ntu60"):
        opener("ntu", {})


@pytest.mark.parametrize("place", ["raw/my.csv", "my.csv"])
@pytest.mark.parametrize("header", ["name,label,subject", "\ufeffLabel;Name", '"name"\t"label"'])
def test_a_table_of_clips_is_found_in_or_beside_them(tmp_path: Path, place: str, header: str) -> None:
    folder_of(tmp_path, "raw/walk.csv", "notes.csv")
    assert table_of(tmp_path / "raw") is None
    (tmp_path / place).write_text(f"{header}\r\n", encoding="utf-8")
    assert table_of(tmp_path / "raw") == tmp_path / place
    (tmp_path / place).with_name("second.csv").write_text("name,label\n")
    with pytest.raises(ValueError, match=r"my.csv and .*second.csv look like tables: say which with --options.table"):
        table_of(tmp_path / "raw")


def test_a_table_in_the_folder_goes_before_one_beside_it(tmp_path: Path) -> None:
    folder_of(tmp_path, "raw/walk.csv")
    for table in (tmp_path / "raw" / "mine.csv", tmp_path / "all.csv"):
        table.write_text("name,label\nwalk,a\n")
    assert table_of(tmp_path / "raw") == tmp_path / "raw" / "mine.csv"
