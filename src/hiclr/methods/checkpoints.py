"""Keeping what a run has learnt: whole checkpoints, whatever ends it, and no other run in its folder meanwhile."""

from __future__ import annotations

import io
import math
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from hiclr.distributed import any_of, cpu_group
from hiclr.encoders.checkpoint import LAST_CHECKPOINT
from hiclr.methods.trainee import Trainee
from hiclr.provenance import METRICS, PARTIAL, RUN, write_whole
from hiclr.stopping import Stopping

LOCK = ".lock"
_MINUTES = 10.0  # of work that a run may lose at most within an epoch


class Checkpoints(Checkpoint):
    """Keeps `last.ckpt` up to date, and ends the run when it is asked to.

    Saved are the end of every epoch, a step within an epoch every few minutes, and the step after which the run was
    asked to stop. A run that goes on from any of them equals one that never stopped.

    Args:
        path: of the checkpoint.
        stopping: whether the run was asked to stop.
        minutes: at most between two checkpoints, if a step does not last longer.

    Attributes:
        saved: whether anything was.
        stepped: whether a step was done.
    """

    def __init__(self, path: Path, stopping: Stopping, minutes: float = _MINUTES) -> None:
        self.path = path
        self.stopping = stopping
        self.seconds = 60 * minutes
        self.saved = False
        self.stepped = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.stopping.listen()  # Lightning has taken the signals
        self._group = cpu_group()
        self._last = time.monotonic()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.stepped = True
        if trainer.is_last_batch:  # the end of the epoch comes next
            return
        stop, due = any_of(self._group, self.stopping.asked is not None, time.monotonic() - self._last >= self.seconds)
        if stop or due:
            self._save(trainer, pl_module)
        if stop:
            self._stop(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._save(trainer, pl_module)
        [stop] = any_of(self._group, self.stopping.asked is not None)
        if stop and trainer.current_epoch + 1 < (trainer.max_epochs or 0):
            self._stop(trainer)

    def _save(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, Trainee)
        for name, value in pl_module.means.means().items():
            if not math.isfinite(value):  # the checkpoint there is the last good one
                kept = f"; {self.path} is from before" if self.path.exists() else ""
                raise ValueError(
                    f"the {name} is {value} in epoch {trainer.current_epoch + 1}: lower the learning rate and train "
                    f"anew with another --out, in 32-true if this was half precision{kept}"
                )
        trainer.save_checkpoint(self.path)
        self.saved, self._last = True, time.monotonic()

    def _stop(self, trainer: Trainer) -> None:
        asked = self.stopping.asked
        self.stopping.stop(
            f"stopped{f' by {asked.name}' if asked else ''} in epoch {trainer.current_epoch + 1} of "
            f"{trainer.max_epochs}, after step {trainer.global_step}: saved in {self.path}; "
            "the same command with --ckpt_path last goes on"
        )


class CheckpointFile(TorchCheckpointIO):
    """Writes a checkpoint so that it is there whole or not at all; Lightning's own may be half copied."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Saves what `torch.load` reads with `weights_only`.

        Raises:
            OSError: it cannot be written, as on a full disk; what was there before stays.
        """
        content = io.BytesIO()  # given a path, torch hides why it cannot write there, and writes its name into the file
        torch.save(checkpoint, content)
        write_whole(Path(path), lambda file: file.write_bytes(content.getbuffer()))


@contextmanager
def alone(out: Path) -> Iterator[None]:
    """Makes the folder of a run and keeps other runs out of it; takes away what a killed one has left half-written.

    Raises:
        ValueError: another run is at work there.
    """
    out.mkdir(parents=True, exist_ok=True)
    held: AbstractContextManager[object] = nullcontext()
    try:
        held = FileLock(out / LOCK).acquire(timeout=0)
    except Timeout:
        raise ValueError(f"another run is training in {out}: let it finish, or choose another --out") from None
    except NotImplementedError:  # there are file systems without locks
        pass
    with held:
        for name in (LAST_CHECKPOINT, METRICS, RUN):
            for left in out.glob(f"{name}.*{PARTIAL}"):
                left.unlink()
        yield
