"""The verb that shows data as moving skeletons."""

from __future__ import annotations

import importlib
import webbrowser
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from hiclr.animation import MOST, MOVING, animate, check_suffix, strip_figure
from hiclr.cli.console import progress, say
from hiclr.data.corpora.base import LeftOut
from hiclr.data.opening import PREPARED, open_corpus, recognise
from hiclr.provenance import write_whole
from hiclr.skeleton import Skeleton
from hiclr.transforms import View, growing_views
from hiclr.viewing import Shown, chosen_rows, page, read_shown, under_views

_RAW_FPS, _PREPARED_FPS = 30.0, 15.0  # a Kinect's; prepared sequences are some 50 frames of any duration


def view(
    path: Path,
    out: Path | None = None,
    count: int = 24,
    names: Sequence[str] | None = None,
    augment: str | None = None,
    seed: int = 0,
    start: int = 0,
    frames: int | None = None,
    fps: float | None = None,
    export: Path | None = None,
    kind: str | None = None,
    options: dict[str, Any] | None = None,
    open: bool = False,
) -> Path:
    """Shows raw or prepared data as moving skeletons: one HTML page to open in a browser, or a figure for a paper.

    Recordings are chosen from all classes; damaged ones are named and left out. Raw ones are shown as they lie in their
    files, with all bodies.

    Args:
        path: a folder or file of any kind that `hiclr prepare` reads, a single clip, or a folder it made.
        out: the page; <data>-view.html in the current folder when not given.
        count: how many recordings to choose.
        names: choose among these; `*` and `?` stand for any letters and any one letter.
        augment: show the first chosen one under the views of a recipe (a YAML file for `hiclr pretrain`) or of an
            arrangement such as BA,NA,Mask, beside each other. Raw recordings are prepared first.
        seed: of the augmentations.
        start: first frame to show, counted from 0.
        frames: how many frames to show of each at most; a page holds 10 MB at most in any case.
        fps: frames a second at normal speed; 30 for raw recordings and 15 for prepared ones when not given.
        export: write a figure instead of the page (or beside it, if `out` is given): a strip of poses (.png) or
            an animation (.gif, .mp4), of all `names` (at most eight), of the views, or of the first chosen one.
        kind: what to take the data for: "prepared", "synthetic" or a kind of `hiclr prepare`; recognised when not
            given.
        options: further options of that kind, as in `--options.table clips.csv`.
        open: open the page in the browser.

    Returns:
        The page, or the figure where only that was asked for.

    Raises:
        FileNotFoundError: there is nothing at `path`.
        ValueError: nothing there is known or can be shown, or an option cannot be.
    """
    path, out, export = Path(path), out and Path(out), export and Path(export)
    if out is not None and out.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"out must end in .html, got {out}")
    if fps is not None and not 1 <= fps <= 50:
        raise ValueError(f"fps must be from 1 to 50, got {fps:g}")
    if export is not None:
        check_suffix(export)
    kind = kind or recognise(path)
    corpus = open_corpus(path, kind, options)
    prepared = kind == PREPARED
    fps = fps or (_PREPARED_FPS if prepared or augment else _RAW_FPS)
    rows = chosen_rows(corpus, count, [names] if isinstance(names, str) else names)
    left_out: list[LeftOut] = []
    notes: list[str] = []
    if augment is None:
        centre = corpus.skeleton.centre_joint if prepared else None
        shown, left_out = read_shown(corpus, rows, start, frames, centre)
        heading = f"{path.resolve().name}: {len(shown)} of {len(corpus.samples):,} recordings"
        _say_left_out(left_out)
        if not shown:
            raise ValueError(f"none of the {len(rows)} chosen recordings can be shown: {left_out[0].reason}")
    else:
        centre = corpus.skeleton.centre_joint
        shown = under_views(corpus, rows[0], _views(augment, corpus.skeleton), seed, prepared)
        heading = f"{shown[0].name} under the views of {augment}"
        notes = [f"Drawn with seed {seed}: another seed (--seed) draws other views."]
    written = []
    if export is not None:
        several = shown if names or augment else shown[:1]
        _export(several, corpus.skeleton, export, fps)
        written.append(export)
    if export is None or out is not None:
        out = out or Path(f"{path.resolve().stem}-view.html")
        text = page(shown, corpus, heading, fps, left_out, notes, augment is not None, centre)
        out.parent.mkdir(parents=True, exist_ok=True)
        write_whole(out, lambda file: file.write_text(text, encoding="utf-8"))
        written.insert(0, out)
    say(f"Saved in {' and '.join(map(str, written))}." + ("" if out is None or open else " Open it in a browser."))
    if open:
        webbrowser.open(written[0].resolve().as_uri())
    return written[0]


def _views(augment: str, skeleton: Skeleton) -> dict[str, View]:
    """The views of a recipe or an arrangement, by what to call them."""
    if augment.endswith((".yaml", ".yml")):
        # methods know Lightning, which takes seconds to import: only where a recipe asks for one
        views = importlib.import_module("hiclr.methods.recipe").recipe_views(Path(augment), skeleton)
        return {f"view {place} of {len(views)}": view for place, view in enumerate(views, start=1)}
    levels = [level.strip() for level in augment.split(",")]
    titles = [" + ".join(levels[: place + 1]) for place in range(len(levels))]
    return dict(zip(titles, growing_views(levels, skeleton), strict=True))


def _export(shown: Sequence[Shown], skeleton: Skeleton, path: Path, fps: float) -> None:
    if len(shown) > MOST:
        raise ValueError(f"a figure shows at most {MOST} sequences, {len(shown)} were chosen: choose fewer (--names)")
    sequences = {one.title: one.frames for one in shown}
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix.lower() in MOVING:
        animate(sequences, skeleton, path, fps, progress(f"drawing {path.name}"))
        return
    figure = strip_figure(sequences, skeleton)
    write_whole(path, partial(figure.savefig, dpi=200, format="png"))


def _say_left_out(left_out: Sequence[LeftOut]) -> None:
    for one in left_out:
        say(f"{one.name} is left out: {one.reason}")
