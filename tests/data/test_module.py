"""Batches of a prepared folder: which rows, with which labels, in which order."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from hiclr.data import module
from hiclr.data.folder import PreparedFolder
from hiclr.data.module import Batches, SkeletonData
from hiclr.skeleton import SKELETONS

# class 2 has one training row, class 3 has none
TRAIN = [0] * 23 + [1] * 10 + [2] + [4] * 4
LABELS = np.array([*TRAIN, 0, 1, 3, 3])
CHANCE = np.random.default_rng(5).permutation(len(LABELS))


@pytest.fixture
def data(monkeypatch: pytest.MonkeyPatch) -> SkeletonData:
    """Sequences that hold the number of their row, in a random order of classes and sides."""
    side = np.array(["train"] * len(TRAIN) + ["test"] * 4)[CHANCE]
    samples = pd.DataFrame({"name": [f"s{i}" for i in range(len(LABELS))], "label": LABELS[CHANCE], "xsub": side})
    sequences = np.arange(len(LABELS), dtype=np.float32)[:, None, None, None, None] * np.ones((3, 2, 20, 1), np.float32)
    about = {"skeleton": SKELETONS["kinect20"].to_dict(), "class_names": list("abcde"), "benchmarks": ["xsub"]}
    folder = PreparedFolder(Path("there"), sequences, samples, about)
    monkeypatch.setattr(PreparedFolder, "open", lambda root: folder)
    return SkeletonData("there")


# --- labels ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("fraction", [0.01, 0.05, 0.1, 0.5, 0.97, 1.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_of_each_class_its_share_is_drawn_and_at_least_one(data: SkeletonData, fraction: float, seed: int) -> None:
    rows = data.labelled_rows(fraction, seed)
    drawn = [int(data.labels(rows[i : i + 1])[0]) for i in range(len(rows))]
    for label in range(5):
        there = sum(other == label for other in TRAIN)
        expected = max(1, round(fraction * there)) if there else 0
        assert drawn.count(label) == expected, label
    assert len(set(rows.tolist())) == len(rows) and set(rows.tolist()) <= set(data.train_rows.tolist())
    assert (np.diff(rows) > 0).all()


def test_all_labels_are_all_rows(data: SkeletonData) -> None:
    np.testing.assert_array_equal(data.labelled_rows(1.0, 3), data.train_rows)


def test_a_smaller_share_lies_in_a_larger_one(data: SkeletonData) -> None:
    shares = [set(data.labelled_rows(fraction, 7).tolist()) for fraction in (0.01, 0.1, 0.4, 0.8)]
    assert all(smaller < larger for smaller, larger in pairwise(shares))


def test_the_seed_alone_decides_and_no_row_is_favoured(data: SkeletonData) -> None:
    torch.manual_seed(1)
    np.random.seed(1)
    first = data.labelled_rows(0.3, 0)
    torch.manual_seed(2)
    np.random.seed(2)
    np.testing.assert_array_equal(data.labelled_rows(0.3, 0), first)
    times = np.bincount(np.concatenate([data.labelled_rows(0.5, seed) for seed in range(200)]), minlength=len(LABELS))
    of_class_0 = times[np.intersect1d(data.train_rows, np.flatnonzero(LABELS[CHANCE] == 0))]
    # 12 of 23 in each of 200 draws: 104 +- 7
    assert of_class_0.min() > 75 and of_class_0.max() < 135


@pytest.mark.parametrize("fraction", [0.0, -0.1, 1.1, float("nan")])
def test_a_share_that_cannot_be_is_refused(data: SkeletonData, fraction: float) -> None:
    with pytest.raises(ValueError, match="label_fraction must lie above 0 and up to 1"):
        data.labelled_rows(fraction, 0)


# --- batches --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("batch_size", "sizes"), [(8, [8, 8, 8, 8, 6]), (19, [19, 19]), (100, [38])])
def test_labelled_batches_hold_every_row_once_with_its_label(
    data: SkeletonData, batch_size: int, sizes: list[int]
) -> None:
    batches = list(data.labelled_batches(data.train_rows, batch_size))
    assert [len(x) for x, _ in batches] == [len(labels) for _, labels in batches] == sizes
    rows = torch.cat([x[:, 0, 0, 0, 0] for x, _ in batches]).long()
    assert sorted(rows.tolist()) == data.train_rows.tolist()
    assert torch.cat([labels for _, labels in batches]).tolist() == LABELS[CHANCE][rows].tolist()
    assert batches[0][0].shape[1:] == (3, 2, 20, 1) and batches[0][1].dtype == torch.int64


def rows_of(batches: Batches[Any], epoch: int = 0) -> list[int]:
    """The rows that an epoch passes over, in order."""
    batches.epoch = epoch
    xs = [batch[0] if isinstance(batch, tuple) else batch for batch in batches]
    return [int(row) for x in xs for row in x[:, 0, 0, 0, 0]]


def test_every_epoch_has_its_own_order_and_seed_and_epoch_alone_decide(data: SkeletonData) -> None:
    batches = data.labelled_batches(data.train_rows, 8, seed=3)
    orders = [rows_of(batches, epoch) for epoch in range(3)]
    assert len({tuple(order) for order in orders}) == 3
    assert all(sorted(order) == data.train_rows.tolist() for order in orders)
    batches.epoch = 1
    assert [[int(x[0, 0, 0, 0, 0]) for x, _ in batches] for _ in range(2)] == [order[::8] for order in orders[1:]]
    torch.manual_seed(1)
    np.random.seed(1)
    assert rows_of(data.labelled_batches(data.train_rows, 5, seed=3), 2) == orders[2], "whatever came before"
    assert rows_of(data.labelled_batches(data.train_rows, 8, seed=4), 2) != orders[2]


@pytest.mark.parametrize(("batch_size", "count"), [(8, 4), (19, 2), (38, 1)])
def test_the_last_partial_batch_is_dropped(data: SkeletonData, batch_size: int, count: int) -> None:
    data.batch_size = batch_size
    batches = data.train_dataloader(seed=1)
    assert [len(x) for x in batches] == [batch_size] * count and len(batches) == count
    passed = [rows_of(batches, epoch) for epoch in range(30)]
    assert all(len(set(rows)) == count * batch_size for rows in passed)
    assert set().union(*passed) == set(data.train_rows.tolist()), "another rest every time"


def test_the_length_counts_a_smaller_last_batch_where_there_is_one(data: SkeletonData) -> None:
    for batch_size in (1, 8, 19, 37, 38, 39):
        batches = data.labelled_batches(data.train_rows, batch_size)
        assert len(batches) == len(list(batches))


# --- where they lie -------------------------------------------------------------------------------


@pytest.mark.parametrize("labelled", [False, True])
def test_batches_that_lie_on_the_device_are_the_same(
    data: SkeletonData, monkeypatch: pytest.MonkeyPatch, labelled: bool
) -> None:
    monkeypatch.setattr(module, "_CHUNK", 7)
    data.batch_size = 8

    def batches() -> Batches[Any]:
        return data.labelled_batches(data.train_rows, 8, 1) if labelled else data.train_dataloader(1)

    mapped, resident = batches(), batches()
    resident._copy_to(torch.device("cpu"))
    data.folder.sequences.fill(-1)  # no more looked at
    resident.epoch = 2
    there = list(resident)
    data.folder.sequences[:] = np.arange(len(LABELS), dtype=np.float32)[:, None, None, None, None]
    mapped.epoch = 2
    torch.testing.assert_close(there, list(mapped), rtol=0, atol=0)


GPU, CPU = torch.device("cuda", 1), torch.device("cpu")
SIZE = len(TRAIN) * 3 * 2 * 20 * 4  # bytes of the training side


@pytest.mark.parametrize(
    ("choice", "where", "free", "copied"),
    [
        ("auto", GPU, 2 * SIZE, True),
        ("auto", GPU, 2 * SIZE - 2, False),
        ("auto", CPU, 2 * SIZE, False),
        ("cpu", GPU, 2 * SIZE, False),
        ("cuda", GPU, 2 * SIZE, True),
    ],
)
def test_sequences_lie_on_the_gpu_that_trains_if_they_fit(
    data: SkeletonData, monkeypatch: pytest.MonkeyPatch, choice: Any, where: torch.device, free: int, copied: bool
) -> None:
    asked: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 100 * SIZE))
    monkeypatch.setattr(Batches, "_copy_to", lambda self, device: asked.append(device))
    data.batch_size, data.device = 8, choice
    data.train_dataloader().place(where)
    assert asked == [where] * copied


@pytest.mark.parametrize(
    ("where", "said"),
    [
        (CPU, "data.device cuda, but training is on cpu: set --accelerator gpu"),
        (GPU, r"take 0.0 GiB, more than half of the 0.0 GiB that are free on the GPU: set --data.device cpu"),
    ],
)
def test_sequences_that_cannot_lie_on_the_gpu_are_refused(
    data: SkeletonData, monkeypatch: pytest.MonkeyPatch, where: torch.device, said: str
) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2 * SIZE - 2, 100 * SIZE))
    data.batch_size, data.device = 8, "cuda"
    with pytest.raises(ValueError, match=said):
        data.train_dataloader().place(where)


def test_an_unknown_device_is_refused() -> None:
    unknown: Any = "tpu"
    with pytest.raises(ValueError, match="unknown device 'tpu': choose one of auto, cpu, cuda"):
        SkeletonData("there", device=unknown)


# --- refused, in order, of the other side ---------------------------------------------------------


def test_a_batch_of_nothing_is_refused(data: SkeletonData) -> None:
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        data.labelled_batches(data.train_rows, 0)


def test_rows_in_order(data: SkeletonData) -> None:
    data.batch_size = 3
    x = torch.cat(list(data.batches(data.test_rows)))
    assert x[:, 0, 0, 0, 0].tolist() == data.test_rows.tolist() and len(x) == 4
    np.testing.assert_array_equal(data.test_rows, [row for row, was in enumerate(CHANCE) if was >= len(TRAIN)])


def test_evaluation_needs_a_benchmark(data: SkeletonData) -> None:
    data.benchmark = None
    with pytest.raises(ValueError, match="evaluation needs a benchmark: choose one of xsub"):
        _ = data.test_rows
