"""The skeleton player: what is packed, and what it does in a browser."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from playwright.sync_api import Page

from browser import open_page
from hiclr import player
from hiclr.skeleton import SKELETONS, Skeleton

KINECT = SKELETONS["kinect20"]
FRAMES = 40

# --- packing ------------------------------------------------------------------------------------------------------


def unpacked(sequence: dict[str, Any]) -> NDArray[np.float64]:
    """What the player reads; NaN where nothing is."""
    raw = np.frombuffer(base64.b64decode(sequence["data"]), "<i2").reshape(*sequence["shape"], 3)
    points = sequence["centre"] + sequence["scale"] * raw.astype(np.float64)
    points[raw[..., 0] == -32768] = np.nan
    return points


@pytest.mark.parametrize("size", [1e-3, 1.0, 300.0])
def test_packing_is_off_by_half_a_step_at_most(size: float) -> None:
    frames = np.random.default_rng(0).normal(5, size, (7, 2, 20, 3)).astype(np.float32)
    sequence = json.loads(json.dumps(player.packed(frames, "title")))
    error = np.abs(unpacked(sequence) - frames).max()
    assert error <= 0.5001 * sequence["scale"]
    assert sequence["scale"] <= np.ptp(frames, axis=(0, 1, 2)).max() / 65534 * 1.0001


def test_what_is_not_there_stays_away() -> None:
    frames = np.random.default_rng(0).normal(0, 1, (6, 2, 20, 3)).astype(np.float32)
    frames[2, 1] = 0  # a body
    frames[3, 0, 4] = np.nan
    frames[4, 0, 5, 1] = np.inf
    frames[5, 0, 6] = 0
    frames[5, 0, 7, :2] = 0  # a place like any other
    expected = np.zeros((6, 2, 20), bool)
    expected[2, 1] = expected[3, 0, 4] = expected[4, 0, 5] = expected[5, 0, 6] = True
    np.testing.assert_array_equal(np.isnan(unpacked(player.packed(frames, "")))[..., 0], expected)


def test_the_centre_of_prepared_sequences_is_at_the_origin_while_its_body_shows() -> None:
    frames = np.random.default_rng(0).normal(0, 1, (4, 2, 20, 3)).astype(np.float32)
    frames[:, :, KINECT.centre_joint] = 0
    frames[1, 0] = 0
    frames[2, 1, KINECT.centre_joint] = np.nan
    absent = np.isnan(unpacked(player.packed(frames, "", centre=KINECT.centre_joint)))[..., 0]
    expected = np.zeros((4, 2, 20), bool)
    expected[1, 0] = expected[2, 1, KINECT.centre_joint] = True
    np.testing.assert_array_equal(absent, expected)


def test_bodies_stand_apart_and_masked_joints_are_not_there() -> None:
    x = np.random.default_rng(0).normal(0, 0.3, (3, 6, 20, 3))
    x[..., 2] = 0  # no third body
    x[:, :, KINECT.centre_joint] = 0
    x[:, 2:4, 5, 0] = 0.1
    shown = player.from_prepared(x, KINECT.centre_joint)
    assert shown.shape == (6, 2, 20, 3)
    apart = shown[:, 1, KINECT.centre_joint] - shown[:, 0, KINECT.centre_joint]
    np.testing.assert_allclose(apart, np.broadcast_to([-1.0, 0, 0], (6, 3)))
    assert np.isnan(shown[2:4, 0, 5]).all() and np.isfinite(np.delete(shown[:, 0], 5, axis=1)).all()
    assert player.packed(shown, "x", centre=KINECT.centre_joint)["shape"] == [6, 2, 20]


def test_a_sequence_without_any_joint_can_be_packed() -> None:
    assert np.isnan(unpacked(player.packed(np.zeros((3, 1, 20, 3)), ""))).all()


@pytest.mark.parametrize("shape", [(3, 20, 3), (3, 1, 20, 2), (0, 1, 20, 3)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected frames \(T, M, V, 3\), got"):
        player.packed(np.zeros(shape), "")


def test_the_layout_says_what_hangs_on_what_and_which_side_it_is() -> None:
    layout = player.layout(KINECT)
    assert layout["parents"] == list(KINECT.parents)
    sides = dict(zip(layout["names"], layout["sides"], strict=True))
    assert (sides["elbow_left"], sides["knee_right"], sides["head"]) == ("left", "right", "middle")


def test_a_layout_may_know_no_sides() -> None:
    rope = Skeleton("rope", ("a", "b", "c"), (-1, 0, 1))
    assert player.layout(rope)["sides"] == ["middle"] * 3


# --- in a browser -------------------------------------------------------------------------------------------------


def walker(frames: int = FRAMES, turned: bool = False) -> NDArray[np.float32]:
    """A stick figure (T, 1, V, 3) of 20 joints that sways: left at +x and faces +z, or the other way round."""
    heights = {"head": 1.7, "shoulder": 1.4, "elbow": 1.1, "wrist": 0.9, "hand": 0.8, "hip": 0.9, "knee": 0.5}
    x = np.zeros((frames, 1, 20, 3), np.float32)
    for joint, name in enumerate(KINECT.joint_names):
        part, _, side = name.partition("_")
        nearer = {"foot": 0.1, "hand": 0.05}.get(part, 0.0)
        x[:, 0, joint] = (0.2 * ((side == "left") - (side == "right")), heights.get(part, 0.05), 3 + nearer)
    x[:, :, :, 0] += 0.3 * np.sin(np.arange(frames) / 5)[:, None, None]
    return x * np.float32([-1, 1, -1]) if turned else x


def page_of(path: Path, sequences: list[dict[str, Any]], skeleton: Skeleton = KINECT, options: str = "{}") -> Path:
    """The smallest page that holds a player, `p`."""
    path.write_text(
        f"<!DOCTYPE html><html lang='en'><meta charset='utf-8'><title>player</title><style>{player.style()}</style>"
        f"<p style='height: 300px'></p><div id='here'></div><p style='height: 2000px'></p>"
        f"<script>{player.script()}</script><script>const p = new HiclrPlayer(document.getElementById('here'), "
        f"{json.dumps(player.layout(skeleton))}, {options}); p.show({json.dumps(sequences)});</script>",
        encoding="utf-8",
    )
    return path


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """One player of a person alone, half of whom goes missing, and of two people of whom the second comes late."""
    alone = walker()
    alone[20:, 0, KINECT.index("knee_left")] = np.nan
    two = np.concatenate([walker(30), walker(30) + np.float32([0.5, 0, 0])], axis=1)
    two[:10, 1] = 0
    sequences = [player.packed(alone, "a person", "alone"), player.packed(two, "<b>two</b>", name="pair")]
    path = page_of(tmp_path_factory.mktemp("player") / "page.html", sequences, options="{fps: 20}")
    with open_page(path) as page:
        yield page


@pytest.fixture
def page(opened: Page) -> Page:
    opened.evaluate("scrollTo(0, 0); p.pause(); p.back.click(); p.seek(0); p.root.focus()")
    return opened


def picture(page: Page, place: int = 0) -> str:
    drawn: str = page.evaluate(f"p.figures[{place}].canvas.toDataURL()")
    return drawn


def pixels(page: Page, colour: tuple[int, int, int], place: int = 0) -> list[int]:
    """Places from the left of the pixels of a colour in a canvas."""
    columns: list[int] = page.evaluate(
        """([place, [r, g, b]]) => {
            const { canvas, context } = p.figures[place];
            const { data, width } = context.getImageData(0, 0, canvas.width, canvas.height);
            const found = [];
            for (let i = 0; i < data.length; i += 4)
                if (data[i] === r && data[i + 1] === g && data[i + 2] === b) found.push((i / 4) % width);
            return found;
        }""",
        [place, colour],
    )
    return columns


LEFT, RIGHT = (0xD5, 0x5E, 0x00), (0x00, 0x72, 0xB2)


def frame(page: Page) -> int:
    shown: int = page.evaluate("p.frame")
    return shown


def test_it_plays_stops_and_begins_again_at_the_end(page: Page) -> None:
    page.get_by_role("button", name="Play").click()
    page.wait_for_function("p.frame > 2")
    page.evaluate("p.clock = p.length - 0.5")
    page.wait_for_function("p.frame < 30")
    page.get_by_role("button", name="Pause").click()
    assert not page.evaluate("p.playing")
    assert page.locator("output").inner_text() == f"frame {frame(page) + 1} of {FRAMES}"


def test_the_slider_goes_to_a_frame_and_draws_it(page: Page) -> None:
    before = picture(page)
    page.evaluate("p.play()")
    slider = page.get_by_role("slider", name="Frame")
    slider.fill("11")
    assert (frame(page), page.evaluate("p.playing")) == (11, False)
    assert picture(page) != before
    assert page.locator("output").inner_text() == f"frame 12 of {FRAMES}"
    slider.press("ArrowUp")
    assert frame(page) == 12
    page.evaluate("p.seek(1000)")
    assert slider.input_value() == str(FRAMES - 1)


def test_keys_go_to_frames(page: Page) -> None:
    for key, expected in [("ArrowRight", 1), ("ArrowRight", 2), ("ArrowLeft", 1), ("End", FRAMES - 1), ("Home", 0)]:
        page.keyboard.press(key)
        assert frame(page) == expected, key
    page.keyboard.press("Space")
    assert page.evaluate("p.playing")
    page.keyboard.press("Space")
    assert not page.evaluate("p.playing")
    assert page.evaluate("scrollY") == 0


def test_keys_turn_and_zoom(page: Page) -> None:
    home = picture(page)
    for keys in (["Shift+ArrowLeft"], ["Alt+ArrowRight"], ["Shift+ArrowUp"], ["+"], ["-"]):
        for key in keys:
            page.keyboard.press(key)
        assert picture(page) != home, keys
        page.get_by_role("button", name="Reset view").click()
        page.evaluate("p.root.focus()")
        assert picture(page) == home
    assert frame(page) == 0
    page.keyboard.press("+")
    assert page.evaluate("p.camera.zoom") > 1


def test_a_drag_turns_all_of_them(page: Page) -> None:
    before = picture(page, 0), picture(page, 1)
    box = page.locator("canvas").first.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 50, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + 110, box["y"] + 80)
    page.mouse.up()
    after = picture(page, 0), picture(page, 1)
    assert before[0] != after[0] and before[1] != after[1]
    page.mouse.move(box["x"] + 10, box["y"] + 10)
    assert (picture(page, 0), picture(page, 1)) == after  # the button is up


def test_the_wheel_zooms_after_a_click_and_scrolls_the_page_before(page: Page) -> None:
    page.evaluate("document.activeElement.blur()")
    box = page.locator("canvas").first.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 50, box["y"] + 50)
    page.mouse.wheel(0, 100)
    page.wait_for_function("scrollY > 0")
    assert page.evaluate("p.camera.zoom") == 1
    page.evaluate("scrollTo(0, 0); p.root.focus()")
    page.mouse.wheel(0, -100)
    page.wait_for_function("p.camera.zoom > 1")
    assert page.evaluate("scrollY") == 0


def test_left_and_right_have_their_colours(page: Page) -> None:
    """Seen from the front, left is to the right of right."""
    left, right = pixels(page, LEFT), pixels(page, RIGHT)
    assert len(left) > 50 and len(right) > 50
    assert np.mean(left) > np.mean(right) + 10
    assert page.locator(".key span").all_inner_texts()[:3] == ["left", "right", "middle"]


def test_a_second_body_comes_and_both_are_numbered(page: Page) -> None:
    before = pixels(page, LEFT, 1)
    page.evaluate("p.seek(20)")
    assert len(pixels(page, LEFT, 1)) > 1.3 * len(before)
    assert page.evaluate("p.sequences.map(s => s.crowd)") == [False, True]


def test_a_joint_that_is_not_there_leaves_a_ring_and_no_bone(page: Page) -> None:
    page.evaluate("p.seek(19)")
    whole = len(pixels(page, LEFT))
    page.evaluate("p.seek(20)")
    assert len(pixels(page, LEFT)) < 0.9 * whole
    assert "next to a joint that is not there" in page.locator(".key").inner_text()


def test_a_shorter_sequence_keeps_its_last_frame(page: Page) -> None:
    page.evaluate("p.seek(29)")
    last = picture(page, 1)
    page.evaluate("p.seek(35)")
    assert picture(page, 1) == last


def test_names_are_text_and_captions_stand_below(page: Page) -> None:
    assert page.locator("figcaption").all_inner_texts() == ["a person\nalone", "<b>two</b>"]


def test_slower(page: Page) -> None:
    page.get_by_role("combobox", name="Speed").select_option("0.25")
    assert page.evaluate("p.speed") == 0.25
    page.get_by_role("combobox", name="Speed").select_option("1")


def test_paper_gets_a_strip_of_poses(page: Page) -> None:
    before = picture(page)
    page.emulate_media(media="print")
    page.wait_for_function("p.printing")
    width, height = page.evaluate("[p.figures[0].canvas.width, p.figures[0].canvas.height]")
    assert width == 6 * height
    drawn = pixels(page, LEFT)
    cells = {column // height for column in drawn}
    assert cells == set(range(6))
    page.emulate_media(media="screen")
    page.wait_for_function("!p.printing")
    assert picture(page) == before


def test_it_begins_by_itself_unless_less_motion_is_wanted(tmp_path: Path) -> None:
    path = page_of(tmp_path / "page.html", [player.packed(walker(), "a")])
    with open_page(path) as page:
        page.wait_for_function("p.playing && p.frame > 0")
    with open_page(path, reduced_motion=True) as page:
        page.wait_for_timeout(100)
        assert (page.evaluate("p.playing"), page.evaluate("p.frame")) == (False, 0)


def test_a_person_with_the_back_to_us_is_seen_from_the_front_too(tmp_path: Path) -> None:
    turned = player.packed(walker(turned=True), "turned")
    with open_page(page_of(tmp_path / "page.html", [turned], options="{autoplay: false}")) as page:
        assert np.mean(pixels(page, LEFT)) > np.mean(pixels(page, RIGHT)) + 10


def test_poses_without_depth_are_not_turned(tmp_path: Path) -> None:
    flat = walker(turned=True) * np.float32([1, 1, 0])
    with open_page(page_of(tmp_path / "page.html", [player.packed(flat, "flat")], options="{autoplay: false}")) as page:
        assert np.mean(pixels(page, LEFT)) < np.mean(pixels(page, RIGHT)) - 10


def test_what_is_much_larger_is_drawn_smaller_and_says_so(tmp_path: Path) -> None:
    sequences = [player.packed(walker() * np.float32(size), f"{size}") for size in (1, 1.2, 7)]
    with open_page(page_of(tmp_path / "page.html", sequences)) as page:
        assert page.locator("figcaption").all_inner_texts() == ["1", "1.2", "7\ndrawn at 20 %"]


def test_eight_fit_a_narrow_page_and_nothing_is_no_error(tmp_path: Path) -> None:
    eight = [player.packed(walker(), f"{i}") for i in range(8)]
    with open_page(page_of(tmp_path / "page.html", eight), width=400) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= 400
        page.evaluate("p.show([])")
        assert page.locator("canvas").count() == 0
        page.evaluate(f"p.show([{json.dumps(player.packed(np.zeros((1, 1, 20, 3)), 'empty'))}])")
        page.evaluate("p.play()")
        assert not page.evaluate("p.playing")  # one frame


def test_a_destroyed_player_is_gone(tmp_path: Path) -> None:
    with open_page(page_of(tmp_path / "page.html", [player.packed(walker(), "a")])) as page:
        page.evaluate("p.destroy(); dispatchEvent(new Event('beforeprint'))")
        assert page.locator("#here").inner_html() == ""
        assert not page.evaluate("p.printing")
