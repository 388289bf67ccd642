"""What can be done to a batch of skeleton sequences, without chance.

Every function takes x of shape (N, C, T, V, M) (sequences, coordinates, frames, joints, bodies), in
metres, and returns a new tensor; parameters that differ between sequences have N in front. An
absent body (all zero) stays exactly zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

Stream = Literal["joint", "motion", "bone"]

BLUR_TAPS = 15


# --- presence ---------------------------------------------------------------------------------


def present(x: Tensor) -> Tensor:
    """Which bodies are there at all: bool (N, 1, 1, 1, M)."""
    return x.abs().sum((1, 2)).sum(1).ne(0)[:, None, None, None, :]  # a sum of what is not negative is never lost


# --- preparation ------------------------------------------------------------------------------


def centre(x: Tensor, joint: int) -> Tensor:
    """Puts one joint of every body and frame at the origin."""
    return x - x[:, :, :, joint : joint + 1]


def resample(x: Tensor, lengths: Tensor, frames: int) -> Tensor:
    """Stretches the first `lengths[n]` frames of each sequence to `frames`, linearly.

    Half-pixel centres, as `torch.nn.functional.interpolate(..., align_corners=False)`.

    Args:
        x: (N, C, T, V, M).
        lengths: (N,) whole numbers in 1..T.
        frames: number of frames of the result.
    """
    position = (torch.arange(frames, device=x.device) + 0.5) * (lengths[:, None].to(x) / frames) - 0.5
    position = position.clamp(min=0)
    last = lengths[:, None] - 1
    before = position.floor().long().minimum(last)
    after = (before + 1).minimum(last)
    weight = (position - before)[:, None, :, None, None]
    return _frames_at(x, before).lerp(_frames_at(x, after), weight)


def face_camera(x: Tensor, shoulders: tuple[int, int]) -> Tensor:
    """Turns every body and frame about y until its left-to-right shoulder line runs along x.

    The published rule: angle arccos(vx / (|v| + 1e-4)) with v the shoulder vector without its y, and
    one sign a body: that of the sum of vz over all frames.

    Args:
        x: (N, 3, T, V, M).
        shoulders: indices of the left and the right shoulder.
    """
    left, right = shoulders
    line = (x[:, :, :, right] - x[:, :, :, left])[:, [0, 2]]
    across, along = line[:, 0], line[:, 1]
    # near arccos(1) the last bit of the length shows: vector_norm's is the published numbers', hypot's is not
    angle = torch.arccos(across / (torch.linalg.vector_norm(line, dim=1) + 1e-4))
    angle = angle * torch.where(along.sum(1, keepdim=True) < 0, -1.0, 1.0)
    cos, sin = angle.cos()[:, :, None], angle.sin()[:, :, None]
    return torch.stack([cos * x[:, 0] + sin * x[:, 2], x[:, 1], cos * x[:, 2] - sin * x[:, 0]], dim=1)


# --- augmentation -----------------------------------------------------------------------------


def shear(x: Tensor, matrix: Tensor) -> Tensor:
    """Multiplies the coordinates of sequence n by matrix[n]; matrix (N, 3, 3)."""
    return torch.bmm(matrix.to(x), x.flatten(2)).view(x.shape)


def rotation_matrix(degrees: Tensor) -> Tensor:
    """Rz Ry Rx for angles (N, 3) about x, y and z; the x rotation is applied first. (N, 3, 3)."""
    cos, sin = torch.deg2rad(degrees).cos().unbind(1), torch.deg2rad(degrees).sin().unbind(1)
    one, zero = torch.ones_like(cos[0]), torch.zeros_like(cos[0])
    about_x = torch.stack([one, zero, zero, zero, cos[0], sin[0], zero, -sin[0], cos[0]], 1)
    about_y = torch.stack([cos[1], zero, -sin[1], zero, one, zero, sin[1], zero, cos[1]], 1)
    about_z = torch.stack([cos[2], sin[2], zero, -sin[2], cos[2], zero, zero, zero, one], 1)
    return about_z.view(-1, 3, 3) @ about_y.view(-1, 3, 3) @ about_x.view(-1, 3, 3)


def rotate(x: Tensor, degrees: Tensor) -> Tensor:
    """Rotates sequence n about x, then y, then z by degrees[n]; degrees (N, 3)."""
    return shear(x, rotation_matrix(degrees.to(x)))


def temporal_window(x: Tensor, start: Tensor, padding: int) -> Tensor:
    """A window of T frames out of the sequence mirrored by `padding` frames at both ends.

    The mirror repeats the edge frame: frames 0..p-1 reversed stand before frame 0.

    Args:
        x: (N, C, T, V, M).
        start: (N,) first frame of the window, 0..2*padding; `padding` itself gives x back.
        padding: frames added at each end, at most T.
    """
    frames = x.shape[2]
    index = start[:, None].to(x.device) + torch.arange(frames, device=x.device) - padding
    index = torch.where(index < 0, -1 - index, index)
    index = torch.where(index >= frames, 2 * frames - 1 - index, index)
    return _frames_at(x, index)


def mirror(x: Tensor, pairs: Sequence[tuple[int, int]], flipped: Tensor | None = None) -> Tensor:
    """Left and right joints change places; coordinates stay (the published "spatial flip").

    Args:
        x: (N, C, T, V, M).
        pairs: of a left and a right joint.
        flipped: bool (N,), in which sequences; in all when None.
    """
    order = list(range(x.shape[3]))
    for left, right in pairs:
        order[left], order[right] = right, left
    v, m = x.shape[3:]
    place = torch.arange(v * m, device=x.device)
    source = place.view(v, m)[order].flatten().expand(len(x), -1)  # within a frame, where its numbers come from
    if flipped is not None:
        source = torch.where(flipped[:, None], source, place)
    return x.flatten(3).gather(3, source[:, None, None].expand(*x.shape[:3], -1)).view(x.shape)


def reverse(x: Tensor) -> Tensor:
    """The last frame first."""
    return x.flip(2)


def add_noise(x: Tensor, noise: Tensor, absent_bodies: bool = False, applied: Tensor | None = None) -> Tensor:
    """x + noise, in all sequences or where `applied` (N,); on absent bodies only on request (as published)."""
    there = torch.ones_like(present(x)) if absent_bodies else present(x)
    if applied is not None:
        there = there & applied[:, None, None, None, None]
    return torch.addcmul(x, noise, _each_joint(there, x))


def blur(x: Tensor, sigma: Tensor, normalize: bool = False) -> Tensor:
    """Gaussian blur along time: 15 taps exp(-t^2 / (2 sigma^2)), zeros beyond the ends.

    Args:
        x: (N, C, T, V, M).
        sigma: (N,) in frames.
        normalize: whether the taps sum to 1. The published code's do not (gain up to 5).
    """
    n, c, t, v, m = x.shape
    offset = torch.arange(BLUR_TAPS, device=x.device, dtype=x.dtype) - BLUR_TAPS // 2
    taps = torch.exp(-(offset**2) / (2 * sigma.to(x)[:, None] ** 2))
    if normalize:
        taps = taps / taps.sum(1, keepdim=True)
    # every coordinate of every sequence is a channel of one image, T high, with taps of its own
    channels = x.reshape(1, n * c, t, v * m)
    weight = taps.repeat_interleave(c, dim=0)[:, None, :, None]
    return F.conv2d(channels, weight, padding=(BLUR_TAPS // 2, 0), groups=n * c).view(x.shape)


def mask_axis(x: Tensor, axis: Tensor) -> Tensor:
    """Sets coordinate axis[n] of sequence n to zero; axis (N,) in 0..C-1, or -1 for none."""
    keep = torch.arange(x.shape[1], device=x.device) != axis[:, None].to(x.device)
    return x * keep.to(x.dtype)[:, :, None, None, None]


def mask_joints(x: Tensor, masked: Tensor, value: Tensor | float = 0.0, absent_bodies: bool = False) -> Tensor:
    """Replaces joints by a value, in every coordinate of every body that is there.

    Args:
        x: (N, C, T, V, M).
        masked: bool (N, T, V).
        value: a number or a tensor of one element (gradient flows into it).
        absent_bodies: whether bodies that are not there get the value too (the published code's way).
    """
    hidden = masked.to(x.dtype)[:, None, :, :, None]
    if not absent_bodies:
        hidden = hidden * _each_joint(present(x), x)
    return x.lerp(torch.as_tensor(value, dtype=x.dtype, device=x.device), hidden)


def adain(x: Tensor, style: Tensor, dims: tuple[int, ...] = (2, 3), eps: float = 1e-5) -> Tensor:
    """Gives x the mean and standard deviation of `style`, per body and coordinate.

    Args:
        x: (N, C, T, V, M).
        style: (N, C, T, V, M).
        dims: over what the statistics run: (2, 3) frames and joints, (3,) joints per frame.
        eps: added to the (unbiased) variances.

    A body that `style` does not have keeps its own: nobody's statistics would draw it into a point.
    """
    known = present(style)
    mean, deviation = _moments(x, dims, eps)
    style_mean, style_deviation = _moments(style, dims, eps)
    gain = style_deviation / deviation
    shift = (style_mean - gain * mean) * present(x)
    gain, shift = torch.where(known, gain, 1.0), torch.where(known, shift, 0.0)
    return torch.addcmul(_each_joint(shift, x), x, _each_joint(gain, x))


# --- edges ------------------------------------------------------------------------------------


def drop_edges(edges: Tensor, dropped: Tensor, rate: Tensor) -> Tensor:
    """Inverted dropout: the dropped edges become 0, the others grow by 1 / (1 - rate).

    Args:
        edges: (B, S, V, V), of B bodies and S graph subsets or attention heads.
        dropped: bool (B, S, V, V).
        rate: (B,) in 0..1, with which `dropped` was drawn; 1 excluded.
    """
    return edges.masked_fill(dropped, 0.0) / (1 - rate)[:, None, None, None]


def add_edges(edges: Tensor, added: Tensor, value: Tensor) -> Tensor:
    """Switches absent edges on, then rescales every matrix so that its sum is what it was.

    A matrix that would have to be turned over or blown up for that (its sum is 0 or has another sign) stays as it is.

    Args:
        edges: (B, S, V, V); what is 0 is absent.
        added: bool (B, S, V, V), which of the absent edges are switched on.
        value: of an edge switched on, to be broadcast over the edges.
    """
    grown = torch.where(added & (edges == 0), value, edges)
    before, after = edges.sum((2, 3), keepdim=True), grown.sum((2, 3), keepdim=True)
    shrinks = (before * after > 0) & (after.abs() >= before.abs())
    scale = before / torch.where(shrinks, after, 1.0)  # where it is not used it must be finite: so is its gradient
    return torch.where(shrinks, grown * scale, edges)


# --- streams ----------------------------------------------------------------------------------


def to_bone(x: Tensor, parents: Sequence[int]) -> Tensor:
    """Each joint minus its parent; the root (parent -1) becomes zero."""
    return x - x[:, :, :, [joint if parent == -1 else parent for joint, parent in enumerate(parents)]]


def to_motion(x: Tensor) -> Tensor:
    """Each frame's step to the next one; the last frame is zero."""
    return F.pad(x[:, :, 1:] - x[:, :, :-1], (0, 0, 0, 0, 0, 1))


def to_stream(x: Tensor, stream: Stream, parents: Sequence[int]) -> Tensor:
    """Joints as they are, motion, or bones.

    Raises:
        ValueError: for another stream, or one that is nothing but zeros: motion of one frame, bones of one joint.
    """
    streams: dict[str, Callable[[], Tensor]] = {
        "joint": lambda: x,
        "motion": lambda: to_motion(x),
        "bone": lambda: to_bone(x, parents),
    }
    if stream not in streams:
        raise ValueError(f"unknown stream {stream!r}: choose one of {', '.join(streams)}")
    if stream == "motion" and x.shape[2] == 1:
        raise ValueError("sequences of one frame have no motion: choose the stream joint, or prepare more --frames")
    if stream == "bone" and len(parents) == 1:
        raise ValueError("a skeleton of one joint has no bones: choose the stream joint")
    return streams[stream]()


def _frames_at(x: Tensor, index: Tensor) -> Tensor:
    """Frames index[n] of sequence n; index (N, L) -> (N, C, L, V, M)."""
    n, c, t, v, m = x.shape
    first = torch.arange(0, n * c * t, t, device=x.device).view(n, c, 1)  # in a list of the frames of all coordinates
    frames = x.reshape(n * c * t, v * m).index_select(0, (first + index[:, None]).flatten())
    return frames.view(n, c, -1, v, m)


def _each_joint(value: Tensor, x: Tensor) -> Tensor:
    """What is the same for all joints, (..., 1, M), said for each: (..., V, M), of the type of x.

    Arithmetic with x then runs along memory; along M alone it would take ten times as long.
    """
    return value.to(x.dtype).expand(*value.shape[:3], x.shape[3], -1).contiguous()


def _moments(x: Tensor, dims: tuple[int, ...], eps: float) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (unbiased, eps added to the variance); `torch.var_mean` is much slower here."""
    mean = x.mean(dims, keepdim=True)
    squares = (x - _each_joint(mean, x)).square().sum(dims, keepdim=True)
    return mean, (squares / (math.prod(x.shape[dim] for dim in dims) - 1) + eps).sqrt()
