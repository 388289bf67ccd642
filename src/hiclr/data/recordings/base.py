"""What every reader returns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)  # arrays do not compare to one bool
class Recording:
    """One recording as it lies in the raw file.

    Args:
        name: unique within its corpus.
        frames: (F, M, V, 3) float32 in metres. M is the number of bodies seen, in the order in which they first
            appear; a body that is absent from a frame is zero there. NaN passes through.
    """

    name: str
    frames: NDArray[np.float32]
