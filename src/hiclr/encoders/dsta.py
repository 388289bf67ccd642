"""DSTA-Net (Shi et al., ACCV 2020) as configured in HiCLR's transformer rows: attention over joints only."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hiclr.encoders.base import EdgeChange, Encoder
from hiclr.encoders.layers import BatchNorm, Dropout
from hiclr.skeleton import Skeleton, as_skeleton

# of the eight blocks: channels as multiples of the first's, key channels as multiples of half of it, temporal stride
_BLOCKS = ((1, 1, 1), (1, 1, 1), (2, 1, 2), (2, 1, 1), (4, 2, 2), (4, 2, 1), (4, 2, 1), (8, 2, 1))
_HEADS = 3
_TEMPORAL_KERNEL = 7
_SLOPE = 0.1


class DSTA(Encoder):
    """Eight blocks of spatial attention and temporal convolution, then the mean over frames, joints and bodies.

    Convolution weights start with Kaiming's normal draw for the fan out, all else as PyTorch does.

    Args:
        skeleton: name of a known layout, or a `Skeleton`.
        frames: T of the published configuration. Attention is a mean over the frames that come, so nothing
            depends on it and any length will do.
        attention_dropout: on the residual beside the temporal convolution of every block, despite the published name
            (published: 0.5 in pre-training, 0 afterwards).
        base_channels: of the first block; features have 8 times as many (32 -> D = 256).
    """

    graph_tensors = ("blocks.*.attention.global_map", "blocks.*.attention.encoding")

    def __init__(
        self,
        skeleton: str | Skeleton | Mapping[str, Any] = "ntu25",
        frames: int = 50,
        attention_dropout: float = 0.0,
        base_channels: int = 32,
    ) -> None:
        for name, value in (("frames", frames), ("base_channels", base_channels)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if not 0 <= attention_dropout <= 1:
            raise ValueError(f"attention_dropout must lie in 0..1, got {attention_dropout}")
        settings = {"frames": frames, "attention_dropout": attention_dropout, "base_channels": base_channels}
        super().__init__(as_skeleton(skeleton), _BLOCKS[-1][0] * base_channels, settings)
        self.input_map = nn.Sequential(*_conv_norm(3, base_channels), nn.LeakyReLU(_SLOPE))
        channels = base_channels
        self.blocks = nn.ModuleList()
        for multiple, halves, stride in _BLOCKS:
            attention = JointAttention(channels, (halves * base_channels + 1) // 2, self.skeleton.num_joints)
            self.blocks.append(_Block(attention, channels, multiple * base_channels, stride, attention_dropout))
            channels = multiple * base_channels
        self.apply(_draw_weights)

    def feature_map(self, x: Tensor, edges: EdgeChange | None = None) -> Tensor:
        """x (N, 3, T, V, M) -> (N, D, T/4, V, M)."""
        self.check_joints(x)
        n, *_, m = x.shape
        x = self.input_map(x.movedim(-1, 1).flatten(0, 1))
        for block in self.blocks:
            x = block(x, edges)
        return x.view(n, m, *x.shape[1:]).movedim(1, -1)


class _Block(nn.Module):
    """Attention and feed-forward over joints, 7x1 convolution over time: (B, C, T, V) -> (B, C', T', V)."""

    def __init__(
        self, attention: JointAttention, channels: int, out_channels: int, stride: int, dropout: float
    ) -> None:
        super().__init__()
        widens = channels != out_channels
        self.attention = attention
        self.mix = _conv_norm(_HEADS * channels, out_channels)
        self.mix_residual = _conv_norm(channels, out_channels) if widens else nn.Identity()
        self.feed_forward = _conv_norm(out_channels, out_channels)
        self.feed_forward_residual = _conv_norm(channels, out_channels) if widens else nn.Identity()
        self.temporal = _conv_norm(out_channels, out_channels, _TEMPORAL_KERNEL, stride)
        self.dropout = Dropout(dropout)
        self.temporal_residual = _conv_norm(out_channels, out_channels, 1, stride) if widens else nn.Identity()

    def forward(self, x: Tensor, edges: EdgeChange | None = None) -> Tensor:
        attention = self.attention(x)
        if edges is not None:
            attention = edges(attention, attention.mean((2, 3), keepdim=True).detach())
        y = torch.cat([(x.flatten(1, 2) @ head).view_as(x) for head in attention.unbind(1)], dim=1)
        y = F.leaky_relu(self.mix(y) + self.mix_residual(x), _SLOPE)
        # both residuals in space come from the block's input
        y = F.leaky_relu(self.feed_forward(y) + self.feed_forward_residual(x), _SLOPE)
        return F.leaky_relu(self.temporal(y) + self.dropout(self.temporal_residual(y)), _SLOPE)


class JointAttention(nn.Module):
    """How much each joint u gives to each joint v, one matrix a head: (B, C, T, V) -> (B, S, V, V).

    Queries and keys are compared over channels and frames together; a map learnt for all sequences is added.
    """

    encoding: Tensor

    def __init__(self, channels: int, key_channels: int, joints: int) -> None:
        super().__init__()
        self.queries_keys = nn.Conv2d(channels, 2 * _HEADS * key_channels, 1)
        self.strength = nn.Parameter(torch.ones(1, _HEADS, 1, 1))
        self.global_map = nn.Parameter(torch.full((1, _HEADS, joints, joints), 1 / joints))
        self.register_buffer("encoding", joint_encoding(channels, joints).unsqueeze(1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        b, _, _, v = x.shape
        queries, keys = self.queries_keys(x + self.encoding).reshape(b, 2, _HEADS, -1, v).unbind(1)
        likeness = queries.transpose(2, 3) @ keys / queries.shape[2]  # a mean, whatever the number of frames
        return torch.tanh(likeness) * self.strength + self.global_map


def joint_encoding(channels: int, joints: int) -> Tensor:
    """Which joint is which, (C, V): sines in even channels, cosines in odd ones (Vaswani et al., NeurIPS 2017)."""
    rates = torch.exp(torch.arange(0, channels, 2) * (-math.log(10000) / channels))
    angles = rates[:, None] * torch.arange(joints)
    return torch.stack([angles.sin(), angles.cos()], 1).flatten(0, 1)[:channels]


def _conv_norm(channels: int, out_channels: int, kernel: int = 1, stride: int = 1) -> nn.Sequential:
    """A convolution over time and its batch norm."""
    conv = nn.Conv2d(channels, out_channels, (kernel, 1), (stride, 1), (kernel // 2, 0))
    return nn.Sequential(conv, BatchNorm(out_channels))


def _draw_weights(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out")
