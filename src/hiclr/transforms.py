"""Chance: one class per augmentation, and the growing views made of them.

A transform first draws (`make_params`: one draw per sequence, N in front), then does (`transform`: a
pure function of tensors). Probabilities, ranges and order: Zhang, Lin, Liu, AAAI 2023.
"""

from __future__ import annotations

import abc
import functools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from hiclr import functional
from hiclr.functional import Stream
from hiclr.skeleton import Skeleton, as_skeleton

Params = dict[str, Tensor]
Place = Literal["joints", "stream", "edges"]


class Transform(nn.Module, abc.ABC):
    """An augmentation of a batch x (N, C, T, V, M), drawn anew for every sequence.

    Args:
        p: probability that a sequence is changed at all.
    """

    # what it works on: the joints before the stream is computed, the stream, or the edges inside the encoder
    place: Place = "joints"

    def __init__(self, p: float) -> None:
        super().__init__()
        if not 0 <= p <= 1:
            raise ValueError(f"{type(self).__name__}: p must lie in 0..1, got {p}")
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Draws, then does: (N, C, T, V, M) -> the same shape, in full precision even within autocast."""
        with torch.autocast(x.device.type, enabled=False):  # in bfloat16 a metre is exact to 4 mm
            return self.transform(x, **self.make_params(x))

    def make_params(self, x: Tensor) -> Params:
        """All the chance there is: tensors with N in front, on the device of x."""
        return {"applied": torch.rand(len(x), device=x.device) < self.p, **self.draw(x)}

    def transform(self, x: Tensor, applied: Tensor, **params: Tensor) -> Tensor:
        """x changed by these parameters where `applied` (N,), x elsewhere."""
        neutral = self.neutral(applied, params)
        if neutral is not None:
            return self.change(x, **neutral)
        changed = self.change(x, **params).to(x.dtype)
        if x.device.type == "cpu" and applied.all():  # on a GPU, to ask is to wait for it
            return changed
        # weights of 0 and 1 are exact, and many times as fast as `torch.where`
        return x.lerp(changed, applied.to(x.dtype).view(-1, *[1] * (x.ndim - 1)))

    def draw(self, x: Tensor) -> Params:
        """The parameters of `change`, drawn for each sequence of x."""
        return {}

    def neutral(self, applied: Tensor, params: Params) -> Params | None:
        """The parameters, where not `applied` (N,) such as change nothing; None if a transform has none such."""
        return None

    @abc.abstractmethod
    def change(self, x: Tensor, **params: Tensor) -> Tensor:
        """x changed by these parameters, without chance."""

    def __str__(self) -> str:
        """Its name and its settings, as in "Shear(p=1.0, amplitude=0.5)"."""
        settings = {name: value for name, value in vars(self).items() if name[0] != "_" and name != "training"}
        return f"{type(self).__name__}({', '.join(f'{name}={value}' for name, value in settings.items())})"

    def fitted(self, skeleton: Skeleton) -> Transform:
        """This transform for a skeleton; only those that ask which joint is which need to know it."""
        return self


class Shear(Transform):
    """x <- S x, S with 1 on the diagonal and U(-amplitude, amplitude) elsewhere, one S per sequence."""

    def __init__(self, amplitude: float = 0.5, p: float = 1.0) -> None:
        super().__init__(p)
        if not 0 <= amplitude < math.inf:
            raise ValueError(f"Shear: amplitude must be finite and not negative, got {amplitude}")
        self.amplitude = amplitude

    def draw(self, x: Tensor) -> Params:
        matrix = _uniform(x, -self.amplitude, self.amplitude, 3, 3)
        return {"matrix": matrix.diagonal_scatter(torch.ones_like(matrix[:, 0]), dim1=1, dim2=2)}

    def change(self, x: Tensor, **params: Tensor) -> Tensor:
        return functional.shear(x, **params)


class TemporalCrop(Transform):
    """T frames from a random start in the sequence mirrored by floor(T * ratio) frames at both ends."""

    def __init__(self, ratio: float = 1 / 6, p: float = 1.0) -> None:
        super().__init__(p)
        if not 0 <= ratio <= 1:
            raise ValueError(f"TemporalCrop: ratio must lie in 0..1, got {ratio}")
        self.ratio = ratio

    def _padding(self, x: Tensor) -> int:
        return int(x.shape[2] * self.ratio)

    def draw(self, x: Tensor) -> Params:
        return {"start": torch.randint(0, 2 * self._padding(x) + 1, (len(x),), device=x.device)}

    def change(self, x: Tensor, **params: Tensor) -> Tensor:
        return functional.temporal_window(x, params["start"], self._padding(x))


class SpatialFlip(Transform):
    """Left and right joints change places; the coordinates are not mirrored.

    Args:
        skeleton: whose left and right; filled in by `growing_views`.
        p: probability per sequence.
    """

    def __init__(self, skeleton: str | Skeleton = "ntu25", p: float = 0.5) -> None:
        super().__init__(p)
        self.pairs = as_skeleton(skeleton).mirror_pairs

    def neutral(self, applied: Tensor, params: Params) -> Params | None:
        return {"flipped": applied}

    def change(self, x: Tensor, **params: Tensor) -> Tensor:
        return functional.mirror(x, self.pairs, params["flipped"])

    def fitted(self, skeleton: Skeleton) -> Transform:
        return SpatialFlip(skeleton, self.p)


class Rotate(Transform):
    """Rotation about x, y and z: one main axis, uniform, by U(0, main) degrees, the others by U(0, other)."""

    def __init__(self, main: float = 30.0, other: float = 1.0, p: float = 1.0) -> None:
        super().__init__(p)
        if not (math.isfinite(main) and math.isfinite(other)):
            raise ValueError(f"Rotate: main and other must be finite, got {main} and {other}")
        self.main = main
        self.other = other

    def draw(self, x: Tensor) -> Params:
        main_axis = torch.randint(0, 3, (len(x), 1), device=x.device)
        is_main = torch.arange(3, device=x.device) == main_axis
        return {"degrees": _uniform(x, 0.0, 1.0, 3) * torch.where(is_main, self.main, self.other)}

    def change(self, x: Tensor, **params: Tensor) -> Tensor:
        return functional.rotate(x, **params)


class GaussianNoise(Transform):
    """Adds N(0, std) to every value.

    Args:
        std: in metres.
        absent_bodies: also to bodies that are not there, as the published code does.
        p: probability per sequence.
    """

    def __init__(self, std: float = 0.01, absent_bodies: bool = False, p: float = 0.5) -> None:
        super().__init__(p)
        if not 0 <= std < math.inf:
            raise ValueError(f"GaussianNoise: std must be finite and not negative, got {std}")
        self.std = std
        self.absent_bodies = absent_bodies

    def make_params(self, x: Tensor) -> Params:
        """As any other; on the CPU only sequences that are changed get their noise, the others zeros."""
        params = super().make_params(x)
        if x.device.type != "cpu":
            return params | {"noise": torch.randn_like(x) * self.std}
        # noise is half of the time of a view
        rows = params["applied"].nonzero()[:, 0]
        drawn = _normal_on_cpu((len(rows), *x.shape[1:]), self.std, x.dtype)
        return params | {"noise": torch.zeros(x.shape, dtype=x.dtype).index_copy_(0, rows, drawn)}

    def neutral(self, applied: Tensor, params: Params) -> Params | None:
        return {**params, "applied": applied}

    def change(self, x: Tensor, **params: Tensor) -> Tensor:
        return functional.add_noise(x, params["noise"], self.absent_bodies, params["applied"])


class GaussianBlur(Transform):
    """Blur along time with 15 taps of a Gaussian, sigma ~ U(low, high) frames.

    Args:
        low: smallest sigma, in frames.
        high: largest sigma, in frames.
        normalize: whether the taps sum to 1. The published ones do not: a gain of up to 5, with
            which the published figures were made.
        p: probability per sequence.
    """

    def __init__(self, low: float = 0.1, high: float = 2.0, normalize: bool = False, p: float = 0.5) -> None:
        super().__init__(p)
        if not 0 < low <= high < math.inf:
            raise ValueError(f"GaussianBlur: needs 0 < low <= high, both finite, got low {low} and high {high}")
        self.low = low
        self.high = high
        self.normalize = normalize

    def draw(self, x: Tensor) -> Params:
        return {"sigma": _uniform(x, self.low, self.high)}

    def neutral(self, applied: Tensor, params: Params) -> Params | None:
        return {"sigma": torch.where(applied, params["sigma"], _NO_BLUR)}

    def change(self, x: Tensor, **params: Tensor) -> Tensor:
        return functional.blur(x, params["sigma"], self.normalize)


_NO_BLUR = 1e-3  # frames: all taps but the middle one are exactly 0


class AxisMask(Transform):
    """Sets one of x, y, z to zero, each as likely."""

    def __init__(self, p: float = 0.5) -> None:
        super().__init__(p)

    def draw(self, x: Tensor) -> Params:
        return {"axis": torch.randint(0, 3, (len(x),), device=x.device)}

    def neutral(self, applied: Tensor, params: Params) -> Params | None:
        return {"axis": torch.where(applied, params["axis"], -1)}

    def change(self, x: Tensor, **params: Tensor) -> Tensor:
        return functional.mask_axis(x, **params)


class TimeReverse(Transform):
    """The last frame first. Not part of the published normal augmentations."""

    def __init__(self, p: float = 0.5) -> None:
        super().__init__(p)

    def change(self, x: Tensor, **params: Tensor) -> Tensor:
        return functional.reverse(x)


class RandomMask(Transform):
    """Replaces floor(ratio * V) joints of every frame by one learnt number, in all coordinates.

    Works on the stream. The number is a parameter that starts at 0 and is trained with the network.

    Args:
        ratio: share of the joints hidden in each frame.
        shared_draw: one draw for the whole batch, as in the published code.
        absent_bodies: hide joints of bodies that are not there too, as in the published code.
        p: probability per sequence.

    Raises:
        ValueError: for a ratio that hides every joint, or none of the skeleton's.
    """

    place = "stream"

    def __init__(
        self, ratio: float = 0.1, shared_draw: bool = False, absent_bodies: bool = False, p: float = 1.0
    ) -> None:
        super().__init__(p)
        if not 0 < ratio < 1:
            raise ValueError(f"RandomMask: ratio must lie between 0 and 1, got {ratio}")
        self.ratio = ratio
        self.shared_draw = shared_draw
        self.absent_bodies = absent_bodies
        self.value = nn.Parameter(torch.zeros(1))

    def draw(self, x: Tensor) -> Params:
        n, _, t, v, _ = x.shape
        masked = torch.zeros(1 if self.shared_draw else n, t, v, dtype=torch.bool, device=x.device)
        # Floyd's sampling without replacement: one more of the joints 0..last; if that one is taken, `last` itself
        for last in range(v - int(self.ratio * v), v):
            joint = torch.randint(0, last + 1, (len(masked), t, 1), device=x.device)
            masked.scatter_(2, torch.where(masked.gather(2, joint), last, joint), True)
        return {"masked": masked.expand(n, t, v)}

    def change(self, x: Tensor, **params: Tensor) -> Tensor:
        return functional.mask_joints(x, params["masked"], self.value, self.absent_bodies)

    def fitted(self, skeleton: Skeleton) -> Transform:
        joints = skeleton.num_joints
        if joints < 2:
            raise ValueError("RandomMask needs a skeleton of two joints or more: of one it hides none or all")
        if int(self.ratio * joints) == 0:
            least = math.ceil(1000 / joints) / 1000  # rounded up: 0.333 of 3 joints would again hide none
            raise ValueError(f"RandomMask: ratio {self.ratio} of {joints} joints hides none: use at least {least:.3f}")
        return self


class SkeletonAdaIN(Transform):
    """Gives every sequence the mean and deviation of another one of the batch, per body and coordinate.

    The batch is rolled by a shift drawn from 1..N-1; its smallest size is 2.

    Args:
        statistics: over the frames and joints of a "sequence", or over the joints of each "frame".
        p: probability per sequence.
    """

    def __init__(self, statistics: Literal["sequence", "frame"] = "sequence", p: float = 1.0) -> None:
        super().__init__(p)
        if statistics not in _STATISTICS:
            raise ValueError(
                f"SkeletonAdaIN: unknown statistics {statistics!r}: choose one of {', '.join(_STATISTICS)}"
            )
        self.statistics = statistics

    def draw(self, x: Tensor) -> Params:
        n = len(x)
        if n < 2:
            raise ValueError("SkeletonAdaIN takes its style from another sequence: use batches of 2 or more")
        shift = torch.randint(1, n, (1,), device=x.device)
        return {"style": x[(torch.arange(n, device=x.device) - shift) % n]}

    def change(self, x: Tensor, **params: Tensor) -> Tensor:
        return functional.adain(x, params["style"], _STATISTICS[self.statistics])


_STATISTICS: dict[str, tuple[int, ...]] = {"sequence": (2, 3), "frame": (3,)}


class DropAddEdges(Transform):
    """Drops edges of the graph (or of the attention) and adds others, anew in every layer of the encoder.

    Works inside the encoder, on edges (B, S, V, V) of B bodies, each with its own draw: inverted dropout with
    rate U(0, drop), then edges that are 0 are switched on with probability U(0, add), and every matrix is rescaled
    to the sum it had before.

    Args:
        drop: largest rate of dropping.
        add: largest probability of an absent edge.
        p: probability per body and layer.
    """

    place = "edges"

    def __init__(self, drop: float = 0.1, add: float = 0.05, p: float = 1.0) -> None:
        super().__init__(p)
        for name, rate in (("drop", drop), ("add", add)):
            if not 0 <= rate < 1:
                raise ValueError(f"DropAddEdges: {name} must be at least 0 and less than 1, got {rate}")
        self.drop = drop
        self.add = add

    def forward(self, x: Tensor, value: Tensor | float = 1.0) -> Tensor:
        """Edges x (B, S, V, V) -> the same shape; `value` of an added edge: a number, or one a matrix (B, S, 1, 1)."""
        values = value if isinstance(value, Tensor) else x.new_full((len(x), 1, 1, 1), value)
        return self.transform(x, **self.make_params(x), value=values)

    def draw(self, x: Tensor) -> Params:
        drop_rate, add_rate = _uniform(x, 0.0, self.drop), _uniform(x, 0.0, self.add)
        return {
            "rate": drop_rate,
            "dropped": torch.rand(x.shape, device=x.device) < drop_rate[:, None, None, None],
            "added": torch.rand(x.shape, device=x.device) < add_rate[:, None, None, None],
        }

    def change(self, x: Tensor, **params: Tensor) -> Tensor:
        kept = functional.drop_edges(x, params["dropped"], params["rate"])
        return functional.add_edges(kept, params["added"], params["value"])


# the paper's sets, in the order in which they are applied
AUGMENTATION_SETS: dict[str, Callable[[], list[Transform]]] = {
    "BA": lambda: [Shear(), TemporalCrop()],
    "NA": lambda: [SpatialFlip(), Rotate(), GaussianNoise(), GaussianBlur(), AxisMask()],
    "Mask": lambda: [RandomMask()],
    "AdaIN": lambda: [SkeletonAdaIN()],
    "DAE": lambda: [DropAddEdges()],
}

Level = str | Sequence[Transform]
Arrangement = Sequence[Level]


class View(nn.Module):
    """Augmentations of the joints, then the stream, then augmentations of the stream; those of the edges apart."""

    def __init__(self, transforms: Iterable[Transform], skeleton: Skeleton, stream: Stream) -> None:
        super().__init__()
        transforms = list(transforms)
        self.of_joints, self.of_stream, self.of_edges = (
            nn.ModuleList(transform for transform in transforms if transform.place == place)
            for place in get_args(Place)
        )
        self.parents = skeleton.parents
        self.stream: Stream = stream

    @property
    def steps(self) -> list[str]:
        """What it does, in order, with all numbers."""
        return [str(transform) for transform in (*self.of_joints, *self.of_stream, *self.of_edges)]

    @property
    def edges(self) -> Callable[[Tensor, Tensor | float], Tensor] | None:
        """What the encoder shall do to its edges, if anything: a fresh draw at every call."""
        return self._change_edges if len(self.of_edges) else None

    def _change_edges(self, edges: Tensor, value: Tensor | float) -> Tensor:
        for transform in self.of_edges:
            edges = transform(edges, value)
        return edges

    def forward(self, x: Tensor) -> Tensor:
        """A fresh draw of this view: (N, C, T, V, M) -> the same shape."""
        return self.augment_stream(self.augment_joints(x), self.stream)

    def augment_joints(self, x: Tensor) -> Tensor:
        """The first half of a view: what works on the joints."""
        for transform in self.of_joints:
            x = transform(x)
        return x

    def augment_stream(self, x: Tensor, stream: Stream) -> Tensor:
        """The second half: a stream of augmented joints, and what works on it."""
        x = functional.to_stream(x, stream, self.parents)
        for transform in self.of_stream:
            x = transform(x)
        return x


def growing_views(arrangement: str | Arrangement, skeleton: str | Skeleton, stream: Stream = "joint") -> list[View]:
    """Views from weakly to strongly augmented: view i applies all sets of the arrangement up to i.

    Args:
        arrangement: one entry per level: the name of a published set (`AUGMENTATION_SETS`), names joined by a
            plus ("NA+Mask"), or a list of transforms of one's own. Entries may also come as one string, "BA,NA,Mask".
        skeleton: the joints; transforms that mirror take left and right from it.
        stream: what the encoder sees, computed from the augmented joints.

    Raises:
        ValueError: for an empty arrangement or a set that does not exist.
    """
    skeleton = as_skeleton(skeleton)
    if isinstance(arrangement, str):
        arrangement = [name.strip() for name in arrangement.split(",")]
    if not arrangement:
        raise ValueError("an arrangement needs at least one set of augmentations, e.g. 'BA'")
    grown: list[Transform] = []
    views = []
    for entry in arrangement:
        grown += [transform.fitted(skeleton) for transform in _transforms_of(entry)]
        views.append(View(grown, skeleton, stream))
    return views


def _transforms_of(entry: Level) -> Sequence[Transform]:
    if not isinstance(entry, str):
        return entry
    transforms = []
    for name in entry.split("+"):
        if name not in AUGMENTATION_SETS:
            raise ValueError(f"unknown augmentation set {name!r}: choose one of {', '.join(AUGMENTATION_SETS)}")
        transforms += AUGMENTATION_SETS[name]()
    return transforms


def _uniform(x: Tensor, low: float, high: float, *shape: int) -> Tensor:
    """U(low, high), (N, *shape), of the type and on the device of x."""
    return torch.empty(len(x), *shape, dtype=x.dtype, device=x.device).uniform_(low, high)


def _normal_on_cpu(shape: Sequence[int], std: float, dtype: torch.dtype) -> Tensor:
    """N(0, std), each value one of 65,536 quantiles (up to 4.2 std): less than half of the time of `torch.randn`."""
    count = math.prod(shape)
    draws = torch.empty(-(-count // 4), dtype=torch.int64).random_(-(2**63), 2**63 - 1)  # of 4 times 16 bits
    quantile = draws.view(torch.int16)[:count].int() + 2**15
    return (std * _quantiles(dtype)).index_select(0, quantile).view(*shape)


@functools.cache
def _quantiles(dtype: torch.dtype) -> Tensor:
    """The middles of 65,536 equal shares of N(0, 1)."""
    middles = (torch.arange(2**16, dtype=torch.float64) + 0.5) / 2**16
    quantiles: Tensor = torch.special.ndtri(middles)
    return quantiles.to(dtype)
