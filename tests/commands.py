"""Commands as a document shows them, run in this process: few epochs, a narrow network."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from hiclr.__main__ import main

ROOT = Path(__file__).parents[1]

SHORTER = {
    "pretrain": "--max_epochs 1 --data.batch_size 16 --method.encoder.width 2 --method.queue_size 32",
    "linear": "--epochs 2",
    "knn": "--k [1,3]",
    "finetune": "--max_epochs 1",
    "demo": "--max_epochs 1",
    "ablate": "--max_epochs 1 --data.batch_size 16 --method.encoder.width 2 --rows [SkeletonCLR] --seeds 0",
}


def run(command: str) -> None:
    """`hiclr VERB ...`, shortened; SystemExit where it fails."""
    words = shlex.split(command.replace("recipes/", f"{ROOT}/recipes/"))[1:]
    main(words + shlex.split(SHORTER.get(words[0], "")))


def lines_of(script: str) -> Iterator[str]:
    """The commands of a shell script: continued lines joined, `for NAME in A B; do ... done` written out."""
    script = re.sub(r"\\\n\s*", "", script)
    script = re.sub(r"^for (\w+) in (.*); do\n(.*?)^done$", _written_out, script, flags=re.MULTILINE | re.DOTALL)
    for line in script.splitlines():
        command = re.sub(r"(^|\s)#.*", "", line).strip()
        if command:
            yield command


def _written_out(loop: re.Match[str]) -> str:
    name, values, body = loop.groups()
    return "".join(body.replace(f"${name}", value) for value in values.split())
