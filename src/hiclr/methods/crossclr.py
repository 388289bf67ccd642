"""CrosSCLR: three streams that teach each other (Li et al., CVPR 2021, arXiv 2104.14466)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from typing import get_args

import torch
from torch import Tensor
from torch.optim import SGD

from hiclr.distributed import own_views
from hiclr.encoders.stgcn import STGCN
from hiclr.functional import Stream
from hiclr.losses import cross_stream_nce, info_nce
from hiclr.methods.base import EncoderFactory, Learner, OptimizerFactory
from hiclr.methods.contrast import Contrast
from hiclr.skeleton import Skeleton
from hiclr.transforms import Level, growing_views

_STREAMS: tuple[Stream, ...] = get_args(Stream)


class CrosSCLR(Learner):
    """A SkeletonCLR for each of joint, motion and bone, on the same augmented clips; later on they mine for each other.

    In the second stage the queue entry nearest in one stream is a positive of the others. All key encoders follow
    their queries in both stages and no stream shares a layer with another (the published code differs in both).

    Args:
        skeleton: the joints of the data.
        augmentation: of query and key: the name of a published set (BA), several joined by a plus, or a
            list of transforms.
        encoder: makes the encoder for a skeleton.
        queue_size: past keys to contrast with, K.
        key_momentum: share of its weights the key encoder keeps at each step.
        temperature: of the similarities.
        cross_start: share of the training after which the streams teach each other
            (published: epoch 150 of 300); 1 for never.
        optimizer: makes the optimizer of the parameters.
        lr_drop: share of the training after which the learning rate falls to a tenth.
    """

    def __init__(
        self,
        skeleton: Skeleton,
        augmentation: Level = "BA",
        encoder: EncoderFactory = STGCN,
        queue_size: int = 32768,
        key_momentum: float = 0.999,
        temperature: float = 0.07,
        cross_start: float = 0.5,
        optimizer: OptimizerFactory = lambda parameters: SGD(parameters, lr=0.1, momentum=0.9, weight_decay=1e-4),
        lr_drop: float = 5 / 6,
    ) -> None:
        (view,) = growing_views([augmentation], skeleton)
        contrasts = {stream: Contrast(encoder(skeleton), queue_size, key_momentum, temperature) for stream in _STREAMS}
        settings = {"augmentation": view.steps, "cross_start": cross_start}
        super().__init__(contrasts, optimizer, lr_drop, settings, cross_start)
        self.view = view

    def training_step(self, x: Tensor, _: int) -> Tensor:
        """One step on x (N, C, T, V, M); returns the loss."""
        view = self.view
        clips = view.augment_joints(x), view.augment_joints(x)
        seen = own_views(view.augment_stream(clip, stream) for clip in clips for stream in self.streams)
        ours, theirs = seen[: len(self.streams)], seen[len(self.streams) :]
        logits, healths = [], []
        for stream, x_query, x_key in zip(self.streams, ours, theirs, strict=True):
            contrast = self.contrast_of(stream)
            query = contrast.embed(x_query, view.edges)
            key = contrast.next_key(x_key, view.edges)
            logits += contrast.compare([query], key)
            contrast.queue.push(key)
            healths.append(contrast.health(query, logits[-1]))
        alone = torch.stack([info_nce(own) for own in logits])
        loss = self._crossed(logits) if self.second_stage else alone.sum()
        similarity = torch.stack([health["queue_similarity"] for health in healths]).max()
        spread = torch.stack([health["feature_spread"] for health in healths]).min()
        self.log_terms(loss=loss, info=alone.mean(), queue_similarity=similarity, feature_spread=spread)
        return loss

    def _crossed(self, logits: Sequence[Tensor]) -> Tensor:
        """Every stream learns from each other one: the mean over its teachers, summed over the streams."""
        pairs = permutations(logits, 2)
        terms = [cross_stream_nce(own, other, self.contrast.temperature) for own, other in pairs]
        return torch.stack(terms).sum() / (len(logits) - 1)
