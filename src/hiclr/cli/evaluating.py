"""Verbs that measure a trained encoder on a benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hiclr.cli.console import progress
from hiclr.cli.results import features, report
from hiclr.data.module import SkeletonData
from hiclr.evaluation import linear_probe, nearest_neighbours
from hiclr.functional import Stream


def linear(
    checkpoint: Path,
    data: SkeletonData,
    stream: Stream | None = None,
    out: Path | None = None,
    epochs: int = 100,
    lr: float = 3.0,
    lr_drop: float = 0.8,
    batch_size: int = 128,
    standardize: bool = False,
    seed: int = 0,
) -> dict[str, Any]:
    """Trains a linear classifier on the frozen features: "linear evaluation", "unsupervised".

    The features are computed once; the published schedule then runs on the cached matrix.

    Args:
        checkpoint: a run's folder, a `.ckpt` of it, or published weights (`.pt`).
        data: prepared folder and benchmark.
        stream: what published weights were trained on; our own checkpoints know theirs.
        out: folder for the result; the checkpoint's when not given.
        epochs: passes over the training features.
        lr: learning rate (published: 3).
        lr_drop: share of the epochs after which the learning rate falls to a tenth.
        batch_size: features in a step.
        standardize: give every feature mean 0 and deviation 1 on the training side first. Not published;
            it makes the probe blind to the scale of the features.
        seed: of the classifier's weights and the order.

    Returns:
        The result, as saved in `linear-<benchmark>.json`.
    """
    trained, train_bank, test_bank = features(checkpoint, data, stream)
    if standardize:
        train_bank, test_bank = train_bank.standardised(train_bank), test_bank.standardised(train_bank)
    result = linear_probe(
        train_bank,
        test_bank,
        data.folder.num_classes,
        epochs=epochs,
        lr=lr,
        lr_drop_epoch=round(lr_drop * epochs),
        batch_size=batch_size,
        seed=seed,
        progress=progress("Linear probe"),
    )
    figures = {
        "top1_last_epoch": result.scores.top1,
        "top1_best_on_test": result.top1_best_on_test,
        "top1_by_epoch": result.top1_by_epoch,
    }
    settings = {"epochs": epochs, "lr": lr, "lr_drop": lr_drop, "batch_size": batch_size, "standardize": standardize}
    return report("linear", trained, data, out, figures, result.scores, {**settings, "seed": seed})


def knn(
    checkpoint: Path,
    data: SkeletonData,
    stream: Stream | None = None,
    out: Path | None = None,
    k: Sequence[int] = (1, 5, 10, 20, 40),
) -> dict[str, Any]:
    """Lets the nearest training sequences vote: cosine neighbours of the frozen features.

    Args:
        checkpoint: a run's folder, a `.ckpt` of it, or published weights (`.pt`).
        data: prepared folder and benchmark.
        stream: what published weights were trained on; our own checkpoints know theirs.
        out: folder for the result; the checkpoint's when not given.
        k: how many neighbours vote; the first is the headline.

    Returns:
        The result, as saved in `knn-<benchmark>.json`.
    """
    trained, train_bank, test_bank = features(checkpoint, data, stream)
    by_k = nearest_neighbours(train_bank, test_bank, data.folder.num_classes, k)
    figures = {"top1": by_k[k[0]].top1, "top1_by_k": {k: scores.top1 for k, scores in by_k.items()}}
    return report("knn", trained, data, out, figures, by_k[k[0]], {"k": list(k)})
