"""The growing views of one sequence, drawn again from what a run says of itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from hiclr.skeleton import Skeleton
from hiclr.transforms import AUGMENTATION_SETS, growing_views

_LISTS = ("basic", "augmentation", "extreme")  # of methods whose views do not grow


def view_steps(learner: Mapping[str, Any]) -> list[list[str]]:
    """The transforms of each view of a method, from the weakest, as its settings name them."""
    if "arrangement" in learner:
        return [list(steps) for steps in learner["arrangement"]]
    return [list(learner[name]) for name in _LISTS if learner.get(name)]


def named_sets(steps: Sequence[str], skeleton: Skeleton) -> list[str] | None:
    """The published sets that make a view, in order, such as BA and NA; None if it has transforms of its own."""
    known = {name: growing_views([name], skeleton)[0].steps for name in AUGMENTATION_SETS}
    rest, names = list(steps), []
    while rest:
        name = next((name for name, own in known.items() if rest[: len(own)] == own), None)
        if name is None:
            return None
        names.append(name)
        rest = rest[len(known[name]) :]
    return names


def drawn_views(x: Tensor, learner: Mapping[str, Any], skeleton: Skeleton, seed: int) -> dict[str, NDArray[Any]]:
    """The first of some sequences as it is, and under each view of a method: joints, whatever the stream is.

    Args:
        x: (N, 3, T, V, M); the others lend their style to a view that takes one.
        learner: the settings of the method.
        skeleton: the joints.
        seed: of the draw.

    Raises:
        ValueError: the method has no views, or they have transforms that no published set names.
    """
    views = view_steps(learner)
    if not views:
        raise ValueError("the run says nothing of its views")
    shown = {"as prepared": x[0].numpy()}
    torch.manual_seed(seed)
    for steps in views:
        names = named_sets(steps, skeleton)
        if names is None:
            own = ", ".join(step.split("(")[0] for step in steps)
            raise ValueError(f"the run has augmentations of its own ({own}): hiclr view --augment draws them")
        (view,) = growing_views(["+".join(names)], skeleton)
        with torch.no_grad():
            shown[" + ".join(names)] = view(x)[0].numpy()
    return shown
