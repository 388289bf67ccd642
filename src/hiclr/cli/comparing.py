"""The verb that trains many variants and sets them side by side."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from rich.table import Table

from hiclr.ablation import FIGURES, PUBLISHED, TABLES, Variant, arguments_of, markdown, method_of, summary
from hiclr.cli.console import console
from hiclr.cli.evaluating import knn, linear
from hiclr.cli.training import pretrain
from hiclr.data.module import SkeletonData
from hiclr.encoders.checkpoint import LAST_CHECKPOINT
from hiclr.forms import fits, read_json
from hiclr.functional import Stream
from hiclr.methods.base import Learner
from hiclr.methods.hiclr import HiCLR
from hiclr.methods.training import RUN, Accelerator, check_same, wherever
from hiclr.plots import ablation_figure
from hiclr.provenance import describe_data, provenance, write_whole
from hiclr.reporting.gathering import is_result
from hiclr.screen import Screen
from hiclr.skeleton import Skeleton

Results = tuple[dict[str, Any], dict[str, Any]]  # of linear and of knn
_MEASURED = "measured"  # folder in a run; what a user measures beside lies elsewhere
_FIGURES = {  # of the results that make a table
    "linear": {"top1_last_epoch": float, "top1_best_on_test": float},
    "knn": {"top1": float},
}
TableName = Literal["arrangements", "contrast", "consistency"]


def ablate(
    data: SkeletonData,
    table: TableName,
    method: Callable[[Skeleton], Learner] = HiCLR,
    seeds: Sequence[int] = (0, 1, 2),
    max_epochs: int = 300,
    rows: Sequence[str] | None = None,
    out: Path | None = None,
    accelerator: Accelerator = "auto",
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
        method: whose encoder, optimizer, queue, temperature, stream and schedule hold for every row; views and losses
            are the rows' own.
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
    learners = {row: method_of(row, method)(data.skeleton) for row in _chosen(table, rows)}  # refuses before all work
    if not seeds or len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds must be different numbers, at least one, got {list(seeds)}")
    data.test_rows  # noqa: B018 (refuses when there is no benchmark)
    out = Path(out or Path("runs") / f"ablate-{data.folder.root.resolve().name}-{data.benchmark}")
    runs = {(seed, row): out / f"{row.run}-seed{seed}" for seed in seeds for row in learners}
    results = {}
    for (seed, row), run in runs.items():
        _check_run(run, data, learners[row], max_epochs if row.trained else 0)
        results[seed, row] = _kept(run, data)
    for done, ((seed, row), run) in enumerate(runs.items()):  # seed by seed, so that a table is whole early
        console.print(f"{done + 1} of {len(runs)}: {row.name}, seed {seed}", markup=False, highlight=False)
        if results[seed, row] is None:
            epochs = max_epochs if row.trained else 0
            results[seed, row] = _measured(run, data, method_of(row, method), epochs, seed, accelerator)
            _write(out / table, _lines(results), data, max_epochs)
    lines = _lines(results)
    _write(out / table, lines, data, max_epochs)
    _print(lines, f"{table}, {data.folder.about['corpus']}, {data.benchmark}, {max_epochs} epochs")
    console.print(f"Tables in {out / table}.md, .csv and .png")
    return out / f"{table}.md"


def _chosen(table: TableName, rows: Sequence[str] | None) -> list[Variant]:
    known = [row.run for row in TABLES[table]]
    unknown = sorted(set(rows or ()) - set(known))
    if unknown:
        raise ValueError(f"{table} has no row {', '.join(unknown)}: choose among {', '.join(known)}")
    return [row for row in TABLES[table] if rows is None or row.run in rows]


def _check_run(run: Path, data: SkeletonData, learner: Learner, max_epochs: int) -> None:
    """ValueError if a run that was begun has other settings."""
    file = run / RUN
    if not file.exists():
        return
    before = _read(file)
    now = {"max_epochs": max_epochs, "batch_size": data.batch_size, "learner": learner.settings}
    now["data"] = wherever(describe_data(data.folder, data.benchmark))
    check_same(before, json.loads(json.dumps(now)), run)


def _kept(run: Path, data: SkeletonData) -> Results | None:
    """What was measured of a finished run."""
    files = {run / _MEASURED / f"{protocol}-{data.benchmark}.json": form for protocol, form in _FIGURES.items()}
    if not all(file.exists() for file in files):
        return None
    found = {file: _read(file) for file in files}
    for file, result in found.items():
        if not (is_result(result) and fits(result, files[file])):
            raise ValueError(f"{file} is no result of this hiclr: delete it, and it is measured again")
    probe, neighbours = found.values()
    return probe, neighbours


def _read(file: Path) -> dict[str, Any]:
    try:
        content = read_json(file)
    except ValueError as error:
        raise ValueError(f"{file} is no JSON ({error}): choose another --out") from None
    if not isinstance(content, dict):
        raise ValueError(f"{file} is not of a run: choose another --out")
    return content


def _measured(
    run: Path,
    data: SkeletonData,
    method: Callable[[Skeleton], Learner],
    max_epochs: int,
    seed: int,
    accelerator: Accelerator,
) -> Results:
    """Trains, or goes on, and measures."""
    last = run / LAST_CHECKPOINT
    pretrain(data, method, run, max_epochs, seed, accelerator=accelerator, ckpt_path=last if last.exists() else None)
    stream: Stream = arguments_of(method).get("stream", "joint")  # of CrosSCLR's encoders too
    out = run / _MEASURED
    return linear(run, data, stream, out), knn(run, data, stream, out, k=(1,))


def _lines(results: Mapping[tuple[int, Variant], Results | None]) -> pd.DataFrame:
    """One line a run, of those that are there."""
    lines = []
    for (seed, row), result in results.items():
        if result is not None:
            probe, neighbours = result
            figures = (probe["top1_last_epoch"], probe["top1_best_on_test"], neighbours["top1"])
            line = {"row": row.name, "run": row.run, "seed": seed, **dict(zip(FIGURES, figures, strict=True))}
            lines.append({**line, "chance": probe["chance"], PUBLISHED: row.published})
    return pd.DataFrame(lines)


def _write(path: Path, lines: pd.DataFrame, data: SkeletonData, max_epochs: int) -> None:
    """`path`.csv with every run, `path`.md and `path`.png with their means."""
    path.parent.mkdir(parents=True, exist_ok=True)
    made = provenance()
    said = (
        f"{data.folder.about['corpus']}, {data.benchmark}, {len(data.train_rows)} training sequences, "
        f"{max_epochs} epochs, batches of {data.batch_size}. Top-1 in per cent on the test side; "
        f"± is the standard deviation over seeds. Chance: {lines['chance'].iloc[0]:.1f}. "
        f"Made by `{made['command']}` at revision {made['git_revision']}."
    )
    text = f"{said}\n\n{markdown(summary(lines))}\n"
    write_whole(path.with_suffix(".csv"), lambda file: lines.to_csv(file, index=False))
    write_whole(path.with_suffix(".md"), lambda file: file.write_text(text, encoding="utf-8"))
    title = f"{data.folder.about['corpus']}, {data.benchmark}, {max_epochs} epochs"
    figure = ablation_figure(lines, PUBLISHED, title)
    write_whole(path.with_suffix(".png"), lambda file: figure.savefig(file, dpi=150, format="png"))


def _print(lines: pd.DataFrame, title: str) -> None:
    means = summary(lines)
    table = Table(*means.columns, title=title)
    for cells in means.itertuples(index=False):
        table.add_row(*cells)
    Screen().print(table)
