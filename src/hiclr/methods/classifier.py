"""An encoder and a linear layer trained together on labels: supervised, semi-supervised, from scratch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD

from hiclr.encoders.base import Encoder
from hiclr.encoders.checkpoint import describe
from hiclr.functional import Stream, to_stream
from hiclr.methods.trainee import OptimizerFactory, Trainee, check_lr_drops, optimizer_facts
from hiclr.transforms import Level, View, growing_views


class Classifier(Trainee):
    """Classes of sequences: a linear layer on the features of an encoder, all of it trained.

    Args:
        encoder: where to start from.
        stream: what the encoder sees: joint, motion or bone.
        class_names: the L classes.
        augmentation: of the sequences trained on, one entry of an arrangement ("BA", "BA+NA", a list of transforms);
            none when None.
        optimizer: makes the optimizer of the parameters.
        lr_drops: shares of the training after which the learning rate falls to a tenth (published: 30 and 55 of 70
            epochs).
        warmup_epochs: in the first epochs the learning rate rises in equal steps to its full height (published: 5).

    Raises:
        ValueError: for an augmentation that does not exist, a share that is none, or epochs below 0.
    """

    def __init__(
        self,
        encoder: Encoder,
        stream: Stream,
        class_names: Sequence[str],
        augmentation: Level | None = None,
        optimizer: OptimizerFactory = lambda parameters: SGD(parameters, lr=0.1, momentum=0.9, weight_decay=1e-4),
        lr_drops: Sequence[float] = (30 / 70, 55 / 70),
        warmup_epochs: int = 5,
    ) -> None:
        super().__init__(optimizer)
        check_lr_drops(lr_drops)
        if warmup_epochs < 0:
            raise ValueError(f"warmup_epochs counts epochs, from 0 on, got {warmup_epochs}")
        self.encoder = encoder
        self.classifier = nn.Linear(encoder.feature_dim, len(class_names))
        self.stream: Stream = stream
        self.class_names = list(class_names)
        if augmentation is None:
            self.view = View([], encoder.skeleton, stream)
        else:
            [self.view] = growing_views([augmentation], encoder.skeleton, stream)
        self.lr_drops = list(lr_drops)
        self.warmup_epochs = warmup_epochs
        self.settings = {
            "method": type(self).__name__,
            **self.description(),
            "augmentation": self.view.steps,
            "optimizer": optimizer_facts(optimizer(self.parameters())),
            "lr_drops": self.lr_drops,
            "warmup_epochs": warmup_epochs,
        }

    def description(self) -> dict[str, Any]:
        """What rebuilds the encoder and names the classes."""
        return {**describe(self.encoder, {self.stream: "encoder."}), "class_names": self.class_names}

    def forward(self, x: Tensor) -> Tensor:
        """Joints x (N, 3, T, V, M), as prepared -> class scores (N, L)."""
        scores: Tensor = self.classifier(self.encoder(to_stream(x, self.stream, self.encoder.skeleton.parents)))
        return scores

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        """One step on x (N, 3, T, V, M) and labels (N,); returns the loss.

        Raises:
            ValueError: when the loss is no finite number.
        """
        x, labels = batch
        scores = self.classifier(self.encoder(self.view(x), self.view.edges))
        loss = cross_entropy(scores, labels)
        if not loss.isfinite():
            raise ValueError(
                f"the loss is {loss.item()} in epoch {self.current_epoch + 1}: lower the learning rate "
                "(--optimizer.lr), or raise warmup_epochs"
            )
        top1 = 100 * (scores.argmax(1) == labels).float().mean()
        self.means.add(len(x), {"loss": loss, "top1_train": top1})
        return loss

    def lr_factor(self, epoch: int) -> float:
        """Rises to 1 over the epochs of the warm-up; falls to a tenth after each share of the training."""
        rise = min(1.0, (epoch + 1) / self.warmup_epochs) if self.warmup_epochs else 1.0
        fallen: int = sum(epoch >= self.epoch_at(drop) for drop in self.lr_drops)
        return rise * 0.1**fallen
