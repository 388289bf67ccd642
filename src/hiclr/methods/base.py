"""What all pre-training methods share: their networks and the shape of their training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast, get_args

import numpy as np
from torch import Tensor, nn

from hiclr.encoders.base import Encoder
from hiclr.encoders.checkpoint import describe
from hiclr.encoders.layers import BatchNorm
from hiclr.functional import Stream
from hiclr.methods.contrast import Contrast
from hiclr.methods.trainee import OptimizerFactory as OptimizerFactory
from hiclr.methods.trainee import Trainee, optimizer_facts
from hiclr.skeleton import Skeleton

EncoderFactory = Callable[[Skeleton], Encoder]
_STREAMS: tuple[Stream, ...] = get_args(Stream)


def stream_seed(seed: int, streams: Sequence[Stream]) -> int:
    """The seed of a run's weights, order and draws, by what it learns from.

    Joint, motion and bone have one of their own each, so that runs with the same seed are independent where they are
    fused; that of joint, and of several streams in one run, is the seed itself.
    """
    [number, *others] = map(_STREAMS.index, streams)
    if others or number == 0:
        return seed
    # not (seed, number): so begins a step of joint's
    return int(np.random.SeedSequence((seed, 0, number)).generate_state(1)[0])


class Learner(Trainee):
    """A pre-training method: one contrast for each stream it learns from, and what surrounds them.

    A method adds its loss as `training_step`. Of several processes each is given the whole batch, draws the same
    views of all of it, and encodes its own rows of them (`own_views`): the loss is a mean over those, and
    DistributedDataParallel takes the mean over the processes.

    Args:
        contrasts: query, key encoder and queue, by the stream that their encoder sees.
        optimizer: makes the optimizer of the parameters.
        lr_drop: share of the training after which the learning rate falls to a tenth
            (published: 250 of 300 epochs, 500 of 600, 1250 of 1500).
        settings: what must not change when a run goes on, beside the others of these.
        second_stage_start: share of the training after which the loss has its second form
            (published: 150 of 300 epochs, 300 of 600, 750 of 1500); 1 for never.

    Raises:
        ValueError: for a share that is none.
    """

    def __init__(
        self,
        contrasts: Mapping[Stream, Contrast],
        optimizer: OptimizerFactory,
        lr_drop: float,
        settings: Mapping[str, Any],
        second_stage_start: float = 1.0,
    ) -> None:
        super().__init__(optimizer)
        for share in (lr_drop, second_stage_start):
            if not 0 <= share <= 1:
                raise ValueError(f"lr_drop, mining_start, cross_start are shares of the training, 0 to 1, got {share}")
        self.contrasts = nn.ModuleDict({str(stream): contrast for stream, contrast in contrasts.items()})
        self.lr_drop = lr_drop
        self.second_stage_start = second_stage_start
        self.settings = {
            "method": type(self).__name__,
            "streams": self.streams,
            "encoder": self.description()["encoder"],
            **self.contrast.settings,
            "optimizer": optimizer_facts(optimizer(self.parameters())),
            "lr_drop": lr_drop,
            **settings,
        }

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

    def description(self) -> dict[str, Any]:
        """What rebuilds the encoders from the checkpoint."""
        weights = {stream: f"contrasts.{stream}.query.encoder." for stream in self.streams}
        return describe(self.contrast.query.encoder, weights)

    @property
    def second_stage(self) -> bool:
        """Whether the loss has its second form by now."""
        return self.current_epoch >= self.epoch_at(self.second_stage_start)

    def lr_factor(self, epoch: int) -> float:
        """Falls to a tenth after a share of the training."""
        return 0.1 if epoch >= self.epoch_at(self.lr_drop) else 1.0

    def synchronize_batchnorm(self) -> None:
        """Takes the statistics of every BatchNorm over the rows of all processes, not each over its own."""
        for module in self.modules():
            if isinstance(module, BatchNorm):
                module.synchronized = True

    def log_terms(self, **terms: Tensor) -> None:
        """Logs terms as means over the epoch and all processes."""
        self.means.add(1, terms)
