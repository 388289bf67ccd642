"""A first look at data: which recordings to show, what of them, and the page that shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

import numpy as np
import torch
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from numpy.typing import NDArray
from torch import Tensor

from hiclr import player
from hiclr.data.corpora.base import Corpus, LeftOut, some
from hiclr.data.folder import Preparation
from hiclr.data.prepare import prepared_batches
from hiclr.data.recordings.base import broken_frames
from hiclr.transforms import View

PAGE_BYTES = 8_000_000  # of coordinates in a page
_COORDINATE_BYTES = 8 / 3  # int16 in base64
_FEWEST_FRAMES = 20  # of a recording; a page that has room for less shows nothing
_STYLES = 8  # sequences drawn together: AdaIN takes its style from another one


@dataclass(frozen=True, eq=False)
class Shown:
    """A sequence to look at.

    Args:
        name: of its recording.
        title: what stands below it.
        group: under which it is listed: its class.
        frames: (T, M, V, 3) in metres; NaN where nothing is.
        caption: further lines.
    """

    name: str
    title: str
    group: str
    frames: NDArray[np.float32]
    caption: str = ""


def chosen_rows(corpus: Corpus, count: int, names: Sequence[str] | None = None) -> list[int]:
    """Rows of a corpus to show, spread over its classes and over the recordings of each.

    Args:
        corpus: raw or prepared.
        count: how many at most.
        names: only recordings with these names; `*` and `?` stand for anything and for one letter.

    Raises:
        ValueError: for a count that is none, a name that no recording has, or a corpus without recordings.
    """
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    samples = corpus.samples
    if samples.empty:
        raise ValueError(f"{corpus.name} holds no recording")
    rows = np.arange(len(samples)) if names is None else _named([str(name) for name in samples["name"]], names)
    by_class = [found.index.to_numpy() for _, found in samples.iloc[rows].reset_index(drop=True).groupby("label")]
    classes = [rows[by_class[i]] for i in _spread(len(by_class), count)]
    each = -(-count // len(classes))
    taken = [of_class[_spread(len(of_class), each)] for of_class in classes]
    turns = [(turn, row) for of_class in taken for turn, row in enumerate(of_class)]
    return sorted(int(row) for _, row in sorted(turns, key=lambda pair: pair[0])[:count])


def _named(there: Sequence[str], names: Sequence[str]) -> NDArray[np.int64]:
    found: set[int] = set()
    for name in names:
        rows = [row for row, other in enumerate(there) if other == name or fnmatchcase(other, name)]
        if not rows:
            raise ValueError(f"no recording is called {name!r}: there are {some(there)}")
        found |= set(rows)
    return np.array(sorted(found))


def _spread(size: int, count: int) -> NDArray[np.int64]:
    """At most `count` of 0..size-1, evenly, the first among them."""
    few = min(count, size)
    return np.arange(few) * size // few


def read_shown(
    corpus: Corpus,
    rows: Sequence[int],
    start: int = 0,
    frames: int | None = None,
    centre: int | None = None,
) -> tuple[list[Shown], list[LeftOut]]:
    """Recordings of a corpus as they lie there; those that are damaged or show nobody are left out.

    Args:
        corpus: raw or prepared.
        rows: of its samples.
        start: first frame to show, counted from 0.
        frames: how many to show of each; at most what a page has room for, which is taken when None.
        centre: the joint that lies at the origin if the corpus is a prepared folder.

    Raises:
        ValueError: for a start or a number of frames that cannot be, or for so many recordings that next to nothing
            of each would be shown.
    """
    if start < 0 or (frames is not None and frames < 1):
        raise ValueError(f"start must be at least 0 and frames at least 1, got {start} and {frames}")
    size = int(PAGE_BYTES / len(rows) / (corpus.skeleton.num_joints * 3 * _COORDINATE_BYTES))  # frames of one body
    if size < _FEWEST_FRAMES * corpus.bodies:
        most = f"{size // corpus.bodies} frames of each of {len(rows)} recordings"
        raise ValueError(f"a page has room for {most}: choose fewer (--count, --names)")
    shown, left_out = [], []
    for row in rows:
        try:
            shown.append(_read(corpus, row, start, size, frames, centre))
        except ValueError as error:
            left_out.append(LeftOut(str(corpus.samples["name"].iloc[row]), str(error)))
    return shown, left_out


def _read(corpus: Corpus, row: int, start: int, size: int, most: int | None, centre: int | None) -> Shown:
    recording = corpus.read(row)
    length = len(recording.frames)
    if start >= length:
        raise ValueError(f"it ends before frame {start + 1}: it has {length}")
    seen = player.there(recording.frames[start:], centre)[:most]
    bodies = seen.any((0, 2))
    if not bodies.any():
        raise ValueError(f"no body in {len(seen)} frames")
    seen = seen[: size // bodies.sum()]
    frames = recording.frames[start : start + len(seen)]
    lines = [
        f"{length} frames" if len(frames) == length else f"frames {start + 1} to {start + len(frames)} of {length}"
    ]
    if broken := int(broken_frames(frames).sum()):
        lines.append(f"NaN or places that cannot be in {broken} of them: preparation leaves the recording out")
    visible = np.where(seen[..., None], frames, np.float32(np.nan))[:, bodies]
    if centre is not None:
        visible = player.side_by_side(visible)
    return Shown(recording.name, recording.name, _class_of(corpus, row), visible, "\n".join(lines))


def _class_of(corpus: Corpus, row: int) -> str:
    label = int(corpus.samples["label"].iloc[row])
    return corpus.class_names[label] if 0 <= label < len(corpus.class_names) else "no class"


def under_views(
    corpus: Corpus, row: int, views: Mapping[str, View], seed: int = 0, is_prepared: bool = False
) -> list[Shown]:
    """One sequence as preparation makes it, and under each of several views: joints, whatever stream they are for.

    Args:
        corpus: raw or prepared.
        row: of the sequence.
        views: name and view.
        seed: of what is drawn.
        is_prepared: whether the corpus is a prepared folder.

    Raises:
        ValueError: the recording cannot be prepared.
    """
    x, name = _some_prepared(corpus, row, is_prepared), str(corpus.samples["name"].iloc[row])
    group, centre = _class_of(corpus, row), corpus.skeleton.centre_joint
    torch.manual_seed(seed)
    shown = [Shown(name, "as prepared", group, player.from_prepared(x[0].numpy(), centre), f"{name}\n{group}")]
    before: list[str] = []
    for title, view in views.items():
        with torch.no_grad():
            changed = view.augment_stream(view.augment_joints(x), "joint")[0]
        new = view.steps[len(before) :] if view.steps[: len(before)] == before else view.steps
        before = view.steps
        shown.append(Shown(name, title, group, player.from_prepared(changed.numpy(), centre), _steps(new)))
    return shown


def _steps(steps: Sequence[str]) -> str:
    names = (step.partition("(")[0] for step in steps)
    return ", ".join(f"{name} (of the graph: moves no joint)" if name == "DropAddEdges" else name for name in names)


def _some_prepared(corpus: Corpus, row: int, is_prepared: bool) -> Tensor:
    """A sequence and a few others behind it: (N, 3, T, V, M)."""
    others = [other for other in range(min(len(corpus.samples), _STYLES)) if other != row]
    rows = [row, *others]
    if is_prepared:
        return torch.from_numpy(np.stack([corpus.read(row).frames.transpose(3, 0, 2, 1) for row in rows]))
    few = replace(corpus, samples=corpus.samples.iloc[rows], read=lambda place: corpus.read(rows[place]))
    preparation = Preparation(bodies=corpus.bodies, planar=corpus.planar)
    [batch] = prepared_batches(few, preparation, len(rows))
    if 0 not in batch.rows:
        raise ValueError(f"{corpus.samples['name'].iloc[row]} cannot be prepared: {batch.skipped[0].reason}")
    return batch.x


def page(
    shown: Sequence[Shown],
    corpus: Corpus,
    heading: str,
    fps: float,
    left_out: Sequence[LeftOut] = (),
    notes: Sequence[str] = (),
    together: bool = False,
    centre: int | None = None,
) -> str:
    """One HTML page that needs no network and nothing beside it.

    Args:
        shown: at least one sequence.
        corpus: theirs.
        heading: of the page.
        fps: frames a second at the speed it begins with.
        left_out: recordings that cannot be shown.
        notes: sentences to stand below.
        together: whether all are shown beside each other, rather than listed by group to choose from.
        centre: the joint that lies at the origin if the sequences are prepared.
    """
    groups: dict[str, list[int]] = {}
    for place, one in enumerate(shown):
        groups.setdefault(one.group, []).append(place)
    captions = [one.caption if together else f"{one.group}\n{one.caption}" for one in shown]
    sequences = [
        player.packed(one.frames, one.title, caption, one.name, centre)
        for one, caption in zip(shown, captions, strict=True)
    ]
    facts = [
        corpus.name,
        _count(len(corpus.samples), "recording"),
        _count(len(corpus.class_names), "class", "classes"),
        f"{corpus.skeleton.num_joints} joints ({corpus.skeleton.name})",
    ]
    environment = Environment(
        loader=PackageLoader("hiclr", "pages"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template("view.html").render(
        heading=heading,
        facts=facts,
        synthetic=corpus.synthetic,
        together=together,
        groups=dict(sorted(groups.items())),
        sequences=sequences,
        left_out=left_out,
        notes=notes,
        style=Markup(player.style()),
        script=Markup(player.script()),
        data={"layout": player.layout(corpus.skeleton), "sequences": sequences, "fps": fps, "together": together},
    )


def _count(number: int, one: str, several: str = "") -> str:
    return f"{number:,} {one if number == 1 else several or one + 's'}"
