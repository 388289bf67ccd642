"""What Lightning trains here, with labels or without: optimizer and schedule, a whole checkpoint."""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer

from hiclr.encoders.checkpoint import CHECKPOINT_KEY
from hiclr.methods.means import EpochMeans

OptimizerFactory = Callable[[Iterable[nn.Parameter]], Optimizer]


class Trainee(LightningModule, abc.ABC):
    """A network with its optimizer, whose checkpoint is whole: a run that goes on equals one that never stopped.

    Args:
        optimizer: makes the optimizer of the parameters.

    Attributes:
        means: what each step adds its figures to.
        figures: of the epoch that has just ended: their means, and what is found out at its end.
    """

    def __init__(self, optimizer: OptimizerFactory) -> None:
        super().__init__()
        self.make_optimizer = optimizer
        self.settings: dict[str, Any] = {}  # what must not change when a run goes on
        self.epochs_trained = 0
        self.run: dict[str, Any] = {}  # settings of the run, for the checkpoint
        self.means = EpochMeans()
        self.figures: dict[str, float] = {}

    @abc.abstractmethod
    def description(self) -> dict[str, Any]:
        """What rebuilds the encoder from the checkpoint, see `describe`."""

    @abc.abstractmethod
    def lr_factor(self, epoch: int) -> float:
        """What the learning rate is multiplied by in an epoch, counted from 0."""

    def epoch_at(self, share: float) -> int:
        """The epoch at which this share of the training is over."""
        return round(share * (self.trainer.max_epochs or 0))

    def configure_optimizers(self) -> Optimizer:
        """The optimizer of everything that wants a gradient."""
        optimizer = self.make_optimizer(parameter for parameter in self.parameters() if parameter.requires_grad)
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]
        return optimizer

    def on_train_epoch_start(self) -> None:
        """Sets the learning rate from the epoch alone, so that a resumed or prolonged run has the right one."""
        self.means.clear()
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = group["initial_lr"] * self.lr_factor(self.current_epoch)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Sums the epoch up after its last step."""
        if self.trainer.is_last_batch:
            self.figures = self.means.means()

    def on_train_epoch_end(self) -> None:
        """Counts the epoch, for the checkpoint."""
        self.epochs_trained = self.current_epoch + 1

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds what rebuilds the encoder, what is known of the run, the state of chance, and the epoch's sums."""
        checkpoint[CHECKPOINT_KEY] = {
            **self.description(),
            "epochs": self.epochs_trained,
            "run": self.run,
            "random_states": {"cpu": torch.get_rng_state(), "cuda": _cuda_states()},
            "means": self.means.state_dict(self.trainer.strategy.root_device),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Takes the state of chance up where the checkpoint left it."""
        ours = checkpoint[CHECKPOINT_KEY]
        self.epochs_trained = ours["epochs"]
        if "means" in ours:  # checkpoints from before there were any within an epoch lack them
            self.means.load_state_dict(ours["means"])
        torch.set_rng_state(ours["random_states"]["cpu"])
        states = ours["random_states"]["cuda"]
        if states and len(states) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all(states)


def _cuda_states() -> list[Tensor]:
    """The state of chance of every GPU, if any is in use: training on the CPU does not touch them."""
    return torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []


def optimizer_facts(optimizer: Optimizer) -> dict[str, Any]:
    """An optimizer's name and settings, in plain containers."""
    return {"name": type(optimizer).__name__, **optimizer.defaults}


def check_lr_drops(lr_drops: Sequence[float]) -> None:
    """ValueError unless these are shares of the epochs."""
    if not all(0 <= drop <= 1 for drop in lr_drops):
        raise ValueError(f"lr_drops are shares of the epochs, from 0 to 1, got {list(lr_drops)}")
