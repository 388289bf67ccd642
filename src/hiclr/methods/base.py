"""What all pre-training methods share: their networks, optimizer and schedule, a whole checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.optim import SGD, Optimizer

from hiclr.encoders.base import Encoder
from hiclr.encoders.checkpoint import CHECKPOINT_KEY, describe
from hiclr.functional import Stream
from hiclr.methods.contrast import Contrast
from hiclr.skeleton import Skeleton

EncoderFactory = Callable[[Skeleton], Encoder]
OptimizerFactory = Callable[[Iterable[nn.Parameter]], Optimizer]


def published_sgd(parameters: Iterable[nn.Parameter]) -> Optimizer:
    """SGD as published for ST-GCN."""
    return SGD(parameters, lr=0.1, momentum=0.9, weight_decay=1e-4)


class Learner(LightningModule):
    """A pre-training method: one contrast for each stream it learns from, and what surrounds them.

    A method adds its loss as `training_step`.

    Args:
        contrasts: query, key encoder and queue, by the stream that their encoder sees.
        optimizer: makes the optimizer of the parameters.
        lr_drop: share of the training after which the learning rate falls to a tenth
            (published: 250 of 300 epochs, 500 of 600, 1250 of 1500).
        settings: what must not change when a run goes on, beside the others of these.
        mining_start: share of the training after which the loss has its second form
            (published: 150 of 300 epochs, 300 of 600, 750 of 1500); 1 for never.
    """

    def __init__(
        self,
        contrasts: Mapping[Stream, Contrast],
        optimizer: OptimizerFactory,
        lr_drop: float,
        settings: Mapping[str, Any],
        mining_start: float = 1.0,
    ) -> None:
        super().__init__()
        self.contrasts = nn.ModuleDict({str(stream): contrast for stream, contrast in contrasts.items()})
        self.make_optimizer = optimizer
        self.lr_drop = lr_drop
        self.mining_start = mining_start
        self.settings: dict[str, Any] = {
            "method": type(self).__name__,
            "streams": self.streams,
            "encoder": self._description()["encoder"],
            **self.contrast.settings,
            "lr_drop": lr_drop,
            "mining_start": mining_start,
            **settings,
        }
        self.epochs_trained = 0
        self.run: dict[str, Any] = {}  # settings of the run, for the checkpoint

    @property
    def contrast(self) -> Contrast:
        """The first of the contrasts; most methods have one."""
        return self.contrast_of(self.streams[0])

    @property
    def streams(self) -> list[Stream]:
        """What the encoders see."""
        return [cast("Stream", stream) for stream in self.contrasts]

    def contrast_of(self, stream: Stream) -> Contrast:
        """The contrast whose encoder sees this stream."""
        return cast("Contrast", self.contrasts[stream])

    def _description(self) -> dict[str, Any]:
        weights = {stream: f"contrasts.{stream}.query.encoder." for stream in self.streams}
        return describe(self.contrast.query.encoder, weights)

    @property
    def mining(self) -> bool:
        """Whether the loss has its second form by now."""
        return self.current_epoch >= self.epoch_at(self.mining_start)

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
        factor = 0.1 if self.current_epoch >= self.epoch_at(self.lr_drop) else 1.0
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = group["initial_lr"] * factor

    def log_terms(self, **terms: Tensor) -> None:
        """Logs terms as means over the epoch; `loss` shows in the progress bar."""
        for name, term in terms.items():
            self.log(name, term.detach(), on_step=False, on_epoch=True, prog_bar=name == "loss", batch_size=1)

    def on_train_epoch_end(self) -> None:
        """Counts the epoch, for the checkpoint."""
        self.epochs_trained = self.current_epoch + 1

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds what rebuilds the encoder, what is known of the run, and the state of chance."""
        checkpoint[CHECKPOINT_KEY] = {
            **self._description(),
            "epochs": self.epochs_trained,
            "run": self.run,
            "random_states": {"cpu": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all()},
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Takes the state of chance up where the checkpoint left it."""
        ours = checkpoint[CHECKPOINT_KEY]
        self.epochs_trained = ours["epochs"]
        torch.set_rng_state(ours["random_states"]["cpu"])
        if len(ours["random_states"]["cuda"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all(ours["random_states"]["cuda"])
