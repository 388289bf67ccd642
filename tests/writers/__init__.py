"""Small raw files, true to their formats, as plain functions: `from writers.ntu import write_ntu`.

`SMALL` writes a whole small corpus of each kind below a folder and returns the arguments of its corpus function.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from writers.clips import small_clips
from writers.ctrgcn import small_ctrgcn
from writers.kinect import small_nwucla, small_utdmhad
from writers.ntu import small_ntu60, small_ntu120
from writers.pkummd import small_pkummd1, small_pkummd2
from writers.pyskl import small_pyskl
from writers.ragged import small_npz

SMALL: dict[str, Callable[[Path], dict[str, Any]]] = {
    "clips": small_clips,
    "npz": small_npz,
    "ntu60": small_ntu60,
    "ntu120": small_ntu120,
    "pkummd1": small_pkummd1,
    "pkummd2": small_pkummd2,
    "nwucla": small_nwucla,
    "utdmhad": small_utdmhad,
    "ctrgcn": small_ctrgcn,
    "pyskl": small_pyskl,
}
