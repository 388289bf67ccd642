"""Pages in a headless Chromium: `with open_page(path) as page`."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Request, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]

_in_use: list[Browser] = []  # once for each open page: Playwright starts only once at a time


@contextmanager
def open_page(path: Path, width: int = 1280, height: int = 900, reduced_motion: bool = False) -> Iterator[Page]:
    """A page from a file, without a network; fails on errors of the console, of scripts, and on anything fetched.

    Args:
        path: the `.html` file.
        width: of the window, in pixels.
        height: of the window.
        reduced_motion: whether the person has asked their system for less motion.
    """
    complaints: list[str] = []

    def look(request: Request) -> None:
        if not request.url.startswith(("file:", "data:", "blob:")):
            complaints.append(f"fetches {request.url}")

    with _browser() as browser:
        page = browser.new_page(
            viewport={"width": width, "height": height}, reduced_motion="reduce" if reduced_motion else "no-preference"
        )
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", look)
        try:
            page.goto(path.resolve().as_uri())
            yield page
        finally:
            page.close()
        assert not complaints, complaints


@contextmanager
def _browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("there is no chromium on this machine (Debian: apt install chromium)")
    with ExitStack() as stack:
        if _in_use:
            _in_use.append(_in_use[0])
        else:
            playwright = stack.enter_context(sync_playwright())
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=_FLAGS)
            stack.callback(browser.close)
            _in_use.append(browser)
        stack.callback(_in_use.pop)
        yield _in_use[0]
