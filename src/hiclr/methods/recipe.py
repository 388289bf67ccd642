"""The views of a recipe's method, for looking at them without training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import yaml
from jsonargparse import ArgumentError, ArgumentParser, Namespace

from hiclr import plain_yaml
from hiclr.encoders.dsta import DSTA
from hiclr.forms import read_text, reason
from hiclr.methods.aimclr import AimCLR
from hiclr.methods.base import Learner
from hiclr.methods.crossclr import CrosSCLR
from hiclr.methods.hiclr import HiCLR
from hiclr.methods.skeletonclr import SkeletonCLR
from hiclr.options import trust_no_file
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
    trust_no_file()
    try:
        recipe = plain_yaml.load(read_text(path))
        if not isinstance(recipe, dict):
            raise ValueError("it holds no options")
        parser = ArgumentParser(exit_on_error=False)
        parser.add_function_arguments(_method, as_group=False)
        options = parser.parse_object({"method": recipe["method"]} if "method" in recipe else {})
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, ArgumentError) as error:
        raise ValueError(f"{path} is no recipe of hiclr pretrain: {reason(error)}") from None
    built: Namespace = parser.instantiate(options)
    try:
        method = built.method(skeleton)
    except (ValueError, TypeError, RuntimeError) as error:  # of PyTorch, for a queue that no memory holds
        raise ValueError(f"{path}: its method cannot be built ({reason(error)})") from None
    return [module for module in method.modules() if isinstance(module, View)]


def _method(method: Callable[[Skeleton], Learner] = HiCLR) -> None:
    """What `pretrain` takes as its method."""
