"""The growing views of one sequence, drawn again from what a run says of itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from hiclr.skeleton import Skeleton
from hiclr.transforms import AUGMENTATION_SETS, growing_views

VIEWS = ("arrangement", "basic", "augmentation", "extreme")  # settings of the methods that say what their views are


def view_steps(learner: Mapping[str, Any]) -> list[list[str]]:
    """The transforms of each view of a method, from the weakest, as its settings name them."""
    return list(learner.get("arrangement") or [learner[name] for name in VIEWS if learner.get(name)])


def named_views(learner: Mapping[str, Any], skeleton: Skeleton) -> list[list[str]]:
    """The published sets that make each view of a method, such as BA and NA, in the order in which they grow.

    Raises:
        ValueError: a view has transforms that no published set names.
    """
    known = {name: Counter(growing_views([name], skeleton)[0].steps) for name in AUGMENTATION_SETS}
    before: Counter[str] = Counter()
    views: list[list[str]] = []
    for now in map(Counter, view_steps(learner)):
        grows = bool(views) and before <= now
        rest = now - before if grows else now
        names = list(views[-1]) if grows else []
        for name, own in known.items():
            while own <= rest:
                names.append(name)
                rest = rest - own
        if rest:
            own_words = ", ".join(step.partition("(")[0] for step in rest)
            raise ValueError(f"the run has augmentations of its own ({own_words}): hiclr view --augment draws them")
        views.append(names)
        before = now
    return views


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
    views = named_views(learner, skeleton)
    if not views:
        raise ValueError("the run says nothing of its views")
    shown = {"as prepared": x[0].numpy()}
    torch.manual_seed(seed)
    for names in views:
        (view,) = growing_views(["+".join(names)], skeleton)
        with torch.no_grad():
            shown[" + ".join(names)] = view(x)[0].numpy()
    return shown
