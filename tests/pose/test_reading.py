"""Reading videos: all frames, upright, at the rate asked for; and what is none."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from hiclr.pose.reading import check_part, open_video
from writers.videos import turn, write_greys, write_video


def levels_of(path: Path, **part: float) -> list[int]:
    """The grey of each frame, to the nearest ten."""
    return [round(float(frame.mean()) / 10) * 10 for frame in open_video(path, **part).frames()]


def test_every_frame_comes_in_order(tmp_path: Path) -> None:
    levels = [20, 60, 100, 140, 180, 220]
    video = open_video(write_greys(tmp_path / "a.mp4", levels, fps=10))
    assert (video.fps, video.length, video.expected_frames) == (10.0, 0.6, 6)
    frames = list(video.frames())
    assert all(frame.shape == (48, 64, 3) and frame.dtype == np.uint8 for frame in frames)
    assert levels_of(video.path) == levels


def test_a_part_and_another_rate(tmp_path: Path) -> None:
    path = write_greys(tmp_path / "a.mp4", [20, 60, 100, 140, 180, 220], fps=10)
    assert levels_of(path, start=0.2) == [100, 140, 180, 220]
    assert levels_of(path, stop=0.3) == [20, 60, 100]
    assert levels_of(path, start=0.1, stop=0.3) == [60, 100]
    assert levels_of(path, fps=20) == [level for level in (20, 60, 100, 140, 180, 220) for _ in range(2)]
    assert open_video(path, start=0.1, stop=0.3, fps=20).expected_frames == 4
    assert open_video(path, start=0.1, stop=99).expected_frames == 5


def test_a_video_that_a_phone_turned_comes_upright(tmp_path: Path) -> None:
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[:, :32] = 200  # bright on the left
    path = write_video(tmp_path / "a.mp4", [picture] * 2)
    upright = next(open_video(turn(path, 90)).frames())  # to be shown turned counterclockwise
    assert upright.shape == (64, 48, 3)
    assert upright[40:].mean() > 150 > 50 > upright[:24].mean()


def test_colours_are_red_green_blue(tmp_path: Path) -> None:
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[..., 0] = 250
    red, green, blue = next(open_video(write_video(tmp_path / "a.mp4", [picture] * 2)).frames()).mean((0, 1))
    assert red > 200 > 50 > max(green, blue)


def test_a_name_that_ffmpeg_could_take_for_a_place_in_the_network(tmp_path: Path) -> None:
    path = write_greys(tmp_path / "a.mp4", [100] * 3).rename(tmp_path / "http:%20[1].mp4")
    assert levels_of(path) == [100] * 3


def test_leaving_early_ends_ffmpeg(tmp_path: Path) -> None:
    frames = open_video(write_greys(tmp_path / "a.mp4", [100] * 30)).frames()
    next(frames)
    frames.close()
    with pytest.raises(StopIteration):
        next(frames)


@pytest.mark.parametrize("content", [b"", b"hello\n", b"\x00\x00\x00\x18ftypmp42" + bytes(64)])
def test_what_is_no_video_is_refused_in_one_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.mp4 cannot be read as a video \([^\n]+\)$"):
        open_video(path)


def test_a_damaged_video_is_refused_in_one_sentence(tmp_path: Path) -> None:
    path = write_greys(tmp_path / "a.mp4", range(20, 200))
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ValueError, match=r"a\.mp4 cannot be read as a video \([^\n]+\)$"):
        open_video(path)


def test_a_playlist_cannot_send_it_to_the_network(tmp_path: Path) -> None:
    path = tmp_path / "a.m3u8"
    path.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n")
    with pytest.raises(ValueError, match="cannot be read as a video"):
        list(open_video(path).frames())


def test_what_lies_outside_is_refused(tmp_path: Path) -> None:
    path = write_greys(tmp_path / "a.mp4", [100] * 6, fps=10)
    with pytest.raises(ValueError, match=r"a\.mp4 ends after 0\.6 seconds, before start 7"):
        open_video(path, start=7)
    with pytest.raises(FileNotFoundError, match=r"no video .*gone\.mp4"):
        open_video(tmp_path / "gone.mp4")


@pytest.mark.parametrize(
    ("start", "stop", "fps", "sentence"),
    [
        (-1.0, None, None, "start must be 0 or more seconds, got -1.0"),
        (float("nan"), None, None, "start must be 0 or more seconds, got nan"),
        (2.0, 2.0, None, "stop must come after start 2, got 2.0"),
        (0.0, None, 0.0, "fps must be above 0 and at most 1000, got 0.0"),
        (0.0, None, float("nan"), "fps must be above 0 and at most 1000, got nan"),
    ],
)
def test_impossible_parts(start: float, stop: float | None, fps: float | None, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        check_part(start, stop, fps)


def test_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_greys(tmp_path / "a.mp4", [100])
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(ValueError, match=r'needs the extra "video" .*: pip install "hiclr\[video\]"'):
        open_video(path)
