"""Freed memory stays with a process that asks for it, and goes back to the system from one that does not."""

from __future__ import annotations

import ctypes
import os
import platform
import subprocess
import sys
from types import SimpleNamespace

import pytest

from hiclr import memory

MEGABYTE = 2**20
glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs Linux with glibc")

# how much more a process holds after it has freed 200 MB, in one piece and in pieces of 20 MB
SCRIPT = """
import os
from hiclr.memory import keep_freed

file = os.open("/proc/self/statm", os.O_RDONLY)

def held():  # without a new object above the blocks, which would keep them from going back
    return int(os.pread(file, 100, 0).split()[1]) * os.sysconf("SC_PAGE_SIZE")

if {keep}:
    assert keep_freed() is True
for pieces in (1, 10):
    before = held()
    blocks = [b"x" * (200 * 2**20 // pieces) for _ in range(pieces)]
    full = held()
    del blocks
    print(full - before, held() - before)
"""


def changes(keep: bool) -> list[tuple[int, int]]:
    """Megabytes more than before while 200 are in use and after they are free, for one piece and for ten."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_TUNABLES"))}
    done = subprocess.run([sys.executable, "-c", SCRIPT.format(keep=keep)], capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    one, ten = ([int(word) // MEGABYTE for word in line.split()] for line in done.stdout.splitlines())
    return [(one[0], one[1]), (ten[0], ten[1])]


@glibc
def test_without_asking_freed_memory_goes_back() -> None:
    for full, after in changes(keep=False):
        assert full > 190 and after < 50


@glibc
def test_freed_memory_is_kept_and_used_again() -> None:
    (full, after), (more, still) = changes(keep=True)
    assert full > 190 and after > 190
    assert more < 50 and still < 50, "the next 200 MB lie where the first ones lay"


def test_elsewhere_it_says_that_nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(sys, "platform", "darwin")
        assert memory.keep_freed() is False
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", lambda _: SimpleNamespace())  # a C library without mallopt
    assert memory.keep_freed() is False
    monkeypatch.setattr(ctypes, "CDLL", lambda _: SimpleNamespace(mallopt=lambda option, value: 0))  # one that refuses
    assert memory.keep_freed() is False


@pytest.mark.parametrize(("before", "after"), [(None, "1"), ("0", "0"), ("1", "1")])
def test_huge_pages_are_asked_for_unless_the_environment_says_otherwise(
    monkeypatch: pytest.MonkeyPatch, before: str | None, after: str
) -> None:
    monkeypatch.setenv("THP_MEM_ALLOC_ENABLE", before or "")
    if before is None:
        monkeypatch.delenv("THP_MEM_ALLOC_ENABLE")
    memory.use_huge_pages()
    assert os.environ["THP_MEM_ALLOC_ENABLE"] == after
