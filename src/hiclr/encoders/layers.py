"""Layers that encoders share, from bodies (B, C, T, V) to the like; fastest in channels-last memory: [B, T, V, C].

On the CPU the last body of a batch may stand for many: bodies that are not there all look the same and are encoded once
(`distinct_bodies`). `copies` says how many it stands for, and batch statistics count it that often.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hiclr.distributed import summed

_MOMENTUM = 0.1  # of running statistics: PyTorch's


class BatchNorm(nn.BatchNorm2d):
    """Batch normalisation in which the last body counts as often as it occurs, over the bodies of one process or all.

    Attributes:
        synchronized: whether the statistics are those of the bodies of all processes together.
    """

    synchronized = False

    def forward(self, x: Tensor, copies: int = 1) -> Tensor:
        """x (B, C, T, V), normalised."""
        plain = copies == 1 and not self.synchronized and (x.is_cuda or x.is_contiguous())
        if plain or not self.training:
            return super().forward(x)
        assert self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None
        settings = self.eps, copies, self.synchronized
        y: Tensor
        y, mean, unbiased = _Normalize.apply(channels_last(x), self.weight, self.bias, *settings)  # type: ignore[no-untyped-call]
        self.num_batches_tracked += 1
        self.running_mean.lerp_(mean, _MOMENTUM)
        self.running_var.lerp_(unbiased, _MOMENTUM)
        return y


class _Normalize(torch.autograd.Function):
    """Batch normalisation in training; beside the result the mean and the unbiased variance of every channel.

    PyTorch's own counts every body once, and on the CPU its gradient sums each channel of a channels-last tensor in one
    float32, which loses digits: here every joint has sums of its own, added up in float64.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float, copies: int, synchronized: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        moments = _moments(x) + (copies - 1) * _moments(x[-1:])
        count, total, squares = summed(moments) if synchronized else moments
        mean = total / count
        variance = (squares / count - mean.square()).clamp(min=0)
        unbiased = (variance * count / (count - 1)).to(weight)
        mean, variance = mean.to(weight), variance.to(weight)
        ctx.save_for_backward(x, weight, mean, variance, count)
        ctx.eps, ctx.copies, ctx.synchronized = eps, copies, synchronized
        ctx.mark_non_differentiable(mean, unbiased)
        return F.batch_norm(x, mean, variance, weight, bias, training=False, eps=eps), mean, unbiased

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        # dx = scale * (dy - copies * (sum dy + x_hat * sum dy x_hat) / count)
        x, weight, mean, variance, count = ctx.saved_tensors
        grad = channels_last(grad)
        deviation = (variance + ctx.eps).sqrt()
        own = _products(x, grad, mean, deviation)
        along, alone = (summed(own) if ctx.synchronized else own) / count
        scale = weight / deviation
        grad_x = F.batch_norm(
            x, mean, variance, (-scale * along).to(weight), (-scale * alone).to(weight), training=False, eps=ctx.eps
        )
        grad_x[-1] *= ctx.copies
        rows, joints = _rows(grad_x), x.shape[3]
        rows.addcmul_(_rows(grad), scale.repeat(joints).to(rows))
        grad_weight, grad_bias = own.to(weight)
        return grad_x, grad_weight, grad_bias, None, None, None


def distinct_bodies(x: Tensor) -> tuple[Tensor, int, Tensor]:
    """The bodies of a batch, all that are not there (all zero) as one, the last.

    A body's features depend on the others only through the statistics of the batch, so that many equal ones need to be
    encoded once only. Not done on a GPU, where counting them would hold up the host.

    Args:
        x: (N, C, T, V, M).

    Returns:
        The bodies (B, T, V, C), how many of x the last one stands for, and which of them is body m of sequence n
        (N, M).
    """
    n, _, _, _, m = x.shape
    bodies = x.permute(0, 4, 2, 3, 1).flatten(0, 1).contiguous()
    place = torch.arange(n * m, device=x.device)
    absent = 0
    if not x.is_cuda:
        there = bodies.ne(0).flatten(1).any(1)
        absent = n * m - int(there.sum())
    if absent > 1:
        last = n * m - absent
        rows = torch.cat([place[there], place[~there][:1]])
        bodies, place = bodies[rows], torch.where(there, there.cumsum(0) - 1, last)
    return bodies, max(absent, 1), place.view(n, m)


class ConvNorm(nn.Sequential):
    """A convolution over time, or over the channels alone, and its batch norm.

    Args:
        channels: C.
        out_channels: C'.
        kernel: frames.
        stride: frames.
    """

    def __init__(self, channels: int, out_channels: int, kernel: int = 1, stride: int = 1) -> None:
        convolution = nn.Conv2d(channels, out_channels, (kernel, 1), (stride, 1), (kernel // 2, 0))
        super().__init__(convolution, BatchNorm(out_channels))

    def forward(self, x: Tensor, copies: int = 1) -> Tensor:
        """x (B, C, T, V) -> (B, C', T', V)."""
        convolution, norm = self
        y: Tensor = norm(convolution(x), copies)
        return y


class Same(nn.Module):
    """The shortcut that leaves x as it is."""

    def forward(self, x: Tensor, copies: int = 1) -> Tensor:
        """x."""
        return x


class Dropout(nn.Dropout):
    """Dropout, with the draws of PyTorch's own on a GPU and from random bits on the CPU.

    PyTorch draws one number a value on the CPU, which takes longer than all else that is done to the value. Here 16
    bits decide (8 where they are enough, as for a rate of a half); the rate is rounded to them, and so is the scale.
    """

    def forward(self, x: Tensor) -> Tensor:
        """x with a share p of its values zero, the others scaled by 1 / (1 - p)."""
        if x.is_cuda or not self.training or self.p in (0, 1):
            return super().forward(x)
        bits = 8 if (self.p * 2**8).is_integer() else 16
        dropped = min(round(self.p * 2**bits), 2**bits - 1)
        kept = random_integers(x.numel(), bits) >= dropped - 2 ** (bits - 1)
        as_x: Tensor = x * kept.as_strided(x.shape, torch.empty_like(x, device="meta").stride())
        return as_x.mul_(2**bits / (2**bits - dropped))


def over_edges(x: Tensor, edges: Tensor) -> Tensor:
    """What every joint receives over the edges that lead to it, for each subset of them.

    Args:
        x: (B, C, T, V).
        edges: (S, V, V), from row to column; or (B, S, V, V), with edges of its own for each body.

    Returns:
        (B, S*C, T, V).
    """
    b, _, t, v = x.shape
    senders = edges.movedim(-1, -3).flatten(-3, -2)  # (..., V*S, V)
    if senders.ndim == 3:
        senders = senders.unsqueeze(1)
    received = senders @ channels_last(x).permute(0, 2, 3, 1)
    return received.view(b, t, v, -1).permute(0, 3, 1, 2)


def random_integers(count: int, bits: int) -> Tensor:
    """Uniform integers of 8 or 16 bits, with sign: (count,), from PyTorch's generator of the CPU, 64 bits a draw."""
    kind = {8: torch.int8, 16: torch.int16}[bits]
    draws = torch.empty(-(-count * bits // 64), dtype=torch.int64).random_(-(2**63), 2**63 - 1)
    return draws.view(kind)[:count]


def channels_last(x: Tensor) -> Tensor:
    """x (B, C, T, V) in the memory order [B, T, V, C]."""
    return x.contiguous(memory_format=torch.channels_last)


def _rows(x: Tensor) -> Tensor:
    """x (B, C, T, V) seen as (B*T, V*C)."""
    return x.permute(0, 2, 3, 1).flatten(0, 1).flatten(1)


def _by_joint(x: Tensor) -> Tensor:
    """x (B, C, T, V) seen as (B, V*C, T, 1): each joint's channels apart."""
    return x.permute(0, 2, 3, 1).flatten(2).transpose(1, 2).unsqueeze(3)


def _moments(x: Tensor) -> Tensor:
    """Number of values, sum and sum of squares of each channel of x (B, C, T, V): (3, C) float64."""
    b, c, t, v = x.shape
    zeros = torch.zeros(v * c, dtype=_precise(x), device=x.device)
    moments = torch.batch_norm_update_stats(_by_joint(x), zeros, zeros, 0.0)
    mean, variance = (moment.double().view(v, c) for moment in moments)
    return b * t * torch.stack([torch.ones_like(mean), mean, variance + mean.square()]).sum(1)


def _products(x: Tensor, grad: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
    """Sums over each channel of the gradient times x normalised, and of the gradient: (2, C) float64."""
    joints = x.shape[3]
    mean, inverse = mean.repeat(joints), 1 / deviation.repeat(joints)
    _, along, alone = torch.ops.aten.native_batch_norm_backward(
        *(_by_joint(grad), _by_joint(x), torch.ones_like(mean), None, None, mean, inverse, True, 0.0),
        output_mask=(False, True, True),
    )
    return torch.stack([along, alone]).double().view(2, joints, -1).sum(1)


def _precise(x: Tensor) -> torch.dtype:
    """The type to count in: float32 for bfloat16."""
    return torch.promote_types(x.dtype, torch.float32)
