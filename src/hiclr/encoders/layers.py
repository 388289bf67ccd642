"""Layers that encoders share. They take bodies (B, C, V, T), joints before frames, in the memory order [B, V, T, C].

In this order every product along the skeleton is one of plain matrices, and convolutions over time are fastest. On the
CPU the last body of a batch may stand for many: bodies that are not there all look the same and are encoded once
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
        """x (B, C, V, T), normalised."""
        plain = copies == 1 and not self.synchronized and (not x.is_cpu or x.is_contiguous())
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
    float32, which loses digits: here every frame has sums of its own, added up in float64.
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
        rows = _rows(grad_x)
        rows.addcmul_(_rows(grad), scale.repeat(x.shape[3]).to(rows))
        grad_weight, grad_bias = own.to(weight)
        return grad_x, grad_weight, grad_bias, None, None, None


def distinct_bodies(x: Tensor) -> tuple[Tensor, int, Tensor]:
    """The bodies of a batch, all that are not there (all zero) as one, the last.

    A body's features depend on the others only through the statistics of the batch, so that many equal ones need to be
    encoded once only. On the CPU only: to count them would hold up the host of a GPU. And not while a graph is traced
    for export, whose shapes cannot depend on the values of x.

    Args:
        x: (N, C, T, V, M).

    Returns:
        The bodies (B, C, T, V), how many of x the last one stands for, and which of them is body m of sequence n
        (N, M).
    """
    n, _, _, _, m = x.shape
    bodies = x.movedim(4, 1).flatten(0, 1)
    place = torch.arange(n * m, device=x.device).view(n, m)
    if not x.is_cpu or torch.compiler.is_exporting():
        return bodies, 1, place
    there = bodies.ne(0).flatten(1).any(1)
    absent = n * m - int(there.sum())
    if absent < 2:
        return bodies, 1, place
    rows = torch.cat([there.nonzero()[:, 0], (~there).nonzero()[0]])
    return bodies[rows], absent, torch.where(there, there.cumsum(0) - 1, len(rows) - 1).view(n, m)


class TemporalConv(nn.Conv2d):
    """A convolution over time; its weights have the published shape (C', C, K, 1).

    Args:
        channels: C.
        out_channels: C'.
        kernel: K, in frames; odd.
        stride: in frames.
    """

    def __init__(self, channels: int, out_channels: int, kernel: int = 1, stride: int = 1) -> None:
        super().__init__(channels, out_channels, (kernel, 1), (stride, 1), (kernel // 2, 0))

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, V, T) -> (B, C', V, T')."""
        stride = self.stride[0]
        if self.kernel_size == (1, 1):
            # the frames it skips go first: oneDNN's gradient of a strided 1x1 convolution of fewer than 16 channels in
            # this memory order writes past its memory when two threads share an odd number of bodies (PyTorch 2.13)
            x, stride = channels_last(x[..., ::stride]), 1
        return F.conv2d(x, self.weight.transpose(2, 3), self.bias, (1, stride), self.padding[::-1])


class ConvNorm(nn.Sequential):
    """A convolution over time and its batch norm; arguments as of `TemporalConv`."""

    def __init__(self, channels: int, out_channels: int, kernel: int = 1, stride: int = 1) -> None:
        super().__init__(TemporalConv(channels, out_channels, kernel, stride), BatchNorm(out_channels))

    def forward(self, x: Tensor, copies: int = 1) -> Tensor:
        """x (B, C, V, T) -> (B, C', V, T')."""
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
    bits decide (8 where they are enough, as for a rate of a half, or all that bfloat16 holds); the rate is rounded to
    them, and so is the scale.
    """

    def forward(self, x: Tensor) -> Tensor:
        """x with a share p of its values zero, the others scaled by 1 / (1 - p)."""
        if not (x.is_cpu and self.training) or self.p in (0, 1):
            return super().forward(x)
        y: Tensor = _Drop.apply(x, self.p)  # type: ignore[no-untyped-call]
        return y


class _Drop(torch.autograd.Function):
    """Dropout by random integers, which are kept for the gradient: one or two bytes a value."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, p: float) -> Tensor:
        bits = 8 if (p * 2**8).is_integer() or x.dtype == torch.bfloat16 else 16
        dropped = min(round(p * 2**bits), 2**bits - 1)
        chance = torch.empty_like(x, dtype={8: torch.int8, 16: torch.int16}[bits])
        fill_with_bits(chance)
        ctx.save_for_backward(chance)
        ctx.highest_dropped, ctx.scale = dropped - 1 - 2 ** (bits - 1), 2**bits / (2**bits - dropped)
        return _drop(x, chance, ctx.highest_dropped, ctx.scale)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (chance,) = ctx.saved_tensors
        return _drop(grad, chance, ctx.highest_dropped, ctx.scale), None


def _drop(x: Tensor, chance: Tensor, highest_dropped: int, scale: float) -> Tensor:
    """x * scale where chance is above the highest dropped, else 0."""
    # PyTorch's masked operations use no vector instructions on the CPU, but for the gradient of a threshold
    kept: Tensor = torch.ops.aten.threshold_backward(x, chance.to(x.dtype), highest_dropped)
    return kept.mul_(scale)


def fill_with_bits(x: Tensor) -> None:
    """Fills a dense tensor of integers with random bits from PyTorch's generator of the CPU, 64 a draw."""
    size = x.element_size()
    draws = torch.empty(-(-x.numel() * size // 8), dtype=torch.int64).random_(-(2**63), 2**63 - 1)
    x.as_strided((x.numel(),), (1,)).copy_(draws.view(x.dtype)[: x.numel()])


def graph_product(x: Tensor, edges: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """What arrives at each joint over its edges, through one matrix for each subset of them: sum of W_s x A_s, plus b.

    Args:
        x: (B, C, V, T).
        edges: A, from row to column, (S, V, V); or (B, S, V, V), with edges of its own for each body.
        weight: W, (S, C', C).
        bias: b of every joint, (C', V) or (B, C', V).

    Returns:
        (B, C', V, T).
    """
    if torch.is_autocast_enabled(x.device.type):
        low = torch.get_autocast_dtype(x.device.type)
        x, edges, weight = x.to(low), edges.to(low), weight.to(low)
    y: Tensor = _GraphProduct.apply(x, edges, weight, bias)  # type: ignore[no-untyped-call]
    return y


class _GraphProduct(torch.autograd.Function):
    """The adjacency goes first, which is the same sum with less to multiply: what arrives over each subset's edges is
    gathered, then a convolution runs over subsets and channels together.

    What is gathered, three times the size of x, is made again for the gradient rather than kept for it.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, edges: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        x = channels_last(x)
        ctx.save_for_backward(x, edges, weight)
        ctx.bias_type = bias.dtype
        return F.conv2d(_gathered(x, edges), _kernel(weight), stride=(len(weight), 1)).add_(bias.unsqueeze(-1))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, edges, weight = ctx.saved_tensors
        subsets, grad = len(weight), channels_last(grad)
        grad_gathered, grad_kernel, _ = torch.ops.aten.convolution_backward(
            *(grad, _gathered(x, edges), _kernel(weight), None),
            *((subsets, 1), (0, 0), (1, 1), False, (0, 0), 1),
            output_mask=(True, True, False),
        )
        grad_rows, rows = _by_joint(channels_last(grad_gathered)), _by_joint(x)
        grad_x = torch.bmm(_senders(edges, len(x)).mT, grad_rows).view_as(_joints_first(x))
        grad_edges = None
        if ctx.needs_input_grad[1]:
            grad_edges = torch.bmm(grad_rows, rows.mT)
            grad_edges = grad_edges if edges.ndim == 4 else grad_edges.sum(0)
            grad_edges = grad_edges.unflatten(-2, (-1, subsets)).movedim(-3, -1)
        by_body = _joints_first(grad).to(ctx.bias_type)
        grad_bias = by_body.sum(2).mT if edges.ndim == 4 else by_body.sum(0).sum(1).T
        return grad_x.permute(0, 3, 1, 2), grad_edges, grad_kernel.squeeze(3).permute(2, 0, 1), grad_bias


def _gathered(x: Tensor, edges: Tensor) -> Tensor:
    """What arrives at each joint over the edges of each subset: (B, C, V*S, T)."""
    b, c, _, t = x.shape
    return torch.bmm(_senders(edges, b), _by_joint(x)).view(b, -1, t, c).permute(0, 3, 1, 2)


def _senders(edges: Tensor, bodies: int) -> Tensor:
    """Edges (S, V, V) or (B, S, V, V) as one matrix a body, (B, V*S, V), from all joints to one in one subset."""
    return edges.movedim(-1, -3).flatten(-3, -2).expand(bodies, -1, -1)


def _kernel(weight: Tensor) -> Tensor:
    """Weights (S, C', C) as those of a convolution over the subsets of a joint, (C', C, S, 1)."""
    return weight.permute(1, 2, 0).unsqueeze(3)


def channels_last(x: Tensor) -> Tensor:
    """x (B, C, V, T) in the memory order [B, V, T, C]."""
    return x.contiguous(memory_format=torch.channels_last)


def _joints_first(x: Tensor) -> Tensor:
    """x (B, C, V, T) seen as (B, V, T, C)."""
    return x.permute(0, 2, 3, 1)


def _by_joint(x: Tensor) -> Tensor:
    """x (B, C, V, T) seen as (B, V, T*C)."""
    return _joints_first(x).flatten(2)


def _rows(x: Tensor) -> Tensor:
    """x (B, C, V, T) seen as (B*V, T*C)."""
    return _by_joint(x).flatten(0, 1)


def _frames_apart(x: Tensor) -> Tensor:
    """x (B, C, V, T) seen as (B, T*C, V, 1): the channels of each frame apart."""
    return _by_joint(x).transpose(1, 2).unsqueeze(3)


def _moments(x: Tensor) -> Tensor:
    """Number of values, sum and sum of squares of each channel of x (B, C, V, T): (3, C) float64."""
    b, c, v, t = x.shape
    zeros = torch.zeros(t * c, dtype=_precise(x), device=x.device)
    moments = torch.batch_norm_update_stats(_frames_apart(x), zeros, zeros, 0.0)
    mean, variance = (moment.double().view(t, c) for moment in moments)
    return b * v * torch.stack([torch.ones_like(mean), mean, variance + mean.square()]).sum(1)


def _products(x: Tensor, grad: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
    """Sums over each channel of the gradient times x normalised, and of the gradient: (2, C) float64."""
    frames = x.shape[3]
    mean, inverse = mean.repeat(frames), 1 / deviation.repeat(frames)
    _, along, alone = torch.ops.aten.native_batch_norm_backward(
        *(_frames_apart(grad), _frames_apart(x), torch.ones_like(mean), None, None, mean, inverse, True, 0.0),
        output_mask=(False, True, True),
    )
    return torch.stack([along, alone]).double().view(2, frames, -1).sum(1)


def _precise(x: Tensor) -> torch.dtype:
    """The type to count in: float32 for bfloat16."""
    return torch.promote_types(x.dtype, torch.float32)
