"""Every verb once, on small data, in a folder of its own; `tests/test_same.py` walks it again and again.

As a script it walks in another process: `python road.py FOLDER VERB ...`.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from functools import partial
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from hiclr import cli
from hiclr.__main__ import main
from hiclr.cli import showing
from hiclr.methods import training
from writers.learnable import write_learnable
from writers.videos import write_greys

_DATA = "--data.root data"
_TINY = f"{_DATA} --data.batch_size 16 --method.encoder STGCN --method.encoder.width 2 --method.queue_size 32"
_PROBE = f"{_DATA} --epochs 2 --validation 0.25 --seed {{seed}}"

# in an order in which each finds what it needs; {seed} stands where a verb draws
ROAD: dict[str, tuple[str, ...]] = {
    "prepare npz": ("mine.npz data --frames 16",),
    "prepare synthetic": ("simulated --subjects 1 --repetitions 1 --frames 8 --seed {seed}",),
    "doctor": ("mine.npz --json doctor.json", "data --json prepared.json"),
    "view": (
        "mine.npz --out view.html --count 4 --export poses.gif",
        "data --augment BA,NA,Mask --out views.html --export views.png --seed {seed}",
    ),
    "pretrain": (
        f"{_TINY} --max_epochs 1 --out runs/joint --seed {{seed}}",
        f"{_TINY} --max_epochs 1 --out runs/bone --method.stream bone --seed {{seed}}",
        f"{_TINY} --max_epochs 1 --out runs/cross --method CrosSCLR --seed {{seed}}",
    ),
    "linear": (f"--checkpoint runs/joint {_PROBE}", f"--checkpoint runs/bone {_PROBE}"),
    "knn": (f"--checkpoint runs/joint {_DATA} --k 1 3",),
    "finetune": (
        f"--checkpoint runs/joint {_DATA} --label_fraction 0.5 --augmentation BA --max_epochs 1 --seed {{seed}}",
    ),
    "ensemble": ("--results runs/joint runs/bone --weights validation --out fused",),
    "ablate": (f"{_TINY} --max_epochs 1 --table contrast --rows SkeletonCLR --seeds {{seed}} --out ablation",),
    "teach": (
        "--model runs/joint --examples data --per_class 3 --out taught --seed {seed}",
        "--model runs/joint --examples data --benchmark xsub --classifier mean --out lesson",
    ),
    "predict": (
        "--model taught --data mine.npz --out predictions",
        "--model taught --data mine.npz --window 4 --fps 10 --out timelines",
    ),
    "embed": (
        "--model runs/joint --data mine.npz --out features.npz",
        "--model runs/joint --data data --out features.parquet",
    ),
    "export": ("--model taught --out model.onnx --clips 8 --seed {seed}",),
    "share": ("--model runs/joint --out shared",),
    "report": ("runs/joint runs/bone fused --out report.html --sequences 12 --seed {seed}",),
    "video": ("films --out filmed --estimator writers.videos.GreyPose",),
    "demo": ("--out demo --max_epochs 1 --seed {seed}",),
}


def walk(folder: Path, verbs: Sequence[str], seed: int = 0) -> dict[str, list[str]]:
    """Runs verbs in a folder, which begins with recordings and films; what each has written, as paths in it."""
    written = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        _begin()
        # the demo in seconds: fewer people
        patch.setattr(showing, "prepare_synthetic", partial(cli.prepare_synthetic, subjects=3, repetitions=1))
        for verb in verbs:
            patch.setattr(training, "time", SimpleNamespace(perf_counter=count().__next__))  # of the rate alone
            before = _files()
            for line in ROAD[verb]:
                words = [*verb.split(), *shlex.split(line.format(seed=seed))]
                patch.setattr(sys, "argv", ["hiclr", *words])
                main(words)
            written[verb] = sorted(path for path, state in _files().items() if before.get(path) != state)
    return written


def disturb() -> None:
    """Draws numbers, as whatever ran before in a process may have done."""
    torch.rand(7)
    np.random.rand(3)


def _begin() -> None:
    if Path("mine.npz").exists():
        return
    write_learnable(Path("mine.npz"))
    os.utime("mine.npz", (0, 0))  # a prepared folder remembers the time, to see that a file has changed
    write_greys(Path("films/walk/01.mp4"), [0, 50, 100, 150, 200])
    write_greys(Path("films/walk/02.avi"), [200] * 4)


def _files() -> dict[str, tuple[int, int]]:
    files = ((path, path.stat()) for path in Path().rglob("*") if path.is_file())
    return {path.as_posix(): (state.st_mtime_ns, state.st_ino) for path, state in files}


if __name__ == "__main__":
    disturb()
    torch.set_num_threads(int(os.environ["ROAD_THREADS"]))
    walk(Path(sys.argv[1]), sys.argv[2:])
