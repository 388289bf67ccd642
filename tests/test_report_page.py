"""The report in a browser: it plays, sorts and opens what is clicked on, without an error and without a network."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from playwright.sync_api import Page, expect

from browser import open_page
from hiclr.__main__ import main
from hiclr.cli import knn, linear
from hiclr.data.folder import SAMPLES
from hiclr.data.module import SkeletonData
from hiclr.methods.hiclr import HiCLR
from learners import tiny_stgcn
from runs import prepared, run


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a small run: 36 sequences of two bodies in three classes, 12 of them tested."""
    root = tmp_path_factory.mktemp("report")
    data, out = prepared(root / "data", n=36), root / "run"
    samples = pd.read_csv(data / SAMPLES)
    samples.assign(xsub=["train"] * 24 + ["test"] * 12).to_csv(data / SAMPLES, index=False)
    run(data, out, partial(HiCLR, encoder=tiny_stgcn, queue_size=8), max_epochs=2)
    linear(out, SkeletonData(data), epochs=5, accelerator="cpu")
    knn(out, SkeletonData(data), k=(1,), accelerator="cpu")
    main(["report", str(out), "--out", str(root / "report.html"), "--accelerator", "cpu"])
    return root / "report.html"


@pytest.fixture(scope="module")
def page(path: Path) -> Iterator[Page]:
    with open_page(path) as opened:
        yield opened


@pytest.fixture
def looks(path: Path) -> dict[str, Any]:
    """What the page knows of its sequences."""
    found = re.search(r'id="report-data">(.*?)</script>', path.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    shown: dict[str, Any] = json.loads(found[1])["looks"]
    return shown


def test_the_page_is_small_and_whole(path: Path, looks: dict[str, Any]) -> None:
    assert path.stat().st_size < 10e6
    assert "missing" not in looks["features"] and "missing" not in looks["views"]
    assert len(looks["examples"]) == 12 and len(looks["views"]["sequences"]) == 4


def test_it_plays_and_pauses(page: Page) -> None:
    player = page.locator("#map-player")
    expect(player.locator("output")).to_have_text("frame 1 of 16")  # nothing moves before one asks for it
    player.get_by_role("button", name="Play").click()
    expect(player.locator("output")).not_to_have_text("frame 1 of 16")
    player.get_by_role("button", name="Pause").click()
    still = player.locator("output").inner_text()
    page.wait_for_timeout(300)
    assert player.locator("output").inner_text() == still


def test_the_slider_moves_the_pose(page: Page) -> None:
    player = page.locator("#map-player")
    player.get_by_label("Frame").fill("0")
    picture = "canvas => canvas.toDataURL()"
    before = player.locator("canvas").evaluate(picture)
    player.get_by_label("Frame").fill("9")
    expect(player.locator("output")).to_have_text("frame 10 of 16")
    assert player.locator("canvas").evaluate(picture) != before


@pytest.mark.parametrize("kind", ["pca", "tsne"])
def test_a_click_on_a_point_opens_its_sequence(page: Page, looks: dict[str, Any], kind: str) -> None:
    page.locator("#map-kind").select_option(kind)
    chart = page.locator("#map-chart")
    chart.scroll_into_view_if_needed()
    for example in (looks["examples"][2], looks["examples"][5]):
        place = chart.evaluate(
            """(chart, [x, y]) => {
                const { xaxis, yaxis } = chart._fullLayout, box = chart.getBoundingClientRect();
                return [box.left + xaxis._offset + xaxis.l2p(x), box.top + yaxis._offset + yaxis.l2p(y)];
            }""",
            example[kind],
        )
        page.mouse.move(place[0] - 1, place[1])
        page.mouse.move(*place)
        expect(chart.locator(".hoverlayer .hovertext")).to_contain_text(example["name"])
        page.mouse.click(*place)
        expect(page.locator("#map-player figcaption")).to_contain_text(example["name"])
        expect(page.locator("#found")).to_have_value(str(example["row"]))


def test_the_list_does_the_same_with_the_keyboard(page: Page, looks: dict[str, Any]) -> None:
    page.get_by_label("Find a sequence").fill("B")
    expect(page.locator("#found-count")).to_contain_text("sequences")
    options = page.locator("#found option")
    assert options.count() >= 2
    page.locator("#found").focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowDown")
    row = int(page.locator("#found").input_value())
    (name,) = [example["name"] for example in looks["examples"] if example["row"] == row]
    expect(page.locator("#map-player figcaption")).to_contain_text(name)
    page.get_by_label("Find a sequence").fill("")
    expect(options).to_have_count(12)


def test_the_map_shows_right_and_wrong_and_single_classes(page: Page, looks: dict[str, Any]) -> None:
    chart = page.locator("#map-chart")
    page.locator("#map-colour").select_option("answer")
    names = chart.evaluate("chart => chart.data.map((trace) => [trace.name, trace.x.length])")
    right = sum(example["predicted"] == example["label"] for example in looks["examples"])
    assert names[:2] == [["right", right], ["wrong", 12 - right]]
    page.locator("#map-class").select_option("1")
    sizes = chart.evaluate("chart => chart.data.slice(0, 2).flatMap((trace) => trace.marker.size)")
    assert sizes.count(8) == sum(example["label"] == 1 for example in looks["examples"])


def test_classes_can_be_sorted(page: Page) -> None:
    def column(place: int) -> list[str]:
        return page.locator("#class-table tbody tr").evaluate_all(
            "(rows, place) => rows.map((row) => row.cells[place].textContent)", place
        )

    accuracy = [float(cell) for cell in column(3)]
    assert accuracy == sorted(accuracy)  # the worst first, until one sorts
    head = page.get_by_role("button", name="class", exact=True)
    for order, expected in (("ascending", ["a", "b", "c"]), ("descending", ["c", "b", "a"])):
        head.click()
        assert column(0) == expected
        expect(page.locator("#class-table th").first).to_have_attribute("aria-sort", order)


def test_confusions_can_be_sorted_and_say_counts(page: Page) -> None:
    chart = page.locator("#matrix")
    rows = "chart => [...chart.layout.yaxis.ticktext].reverse()"
    diagonal = "chart => chart.data[0].z.map((row, i) => row[row.length - 1 - i])"
    shares = chart.evaluate(diagonal)[::-1]
    page.locator("#matrix-order").select_option("accuracy")
    worst_first = chart.evaluate(diagonal)[::-1]
    assert worst_first == sorted(shares)
    assert chart.evaluate(rows) == [name for _, name in sorted(zip(shares, "abc", strict=True), key=lambda one: one[0])]
    for order in ("confusion", "file"):
        page.locator("#matrix-order").select_option(order)
        assert sorted(chart.evaluate(rows)) == ["a", "b", "c"]
    text = chart.evaluate("chart => chart.data[0].customdata[2][0]")
    assert text[:2] == ["a", "a"] and text[3] >= text[2]


def test_another_result_fills_the_tables(page: Page) -> None:
    result = page.locator("#matrix-of")
    counts = "chart => chart.data[0].customdata.flat().map((cell) => cell[2])"
    before = page.locator("#matrix").evaluate(counts)
    result.select_option("1")
    assert sum(page.locator("#matrix").evaluate(counts)) == sum(before) == 12
    result.select_option("0")
    assert page.locator("#matrix").evaluate(counts) == before


def test_answers_and_neighbours_open_side_by_side(page: Page, looks: dict[str, Any]) -> None:
    button = page.locator("#answers .lists button").last
    button.click()
    expect(button).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#answers .lists [aria-pressed=true]")).to_have_count(1)
    name = button.locator("small").inner_text()
    expect(page.locator("#answers-player figcaption")).to_contain_text(name)
    page.get_by_role("button", name="Next").click()
    query = looks["neighbours"]["queries"][1]
    expect(page.locator("#neighbours-player figure")).to_have_count(6)
    expect(page.locator("#neighbours-table tbody tr")).to_have_count(5)
    shown = page.locator("#neighbours-table tbody tr").evaluate_all(
        "rows => rows.map((row) => row.cells[1].textContent)"
    )
    assert shown == [one["name"] for one in query["neighbours"]]


@pytest.mark.parametrize("width", [800, 1280])
def test_nothing_scrolls_sideways(path: Path, width: int) -> None:
    with open_page(path, width=width) as narrow:
        narrow.locator("details").evaluate_all("all => all.forEach((one) => { one.open = true; })")
        assert narrow.evaluate("document.documentElement.scrollWidth") == width


def test_paper_has_everything_and_no_buttons(path: Path) -> None:
    with open_page(path) as printed:
        printed.evaluate("window.addEventListener('beforeprint', () => setTimeout(() => {}, 0))")
        opened = "[...document.querySelectorAll('details')].filter((one) => one.open).length"
        printed.evaluate("window.dispatchEvent(new Event('beforeprint'))")
        assert printed.evaluate(opened) == printed.locator("details").count() > 0
        printed.emulate_media(media="print")
        for hidden in ("nav", ".finder", ".controls"):
            assert not any(one.is_visible() for one in printed.locator(hidden).all())
        printed.evaluate("window.dispatchEvent(new Event('afterprint'))")
        assert printed.evaluate(opened) == 0
        assert printed.pdf().startswith(b"%PDF")


def test_every_control_has_a_name(page: Page) -> None:
    unnamed = page.locator("button, select, input").evaluate_all(
        """all => all.filter((one) => !one.getAttribute("aria-label") && !one.labels?.length
            && !(one.tagName === "BUTTON" && one.textContent.trim())).map((one) => one.outerHTML)"""
    )
    assert unnamed == []


def test_hostile_names_stay_text(path: Path, tmp_path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    hostile = "<img src=x onerror=alert(1)><b>a</b>"
    escaped = json.dumps(hostile).replace("<", "\\u003c")
    (tmp_path / "hostile.html").write_text(text.replace('"classes":["a"', f'"classes":[{escaped}'), encoding="utf-8")
    with open_page(tmp_path / "hostile.html") as opened:
        opened.wait_for_timeout(300)
        assert opened.locator("img").count() == 0
        assert "<img src=x" in opened.locator("#class-table").inner_text()
        assert opened.locator("#matrix .yaxislayer-above").text_content().count("<img") == 1
