"""The text of a clip: what the reader of clips reads back."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from hiclr.data.recordings.clips import guess_skeleton, read_clip
from hiclr.pose.clips import clip_text, found
from hiclr.skeleton import SKELETONS


def poses(bodies: int, numbers: int = 3, joints: int = 33) -> NDArray[np.float32]:
    """Joints of 5 frames in which the last body is missing from the second on, and nobody is in the fourth."""
    drawn = np.random.default_rng(0).normal(0, 1, (5, bodies, joints, numbers)).round(3).astype(np.float32)
    drawn[1:, -1] *= bodies == 1
    drawn[3] = 0
    return drawn


@pytest.mark.parametrize("bodies", [1, 2])
@pytest.mark.parametrize("numbers", [3, 4])
@pytest.mark.parametrize("layout", ["mediapipe33", "coco17"])
def test_the_reader_reads_it_back(tmp_path: Path, bodies: int, numbers: int, layout: str) -> None:
    skeleton = SKELETONS[layout]
    written = poses(bodies, numbers, skeleton.num_joints)
    path = tmp_path / "a.csv"
    path.write_text(clip_text(written, skeleton, fps=25))
    assert guess_skeleton(path) == skeleton
    assert np.array_equal(read_clip(path, skeleton), written[..., :3])


def test_times_and_visibility_stand_in_it() -> None:
    rows = list(csv.DictReader(clip_text(poses(1, 4), SKELETONS["mediapipe33"], fps=25, start=2).splitlines()))
    assert [row["time"] for row in rows] == ["2.0000", "2.0400", "2.0800", "2.1200", "2.1600"]
    assert float(rows[0]["nose_visibility"]) == pytest.approx(poses(1, 4)[0, 0, 0, 3])
    assert rows[3]["nose_x"] == rows[3]["nose_visibility"] == ""


def test_a_single_joint_that_is_no_number_is_a_gap(tmp_path: Path) -> None:
    written = poses(1)
    written[0, 0, 4] = np.nan
    path = tmp_path / "a.csv"
    path.write_text(clip_text(written, SKELETONS["mediapipe33"], fps=25))
    assert np.array_equal(read_clip(path, SKELETONS["mediapipe33"]), written, equal_nan=True)


def test_who_is_found() -> None:
    assert found(poses(2)).tolist() == [[True, True], [True, False], [True, False], [False, False], [True, False]]
    assert not found(np.full((1, 1, 33, 3), np.nan, np.float32)).any()
