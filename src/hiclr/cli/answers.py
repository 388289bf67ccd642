"""What `predict` shows and writes: a table on the screen, and CSV, JSON and a picture in a folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from rich.table import Table

from hiclr.cli.console import say
from hiclr.data.corpora.base import LeftOut
from hiclr.inference import Predictions, top_classes
from hiclr.prediction_figures import MOST_TIMELINES, WORTH_TELLING, predictions_figure, timelines_figure
from hiclr.provenance import write_json, write_whole
from hiclr.screen import Screen
from hiclr.timeline import DAMAGED, Segment, Timeline, Timelines

NAME = "predictions"  # of all files
_MOST_ROWS = 30  # of a table on the screen
_DIGITS = 4  # of probabilities in files


def write_clips(folder: Path, found: Predictions, top: int, facts: Mapping[str, Any]) -> None:
    """Writes the classes of clips.

    Args:
        folder: for the files; made if need be.
        found: what was predicted.
        top: how many classes of each clip.
        facts: what else the JSON says.
    """
    rows = []
    for name, truth, best in zip(found.names, found.truths, found.top(top), strict=True):
        row: dict[str, Any] = {"name": name, **({} if truth is None else {"known_class": truth})}
        for rank, (label, probability) in enumerate(best, start=1):
            place = "" if rank == 1 else f"_{rank}"
            row |= {f"class{place}": label, f"probability{place}": round(probability, _DIGITS)}
        rows.append(row)
    clips = [
        {"name": name, **_best(best), **({} if truth is None else {"known_class": truth})}
        for name, truth, best in zip(found.names, found.truths, found.top(top), strict=True)
    ]
    known = [right for right in found.right if right is not None]
    measured = {"known_clips": len(known), "accuracy": 100 * sum(known) / len(known)} if known else {}
    content = {**facts, "classes": found.class_names, **measured, "clips": clips, "skipped": _skipped(found.skipped)}
    _write(folder, pd.DataFrame(rows), content, predictions_figure(found, top))


def write_timelines(folder: Path, found: Timelines, top: int, fps: float | None, facts: Mapping[str, Any]) -> None:
    """Writes who does what when: of each recording its segments and its windows.

    Args:
        folder: for the files; made if need be.
        found: what was predicted.
        top: how many classes of each window.
        fps: frames in a second; times are frames when None.
        facts: what else the JSON says.
    """
    rows = [
        {"name": timeline.name, **_segment(segment, fps)}
        for timeline in found.timelines
        for segment in timeline.segments()
    ]
    recordings = [
        {
            "name": timeline.name,
            "frames": timeline.frames,
            "segments": [_segment(segment, fps) for segment in timeline.segments()],
            "windows": list(_windows(timeline, top, fps)),
        }
        for timeline in found.timelines
    ]
    unit = {"unit": "frames" if fps is None else "seconds", **({} if fps is None else {"fps": fps})}
    content = {
        **facts,
        **unit,
        "classes": found.timelines[0].names,
        "recordings": recordings,
        "skipped": _skipped(found.skipped),
    }
    _write(folder, pd.DataFrame(rows), content, timelines_figure(found.timelines[:MOST_TIMELINES], fps))
    if len(found.timelines) > MOST_TIMELINES:
        say(f"The picture shows the first {MOST_TIMELINES} of the {len(found.timelines)} recordings")


def _write(folder: Path, table: pd.DataFrame, content: Mapping[str, Any], figure: Figure) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / NAME
    write_whole(path.with_suffix(".csv"), lambda file: table.to_csv(file, index=False))
    write_whole(path.with_suffix(".png"), lambda file: figure.savefig(file, format="png", dpi=150))
    write_json(path.with_suffix(".json"), content)  # last: where it is, all are whole
    say(f"Predictions saved in {path}.csv, .json and .png")


def _segment(segment: Segment, fps: float | None) -> dict[str, Any]:
    return {
        "start": _time(segment.start, fps),
        "end": _time(segment.end, fps),
        "class": segment.name,
        "probability": None if segment.probability is None else round(segment.probability, _DIGITS),
    }


def _windows(timeline: Timeline, top: int, fps: float | None) -> Iterator[dict[str, Any]]:
    for start, chances in zip(timeline.starts, timeline.probabilities, strict=True):
        times = {"start": _time(int(start), fps), "end": _time(int(start) + timeline.window, fps)}
        best = [] if np.isnan(chances).any() else top_classes(chances, timeline.names, top)
        yield {**times, **(_best(best) if best else {"class": DAMAGED, "probability": None, "top": []})}


def _best(best: Sequence[tuple[str, float]]) -> dict[str, Any]:
    top = [{"class": label, "probability": round(probability, _DIGITS)} for label, probability in best]
    return {**top[0], "top": top}


def _time(frame: int, fps: float | None) -> float:
    return frame if fps is None else round(frame / fps, 3)


def _skipped(skipped: Sequence[LeftOut]) -> list[dict[str, str]]:
    return [{"name": name, "reason": reason} for name, reason in skipped]


# --- on screen --------------------------------------------------------------------------------------------------------


def show_clips(found: Predictions, top: int) -> None:
    """A line for each clip; of many clips, a line for each class. Then how many are right, as far as that is known."""
    Screen().print(_clip_table(found, top) if len(found.names) <= _MOST_ROWS else _class_table(found))
    known = [right for right in found.right if right is not None]
    if known:
        share = sum(known) / len(known)
        say(f"Right: {sum(known)} of the {len(known)} clips whose class is known ({share:.1%})")


def show_timelines(found: Timelines, fps: float | None) -> None:
    """The segments of the recordings, as far as they fit."""
    table = Table(
        "recording", "from", "to", "class", "probability", caption="in frames" if fps is None else "in seconds"
    )
    segments = [(timeline, segment) for timeline in found.timelines for segment in timeline.segments()]
    before = None
    for timeline, segment in segments[:_MOST_ROWS]:
        times = (f"{_time(frame, fps):g}" for frame in (segment.start, segment.end))
        sure = "" if segment.probability is None else f"{segment.probability:.0%}"
        table.add_row("" if timeline is before else _plain(timeline.name), *times, _plain(segment.name), sure)
        before = timeline
    Screen().print(table)
    if len(segments) > _MOST_ROWS:
        say(f"... and {len(segments) - _MOST_ROWS} segments more")


def say_skipped(skipped: Sequence[LeftOut]) -> None:
    """Names recordings that cannot be used."""
    for name, reason in skipped[:5]:
        say(f"  skipped {name}: {reason}")
    if len(skipped) > 5:
        say(f"  ... and {len(skipped) - 5} more")


def _clip_table(found: Predictions, top: int) -> Table:
    labelled = any(right is not None for right in found.right)
    table = Table("clip", "class", "probability", *(["or"] if top > 1 else []), *(["is"] if labelled else []))
    for name, truth, right, best in zip(found.names, found.truths, found.right, found.top(top), strict=True):
        others = ", ".join(
            f"{label} {probability:.0%}" for label, probability in best[1:] if probability >= WORTH_TELLING
        )
        known = {None: "", True: "right", False: str(truth)}[right]
        cells = [name, best[0][0], f"{best[0][1]:.0%}", *([others] if top > 1 else []), *([known] if labelled else [])]
        table.add_row(*map(_plain, cells))
    return table


def _class_table(found: Predictions) -> Table:
    labelled = any(right is not None for right in found.right)
    table = Table("class", "clips", "mean probability", *(["right of those known"] if labelled else []))
    rows = pd.DataFrame(
        {"class": found.classes, "sure": found.probabilities.max(1), "right": found.right}, dtype=object
    )
    for label, group in sorted(rows.groupby("class"), key=lambda pair: -len(pair[1])):
        known = group["right"].dropna()
        share = [f"{known.sum()} of {len(known)}"] if labelled else []
        table.add_row(_plain(str(label)), str(len(group)), f"{group['sure'].mean():.0%}", *share)
    return table


def _plain(text: str) -> str:
    """Text in which brackets are no markup."""
    return text.replace("[", r"\[")
