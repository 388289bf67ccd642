"""The verb that trains many variants and sets them side by side."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from rich.console import Console
from rich.table import Table

from hiclr.ablation import FIGURES, PUBLISHED, TABLES, Row, arguments_of, markdown, method_of, summary
from hiclr.cli.console import console
from hiclr.cli.evaluating import knn, linear
from hiclr.cli.training import pretrain
from hiclr.data.module import SkeletonData
from hiclr.encoders.checkpoint import LAST_CHECKPOINT
from hiclr.functional import Stream
from hiclr.methods.base import Learner
from hiclr.methods.hiclr import HiCLR
from hiclr.methods.training import check_same
from hiclr.plots import ablation_figure
from hiclr.skeleton import Skeleton

TableName = Literal["arrangements", "contrast", "consistency"]


def ablate(
    data: SkeletonData,
    table: TableName,
    method: Callable[[Skeleton], Learner] = HiCLR,
    seeds: Sequence[int] = (0, 1, 2),
    max_epochs: int = 300,
    rows: Sequence[str] | None = None,
    out: Path | None = None,
    accelerator: str = "auto",
) -> Path:
    """Trains every row of one of the paper's tables, several seeds each, and sets them side by side.

    The rows change one recipe: `hiclr ablate --config recipes/small.yaml --table arrangements --data.root ...`.
    Finished runs are kept, a stopped one goes on, and all tables of one `out` share their runs. After every run
    `<table>.md`, `.csv` and `.png` are written anew.

    Args:
        data: prepared folder, benchmark and batch size.
        table: "arrangements" (the seven growing augmentations), "contrast" (strong augmentation put straight into
            ordinary contrast, AimCLR and CrosSCLR, against growing) or "consistency" (what the hierarchical loss is
            made of; mask, drop and add ratios).
        method: whose arguments hold for every row that has them; which method it is does not matter.
        seeds: each row is trained once with each.
        max_epochs: passes over the training side.
        rows: only these runs, by the name of their folders; all of the table when not given.
        out: folder for runs and tables; runs/ablate-<data>-<benchmark> when not given.
        accelerator: cpu, gpu or auto.

    Returns:
        The Markdown file.

    Raises:
        ValueError: for an unknown row, or a folder whose runs have other settings.
    """
    chosen = [row for row in TABLES[table] if rows is None or row.run in rows]
    unknown = set(rows or ()) - {row.run for row in chosen}
    if unknown:
        known = ", ".join(row.run for row in TABLES[table])
        raise ValueError(f"{table} has no row {', '.join(sorted(unknown))}: choose among {known}")
    out = out or Path("runs") / f"ablate-{data.folder.root.resolve().name}-{data.benchmark}"
    total = len(seeds) * len(chosen)
    results: list[dict[str, Any]] = []
    for seed in seeds:  # seed by seed, so that a table is whole early
        for row in chosen:
            console.print(f"{len(results) + 1} of {total}: {row.name}, seed {seed}", markup=False, highlight=False)
            run = out / f"{row.run}-seed{seed}"
            results.append(_figures(row, seed, run, data, method, max_epochs if row.trained else 0, accelerator))
            _write(out / table, pd.DataFrame(results), data, max_epochs)
    _print(pd.DataFrame(results), f"{table}, {data.folder.about['corpus']}, {data.benchmark}, {max_epochs} epochs")
    console.print(f"Tables in {out / table}.md, .csv and .png")
    return out / f"{table}.md"


def _figures(
    row: Row,
    seed: int,
    run: Path,
    data: SkeletonData,
    recipe: Callable[[Skeleton], Learner],
    max_epochs: int,
    accelerator: str,
) -> dict[str, Any]:
    """One line of the table of all runs; trains and evaluates what is not there yet."""
    stream: Stream = arguments_of(recipe).get("stream", "joint")  # of CrosSCLR's encoders too
    method = method_of(row, recipe)
    results = [_kept(run / f"{protocol}-{data.benchmark}.json") for protocol in ("linear", "knn")]
    if None in results:
        last = run / LAST_CHECKPOINT
        pretrain(
            data, method, run, max_epochs, seed, accelerator=accelerator, ckpt_path=last if last.exists() else None
        )
        results = [linear(run, data, stream, run), knn(run, data, stream, run, k=(1,))]
    else:
        before = results[0]["pretraining"]
        now = {"max_epochs": max_epochs, "batch_size": data.batch_size, **method(data.skeleton).settings}
        check_same({**before, **before["learner"]}, json.loads(json.dumps(now)), run)
    probe, neighbours = results
    return {
        "row": row.name,
        "run": row.run,
        "seed": seed,
        **dict(zip(FIGURES, (probe["top1_last_epoch"], probe["top1_best_on_test"], neighbours["top1"]), strict=True)),
        "chance": probe["chance"],
        PUBLISHED: row.published,
    }


def _kept(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def _write(path: Path, runs: pd.DataFrame, data: SkeletonData, max_epochs: int) -> None:
    """`path`.csv with every run, `path`.md and `path`.png with their means."""
    path.parent.mkdir(parents=True, exist_ok=True)
    runs.to_csv(path.with_suffix(".csv"), index=False)
    said = (
        f"{data.folder.about['corpus']}, {data.benchmark}, {len(data.train_rows)} training sequences, "
        f"{max_epochs} epochs, batches of {data.batch_size}. Top-1 in per cent on the test side; "
        f"± is the standard deviation over seeds. Chance: {runs['chance'].iloc[0]:.1f}."
    )
    path.with_suffix(".md").write_text(f"{said}\n\n{markdown(summary(runs))}\n", encoding="utf-8")
    ablation_figure(runs, PUBLISHED).savefig(path.with_suffix(".png"), dpi=150)


def _print(runs: pd.DataFrame, title: str) -> None:
    means = summary(runs)
    table = Table(*means.columns, title=title)
    for cells in means.itertuples(index=False):
        table.add_row(*cells)
    Console().print(table)
