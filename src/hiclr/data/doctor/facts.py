"""What there is to see in one recording, as numbers; `findings` judges them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from hiclr.data.actors import body_switches, seen_bodies
from hiclr.data.corpora.base import Corpus
from hiclr.data.processes import spread
from hiclr.data.recordings.base import broken_frames
from hiclr.skeleton import Skeleton, name_words

CHUNK = 64  # recordings that a process examines at a time

LONGEST_BONE = 1.0  # metres
STRETCH = 0.5, 0.3  # a bone is off where its length leaves its median by more than this part and these metres
UPRIGHT = 0.9  # cosine of 26 degrees, which the trunk may lean and still tell the axis
STILL = 1e-5  # metres; no joint of a living body stays within so little from one frame to the next, nor does a sensor


class Facts(NamedTuple):
    """What was seen in a recording; all zero where it cannot be read or holds NaN.

    Args:
        fault: why it cannot be read, else "".
        frames: F.
        broken: frames with NaN or with coordinates too large.
        no_body: frames that show nobody.
        bodies: how many are seen at all.
        length: frames that show the first body.
        still: frames in the longest run in which the first body does not move by `STILL`.
        size: metres, the largest extent of the first body along an axis, median over frames.
        odd: part of the frames that show a body with an impossible bone (see `odd_bones`).
        switches: frames at which bodies change places.
        up: the axis along which the first body's trunk points from the hips ("y", "-z", ...), "" where it is near none.
        digest: of the coordinates; the same for two copies of a recording. "" where nobody is seen.
    """

    fault: str = ""
    frames: int = 0
    broken: int = 0
    no_body: int = 0
    bodies: int = 0
    length: int = 0
    still: int = 0
    size: float = 0.0
    odd: float = 0.0
    switches: int = 0
    up: str = ""
    digest: str = ""


def all_facts(corpus: Corpus, centred: bool, processes: int | None = None, progress: bool = True) -> pd.DataFrame:
    """The facts of all recordings: a table of N rows with the columns of `Facts`, in the order of `corpus.samples`."""
    size = len(corpus.samples)

    def work(chunk: int) -> list[Facts]:
        return [facts_of(corpus, row, centred) for row in range(chunk * CHUNK, min((chunk + 1) * CHUNK, size))]

    chunks = range(math.ceil(size / CHUNK))
    done: Iterable[tuple[int, list[Facts]]] = spread(work, chunks, processes)
    if progress:
        console = Console(stderr=True, force_jupyter=False)
        done = track(done, "examining", len(chunks), auto_refresh=False, console=console, transient=True)  # see prepare
    facts = [one for _, some in sorted(done) for one in some]
    return pd.DataFrame(facts, columns=list(Facts._fields))


def facts_of(corpus: Corpus, row: int, centred: bool = False) -> Facts:
    """Examines one recording.

    Args:
        corpus: gives the recording and the skeleton.
        row: which.
        centred: whether each body is at the origin, so that nobody can be told by place.
    """
    try:
        frames = corpus.read(row).frames
    except (ValueError, OSError) as error:
        return Facts(fault=str(error))
    broken = broken_frames(frames)
    if broken.any():
        return Facts(frames=len(frames), broken=int(broken.sum()))
    seen = seen_bodies(frames)
    facts = Facts(
        frames=len(frames),
        no_body=int((~seen.any(1)).sum()),
        bodies=int(seen.any(0).sum()),
        digest=_digest(frames) if seen.any() else "",
        switches=0 if centred else int(body_switches(frames).sum()),
        odd=0.0 if corpus.planar or not seen.any() else _part_odd(frames, seen, corpus.skeleton),
    )
    if not seen[:, :1].any():
        return facts
    first = frames[seen[:, 0], 0]
    return facts._replace(
        length=len(first),
        still=longest_still(first),
        size=float(np.median(np.ptp(first, axis=1).max(1))),
        up=trunk_axis(first, corpus.skeleton),
    )


def trunk_axis(body: NDArray[np.float32], skeleton: Skeleton) -> str:
    """The axis nearest to the way from hips to shoulders, median over a body's frames (F, V, 3); "" far from any."""
    try:
        pairs, shoulders = skeleton.mirror_pairs, skeleton.shoulder_pair
    except ValueError:  # its names do not tell left from right; preparation says so where it needs them
        return ""
    hips = [pair for pair in pairs if "hip" in name_words(skeleton.joint_names[pair[0]])]
    if not hips:
        return ""
    trunk = np.median(body[:, list(shoulders)].mean(1) - body[:, list(hips[0])].mean(1), axis=0)
    axis = int(np.abs(trunk).argmax())
    if not abs(trunk[axis]) > UPRIGHT * np.linalg.norm(trunk):
        return ""
    return ("" if trunk[axis] > 0 else "-") + "xyz"[axis]


def longest_still(body: NDArray[np.float32]) -> int:
    """Frames in the longest run without movement, at least 1, of a body's frames (F, V, 3)."""
    moves = np.flatnonzero((np.abs(np.diff(body, axis=0)) > STILL).any((1, 2)))
    return int(np.diff([-1, *moves, len(body) - 1]).max())


def odd_bones(body: NDArray[np.float32], skeleton: Skeleton) -> NDArray[np.bool_]:
    """The frames of a body, (F, V, 3) -> (F,), in which a bone is too long or far from its usual length."""
    parents = np.array(skeleton.parents)
    ends = np.flatnonzero(parents >= 0)
    lengths = np.linalg.norm(body[:, ends] - body[:, parents[ends]], axis=-1)
    usual = np.median(lengths, axis=0)
    part, metres = STRETCH
    off = np.abs(lengths - usual) > np.maximum(part * usual, metres)
    return np.asarray((off | (lengths > LONGEST_BONE)).any(1))


def _part_odd(frames: NDArray[np.float32], seen: NDArray[np.bool_], skeleton: Skeleton) -> float:
    odd = np.zeros_like(seen)
    for body in np.flatnonzero(seen.any(0)):
        odd[seen[:, body], body] = odd_bones(frames[seen[:, body], body], skeleton)
    return float(odd.any(1).sum() / seen.any(1).sum())


def _digest(frames: NDArray[np.float32]) -> str:
    return hashlib.blake2b(f"{frames.shape}".encode() + frames.tobytes(), digest_size=16).hexdigest()
