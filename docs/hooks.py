"""Brings the pages that lie beside docs/ into the site, and turns links among files into links among pages."""

from __future__ import annotations

import os
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
BESIDE = ("recipes/README.md", "CONTRIBUTING.md", "CHANGELOG.md")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages beside docs/."""
    for name in BESIDE:
        files.append(File.generated(config, name, abs_src_path=str(ROOT / name)))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Links as they are among files (`../../recipes/README.md`) become links as they are in the site."""
    here = Path(str(page.file.abs_src_path)).parent

    def in_site(link: re.Match[str]) -> str:
        text, target, anchor = link.groups("")
        uri = _uri((here / target).resolve())
        if uri is None:  # a source file: its name says enough
            return text
        return f"[{text}]({os.path.relpath(uri, Path(page.file.src_uri).parent)}{anchor})"

    return re.sub(r"\[([^\]]*)\]\(([^)#:\s]+)(#[^)\s]*)?\)", in_site, markdown)


def _uri(path: Path) -> str | None:
    """Where a file stands in the site; None for one that is not in it."""
    docs = ROOT / "docs"
    if path.is_relative_to(docs):
        return path.relative_to(docs).as_posix()
    beside = path.relative_to(ROOT).as_posix()
    return beside if beside in BESIDE else None
