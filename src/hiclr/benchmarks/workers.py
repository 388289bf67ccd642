"""Processes that do one side's work when they are told to, so that two sides take turns and neither sees the other."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, cast

import torch

from hiclr.benchmarks.paths import PATHS, PLAIN
from hiclr.benchmarks.sizes import Size, Work
from hiclr.memory import keep_freed, use_huge_pages

Answer = TypeVar("Answer")


class Worker:
    """A fresh process that holds the work of one side of a hot path; it sleeps until it is asked.

    A straightforward side works under the system's own memory allocation, ours as `hiclr pretrain` does.

    Args:
        path: name of the hot path.
        side: name of its side.
        size: of the work.
    """

    def __init__(self, path: str, side: str, size: Size) -> None:
        context = get_context("spawn")
        self._name = f"{PATHS[path].title}, {side}"
        self._pipe, there = context.Pipe()
        self._process = context.Process(target=_serve, args=(there, path, side, size), daemon=True)
        self._process.start()
        there.close()

    def ask(self, question: Callable[[Any], Answer]) -> Answer:
        """The answer to a question about its work: a function of a module, or a partial of one.

        Raises:
            ChildProcessError: the process died, or could not do its work.
        """
        try:
            self._pipe.send(question)
            return cast("Answer", self._pipe.recv())
        except (EOFError, OSError):
            raise ChildProcessError(
                f"the process that measured {self._name} died: see above, or its memory did not suffice (--quick true)"
            ) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._pipe.close()
        if kind is not None:
            self._process.terminate()
        self._process.join()


def _serve(pipe: Connection, path: str, side: str, size: Size) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # not at once, which would leave its files behind
    if side != PLAIN and size.device == "cpu":
        use_huge_pages()
        keep_freed()
    torch.manual_seed(0)
    work = PATHS[path].sides[side](size)
    while True:
        try:
            question = pipe.recv()
        except EOFError:
            return
        pipe.send(question(work))


# --- questions ------------------------------------------------------------------------------------


def seconds(work: Work, at_least: float = 0.2) -> float:
    """How long one run takes: the mean of as many as fill a fifth of a second, or of one."""
    start, runs = time.perf_counter(), 0
    while True:
        work()
        runs += 1
        if torch.cuda.is_initialized():
            torch.cuda.synchronize()
        taken = time.perf_counter() - start
        if taken >= at_least:
            return taken / runs


def peak_memory(_: Work) -> float | None:
    """The most that this process has held up to now, in megabytes: on the GPU if it uses one; None where none tells."""
    if torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated() / 1e6
    if sys.platform != "linux":
        return None
    # not ru_maxrss: that begins with the size of whoever started this process
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) / 1e3
