"""From a prepared folder to batches: one index into the memory-mapped array a batch, no worker processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from hiclr.data.folder import PreparedFolder
from hiclr.skeleton import Skeleton


@final
class SkeletonData(LightningDataModule):
    """The sequences of a prepared folder, as one side of a benchmark or the other.

    Args:
        root: prepared folder, as `hiclr prepare` writes it.
        benchmark: which train/test split to use; null trains on every sequence (labels are not read).
        batch_size: sequences in a step, N.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: the folder is not a prepared one, or has no such benchmark.
    """

    def __init__(self, root: Path | str, benchmark: str | None = "xsub", batch_size: int = 128) -> None:
        super().__init__()
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        self.folder = PreparedFolder.open(root)
        self.benchmark = benchmark
        self.batch_size = batch_size
        self.train_rows = self._all_rows() if benchmark is None else self.folder.indices(benchmark, "train")

    @property
    def skeleton(self) -> Skeleton:
        """The joints of the sequences."""
        return self.folder.skeleton

    def train_dataloader(self) -> DataLoader[Tensor]:
        """Shuffled batches x (N, 3, T, V, M) of the training side; the last partial batch is dropped.

        Raises:
            ValueError: when there is not one full batch.
        """
        if self.batch_size > len(self.train_rows):
            raise ValueError(
                f"batch_size {self.batch_size} is larger than the {len(self.train_rows)} training sequences of "
                f"{self.folder.root}: set --data.batch_size to at most that"
            )
        return self._loader(self.train_rows, shuffle=True)

    def batches(self, rows: NDArray[np.int64]) -> DataLoader[Tensor]:
        """Batches x (N, 3, T, V, M) of some rows, all of them, in order."""
        return self._loader(rows, shuffle=False)

    def _loader(self, rows: NDArray[np.int64], shuffle: bool) -> DataLoader[Tensor]:
        return DataLoader(
            _Rows(self.folder.sequences, rows),
            batch_size=self.batch_size,
            shuffle=shuffle,
            drop_last=shuffle,
            collate_fn=_as_is,
            pin_memory=torch.cuda.is_available(),
        )

    def _all_rows(self) -> NDArray[np.int64]:
        return np.arange(len(self.folder.samples))


class _Rows(Dataset[Tensor]):
    """Some rows of an array, a whole batch at a time."""

    def __init__(self, sequences: NDArray[np.float32], rows: NDArray[np.int64]) -> None:
        self.sequences = sequences
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitems__(self, indices: list[int]) -> Tensor:
        return torch.from_numpy(self.sequences[self.rows[indices]])


def _as_is(batch: Any) -> Any:
    """`__getitems__` has made the batch already."""
    return batch
