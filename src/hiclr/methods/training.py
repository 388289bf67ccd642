"""The run around a learner: Lightning's Trainer, checkpoints, logs, and a word when training collapses."""

from __future__ import annotations

import logging
import math
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint, RichProgressBar
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only, rank_zero_warn
from torch import Tensor

from hiclr.data.module import Batches, SkeletonData
from hiclr.distributed import seed_all
from hiclr.encoders.checkpoint import CHECKPOINT_KEY, LAST_CHECKPOINT, checkpoint_path
from hiclr.encoders.official import read_safely
from hiclr.memory import keep_freed
from hiclr.methods.base import Learner
from hiclr.methods.machine import Accelerator as Accelerator
from hiclr.methods.machine import Machine
from hiclr.methods.trainee import Trainee
from hiclr.provenance import METRICS as METRICS
from hiclr.provenance import RUN as RUN
from hiclr.provenance import write_json, write_whole

Precision = Literal["32-true", "bf16-mixed", "16-mixed"]


def train(
    learner: Learner,
    data: SkeletonData,
    out: Path,
    max_epochs: int,
    seed: int,
    precision: Precision,
    machine: Machine,
    resume: Path | None,
) -> None:
    """Trains a learner on the training side of the data and leaves `last.ckpt` in `out`.

    Raises:
        ValueError: when the data cannot fill a batch, or the checkpoint is of another run or network.
    """
    watch = CollapseWatch(len(learner.contrast.queue.keys))
    fit(learner, data.train_dataloader(seed), out, max_epochs, precision, machine, resume, watch)


def fit(
    trainee: Trainee,
    batches: Batches[Any],
    out: Path,
    max_epochs: int,
    precision: Precision,
    machine: Machine,
    resume: Path | None,
    watch: Callback,
) -> None:
    """Trains on batches and leaves `last.ckpt` in `out`.

    Args:
        trainee: with its `run` filled in.
        batches: of the training side.
        out: folder of the run; written to once everything was checked, by the first process alone.
        max_epochs: passes over the batches.
        precision: of the arithmetic.
        machine: what to train on. Of several processes, all are given the same batches.
        resume: the checkpoint to go on from.
        watch: what looks on; it comes first after every epoch, so that what it logs is kept.

    Raises:
        ValueError: when the checkpoint is of another run or network, the batch cannot be shared out, or the data do not
            fit where they shall lie.
    """
    if batches.batch_size % machine.processes:
        raise ValueError(
            f"batch_size {batches.batch_size} cannot be shared out evenly to {machine.processes} processes: "
            f"set it to a multiple of {machine.processes}"
        )
    if resume is not None:
        _check_same_run(trainee, max_epochs, resume)
    _quieten()
    trainer = Trainer(
        max_epochs=max_epochs,
        precision=precision,
        accelerator=machine.accelerator,
        devices=machine.devices,
        num_nodes=machine.num_nodes,
        strategy=machine.strategy,
        logger=TensorBoardLogger(out, name="", version="tensorboard"),
        callbacks=[
            Chance(batches),
            _ProgressBar(leave=False, console_kwargs={"force_jupyter": False}),
            watch,
            EpochLog(out / METRICS),
            ModelCheckpoint(dirpath=out, filename=Path(LAST_CHECKPOINT).stem, enable_version_counter=False),
        ],
        enable_model_summary=False,
        log_every_n_steps=1,
    )
    batches.place(trainer.strategy.root_device)
    if trainer.strategy.root_device.type == "cpu":
        keep_freed()
    if trainer.is_global_zero:
        out.mkdir(parents=True, exist_ok=True)
        write_json(out / RUN, trainee.run)
    try:
        trainer.fit(trainee, batches, ckpt_path=resume, weights_only=True)
    except SystemExit:  # what Lightning makes of Ctrl-C
        raise KeyboardInterrupt from None
    trainer.save_checkpoint(out / LAST_CHECKPOINT)


def resume_point(out: Path, ckpt_path: Path | None) -> Path | None:
    """The checkpoint to go on from, if any.

    Processes that train together all ask, and find the same: the first one writes its first checkpoint when all have
    joined it.

    Raises:
        ValueError: when `out` holds a run and nobody asked to go on with it.
        FileNotFoundError: when there is no such checkpoint.
    """
    last = out / LAST_CHECKPOINT
    if str(ckpt_path) == "last" and not last.exists():
        raise FileNotFoundError(f"no checkpoint {last} to go on from: leave out --ckpt_path")
    resume = None if ckpt_path is None else checkpoint_path(out if str(ckpt_path) == "last" else ckpt_path)
    if last.exists() and (resume is None or not resume.samefile(last)):
        raise ValueError(f"{out} already holds a run: choose another --out, or go on with it by --ckpt_path last")
    return resume


class _ProgressBar(RichProgressBar):
    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        return {name: value for name, value in super().get_metrics(trainer, pl_module).items() if name != "v_num"}


class Chance(Callback):
    """Makes the order of an epoch and the draws of a step hang on the seed and their number alone.

    Not on what was drawn before, so that a run that goes on equals one that never stopped, and all processes that train
    together draw alike.
    """

    def __init__(self, batches: Batches[Any]) -> None:
        self.batches = batches

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.batches.epoch = trainer.current_epoch

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        seed_all(self.batches.seed or 0, trainer.global_step)


class EpochLog(Callback):
    """Logs the rate and the learning rate, and keeps one row of all figures per epoch in a CSV file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._start = 0.0
        self._sequences = 0

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._start, self._sequences = time.perf_counter(), 0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        x: Tensor = batch[0] if isinstance(batch, tuple | list) else batch  # with labels or without
        self._sequences += len(x)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        rate = self._sequences / (time.perf_counter() - self._start)
        pl_module.log("sequences_per_second", rate, prog_bar=True, sync_dist=True)
        pl_module.log("lr", trainer.optimizers[0].param_groups[0]["lr"], sync_dist=True)
        figures = {name: float(value) for name, value in trainer.callback_metrics.items()}
        self._add_row({"epoch": trainer.current_epoch + 1, "step": trainer.global_step, **figures})

    @rank_zero_only
    def _add_row(self, row: dict[str, float]) -> None:
        rows = pd.DataFrame([row])
        if self.path.exists():
            before = pd.read_csv(self.path)
            # a resumed run may repeat epochs after its checkpoint
            rows = pd.concat([before[before["epoch"] < row["epoch"]], rows])
        write_whole(self.path, lambda file: rows.to_csv(file, index=False))


class CollapseWatch(Callback):
    """Warns when the loss has not left that of guessing, or all features look alike.

    Args:
        negatives: keys in the queue; guessing costs ln(1 + negatives).
        patience: epochs between two looks.
        loss_share: share of the loss of guessing above which nothing was learnt.
        spread: feature spread (1 evenly on the sphere, 0 all the same) below which features are alike.
    """

    def __init__(self, negatives: int, patience: int = 5, loss_share: float = 0.98, spread: float = 0.05) -> None:
        self.negatives = negatives
        self.patience = patience
        self.loss_share = loss_share
        self.spread = spread

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        epoch, figures = trainer.current_epoch + 1, trainer.callback_metrics
        info, spread = float(figures["info"]), float(figures["feature_spread"])
        guessing = math.log(1 + self.negatives)
        if not math.isfinite(info):
            raise ValueError(f"the loss is {info} in epoch {epoch}: lower the learning rate (--method.optimizer.lr)")
        if epoch % self.patience == 0 and (info > self.loss_share * guessing or spread < self.spread):
            rank_zero_warn(
                f"epoch {epoch}: training looks collapsed: contrastive loss {info:.2f} (guessing: {guessing:.2f}), "
                f"feature spread {spread:.3f} (healthy: near 1). On a small corpus use recipes/small.yaml: "
                "PyTorch's initialisation, a faster key encoder, a shorter queue",
            )


def _check_same_run(trainee: Trainee, max_epochs: int, resume: Path) -> None:
    ours = read_safely(resume).get(CHECKPOINT_KEY)
    if ours is None:
        raise ValueError(f"{resume} holds no training state to go on from, only weights")
    if ours["epochs"] > max_epochs:
        raise ValueError(f"{resume} was trained for {ours['epochs']} epochs already: max_epochs {max_epochs} is less")
    check_same(_fixed(ours["run"]), _fixed(trainee.run), resume)


def check_same(before: Mapping[str, Any], now: Mapping[str, Any], where: Path) -> None:
    """ValueError naming the first setting of now that was another before."""
    before, now = _flat(before), _flat(now)
    for name in now:
        if before.get(name) != now[name]:
            raise ValueError(
                f"{where} was trained with {name} {before.get(name)}, not {now[name]}: use the same, or another --out"
            )


def _fixed(run: dict[str, Any]) -> dict[str, Any]:
    """The settings of a run that must not change when it goes on."""
    own = {name: run.get(name) for name in ("batch_size", "seed", "precision", "sync_batchnorm")}
    return {"data": wherever(run["data"]), **own, **run["learner"]}


def wherever(data: Mapping[str, Any]) -> dict[str, Any]:
    """A description of data (`describe_data`) without their place: they may have moved."""
    return {name: value for name, value in data.items() if name != "root"}


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Settings within settings by dotted names, so that a message can name the one that differs."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return flat


def _quieten() -> None:
    """Keeps Lightning's remarks about hardware and processes off the screen."""
    for package in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(package).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*broadcast_buffers. is deprecated.*")  # older torch knows nothing else
    warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides.*")  # of 1x1 convolutions
    warnings.filterwarnings("ignore", message=".*dirpath has changed.*")
    warnings.filterwarnings("ignore", message=".*LeafSpec.*is deprecated.*")
    warnings.filterwarnings("ignore", message=".*Checkpoint directory .* exists and is not empty.*")
