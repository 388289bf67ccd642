"""Two processes on the CPU, in which a test file runs as a script, and what each of them leaves."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, distributed

Left = dict[str, Tensor]


def run_pair(file: str, folder: Path) -> list[Left]:
    """What a file leaves, by process; under `if __name__ == "__main__"` it calls `leave`."""
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    both = [
        subprocess.Popen([sys.executable, file, str(folder), str(rank)], env=env, stderr=subprocess.PIPE, text=True)
        for rank in range(2)
    ]
    try:
        said = [process.communicate(timeout=120)[1] for process in both]
    finally:
        for process in both:
            process.kill()
    assert [process.returncode for process in both] == [0, 0], "\n".join(said)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


def leave(work: Callable[[int], Left]) -> None:
    """Saves what `work(rank)` returns when both processes have met."""
    folder, rank = Path(sys.argv[1]), int(sys.argv[2])
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    torch.save(work(rank), folder / f"{rank}.pt")
    distributed.destroy_process_group()
