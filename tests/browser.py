"""Pages in a headless Chromium: `with open_page(path) as page`."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Page, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


@contextmanager
def open_page(path: Path, width: int = 1280, height: int = 900, reduced_motion: bool = False) -> Iterator[Page]:
    """A page from a file, without a network; fails on errors of the console, of scripts, and on anything fetched.

    Args:
        path: the `.html` file.
        width: of the window, in pixels.
        height: of the window.
        reduced_motion: whether the person has asked their system for less motion.
    """
    if CHROMIUM is None:
        pytest.skip("there is no chromium on this machine (Debian: apt install chromium)")
    complaints: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=_FLAGS)
        try:
            page = browser.new_page(
                viewport={"width": width, "height": height},
                reduced_motion="reduce" if reduced_motion else "no-preference",
            )
            page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.on(
                "request",
                lambda request: (
                    None if request.url.startswith(("file:", "data:", "blob:")) else complaints.append(request.url)
                ),
            )
            page.goto(path.resolve().as_uri())
            yield page
            assert not complaints, complaints
        finally:
            browser.close()
