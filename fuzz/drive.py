"""The process in which libFuzzer makes up files for one reader: `python -m fuzz.drive READER FLAGS ...`.

It goes on after a finding, which it keeps with its traceback, once for each place in the code. What ends the process
(a crash of the interpreter, too much memory or time) is libFuzzer's to keep, and `run` starts it again.

With a file in place of the flags, one of `fuzz/found` for instance, that one is read and nothing else.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import re
import resource
import sys
import tempfile
import traceback
from pathlib import Path
from types import FunctionType, ModuleType

import atheris

_PACKAGES = {"hiclr", "json", "zipfile", "csv", "pickle"} | ({"yaml", "jsonargparse"} if "yaml" in sys.argv else set())

with atheris.instrument_imports(include=list(_PACKAGES)):
    import numpy as np
    import torch._weights_only_unpickler
    import torch.serialization

    from fuzz.judge import Finding
    from fuzz.readers import READERS, Target

_MODULES = (sys.modules[np.lib.format.open_memmap.__module__], torch._weights_only_unpickler, torch.serialization)
FOUND = Path(__file__).parent / "found"
_MEMORY = 6 << 30  # bytes that a reader may ask for beyond what the process has already
_NUMBER = re.compile(rb"-?[0-9]+(?:\.[0-9]+)?")
_EXTREMES = tuple(b"0 -1 1e39 -1e400 nan inf 2147483648 9223372036854775807 99999999999999999999 0.5 1_0".split())


def main(name: str, flags: list[str]) -> None:
    """Fuzzes a reader until the flags say stop; never returns."""
    room = Path(tempfile.mkdtemp())
    (room / "tmp").mkdir()
    tempfile.tempdir = str(room / "tmp")  # where alone a reader may write
    target = Target(READERS[name], room / "true")
    found = FOUND / name
    found.mkdir(parents=True, exist_ok=True)

    def read(content: bytes) -> None:
        try:
            target(content)
        except Finding as finding:
            _keep(finding, content, found)

    for module in _MODULES:
        _instrument(module)
    atheris.Setup([sys.argv[0], *flags, f"-artifact_prefix={found}/"], read, custom_mutator=mutate)
    _limit_memory()
    atheris.Fuzz()


def mutate(content: bytes, largest: int, seed: int) -> bytes:
    """libFuzzer's own mutations, and at times what texts need: extreme numbers, lines gone, twice, elsewhere."""
    chance = random.Random(seed)
    if chance.random() < 0.8 or len(content) < 2:
        return bytes(atheris.Mutate(content, largest))
    choice, content = content[:1], content[1:]
    numbers = list(_NUMBER.finditer(content))
    if numbers and chance.random() < 0.5:
        start, stop = chance.choice(numbers).span()
        content = content[:start] + chance.choice(_EXTREMES) + content[stop:]
    else:
        lines = content.splitlines(keepends=True) or [b""]
        one, other = (chance.randrange(len(lines)) for _ in range(2))
        lines[one : one + 1] = chance.choice(([], [lines[one]] * 2, [lines[other]]))
        content = b"".join(lines)
    return (choice + content)[:largest]


def _instrument(module: ModuleType) -> None:
    """Counts what is taken in a module that is there already: atheris would count the whole package it lies in."""
    classes = [thing for thing in vars(module).values() if isinstance(thing, type)]
    for place in (module, *classes):
        for thing in list(vars(place).values()):
            if isinstance(thing, FunctionType) and thing.__module__ == module.__name__:
                atheris.instrument_func(thing)


def _keep(finding: Finding, content: bytes, found: Path) -> None:
    cause = finding.__cause__ or finding.__context__
    frames = traceback.extract_tb((cause or finding).__traceback__)
    places = [f"{frame.filename}:{frame.lineno}" for frame in frames if "hiclr" in frame.filename]
    mark = hashlib.sha256(repr((str(finding), type(cause), places[-1:])).encode()).hexdigest()[:12]
    if not (found / mark).exists():
        (found / mark).write_bytes(content)
        (found / f"{mark}.txt").write_text("".join(traceback.format_exception(finding)), errors="replace")
        print(f"FOUND {mark}: {finding}", file=sys.stderr, flush=True)


def _limit_memory() -> None:
    """What asks for more is told so, as on a machine that has no more."""
    with contextlib.suppress(OSError):
        size = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (size + _MEMORY, size + _MEMORY))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
