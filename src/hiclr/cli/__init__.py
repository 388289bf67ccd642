"""The verbs: what `hiclr VERB` runs, each a typed function that is the Python API too."""

from hiclr.cli.benching import bench
from hiclr.cli.comparing import ablate
from hiclr.cli.data import doctor, prepare_synthetic
from hiclr.cli.evaluating import knn, linear
from hiclr.cli.finetuning import finetune
from hiclr.cli.fusing import ensemble
from hiclr.cli.showing import demo
from hiclr.cli.training import pretrain

__all__ = [  # noqa: RUF022 (the order of the help)
    "prepare_synthetic", "doctor", "pretrain", "linear", "knn", "finetune", "ensemble", "ablate", "bench", "demo",
]  # fmt: skip
