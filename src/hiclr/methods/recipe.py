"""The views of a recipe's method, for looking at them without training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import yaml
from jsonargparse import ArgumentError, ArgumentParser, Namespace

from hiclr.encoders.dsta import DSTA
from hiclr.methods.aimclr import AimCLR
from hiclr.methods.base import Learner
from hiclr.methods.crossclr import CrosSCLR
from hiclr.methods.hiclr import HiCLR
from hiclr.methods.skeletonclr import SkeletonCLR
from hiclr.skeleton import Skeleton
from hiclr.transforms import View

NAMED = (HiCLR, SkeletonCLR, AimCLR, CrosSCLR, DSTA)
"""What recipes name without the module it lies in: jsonargparse finds a class by its name once it is imported."""


def recipe_views(path: Path, skeleton: Skeleton) -> list[View]:
    """The views that the method of a recipe makes of a sequence, from the weakest.

    Args:
        path: a YAML file for `hiclr pretrain --config`; only what it says of `method` counts.
        skeleton: the joints.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no recipe, or the settings cannot work.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no recipe {path}")
    try:
        recipe = yaml.safe_load(path.read_text(encoding="utf-8"))
        if not isinstance(recipe, dict):
            raise ValueError("it holds no options")
        parser = ArgumentParser(exit_on_error=False)
        parser.add_function_arguments(_method, as_group=False)
        options = parser.parse_object({"method": recipe["method"]} if "method" in recipe else {})
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, ArgumentError) as error:
        raise ValueError(f"{path} is no recipe of hiclr pretrain: {error}") from None
    built: Namespace = parser.instantiate(options)
    return [module for module in built.method(skeleton).modules() if isinstance(module, View)]


def _method(method: Callable[[Skeleton], Learner] = HiCLR) -> None:
    """What `pretrain` takes as its method."""
