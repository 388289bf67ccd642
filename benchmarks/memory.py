"""Peak memory of `prepare`, of two numbers of recordings: it should not grow with them.

    python benchmarks/memory.py        (or: make bench; Linux)

Each number is measured in a fresh process. Of its workers the operating system tells the largest alone; the sum of all
is therefore an upper bound, all the more as pages that processes share count in each.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from hiclr.data.corpora.ntu import ntu60
from hiclr.data.prepare import prepare
from hiclr.data.processes import available
from raw import make_corpus

RECORDINGS = 2_000, 20_000


class _Peak(NamedTuple):
    """Megabytes of the process that was started, of its largest worker, and its seconds."""

    own: float
    worker: float
    seconds: float

    @property
    def all(self) -> float:
        return self.own + available() * self.worker


def main() -> None:
    """Prints the table."""
    print(f"## Peak memory of `prepare`, {available()} workers\n")
    print("| recordings | first process | largest worker | all, at most | time |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        few, many = (_measure(Path(folder), recordings) for recordings in RECORDINGS)
    ratios = many.own / few.own, many.worker / max(few.worker, 1), many.all / few.all, many.seconds / few.seconds
    print(f"| ratio | {' | '.join(f'{ratio:.2f}' for ratio in ratios)} |")


def _measure(folder: Path, recordings: int) -> _Peak:
    raw = make_corpus(folder / f"raw{recordings}", recordings)
    command = [sys.executable, __file__, str(raw), str(folder / f"prepared{recordings}")]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    peak = _Peak(*map(float, done.stdout.split()))
    megabytes = f"{peak.own:.0f} MB | {peak.worker:.0f} MB | {peak.all:.0f} MB"
    print(f"| {recordings:,} | {megabytes} | {peak.seconds:.1f} s |", flush=True)
    return peak


def _prepare(raw: str, out: str) -> None:
    start = time.perf_counter()
    prepare(ntu60(raw), out, progress=False)
    seconds = time.perf_counter() - start
    print(_own_peak(), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e3, seconds)


def _own_peak() -> float:
    # not ru_maxrss: that begins with the size of whoever started this process
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) / 1e3


if __name__ == "__main__":
    _prepare(*sys.argv[1:]) if sys.argv[1:] else main()
