"""Sick training noticed: refused before the first step where it cannot learn, told of where it may not."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from hiclr.data.module import Batches
from hiclr.functional import to_stream
from hiclr.methods.base import Learner
from hiclr.methods.trainee import Trainee
from hiclr.transforms import View

_LOOKED_AT = 64  # sequences on which views are tried
_NOTHING = 1e-6  # metres between the smallest and the largest number of a sequence that shows nothing
_EMPTIED = 0.5  # share of the sequences of which a view may leave nothing
_ALIKE = 0.99  # mean cosine of queries to the queue, from which all look the same


# --- before the first step --------------------------------------------------------------------------------------------


def check_before(trainee: Trainee, batches: Batches[Any], processes: int = 1) -> None:
    """Looks at what a training begins with: its batches, the numbers in them, and what its views leave of them.

    Every row is read once. The views are tried on a few sequences, with chance of their own.

    Args:
        trainee: a learner or a classifier, on the CPU.
        batches: of the training side.
        processes: that share every batch.

    Raises:
        ValueError: where nothing could be learnt: no learning rate, a single sequence in a step, numbers that are not
            finite, sequences that are all the same or show nothing, or a view that leaves nothing of them.
    """
    lr = trainee.settings["optimizer"].get("lr", 0.0)
    if not math.isfinite(lr):
        raise ValueError(f"the learning rate must be a finite number, got {lr}")
    x = batches.some(_LOOKED_AT)
    if isinstance(trainee, Learner):
        _check_contrast(x, batches.batch_size, processes)
    batches.check_numbers()  # after what costs nothing, before the views, which would be blamed for NaN
    _check_views(trainee, x)


def remarks(learner: Learner, sequences: int) -> list[str]:
    """What should be known of a learner's settings before it is trained on so many sequences, in a sentence each."""
    said = []
    size = len(learner.contrast.queue.keys)
    if size > sequences:
        said.append(
            f"The queue of {size:,} keys is longer than the {sequences:,} training sequences: each is contrasted with "
            f"about {size / sequences:.1f} past keys of its own; fewer: --method.queue_size {_shorter(sequences)}"
        )
    if learner.settings["optimizer"].get("lr") == 0:
        said.append("The learning rate is 0, so that nothing is learnt: raise --method.optimizer.lr")
    if learner.contrast.key.momentum == 1:
        said.append("With key_momentum 1 the key encoder stays as it is drawn: lower --method.key_momentum")
    return said


def _shorter(sequences: int) -> int:
    """The largest power of two up to half of the sequences."""
    return int(2 ** math.floor(math.log2(max(sequences // 2, 1))))


def _check_contrast(x: Tensor, batch_size: int, processes: int) -> None:
    if len(x) < 2:
        raise ValueError("there is one training sequence alone: contrast needs others to tell it from")
    if batch_size < 2 * processes:
        share = "" if processes == 1 else f" for each of {processes} processes"
        raise ValueError(
            f"batch_size {batch_size} is too small: contrast needs steps of 2 sequences or more{share}: "
            f"set --data.batch_size to at least {2 * processes}"
        )
    if (x == x[:1]).all():
        raise ValueError(f"the training sequences are all the same ({len(x)} looked at): there is nothing to learn")


def _check_views(trainee: Trainee, x: Tensor) -> None:
    views = [module for module in trainee.modules() if isinstance(module, View)]
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for view in views:
            for stream in trainee.streams if isinstance(trainee, Learner) else [view.stream]:
                there = _shows(to_stream(x, stream, view.parents))
                if not there.any():
                    way = "prepare other data" if stream == "joint" else "choose another stream"
                    raise ValueError(f"the {stream} stream of the training sequences is all zero: {way}")
                seen = view.augment_stream(view.augment_joints(x), stream)
                steps = ", ".join(view.steps)
                if not seen.isfinite().all():
                    raise ValueError(f"numbers that are not finite come out of {steps}: make it weaker")
                emptied = ((there & ~_shows(seen)).sum() / there.sum()).item()
                if emptied >= _EMPTIED:
                    raise ValueError(f"nothing is left of {emptied:.0%} of the sequences after {steps}: hide less")


def _shows(x: Tensor) -> Tensor:
    """Whether sequences of x (N, C, T, V, M) show anything at all: bool (N,)."""
    low, high = x.flatten(1).aminmax(dim=1)
    return high - low > _NOTHING


# --- while it runs ----------------------------------------------------------------------------------------------------


class Remarks(Callback):
    """Says sentences when training begins, so that none stands beside a refusal.

    Args:
        sentences: as from `remarks`.
        say: where to; the first process alone speaks.
    """

    def __init__(self, sentences: Sequence[str], say: Callable[[str], None]) -> None:
        self.sentences = sentences
        self.say = say

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for sentence in self.sentences if trainer.is_global_zero else ():
            self.say(sentence)


class CollapseWatch(Callback):
    """Refuses a loss that is no number, before it reaches a checkpoint; warns when training has collapsed.

    Collapsed: the loss has not left that of guessing, all queries look alike, or queries look like every key. This is
    also what too large steps end in: the loss of normalised features cannot grow without bound.

    Args:
        negatives: keys in the queue; guessing costs ln(1 + negatives).
        patience: epochs between two looks.
        loss_share: share of the loss of guessing above which nothing was learnt. Not looked at in the second stage of a
            method, in which positives that were mined make the loss larger.
        spread: feature spread (1 evenly on the sphere, 0 all the same) below which features are alike.
    """

    def __init__(self, negatives: int, patience: int = 5, loss_share: float = 0.98, spread: float = 0.05) -> None:
        self.negatives = negatives
        self.patience = patience
        self.loss_share = loss_share
        self.spread = spread

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        learner, epoch = cast("Learner", pl_module), trainer.current_epoch + 1
        figures = learner.figures
        info, spread, similarity = (figures[name] for name in ("info", "feature_spread", "queue_similarity"))
        guessing = math.log(1 + self.negatives)
        if not math.isfinite(figures["loss"]):
            before = f"; the checkpoint of epoch {epoch - 1} is kept" if epoch > 1 else ""
            raise ValueError(
                f"the loss is {figures['loss']} in epoch {epoch}: lower the learning rate (--method.optimizer.lr) and "
                f"train anew, in 32-true if this was half precision{before}"
            )
        unlearnt = info > self.loss_share * guessing and not learner.second_stage
        if epoch % self.patience == 0 and (unlearnt or spread < self.spread or similarity > _ALIKE):
            rank_zero_warn(
                f"epoch {epoch}: training looks collapsed: contrastive loss {info:.2f} (guessing: {guessing:.2f}), "
                f"feature spread {spread:.3f} (healthy: near 1), queue similarity {similarity:.3f} (healthy: near 0). "
                "Lower --method.optimizer.lr; on a small corpus use recipes/small.yaml: "
                "PyTorch's initialisation, a faster key encoder, a shorter queue",
            )


class LossWatch(Callback):
    """Warns when a classifier's loss stays far above that of guessing: its steps are too large.

    Args:
        classes: L; guessing costs ln(L).
        patience: epochs between two looks.
        excess: how many times the loss of guessing is far above. A classifier that knows nothing says so and pays it
            once; to pay more it must be sure of what is wrong.
    """

    def __init__(self, classes: int, patience: int = 5, excess: float = 10.0) -> None:
        self.guessing = math.log(classes)
        self.patience = patience
        self.excess = excess

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        epoch, loss = trainer.current_epoch + 1, cast("Trainee", pl_module).figures["loss"]
        if epoch % self.patience == 0 and loss > self.excess * max(self.guessing, 1.0):
            rank_zero_warn(
                f"epoch {epoch}: the loss is {loss:.4g}, far above that of guessing ({self.guessing:.2f}): "
                "lower the learning rate (--optimizer.lr), or raise warmup_epochs"
            )
