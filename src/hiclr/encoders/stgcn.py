"""ST-GCN (Yan, Xiong, Lin, AAAI 2018) at the quarter width that HiCLR publishes its numbers with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from hiclr.encoders.base import EdgeChange, Encoder
from hiclr.encoders.layers import BatchNorm, ConvNorm, Dropout, Same, channels_last, distinct_bodies, graph_product
from hiclr.skeleton import Partition, Skeleton, as_skeleton

Init = Literal["published", "pytorch"]

# channels as multiples of the width, and temporal stride, of the ten blocks
_BLOCKS = ((1, 1), (1, 1), (1, 1), (1, 1), (2, 2), (2, 1), (2, 1), (4, 2), (4, 1), (16, 1))
_TEMPORAL_KERNEL = 9


class STGCN(Encoder):
    """Ten spatio-temporal graph convolution blocks, then the mean over frames, joints and bodies.

    Args:
        skeleton: name of a known layout, or a `Skeleton`.
        width: channels of the first block; features have 16 times as many (16 -> D = 256).
        dropout: after every block but the first.
        partition: "published" for the published code's adjacency, "spatial" for the paper's.
        init: "published" draws convolution weights from N(0, 0.02) and batch-norm weights from N(1, 0.02),
            biases 0; "pytorch" keeps PyTorch's defaults, which small corpora need.
    """

    graph_tensors = ("adjacency", "blocks.*.importance", "input_norm.*")

    adjacency: Tensor

    def __init__(
        self,
        skeleton: str | Skeleton | Mapping[str, Any] = "ntu25",
        width: int = 16,
        dropout: float = 0.5,
        partition: Partition = "published",
        init: Init = "published",
    ) -> None:
        for name, value, known in (("partition", partition, get_args(Partition)), ("init", init, get_args(Init))):
            if value not in known:
                raise ValueError(f"unknown {name} {value!r}: choose one of {', '.join(known)}")
        if width < 1:
            raise ValueError(f"width must be at least 1, got {width}")
        settings = {"width": width, "dropout": dropout, "partition": partition, "init": init}
        super().__init__(as_skeleton(skeleton), _BLOCKS[-1][0] * width, settings)
        self.register_buffer("adjacency", torch.from_numpy(self.skeleton.adjacency(partition)))
        self.input_norm = BatchNorm(3 * self.skeleton.num_joints)
        channels = 3
        self.blocks = nn.ModuleList()
        for i, (multiple, stride) in enumerate(_BLOCKS):
            rate = dropout if i > 0 else 0.0
            self.blocks.append(_Block(channels, multiple * width, stride, rate, self.adjacency, residual=i > 0))
            channels = multiple * width
        if init == "published":
            self.apply(_draw_published_weights)

    def forward(self, x: Tensor, edges: EdgeChange | None = None) -> Tensor:
        """x (N, 3, T, V, M) -> features (N, D)."""
        maps, place = self._body_maps(x, edges)
        return maps.mean((2, 3))[place].mean(1)

    def feature_map(self, x: Tensor, edges: EdgeChange | None = None) -> Tensor:
        """x (N, 3, T, V, M) -> (N, D, T/4, V, M)."""
        maps, place = self._body_maps(x, edges)
        return maps[place].permute(0, 2, 4, 3, 1)

    def _body_maps(self, x: Tensor, edges: EdgeChange | None) -> tuple[Tensor, Tensor]:
        """Features of the distinct bodies (B, D, V, T/4), and which of them is body m of sequence n (N, M)."""
        self.check_joints(x)
        bodies, copies, place = distinct_bodies(x)
        b, c, t, v = bodies.shape
        coordinates = bodies.permute(0, 3, 1, 2).reshape(b, v * c, t, 1)  # each of each joint has statistics of its own
        y = self.input_norm(coordinates, copies)
        y = channels_last(y.view(b, v, c, t).transpose(1, 2))
        for block in self.blocks:
            y = block(y, self.adjacency, edges, copies)
        return y, place


class _Block(nn.Module):
    """Graph convolution over joints, 9x1 convolution over time, residual: (B, C, V, T) -> (B, C', V, T')."""

    def __init__(
        self, channels: int, out_channels: int, stride: int, dropout: float, adjacency: Tensor, residual: bool
    ) -> None:
        super().__init__()
        self.importance = nn.Parameter(torch.ones_like(adjacency))
        self.graph = GraphConv(channels, out_channels, len(adjacency))
        self.norm = BatchNorm(out_channels)
        self.temporal = nn.Sequential(*ConvNorm(out_channels, out_channels, _TEMPORAL_KERNEL, stride), Dropout(dropout))
        self.residual = _residual(channels, out_channels, stride) if residual else None

    def forward(self, x: Tensor, adjacency: Tensor, edges: EdgeChange | None = None, copies: int = 1) -> Tensor:
        if edges is not None:
            adjacency = edges(adjacency.expand(len(x), -1, -1, -1), 1.0)
        y: Tensor = self.norm(self.graph(x, adjacency * self.importance), copies).relu_()
        convolution, norm, dropout = self.temporal
        y = dropout(norm(convolution(y), copies))
        if self.residual is not None:
            y = y.add_(self.residual(x, copies))
        return y.relu_()


class GraphConv(nn.Conv2d):
    """A 1x1 convolution per graph subset, each multiplied by its subset's adjacency, then summed.

    The adjacency is (S, V, V), or (B, S, V, V) with one for each of the B bodies of x (B, C, V, T).
    """

    def __init__(self, channels: int, out_channels: int, subsets: int) -> None:
        super().__init__(channels, subsets * out_channels, kernel_size=1)

    def forward(self, x: Tensor, adjacency: Tensor) -> Tensor:  # type: ignore[override]
        assert self.bias is not None
        subsets = adjacency.shape[-3]
        weight = self.weight.view(subsets, -1, x.shape[1])
        bias = self.bias.view(subsets, -1).T @ adjacency.sum(-2)  # a joint takes its links' share of each bias
        return graph_product(x, adjacency, weight, bias)


def _residual(channels: int, out_channels: int, stride: int) -> nn.Module:
    if channels == out_channels and stride == 1:
        return Same()
    return ConvNorm(channels, out_channels, stride=stride)


def _draw_published_weights(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | BatchNorm):
        mean = 0.0 if isinstance(module, nn.Conv2d) else 1.0
        nn.init.normal_(module.weight, mean, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
