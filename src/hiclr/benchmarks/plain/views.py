"""The growing views, sequence by sequence in NumPy: the published way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hiclr.skeleton import Skeleton

Array = NDArray[np.floating[Any]]


@dataclass(frozen=True, eq=False)
class Draw:
    """The chance in one view of one sequence (C, T, V, M); None and False: not applied.

    Args:
        shear: (3, 3).
        start: first frame of the window in the padded sequence.
        flip: whether left and right change places.
        degrees: (3,) of the rotations about x, y and z.
        noise: (C, T, V, M).
        sigma: of the blur, in frames.
        axis: the coordinate that is masked.
        masked: (T, V) joints that are hidden.
    """

    shear: Array
    start: int
    flip: bool = False
    degrees: Array | None = None
    noise: Array | None = None
    sigma: float | None = None
    axis: int | None = None
    masked: NDArray[np.bool_] | None = None


def draw(shape: tuple[int, int, int, int], level: int, chance: np.random.Generator, lean: bool = False) -> Draw:
    """Draws BA (level 0), BA + NA (1) or BA + NA + Mask (2) for one sequence of shape (C, T, V, M).

    Frame by frame, or, lean, with array arithmetic wherever NumPy has it.
    """
    _, frames, joints, _ = shape
    shear = np.where(np.eye(3, dtype=bool), 1.0, chance.uniform(-0.5, 0.5, (3, 3)))
    start = int(chance.integers(0, 2 * (frames // 6) + 1))
    if level == 0:
        return Draw(shear, start)
    degrees = chance.uniform(0, 1, 3)
    degrees[chance.integers(3)] *= 30
    masked = None
    if level == 2:
        masked, hidden = np.zeros((frames, joints), bool), int(0.1 * joints)
        if lean:
            np.put_along_axis(masked, chance.random(masked.shape).argsort(1)[:, :hidden], True, 1)
        else:
            for row in masked:
                row[chance.choice(joints, hidden, replace=False)] = True
    return Draw(
        shear,
        start,
        flip=chance.random() < 0.5,
        degrees=degrees,
        noise=chance.normal(0, 0.01, shape) if chance.random() < 0.5 else None,
        sigma=chance.uniform(0.1, 2) if chance.random() < 0.5 else None,
        axis=int(chance.integers(3)) if chance.random() < 0.5 else None,
        masked=masked,
    )


def augment(x: Array, drawn: Draw, skeleton: Skeleton, lean: bool = False) -> Array:
    """One view of one sequence (C, T, V, M), all but its mask: what hides a joint is learnt. `lean` as in `draw`."""
    x = np.einsum("ij,jtvm->itvm", drawn.shear, x)
    frames, padding = x.shape[1], x.shape[1] // 6
    padded = np.concatenate([x[:, :padding][:, ::-1], x, x[:, frames - padding :][:, ::-1]], axis=1)
    x = padded[:, drawn.start : drawn.start + frames]
    if drawn.flip:
        order = np.arange(x.shape[2])
        for left, right in skeleton.mirror_pairs:
            order[[left, right]] = right, left
        x = x[:, :, order]
    if drawn.degrees is not None:
        for axis, angle in enumerate(np.deg2rad(drawn.degrees)):
            x = np.einsum("ij,jtvm->itvm", _turn(axis, angle), x)
    if drawn.noise is not None:
        x = x + drawn.noise * x.any((0, 1, 2))  # an absent body stays zero
    if drawn.sigma is not None:
        taps = np.exp(-(np.arange(-7, 8) ** 2) / (2 * drawn.sigma**2))
        if lean:
            padded = np.pad(x, ((0, 0), (7, 7), (0, 0), (0, 0)))
            x = sum(tap * padded[:, i : i + frames] for i, tap in enumerate(taps))
        else:
            # longer than a sequence, the taps would lengthen the result: the middle is cut out by hand
            x = np.apply_along_axis(lambda line: np.convolve(line, taps)[7 : 7 + frames], 1, x)
    if drawn.axis is not None:
        x = x.copy()
        x[drawn.axis] = 0
    return x


def batch_view(
    x: Tensor, draws: Sequence[Draw], skeleton: Skeleton, value: Tensor | float = 0.0, lean: bool = False
) -> Tensor:
    """One view of a batch x (N, C, T, V, M), one draw a sequence; hidden joints get the value. `lean` as in `draw`."""
    sequences = [augment(sequence, drawn, skeleton, lean) for sequence, drawn in zip(x.numpy(), draws, strict=True)]
    view = torch.from_numpy(np.stack(sequences)).to(x)
    if draws[0].masked is None:
        return view
    hidden = torch.from_numpy(np.stack([drawn.masked for drawn in draws if drawn.masked is not None]))
    bodies = (x != 0).flatten(1, 3).any(1)
    return torch.where(hidden[:, None, :, :, None] & bodies[:, None, None, None], value, view)


def _turn(axis: int, angle: float) -> Array:
    """The matrix of a rotation about x, y or z, in the sense of the published code."""
    turn = np.eye(3)
    i, j = [k for k in range(3) if k != axis]
    sine = -np.sin(angle) if axis == 1 else np.sin(angle)
    turn[[i, j], [i, j]], turn[i, j], turn[j, i] = np.cos(angle), sine, -sine
    return turn
