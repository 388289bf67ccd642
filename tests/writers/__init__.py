"""Small raw files, true to their formats, as plain functions: `from writers.ntu import write_ntu`.

`SMALL` writes a whole small corpus of each kind below a folder and returns the arguments of its corpus function.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from writers.ntu import small_ntu60, small_ntu120
from writers.ragged import small_npz

SMALL: dict[str, Callable[[Path], dict[str, Any]]] = {
    "npz": small_npz,
    "ntu60": small_ntu60,
    "ntu120": small_ntu120,
}
