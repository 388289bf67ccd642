"""From a corpus to a prepared folder: the published preparation, a chunk of recordings at a time.

All is written into `<out>.partial` and renamed when whole. What is finished there is noted after each chunk, so a
preparation that was killed goes on where it stopped and ends with the same bytes as one that was not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text
from torch import Tensor

from hiclr import functional
from hiclr.data.about import Kept, Skipped, describe, samples_table, source_hash, source_times, summary
from hiclr.data.actors import Actors, choose_actors, seen_bodies
from hiclr.data.corpora.base import Corpus
from hiclr.data.folder import Preparation, PreparedFolder
from hiclr.data.processes import available, check_processes, spread
from hiclr.data.recordings.base import FARTHEST, broken_frames
from hiclr.data.writer import FolderWriter
from hiclr.resources import Needs, available_memory
from hiclr.screen import Screen
from hiclr.skeleton import Skeleton

PREPARATION = 2  # counts up when the same recordings would give other bytes; folders of another one are refused
CHUNK = 128  # recordings between two notes of progress
MOST_FRAMES = 10_000  # of a prepared sequence: of a larger number a chunk would not fit into memory
BATCH_FRAMES = 1 << 14  # padded frames in work at a time: one very long recording must not pad 127 others

_console = Screen(stderr=True, force_jupyter=False)


def prepare(
    corpus: Corpus,
    out: Path | str,
    *,
    frames: int = 50,
    actors: Actors = "file order",
    overwrite: bool = False,
    processes: int | None = None,
    progress: bool = True,
) -> PreparedFolder:
    """Prepares all recordings of a corpus (see `prepare_batch`) and opens the result.

    Recordings that are damaged, hold NaN or show no body are left out; `about.json` counts and names them, and says
    what was done with what else was dirty. A second start with nothing to do returns at once; one after a kill resumes.

    Args:
        corpus: from `hiclr.data.corpora`.
        out: the folder to make.
        frames: T, to which every sequence is resampled.
        actors: which bodies are kept where more are seen, and which comes first: "file order" (published: the order of
            first appearance) or "motion": the pieces of one person are joined, people who changed slots are put back,
            tracks too short, too wide or too still are dropped, most movement comes first, and frames without that body
            are dropped (see `hiclr.data.actors`).
        overwrite: replace a folder that was prepared from another source or with other options.
        processes: how many work at once; as many as there are cores when not given. The result is the same.
        progress: show a progress bar.

    Raises:
        ValueError: `out` is something else or prepared differently, an option is out of range, the skeleton tells no
            centre or shoulders, or no recording can be used.
        OSError: the disk has no room for the result, or a raw file is gone or cannot be read.
    """
    if not 1 <= frames <= MOST_FRAMES:
        raise ValueError(f"frames must be from 1 to {MOST_FRAMES}, got {frames}")
    check_processes(processes)
    if actors not in get_args(Actors):
        raise ValueError(f"actors must be one of {', '.join(map(repr, get_args(Actors)))}, got {actors!r}")
    skeleton = corpus.skeleton
    if actors == "motion" and corpus.planar:
        raise ValueError(f"{corpus.name} has poses without depth, whose movement is not in metres: use 'file order'")
    _ = skeleton.centre_joint, skeleton.shoulder_pair  # a skeleton that does not tell them says so before the work
    recipe = {
        "preparation": PREPARATION,
        "corpus": corpus.name,
        "source_hash": source_hash(corpus),
        "source_times": source_times(corpus.files),
        "frames": frames,
        "actors": actors,
    }
    shape = (3, frames, skeleton.num_joints, corpus.bodies)
    writer = FolderWriter(out, recipe, shape, rows=len(corpus.samples), chunk=CHUNK, overwrite=overwrite)
    if writer.is_done() and not writer.is_begun():
        _say(f"{out} is prepared already: nothing to do")
        return PreparedFolder.open(out)
    with writer.locked():
        if writer.is_done():  # by another process meanwhile, or a kill came just before the tidying
            writer.abandon()
        else:
            _say(*summary(_fill(writer, corpus, recipe, processes, progress)), f"written to {out}")
    return PreparedFolder.open(out)


def _fill(
    writer: FolderWriter, corpus: Corpus, recipe: dict[str, Any], processes: int | None, progress: bool
) -> dict[str, Any]:
    """Prepares what is not there yet and puts the folder into place; returns what `about.json` says."""
    size = len(corpus.samples)
    needs = _needs(writer, corpus, recipe["frames"], processes)  # before the room is reserved
    begun = writer.start()
    _say(*begun, *([] if writer.notes else needs))

    def work(chunk: int) -> tuple[list[Kept], list[Skipped]]:
        rows = range(chunk * CHUNK, min((chunk + 1) * CHUNK, size))
        sequences, kept, skipped = _prepare_rows(corpus, rows, recipe["frames"], recipe["actors"])
        writer.write(chunk, sequences)
        return kept, skipped

    todo = [chunk for chunk in range(math.ceil(size / CHUNK)) if chunk not in writer.notes]
    with _bar(f"preparing {corpus.name}", size, writer.notes.values(), progress) as advance:
        for chunk, (kept, skipped) in spread(work, todo, processes):
            writer.note(chunk, len(kept), {"kept": kept, "skipped": skipped})
            advance(writer.notes[chunk])
    kept, skipped = [], []
    for chunk in sorted(writer.notes):
        note = writer.notes.pop(chunk)  # of a large corpus nothing should be kept twice
        kept += [Kept(*facts) for facts in note["kept"]]
        skipped += [Skipped(*facts) for facts in note["skipped"]]
    if not kept:
        writer.abandon()
        reason = f": {skipped[0].reason}" if skipped else ""
        raise ValueError(f"none of the {size} recordings of {corpus.name} can be used{reason}")
    about = describe(corpus, recipe, kept, skipped)
    writer.finish(samples_table(corpus, kept), about)
    return about


def _needs(writer: FolderWriter, corpus: Corpus, frames: int, processes: int | None) -> list[str]:
    """Sentences about what the preparation takes."""
    size = len(corpus.samples)
    workers = max(1, min(processes or available(), available(), math.ceil(size / CHUNK)))
    memory = memory_of_chunk(frames, corpus.skeleton.num_joints, corpus.bodies)
    needs = Needs(f"{corpus.name}, {size:,} recordings", writer.root, writer.disk, memory, available_memory(), workers)
    return [str(needs), *filter(None, [needs.remark("start fewer processes (--processes 1)")])]


def memory_of_chunk(frames: int, joints: int, bodies: int) -> int:
    """Bytes that a process takes at most to prepare a chunk, beside one recording of extraordinary length.

    Args:
        frames: T.
        joints: V.
        bodies: M.
    """
    frame = 4 * 3 * joints * bodies
    # the clips, the same padded and centred; what comes out, before and after it is interpolated and turned
    return 3 * BATCH_FRAMES * frame + 4 * CHUNK * frames * frame


# --- the numbers ------------------------------------------------------------------------------------------------------


def prepare_batch(x: Tensor, skeleton: Skeleton, frames: int = 50, planar: bool = False) -> Tensor:
    """The published preparation: valid length, centre, resample, face the camera.

    The frames that show body 1 are counted, and that many are taken from the start (so where empty frames lie between,
    as many are lost at the end, as in the published code). The published code looks at joint 1 alone, which would find
    no body in data whose first joint is the origin; any joint will do here.

    Args:
        x: (N, 3, T, V, M) in metres, padded with zeros to a common T.
        skeleton: gives the centre joint and the shoulders.
        frames: T of the result.
        planar: nobody is turned to face the camera, as for poses without depth.

    Raises:
        ValueError: a sequence has no valid frame.
    """
    lengths = x[..., 0].ne(0).any(3).any(1).sum(1)
    if not lengths.all():
        raise ValueError(f"sequence {int(lengths.argmin())} shows no body 1: all its joints are zero in all frames")
    x = functional.centre(x, skeleton.centre_joint)
    x = functional.resample(x, lengths, frames)
    return x if planar else functional.face_camera(x, skeleton.shoulder_pair)


class PreparedBatch(NamedTuple):
    """Some recordings of a corpus, prepared.

    Args:
        rows: of the corpus.
        x: (N, 3, T, V, M).
        skipped: what lay between them and cannot be used, and why.
    """

    rows: list[int]
    x: Tensor
    skipped: list[Skipped]


def prepared_batches(corpus: Corpus, preparation: Preparation, batch_size: int = CHUNK) -> Iterator[PreparedBatch]:
    """Prepares recordings in memory, as `prepare` does on disk, a batch at a time.

    Raises:
        OSError: a raw file is gone or cannot be read.
    """
    wanted = replace(corpus, bodies=preparation.bodies, planar=preparation.planar)
    for first in range(0, len(corpus.samples), batch_size):
        rows = range(first, min(first + batch_size, len(corpus.samples)))
        sequences, kept, skipped = _prepare_rows(wanted, rows, preparation.frames, preparation.actors)
        yield PreparedBatch([facts.row for facts in kept], torch.from_numpy(sequences), skipped)


def _prepare_rows(
    corpus: Corpus, rows: range, frames: int, actors: Actors
) -> tuple[NDArray[np.float32], list[Kept], list[Skipped]]:
    kept: list[Kept] = []
    skipped: list[Skipped] = []
    clips: list[NDArray[np.float32]] = []
    for row in rows:
        try:
            clip, facts = _examine(row, corpus, actors)
        except ValueError as error:
            skipped.append(Skipped(row, str(error)))
        else:
            clips.append(clip)
            kept.append(facts)
    empty = np.empty((0, 3, frames, corpus.skeleton.num_joints, corpus.bodies), np.float32)
    prepared = [
        prepare_batch(_padded(batch), corpus.skeleton, frames, corpus.planar).numpy() for batch in _batches(clips)
    ]
    return np.concatenate([empty, *prepared]), kept, skipped


def _examine(row: int, corpus: Corpus, actors: Actors) -> tuple[NDArray[np.float32], Kept]:
    """Reads a recording and chooses its actors; ValueError with the reason where it cannot be used."""
    try:
        frames = corpus.read(row).frames
    except OSError as error:  # a disk that fails must not leave out whatever comes after
        name = corpus.samples["name"].iloc[row]
        raise OSError(f"{name} cannot be read ({error.strerror or error}): start again to go on once it can") from None
    broken = broken_frames(frames)
    if broken.any():
        raise ValueError(
            f"NaN (or empty cells) or coordinates beyond {FARTHEST:g} m in {broken.sum()} of {len(frames)} frames"
        )
    clip = choose_actors(frames, corpus.bodies, actors)
    seen = seen_bodies(clip)
    length = int(seen[:, 0].sum())
    if not length:
        raise ValueError(f"no first body in {len(frames)} frames")
    facts = Kept(
        row=row,
        length=length,
        bodies=int(seen.any(0).sum()),
        empty=len(frames) - length,
        late=int((seen.any(0) & ~seen[0]).sum()),
        crowd=int(seen_bodies(frames).any(0).sum() - seen.any(0).sum()),
    )
    return clip, facts


def _batches(clips: Sequence[NDArray[np.float32]]) -> Iterator[Sequence[NDArray[np.float32]]]:
    first, longest = 0, 0
    for i, clip in enumerate(clips):
        longest = max(longest, len(clip))
        if i > first and longest * (i + 1 - first) > BATCH_FRAMES:
            yield clips[first:i]
            first, longest = i, len(clip)
    if first < len(clips):
        yield clips[first:]


def _padded(clips: Sequence[NDArray[np.float32]]) -> Tensor:
    """Clips (F, M, V, 3) of any length as one batch (N, 3, T, V, M)."""
    batch = np.zeros((len(clips), max(map(len, clips)), *clips[0].shape[1:]), np.float32)
    for i, clip in enumerate(clips):
        batch[i, : len(clip)] = clip
    return torch.from_numpy(batch).permute(0, 4, 1, 3, 2)


# --- on screen --------------------------------------------------------------------------------------------------------


def _say(*sentences: str) -> None:
    for sentence in sentences:
        _console.print(sentence, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def _bar(
    what: str, total: int, notes: Iterable[dict[str, Any]], shown: bool
) -> Iterator[Callable[[dict[str, Any]], None]]:
    """A progress bar that begins after the chunks of some notes; what it yields takes the note of each further one."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    more = (TextColumn("{task.fields[skipped]} skipped"), _Rate(), TimeRemainingColumn())
    # no thread that refreshes it: a process forked while that holds a lock could wait for ever
    with Progress(*columns, *more, console=_console, disable=not shown, auto_refresh=False) as bar:
        task = bar.add_task(what, total=total, skipped=0, before=0)
        done = skipped = 0

        def advance(note: dict[str, Any]) -> None:
            nonlocal done, skipped
            done += len(note["kept"]) + len(note["skipped"])
            skipped += len(note["skipped"])
            bar.update(task, completed=done, skipped=skipped, refresh=True)

        for note in notes:
            advance(note)
        bar.update(task, before=done)
        yield advance


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        done, seconds = task.completed - task.fields["before"], task.finished_time or task.elapsed
        return Text(f"{done / seconds:,.0f}/s" if seconds else "")
