"""One preparation in a process of its own, which says what it took: `python -m hiclr.benchmarks.preparation RAW OUT`.

Apart from `preparing`, because only Unix can say what its workers took.
"""

from __future__ import annotations

import resource
import sys
import time

from hiclr.benchmarks.workers import peak_memory
from hiclr.data.corpora.ntu import ntu60
from hiclr.data.prepare import prepare


def main(raw: str, out: str) -> None:
    """Prints the megabytes of this process and of its largest worker at their peaks, and the seconds."""
    start = time.perf_counter()
    prepare(ntu60(raw), out, progress=False)
    seconds = time.perf_counter() - start
    print(peak_memory(print), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e3, seconds)


if __name__ == "__main__":
    main(*sys.argv[1:])
