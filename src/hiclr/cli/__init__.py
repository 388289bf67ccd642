"""The verbs: what `hiclr VERB` runs, each a typed function that is the Python API too."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hiclr.cli.benching import bench
    from hiclr.cli.comparing import ablate
    from hiclr.cli.data import doctor, prepare_synthetic
    from hiclr.cli.evaluating import knn, linear
    from hiclr.cli.exporting import export
    from hiclr.cli.filming import video
    from hiclr.cli.finetuning import finetune
    from hiclr.cli.fusing import ensemble
    from hiclr.cli.reporting import report
    from hiclr.cli.sharing import share
    from hiclr.cli.showing import demo
    from hiclr.cli.teaching import teach
    from hiclr.cli.training import pretrain
    from hiclr.cli.using import embed, predict
    from hiclr.cli.viewing import view

# a verb imports what it needs and no more: Lightning costs seconds, which an answer about one clip should not take
_ROOMS = {
    "ablate": "comparing",
    "bench": "benching",
    "demo": "showing",
    "doctor": "data",
    "embed": "using",
    "ensemble": "fusing",
    "export": "exporting",
    "finetune": "finetuning",
    "knn": "evaluating",
    "linear": "evaluating",
    "predict": "using",
    "prepare_synthetic": "data",
    "pretrain": "training",
    "report": "reporting",
    "share": "sharing",
    "teach": "teaching",
    "video": "filming",
    "view": "viewing",
}


def __getattr__(name: str) -> Any:
    if name not in _ROOMS:
        raise AttributeError(f"module 'hiclr.cli' has no attribute {name!r}")
    return getattr(importlib.import_module(f"hiclr.cli.{_ROOMS[name]}"), name)


__all__ = [  # noqa: RUF022 (the order of the help)
    "video", "prepare_synthetic", "doctor", "view", "pretrain", "linear", "knn", "finetune", "ensemble", "report",
    "teach", "predict", "embed", "ablate", "export", "share", "bench", "demo",
]  # fmt: skip
