"""What the verbs that measure an encoder share: its features, where a result goes, what is in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hiclr.cli.console import console, progress, say
from hiclr.data.corpora.base import some
from hiclr.data.module import SkeletonData
from hiclr.distributed import by_first, gathered, num_processes, own_rows
from hiclr.encoders.base import Encoder
from hiclr.encoders.checkpoint import LAST_CHECKPOINT, TrainedEncoder
from hiclr.encoders.shared import WEIGHTS
from hiclr.encoders.transfer import carried_over, estimate_statistics, graph_norms, graph_tensors, same_joints
from hiclr.evaluation import SCORES, VALIDATION_SCORES, FeatureBank, Scores, encode, scores_path
from hiclr.functional import Stream, to_stream
from hiclr.memory import keep_freed
from hiclr.methods.classifier import Classifier
from hiclr.model import Model
from hiclr.provenance import describe_data, file_hash, provenance, write_json

_NAMED = 3  # classes in a remark


def features(
    trained: TrainedEncoder, data: SkeletonData, device: torch.device, encoder: Encoder | None = None
) -> tuple[FeatureBank, FeatureBank]:
    """Features of the training and of the test side, by a trained encoder.

    Processes that work together encode a share each, and all of them get all features: the same that one process gets,
    as they share out whole batches.

    Args:
        trained: the encoder.
        data: what is encoded.
        device: where to compute.
        encoder: `fitted` to the data, if that is done already.

    Raises:
        ValueError: if the encoder does not fit the data or has diverged, or no benchmark is chosen.
    """
    sides = {"train": data.train_rows, "test": data.test_rows}
    if device.type == "cpu":
        keep_freed()
    encoder = encoder or fitted(trained, data, device)
    banks = []
    for side, rows in sides.items():
        own = _own_batches(rows, data.batch_size)
        batches = _batches(data, own, trained.stream, device, f"Features of the {side} side")
        encoded = encode(encoder, batches, device) if len(own) else torch.empty(0, encoder.feature_dim)
        names = tuple(data.folder.samples["name"].iloc[rows])
        banks.append(FeatureBank(names, gathered(encoded.to(device)).cpu(), data.labels(rows)))
    if not all(bank.features.isfinite().all() for bank in banks):
        for rows in sides.values():
            data.batches(rows).check_numbers()  # before the encoder is blamed
        raise ValueError(f"{trained.path} gives features that are no finite numbers: its training has diverged")
    return banks[0], banks[1]


def _own_batches(rows: NDArray[np.int64], batch_size: int) -> NDArray[np.int64]:
    """Those of the rows that lie in this process's share of the batches."""
    batch = torch.arange(len(rows)) // batch_size
    own: NDArray[np.bool_] = torch.isin(batch, own_rows(batch.unique())).numpy()
    return rows[own]


def fitted(trained: TrainedEncoder, data: SkeletonData, device: torch.device) -> Encoder:
    """The encoder for the joints of the data: as it is, or carried over from another skeleton, which is then said.

    Batch norms of new joints get their statistics from the training side, without labels.

    Raises:
        ValueError: if it cannot be carried over.
    """
    encoder, re_made = carried_over(trained.encoder, data.skeleton)
    if graph_norms(encoder) and re_made:
        batches = _batches(data, data.train_rows, trained.stream, device, "Statistics of the new joints")
        estimate_statistics(encoder, batches, device)
    moved = transfer(trained, data)
    if moved is not None:
        here, there = (", ".join(filter(None, dict.fromkeys(moved[place].values()))) for place in ("from", "to"))
        anew = f", made anew for the joints: {', '.join(re_made)}" if re_made else ""
        sentence = f"Transfer from {here} to {there}: {moved['carried_over']} carried over{anew}"
        console.print(sentence, markup=False, highlight=False)
    return encoder


def transfer(trained: TrainedEncoder, data: SkeletonData) -> dict[str, Any] | None:
    """From where to where an encoder goes and what goes along, for the result; None where it stays at home."""
    encoder, corpus = trained.encoder, trained.run.get("data", {}).get("corpus")
    stays = same_joints(encoder.skeleton, data.skeleton)
    if stays and corpus in (None, data.folder.about["corpus"]):
        return None
    of_graph = {} if stays else graph_tensors(encoder)
    weights = dict(encoder.named_parameters())
    kept = sum(weight.numel() for name, weight in weights.items() if name not in of_graph)
    return {
        "from": {"corpus": corpus, "skeleton": encoder.skeleton.name},
        "to": {"corpus": data.folder.about["corpus"], "skeleton": data.skeleton.name},
        "carried_over": f"{kept:,} of {sum(weight.numel() for weight in weights.values()):,} weights",
        "re_made": [] if stays else list(encoder.graph_tensors),
    }


def _batches(
    data: SkeletonData, rows: NDArray[np.int64], stream: Stream, device: torch.device, what: str
) -> Iterator[Tensor]:
    """Some rows in a stream, on a device, under a progress bar."""
    parents = data.skeleton.parents
    return (to_stream(x.to(device, non_blocking=True), stream, parents) for x in progress(what)(data.batches(rows)))


def remarks(trained: TrainedEncoder, data: SkeletonData) -> list[str]:
    """What a figure must not be quoted without: what the encoder has seen, and classes that cannot be learnt well."""
    said = []
    for run in _runs(trained.run):
        if run.get("learner", {}).get("method") == Classifier.__name__:
            said.append("The encoder was trained with labels: this is no figure of unsupervised pre-training")
        if _of_same_data(run, data) and run["data"]["benchmark"] != data.benchmark:
            side = run["data"]["benchmark"]
            where = f"the training side of {side}" if side else "all sequences"
            said.append(f"The encoder was trained on {where}: it may have seen test sequences of {data.benchmark}")
    return [*dict.fromkeys(said), *_about_classes(data)]


def _about_classes(data: SkeletonData) -> list[str]:
    """Classes of which the training side has one sequence, or none though they are tested; or a single class."""
    names = data.folder.class_names
    train, test = (data.labels(rows).bincount(minlength=len(names)) for rows in (data.train_rows, data.test_rows))
    said = []
    for chosen, what in [
        ((train == 0) & (test > 0), "are tested but have no training sequence, so that they are always wrong"),
        ((train == 1) & (test > 0), "have one training sequence alone, a weak one to go by"),
    ]:
        if chosen.any():
            told = some([names[label] for label in chosen.nonzero()[:, 0]], _NAMED)
            said.append(f"{int(chosen.sum())} of {len(names)} classes {what}: {told}")
    if (train + test > 0).sum() == 1:
        said.append("All sequences are of one class: there is nothing to recognise")
    return said


def _runs(run: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """A run and those that it started from, the latest first."""
    while run:
        yield run
        run = run.get("pretraining", {})


def _of_same_data(run: Mapping[str, Any], data: SkeletonData) -> bool:
    """Whether a run was on the same corpus, on whichever benchmark; own corpora may share a name."""
    there, here = run.get("data"), describe_data(data.folder, data.benchmark)
    return there is not None and all(there.get(fact) == here[fact] for fact in ("corpus", "source_hash"))


def result_folder(trained: TrainedEncoder, data: SkeletonData, out: Path | None) -> Path:
    """Where results about an encoder go: `out`, else the folder of its run, or one named as its file of weights.

    There, by stream if the checkpoint holds several, and by the data unless they are known to be those it was
    trained on.
    """
    path = trained.path
    folder = path.parent
    if trained.hub is not None:
        folder = Path("runs", trained.hub)  # nothing goes into the Hub's cache
    elif path.name == WEIGHTS:
        folder = folder.with_name(f"{folder.name}-results")  # a model folder is shared as it is
    elif path.name != LAST_CHECKPOINT:
        folder /= path.stem if path.suffix else f"{path.name}-results"
    if len(trained.streams) > 1:
        folder /= trained.stream
    if not _of_same_data(trained.run, data):
        folder /= f"on-{data.folder.root.resolve().name}"
    return folder if out is None else Path(out)


def record(
    protocol: str,
    trained: TrainedEncoder,
    data: SkeletonData,
    out: Path | None,
    figures: Mapping[str, Any],
    scores: Scores,
    settings: Mapping[str, Any],
    train_sequences: int,
    validation: Scores | None = None,
    model: Model | None = None,
    *,
    device: torch.device,
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
        train_sequences: how many were learnt from.
        validation: scores of a held-out share of the training side, for `ensemble` to choose weights by.
        model: what `predict` can use, saved beside the result.
        device: that computed.
    """
    moved = transfer(trained, data)
    result = {
        "protocol": protocol,
        **figures,
        # of the classes that can be learnt: PKU-MMD II keeps names of classes that it lacks
        "chance": 100 / data.folder.samples["label"].iloc[data.train_rows].nunique(),
        **by_class(scores, data.folder.class_names),
        "stream": trained.stream,
        "settings": dict(settings),
        "data": describe_data(data.folder, data.benchmark),
        "train_sequences": train_sequences,
        "test_sequences": len(scores.labels),
        "checkpoint": {"path": str(trained.path), "sha256": file_hash(trained.path), "epochs": trained.epochs},
        "pretraining": dict(trained.run),
        **({} if moved is None else {"transfer": moved}),
        "remarks": remarks(trained, data),
        **provenance(device, num_processes()),
    }
    path = result_folder(trained, data, out) / f"{protocol}-{data.benchmark}.json"
    if model is not None:  # first: a result never stands beside the model of an earlier one
        by_first(partial(save_model, model, path.with_name(f"{path.stem}-model")))
    by_first(partial(save, result, path, {SCORES: scores} | ({VALIDATION_SCORES: validation} if validation else {})))
    return result


def save_model(model: Model, folder: Path) -> None:
    """Writes a model folder and says where it is."""
    model.save_pretrained(folder)
    say(f"Model saved in {folder}")


def by_class(scores: Scores, class_names: Sequence[str]) -> dict[str, Any]:
    """Accuracy in per cent of each class, and the confusion matrix (L, L)."""
    confusion = scores.confusion()
    per_class = 100 * confusion.diagonal() / confusion.sum(1).clip(min=1)
    return {
        "top1_per_class": dict(zip(class_names, per_class.tolist(), strict=True)),
        "confusion": confusion.tolist(),
    }


def save(result: Mapping[str, Any], path: Path, scores: Mapping[str, Scores]) -> None:
    """Writes a result to `path` and scores beside it, each under its kind, and prints figures and remarks."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for kind, one in scores.items():
        one.save(scores_path(path, kind))
    write_json(path, result)  # last: where there is a result, it is whole
    for name, figure in result.items():
        if isinstance(figure, float) and name != "chance":
            chance = f"  (chance {result['chance']:.2f} %)" if name.startswith("top1") else ""
            print(f"{result['protocol']} {name}: {figure:.2f} %{chance}")
    for remark in result["remarks"]:
        console.print(remark, markup=False, highlight=False)
    console.print(f"Result saved in {path}")
