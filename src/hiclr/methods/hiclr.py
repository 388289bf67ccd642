"""HiCLR: hierarchical consistent contrastive learning with growing augmentations (AAAI 2023, arXiv 2211.13466)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.optim import SGD

from hiclr import losses
from hiclr.encoders.stgcn import STGCN
from hiclr.functional import Stream
from hiclr.losses import hierarchical_consistency, info_nce, nearest_positives, similarity_logits
from hiclr.methods.base import EncoderFactory, Learner, OptimizerFactory, feature_spread
from hiclr.momentum import KeyQueue, MomentumEncoder
from hiclr.skeleton import Skeleton
from hiclr.transforms import Transform, growing_views


class HiCLR(Learner):
    """Contrast on the weakest view; every stronger view follows the next weaker one.

    The defaults are the paper's k = 3 with RandomMask, on ST-GCN.

    Args:
        skeleton: the joints of the data.
        stream: what the encoder sees: joint, motion or bone.
        arrangement: the growing augmentations: one entry per level, each the name of a published set
            (BA, NA, Mask) or a list of transforms.
        encoder: makes the encoder for a skeleton.
        queue_size: past keys to contrast with, K.
        key_momentum: share of its weights the key encoder keeps at each step.
        temperature: of the similarities.
        consistency_weight: lambda_h, of the hierarchical loss (published: 1.0 for k = 2, 0.5 for k = 3).
        branch_weights: of each level above the first, inside the hierarchical loss; all 1 when null.
        mining_start: share of the training after which nearest neighbours count as positives
            (published: epoch 150 of 300); 1 for never.
        optimizer: makes the optimizer of the parameters.
        lr_drop: share of the training after which the learning rate falls to a tenth.
    """

    def __init__(
        self,
        skeleton: Skeleton,
        stream: Stream = "joint",
        arrangement: Sequence[str | Sequence[Transform]] = ("BA", "NA", "Mask"),
        encoder: EncoderFactory = STGCN,
        queue_size: int = 32768,
        key_momentum: float = 0.999,
        temperature: float = 0.07,
        consistency_weight: float = 0.5,
        branch_weights: Sequence[float] | None = None,
        mining_start: float = 0.5,
        optimizer: OptimizerFactory = lambda parameters: SGD(parameters, lr=0.1, momentum=0.9, weight_decay=1e-4),
        lr_drop: float = 5 / 6,
    ) -> None:
        super().__init__(skeleton, stream, encoder, optimizer, lr_drop)
        self.views = nn.ModuleList(growing_views(arrangement, skeleton, stream))
        self.key = MomentumEncoder(self.query, key_momentum)
        self.queue = KeyQueue(queue_size, self.query.embedding_dim)
        self.temperature = temperature
        self.consistency_weight = consistency_weight
        self.branch_weights = losses.branch_weights(len(self.views), branch_weights)
        self.mining_start = mining_start
        self.settings |= {
            "arrangement": [view.names for view in self.views],
            "queue_size": queue_size,
            "key_momentum": key_momentum,
            "temperature": temperature,
            "consistency_weight": consistency_weight,
            "branch_weights": list(self.branch_weights),
            "mining_start": mining_start,
        }

    @property
    def negatives(self) -> int:
        """K."""
        return len(self.queue.keys)

    def training_step(self, x: Tensor, _: int) -> Tensor:
        """One step on x (N, C, T, V, M); returns the loss."""
        queries = [normalize(self.query(view(x))) for view in self.views]
        self.key.follow(self.query)
        key = normalize(self.key(self.views[0](x)))
        negatives = self.queue.snapshot()
        levels = [similarity_logits(query, key, negatives, self.temperature) for query in queries]
        mined = nearest_positives(levels, k=1) if self.current_epoch >= self.epoch_at(self.mining_start) else None
        info = info_nce(levels[0], mined)
        consistency = hierarchical_consistency(levels, self.branch_weights)
        loss = info + self.consistency_weight * consistency
        self.queue.push(key)
        self.log_terms(
            loss=loss,
            info=info,
            consistency=consistency,
            queue_similarity=levels[0][:, 1:].mean() * self.temperature,
            feature_spread=feature_spread(queries[0]),
        )
        return loss
