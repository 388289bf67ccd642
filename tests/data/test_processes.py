"""Work on all cores: the same results, and no process left behind."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path

import pytest
import torch

from hiclr.data import processes
from hiclr.data.processes import spread

linux_only = pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="forks on Linux only")


@pytest.fixture(autouse=True)
def four_cores(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever the machine has."""
    if processes.available() > 1:
        monkeypatch.setattr(processes, "available", lambda: 4)
    yield


@pytest.mark.parametrize("number", [1, 3, None])
def test_results_do_not_depend_on_the_number_of_processes(number: int | None) -> None:
    weight = torch.randn(100, 100)
    done = dict(spread(lambda task: (weight * task).sum().item(), range(7), number))
    assert done == {task: (weight * task).sum().item() for task in range(7)}


def test_several_processes_do_the_work() -> None:
    def work(task: int) -> int:
        time.sleep(0.05)  # so that the first does not take it all
        return os.getpid()

    if processes.available() == 1:
        pytest.skip("one core")
    pids = {pid for _, pid in spread(work, range(8), 2)}
    assert len(pids) == 2 and os.getpid() not in pids
    assert {pid for _, pid in spread(work, range(2), 1)} == {os.getpid()}
    assert {pid for _, pid in spread(work, [5], 2)} == {os.getpid()}


@pytest.mark.parametrize("number", [1, 2])
def test_what_work_raises_comes_through(number: int) -> None:
    def work(task: int) -> int:
        if task == 3:
            raise ValueError("file 3 is damaged")
        return task

    with pytest.raises(ValueError, match="file 3 is damaged"):
        list(spread(work, range(6), number))


def test_fewer_than_one() -> None:
    with pytest.raises(ValueError, match="processes must be at least 1, got 0"):
        next(spread(lambda task: task, [1], 0))


def test_a_process_that_dies_is_a_sentence() -> None:
    if processes.available() == 1:
        pytest.skip("one core")
    with pytest.raises(ChildProcessError, match="a worker process died"):
        list(spread(lambda task: os.kill(os.getpid(), signal.SIGKILL), range(4), 2))


@linux_only
def test_processes_die_with_their_parent(tmp_path: Path) -> None:
    def work(task: int) -> None:
        (tmp_path / str(os.getpid())).touch()
        time.sleep(60)

    parent = get_context("fork").Process(target=lambda: list(spread(work, range(4), 2)))
    parent.start()
    until = time.monotonic() + 30
    while len(list(tmp_path.iterdir())) < min(2, processes.available()) and time.monotonic() < until:
        time.sleep(0.01)
    workers = [int(path.name) for path in tmp_path.iterdir()]
    parent.kill()
    parent.join()
    while any(map(_lives, workers)) and time.monotonic() < until:
        time.sleep(0.01)
    assert workers and not any(map(_lives, workers))


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
