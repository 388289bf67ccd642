"""Work on all cores."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from typing import Any, TypeVar

import torch

Result = TypeVar("Result")

_work: Callable[[int], Any]  # of a worker process: forked with it, so it need not be picklable


def available() -> int:
    """How many processes can work at once: forking is cheap and safe on Linux only, elsewhere it is one."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else 1


def check_processes(processes: int | None) -> None:
    """ValueError where there is to be none."""
    if processes is not None and processes < 1:
        raise ValueError(f"processes must be at least 1, got {processes}")


def spread(
    work: Callable[[int], Result], tasks: Sequence[int], processes: int | None = None
) -> Iterator[tuple[int, Result]]:
    """Does each task in one of some processes and yields it with its result, in the order in which they are done.

    Each process computes on one thread, so that results do not depend on how many there are. With one process, or one
    task, nothing is forked.

    Args:
        work: what to do with a task; sees the objects of this moment, changes to them stay in its process.
        tasks: numbers.
        processes: at most as many as are `available`, which is the default.

    Raises:
        ValueError: `processes` is below 1.
        ChildProcessError: a process died, as where memory runs out.
        Exception: what `work` raised.
    """
    check_processes(processes)
    processes = min(processes or available(), available(), len(tasks))
    if processes <= 1:
        with one_thread():
            for task in tasks:
                yield task, work(task)
        return
    pool = ProcessPoolExecutor(processes, get_context("fork"), _begin, (work,))
    try:
        futures = {pool.submit(_do, task): task for task in tasks}
        for future in as_completed(futures):
            yield futures.pop(future), future.result()
    except BrokenProcessPool:
        raise ChildProcessError(
            "a worker process died, perhaps for want of memory: start again with fewer (--processes 1) to go on"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def one_thread() -> Iterator[None]:
    """Bytes must not depend on how many threads share a batch: vector code and the rest of a share may round apart."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _begin(work: Callable[[int], Any]) -> None:
    global _work
    _work = work
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent
    threading.Thread(target=_die_with_parent, daemon=True).start()
    torch.set_num_threads(1)


def _die_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _do(task: int) -> Any:
    return _work(task)
