"""The system's memory on the CPU: what was freed is kept for the next step, in huge pages where the system allows it.

By default glibc hands every large tensor back to the system as soon as it is freed, and the system clears the pages of
the next one, one fault for each 4 KB: about half of the time of a training step of batch 128. What a process holds at
most does not grow by keeping it; it holds it until its end. Nothing of this matters to tensors on a GPU.
"""

from __future__ import annotations

import ctypes
import os
import sys

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of <malloc.h>


def keep_freed() -> bool:
    """Lets glibc keep freed memory of this process; returns whether it does (on Linux with glibc)."""
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # not every C library has it
    return mallopt is not None and all(mallopt(option, value) for option, value in _KEEP)


def use_huge_pages() -> None:
    """Asks PyTorch for large tensors in huge pages (2 MB); it listens until its first tensor is made.

    `THP_MEM_ALLOC_ENABLE=0` in the environment forbids it.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")


# no allocation by its own mapping, which goes when it is freed; no trimming of the heap
_KEEP = (_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, -1)
