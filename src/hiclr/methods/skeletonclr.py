"""SkeletonCLR: MoCo on skeletons (Li et al., CVPR 2021, arXiv 2104.14466)."""

from __future__ import annotations

from torch import Tensor
from torch.optim import SGD

from hiclr.distributed import own_views
from hiclr.encoders.stgcn import STGCN
from hiclr.functional import Stream
from hiclr.losses import info_nce
from hiclr.methods.base import EncoderFactory, Learner, OptimizerFactory
from hiclr.methods.contrast import Contrast
from hiclr.skeleton import Skeleton
from hiclr.transforms import Level, growing_views


class SkeletonCLR(Learner):
    """Two draws of one view of a sequence attract each other, past keys repel.

    The same as HiCLR with a single level and no mining.

    Args:
        skeleton: the joints of the data.
        stream: what the encoder sees: joint, motion or bone.
        augmentation: of query and key: the name of a published set (BA), several joined by a plus, or a
            list of transforms.
        encoder: makes the encoder for a skeleton.
        queue_size: past keys to contrast with, K.
        key_momentum: share of its weights the key encoder keeps at each step.
        temperature: of the similarities.
        optimizer: makes the optimizer of the parameters.
        lr_drop: share of the training after which the learning rate falls to a tenth.
    """

    def __init__(
        self,
        skeleton: Skeleton,
        stream: Stream = "joint",
        augmentation: Level = "BA",
        encoder: EncoderFactory = STGCN,
        queue_size: int = 32768,
        key_momentum: float = 0.999,
        temperature: float = 0.07,
        optimizer: OptimizerFactory = lambda parameters: SGD(parameters, lr=0.1, momentum=0.9, weight_decay=1e-4),
        lr_drop: float = 5 / 6,
    ) -> None:
        (view,) = growing_views([augmentation], skeleton, stream)
        contrast = Contrast(encoder(skeleton), queue_size, key_momentum, temperature)
        super().__init__({stream: contrast}, optimizer, lr_drop, {"augmentation": view.steps})
        self.view = view

    def training_step(self, x: Tensor, _: int) -> Tensor:
        """One step on x (N, C, T, V, M); returns the loss."""
        contrast, view = self.contrast, self.view
        ours, theirs = own_views([view(x), view(x)])
        query = contrast.embed(ours, view.edges)
        key = contrast.next_key(theirs, view.edges)
        (logits,) = contrast.compare([query], key)
        loss = info_nce(logits)
        contrast.queue.push(key)
        self.log_terms(loss=loss, info=loss, **contrast.health(query, logits))
        return loss
