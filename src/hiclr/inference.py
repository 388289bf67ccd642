"""What a model is used for: from data of any kind to features and classes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch.nn.functional import pad

from hiclr.data.about import Skipped
from hiclr.data.corpora.base import Corpus, LeftOut
from hiclr.data.corpora.clips import UNLABELLED, clips
from hiclr.data.folder import Preparation, PreparedFolder
from hiclr.data.opening import PREPARED, open_corpus, recognise
from hiclr.data.prepare import PreparedBatch, prepared_batches
from hiclr.model import Model

CLIPS = clips.__name__

Rows = NDArray[np.int64]
Progress = Callable[[Iterable[Any]], Iterable[Any]]


# --- the data ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Source:
    """Recordings or prepared sequences on their way to a model.

    Args:
        corpus: what is there.
        folder: where it lies prepared; None for raw recordings.
        preparation: of the sequences that `read` gives.
        remarks: in what they are not quite as the model expects, in sentences.
    """

    corpus: Corpus
    folder: PreparedFolder | None
    preparation: Preparation
    remarks: tuple[str, ...] = ()

    @property
    def labelled(self) -> bool:
        """Whether the classes are known."""
        return self.corpus.class_names != (UNLABELLED,)

    def read(self, rows: Rows) -> PreparedBatch:
        """Some rows, ascending, as the model expects them."""
        if self.folder is not None:
            x = torch.from_numpy(self.folder.sequences[rows])
            missing = self.preparation.bodies - x.shape[4]  # a negative number takes the last bodies away
            return PreparedBatch(rows.tolist(), pad(x, (0, missing)), [])
        read, samples = self.corpus.read, self.corpus.samples.iloc[rows]
        some = replace(self.corpus, samples=samples, read=lambda place: read(int(rows[place])))
        (batch,) = prepared_batches(some, self.preparation, len(rows))
        skipped = [Skipped(int(rows[place]), reason) for place, reason in batch.skipped]
        return PreparedBatch([int(rows[place]) for place in batch.rows], batch.x, skipped)


def open_source(
    path: Path | str, model: Model, kind: str | None = None, options: Mapping[str, Any] | None = None
) -> Source:
    """Opens data of any kind for a model: raw recordings will be prepared as it expects.

    Sequences that are prepared already are taken as they are. If the model expects more bodies, they are absent; if
    fewer, the first ones are kept, as in preparation. Clips of one's own are read as the model's joints, unless an
    option says that they are others.

    Args:
        path: what `hiclr.data.opening.open_corpus` reads.
        model: what it is opened for.
        kind: what to take it for; recognised when None.
        options: further arguments of that kind.

    Raises:
        FileNotFoundError: there is nothing at `path`.
        ValueError: nothing there is known, its joints are others than the model's, or it was prepared for another
            number of frames.
    """
    path = Path(path)
    kind = kind or recognise(path)
    asked = {"skeleton": model.skeleton} if kind == CLIPS else {}  # they need not tell: arrays, numbered columns
    corpus = open_corpus(path, kind, {**asked, **(options or {})})
    model.check_skeleton(corpus.skeleton, str(path))
    if kind != PREPARED:
        return Source(corpus, None, model.preparation)
    folder, wanted = PreparedFolder.open(path), model.preparation
    there = folder.preparation
    if there.frames != wanted.frames:
        raise ValueError(
            f"{path} is prepared with {there.frames} frames, the model expects {wanted.frames}: prepare the recordings "
            f"with --frames {wanted.frames}, or give them as they are"
        )
    return Source(corpus, folder, replace(there, bodies=wanted.bodies), tuple(_differences(path, there, wanted)))


def _differences(path: Path, there: Preparation, wanted: Preparation) -> Iterable[str]:
    if there.bodies != wanted.bodies:
        done = "the others are absent" if there.bodies < wanted.bodies else "the first are kept"
        yield f"{path} is prepared for {there.bodies} bodies, the model expects {wanted.bodies}: {done}"
    if there.actors != wanted.actors:
        yield f"{path} is prepared with actors {there.actors!r}, the model expects {wanted.actors!r}"
    if there.planar != wanted.planar:
        turned = "not turned to face the camera" if there.planar else "turned to face the camera"
        yield f"the sequences of {path} are {turned}, unlike those that the model expects"


# --- features ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Embeddings:
    """Features of sequences, and what is known of these.

    Args:
        samples: N rows: name, label, subject, ..., and a column of train and test for each benchmark.
        features: (N, D) float32.
        class_names: one per label; None where labels are not known.
        skipped: recordings that cannot be used.
    """

    samples: pd.DataFrame
    features: NDArray[np.float32]
    class_names: tuple[str, ...] | None
    skipped: tuple[LeftOut, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Of the N sequences."""
        return tuple(self.samples["name"])

    @property
    def labels(self) -> NDArray[np.int64] | None:
        """(N,), or None where they are not known."""
        return None if self.class_names is None else self.samples["label"].to_numpy("int64")

    @property
    def classes(self) -> tuple[str | None, ...]:
        """The name of each sequence's class, None where it is not known."""
        if self.class_names is None:
            return (None,) * len(self.samples)
        return tuple(self.class_names[label] for label in self.samples["label"])


@torch.inference_mode()
def embed_source(
    model: Model,
    source: Source,
    rows: Rows | None = None,
    batch_size: int = 64,
    device: torch.device | str = "cpu",
    progress: Progress = iter,
) -> Embeddings:
    """Features of the recordings of a source.

    Args:
        model: gives the features; it is moved to the device.
        source: from `open_source`.
        rows: of its corpus, ascending; all when None.
        batch_size: sequences at a time.
        device: where to compute.
        progress: wraps the batches, for a progress bar.

    Raises:
        OSError: a raw file is gone or cannot be read.
        ValueError: no recording can be used, or a feature is no finite number.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    samples = source.corpus.samples
    rows = np.arange(len(samples)) if rows is None else rows
    model.to(device)
    kept: list[int] = []
    skipped: list[Skipped] = []
    features = [torch.empty(0, model.encoder.feature_dim)]
    for part in progress([rows[first : first + batch_size] for first in range(0, len(rows), batch_size)]):
        batch = source.read(part)
        kept += batch.rows
        skipped += batch.skipped
        if batch.rows:
            features.append(model(batch.x.to(device)).float().cpu())
    if not kept:
        reason = f": {skipped[0].reason}" if skipped else ""
        raise ValueError(f"none of the {len(rows)} recordings of {source.corpus.name} can be used{reason}")
    found = torch.cat(features)
    names = samples["name"]
    if not found.isfinite().all():
        first = names.iloc[kept[int(found.isfinite().all(1).int().argmin())]]
        raise ValueError(
            "the model gives features that are no finite numbers: its training has diverged, or the data hold NaN "
            f"({first} for one)"
        )
    return Embeddings(
        samples.iloc[kept].reset_index(drop=True),
        found.numpy(),
        source.corpus.class_names if source.labelled else None,
        tuple(LeftOut(str(names.iloc[row]), reason) for row, reason in skipped),
    )


# --- classes ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Predictions:
    """How probable each class is, for each clip.

    Args:
        class_names: of the L classes.
        names: of the N clips.
        probabilities: (N, L) float32.
        truths: the class that each clip is known to be of, None where it is not known.
        skipped: clips that cannot be used.
    """

    class_names: tuple[str, ...]
    names: tuple[str, ...]
    probabilities: NDArray[np.float32]
    truths: tuple[str | None, ...]
    skipped: tuple[LeftOut, ...] = ()

    @property
    def classes(self) -> tuple[str, ...]:
        """The most probable class of each clip."""
        return tuple(self.class_names[label] for label in self.probabilities.argmax(1))

    @property
    def right(self) -> tuple[bool | None, ...]:
        """Whether each clip's class was found; None where it is not known, or is none that the model knows."""
        return tuple(
            found == truth if truth in self.class_names else None
            for found, truth in zip(self.classes, self.truths, strict=True)
        )

    def top(self, k: int) -> list[list[tuple[str, float]]]:
        """The k most probable classes of each clip and their probabilities, the most probable first."""
        return [top_classes(row, self.class_names, k) for row in self.probabilities]


def top_classes(
    probabilities: NDArray[np.floating[Any]], class_names: Sequence[str], k: int
) -> list[tuple[str, float]]:
    """The k most probable of L classes, the most probable first; among equals the first in their order."""
    order = np.argsort(-probabilities, kind="stable")[:k]
    return [(class_names[label], float(probabilities[label])) for label in order]


@torch.inference_mode()
def classify(model: Model, embeddings: Embeddings) -> Predictions:
    """Classes of what a model has embedded.

    Raises:
        ValueError: the model has no classifier.
    """
    class_names = model.class_names
    features = torch.from_numpy(embeddings.features).to(next(model.buffers()).device)
    probabilities = model.probabilities(features).cpu().numpy()
    return Predictions(class_names, embeddings.names, probabilities, embeddings.classes, embeddings.skipped)
