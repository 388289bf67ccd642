"""Measures hot paths: the sides take turns, so that what else the machine does falls on all of them alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from hiclr.benchmarks import workers
from hiclr.benchmarks.paths import OURS, PATHS
from hiclr.benchmarks.profiling import profiled
from hiclr.benchmarks.roofline import Peaks, demand
from hiclr.benchmarks.sizes import Size
from hiclr.benchmarks.workers import Worker

Say = Callable[[str], object]  # what is being done, for a progress bar

ROUNDS, ENOUGH, PATIENCE = 5, 3, 90.0  # at most; after so many seconds no more than enough


def compare(name: str, size: Size, leave_out: set[str], peaks: Peaks, say: Say) -> dict[str, Any]:
    """One hot path, side beside side.

    Args:
        name: of the path.
        size: of its work.
        leave_out: sides that are not to be measured.
        peaks: of the machine, for paths that are held against them.
        say: told what is being done.

    Returns:
        The title; by side the seconds of the whole in each round, the peak of memory (MB), `ratio` to the first side
        (median, smallest and largest of the rounds), sequences a second, and what it asks of the machine.
    """
    path = PATHS[name]
    sides = [side for side in path.sides if side not in leave_out]
    with ExitStack() as stack:
        asked = {side: stack.enter_context(Worker(name, side, size)) for side in sides}
        asks: dict[str, dict[str, float]] = {side: {} for side in sides}
        for side, worker in asked.items():  # the first run warms up, and may as well be counted
            say(f"{path.title}: {side}, first run")
            if path.roofline:
                asks[side] = worker.ask(partial(demand, peaks=peaks))
            else:
                worker.ask(workers.seconds)
        times: dict[str, list[float]] = {side: [] for side in sides}
        for number in _rounds():
            for side, worker in asked.items():
                say(f"{path.title}: {side}, round {number}")
                times[side].append(worker.ask(workers.seconds) / path.part(side, size))
        memory = {side: worker.ask(workers.peak_memory) for side, worker in asked.items()}
    measured: dict[str, Any] = {}
    for side in sides:
        median = statistics.median(times[side])
        ratios = [first / own for first, own in zip(times[sides[0]], times[side], strict=True)]
        measured[side] = {
            "seconds": times[side],
            "ratio": [statistics.median(ratios), min(ratios), max(ratios)],
            "peak_memory": memory[side],
            "sequences_per_second": path.amount(size) / median if path.amount is not None else None,
        }
        if path.roofline:
            measured[side] |= {**asks[side], "share_of_limit": asks[side]["floor"] / median}
    return {"title": path.title, "sides": measured}


def _rounds() -> Iterator[int]:
    """The numbers of the rounds, until they are enough."""
    start = time.perf_counter()
    for number in range(1, ROUNDS + 1):
        if number > ENOUGH and time.perf_counter() - start > PATIENCE:
            return
        yield number


@dataclass(frozen=True)
class Axis:
    """Something that grows.

    Args:
        what: grows, in words.
        path: of which ours is measured.
        field: of the size.
        values: it takes.
        quick: values it takes when it must be quick.
    """

    what: str
    path: str
    field: str
    values: tuple[int, ...]
    quick: tuple[int, ...]


AXES = (
    Axis("batch", "step", "batch", (16, 32, 64, 128), (5, 10)),
    Axis("frames", "step", "frames", (25, 50, 100), (16, 32)),
    Axis("bodies", "step", "bodies", (1, 2, 4), (1, 2)),
    Axis("queue", "step", "queue", (4_096, 32_768, 262_144), (100, 200)),
    Axis("sequences of an epoch (batches)", "batches", "stored", (2_000, 8_000, 32_000), (40, 80)),
    Axis("sequences searched (kNN)", "knn", "train", (10_000, 20_000, 40_000), (250, 500)),
)


def growth(axis: Axis, size: Size, quick: bool, say: Say) -> dict[str, Any]:
    """Time and memory of ours while one thing grows; steps of 32 sequences but where the batch itself grows.

    Returns:
        What grows, its values, seconds and peaks of memory (MB), and the exponent of the time: 1 if twice as many take
        twice as long.
    """
    base = size if quick else replace(size, batch=32)
    values = axis.quick if quick else axis.values
    times, memory = [], []
    for value in values:
        say(f"{axis.what}: {value:,}")
        changed: dict[str, Any] = {axis.field: value}
        with Worker(axis.path, OURS, replace(base, **changed)) as worker:
            taken = [worker.ask(workers.seconds) for _ in range(ENOUGH)]
            times.append(statistics.median(taken[1:]))
            memory.append(worker.ask(workers.peak_memory))
    exponent = float(np.polyfit(np.log(values), np.log(times), 1)[0])
    return {"what": axis.what, "values": values, "seconds": times, "peak_memory": memory, "exponent": exponent}


def profile(size: Size, say: Say) -> dict[str, float]:
    """Milliseconds of one of our steps, by groups of operators."""
    say("profile of a step")
    with Worker("step", OURS, size) as worker:
        return worker.ask(profiled)
