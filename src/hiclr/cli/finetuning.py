"""The verb that trains encoder and classifier together on labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from torch.optim import SGD

from hiclr.cli.launch import launch
from hiclr.cli.needs import say_needs_of_training
from hiclr.cli.results import fitted, record, result_folder
from hiclr.data.module import SkeletonData
from hiclr.encoders.checkpoint import TrainedEncoder, load_encoder
from hiclr.encoders.transfer import fresh, with_settings
from hiclr.evaluation import Scores, encode
from hiclr.functional import Stream
from hiclr.methods.base import stream_seed
from hiclr.methods.classifier import Classifier
from hiclr.methods.health import LossWatch
from hiclr.methods.machine import Accelerator, Machine
from hiclr.methods.trainee import OptimizerFactory, Trainee
from hiclr.methods.training import Precision, fit, resume_point
from hiclr.provenance import describe_data, file_hash, provenance
from hiclr.transforms import Level


def finetune(
    checkpoint: Path,
    data: SkeletonData,
    stream: Stream | None = None,
    out: Path | None = None,
    label_fraction: float = 1.0,
    from_scratch: bool = False,
    max_epochs: int = 70,
    lr_drops: Sequence[float] = (30 / 70, 55 / 70),
    warmup_epochs: int = 5,
    batch_size: int = 64,
    augmentation: Level | None = None,
    encoder_settings: dict[str, Any] | None = None,
    optimizer: OptimizerFactory = lambda parameters: SGD(parameters, lr=0.1, momentum=0.9, weight_decay=1e-4),
    seed: int = 0,
    precision: Precision = "32-true",
    accelerator: Accelerator = "auto",
    ckpt_path: Path | None = None,
) -> dict[str, Any]:
    """Trains the encoder and a linear classifier together on labels: all of them, a share of them, or from scratch.

    Writes `last.ckpt` (after every epoch), `metrics.csv`, TensorBoard logs, `run.json` and the result. The defaults
    are the paper's supervised fine-tuning of ST-GCN.

    Args:
        checkpoint: a run's folder, a `.ckpt` of it, or published weights (`.pt`).
        data: prepared folder and benchmark; its batch size serves the evaluation alone.
        stream: which of the encoders of a checkpoint that holds several; what published weights were trained on.
        out: folder for the run and its result; in the checkpoint's when not given: finetune, with "-10pct" for a share
            of the labels and "-scratch".
        label_fraction: share of each class's training sequences that is used, at least one of each; the
            rest is left out (semi-supervised: 0.01, 0.05, 0.1).
        from_scratch: start from untrained weights in the same network, for comparison.
        max_epochs: passes over the labelled sequences.
        lr_drops: shares of the epochs after which the learning rate falls to a tenth (published: 30 and 55 of 70;
            transformer: 35 and 55 of 80; semi-supervised: 15 and 30, which are 0.3 and 0.6 of 50).
        warmup_epochs: in the first epochs the learning rate rises in equal steps to its full height.
        batch_size: labelled sequences in a step (transformer: 128).
        augmentation: of the sequences trained on, one entry of an arrangement such as "BA"; null for none
            (transformer: BA).
        encoder_settings: settings of the encoder that shall be others than in the checkpoint, as in
            `--encoder_settings.dropout 0.2`.
        optimizer: makes the optimizer of the parameters.
        seed: of the labels drawn, which are the same for all streams, and of untrained weights, order and
            augmentations, which are each stream's own.
        precision: of the arithmetic in training.
        accelerator: cpu, gpu or auto.
        ckpt_path: checkpoint to go on from; "last" for the one in `out`, "auto" for that one if it is there.

    Returns:
        The result, as saved in `finetune-<benchmark>.json`.

    Raises:
        FileNotFoundError: if there is no such checkpoint.
        ValueError: for settings that cannot work, or a folder that already holds another run.
    """
    if max_epochs < 1:
        raise ValueError(f"finetune needs at least 1 epoch, got max_epochs {max_epochs}")
    test_rows = data.test_rows  # refuses when there is no benchmark
    labelled = data.labelled_rows(label_fraction, seed)
    trained = load_encoder(checkpoint, stream)
    out = Path(out or result_folder(trained, data, None) / _name(label_fraction, from_scratch))
    resume = resume_point(out, ckpt_path)
    data.batches(test_rows).check_numbers()
    machine = Machine(accelerator)
    own_seed = stream_seed(seed, [trained.stream])
    seed_everything(own_seed, verbose=False)
    trained = _start(trained, data, encoder_settings or {}, from_scratch)
    device = launch(machine)
    encoder = fitted(trained, data, device).train()
    classifier = Classifier(
        encoder, trained.stream, data.folder.class_names, augmentation, optimizer, lr_drops, warmup_epochs
    )
    chosen = {"label_fraction": label_fraction, "labels": len(labelled), "from_scratch": from_scratch}
    settings = {
        **chosen,
        **{name: classifier.settings[name] for name in ("lr_drops", "warmup_epochs", "augmentation", "optimizer")},
        "encoder_settings": dict(encoder_settings or {}),
        "max_epochs": max_epochs,
        "batch_size": batch_size,
        "seed": seed,
        "precision": precision,
    }
    classifier.run = {
        **settings,
        "stream_seed": own_seed,
        "data": describe_data(data.folder, data.benchmark),
        "learner": {**classifier.settings, **chosen, "checkpoint": file_hash(trained.path)},
        "pretraining": dict(trained.run),
        **provenance(device),
    }
    names = tuple(data.folder.samples["name"].iloc[test_rows])

    def score(network: LightningModule) -> Scores:
        device = network.trainer.strategy.root_device  # of the training; its own would be the CPU once that is over
        return Scores(names, data.labels(test_rows), encode(network, data.batches(test_rows), device))

    watch = ScoreLog(score)
    batches = data.labelled_batches(labelled, batch_size, own_seed)
    say_needs = partial(
        say_needs_of_training, classifier, data, labelled, batch_size, out, machine, precision, labels=True
    )
    odd = LossWatch(len(classifier.class_names))
    fit(classifier, batches, out, max_epochs, precision, machine, resume, say_needs, watch, odd)
    scores = score(classifier)
    top1_by_epoch = {**watch.top1_by_epoch, max_epochs: scores.top1}
    figures = {
        "top1_last_epoch": scores.top1,
        "top1_best_on_test": max(top1_by_epoch.values()),
        "top1_by_epoch": top1_by_epoch,
    }
    return record("finetune", trained, data, out, figures, scores, settings, len(labelled), device=device)


class ScoreLog(Callback):
    """Scores the test side every few epochs and after the last; what it found stays in the checkpoint.

    Args:
        score: class scores of the test side, by a network.
        every: epochs between two looks.
    """

    def __init__(self, score: Callable[[LightningModule], Scores], every: int = 5) -> None:
        self.score = score
        self.every = every
        self.top1_by_epoch: dict[int, float] = {}

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, Trainee)
        epoch = trainer.current_epoch + 1
        if epoch % self.every == 0:
            self.top1_by_epoch[epoch] = self.score(pl_module).top1
            pl_module.train()
        pl_module.figures["top1_test"] = self.top1_by_epoch.get(epoch, float("nan"))

    def state_dict(self) -> dict[str, Any]:
        return {"top1_by_epoch": dict(self.top1_by_epoch)}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        self.top1_by_epoch = dict(state_dict["top1_by_epoch"])


def _name(label_fraction: float, from_scratch: bool) -> str:
    share = f"-{100 * label_fraction:g}pct" if label_fraction < 1 else ""
    return f"finetune{share}{'-scratch' if from_scratch else ''}"


def _start(
    trained: TrainedEncoder, data: SkeletonData, settings: Mapping[str, Any], from_scratch: bool
) -> TrainedEncoder:
    """The encoder to start from, on its own skeleton; one from scratch is on the data's and has no past."""
    encoder = with_settings(trained.encoder, settings)
    if from_scratch:
        return replace(trained, encoder=fresh(encoder, data.skeleton), epochs=0, run={})
    return replace(trained, encoder=encoder)
