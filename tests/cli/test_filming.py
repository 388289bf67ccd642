"""`hiclr video`: from files to clips that the other verbs read."""

from __future__ import annotations

import json
import shlex
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from hiclr import cli
from hiclr.__main__ import main
from hiclr.data.folder import PreparedFolder
from hiclr.data.opening import open_corpus
from hiclr.data.recordings.clips import read_clip
from hiclr.skeleton import SKELETONS
from writers.videos import GreyPose, portrait, write_greys, write_video

GREY = ["--estimator", "writers.videos.GreyPose"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the videos films/walk/01.mp4, films/walk/02.avi and one.mp4."""
    monkeypatch.chdir(tmp_path)
    write_greys(Path("films/walk/01.mp4"), [0, 50, 100, 150, 200])
    write_greys(Path("films/walk/02.avi"), [200] * 4)
    write_greys(Path("one.mp4"), [50, 100, 150])
    return tmp_path


def fails(command: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The sentence with which a command ends."""
    with pytest.raises(SystemExit) as stopped:
        main(["video", *command])
    assert stopped.value.code == 2
    sentence = capsys.readouterr().err.strip().splitlines()[-1]
    assert sentence.startswith("hiclr: ")
    return sentence.removeprefix("hiclr: ")


def heights(path: Path) -> list[list[int]]:
    """Of the first joint of each body, (F, M), in tenths."""
    tenths: NDArray[np.float32] = (read_clip(path, SKELETONS["coco17"])[:, :, 0, 1] * 10).round()
    return tenths.astype(int).tolist()


# --- the whole road with MediaPipe --------------------------------------------------------------------


def test_a_person_on_film_becomes_a_clip_that_all_verbs_read(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blank = np.zeros((560, 480, 3), np.uint8)
    write_video(Path("hopper.mp4"), [*portrait(6), *[blank] * 3], fps=15)
    main(["video", "hopper.mp4", "--out", "clips"])
    said = capsys.readouterr().err
    assert "hopper.csv: somebody is in 6 of 9 frames, 15 a second" in said
    corpus = open_corpus("clips")
    assert corpus.skeleton == SKELETONS["mediapipe33"] and corpus.samples["name"].tolist() == ["hopper"]
    frames = corpus.read(0).frames
    assert frames.shape == (9, 1, 33, 3) and frames[:6].any((1, 2, 3)).all() and not frames[6:].any()
    names = corpus.skeleton.joint_names
    nose, left, right = (frames[5, 0, names.index(joint)] for joint in ("nose", "left_shoulder", "right_shoulder"))
    assert nose[1] > left[1] and left[0] > right[0] and 0.2 < np.linalg.norm(left - right) < 0.5
    main(["prepare", "clips", "clips", "data"])
    sequences = PreparedFolder.open(Path("data")).sequences
    assert sequences.shape == (1, 3, 50, 33, 1) and np.isfinite(sequences).all() and sequences.any((1, 3, 4)).all()


# --- files and folders --------------------------------------------------------------------------------


def test_folders_and_files_in_one_command(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["video", "films", "one.mp4", "--out", "clips", *GREY])
    assert sorted(path.as_posix() for path in Path("clips").rglob("*.csv")) == [
        "clips/one.csv", "clips/walk/01.csv", "clips/walk/02.csv",
    ]  # fmt: skip
    assert heights(Path("clips/walk/01.csv")) == [[0, 0], [2, 2], [4, 4], [6, 6], [8, 8]]
    said = capsys.readouterr().err
    assert "clips/walk/01.csv: somebody is in 4 of 5 frames, 10 a second" in said and "3 clips in clips" in said


def test_the_record_says_what_was_made_of_what(here: Path) -> None:
    Path("bad.mp4").write_text("no video")
    main(["video", "one.mp4", "bad.mp4", "--out", "clips", *GREY, "--estimator.second", "false", "--start", "0.1"])
    record = json.loads(Path("clips/video.json").read_text())
    assert record["clips"] == {
        "one": {
            "video": "one.mp4", "estimator": "GreyPose", "skeleton": "coco17", "fps": 10.0, "start": 0.1, "frames": 2,
            "frames_with_somebody": 2, "bodies": 2, "broke_off": False,
        }
    }  # fmt: skip
    assert "cannot be read as a video" in record["skipped"]["bad"]
    assert record["options"]["estimator"]["init_args"]["second"] is False and "versions" in record


def test_from_python(here: Path) -> None:
    assert cli.video([Path("one.mp4")], Path("clips"), GreyPose, fps=20, stop=0.2) == [Path("clips/one.csv")]
    assert heights(Path("clips/one.csv")) == [[2, 2], [2, 2], [4, 4], [4, 4]]


def test_a_clip_that_is_there_is_kept_until_told_otherwise(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.video([Path("one.mp4")], Path("clips"), GreyPose)
    before = Path("clips/one.csv").read_text()
    clips = cli.video([Path("one.mp4"), Path("films")], Path("clips"), GreyPose, start=0.1)
    assert len(clips) == 3 and Path("clips/one.csv").read_text() == before
    assert "kept as there already: one (--overwrite true" in capsys.readouterr().err
    assert set(json.loads(Path("clips/video.json").read_text())["clips"]) == {"one", "walk/01", "walk/02"}
    cli.video([Path("one.mp4")], Path("clips"), GreyPose, start=0.1, overwrite=True)
    assert len(Path("clips/one.csv").read_text().splitlines()) == len(before.splitlines()) - 2  # bodies


class Tired(GreyPose):
    """Is stopped at the second video."""

    videos = 0

    def estimate(self, frames, fps):  # type: ignore[no-untyped-def]
        self.videos += 1
        if self.videos == 2:
            raise KeyboardInterrupt
        return super().estimate(frames, fps)


def test_stopped_work_keeps_and_records_what_is_finished(here: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        cli.video([Path("one.mp4"), Path("films")], Path("clips"), Tired)
    assert sorted(path.name for path in Path("clips").iterdir()) == ["one.csv", "video.json"]
    assert set(json.loads(Path("clips/video.json").read_text())["clips"]) == {"one"}


def test_joints_of_no_known_layout_lie_beside_the_clips(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.video([Path("one.mp4")], Path("clips"), partial(GreyPose, joints=5))
    step = " ".join(capsys.readouterr().err.split()).partition("Next: hiclr ")[2]
    assert step == "doctor clips --kind clips --options.skeleton clips/skeleton.yaml"
    main(shlex.split(step))
    assert "5 joints (chain)" in capsys.readouterr().out


# --- what goes wrong ----------------------------------------------------------------------------------


def test_what_shows_nobody_is_named_and_left_out(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_greys(Path("empty.mp4"), [0] * 4)
    main(["video", "empty.mp4", "one.mp4", "--out", "clips", *GREY])
    assert "skipped: empty.mp4: nobody was found in its 4 frames" in capsys.readouterr().err
    assert not Path("clips/empty.csv").exists() and Path("clips/one.csv").exists()
    sentence = fails(["empty.mp4", "--out", "none", *GREY], capsys)
    assert sentence == "no clip was made: empty.mp4: nobody was found in its 4 frames"
    assert not Path("none").exists()


def test_a_video_that_breaks_off_is_told(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (40, 48, 64, 3), np.uint8)
    path = write_video(
        Path("cut.mp4"), list(noise), fps=10, options=["-movflags", "faststart"]
    )  # its length comes first
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    main(["video", "cut.mp4", "--out", "clips", *GREY])
    assert "the video broke off, it promised 40 frames" in capsys.readouterr().err
    assert json.loads(Path("clips/video.json").read_text())["clips"]["cut"]["broke_off"] is True


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        ("gone.mp4", "no video gone.mp4"),
        ("one.mp4 --start -1", "start must be 0 or more seconds, got -1.0"),
        ("one.mp4 --start 1 --stop 1", "stop must come after start 1, got 1.0"),
        ("one.mp4 --start 9", "no clip was made: one.mp4 ends after 0.3 seconds, before start 9"),
        ("one.mp4 --fps 0", "fps must be above 0 and at most 1000, got 0.0"),
        ("one.mp4 films/one.mov", "one.mp4 and films/one.mov would both become clips/one.csv: rename one or give"),
        ("nothing", "no videos in nothing: their names end in .3gp, .avi"),
        ("one.mp4 --estimator my.Pose", "see hiclr video --help"),
        ("one.mp4 --estimator.model heavy", "model 'heavy' is not in mediapipe's wheel"),
        ("--out clips", "the following arguments are required: files"),
    ],
)
def test_failure_is_one_sentence_and_leaves_nothing(
    here: Path, capsys: pytest.CaptureFixture[str], command: str, sentence: str
) -> None:
    Path("nothing").mkdir()
    Path("films/one.mov").touch()
    assert sentence in fails(command.split(), capsys)
    assert not Path("clips").exists()


def test_without_the_extra(here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mediapipe", None)
    sentence = 'hiclr video needs the extra "video" (mediapipe is missing): pip install "hiclr[video]"'
    assert fails(["one.mp4"], capsys) == sentence


class Flat(GreyPose):
    """Gives what no estimator may."""

    def estimate(self, frames, fps):  # type: ignore[no-untyped-def]
        return super().estimate(frames, fps)[:, 0]


def test_an_estimator_that_gives_another_form_is_told_which_one(here: Path) -> None:
    with pytest.raises(ValueError, match=r"Flat must give \(frames, bodies, joints, 3 or 4\), .*got \(3, 17, 3\)"):
        cli.video([Path("one.mp4")], Path("clips"), Flat)
