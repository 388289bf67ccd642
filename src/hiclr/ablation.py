"""What the paper compares: the rows of its tables, as changes to one recipe, with the published figures.

Published figures: top-1 in per cent on NTU RGB+D 60, xsub, joint stream, linear evaluation (Zhang, Lin, Liu, AAAI 2023,
and its slides; AimCLR's own: Guo et al., AAAI 2022). None where no figure is published.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from inspect import signature
from typing import Any

import pandas as pd

from hiclr.methods.aimclr import AimCLR
from hiclr.methods.base import Learner
from hiclr.methods.crossclr import CrosSCLR
from hiclr.methods.hiclr import HiCLR
from hiclr.methods.skeletonclr import SkeletonCLR
from hiclr.skeleton import Skeleton
from hiclr.transforms import DropAddEdges, Level, RandomMask

FIGURES = ("linear, last epoch", "linear, best on test", "kNN")
PUBLISHED = "published, NTU60 xsub, linear"
# what the rows have in common is the recipe's to say; all else defines a row
_SHARED = {"stream", "encoder", "queue_size", "key_momentum", "temperature", "mining_start", "optimizer", "lr_drop"}
_K4 = {"consistency_weight": 1.0, "branch_weights": [0.5, 0.3, 0.2]}


@dataclass(frozen=True, eq=False)
class Variant:
    """One row of a table.

    Args:
        name: in the table.
        run: name of its runs' folders; rows of several tables that are the same training share it.
        method: what is trained.
        changes: arguments of the method that differ from the recipe's.
        strongest: makes the last level of HiCLR's arrangement after BA and NA, where it has numbers of its own.
        published: top-1 in per cent, if known.
        trained: whether it is trained at all.
    """

    name: str
    run: str
    method: type[Learner] = HiCLR
    changes: Mapping[str, Any] = field(default_factory=dict)
    strongest: Callable[[], Level] | None = None
    published: float | None = None
    trained: bool = True


def _grown(*sets: str, published: float | None = None, **changes: Any) -> Variant:
    name = f"k={len(sets)} {', '.join(sets)}"
    return Variant(name, "-".join(("HiCLR", *sets)), HiCLR, {"arrangement": list(sets), **changes}, published=published)


_UNTRAINED = Variant("untrained encoder", "untrained", trained=False)
_SKELETONCLR = Variant("k=1 BA (SkeletonCLR)", "SkeletonCLR", SkeletonCLR, published=68.3)
_K2 = _grown("BA", "NA", consistency_weight=1.0, published=76.8)
_K3 = _grown("BA", "NA", "Mask", consistency_weight=0.5, published=77.6)
_DAE = _grown("BA", "NA", "DAE", consistency_weight=0.5, published=77.2)


def _k3(name: str, run: str, strongest: Callable[[], Level] | None = None, **changes: Any) -> Variant:
    """A change to k=3 with RandomMask."""
    return Variant(name, f"HiCLR-{run}", HiCLR, {**_K3.changes, **changes}, strongest)


TABLES: dict[str, tuple[Variant, ...]] = {
    # the growing augmentations of the slides
    "arrangements": (
        _UNTRAINED,
        _SKELETONCLR,
        _K2,
        _K3,
        _grown("BA", "NA", "AdaIN", consistency_weight=0.5, published=77.3),
        _DAE,
        _grown("BA", "NA", "DAE", "Mask", **_K4, published=77.4),
        _grown("BA", "NA", "DAE", "AdaIN", **_K4, published=77.5),
    ),
    # strong augmentations put straight into ordinary contrast, against growing ones
    "contrast": (
        _UNTRAINED,
        replace(_SKELETONCLR, name="SkeletonCLR: BA"),
        Variant("SkeletonCLR: BA + NA", "SkeletonCLR-NA", SkeletonCLR, {"augmentation": "BA+NA"}),
        Variant("SkeletonCLR: BA + NA + Mask", "SkeletonCLR-NA-Mask", SkeletonCLR, {"augmentation": "BA+NA+Mask"}),
        Variant("AimCLR: BA, NA", "AimCLR", AimCLR, published=74.3),
        Variant("AimCLR: BA, NA + Mask", "AimCLR-Mask", AimCLR, {"extreme": "NA+Mask"}),
        Variant("CrosSCLR, joint encoder", "CrosSCLR", CrosSCLR),
        replace(_K2, name="HiCLR: BA, NA"),
        replace(_K3, name="HiCLR: BA, NA, Mask"),
    ),
    # what the hierarchical loss is made of
    "consistency": (
        replace(_K3, name="asymmetric, KL, lambda 0.5, mask 0.1"),
        _k3("symmetric (no stop-gradient)", "symmetric", symmetric=True),
        _k3("squared distance", "squared", distance="squared"),
        _k3("lambda 0.1", "lambda0.1", consistency_weight=0.1),
        _k3("lambda 1", "lambda1", consistency_weight=1.0),
        _k3("lambda 2", "lambda2", consistency_weight=2.0),
        _k3("mask 0.2", "mask0.2", lambda: [RandomMask(0.2)]),
        _k3("mask 0.4", "mask0.4", lambda: [RandomMask(0.4)]),
        replace(_DAE, name="DAE: drop 0.1, add 0.05"),
        _k3("DAE: drop 0.3, add 0.05", "drop0.3", lambda: [DropAddEdges(0.3, 0.05)]),
        _k3("DAE: drop 0.1, add 0.01", "add0.01", lambda: [DropAddEdges(0.1, 0.01)]),
        _k3("DAE: drop 0.1, add 0.15", "add0.15", lambda: [DropAddEdges(0.1, 0.15)]),
    ),
}


def method_of(row: Variant, recipe: Callable[[Skeleton], Learner]) -> Callable[[Skeleton], Learner]:
    """The row's method with what the rows share from the recipe, and the row's changes.

    Args:
        row: of a table.
        recipe: a method, or a `functools.partial` of one with named arguments. Its encoder, optimizer, queue,
            temperature, stream and schedule count; views and losses are the rows' to say.

    Raises:
        ValueError: for a recipe that does not tell its arguments.
    """
    known = signature(row.method).parameters.keys() & _SHARED
    settings = {name: value for name, value in arguments_of(recipe).items() if name in known} | dict(row.changes)
    if row.strongest is not None:  # made anew for every run, as it may hold what is trained
        settings["arrangement"] = ["BA", "NA", row.strongest()]
    return partial(row.method, **settings)


def arguments_of(recipe: Callable[[Skeleton], Learner]) -> Mapping[str, Any]:
    """The named arguments of a partial method; none of a class itself.

    Raises:
        ValueError: for anything else.
    """
    if isinstance(recipe, type) and issubclass(recipe, Learner):
        return {}
    if not isinstance(recipe, partial):
        raise ValueError(
            f"ablate changes a method's arguments: give a class, or a functools.partial of one, not {recipe}"
        )
    return recipe.keywords


def summary(runs: pd.DataFrame) -> pd.DataFrame:
    """Mean and spread of each row, as text.

    Args:
        runs: one line a run, with the columns row, seed, those of `FIGURES` and `PUBLISHED`.
    """
    lines = []
    for name, group in runs.groupby("row", sort=False):
        figures = {figure: _spread(group[figure]) for figure in FIGURES}
        published = group[PUBLISHED].iloc[0]
        lines.append(
            {"": name, "seeds": str(len(group)), **figures, PUBLISHED: "" if pd.isna(published) else f"{published:.1f}"}
        )
    return pd.DataFrame(lines)


def _spread(values: pd.Series[float]) -> str:
    mean = f"{values.mean():.1f}"
    return f"{mean} ± {values.std():.1f}" if len(values) > 1 else mean


def markdown(table: pd.DataFrame) -> str:
    """A table of texts in Markdown."""
    rows = [list(table.columns), ["---"] * len(table.columns), *table.itertuples(index=False)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)
