"""From a prepared folder to batches: one index into the memory-mapped array a batch, no worker processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar, final

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from hiclr.data.folder import PreparedFolder
from hiclr.skeleton import Skeleton

Batch = TypeVar("Batch")


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
        return _loader(_Rows(self.folder.sequences, self.train_rows), self.batch_size, shuffle=True, drop_last=True)

    def batches(self, rows: NDArray[np.int64]) -> DataLoader[Tensor]:
        """Batches x (N, 3, T, V, M) of some rows, all of them, in order."""
        return _loader(_Rows(self.folder.sequences, rows), self.batch_size)

    @property
    def test_rows(self) -> NDArray[np.int64]:
        """Rows of the test side.

        Raises:
            ValueError: no benchmark is chosen.
        """
        if self.benchmark is None:
            raise ValueError(f"evaluation needs a benchmark: choose one of {', '.join(self.folder.benchmarks)}")
        return self.folder.indices(self.benchmark, "test")

    def labels(self, rows: NDArray[np.int64]) -> Tensor:
        """Labels (N,) int64 of some rows."""
        return torch.from_numpy(self.folder.samples["label"].to_numpy("int64")[rows])

    def labelled_rows(self, fraction: float, seed: int) -> NDArray[np.int64]:
        """The rows of the training side whose labels may be used: of each class its share, at least one row.

        With the same seed, the rows of a smaller share are among those of a larger one.

        Args:
            fraction: of the n rows of a class, round(fraction * n) are drawn.
            seed: of the draw.

        Raises:
            ValueError: if the fraction does not lie above 0 and up to 1.
        """
        if not 0 < fraction <= 1:
            raise ValueError(f"label_fraction must lie above 0 and up to 1, got {fraction}")
        drawn = np.random.default_rng(seed).permutation(self.train_rows)
        labels = self.labels(drawn).numpy()
        by_class = [drawn[labels == label] for label in np.unique(labels)]
        return np.sort(np.concatenate([rows[: max(1, round(fraction * len(rows)))] for rows in by_class]))

    def labelled_batches(self, rows: NDArray[np.int64], batch_size: int) -> DataLoader[tuple[Tensor, Tensor]]:
        """Shuffled batches of some rows, all of them: x (N, 3, T, V, M) and labels (N,) int64."""
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        return _loader(_LabelledRows(self.folder.sequences, rows, self.labels(rows)), batch_size, shuffle=True)

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


class _LabelledRows(Dataset[tuple[Tensor, Tensor]]):
    """The same with a label for each row."""

    def __init__(self, sequences: NDArray[np.float32], rows: NDArray[np.int64], labels: Tensor) -> None:
        self.sequences = _Rows(sequences, rows)
        self.labels = labels

    def __len__(self) -> int:
        return len(self.sequences)

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        return self.sequences.__getitems__(indices), self.labels[indices]


def _loader(
    dataset: Dataset[Batch], batch_size: int, shuffle: bool = False, drop_last: bool = False
) -> DataLoader[Batch]:
    return DataLoader(
        dataset,
        batch_size=batch_size,
        shuffle=shuffle,
        drop_last=drop_last,
        collate_fn=_as_is,
        pin_memory=torch.cuda.is_available(),
    )


def _as_is(batch: Any) -> Any:
    """`__getitems__` has made the batch already."""
    return batch
