"""The model folder: what leaves the author's machine with it, and what counts as one."""

from __future__ import annotations

from pathlib import Path, PureWindowsPath
from typing import Any

import pytest

from hiclr.encoders.shared import CARD, CONFIG, WEIGHTS, is_model_folder, local_path, without_paths

PLACES = [
    ("/home/ada/data/ntu60", "ntu60"),
    ("/home/ada/data/ntu60/", "ntu60"),
    ("~/data/ntu60", "ntu60"),
    ("../ada/ntu60", "ntu60"),
    ("C:\\Users\\ada\\ntu60", "ntu60"),
    ("C:/Users/ada/ntu60", "ntu60"),
    ("\\\\server\\ada\\ntu60", "ntu60"),
    (Path("/home/ada/ntu60"), "ntu60"),
    (Path("ada/ntu60"), "ntu60"),
    (PureWindowsPath("C:\\ada\\ntu60"), "ntu60"),
]
NO_PLACES = ["joint", "", "/", "put on a hat/cap", "HiCLR", "Shear(p=1.0, amplitude=0.5)", "hiclr.encoders.stgcn.STGCN"]


@pytest.mark.parametrize(("place", "kept"), PLACES)
def test_of_a_path_its_last_part_is_kept_however_deep_it_lies(place: Any, kept: str) -> None:
    assert without_paths({"data": {"root": place, "more": [place, (place, 1)]}}) == {
        "data": {"root": kept, "more": [kept, [kept, 1]]}
    }


@pytest.mark.parametrize("text", NO_PLACES)
def test_what_is_no_path_stays(text: str) -> None:
    assert without_paths({"a": text, "b": [text, 0.5, None, True]}) == {"a": text, "b": [text, 0.5, None, True]}


def test_options_are_left_out_wherever_they_are() -> None:
    assert without_paths({"options": {"out": "x"}, "pretraining": {"options": 1, "seed": 2}}) == {
        "pretraining": {"seed": 2}
    }


@pytest.mark.parametrize(
    ("command", "kept"),
    [
        ("hiclr pretrain --data.root /home/ada/ntu60 --seed 0", "hiclr pretrain --data.root ntu60 --seed 0"),
        ("hiclr knn --data.root=/home/ada/ntu60 --k 1 5", "hiclr knn --data.root=ntu60 --k 1 5"),
        ("hiclr knn --data.root '/home/ada l/my data'", "hiclr knn --data.root 'my data'"),
        ("hiclr knn --data.root 'C:\\Users\\ada\\x'", "hiclr knn --data.root x"),
        ("hiclr knn --method.arrangement '[\"BA\", \"NA\"]'", "hiclr knn --method.arrangement '[\"BA\", \"NA\"]'"),
        ("hiclr knn 'unfinished /home/ada", None),
        (None, None),
        (7, None),
    ],
)  # fmt: skip
def test_a_command_keeps_its_options_without_places(command: Any, kept: str | None) -> None:
    assert without_paths({"command": command}) == {"command": kept}


@pytest.mark.parametrize(
    ("names", "whole"), [([], False), ([CONFIG], False), ([CONFIG, WEIGHTS], True), ([CARD], False)]
)
def test_a_model_folder_holds_both_parts(tmp_path: Path, names: list[str], whole: bool) -> None:
    for name in names:
        (tmp_path / name).touch()
    assert is_model_folder(tmp_path) is whole


def test_weights_alone_are_half_a_model(tmp_path: Path) -> None:
    (tmp_path / WEIGHTS).touch()
    with pytest.raises(ValueError, match=r"is half-written \(no config.json\)"):
        is_model_folder(tmp_path)


def test_a_local_path_is_itself(tmp_path: Path) -> None:
    assert local_path(tmp_path / "none") == tmp_path / "none" and local_path("x.ckpt") == Path("x.ckpt")
