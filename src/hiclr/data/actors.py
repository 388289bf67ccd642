"""Who of the bodies in a recording is kept, and in which slot."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Actors = Literal["file order", "motion"]


def choose_actors(frames: NDArray[np.float32], bodies: int, actors: Actors = "file order") -> NDArray[np.float32]:
    """Keeps up to `bodies` bodies of a recording; missing ones become zero.

    "motion" orders them by movement, the summed variance over time of all joint coordinates (the heuristic of NTU
    RGB+D's authors), and drops the frames that do not show the first.

    Args:
        frames: (F, any, V, 3), finite.
        bodies: M of the result.
        actors: see `prepare`.
    """
    if actors == "motion" and frames.shape[1]:
        seen = seen_bodies(frames)
        movement = [
            frames[seen[:, m], m].var(0, dtype=np.float64).sum() if seen[:, m].any() else -1.0
            for m in range(frames.shape[1])
        ]
        order = np.argsort(np.negative(movement), kind="stable")
        frames = frames[seen[:, order[0]]][:, order]
    kept = frames[:, :bodies]
    return np.pad(kept, ((0, 0), (0, bodies - kept.shape[1]), (0, 0), (0, 0)))


def seen_bodies(frames: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which bodies are there: (F, M, V, 3) -> (F, M)."""
    return np.asarray(frames.any((2, 3)))
