"""Peak memory of `prepare`, of two numbers of recordings: it should not grow with them.

Each number is measured in a fresh process. Of its workers the operating system tells the largest alone; the sum of all
is therefore an upper bound, all the more as pages that processes share count in each. Linux only.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from hiclr.benchmarks.measure import Say
from hiclr.benchmarks.raw import make_corpus
from hiclr.data.processes import available

RECORDINGS, QUICK_RECORDINGS = (2_000, 20_000), (20, 40)


def memory_of_prepare(quick: bool, say: Say) -> list[dict[str, Any]]:
    """By number of recordings: megabytes of the first process, of its largest worker, of all at most; seconds.

    Raises:
        ChildProcessError: `prepare` failed.
    """
    with tempfile.TemporaryDirectory(prefix="hiclr-bench-") as folder:
        return [_measured(Path(folder), count, say) for count in (QUICK_RECORDINGS if quick else RECORDINGS)]


def _measured(folder: Path, recordings: int, say: Say) -> dict[str, Any]:
    say(f"memory of prepare: {recordings:,} recordings")
    raw = make_corpus(folder / f"raw{recordings}", recordings)
    command = [sys.executable, "-m", "hiclr.benchmarks.preparation", str(raw), str(folder / f"prepared{recordings}")]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise ChildProcessError(f"prepare failed while it was measured: {done.stderr.strip().splitlines()[-1]}")
    own, worker, seconds = map(float, done.stdout.split())
    largest = own + available() * worker
    return {"recordings": recordings, "first": own, "worker": worker, "all": largest, "seconds": seconds}
