"""The verb that shows the whole road."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from torch.optim import SGD

from hiclr.cli.console import console
from hiclr.cli.data import prepare_synthetic
from hiclr.cli.evaluating import knn, linear
from hiclr.cli.training import pretrain
from hiclr.data.folder import PreparedFolder
from hiclr.data.module import SkeletonData
from hiclr.encoders.checkpoint import LAST_CHECKPOINT
from hiclr.encoders.stgcn import STGCN
from hiclr.methods.hiclr import HiCLR
from hiclr.methods.training import METRICS
from hiclr.report import Row, standard_pictures, write_report
from hiclr.skeleton import Skeleton
from hiclr.transforms import growing_views


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
    folder = prepare_synthetic(out / "data", seed=seed, frames=25)
    data = SkeletonData(folder.root, batch_size=32)
    rows = [
        _demo_row("untrained encoder", data, out / "untrained", 0, seed),
        _demo_row("HiCLR, pre-trained without labels", data, out / "hiclr", max_epochs, seed),
    ]
    page = out / "report.html"
    write_report(
        page,
        rows,
        standard_pictures(
            _one_under_growing_views(folder),
            folder.skeleton,
            pd.read_csv(out / "hiclr" / METRICS),
            rows[-1].results[0],
        ),
        folder.sequences.shape[2],
        folder.skeleton,
        title="HiCLR on a simulated corpus",
        command=f"hiclr demo --out {out} --max_epochs {max_epochs} --seed {seed}",
    )
    _print_demo_table(rows)
    console.print(f"Open {page} in a browser: tables, the growing views, learning curve, confusion matrix.")
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


def _demo_row(name: str, data: SkeletonData, run: Path, max_epochs: int, seed: int) -> Row:
    before = run / LAST_CHECKPOINT
    pretrain(
        data, _demo_method, run, max_epochs, seed, accelerator="cpu", ckpt_path=before if before.exists() else None
    )
    return Row(name, linear(run, data), knn(run, data))


def _one_under_growing_views(folder: PreparedFolder) -> dict[str, NDArray[np.float32]]:
    """The liveliest sequence of one upright body in full view: as it is, and under each of the growing views."""
    upright = np.ptp(folder.sequences[:, 1, :, :, 0], axis=2).min(1) > 0.9  # metres, in every frame
    alone = ((folder.samples["bodies"] == 1) & (folder.samples["camera"] == 2)).to_numpy()  # camera 2: from the front
    movement = np.asarray(np.diff(folder.sequences[..., 0], axis=2)).std((1, 2, 3))
    row = int(np.argmax(np.where(upright & alone, movement, -1.0)))
    torch.manual_seed(2)  # a draw that flattens no view by an axis mask
    x = torch.from_numpy(folder.sequences[[row]])
    sets = ("BA", "NA", "Mask")
    shown = {"original": x[0].numpy()}
    with torch.no_grad():
        for level, view in enumerate(growing_views(sets, folder.skeleton), start=1):
            shown[" + ".join(sets[:level])] = view(x)[0].numpy()
    return shown


def _print_demo_table(rows: Sequence[Row]) -> None:
    table = Table(
        "top-1 accuracy, %", "linear, last epoch", "linear, best on test", "kNN", title="simulated data, xsub"
    )
    results = [(row.name, row.linear or {}, row.knn or {}) for row in rows]
    chance = f"{results[0][1]['chance']:.1f}"
    table.add_row("chance", chance, chance, chance)
    for name, probe, neighbours in results:
        figures = probe["top1_last_epoch"], probe["top1_best_on_test"], neighbours["top1"]
        table.add_row(name, *(f"{figure:.1f}" for figure in figures))
    Console().print(table)
