"""The classifier on an encoder."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.functional import linear, normalize


class LinearHead(nn.Module):
    """A linear classifier of features, trained already.

    Args:
        class_names: of the L classes.
        weight: (L, D).
        bias: (L,).
        normalized: whether features are scaled to length 1 first.

    Raises:
        ValueError: when shapes and names do not fit.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, class_names: Sequence[str], weight: Tensor, bias: Tensor, normalized: bool = False) -> None:
        super().__init__()
        classes = len(class_names)
        if not classes or weight.ndim != 2 or weight.shape[:1] != (classes,) or bias.shape != (classes,):
            shapes = f"{tuple(weight.shape)} and {tuple(bias.shape)}"
            raise ValueError(
                f"a classifier of {classes} classes needs weights ({classes}, D) and ({classes},), got {shapes}"
            )
        self.class_names = tuple(class_names)
        self.normalized = normalized
        self.register_buffer("weight", weight.detach().float())
        self.register_buffer("bias", bias.detach().float())

    def forward(self, features: Tensor) -> Tensor:
        """Features (N, D) -> scores (N, L), whose softmax are probabilities."""
        return linear(normalize(features) if self.normalized else features, self.weight, self.bias)


def for_raw_features(weight: Tensor, bias: Tensor, mean: Tensor, deviation: Tensor) -> tuple[Tensor, Tensor]:
    """A linear layer (L, D), (L,) that learnt from standardised features, as one that takes them as they are.

    Args:
        weight: of the layer.
        bias: of the layer.
        mean: (D,) that was taken out of the features.
        deviation: (D,) by which they were divided.
    """
    weight = weight / deviation
    return weight, bias - weight @ mean.to(weight)
