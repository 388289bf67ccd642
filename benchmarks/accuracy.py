"""Accuracy on a real data set at one budget: untrained, k = 1, k = 2, k = 3, several seeds; a Markdown table.

    python benchmarks/accuracy.py data/utd_mhad --seeds 0 1 2 --max_epochs 60 --out runs/accuracy

DATA is a prepared folder. Every run is a `hiclr` command, printed before it starts; finished ones are kept, so the
script can be stopped and started again.
"""

from __future__ import annotations

import argparse
import json
import shlex
import statistics
import subprocess
import sys
from pathlib import Path

RECIPE = Path(__file__).parents[1] / "recipes" / "small.yaml"
# name in the table -> options beside the recipe
ARRANGEMENTS = {
    "untrained": ["--max_epochs", "0"],
    "k=1 BA": ["--method.arrangement", "[BA]"],
    "k=2 BA,NA": ["--method.arrangement", "[BA,NA]", "--method.consistency_weight", "1.0"],
    "k=3 BA,NA,Mask": ["--method.arrangement", "[BA,NA,Mask]", "--method.consistency_weight", "0.5"],
}
COLUMNS = {
    "linear, last epoch": ("linear", "top1_last_epoch"),
    "linear, best on test": ("linear", "top1_best_on_test"),
    "kNN, k=1": ("knn", "top1"),
}


def main() -> None:
    """Runs what is missing, then prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--benchmark", default="xsub")
    parser.add_argument("--only", nargs="+", choices=ARRANGEMENTS, default=list(ARRANGEMENTS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--max_epochs", default="60")
    parser.add_argument("--out", type=Path, default=Path("runs/accuracy"))
    options, extra = parser.parse_known_args()
    for name in options.only:
        for seed in options.seeds:
            run = _folder(options, name, seed)
            if not (run / f"knn-{options.benchmark}.json").exists():
                _measure(options, name, seed, run, extra)
    print(_table(options))


def _folder(options: argparse.Namespace, name: str, seed: int) -> Path:
    return Path(options.out) / f"{name.split()[0].replace('=', '')}-seed{seed}"


def _measure(options: argparse.Namespace, name: str, seed: int, run: Path, extra: list[str]) -> None:
    data = ["--data.root", str(options.data), "--data.benchmark", options.benchmark]
    resume = ["--ckpt_path", "last"] if (run / "last.ckpt").exists() else []
    settings = ["--max_epochs", options.max_epochs, "--seed", str(seed), *ARRANGEMENTS[name], *extra]
    _hiclr("pretrain", "--config", str(RECIPE), *data, "--out", str(run), *settings, *resume)
    _hiclr("linear", "--checkpoint", str(run), *data)
    _hiclr("knn", "--checkpoint", str(run), *data)


def _hiclr(*arguments: str) -> None:
    print("$ hiclr", shlex.join(arguments), flush=True)
    subprocess.run([sys.executable, "-m", "hiclr", *arguments], check=True)


def _table(options: argparse.Namespace) -> str:
    lines = ["| " + " | ".join(["", "seeds", *COLUMNS]) + " |", "|---" * (len(COLUMNS) + 2) + "|"]
    for name in options.only:
        runs = [_folder(options, name, seed) for seed in options.seeds]
        figures = [_spread([_figure(run, options.benchmark, *place) for run in runs]) for place in COLUMNS.values()]
        lines.append("| " + " | ".join([name, str(len(runs)), *figures]) + " |")
    return "\n".join(lines)


def _figure(run: Path, benchmark: str, protocol: str, key: str) -> float:
    return float(json.loads((run / f"{protocol}-{benchmark}.json").read_text(encoding="utf-8"))[key])


def _spread(values: list[float]) -> str:
    mean = f"{statistics.mean(values):.1f}"
    return f"{mean} ± {statistics.stdev(values):.1f}" if len(values) > 1 else mean


if __name__ == "__main__":
    main()
