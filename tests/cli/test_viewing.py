"""`hiclr view`: what it chooses of raw and prepared data, the page in a browser, and the figures."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from playwright.sync_api import Page

from browser import open_page
from hiclr import animation, view, viewing
from hiclr.__main__ import main
from hiclr.data.corpora.base import Corpus
from hiclr.data.opening import open_corpus
from hiclr.methods.recipe import recipe_views
from hiclr.skeleton import SKELETONS
from hiclr.transforms import growing_views
from hiclr.viewing import chosen_rows, read_shown, under_views
from writers.clips import write_npy_clip, write_table

KINECT = SKELETONS["kinect20"]
ACTIONS = ("walk", "sit", "<wave>")


def person(frames: int, seed: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """A stick figure (F, V, 3) that sways, somewhere in front of the sensor."""
    chance = np.random.default_rng(seed)
    x = np.zeros((frames, 20, 3))
    heights = {"head": 1.7, "shoulder": 1.4, "elbow": 1.1, "wrist": 0.9, "hand": 0.8, "hip": 0.9, "knee": 0.5}
    for joint, name in enumerate(KINECT.joint_names):
        part, _, side = name.partition("_")
        x[:, joint] = 0.2 * ((side == "left") - (side == "right")), heights.get(part, 0.05), 3
    return x + 0.2 * np.sin(np.arange(frames) / 4 + chance.uniform(0, 6, 20)[:, None])[..., None].transpose(1, 0, 2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Raw clips in `raw` (the 5th cut off, the 6th with NaN in two frames, the 7th empty), and `mine` prepared."""
    place = tmp_path_factory.mktemp("viewing")
    rows = []
    for i in range(18):
        x = person(30 + i, i)
        x[3:5, 2] = np.nan if i == 5 else x[3:5, 2]
        write_npy_clip(place / "raw" / f"clip{i:02}.npy", 0 * x if i == 6 else x)
        rows.append({"name": f"clip{i:02}", "label": ACTIONS[i // 6], "subject": i % 3})
    (place / "raw" / "clip04.npy").write_bytes(b"cut")
    write_table(place / "raw.csv", rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        main(shlex.split("prepare clips raw mine --table raw.csv --split-by subject --frames 16"))
    return place


@pytest.fixture
def here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(folder)
    return folder


def run(words: str) -> None:
    main(["view", *shlex.split(words)])


def refused(words: str, capsys: pytest.CaptureFixture[str]) -> str:
    """What it says, in one sentence, before it ends with exit code 2."""
    with pytest.raises(SystemExit) as ended:
        run(words)
    assert ended.value.code == 2
    return capsys.readouterr().err


# --- what is chosen -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 3, 7, 18, 100])
def test_the_choice_is_spread_over_the_classes(here: Path, count: int) -> None:
    corpus = open_corpus("raw")
    rows = chosen_rows(corpus, count)
    assert len(rows) == min(count, 18) and rows == sorted(set(rows))
    each = np.bincount(corpus.samples["label"].iloc[rows], minlength=3)
    assert each.max() - each.min() <= 1


def test_the_choice_is_spread_over_the_recordings_of_a_class(here: Path) -> None:
    names = open_corpus("raw").samples["name"].iloc[chosen_rows(open_corpus("raw"), 6)]
    assert list(names) == ["clip00", "clip03", "clip06", "clip09", "clip12", "clip15"]


def test_names_and_patterns(here: Path) -> None:
    corpus = open_corpus("raw")
    assert chosen_rows(corpus, 24, ["clip03", "clip1?"]) == [3, *range(10, 18)]
    assert len(chosen_rows(corpus, 2, ["*"])) == 2


def test_a_name_that_is_not_there(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no recording is called 'clap': there are clip00, clip01" in refused("raw --names clip03 clap", capsys)


def test_a_recording_is_shown_as_it_lies_there(here: Path) -> None:
    corpus = open_corpus("raw")
    [shown], left_out = read_shown(corpus, [3])
    np.testing.assert_array_equal(shown.frames, corpus.read(3).frames)
    assert (shown.title, shown.group, shown.caption, left_out) == ("clip03", "walk", "33 frames", [])


def test_damaged_recordings_are_named_and_left_out(here: Path) -> None:
    shown, left_out = read_shown(open_corpus("raw"), range(8))
    assert [one.name for one in shown] == ["clip00", "clip01", "clip02", "clip03", "clip05", "clip07"]
    assert [one.name for one in left_out] == ["clip04", "clip06"]
    assert left_out[1].reason == "no body in 36 frames"
    assert "NaN or places that cannot be in 2 of them" in shown[4].caption
    assert np.isnan(shown[4].frames[3:5, 0, 2]).all()


def test_a_part_of_long_recordings(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = open_corpus("raw")
    whole = corpus.read(3).frames
    [shown], _ = read_shown(corpus, [3], start=10, frames=5)
    np.testing.assert_array_equal(shown.frames, whole[10:15])
    assert shown.caption == "frames 11 to 15 of 33"
    monkeypatch.setattr(viewing, "PAGE_BYTES", 25 * 20 * 8)
    [shown], _ = read_shown(corpus, [3])
    np.testing.assert_array_equal(shown.frames, whole[:25])
    with pytest.raises(ValueError, match=r"a page has room for 12 frames of each of 2 recordings: choose fewer"):
        read_shown(corpus, [0, 1])
    _, left_out = read_shown(corpus, [3], start=33)
    assert left_out[0].reason == "it ends before frame 34: it has 33"


def test_bodies_of_prepared_data_stand_beside_each_other(tmp_path: Path) -> None:
    frames = np.stack([person(6, seed) - [0, 1.3, 3] for seed in (0, 1)], axis=1).astype(np.float32)
    frames[:, :, KINECT.centre_joint] = 0
    samples = pd.DataFrame({"name": ["pair"], "label": [0]})
    recording = open_corpus(write_npy_clip_at(tmp_path / "one.npy")).read(0)
    corpus = Corpus(
        "two", KINECT, ("hug",), (), 2, samples, lambda row: type(recording)("pair", frames), (), fingerprint=""
    )
    [shown], _ = read_shown(corpus, [0], centre=KINECT.centre_joint)
    np.testing.assert_allclose(shown.frames[:, :, KINECT.centre_joint, 0], np.tile([0.5, -0.5], (6, 1)))
    np.testing.assert_allclose(shown.frames[:, 1, 5, 1:], frames[:, 1, 5, 1:])
    [raw], _ = read_shown(corpus, [0])
    np.testing.assert_array_equal(np.isnan(raw.frames), np.broadcast_to(frames == 0, frames.shape))


def write_npy_clip_at(path: Path) -> Path:
    write_npy_clip(path, person(6, 0))
    return path


# --- under views --------------------------------------------------------------------------------------------------


def test_views_are_those_of_the_arrangement_for_raw_and_prepared_data_alike(here: Path) -> None:
    views = dict(zip("ab", growing_views("BA,NA", KINECT), strict=True))
    prepared = under_views(open_corpus("mine"), 0, views, seed=3, is_prepared=True)
    again = under_views(open_corpus("mine"), 0, views, seed=3, is_prepared=True)
    raw = under_views(open_corpus("raw"), 0, views, seed=3)
    assert [one.title for one in raw] == ["as prepared", "a", "b"]
    assert raw[0].frames.shape == (50, 1, 20, 3) and prepared[0].frames.shape == (16, 1, 20, 3)
    for one, same in zip(prepared, again, strict=True):
        np.testing.assert_array_equal(one.frames, same.frames)
    np.testing.assert_array_equal(prepared[0].frames, open_corpus("mine").read(0).frames)
    assert not np.array_equal(prepared[1].frames, prepared[0].frames)
    assert (prepared[1].caption, prepared[2].caption.split(", ")[0]) == ("Shear, TemporalCrop", "SpatialFlip")


def test_masked_joints_are_not_there_and_a_style_comes_from_another_sequence(here: Path) -> None:
    views = dict(zip("ab", growing_views("AdaIN,Mask", KINECT), strict=True))
    _, styled, masked = under_views(open_corpus("mine"), 0, views, is_prepared=True)
    assert not np.isnan(styled.frames).any()
    assert np.isnan(masked.frames).all(3).sum() > 0


def test_a_recording_that_cannot_be_prepared_says_so(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = refused("raw --augment BA --names clip05", capsys)
    assert "clip05 cannot be prepared: NaN" in said


@pytest.mark.parametrize(
    ("recipe", "views"), [("small", 3), ("pretrain-k4", 4), ("pretrain-aimclr", 2), ("pretrain-dsta", 3)]
)
def test_views_of_a_recipe(recipe: str, views: int) -> None:
    path = Path(__file__).parents[2] / "recipes" / f"{recipe}.yaml"
    found = recipe_views(path, KINECT)
    assert len(found) == views
    assert found[0].steps == growing_views("BA", KINECT)[0].steps


def test_views_of_ones_own_transforms(tmp_path: Path) -> None:
    recipe = tmp_path / "own.yaml"
    recipe.write_text(
        "method:\n  init_args:\n    arrangement:\n    - [{class_path: hiclr.transforms.Rotate, init_args: {p: 0.25}}]\n"
    )
    assert [view.steps[0].partition(",")[0] for view in recipe_views(recipe, KINECT)] == ["Rotate(p=0.25"]


@pytest.mark.parametrize("text", ["- a", "method: NoSuch", "{", "method: {init_args: {arrangment: [BA]}}"])
def test_what_is_no_recipe(tmp_path: Path, text: str) -> None:
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(ValueError, match=r"bad\.yaml is no recipe of hiclr pretrain"):
        recipe_views(tmp_path / "bad.yaml", KINECT)


# --- the page -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def opened(folder: Path) -> Iterator[Page]:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run("raw --count 18 --out raw.html")
    with open_page(folder / "raw.html", reduced_motion=True) as page:
        yield page


def test_the_page_lists_recordings_by_class_and_names_what_is_left_out(opened: Page) -> None:
    assert opened.title() == "raw: 16 of 18 recordings"
    groups = opened.locator("optgroup").evaluate_all("groups => groups.map(group => group.label)")
    assert groups == sorted(ACTIONS)
    assert opened.locator("#list option").count() == 16
    assert opened.locator("details li b").all_inner_texts() == ["clip04", "clip06"]
    assert opened.evaluate("player.fps") == 30


def test_a_choice_from_the_list_shows_it(opened: Page) -> None:
    opened.locator("#list").select_option(label="clip07")
    assert opened.locator("figcaption b").all_inner_texts() == ["clip07"]
    assert "sit" in opened.locator("figcaption").inner_text()
    opened.locator("#list").select_option(label=["clip00", "clip13"])
    assert sorted(opened.locator("figcaption b").all_inner_texts()) == ["clip00", "clip13"]
    assert opened.evaluate("player.length") == 43


@pytest.mark.parametrize("width", [1280, 800, 400])
def test_nothing_is_wider_than_the_window(opened: Page, width: int) -> None:
    opened.set_viewport_size({"width": width, "height": 700})
    assert opened.evaluate("document.documentElement.scrollWidth") <= width


def test_a_page_of_prepared_data_has_a_name_of_its_own(here: Path) -> None:
    run("mine --count 2")
    with open_page(here / "mine-view.html") as page:
        assert page.evaluate("[player.fps, player.length]") == [15, 16]
        assert page.locator("#list option").count() == 2


def test_a_single_clip(here: Path) -> None:
    run("raw/clip00.npy --out one.html")
    with open_page(here / "one.html") as page:
        assert page.evaluate("player.length") == 30


def test_views_are_shown_together(here: Path) -> None:
    run("mine --augment BA,NA+Mask --names clip00 --seed 1 --out views.html")
    with open_page(here / "views.html") as page:
        assert page.locator("figcaption b").all_inner_texts() == ["as prepared", "BA", "BA + NA+Mask"]
        assert page.locator("#list").count() == 0


def test_nothing_that_can_be_shown(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = refused("raw --names clip06 --out none.html", capsys)
    assert "none of the 1 chosen recordings can be shown: no body in 36 frames" in said
    assert not (here / "none.html").exists()


# --- figures ------------------------------------------------------------------------------------------------------


def test_a_strip_of_poses(here: Path) -> None:
    run("raw --names clip00 clip01 clip05 --export strip.png")
    with Image.open(here / "strip.png") as image:
        assert image.width > 1500
        colours = {colour for _, colour in image.convert("RGB").getcolors(1 << 24) or []}
    assert {(0xD5, 0x5E, 0x00), (0x00, 0x72, 0xB2)} <= colours
    assert not (here / "raw-view.html").exists()


def test_a_gif_has_a_picture_a_frame(here: Path) -> None:
    run("mine --augment BA --export views.gif --fps 10 --out beside.html")
    with Image.open(here / "views.gif") as image:
        assert (image.n_frames, image.info["duration"]) == (16, 100)  # type: ignore[attr-defined]
        first = np.asarray(image.convert("RGB"))
        image.seek(8)
        assert (np.asarray(image.convert("RGB")) != first).any()
    assert (here / "beside.html").exists()
    assert not list(here.glob("*.partial*"))


def test_an_mp4(here: Path) -> None:
    run("raw/clip00.npy --export film.mp4")
    assert (here / "film.mp4").read_bytes()[4:8] == b"ftyp"


def test_an_mp4_without_ffmpeg_says_what_to_install(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def absent(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(animation.importlib, "import_module", absent)
    with pytest.raises(ValueError, match=r'extra "video": pip install "hiclr\[video\]"'):
        animation.check_suffix(Path("film.mp4"))


def test_a_hand_stretched_out_for_a_moment_is_not_cut_off() -> None:
    x = np.repeat(person(1, 0), 100, axis=0)[:, None]
    x[50, 0, 7, 1] += 1.5  # one point of 2,000, above the head
    figure = animation.strip_figure({"": x}, KINECT, steps=101)
    points = np.concatenate([drawn.get_offsets() for drawn in figure.axes[50].collections])
    (left, right), (low, high) = figure.axes[50].get_xlim(), figure.axes[50].get_ylim()
    assert left < points[:, 0].min() < points[:, 0].max() < right
    assert low < points[:, 1].min() < points[:, 1].max() < high


def test_one_name_from_python_is_no_row_of_letters(here: Path) -> None:
    view("raw", names="clip00", export="one.png")
    assert (here / "one.png").exists()


def test_a_figure_turns_a_person_round_and_draws_what_is_larger_smaller() -> None:
    x = person(5, 0)[:, None] + 0.1 * np.random.default_rng(0).random((5, 1, 20, 3))
    sides = ["left" if "left" in name else "right" if "right" in name else "middle" for name in KINECT.joint_names]
    away = x * [-1, 1, -1]
    turn = animation.front(away, sides) - animation.front(x, sides)
    assert np.cos(turn) == pytest.approx(-1, abs=1e-6)
    figure = animation.strip_figure({"one": x, "seven": 7 * x}, KINECT)
    assert [axes.get_title("left") for axes in figure.axes if axes.get_title("left")] == ["one", "seven (at 20%)"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("raw --export film.avi", "film.avi must end in .png, .gif or .mp4"),
        ("raw --out page.txt", "out must end in .html, got page.txt"),
        ("raw --fps 0", "fps must be from 1 to 50, got 0"),
        ("raw --count 0", "count must be at least 1, got 0"),
        ("raw --frames 0", "start must be at least 0 and frames at least 1, got 0 and 0"),
        ("raw --names * --export many.png", "a figure shows at most 8 sequences, 16 were chosen"),
        ("raw --augment XX", "unknown augmentation set 'XX'"),
        ("raw --augment none.yaml", "no recipe none.yaml"),
        ("nowhere", "no file or folder nowhere"),
    ],
)
def test_what_cannot_be_is_one_sentence_and_writes_nothing(
    here: Path, words: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = set(here.iterdir())
    assert sentence in refused(words.replace("*", "'*'"), capsys)
    assert set(here.iterdir()) == before


def test_the_same_seed_draws_the_same_page(here: Path) -> None:
    pages = []
    for seed in (1, 1, 2):
        torch.manual_seed(0)
        run(f"mine --augment BA,NA --seed {seed} --out same.html")
        pages.append((here / "same.html").read_text(encoding="utf-8").replace(f"seed {seed}", ""))
    assert pages[0] == pages[1] != pages[2]
