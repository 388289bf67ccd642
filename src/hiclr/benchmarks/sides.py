"""What is done on either side of a hot path: made once of a size, then done again and again.

Both sides of a path see the same numbers. What one run of it does is said where it is less than the whole.
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import normalize

from hiclr.benchmarks.ours import OurStep
from hiclr.benchmarks.plain.data import prepare_one, read_coordinates, read_into_dicts
from hiclr.benchmarks.plain.evaluation import batches, nearest_labels, probe_epoch
from hiclr.benchmarks.plain.network import PlainProjected, PlainSTGCN
from hiclr.benchmarks.plain.step import PlainStep, contrast, follow, push
from hiclr.benchmarks.plain.views import Draw, batch_view, draw
from hiclr.benchmarks.raw import write_recording
from hiclr.benchmarks.sizes import NTU, Size, Work
from hiclr.data.folder import SCHEMA
from hiclr.data.module import SkeletonData
from hiclr.data.prepare import prepare_batch
from hiclr.data.recordings.ntu import read_ntu_skeleton
from hiclr.data.writer import FolderWriter
from hiclr.encoders.stgcn import STGCN
from hiclr.evaluation import FeatureBank, encode, linear_probe, nearest_neighbours
from hiclr.losses import hierarchical_consistency, info_nce
from hiclr.methods.contrast import Contrast, Projected
from hiclr.methods.training import Precision
from hiclr.momentum import MomentumEncoder
from hiclr.transforms import growing_views

VIEWS = (0, 1, 2, 0)  # the levels of the queries' views and of the key's
EPOCHS = 100  # of a linear probe
PREPARED = 128  # sequences at a time: as many as `prepare` has in work
CLASSES = 60
FILES = 8  # of NTU text


# --- the training step ----------------------------------------------------------------------------


def plain_step(size: Size) -> Work:
    """Augmentation, three queries, key, loss, backward, optimizer, queue."""
    query = PlainProjected(PlainSTGCN(NTU, size.width), 16 * size.width)
    x, step = size.sequences(), PlainStep(query, normalize(torch.randn(size.queue, 128)), NTU)
    chance = np.random.default_rng(0)

    def work() -> Tensor:
        *views, key_view = (_draws(x, level, chance) for level in VIEWS)
        return step(x, views, key_view)

    return work


def our_step(size: Size, precision: Precision = "32-true") -> OurStep:
    """The same."""
    return OurStep(size.sequences().to(size.device), NTU, precision, size.width, queue_size=size.queue)


def plain_views(size: Size, lean: bool = False) -> Work:
    """The four views of a step."""
    x, chance = size.sequences(), np.random.default_rng(0)
    return lambda: [batch_view(x, _draws(x, level, chance, lean), NTU, lean=lean) for level in VIEWS]


def our_views(size: Size) -> Work:
    """The same."""
    x, views = size.sequences(), growing_views("BA,NA,Mask", NTU)
    return torch.no_grad()(lambda: [views[level](x) for level in VIEWS])


def _draws(x: Tensor, level: int, chance: np.random.Generator, lean: bool = False) -> list[Draw]:
    _, c, t, v, m = x.shape
    return [draw((c, t, v, m), level, chance, lean) for _ in x]


def plain_encoder(size: Size) -> Work:
    """Features of a batch in eval mode."""
    x, encoder = size.sequences(), PlainSTGCN(NTU, size.width).eval()
    return torch.no_grad()(lambda: encoder(x))


def our_encoder(size: Size) -> Work:
    """The same."""
    x, encoder = size.sequences(), STGCN(NTU, size.width).eval()
    return torch.no_grad()(lambda: encoder(x))


def plain_contrast(size: Size) -> Work:
    """Loss of three levels, its gradient, and the keys into the queue."""
    queries, key, queue = _embeddings(size)
    return lambda: (contrast(queries, key, queue).backward(), push(queue, key, 0))


def our_contrast(size: Size) -> Work:
    """The same."""
    queries, key, queue = _embeddings(size)
    ours = Contrast(STGCN(NTU, width=1), size.queue, 0.999, 0.07)
    ours.queue.keys.copy_(queue)

    def work() -> None:
        levels = ours.compare(queries, key)
        loss = info_nce(levels[0]) + 0.5 * hierarchical_consistency(levels)
        loss.backward()
        ours.queue.push(key)

    return work


def _embeddings(size: Size) -> tuple[list[Tensor], Tensor, Tensor]:
    queries = [normalize(torch.randn(size.batch, 128)).requires_grad_() for _ in range(3)]
    return queries, normalize(torch.randn(size.batch, 128)), normalize(torch.randn(size.queue, 128))


def plain_follow(size: Size) -> Work:
    """The key network follows the query's."""
    key, query = _networks(size)
    return lambda: follow(key, query)


def our_follow(size: Size) -> Work:
    """The same."""
    key, query = _networks(size)
    ours = MomentumEncoder(key, 0.999)
    return lambda: ours.follow(query)


def _networks(size: Size) -> tuple[nn.Module, nn.Module]:
    first, second = (Projected(STGCN(NTU, size.width)) for _ in range(2))
    return first, second


# --- evaluation -----------------------------------------------------------------------------------


def plain_probe(size: Size) -> Work:
    """A linear probe that encodes anew in each epoch: one of the `EPOCHS`."""
    x, encoder = size.sequences(), PlainSTGCN(NTU, size.width).eval()
    layer, labels = nn.Linear(16 * size.width, CLASSES), torch.arange(size.batch) % CLASSES
    optimizer = torch.optim.SGD(layer.parameters(), lr=3.0, momentum=0.9)
    return lambda: probe_epoch(encoder, layer, optimizer, x, labels, torch.randperm(size.batch))


def our_probe(size: Size) -> Work:
    """Features once, then all `EPOCHS` on them."""
    x, encoder = size.sequences(), STGCN(NTU, size.width)
    names, labels = tuple(map(str, range(size.batch))), torch.arange(size.batch) % CLASSES

    def work() -> None:
        bank = FeatureBank(names, encode(encoder, [x]), labels)
        linear_probe(bank, bank, CLASSES, epochs=EPOCHS, evaluate_every=EPOCHS)

    return work


def plain_knn(size: Size) -> Work:
    """The nearest neighbour of all test features, from the similarities of all pairs at once."""
    train, test = _banks(size)
    return lambda: nearest_labels(train.features, train.labels, test.features)


def our_knn(size: Size) -> Work:
    """The same, a part of the pairs at a time."""
    train, test = _banks(size)
    return lambda: nearest_neighbours(train, test, CLASSES, [1])


def _banks(size: Size) -> tuple[FeatureBank, FeatureBank]:
    chance = torch.Generator().manual_seed(0)
    train, test = (
        FeatureBank(
            tuple(map(str, range(count))),
            torch.randn(count, 16 * size.width, generator=chance),
            torch.randint(CLASSES, (count,), generator=chance),
        )
        for count in (size.train, size.test)
    )
    return train, test


# --- data -----------------------------------------------------------------------------------------


def plain_batches(size: Size) -> Work:
    """An epoch of batches from the disk, each sequence read by itself and then stacked; without worker processes."""
    data = _stored(size)
    return lambda: _drain(batches(data.folder.sequences, torch.randperm(size.stored), size.batch))


def our_batches(size: Size) -> Work:
    """The same epoch from the data module."""
    data = _stored(size)
    return lambda: _drain(data.train_dataloader())


def _drain(batches: Iterable[Tensor]) -> None:
    for _ in batches:
        pass


def _stored(size: Size) -> SkeletonData:
    """A prepared folder of random sequences."""
    root, x = _scratch() / "data", size.sequences().numpy()
    samples = pd.DataFrame({"name": [str(i) for i in range(size.stored)], "label": 0, "subject": 1, "camera": 0})
    samples = samples.assign(setup=0, length=size.frames, bodies=size.bodies)
    about = {"corpus": "random", "frames": size.frames, "bodies": size.bodies, "class_names": ["any"], "benchmarks": []}
    writer = FolderWriter(root, {}, x.shape[1:], size.stored, size.batch, overwrite=False)
    with writer.locked():
        writer.start()
        for chunk, begin in enumerate(range(0, size.stored, size.batch)):
            part = x[: min(size.batch, size.stored - begin)]
            writer.write(chunk, part)
            writer.note(chunk, len(part), None)
        writer.finish(samples, {"schema": SCHEMA, **about, "skeleton": NTU.to_dict()})
    return SkeletonData(root, benchmark=None, batch_size=size.batch)


def plain_preparation(size: Size) -> Work:
    """`PREPARED` sequences, one by one, frame by frame."""
    x = _recorded(size)
    return lambda: np.stack([prepare_one(sequence, NTU.centre_joint, NTU.shoulder_pair) for sequence in x])


def our_preparation(size: Size) -> Work:
    """The same at once, on one core as each of the processes of `prepare`."""
    torch.set_num_threads(1)
    x = torch.from_numpy(_recorded(size))
    return lambda: prepare_batch(x, NTU).numpy()


def _recorded(size: Size) -> NDArray[np.float32]:
    chance = np.random.default_rng(0)
    x = np.zeros((PREPARED, 3, 2 * size.frames, NTU.num_joints, 2), np.float32)
    for i, length in enumerate(chance.integers(size.frames, 2 * size.frames + 1, len(x))):
        bodies = 2 if i % 6 == 0 else 1
        x[i, :, :length, :, :bodies] = chance.normal(0, 1, (3, length, NTU.num_joints, bodies))
    return x


def read_dicts(size: Size) -> Work:
    """NTU text, line after line, into dicts of all fields."""
    files = _recordings()
    return lambda: [read_into_dicts(file) for file in files]


def read_lean(size: Size) -> Work:
    """NTU text, line after line, the coordinates alone."""
    files = _recordings()
    return lambda: [read_coordinates(file) for file in files]


def our_reading(size: Size) -> Work:
    """The same with our reader, which checks what it reads."""
    torch.set_num_threads(1)
    files = _recordings()
    return lambda: [read_ntu_skeleton(file) for file in files]


def _recordings() -> list[Path]:
    folder = _scratch()
    return [write_recording(folder / f"{i}.skeleton", 80 + 10 * i, 1 + i % 2, seed=i) for i in range(FILES)]


def _scratch() -> Path:
    """A folder that goes when this process ends."""
    folder = tempfile.mkdtemp(prefix="hiclr-bench-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)
