"""Fuzzes the readers, one after the other, and says what that came to: `make fuzz`.

Each reader begins with the seeds and what earlier runs found worth keeping, in `runs/fuzz/READER/corpus`. What a reader
must not do is kept in `fuzz/found/READER`: the bytes, and why in a `.txt` beside them. The figures are in
`runs/fuzz/READER/figures.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from fuzz.readers import READERS, Target

ROOT = Path(__file__).parents[1]
FOUND = ROOT / "fuzz" / "found"
_MEMORY = 4096  # MiB that a process may fill
_SLOWEST = 20  # seconds for one input
_STATE = re.compile(r"^#\d+\s+(\w+)\s+cov: (\d+) ft: (\d+) corp: (\d+)/", re.MULTILINE)
_STAT = re.compile(r"^stat::(\w+):\s+(\d+)", re.MULTILINE)


@dataclass
class Figures:
    """What fuzzing a reader came to.

    Args:
        seconds: by the clock.
        cpu_seconds: of its processes.
        executions: files read.
        coverage: branches of the code that were taken, by the seeds and whatever else lay in the corpus, and at last.
        features: the same, with how often they were.
        corpus: files that each take a branch that no other takes, at first and at last.
        slowest: seconds, in whole ones, that the slowest file took.
        memory: MiB at most.
        restarts: how often something ended the process.
        findings: names in `fuzz/found`.
    """

    seconds: float = 0
    cpu_seconds: float = 0
    executions: int = 0
    coverage: tuple[int, int] = (0, 0)
    features: tuple[int, int] = (0, 0)
    corpus: tuple[int, int] = (0, 0)
    slowest: int = 0
    memory: int = 0
    restarts: int = -1
    findings: tuple[str, ...] = ()


def fuzz(name: str, seconds: int, out: Path) -> Figures:
    """Fuzzes a reader for so many seconds, by the clock."""
    folder, figures = out / name, Figures()
    (folder / "corpus").mkdir(parents=True, exist_ok=True)
    shutil.rmtree(folder / "seeds", ignore_errors=True)
    longest = _write_seeds(name, folder / "seeds")
    words = folder / "words.txt"
    words.write_text("".join(f'"{_escaped(word)}"\n' for word in READERS[name].words.split(" ")))
    before = _found(name)
    started = time.monotonic()
    with (folder / "log.txt").open("w+") as log:
        while (left := seconds - (time.monotonic() - started)) > 5:
            flags = [f"-max_total_time={left:.0f}", f"-max_len={max(4096, 2 * longest)}", f"-dict={words}"]
            flags += [f"-timeout={_SLOWEST}", f"-rss_limit_mb={_MEMORY}", "-print_final_stats=1", "-reload=0"]
            at = log.tell()
            figures.cpu_seconds += _drive([name, *flags, str(folder / "corpus"), str(folder / "seeds")], log.fileno())
            log.seek(at)
            _add(figures, log.read())
            figures.restarts += 1
    figures.seconds = time.monotonic() - started
    figures.findings = tuple(sorted(_found(name) - before))
    return figures


def _write_seeds(name: str, folder: Path) -> int:
    """Writes the seeds of a reader; returns the length of the longest."""
    folder.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as room:
        seeds = Target(READERS[name], Path(room) / "true").seeds()
    for place, seed in enumerate(seeds):
        (folder / str(place)).write_bytes(seed)
    return max(map(len, seeds))


def _escaped(word: str) -> str:
    return "".join(
        chr(byte) if 32 <= byte < 127 and chr(byte) not in '"\\' else f"\\x{byte:02x}" for byte in word.encode()
    )


def _found(name: str) -> set[str]:
    return {path.name for path in (FOUND / name).glob("*") if path.suffix != ".txt"}


def _drive(arguments: Sequence[str], log: int) -> float:
    """Runs `fuzz.drive` in a room of its own, which is in memory where that can be; returns its CPU seconds."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="hiclr-fuzz-", dir=memory if memory.is_dir() else None) as room:
        environment = os.environ | {
            "TMPDIR": room,
            "PYTHONPATH": os.pathsep.join(map(str, (ROOT / "src", ROOT, ROOT / "tests"))),
            "PYTHONDONTWRITEBYTECODE": "1",
            "OMP_NUM_THREADS": "1",
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "fuzz.drive", *arguments], cwd=room, env=environment, stdout=log, stderr=log
        )
        _, _, usage = os.wait4(process.pid, 0)
        process.returncode = 0  # waited for
        return usage.ru_utime + usage.ru_stime


def _add(figures: Figures, said: str) -> None:
    """Adds what libFuzzer said of one process."""
    states = [(what, *map(int, numbers)) for what, *numbers in _STATE.findall(said)]
    first = [state for state in states if state[0] == "INITED"]
    if not first:
        print(said[-2000:], file=sys.stderr)
        raise RuntimeError("libFuzzer did not start")
    for place, kind in enumerate(("coverage", "features", "corpus"), 1):
        begun = getattr(figures, kind)[0] or first[0][place]
        setattr(figures, kind, (begun, states[-1][place]))
    stats = {name: int(number) for name, number in _STAT.findall(said)}
    figures.executions += stats.get("number_of_executed_units", 0)
    figures.slowest = max(figures.slowest, stats.get("slowest_unit_time_sec", 0))
    figures.memory = max(figures.memory, stats.get("peak_rss_mb", 0))


def _table(all_figures: dict[str, Figures]) -> str:
    head = f"{'reader':<12}{'s':>7}{'CPU s':>8}{'files':>10}{'branches':>16}{'kept':>13}{'MiB':>7}{'found':>7}"
    rows = [
        f"{name:<12}{one.seconds:>7.0f}{one.cpu_seconds:>8.0f}{one.executions:>10,}"
        f"{'{:,} → {:,}'.format(*one.coverage):>16}{'{:,} → {:,}'.format(*one.corpus):>13}{one.memory:>7,}"
        f"{len(one.findings):>7}"
        for name, one in all_figures.items()
    ]
    return "\n".join((head, *rows))


def main() -> None:
    """Fuzzes what the command line names; exits with 1 where anything was found."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--reader", default="all", help=f"all, or some of {', '.join(READERS)}, with commas between")
    parser.add_argument("--seconds", type=int, default=900, help="for each reader, by the clock")
    parser.add_argument("--jobs", type=int, default=1, help="readers at a time")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "fuzz", help="folder for corpora, logs and figures")
    options = parser.parse_args()
    names = list(READERS) if options.reader == "all" else options.reader.split(",")
    if unknown := [name for name in names if name not in READERS]:
        parser.error(f"there is no reader {unknown[0]}: choose of {', '.join(READERS)}")
    all_figures: dict[str, Figures] = {}
    with ThreadPoolExecutor(options.jobs) as pool:
        for name, figures in zip(
            names, pool.map(lambda name: fuzz(name, options.seconds, options.out), names), strict=True
        ):
            all_figures[name] = figures
            (options.out / name / "figures.json").write_text(json.dumps(asdict(figures), indent=2) + "\n")
            print(_table({name: figures}).splitlines()[-1], flush=True)
    print(_table(all_figures))
    if found := [f"fuzz/found/{name}/{one}" for name, figures in all_figures.items() for one in figures.findings]:
        print("\nto be looked at (why is in the .txt beside each):", *found, sep="\n")
        sys.exit(1)


if __name__ == "__main__":
    main()
