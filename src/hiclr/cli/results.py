"""What the verbs that measure an encoder share: its features, where a result goes, what is in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from hiclr.cli.console import console, progress
from hiclr.data.module import SkeletonData
from hiclr.encoders.checkpoint import TrainedEncoder, load_encoder
from hiclr.evaluation import FeatureBank, Scores, encode
from hiclr.functional import Stream, to_stream
from hiclr.provenance import describe_data, file_hash, provenance, write_json


def features(
    checkpoint: Path, data: SkeletonData, stream: Stream | None
) -> tuple[TrainedEncoder, FeatureBank, FeatureBank]:
    """The encoder of a checkpoint, and its features of the training and of the test side.

    Raises:
        FileNotFoundError: if there is no such checkpoint.
        ValueError: if the encoder does not fit the data, or no benchmark is chosen.
    """
    trained = load_encoder(checkpoint, stream)
    check_joints(trained, data)
    if data.benchmark is None:
        raise ValueError(f"evaluation needs a benchmark: choose one of {', '.join(data.folder.benchmarks)}")
    sides = [data.train_rows, data.folder.indices(data.benchmark, "test")]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    banks = []
    for side, rows in zip(("train", "test"), sides, strict=True):
        loader = data.batches(rows)
        bar = progress(f"Features of the {side} side")
        batches = (to_stream(x, trained.stream, data.skeleton.parents) for x in bar(loader))
        samples = data.folder.samples.iloc[rows]
        labels = torch.from_numpy(samples["label"].to_numpy("int64", copy=True))
        banks.append(FeatureBank(tuple(samples["name"]), encode(trained.encoder, batches, device), labels))
    return trained, banks[0], banks[1]


def check_joints(trained: TrainedEncoder, data: SkeletonData) -> None:
    """ValueError unless the encoder was trained on as many joints as the data has."""
    ours, theirs = trained.encoder.skeleton, data.skeleton
    if ours.num_joints != theirs.num_joints:
        raise ValueError(
            f"{trained.path} was trained on {ours.num_joints} joints ({ours.name}), {data.folder.root} has "
            f"{theirs.num_joints} ({theirs.name}): evaluate on data with the same joints"
        )


def result_folder(trained: TrainedEncoder, out: Path | None) -> Path:
    """Where results about an encoder go: `out`, else beside its checkpoint (by stream, if that holds several)."""
    beside = trained.path.parent
    return out or (beside / trained.stream if len(trained.streams) > 1 else beside)


def report(
    protocol: str,
    trained: TrainedEncoder,
    data: SkeletonData,
    out: Path | None,
    figures: Mapping[str, Any],
    scores: Scores,
    settings: Mapping[str, Any],
    name: str | None = None,
) -> dict[str, Any]:
    """Saves a result with all that repeats it, prints its figures, returns it.

    Args:
        protocol: what was done: `linear`, `knn`, ...
        trained: the encoder that was measured.
        data: what it was measured on.
        out: folder for the result; `result_folder` when not given.
        figures: the measurement, in per cent; those that are one number are printed.
        scores: of the test side.
        settings: of the protocol.
        name: the first part of the files' names, `<name>-<benchmark>.json` and `<name>-<benchmark>-scores.npz`;
            the protocol when not given.
    """
    result = {
        "protocol": protocol,
        **figures,
        # of the classes that can be learnt: PKU-MMD II keeps names of classes that it lacks
        "chance": 100 / data.folder.samples["label"].iloc[data.train_rows].nunique(),
        **by_class(scores, data.folder.class_names),
        "stream": trained.stream,
        "settings": dict(settings),
        "data": describe_data(data.folder, data.benchmark),
        "train_sequences": len(data.train_rows),
        "test_sequences": len(scores.labels),
        "checkpoint": {"path": str(trained.path), "sha256": file_hash(trained.path), "epochs": trained.epochs},
        "pretraining": dict(trained.run),
        **provenance(),
    }
    save(result, scores, result_folder(trained, out) / f"{name or protocol}-{data.benchmark}.json")
    return result


def by_class(scores: Scores, class_names: Sequence[str]) -> dict[str, Any]:
    """Accuracy in per cent of each class, and the confusion matrix (L, L)."""
    confusion = scores.confusion()
    per_class = 100 * confusion.diagonal() / confusion.sum(1).clip(min=1)
    return {
        "top1_per_class": dict(zip(class_names, per_class.tolist(), strict=True)),
        "confusion": confusion.tolist(),
    }


def save(result: Mapping[str, Any], scores: Scores, path: Path) -> None:
    """Writes a result to `path`, its scores beside it, and prints its figures."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scores.save(scores_path(path))
    write_json(path, result)  # last: where there is a result, it is whole
    for name, figure in result.items():
        if isinstance(figure, float) and name != "chance":
            chance = f"  (chance {result['chance']:.2f} %)" if name.startswith("top1") else ""
            print(f"{result['protocol']} {name}: {figure:.2f} %{chance}")
    console.print(f"Result saved in {path}")


def scores_path(result: Path, kind: str = "scores") -> Path:
    """Where the scores of a result lie."""
    return result.with_name(f"{result.stem}-{kind}.npz")
