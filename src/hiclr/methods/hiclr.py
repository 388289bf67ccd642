"""HiCLR: hierarchical consistent contrastive learning with growing augmentations (AAAI 2023, arXiv 2211.13466)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from torch import Tensor, nn
from torch.optim import SGD

from hiclr import losses
from hiclr.distributed import own_views
from hiclr.encoders.stgcn import STGCN
from hiclr.functional import Stream
from hiclr.losses import Distance, hierarchical_consistency, info_nce, nearest_positives
from hiclr.methods.base import EncoderFactory, Learner, OptimizerFactory
from hiclr.methods.contrast import Contrast
from hiclr.skeleton import Skeleton
from hiclr.transforms import Level, View, growing_views


class HiCLR(Learner):
    """Contrast on the weakest view; every stronger view follows the next weaker one.

    The defaults are the paper's k = 3 with RandomMask, on ST-GCN.

    Args:
        skeleton: the joints of the data.
        stream: what the encoder sees: joint, motion or bone.
        arrangement: the growing augmentations: one entry per level, each the name of a published set
            (BA, NA, Mask, AdaIN, DAE), several joined by a plus, or a list of transforms; or all as "BA,NA,Mask".
        encoder: makes the encoder for a skeleton.
        queue_size: past keys to contrast with, K.
        key_momentum: share of its weights the key encoder keeps at each step.
        temperature: of the similarities.
        consistency_weight: lambda_h, of the hierarchical loss (published: 1.0 for k = 2, 0.5 for k = 3).
        branch_weights: of each level above the first, inside the hierarchical loss; all 1 when null
            (published for k = 4: 0.5, 0.3, 0.2).
        distance: between the distributions of two levels: "kl", or "squared" for comparison.
        symmetric: let the weaker view learn from the stronger one as well; for comparison.
        mining_start: share of the training after which nearest neighbours count as positives
            (published: epoch 150 of 300); 1 for never.
        optimizer: makes the optimizer of the parameters.
        lr_drop: share of the training after which the learning rate falls to a tenth.
    """

    def __init__(
        self,
        skeleton: Skeleton,
        stream: Stream = "joint",
        arrangement: Sequence[Level] | str = ("BA", "NA", "Mask"),
        encoder: EncoderFactory = STGCN,
        queue_size: int = 32768,
        key_momentum: float = 0.999,
        temperature: float = 0.07,
        consistency_weight: float = 0.5,
        branch_weights: Sequence[float] | None = None,
        distance: Distance = "kl",
        symmetric: bool = False,
        mining_start: float = 0.5,
        optimizer: OptimizerFactory = lambda parameters: SGD(parameters, lr=0.1, momentum=0.9, weight_decay=1e-4),
        lr_drop: float = 5 / 6,
    ) -> None:
        views = growing_views(arrangement, skeleton, stream)
        weights = list(losses.branch_weights(len(views), branch_weights))
        settings = {
            "arrangement": [view.steps for view in views],
            "consistency_weight": consistency_weight,
            "branch_weights": weights,
            "distance": distance,
            "symmetric": symmetric,
            "mining_start": mining_start,
        }
        contrast = Contrast(encoder(skeleton), queue_size, key_momentum, temperature)
        super().__init__({stream: contrast}, optimizer, lr_drop, settings, mining_start)
        self.views = nn.ModuleList(views)
        self.consistency_weight = consistency_weight
        self.branch_weights = weights
        self.distance: Distance = distance
        self.symmetric = symmetric

    def training_step(self, x: Tensor, _: int) -> Tensor:
        """One step on x (N, C, T, V, M); returns the loss."""
        contrast, views = self.contrast, cast("Sequence[View]", self.views)
        *growing, basic = own_views(view(x) for view in (*views, views[0]))
        queries = [contrast.embed(seen, view.edges) for seen, view in zip(growing, views, strict=True)]
        key = contrast.next_key(basic, views[0].edges)
        levels = contrast.compare(queries, key)
        info = info_nce(levels[0], nearest_positives(levels, k=1) if self.second_stage else None)
        consistency = hierarchical_consistency(levels, self.branch_weights, self.distance, self.symmetric)
        loss = info + self.consistency_weight * consistency
        contrast.queue.push(key)
        self.log_terms(loss=loss, info=info, consistency=consistency, **contrast.health(queries[0], levels[0]))
        return loss
