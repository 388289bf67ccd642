"""What all pre-training methods share: the network, its optimizer and schedule, a whole checkpoint."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.optim import Optimizer

from hiclr.encoders.base import Encoder
from hiclr.encoders.checkpoint import CHECKPOINT_KEY, describe
from hiclr.functional import Stream
from hiclr.skeleton import Skeleton

EncoderFactory = Callable[[Skeleton], Encoder]
OptimizerFactory = Callable[[Iterable[nn.Parameter]], Optimizer]

_EMBEDDING_DIM = 128


class Projected(nn.Module):
    """An encoder and its projection head: x (N, C, T, V, M) -> embeddings (N, 128)."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        dim = encoder.feature_dim
        self.encoder = encoder
        self.embedding_dim = _EMBEDDING_DIM
        self.head = nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, _EMBEDDING_DIM))

    def forward(self, x: Tensor) -> Tensor:
        """x (N, C, T, V, M) -> embeddings (N, 128), not normalised."""
        embedding: Tensor = self.head(self.encoder(x))
        return embedding


class Learner(LightningModule):
    """A pre-training method: a query network and what surrounds it.

    A method adds its loss as `training_step`, and says how many `negatives` a query is compared with.

    Args:
        skeleton: the joints of the data.
        stream: what the encoder sees: joint, motion or bone.
        encoder: makes the encoder for a skeleton.
        optimizer: makes the optimizer of the parameters.
        lr_drop: share of the training after which the learning rate falls to a tenth
            (published: 250 of 300 epochs, 500 of 600, 1250 of 1500).
    """

    def __init__(
        self,
        skeleton: Skeleton,
        stream: Stream,
        encoder: EncoderFactory,
        optimizer: OptimizerFactory,
        lr_drop: float,
    ) -> None:
        super().__init__()
        self.stream: Stream = stream
        self.query = Projected(encoder(skeleton))
        self.make_optimizer = optimizer
        self.lr_drop = lr_drop
        self.settings: dict[str, Any] = {  # what must not change when a run goes on; methods add theirs
            "method": type(self).__name__,
            "lr_drop": lr_drop,
            **describe(self.query.encoder, stream),
        }
        self.epochs_trained = 0
        self.run: dict[str, Any] = {}  # settings of the run, for the checkpoint

    @property
    def negatives(self) -> int:
        """Number of negatives a query is compared with."""
        raise NotImplementedError

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
            **describe(self.query.encoder, self.stream),
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


def feature_spread(embeddings: Tensor) -> Tensor:
    """How far embeddings (N, D) fill the sphere: mean standard deviation of a coordinate, times sqrt(D).

    1 when they are spread evenly, 0 when all are the same.
    """
    spread: Tensor = normalize(embeddings).std(0).mean()
    return spread * math.sqrt(embeddings.shape[1])
