"""A run that is ended again and again, in `tests/methods/test_resume.py`: by a signal at random moments, then resumed.

Run as a script: `killed.py FOLDER METHOD PROCESSES SIGNAL TIMES SEED`. The signal goes to the first process. Every
start is a fork of this process, which imports but never computes, so that a start costs no imports. A moment is the
beginning or end of a step, or a place in a write: half of the bytes are there, all are but under another name, the file
has its name.
"""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import pyarrow  # noqa: F401 (pandas would import it in every start)
import torch
import torch.utils.tensorboard  # so would Lightning
from torch import Tensor

import hiclr.cli.training
import hiclr.methods.training
import hiclr.provenance
from hiclr.cli import pretrain
from hiclr.data.module import SkeletonData
from hiclr.methods.base import Learner
from hiclr.methods.checkpoints import Checkpoints
from hiclr.methods.hiclr import HiCLR
from hiclr.methods.skeletonclr import SkeletonCLR
from hiclr.stopping import Stopped
from learners import tiny_stgcn

EPOCHS, BATCH = 4, 4  # epochs of four steps; HiCLR mines from the third on
METHODS: dict[str, Callable[..., Learner]] = {
    "SkeletonCLR": partial(SkeletonCLR, encoder=partial(tiny_stgcn, dropout=0.5), queue_size=10),
    "HiCLR": partial(HiCLR, encoder=partial(tiny_stgcn, dropout=0.5), queue_size=10),
}


class Moments:
    """Counts moments; at one of them this process gets a signal.

    Args:
        chosen: which; None for none.
        number: the signal.
        log: file to which the chosen one is added.
    """

    def __init__(self, chosen: int | None, number: signal.Signals, log: Path) -> None:
        self.chosen = chosen
        self.number = number
        self.log = log
        self.count = 0

    def come(self, name: str) -> None:
        self.count += 1
        if self.count == self.chosen:
            with self.log.open("a") as file:
                file.write(f"{name}\n")
            os.kill(os.getpid(), self.number)

    def lie_in_wait(self) -> None:
        """Lets steps and writes say when they come by."""
        for kind in (SkeletonCLR, HiCLR):
            kind.training_step = self._in_step(kind.training_step)  # type: ignore[method-assign]
        Path.write_bytes = self._in_two_halves()  # type: ignore[method-assign]
        hiclr.provenance._to_disk = self._told(hiclr.provenance._to_disk)

    def _in_step(self, step: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def stepping(learner: Any, x: Tensor, i: int) -> Tensor:
            self.come("beginning of a step")
            loss = step(learner, x, i)
            self.come("end of a step")
            return loss

        return stepping

    def _in_two_halves(self) -> Callable[[Path, Any], int]:
        def written(path: Path, content: Any) -> int:
            middle = len(content) // 2
            with path.open("wb") as file:
                file.write(content[:middle])
                file.flush()
                self.come(f"half of {path.name.split('.')[0]} is written")
                file.write(content[middle:])
            return len(content)

        return written

    def _told(self, to_disk: Callable[[Path], None]) -> Callable[[Path], None]:
        def told(path: Path) -> None:
            self.come(f"{path.name.split('.')[0]} is whole, without its name" if path.is_file() else "it has its name")
            to_disk(path)

        return told


def train(root: Path, out: Path, method: str, rank: int, processes: int, moments: Moments, minutes: float) -> None:
    """One start of the run, in a process of its own."""
    torch.set_num_threads(1)
    hiclr.methods.training.Checkpoints = partial(Checkpoints, minutes=minutes)  # type: ignore[assignment,misc]
    hiclr.cli.training.say_needs_of_training = lambda *_: None  # as in conftest.py
    if rank == 0:
        moments.lie_in_wait()
    data = SkeletonData(root, batch_size=BATCH)
    pretrain(data, METHODS[method], out, EPOCHS, accelerator="cpu", devices=processes, ckpt_path=Path("auto"))


def start(root: Path, out: Path, method: str, processes: int, moments: Moments, minutes: float) -> list[int]:
    """Starts the run in forked processes, as torchrun would; returns their exit codes."""
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    children = []
    for rank in range(processes):
        child = os.fork()
        if child == 0:
            _be(rank, processes, port, out, partial(train, root, out, method, rank, processes, moments, minutes))
        children.append(child)
    codes = [os.waitstatus_to_exitcode(os.waitpid(children[0], 0)[1])]
    if codes[0] not in (0, 128 + moments.number):  # the others may wait for it for ever; torchrun ends them
        for child in children[1:]:
            os.kill(child, signal.SIGKILL)
    return codes + [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children[1:]]


def _be(rank: int, processes: int, port: int, out: Path, work: Callable[[], None]) -> NoReturn:
    """What a forked process does, and its end."""
    code = 1
    try:
        said = os.open(f"{out}.said", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(said, 1)
        os.dup2(said, 2)
        if processes > 1:
            os.environ |= {"TORCHELASTIC_RUN_ID": "killed", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
            os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "GROUP_RANK": "0"}
            os.environ |= {"WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": str(processes)}
        work()
        code = 0
    except Stopped as stopped:
        print(stopped)
        code = stopped.code
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def main() -> None:
    folder, method, processes, number = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), signal.Signals[sys.argv[4]]
    times, seed = map(int, sys.argv[5:])
    chance, log, endings = random.Random(seed), folder / "moments", []
    log.touch()
    for out in (folder / "whole", folder / "ended"):
        codes = [1]
        while any(codes):
            undisturbed = out.name == "whole" or len(log.read_text().splitlines()) == times
            moments = Moments(None if undisturbed else chance.randint(1, 9), number, log)
            # within an epoch after every step, or at its end alone
            codes = start(folder / "tiny", out, method, processes, moments, chance.choice([0.0, 10.0]))
            endings.append(codes)
            if codes[0] not in (0, -number, 128 + number):
                sys.exit(Path(f"{out}.said").read_text())
    print(json.dumps({"moments": log.read_text().splitlines(), "endings": endings}))


if __name__ == "__main__":
    main()
