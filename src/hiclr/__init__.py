"""Self-supervised skeleton-based action recognition: learn from unlabelled 3D skeletons, recognise with few labels.

The verbs of the command line are functions here: `from hiclr import prepare, pretrain, linear, knn, finetune, ...`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hiclr.cli import (
        ablate,
        bench,
        demo,
        doctor,
        embed,
        ensemble,
        export,
        finetune,
        knn,
        linear,
        predict,
        pretrain,
        report,
        share,
        teach,
        video,
        view,
    )
    from hiclr.data.prepare import prepare
    from hiclr.encoders.checkpoint import load_encoder
    from hiclr.encoders.official import load_official
    from hiclr.estimator import SkeletonEncoder
    from hiclr.model import Model, load_model

# torch and Lightning take seconds to import: each name is fetched when it is first asked for
_HOMES = {
    "Model": "hiclr.model",
    "SkeletonEncoder": "hiclr.estimator",
    "ablate": "hiclr.cli",
    "bench": "hiclr.cli",
    "demo": "hiclr.cli",
    "doctor": "hiclr.cli",
    "embed": "hiclr.cli",
    "ensemble": "hiclr.cli",
    "export": "hiclr.cli",
    "finetune": "hiclr.cli",
    "knn": "hiclr.cli",
    "linear": "hiclr.cli",
    "load_encoder": "hiclr.encoders.checkpoint",
    "load_model": "hiclr.model",
    "load_official": "hiclr.encoders.official",
    "predict": "hiclr.cli",
    "prepare": "hiclr.data.prepare",
    "pretrain": "hiclr.cli",
    "report": "hiclr.cli",
    "share": "hiclr.cli",
    "teach": "hiclr.cli",
    "video": "hiclr.cli",
    "view": "hiclr.cli",
}

__all__ = [
    "Model",
    "SkeletonEncoder",
    "ablate",
    "bench",
    "demo",
    "doctor",
    "embed",
    "ensemble",
    "export",
    "finetune",
    "knn",
    "linear",
    "load_encoder",
    "load_model",
    "load_official",
    "predict",
    "prepare",
    "pretrain",
    "report",
    "share",
    "teach",
    "video",
    "view",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'hiclr' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
