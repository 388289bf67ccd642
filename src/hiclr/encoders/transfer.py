"""One encoder's weights under other settings, or on another skeleton."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from hiclr.encoders.base import Encoder
from hiclr.skeleton import Skeleton


def fresh(encoder: Encoder, skeleton: Skeleton, settings: Mapping[str, Any] | None = None) -> Encoder:
    """An untrained encoder of the same class and settings, for a skeleton.

    Args:
        encoder: what it shall be like.
        skeleton: the joints it is built for.
        settings: those of its settings that shall be others.

    Raises:
        ValueError: if the class has no such setting, or it cannot have such a value.
    """
    kind: Any = type(encoder)
    settings = settings or {}
    unknown = sorted(settings.keys() - encoder.settings.keys())
    if unknown:
        raise ValueError(f"{kind.__name__} has no setting {unknown[0]!r}: it has {', '.join(encoder.settings)}")
    try:
        made: Encoder = kind(skeleton=skeleton, **{**encoder.settings, **settings})
    except TypeError as error:
        raise ValueError(f"{kind.__name__} cannot be built with {dict(settings)}: {error}") from None
    return made


def with_settings(encoder: Encoder, settings: Mapping[str, Any]) -> Encoder:
    """The same weights in an encoder that has some other settings.

    Raises:
        ValueError: as `fresh`, or if a setting changes the network itself: the shape of its weights, or a constant in
            it, such as the adjacency.
    """
    other, like = fresh(encoder, encoder.skeleton, settings), fresh(encoder, encoder.skeleton)
    constants, others = dict(like.named_buffers()), dict(other.named_buffers())
    changed = [
        *(name for name, shape in _shapes(like).items() if _shapes(other).get(name) != shape),
        *(name for name, value in constants.items() if not torch.equal(value, others.get(name, torch.empty(0)))),
    ]
    if changed:
        raise ValueError(
            f"{dict(settings)} would change {changed[0]} of the trained {type(encoder).__name__}: "
            "set what leaves its weights as they are, such as dropout"
        )
    other.load_state_dict(encoder.state_dict())
    return other.train(encoder.training)


def same_joints(one: Skeleton, other: Skeleton) -> bool:
    """Whether two skeletons have the same joints, in the same order, hanging on the same parents."""
    return one.joint_names == other.joint_names and one.parents == other.parents


def graph_tensors(encoder: Encoder) -> dict[str, Tensor]:
    """The parameters and buffers that depend on the joints, by name."""
    every = chain(encoder.named_parameters(), encoder.named_buffers())
    return {name: tensor for name, tensor in every if _of_graph(encoder, name)}


def carried_over(encoder: Encoder, skeleton: Skeleton) -> tuple[Encoder, tuple[str, ...]]:
    """A trained encoder for the joints of other data, and what of it had to be made anew.

    On the same joints, whatever the skeleton's name, that is the encoder itself and nothing. On others, all that does
    not depend on the joints is copied, and what does starts as in an untrained encoder, without chance: batch norms as
    the identity (see `estimate_statistics`).

    Returns:
        The encoder, in the mode (train or eval) of the one given, and the patterns that name what was made anew.

    Raises:
        ValueError: if the class does not say what depends on the joints, or cannot be built for them.
    """
    if same_joints(encoder.skeleton, skeleton):
        return encoder, ()
    other = fresh(encoder, skeleton)
    for norm in graph_norms(other):
        norm.reset_parameters()
    state, shapes = encoder.state_dict(), _shapes(other)
    kept = {name: tensor for name, tensor in state.items() if not _of_graph(encoder, name)}
    unfit = [name for name, tensor in kept.items() if shapes.get(name) != tensor.shape]
    if unfit:
        raise ValueError(
            f"{type(encoder).__name__} cannot move to the skeleton {skeleton.name!r}: {unfit[0]} depends on the "
            "joints, but its class does not list it in graph_tensors"
        )
    other.load_state_dict(kept, strict=False)
    return other.train(encoder.training), encoder.graph_tensors


def graph_norms(encoder: Encoder) -> list[_BatchNorm]:
    """The batch norms among the tensors that depend on the joints."""
    return [
        module
        for name, module in encoder.named_modules()
        if isinstance(module, _BatchNorm) and _of_graph(encoder, f"{name}.running_mean")
    ]


@torch.no_grad()
def estimate_statistics(encoder: Encoder, batches: Iterable[Tensor], device: torch.device | str = "cpu") -> None:
    """Gives batch norms that were made anew the mean and variance of what they see, without labels.

    Nothing else of the encoder changes. The figures are those of all sequences together, however they are batched.

    Args:
        encoder: as `carried_over` gives it.
        batches: x (N, C, T, V, M) in the stream of the encoder.
        device: where to compute.

    Raises:
        ValueError: if there are no batches.
    """
    tallies = [(norm, _Tally(norm)) for norm in graph_norms(encoder)]
    encoder.to(device).eval()
    for x in batches:
        encoder(x.to(device))
    for norm, tally in tallies:
        tally.end(norm)


class _Tally:
    """Adds up what a batch norm is given, (N, C, ...), for each channel; the last of the N counts `copies` times."""

    def __init__(self, norm: _BatchNorm) -> None:
        self.count = 0
        self.sum = self.squares = torch.zeros(())
        self._hook = norm.register_forward_pre_hook(self._add)

    def _add(self, _: nn.Module, inputs: tuple[Any, ...]) -> None:
        x, copies = inputs if len(inputs) == 2 else (inputs[0], 1)
        for values, times in ((x, 1), (x[-1:], copies - 1)):
            channels = values.transpose(0, 1).flatten(1).double()
            self.count += times * channels.shape[1]
            self.sum = self.sum.to(channels) + times * channels.sum(1)
            self.squares = self.squares.to(channels) + times * channels.square().sum(1)

    def end(self, norm: _BatchNorm) -> None:
        """Stops counting and sets the statistics; the variance is unbiased, as the layer's own."""
        self._hook.remove()
        if self.count == 0:
            raise ValueError("no sequences to estimate the statistics of the new joints from")
        assert norm.running_mean is not None and norm.running_var is not None
        mean = self.sum / self.count
        spread = (self.squares - self.count * mean.square()).clamp(min=0)
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(spread / max(self.count - 1, 1))


def _of_graph(encoder: Encoder, name: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in encoder.graph_tensors)


def _shapes(encoder: Encoder) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in encoder.state_dict().items()}
