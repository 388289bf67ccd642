"""Verbs that measure a trained encoder on a benchmark without changing it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from hiclr.card import figure_name
from hiclr.cli.console import progress
from hiclr.cli.launch import launch
from hiclr.cli.needs import say_needs_of_measuring
from hiclr.cli.results import features, fitted, record, result_folder
from hiclr.data.module import SkeletonData
from hiclr.distributed import by_first
from hiclr.encoders.checkpoint import load_encoder
from hiclr.encoders.head import LinearHead, for_raw_features
from hiclr.evaluation import (
    FeatureBank,
    average_precision,
    check_neighbours,
    check_probe,
    held_out,
    linear_probe,
    nearest_neighbours,
)
from hiclr.functional import Stream
from hiclr.methods.machine import Accelerator, Machine
from hiclr.methods.trainee import check_lr_drops
from hiclr.model import Model


def linear(
    checkpoint: Path,
    data: SkeletonData,
    stream: Stream | None = None,
    out: Path | None = None,
    epochs: int = 100,
    lr: float = 3.0,
    lr_drops: Sequence[float] = (0.8,),
    batch_size: int = 128,
    standardize: bool = False,
    validation: float = 0.0,
    seed: int = 0,
    accelerator: Accelerator = "auto",
    devices: int = 1,
    num_nodes: int = 1,
) -> dict[str, Any]:
    """Trains a linear classifier on the frozen features: "linear evaluation", "unsupervised".

    The features are computed once; the published schedule then runs on the cached matrix. Encoder and classifier are
    saved as a model (`linear-<benchmark>-model`), which `hiclr predict` takes.

    Args:
        checkpoint: a run's folder, a `.ckpt` of it, or published weights (`.pt`).
        data: prepared folder and benchmark.
        stream: which of the encoders of a checkpoint that holds several; what published weights were trained on.
        out: folder for the result; the checkpoint's when not given (with several encoders: the stream's in it).
        epochs: passes over the training features.
        lr: learning rate (published: 3).
        lr_drops: shares of the epochs after which the learning rate falls to a tenth (published: 0.8; transformer:
            0.3 and 0.8).
        batch_size: features in a step.
        standardize: give every feature mean 0 and deviation 1 on the training side first. Not published;
            it makes the probe blind to the scale of the features.
        validation: share of each class of the training side that a second probe does not learn from and scores, so
            that `ensemble` can choose its weights there. The result itself does not change.
        seed: of the classifier's weights, the order, and what is held out.
        accelerator: cpu, gpu or auto.
        devices: processes on each machine that share the encoding; one for each GPU.
        num_nodes: machines; start the command on each (SLURM, torchrun).

    Returns:
        The result, as saved in `linear-<benchmark>.json`.

    Raises:
        FileNotFoundError: if there is no such checkpoint.
        ValueError: for settings that cannot work, or an encoder that does not fit the data.
        OSError: the disk has no room for the result.
    """
    check_lr_drops(lr_drops)
    if not 0 <= validation < 1:
        raise ValueError(f"validation is a share of the training side, from 0 to below 1, got {validation}")
    check_probe(epochs, lr, batch_size)
    held = held_out(data.labels(data.train_rows), validation, seed) if validation else None
    machine = Machine(accelerator, devices, num_nodes)
    trained = load_encoder(checkpoint, stream)
    device = launch(machine)
    encoder = fitted(trained, data, device)
    place, copies = result_folder(trained, data, out), 3 if standardize else 2
    say_needs_of_measuring(encoder, trained.stream, data, place, machine, copies, model=True)
    train_bank, test_bank = features(trained, data, device, encoder)
    probe = partial(
        linear_probe,
        classes=data.folder.num_classes,
        epochs=epochs,
        lr=lr,
        lr_drop_epochs=[round(drop * epochs) for drop in lr_drops],
        batch_size=batch_size,
        seed=seed,
        device=device,
    )
    sides = _scaled(train_bank, test_bank, standardize)
    result = by_first(partial(probe, *sides, progress=progress("Linear probe")))
    figures: dict[str, Any] = {
        "top1_last_epoch": result.scores.top1,
        "top1_best_on_test": result.top1_best_on_test,
        "top1_by_epoch": result.top1_by_epoch,
    }
    validated = None
    if held is not None:
        sides = _scaled(train_bank.where(~held), train_bank.where(held), standardize)
        validated = by_first(partial(probe, *sides, progress=progress("Probe to validate"))).scores
        figures |= {"validation_top1": validated.top1, "validation_sequences": len(validated.labels)}
    settings = {
        "epochs": epochs,
        "lr": lr,
        "lr_drops": list(lr_drops),
        "batch_size": batch_size,
        "standardize": standardize,
        "validation": validation,
        "seed": seed,
    }
    head = _head(result.layer, train_bank, data.folder.class_names, standardize)
    shared = {figure_name("linear", data.folder.about["corpus"], data.benchmark): result.scores.top1}
    model = Model(encoder, trained.stream, data.folder.preparation, head, trained.epochs, trained.run, shared)
    learnt_from = len(train_bank.labels)
    return record(
        "linear", trained, data, out, figures, result.scores, settings, learnt_from, validated, model, device=device
    )


def _head(layer: Tensor, bank: FeatureBank, class_names: Sequence[str], standardize: bool) -> LinearHead:
    """The probe as a classifier of features as the encoder gives them."""
    bias, weight = layer[:, 0], layer[:, 1:]
    if standardize:
        weight, bias = for_raw_features(weight, bias, *bank.spread())
    return LinearHead(class_names, weight, bias)


def _scaled(train: FeatureBank, test: FeatureBank, standardize: bool) -> tuple[FeatureBank, FeatureBank]:
    return (train.standardised(train), test.standardised(train)) if standardize else (train, test)


def knn(
    checkpoint: Path,
    data: SkeletonData,
    stream: Stream | None = None,
    out: Path | None = None,
    k: Sequence[int] = (1, 5, 10, 20, 40),
    accelerator: Accelerator = "auto",
    devices: int = 1,
    num_nodes: int = 1,
) -> dict[str, Any]:
    """Searches the training side for the like of each test sequence: nearest neighbours vote, and retrieval.

    Nearness is the cosine of frozen features. Retrieval is measured as mean average precision ("retrieval mAP"):
    sequences of the same class should come first.

    Args:
        checkpoint: a run's folder, a `.ckpt` of it, or published weights (`.pt`).
        data: prepared folder and benchmark.
        stream: which of the encoders of a checkpoint that holds several; what published weights were trained on.
        out: folder for the result; the checkpoint's when not given (with several encoders: the stream's in it).
        k: how many neighbours vote; the first is the headline.
        accelerator: cpu, gpu or auto.
        devices: processes on each machine that share the encoding; one for each GPU.
        num_nodes: machines; start the command on each (SLURM, torchrun).

    Returns:
        The result, as saved in `knn-<benchmark>.json`. `retrieval_left_out` counts test sequences of classes that
        the training side lacks: they are no queries.

    Raises:
        FileNotFoundError: if there is no such checkpoint.
        ValueError: for a k that cannot be, or an encoder that does not fit the data.
        OSError: the disk has no room for the result.
    """
    machine = Machine(accelerator, devices, num_nodes)
    trained = load_encoder(checkpoint, stream)
    check_neighbours(k, len(data.train_rows))
    device = launch(machine)
    encoder, place = fitted(trained, data, device), result_folder(trained, data, out)
    say_needs_of_measuring(encoder, trained.stream, data, place, machine, 2, model=False)
    sides = features(trained, data, device, encoder)
    search = partial(nearest_neighbours, *sides, data.folder.num_classes, k)
    by_k = by_first(partial(search, progress("Nearest neighbours"), device))
    precision = by_first(partial(average_precision, *sides, progress("Retrieval"), device))
    known = precision[~precision.isnan()]
    figures = {
        "top1": by_k[k[0]].top1,
        "top1_by_k": {k: scores.top1 for k, scores in by_k.items()},
        "retrieval_map": 100 * known.mean().item() if len(known) else None,
        "retrieval_left_out": len(precision) - len(known),
    }
    bank_size = len(sides[0].labels)
    return record("knn", trained, data, out, figures, by_k[k[0]], {"k": list(k)}, bank_size, device=device)
