"""Speed as ratios, both sides measured in one run: ours against a straightforward implementation.

    python benchmarks/speed.py        (or: make bench)

- augmentation: the four views of a k = 3 step, in batch against sequence by sequence in NumPy (the published way);
- graph convolution: gathering neighbours first against convolution, then einsum over the subsets;
- linear probe: on cached features against encoding anew in every epoch (one epoch of each, scaled to 100);
- preparation: a chunk of sequences at once against one by one, frame by frame;
- reading NTU text: against one line after another, into dicts of all fields and, leanly, of the coordinates alone;
- peak memory of a whole `prepare` (see memory.py).

The plain sides are here and in references.py; preparation and reading run on one core, and both sides must agree.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

import memory
from hiclr.data.prepare import prepare_batch
from hiclr.data.recordings.ntu import read_ntu_skeleton
from hiclr.encoders.stgcn import STGCN, GraphConv
from hiclr.evaluation import FeatureBank, encode, linear_probe
from hiclr.skeleton import SKELETONS
from hiclr.transforms import growing_views
from raw import write_recording
from references import prepare_one, read_coordinates, read_into_dicts

NTU = SKELETONS["ntu25"]
BATCH = 64


def main() -> None:
    """Prints the table."""
    torch.manual_seed(0)
    x = torch.randn(BATCH, 3, 50, 25, 2)
    x[BATCH // 3 :, ..., 1] = 0  # two sequences of three show one body
    print(f"{torch.get_num_threads()} threads, batch {BATCH} of shape (3, 50, 25, 2)\n")
    print("| | straightforward | ours | ratio |\n|---|---|---|---|")
    _row("augmentation, 4 views", *_augmentation(x))
    _row("graph convolution 64 -> 256, forward + backward", *_graph_convolution())
    _row("linear probe, 100 epochs", *_linear_probe(x))
    torch.set_num_threads(1)
    _row("preparation of 128 sequences, one core", *_preparation(), amount=128, unit="sequences/s")
    with tempfile.TemporaryDirectory() as folder:
        files = [write_recording(Path(folder, f"{i}.skeleton"), 80 + 10 * i, 1 + i % 2, seed=i) for i in range(8)]
        megabytes = sum(path.stat().st_size for path in files) / 1e6
        for what, plain, ours in _reading(files):
            _row(what, plain, ours, megabytes, "MB/s")
    if sys.platform == "linux":
        print()
        memory.main()


def _row(what: str, plain: float, ours: float, amount: float = 0, unit: str = "") -> None:
    sides = [f"{1000 * time:,.1f} ms" + (f" ({amount / time:,.0f} {unit})" if unit else "") for time in (plain, ours)]
    print(f"| {what} | {' | '.join(sides)} | {plain / ours:.1f}x |", flush=True)


def _seconds(work: Callable[[], object], repeats: int = 5) -> float:
    """The shortest of some runs, after one to warm up."""
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def _augmentation(x: Tensor) -> tuple[float, float]:
    views = growing_views("BA,NA,Mask", NTU)
    sequences, chance = x.numpy(), np.random.default_rng(0)

    def plain() -> None:
        for level in (0, 0, 1, 2):
            np.stack([_augment_one(sequence, level, chance) for sequence in sequences])

    def ours() -> None:
        for view in (views[0], *views):
            view(x)

    return _seconds(plain), _seconds(ours)


def _augment_one(x: NDArray[np.float32], level: int, chance: np.random.Generator) -> NDArray[np.float32]:
    """One sequence (C, T, V, M) under BA, BA + NA or BA + NA + Mask, step by step."""
    matrix = np.where(np.eye(3, dtype=bool), 1.0, chance.uniform(-0.5, 0.5, (3, 3)))
    x = np.einsum("ij,jtvm->itvm", matrix, x)
    padding = x.shape[1] // 6
    padded = np.concatenate([x[:, :padding][:, ::-1], x, x[:, -padding:][:, ::-1]], axis=1)
    start = chance.integers(0, 2 * padding + 1)
    x = padded[:, start : start + x.shape[1]]
    if level == 0:
        return x
    if chance.random() < 0.5:
        order = np.arange(x.shape[2])
        for left, right in NTU.mirror_pairs:
            order[[left, right]] = right, left
        x = x[:, :, order]
    for axis in range(3):
        angle = np.deg2rad(chance.uniform(0, 30 if axis == 0 else 1))
        turn = np.eye(3)
        i, j = [k for k in range(3) if k != axis]
        turn[[i, j], [i, j]], turn[i, j], turn[j, i] = np.cos(angle), np.sin(angle), -np.sin(angle)
        x = np.einsum("ij,jtvm->itvm", turn, x)
    if chance.random() < 0.5:
        x = x + chance.normal(0, 0.01, x.shape)
    if chance.random() < 0.5:
        taps = np.exp(-(np.arange(-7, 8) ** 2) / (2 * chance.uniform(0.1, 2) ** 2))
        x = np.apply_along_axis(lambda line: np.convolve(line, taps, mode="same"), 1, x)
    if chance.random() < 0.5:
        x = x.copy()
        x[chance.integers(3)] = 0
    if level == 2:
        x = x.copy()
        for frame in range(x.shape[1]):
            x[:, frame, chance.choice(x.shape[2], 2, replace=False)] = 0
    return x


def _graph_convolution() -> tuple[float, float]:
    adjacency = torch.from_numpy(NTU.adjacency())
    layer = GraphConv(64, 256, subsets=3)
    x = torch.randn(BATCH, 64, 13, 25)

    def plain() -> None:
        convolved = F.conv2d(x, layer.weight, layer.bias).view(BATCH, 3, 256, 13, 25)
        torch.einsum("nkctv,kvw->nctw", convolved, adjacency).sum().backward()

    def ours() -> None:
        layer(x, adjacency).sum().backward()

    return _seconds(plain), _seconds(ours)


def _linear_probe(x: Tensor) -> tuple[float, float]:
    encoder, epochs = STGCN("ntu25"), 100
    labels = torch.arange(BATCH) % 10
    names = tuple(map(str, range(BATCH)))

    def probe(epochs: int) -> None:
        bank = FeatureBank(names, encode(encoder, [x]), labels)
        linear_probe(bank, bank, classes=10, epochs=epochs, evaluate_every=epochs)

    return epochs * _seconds(lambda: probe(1)), _seconds(lambda: probe(epochs))


def _preparation() -> tuple[float, float]:
    chance = np.random.default_rng(0)
    x = np.zeros((128, 3, 100, 25, 2), np.float32)  # as many as `prepare` has in work at a time
    for i, length in enumerate(chance.integers(80, 101, len(x))):
        bodies = 2 if i % 6 == 0 else 1
        x[i, :, :length, :, :bodies] = chance.normal(0, 1, (3, length, 25, bodies))
    batch = torch.from_numpy(x)

    def plain() -> NDArray[np.float32]:
        return np.stack([prepare_one(sequence, NTU.centre_joint, NTU.shoulder_pair) for sequence in x])

    def ours() -> NDArray[np.float32]:
        return prepare_batch(batch, NTU).numpy()

    np.testing.assert_allclose(plain(), ours(), atol=1e-2)  # near arccos(1) the last bit shows
    return _seconds(plain, repeats=1), _seconds(ours)


def _reading(files: list[Path]) -> list[tuple[str, float, float]]:
    for path in files:
        np.testing.assert_array_equal(
            read_coordinates(path)[:, : 1 + int(path.stem) % 2], read_ntu_skeleton(path).frames
        )
    ours = _seconds(lambda: [read_ntu_skeleton(path) for path in files])
    return [
        ("reading NTU text, into dicts", _seconds(lambda: [read_into_dicts(path) for path in files]), ours),
        ("reading NTU text, coordinates alone", _seconds(lambda: [read_coordinates(path) for path in files]), ours),
    ]


if __name__ == "__main__":
    main()
