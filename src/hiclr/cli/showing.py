"""The verb that shows the whole road."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from rich.table import Table
from torch.optim import SGD

from hiclr.cli.console import console
from hiclr.cli.data import prepare_synthetic
from hiclr.cli.evaluating import knn, linear
from hiclr.cli.reporting import make_page
from hiclr.cli.training import pretrain
from hiclr.data.module import SkeletonData
from hiclr.encoders.checkpoint import LAST_CHECKPOINT
from hiclr.encoders.stgcn import STGCN
from hiclr.methods.hiclr import HiCLR
from hiclr.reporting.gathering import gather
from hiclr.screen import Screen
from hiclr.skeleton import Skeleton

Results = tuple[dict[str, Any], dict[str, Any]]  # of linear and of knn


def demo(out: Path = Path("runs/demo"), max_epochs: int = 16, seed: int = 0) -> Path:
    """Shows the whole road on simulated data: synthesise, prepare, pre-train, evaluate, a result page.

    Takes under three minutes on two cores without a GPU. A demo that was stopped goes on where it was.

    Args:
        out: folder for everything it makes.
        max_epochs: passes over the training side.
        seed: of everything random in it.

    Returns:
        The result page, `report.html`.
    """
    out = Path(out)
    folder = prepare_synthetic(out / "data", seed=seed, frames=25)
    data = SkeletonData(folder.root, batch_size=32)
    untrained = _demo_run(data, out / "untrained", 0, seed)
    trained = _demo_run(data, out / "hiclr", max_epochs, seed)
    page = make_page(
        gather([out / "hiclr", out / "untrained"]),
        out / "report.html",
        title="HiCLR on a simulated corpus",
        command=f"hiclr demo --out {out} --max_epochs {max_epochs} --seed {seed}",
        seed=seed,
    )
    _print_demo_table({"untrained encoder": untrained, "HiCLR, pre-trained without labels": trained})
    console.print(
        f"Open {page} in a browser: accuracy, curves, confusions, a map of the features, the skeletons moving."
    )
    return page


def _demo_method(skeleton: Skeleton) -> HiCLR:
    """HiCLR for a minute on two cores: a narrow encoder, a short queue (the habits of recipes/small.yaml)."""
    return HiCLR(
        skeleton,
        encoder=partial(STGCN, width=8, dropout=0.1, init="pytorch"),
        queue_size=256,
        key_momentum=0.99,
        temperature=0.2,
        mining_start=1.0,
        optimizer=partial(SGD, lr=0.05, momentum=0.9, weight_decay=1e-4),
    )


def _demo_run(data: SkeletonData, run: Path, max_epochs: int, seed: int) -> Results:
    before = run / LAST_CHECKPOINT
    pretrain(
        data, _demo_method, run, max_epochs, seed, accelerator="cpu", ckpt_path=before if before.exists() else None
    )
    return linear(run, data), knn(run, data)


def _print_demo_table(results: Mapping[str, Results]) -> None:
    table = Table(
        "top-1 accuracy, %", "linear, last epoch", "linear, best on test", "kNN", title="simulated data, xsub"
    )
    for name, (probe, neighbours) in results.items():
        if not table.row_count:
            table.add_row("chance", *[f"{probe['chance']:.1f}"] * 3)
        figures = probe["top1_last_epoch"], probe["top1_best_on_test"], neighbours["top1"]
        table.add_row(name, *(f"{figure:.1f}" for figure in figures))
    Screen().print(table)
