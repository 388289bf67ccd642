"""From a prepared folder to batches: each is one gather, from the mapped file or on the GPU; no worker processes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Generic, Literal, TypeVar, cast, final, get_args

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from numpy.typing import NDArray
from torch import Tensor

from hiclr.data.folder import PreparedFolder
from hiclr.skeleton import Skeleton

Batch = TypeVar("Batch")  # x, or x and labels
DataDevice = Literal["auto", "cpu", "cuda"]

_CHUNK = 1024  # sequences copied at once


@final
class SkeletonData(LightningDataModule):
    """The sequences of a prepared folder, as one side of a benchmark or the other.

    Args:
        root: prepared folder, as `hiclr prepare` writes it.
        benchmark: which train/test split to use; null trains on every sequence (labels are not read).
        batch_size: sequences in a step, N, of all processes together.
        device: where the sequences trained on lie. "cpu": in the memory-mapped file. "cuda": on the GPU that trains.
            "auto": there if they take at most half of its free memory, else in the file.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: the folder is not a prepared one, or has no such benchmark.
    """

    def __init__(
        self, root: Path | str, benchmark: str | None = "xsub", batch_size: int = 128, device: DataDevice = "auto"
    ) -> None:
        super().__init__()
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        if device not in get_args(DataDevice):
            raise ValueError(f"unknown device {device!r}: choose one of {', '.join(get_args(DataDevice))}")
        self.folder = PreparedFolder.open(root)
        self.benchmark = benchmark
        self.batch_size = batch_size
        self.device: DataDevice = device
        self.train_rows = self._all_rows() if benchmark is None else self.folder.indices(benchmark, "train")

    @property
    def skeleton(self) -> Skeleton:
        """The joints of the sequences."""
        return self.folder.skeleton

    def train_dataloader(self, seed: int = 0) -> Batches[Tensor]:
        """Shuffled batches x (N, 3, T, V, M) of the training side; the last partial batch is dropped.

        Args:
            seed: decides the order, with the epoch.

        Raises:
            ValueError: when there is not one full batch.
        """
        if self.batch_size > len(self.train_rows):
            raise ValueError(
                f"batch_size {self.batch_size} is larger than the {len(self.train_rows)} training sequences of "
                f"{self.folder.root}: set --data.batch_size to at most that"
            )
        return Batches(
            self.folder.sequences, self.train_rows, self.batch_size, seed=seed, drop_last=True, device=self.device
        )

    def batches(self, rows: NDArray[np.int64]) -> Batches[Tensor]:
        """Batches x (N, 3, T, V, M) of some rows, all of them, in order."""
        return Batches(self.folder.sequences, rows, self.batch_size)

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

    def labelled_batches(
        self, rows: NDArray[np.int64], batch_size: int, seed: int = 0
    ) -> Batches[tuple[Tensor, Tensor]]:
        """Shuffled batches of some rows, all of them: x (N, 3, T, V, M) and labels (N,) int64.

        Args:
            rows: of the folder.
            batch_size: N; the last batch may be smaller.
            seed: decides the order, with the epoch.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        sequences, labels = self.folder.sequences, self.labels(rows)
        return Batches(sequences, rows, batch_size, labels=labels, seed=seed, device=self.device)

    def _all_rows(self) -> NDArray[np.int64]:
        return np.arange(len(self.folder.samples))


@final
class Batches(Generic[Batch]):
    """Some rows of an array, batch by batch: x (N, 3, T, V, M), or x and labels (N,). One gather makes a batch.

    The order hangs on seed and epoch alone: not on how far chance has gone, nor on the number of processes.
    `state_dict` says how far a pass is, and the first pass after `load_state_dict` gives the rest of it.

    Args:
        sequences: the array.
        rows: of the array.
        batch_size: N; the last batch may be smaller.
        labels: (rows,) int64, if batches shall have them.
        seed: of the order; as given when None.
        drop_last: leave out a smaller last batch.
        device: where the rows shall lie, see `SkeletonData`; looked at by `place`.

    Attributes:
        epoch: whose order the next pass has, from 0; each pass moves it on.
    """

    def __init__(
        self,
        sequences: NDArray[np.float32],
        rows: NDArray[np.int64],
        batch_size: int,
        *,
        labels: Tensor | None = None,
        seed: int | None = None,
        drop_last: bool = False,
        device: DataDevice = "cpu",
    ) -> None:
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = 0
        self._sequences = sequences
        self._rows = rows
        self._labels = labels
        self._drop_last = drop_last
        self._device: DataDevice = device
        self._resident: Tensor | None = None
        self._pinned = False
        self._first = 0  # batch of the next pass
        self._given = (0, 0)  # epoch of the pass, and how many of its batches

    def __len__(self) -> int:
        """How many batches there are."""
        whole, rest = divmod(len(self._rows), self.batch_size)
        return whole + (rest > 0 and not self._drop_last)

    def __iter__(self) -> Iterator[Batch]:
        """The batches of an epoch."""
        order = np.arange(len(self._rows))
        if self.seed is not None:
            order = np.random.default_rng((self.seed, self.epoch)).permutation(order)
        first, self._first = self._first, 0
        self._given = (self.epoch, first)
        self.epoch += 1
        places = torch.from_numpy(order)
        if self._resident is not None:
            places = places.to(self._resident.device)  # once an epoch: a copy makes the GPU's queue run dry
        for batch in places.split(self.batch_size)[first : len(self)]:
            x = self._gathered(batch)
            self._given = (self._given[0], self._given[1] + 1)
            yield cast("Batch", x if self._labels is None else (x, self._labels[batch]))

    def state_dict(self) -> dict[str, int]:
        """How far the pass is: the last batch that was given counts."""
        epoch, given = self._given
        return {"epoch": epoch, "given": given} if given < len(self) else {"epoch": epoch + 1, "given": 0}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Makes the next pass begin where another was."""
        self.epoch, self._first = state["epoch"], state["given"]

    def place(self, device: torch.device) -> None:
        """Copies the rows to the device that trains, if they shall lie there; otherwise readies batches for it.

        Raises:
            ValueError: if they shall and cannot.
        """
        if self._device == "cuda" and device.type != "cuda":
            raise ValueError(f"data.device cuda, but training is on {device.type}: set --accelerator gpu")
        self._pinned = device.type == "cuda"  # a GPU fetches pinned memory itself
        if self._device == "cpu" or device.type != "cuda":
            return
        needed = len(self._rows) * self._sequences[:1].nbytes
        free, _ = torch.cuda.mem_get_info(device)
        if needed <= free // 2:
            self._copy_to(device)
        elif self._device == "cuda":
            raise ValueError(
                f"data.device cuda, but the sequences take {needed / 2**30:.1f} GiB, more than half of the "
                f"{free / 2**30:.1f} GiB that are free on the GPU: set --data.device cpu"
            )

    def some(self, count: int) -> Tensor:
        """x (N, 3, T, V, M) of at most so many of the rows, evenly spread over all."""
        count = min(count, len(self._rows))
        return self._gathered(torch.linspace(0, len(self._rows) - 1, count).round().long())

    def check_numbers(self) -> None:
        """Reads every row once: a second or so for NTU RGB+D from memory, else as long as the disk takes.

        Raises:
            ValueError: if there is a number that is not finite.
        """
        chunks = torch.arange(len(self._rows)).split(_CHUNK)
        # a sum is not finite where a number is not
        sums = torch.cat([self._gathered(places).flatten(1).sum(1) for places in chunks])
        broken = self._rows[(~sums.isfinite()).cpu().numpy()]
        if len(broken):
            raise ValueError(
                f"{len(broken)} of {len(self._rows)} sequences hold NaN or infinite numbers, the first in row "
                f"{broken[0]} of sequences.npy: prepare the data again, and ask hiclr doctor about them"
            )

    def _copy_to(self, device: torch.device) -> None:
        resident = torch.empty(len(self._rows), *self._sequences.shape[1:], dtype=torch.float32, device=device)
        for places in torch.arange(len(self._rows)).split(_CHUNK):
            resident[int(places[0]) : int(places[-1]) + 1] = self._gathered(places).to(device)
        self._resident = resident
        self._labels = None if self._labels is None else self._labels.to(device)

    def _gathered(self, places: Tensor) -> Tensor:
        """x (N, 3, T, V, M) of rows by their place among all."""
        if self._resident is not None:
            return self._resident.index_select(0, places.to(self._resident.device))
        shape = (len(places), *self._sequences.shape[1:])
        x = torch.empty(shape, dtype=torch.float32, pin_memory=self._pinned)
        # "clip" writes without a buffer; every row exists
        np.take(self._sequences, self._rows[places.numpy()], axis=0, out=x.numpy(), mode="clip")
        return x
