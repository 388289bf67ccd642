"""The verbs: what `hiclr VERB` runs, each a typed function that is the Python API too."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from lightning.pytorch import seed_everything
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch.optim import SGD

from hiclr.data.corpora.ntu import synthetic
from hiclr.data.doctor import Diagnosis, examine
from hiclr.data.folder import PreparedFolder
from hiclr.data.module import SkeletonData
from hiclr.data.prepare import prepare
from hiclr.data.synthetic import synthesise
from hiclr.encoders.checkpoint import LAST_CHECKPOINT, TrainedEncoder, load_encoder
from hiclr.encoders.stgcn import STGCN
from hiclr.evaluation import FeatureBank, Scores, encode, linear_probe, nearest_neighbours
from hiclr.functional import Stream, to_stream
from hiclr.methods.base import Learner
from hiclr.methods.hiclr import HiCLR
from hiclr.methods.training import METRICS, Precision, resume_point, train
from hiclr.provenance import describe_data, file_hash, provenance, write_json
from hiclr.report import Row, standard_pictures, write_report
from hiclr.skeleton import Skeleton
from hiclr.transforms import growing_views

_console = Console(stderr=True)


# --- prepare ----------------------------------------------------------------------------------


def prepare_synthetic(
    out: Path, subjects: int = 8, repetitions: int = 2, seed: int = 0, frames: int = 50, overwrite: bool = False
) -> PreparedFolder:
    """Simulates a small corpus, writes it as NTU `.skeleton` files (`<out>-raw`) and prepares it.

    Args:
        out: prepared folder to write.
        subjects: how many people perform.
        repetitions: how often each performs each action.
        seed: of everything random in it.
        frames: T, the length every sequence is resampled to.
        overwrite: replace a folder prepared from other data or with other options.
    """
    raw = synthesise(out.with_name(f"{out.name}-raw"), subjects=subjects, repetitions=repetitions, seed=seed)
    return prepare(synthetic(raw), out, frames=frames, overwrite=overwrite)


# --- doctor -----------------------------------------------------------------------------------


def doctor(
    path: Path,
    kind: str | None = None,
    options: dict[str, Any] | None = None,
    json: Path | None = None,
    processes: int | None = None,
    progress: bool = True,
) -> Diagnosis:
    """Looks at raw or prepared data: what is in it, what is wrong with it, what to do next.

    Ends with exit code 1 when something would spoil a result.

    Args:
        path: a folder or file of any kind that `hiclr prepare` reads, or a folder it made.
        kind: what to take it for: "prepared", "synthetic" or a kind of `hiclr prepare`; recognised when not given.
        options: further options of that kind, as in `--options.table clips.csv`.
        json: file for the whole diagnosis, which the screen shortens.
        processes: how many work at once; as many as there are cores when not given.
        progress: show a progress bar.

    Raises:
        FileNotFoundError: there is nothing at `path`.
        ValueError: nothing there is known, or the kind has no such option.
    """
    diagnosis = examine(path, kind, options, processes, progress)
    diagnosis.print(Console())
    if json is not None:
        write_json(json, diagnosis.to_dict())
        _console.print(f"all of it in {json}", markup=False, highlight=False)
    return diagnosis


# --- pretrain ---------------------------------------------------------------------------------


def pretrain(
    data: SkeletonData,
    method: Callable[[Skeleton], Learner] = HiCLR,
    out: Path | None = None,
    max_epochs: int = 300,
    seed: int = 0,
    precision: Precision = "32-true",
    accelerator: str = "auto",
    ckpt_path: Path | None = None,
) -> Path:
    """Learns an encoder from unlabelled sequences.

    Writes `last.ckpt` (after every epoch), `metrics.csv`, TensorBoard logs and `run.json`. The defaults
    are the paper's for NTU RGB+D 60; small corpora need `--config recipes/small.yaml`.

    Args:
        data: prepared folder, benchmark (its training side is used) and batch size.
        method: HiCLR, or another learner of `hiclr.methods`.
        out: folder of the run; runs/<data>-<benchmark>-<stream>-seed<seed> when not given.
        max_epochs: passes over the training side; 0 saves the untrained network.
        seed: of weights, order and augmentations: the same seed gives the same numbers on the same machine.
        precision: of the arithmetic.
        accelerator: cpu, gpu or auto.
        ckpt_path: checkpoint to go on from, or "last" for the one in `out`.

    Returns:
        The run's folder.

    Raises:
        ValueError: for settings that cannot work, or a folder that already holds another run.
    """
    seed_everything(seed, verbose=False)
    learner = method(data.skeleton)
    name = "-".join([data.folder.root.resolve().name, data.benchmark or "all", learner.stream, f"seed{seed}"])
    out = out or Path("runs") / name
    resume = resume_point(out, ckpt_path)
    learner.run = {
        "data": describe_data(data.folder, data.benchmark),
        "batch_size": data.batch_size,
        "max_epochs": max_epochs,
        "seed": seed,
        "precision": precision,
        "learner": learner.settings,
        **provenance(),
    }
    train(learner, data, out, max_epochs, precision, accelerator, resume)
    _console.print(f"Run saved in {out}. Next: hiclr linear --checkpoint {out} --data.root {data.folder.root}")
    return out


# --- evaluate ---------------------------------------------------------------------------------


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
    trained, train_bank, test_bank = _features(checkpoint, data, stream)
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
        progress=_progress("Linear probe"),
    )
    figures = {
        "top1_last_epoch": result.scores.top1,
        "top1_best_on_test": result.top1_best_on_test,
        "top1_by_epoch": result.top1_by_epoch,
    }
    settings = {"epochs": epochs, "lr": lr, "lr_drop": lr_drop, "batch_size": batch_size, "standardize": standardize}
    return _report("linear", trained, data, out, figures, result.scores, {**settings, "seed": seed})


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
    trained, train_bank, test_bank = _features(checkpoint, data, stream)
    by_k = nearest_neighbours(train_bank, test_bank, data.folder.num_classes, k)
    figures = {"top1": by_k[k[0]].top1, "top1_by_k": {k: scores.top1 for k, scores in by_k.items()}}
    return _report("knn", trained, data, out, figures, by_k[k[0]], {"k": list(k)})


# --- demo -------------------------------------------------------------------------------------


def demo(out: Path = Path("runs/demo"), max_epochs: int = 16, seed: int = 0) -> Path:
    """Shows the whole road on simulated data: synthesise, prepare, pre-train, evaluate, a result page.

    Takes under three minutes on two cores without a GPU. A demo that was stopped goes on where it was.

    Args:
        out: folder for everything it makes.
        max_epochs: passes over the training side.
        seed: of everything random in it.

    Returns:
        The result page, `report.html`.
    """
    folder = prepare_synthetic(out / "data", seed=seed, frames=25)
    data = SkeletonData(folder.root, batch_size=32)
    rows = [
        _demo_row("untrained encoder", data, out / "untrained", 0, seed),
        _demo_row("HiCLR, pre-trained without labels", data, out / "hiclr", max_epochs, seed),
    ]
    page = out / "report.html"
    write_report(
        page,
        rows,
        standard_pictures(
            _one_under_growing_views(folder),
            folder.skeleton,
            pd.read_csv(out / "hiclr" / METRICS),
            rows[-1].results[0],
        ),
        folder.sequences.shape[2],
        folder.skeleton,
        title="HiCLR on a simulated corpus",
        command=f"hiclr demo --out {out} --max_epochs {max_epochs} --seed {seed}",
    )
    _print_demo_table(rows)
    _console.print(f"Open {page} in a browser: tables, the growing views, learning curve, confusion matrix.")
    return page


def _demo_method(skeleton: Skeleton) -> HiCLR:
    """HiCLR for a minute on two cores: a narrow encoder, a short queue (the habits of recipes/small.yaml)."""
    return HiCLR(
        skeleton,
        encoder=partial(STGCN, width=8, dropout=0.1, init="pytorch"),
        queue_size=256,
        key_momentum=0.99,
        temperature=0.2,
        mining_start=1.0,
        optimizer=partial(SGD, lr=0.05, momentum=0.9, weight_decay=1e-4),
    )


def _demo_row(name: str, data: SkeletonData, run: Path, max_epochs: int, seed: int) -> Row:
    before = run / LAST_CHECKPOINT
    pretrain(
        data, _demo_method, run, max_epochs, seed, accelerator="cpu", ckpt_path=before if before.exists() else None
    )
    return Row(name, linear(run, data), knn(run, data))


def _one_under_growing_views(folder: PreparedFolder) -> dict[str, NDArray[np.float32]]:
    """The liveliest sequence of one upright body in full view: as it is, and under each of the growing views."""
    upright = np.ptp(folder.sequences[:, 1, :, :, 0], axis=2).min(1) > 0.9  # metres, in every frame
    alone = ((folder.samples["bodies"] == 1) & (folder.samples["camera"] == 2)).to_numpy()  # camera 2: from the front
    movement = np.asarray(np.diff(folder.sequences[..., 0], axis=2)).std((1, 2, 3))
    row = int(np.argmax(np.where(upright & alone, movement, -1.0)))
    torch.manual_seed(2)  # a draw that flattens no view by an axis mask
    x = torch.from_numpy(folder.sequences[[row]])
    sets = ("BA", "NA", "Mask")
    shown = {"original": x[0].numpy()}
    with torch.no_grad():
        for level, view in enumerate(growing_views(sets, folder.skeleton), start=1):
            shown[" + ".join(sets[:level])] = view(x)[0].numpy()
    return shown


def _print_demo_table(rows: Sequence[Row]) -> None:
    table = Table(
        "top-1 accuracy, %", "linear, last epoch", "linear, best on test", "kNN", title="simulated data, xsub"
    )
    results = [(row.name, row.linear or {}, row.knn or {}) for row in rows]
    chance = f"{results[0][1]['chance']:.1f}"
    table.add_row("chance", chance, chance, chance)
    for name, probe, neighbours in results:
        figures = probe["top1_last_epoch"], probe["top1_best_on_test"], neighbours["top1"]
        table.add_row(name, *(f"{figure:.1f}" for figure in figures))
    Console().print(table)


# --- what evaluation shares -------------------------------------------------------------------


def _features(
    checkpoint: Path, data: SkeletonData, stream: Stream | None
) -> tuple[TrainedEncoder, FeatureBank, FeatureBank]:
    """The encoder, and its features of the training and of the test side."""
    trained = load_encoder(checkpoint, stream)
    _check_joints(trained, data)
    if data.benchmark is None:
        raise ValueError(f"evaluation needs a benchmark: choose one of {', '.join(data.folder.benchmarks)}")
    sides = [data.train_rows, data.folder.indices(data.benchmark, "test")]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    banks = []
    for side, rows in zip(("train", "test"), sides, strict=True):
        loader = data.batches(rows)
        progress = _progress(f"Features of the {side} side")
        batches = (to_stream(x, trained.stream, data.skeleton.parents) for x in progress(loader))
        samples = data.folder.samples.iloc[rows]
        labels = torch.from_numpy(samples["label"].to_numpy("int64", copy=True))
        banks.append(FeatureBank(tuple(samples["name"]), encode(trained.encoder, batches, device), labels))
    return trained, banks[0], banks[1]


def _check_joints(trained: TrainedEncoder, data: SkeletonData) -> None:
    ours, theirs = trained.encoder.skeleton, data.skeleton
    if ours.num_joints != theirs.num_joints:
        raise ValueError(
            f"{trained.path} was trained on {ours.num_joints} joints ({ours.name}), {data.folder.root} has "
            f"{theirs.num_joints} ({theirs.name}): evaluate on data with the same joints"
        )


def _report(
    protocol: str,
    trained: TrainedEncoder,
    data: SkeletonData,
    out: Path | None,
    figures: dict[str, Any],
    scores: Scores,
    settings: dict[str, Any],
) -> dict[str, Any]:
    """Saves a result with all that repeats it, prints its headline, returns it."""
    classes = data.folder.class_names
    confusion = scores.confusion()
    per_class = 100 * confusion.diagonal() / confusion.sum(1).clip(min=1)
    result = {
        "protocol": protocol,
        **figures,
        # of the classes that can be learnt: PKU-MMD II keeps names of classes that it lacks
        "chance": 100 / data.folder.samples["label"].iloc[data.train_rows].nunique(),
        "top1_per_class": dict(zip(classes, per_class.tolist(), strict=True)),
        "confusion": confusion.tolist(),
        "stream": trained.stream,
        "settings": settings,
        "data": describe_data(data.folder, data.benchmark),
        "train_sequences": len(data.train_rows),
        "test_sequences": len(scores.labels),
        "checkpoint": {"path": str(trained.path), "sha256": file_hash(trained.path), "epochs": trained.epochs},
        "pretraining": dict(trained.run),
        **provenance(),
    }
    out = out or trained.path.parent
    out.mkdir(parents=True, exist_ok=True)
    stem = f"{protocol}-{data.benchmark}"
    write_json(out / f"{stem}.json", result)
    scores.save(out / f"{stem}-scores.npz")
    _print_figures(protocol, figures, result["chance"])
    _console.print(f"Result saved in {out / stem}.json")
    return result


def _print_figures(protocol: str, figures: dict[str, Any], chance: float) -> None:
    for name, figure in figures.items():
        if isinstance(figure, float):
            print(f"{protocol} {name}: {figure:.2f} %  (chance {chance:.2f} %)")


def _progress(description: str) -> Callable[[Iterable[Any]], Iterable[Any]]:
    return lambda items: track(items, description, console=_console, transient=True)
