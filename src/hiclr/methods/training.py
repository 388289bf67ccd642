"""The run around a learner: Lightning's Trainer, checkpoints, logs, and a word when training collapses."""

from __future__ import annotations

import logging
import math
import signal
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import Tensor

from hiclr.data.module import Batches, SkeletonData
from hiclr.distributed import seed_all
from hiclr.encoders.checkpoint import CHECKPOINT_KEY, LAST_CHECKPOINT, checkpoint_path, training_of
from hiclr.encoders.safely import read_safely
from hiclr.forms import reason
from hiclr.memory import keep_freed
from hiclr.methods.base import Learner
from hiclr.methods.checkpoints import CheckpointFile, Checkpoints, alone
from hiclr.methods.health import CollapseWatch, check_before
from hiclr.methods.machine import Accelerator as Accelerator
from hiclr.methods.machine import Machine
from hiclr.methods.trainee import Trainee
from hiclr.provenance import METRICS as METRICS
from hiclr.provenance import RUN as RUN
from hiclr.provenance import write_json, write_whole
from hiclr.resources import NoRoomError, why_full
from hiclr.stopping import Stopping

# what may be gone at the next try, whatever the checkpoint holds
_OF_THE_MACHINE = (OSError, MemoryError, torch.OutOfMemoryError, torch.distributed.DistError)
_SHOWN = ("loss", "sequences_per_second")  # beside the progress bar

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
    announce: Callable[[], object],
    *watches: Callback,
) -> None:
    """Trains a learner on the training side of the data and leaves `last.ckpt` in `out`; arguments as of `fit`.

    Raises:
        ValueError: when the data cannot fill a batch, or the checkpoint is of another run or network.
    """
    watch = CollapseWatch(len(learner.contrast.queue.keys))
    fit(learner, data.train_dataloader(seed), out, max_epochs, precision, machine, resume, announce, *watches, watch)


def fit(
    trainee: Trainee,
    batches: Batches[Any],
    out: Path,
    max_epochs: int,
    precision: Precision,
    machine: Machine,
    resume: Path | None,
    announce: Callable[[], object],
    *watches: Callback,
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
        announce: called once all was checked, before anything is written: the last chance to refuse.
        watches: what looks on; they come first after every epoch, so that what they log is kept.

    Raises:
        ValueError: when the checkpoint is of another run or network, the batch cannot be shared out, the data do not
            fit where they shall lie, or nothing could be learnt from them (`check_before`).
        NoRoomError: when the disk is full.
        Stopped: when a signal asked for it.
    """
    if batches.batch_size % machine.processes:
        raise ValueError(
            f"batch_size {batches.batch_size} cannot be shared out evenly to {machine.processes} processes: "
            f"set it to a multiple of {machine.processes}"
        )
    steps = 0 if resume is None else _check_same_run(trainee, max_epochs, resume)
    check_before(trainee, batches, machine.processes)
    announce()
    _quieten()
    stopping = Stopping()
    checkpoints = Checkpoints(out / LAST_CHECKPOINT, stopping)
    trainer = Trainer(
        default_root_dir=out,  # where Lightning looks for checkpoints of its own under SLURM
        max_epochs=max_epochs,
        precision=precision,
        accelerator=machine.accelerator,
        devices=machine.devices,
        num_nodes=machine.num_nodes,
        strategy=machine.strategy,
        # what was logged after the checkpoint is logged again
        logger=TensorBoardLogger(out, name="", version="tensorboard", purge_step=steps + 1),
        plugins=[CheckpointFile(), *machine.plugins],
        callbacks=[
            Chance(batches),
            _ProgressBar(leave=False, console_kwargs={"force_jupyter": False}),
            *watches,
            EpochLog(out / METRICS),
            checkpoints,
        ],
        enable_model_summary=False,
        log_every_n_steps=1,
    )
    batches.place(trainer.strategy.root_device)
    if trainer.strategy.root_device.type == "cpu":
        keep_freed()
    with alone(out) if trainer.is_global_zero else nullcontext(), stopping:
        if trainer.is_global_zero:
            _check_free(out, resume)  # another run may have ended there meanwhile
            write_json(out / RUN, trainee.run)
        try:
            trainer.fit(trainee, batches, ckpt_path=resume, weights_only=True)
            if not checkpoints.saved:  # there was nothing to train
                trainer.save_checkpoint(out / LAST_CHECKPOINT)
        except SIGTERMException:  # a SystemExit too: the signal came while Lightning was listening
            stopping.stop(f"stopped before the first step: {_way_on(out)}")
        except SystemExit:  # what Lightning makes of Ctrl-C
            raise KeyboardInterrupt from None
        except Exception as error:
            _end_others(trainer)
            full = why_full(error)
            if full is not None:
                raise NoRoomError(f"{out} cannot be written, {full}: make room; then {_way_on(out)}") from error
            if resume is not None and not checkpoints.stepped and not isinstance(error, _OF_THE_MACHINE):
                why = reason(f"{type(error).__name__}: {error}")
                raise ValueError(f"{resume} cannot be gone on from ({why}): start again with another --out") from error
            raise


def _end_others(trainer: Trainer) -> None:
    """Ends the processes that this one has started: they may wait for it without end."""
    launcher = trainer.strategy.launcher
    if launcher is not None:
        launcher.kill(getattr(signal, "SIGKILL", signal.SIGTERM))


def resume_point(out: Path, ckpt_path: Path | None) -> Path | None:
    """The checkpoint to go on from, if any.

    Processes that train together all ask, and find the same: the first one writes its first checkpoint when all have
    joined it.

    Args:
        out: folder of the run.
        ckpt_path: a checkpoint, or a run's folder; "last" for the one in `out`, which must be there; "auto" for the one
            in `out`, if it is there.

    Raises:
        ValueError: when `out` holds a run and nobody asked to go on with it.
        FileNotFoundError: when there is no such checkpoint.
    """
    last = out / LAST_CHECKPOINT
    if str(ckpt_path) == "auto":
        ckpt_path = last if last.exists() else None
    if str(ckpt_path) == "last" and not last.exists():
        raise FileNotFoundError(f"no checkpoint {last} to go on from: leave out --ckpt_path")
    resume = None if ckpt_path is None else checkpoint_path(out if str(ckpt_path) == "last" else ckpt_path)
    _check_free(out, resume)
    return resume


def _check_free(out: Path, resume: Path | None) -> None:
    """ValueError if a folder holds another run than the one to go on with."""
    last = out / LAST_CHECKPOINT
    if last.exists() and (resume is None or not resume.samefile(last)):
        raise ValueError(f"{out} already holds a run: choose another --out, or go on with it by --ckpt_path last")


def _way_on(out: Path) -> str:
    goes_on = (out / LAST_CHECKPOINT).exists()
    return f"the same command {'with --ckpt_path last goes on' if goes_on else 'starts it again'}"


class _ProgressBar(RichProgressBar):
    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        assert isinstance(pl_module, Trainee)
        return {name: f"{pl_module.figures[name]:.3f}" for name in _SHOWN if name in pl_module.figures}


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
    """Logs the figures of an epoch, with rate and learning rate: for TensorBoard, and as a row of a CSV file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._start = 0.0
        self._sequences = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._start = time.perf_counter()  # of an epoch that goes on, which does not start

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._start, self._sequences = time.perf_counter(), 0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        x: Tensor = batch[0] if isinstance(batch, tuple | list) else batch  # with labels or without
        self._sequences += len(x)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, Trainee)
        figures = pl_module.figures
        figures["sequences_per_second"] = self._sequences / (time.perf_counter() - self._start)
        figures["lr"] = trainer.optimizers[0].param_groups[0]["lr"]
        self._log({"epoch": trainer.current_epoch + 1, "step": trainer.global_step, **figures}, trainer.loggers)

    @rank_zero_only
    def _log(self, row: dict[str, float], loggers: Sequence[Logger]) -> None:
        """Before the checkpoint: an epoch that is in it is in the logs, whatever ends the run."""
        self._add_row(row)
        for logger in loggers:
            known = {name: value for name, value in row.items() if name != "step" and not math.isnan(value)}
            logger.log_metrics(known, int(row["step"]))
            logger.save()

    def _add_row(self, row: dict[str, float]) -> None:
        rows = pd.DataFrame([row])
        if self.path.exists():
            before = pd.read_csv(self.path, float_precision="round_trip")
            # a resumed run may repeat epochs after its checkpoint
            rows = pd.concat([before[before["epoch"] < row["epoch"]], rows])
        write_whole(self.path, lambda file: rows.to_csv(file, index=False))


def _check_same_run(trainee: Trainee, max_epochs: int, resume: Path) -> int:
    """The steps behind the checkpoint; ValueError if it is of another run."""
    content = read_safely(resume)
    ours = content.get(CHECKPOINT_KEY)
    if ours is None or not isinstance(content.get("global_step"), int):
        raise ValueError(f"{resume} holds no training state to go on from, only weights")
    ours = training_of(content, resume)
    if ours["epochs"] > max_epochs:
        raise ValueError(f"{resume} was trained for {ours['epochs']} epochs already: max_epochs {max_epochs} is less")
    check_same(_fixed({"data": {}, "learner": {}, **ours["run"]}), _fixed(trainee.run), resume)
    return int(content["global_step"])


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
    stream_seed = run.get("stream_seed", run.get("seed"))  # once all streams shared one
    return {"data": wherever(run["data"]), **own, **run["learner"], "stream_seed": stream_seed}


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
