"""The verb that measures how fast things are."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from rich.progress import Progress, TaskID
from rich.table import Table

from hiclr.ablation import markdown
from hiclr.benchmarks.measure import AXES, compare, growth, profile
from hiclr.benchmarks.paths import OURS, OURS_BF16, PATHS
from hiclr.benchmarks.preparing import memory_of_prepare
from hiclr.benchmarks.roofline import peaks
from hiclr.benchmarks.sizes import FULL, QUICK
from hiclr.benchmarks.tables import conditions, ratios, tables
from hiclr.cli.console import console
from hiclr.plots import speed_figure
from hiclr.provenance import provenance, write_json, write_whole
from hiclr.repeatable import processor
from hiclr.screen import Screen

BenchPrecision = Literal["32-true", "bf16-mixed"]

_SIDE: dict[BenchPrecision, str] = {"32-true": OURS, "bf16-mixed": OURS_BF16}
_GPU, _OTHERS = "step-gpu", ("growth", "profile", "prepare")


def bench(
    out: Path = Path("runs/bench"),
    quick: bool = False,
    precision: Sequence[BenchPrecision] = ("32-true", "bf16-mixed"),
    only: Sequence[str] | None = None,
) -> Path:
    """Measures each hot path beside a straightforward implementation, on this machine.

    Both sides take turns, in processes of their own: time, memory, the share of what the machine could do at best, how
    it grows, and where the time of a training step goes. About ten minutes on two cores, a minute with `--quick true`.
    Writes `bench.json`, `bench.md` and `bench.png`, anew after each part.

    Args:
        out: folder for the results; what it holds of an earlier measurement is written over.
        quick: small shapes, to see that all works: its figures say little.
        precision: in which our training step is measured; the straightforward one is in 32-true.
        only: these parts, of the hot paths (step, augmentation, augmentation-lean, encoder, contrast, follow, linear,
            knn, batches, preparation, reading, reading-lean; step-gpu where there is a GPU), growth, profile, prepare.

    Returns:
        The folder.

    Raises:
        ValueError: for a part that does not exist, or no precision.
        ChildProcessError: a process that measured died.
    """
    if not precision:
        raise ValueError(f"precision is empty: choose among {', '.join(_SIDE)}")
    parts = _chosen(only)
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    leave_out = {side for kind, side in _SIDE.items() if kind not in precision}
    size = QUICK if quick else FULL
    results: dict[str, Any] = {"quick": quick, "hardware": _hardware(), "size": asdict(size), **provenance()}
    results |= {"paths": {}, "growth": []}
    with Progress(*Progress.get_default_columns(), console=console, transient=True) as bar:
        task = bar.add_task("the machine", total=len(parts) + 1)
        say = partial(_say, bar, task)
        best = {"cpu": peaks(quick=quick)}
        if _GPU in parts:
            best["cuda"] = peaks("cuda", quick)
        results["peaks"] = {device: asdict(figures) for device, figures in best.items()}
        for part in parts:
            bar.advance(task)
            if part in PATHS:
                device = "cuda" if part == _GPU else "cpu"
                results["paths"][part] = compare(part, replace(size, device=device), leave_out, best[device], say)
            elif part == "growth":
                results["growth"] = [growth(axis, size, quick, say) for axis in AXES]
            elif part == "profile":
                results["profile"] = profile(size, say)
            else:
                results["prepare"] = memory_of_prepare(quick, say)
            _write(out, results)
    _print(results)
    console.print(f"Saved in {out}: bench.json, bench.md, bench.png", markup=False, highlight=False, soft_wrap=True)
    return out


def _chosen(only: Sequence[str] | None) -> list[str]:
    there = [part for part in (*PATHS, *_OTHERS) if part != _GPU or torch.cuda.is_available()]
    unknown = sorted(set(only or ()) - set(there))
    if unknown:
        raise ValueError(f"nothing here to measure by the name {', '.join(unknown)}: choose among {', '.join(there)}")
    return [part for part in there if only is None or part in only]


def _say(bar: Progress, task: TaskID, what: str) -> None:
    bar.update(task, description=what)


def _hardware() -> dict[str, Any]:
    """The processor, and how many threads compute."""
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def _write(out: Path, results: dict[str, Any]) -> None:
    write_json(out / "bench.json", results)
    blocks = [f"### {title}\n\n{markdown(table)}" for title, table in tables(results).items()]
    text = "\n\n".join([conditions(results), *blocks]) + "\n"
    write_whole(out / "bench.md", lambda file: file.write_text(text, encoding="utf-8"))
    figure = speed_figure(ratios(results["paths"]), results["growth"])
    write_whole(out / "bench.png", lambda file: figure.savefig(file, dpi=150, format="png"))


def _print(results: dict[str, Any]) -> None:
    for title, lines in tables(results).items():
        table = Table(*lines.columns, title=title)
        for cells in lines.itertuples(index=False):
            table.add_row(*cells)
        Screen().print(table)
