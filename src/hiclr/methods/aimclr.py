"""AimCLR: contrast with extreme augmentations (Guo et al., AAAI 2022, arXiv 2112.03590)."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import normalize
from torch.optim import SGD

from hiclr.distributed import own_views
from hiclr.encoders.base import pooled
from hiclr.encoders.stgcn import STGCN
from hiclr.functional import Stream
from hiclr.losses import hierarchical_consistency, info_nce, nearest_positives
from hiclr.methods.base import EncoderFactory, Learner, OptimizerFactory
from hiclr.methods.contrast import Contrast
from hiclr.skeleton import Skeleton
from hiclr.transforms import Level, growing_views

_CONSISTENCY_WEIGHT = 0.5
_THRESHOLD = 0.7  # of the attention, above which a feature is dropped


class AimCLR(Learner):
    """Contrast on a basic view; an extreme view, and the same with its strongest features dropped, follow it.

    Unlike HiCLR both follow the basic view's distribution, not that of the next weaker one.

    Args:
        skeleton: the joints of the data.
        stream: what the encoder sees: joint, motion or bone.
        basic: augmentation of query and key: the name of a published set (BA), several joined by a plus, or
            a list of transforms.
        extreme: what the extreme query gets on top of it (NA).
        encoder: makes the encoder for a skeleton.
        queue_size: past keys to contrast with, K.
        key_momentum: share of its weights the key encoder keeps at each step.
        temperature: of the similarities.
        mining_start: share of the training after which nearest neighbours count as positives
            (published: epoch 150 of 300); 1 for never.
        optimizer: makes the optimizer of the parameters.
        lr_drop: share of the training after which the learning rate falls to a tenth.
    """

    def __init__(
        self,
        skeleton: Skeleton,
        stream: Stream = "joint",
        basic: Level = "BA",
        extreme: Level = "NA",
        encoder: EncoderFactory = STGCN,
        queue_size: int = 32768,
        key_momentum: float = 0.999,
        temperature: float = 0.07,
        mining_start: float = 0.5,
        optimizer: OptimizerFactory = lambda parameters: SGD(parameters, lr=0.1, momentum=0.9, weight_decay=1e-4),
        lr_drop: float = 5 / 6,
    ) -> None:
        basic_view, extreme_view = growing_views([basic, extreme], skeleton, stream)
        contrast = Contrast(encoder(skeleton), queue_size, key_momentum, temperature)
        settings = {"basic": basic_view.steps, "extreme": extreme_view.steps, "mining_start": mining_start}
        super().__init__({stream: contrast}, optimizer, lr_drop, settings, mining_start)
        self.basic = basic_view
        self.extreme = extreme_view

    def training_step(self, x: Tensor, _: int) -> Tensor:
        """One step on x (N, C, T, V, M); returns the loss."""
        contrast, basic, extreme = self.contrast, self.basic, self.extreme
        network = contrast.query
        strong, weak, other_weak = own_views([extreme(x), basic(x), basic(x)])
        features = network.encoder.feature_map(strong, extreme.edges)
        queries = [
            contrast.embed(weak, basic.edges),
            normalize(network.head(pooled(features))),
            normalize(network.head(pooled(energy_drop(features)))),
        ]
        key = contrast.next_key(other_weak, basic.edges)
        levels = contrast.compare(queries, key)
        info = info_nce(levels[0], nearest_positives(levels, k=1) if self.second_stage else None)
        consistency = hierarchical_consistency(levels[:2]) + hierarchical_consistency(levels[::2])
        loss = info + _CONSISTENCY_WEIGHT * consistency
        contrast.queue.push(key)
        self.log_terms(loss=loss, info=info, consistency=consistency, **contrast.health(queries[0], levels[0]))
        return loss


def energy_drop(features: Tensor) -> Tensor:
    """Drops the most attended joints, then the most attended frames of every channel and joint.

    The attention of a feature is sigmoid((x - mu)^2 / (4 (sigma^2 + 1e-4)) + 0.5), with mean and (unbiased) variance of
    its channel over frames and joints. What is left is rescaled by the number of features over the number kept.

    Args:
        features: (N, D, T, V, M).
    """
    square = (features - features.mean((2, 3), keepdim=True)).square()
    variance = features.var((2, 3), keepdim=True)
    attention = (square / (4 * (variance + 1e-4)) + 0.5).sigmoid()
    joints = attention.mean((1, 2), keepdim=True) < _THRESHOLD
    frames = attention < _THRESHOLD
    return _keep(_keep(features, joints, 3), frames, 2)


def _keep(features: Tensor, kept: Tensor, dim: int) -> Tensor:
    """Zero where not kept; the rest rescaled by count over kept, along one dimension."""
    share = kept.to(features).mean(dim, keepdim=True)
    return features * kept / share.clamp(min=1 / kept.shape[dim])
