"""What a verb will take of memory and disk, said before it begins; a disk that lacks the room is refused then."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_only
from numpy.typing import NDArray
from torch import Tensor

from hiclr.cli.console import say
from hiclr.data.module import SkeletonData
from hiclr.device import choose_device
from hiclr.encoders.base import Encoder
from hiclr.encoders.checkpoint import LAST_CHECKPOINT
from hiclr.functional import Stream, to_stream
from hiclr.methods.footprint import footprint, peak_memory
from hiclr.methods.machine import Machine
from hiclr.methods.trainee import Trainee
from hiclr.resources import Needs, available_memory, check_disk

# Measured on the CPU, batches of 16 to 128: what an operation takes within itself and gaps between tensors that no
# other fits into; what Lightning and TensorBoard load.
_GAPS, _LOADED = 1.35, 50_000_000
_LOGS = 4 << 20  # bytes of metrics.csv, run.json and TensorBoard's events in the longest published training
_RESULT = 1 << 20  # of a result and a model card
_BLOCKS = 4 * (4 << 24)  # of similarities in work at a time: as they come, in order, two of the search in them


def say_needs_of_training(
    trainee: Trainee,
    data: SkeletonData,
    rows: NDArray[np.int64],
    batch_size: int,
    out: Path,
    machine: Machine,
    precision: str,
    labels: bool = False,
) -> None:
    """Says what a training takes. Processes that work together already must all ask: a step exchanges keys.

    Args:
        trainee: what will be trained.
        data: on which.
        rows: those of the data that it sees.
        batch_size: sequences in a step, of all processes together.
        out: folder of the run.
        machine: what it is trained on.
        precision: of the arithmetic.
        labels: whether a batch holds labels too.

    Raises:
        OSError: the disk has no room for the run.
    """

    def batch(size: int) -> Any:
        some = np.resize(rows, size)
        x = torch.from_numpy(data.folder.sequences[some])
        return (x, data.labels(some)) if labels else x

    try:
        takes = footprint(trainee, batch, -(-batch_size // machine.processes), half=precision != "32-true")
    except Exception:  # of somebody's own method or optimizer: no estimate may forbid its run
        return
    last = out / LAST_CHECKPOINT
    checkpoints = 1 if last.exists() else 2  # the old one stays until the new one is whole
    what = f"{type(trainee).__name__} on {len(rows):,} sequences, batch {batch_size}"
    memory = takes.memory
    if memory is not None:
        memory += batch_size * data.folder.sequences[:1].nbytes
    option = "--batch_size" if labels else "--data.batch_size"
    _say(what, out, checkpoints * takes.checkpoint + _LOGS, memory, machine, f"lower the batch size ({option})")


def say_needs_of_measuring(
    encoder: Encoder, stream: Stream, data: SkeletonData, out: Path, machine: Machine, copies: int, model: bool
) -> None:
    """Says what it takes to encode both sides of a benchmark and to measure the features.

    Args:
        encoder: which encodes.
        stream: what it sees.
        data: what is encoded.
        out: folder for the result.
        machine: where to compute.
        copies: of the features that the measurement takes, the first ones among them.
        model: whether encoder and a classifier are saved too.

    Raises:
        OSError: the disk has no room for the result.
    """
    sides = [len(rows) * encoder.feature_dim * 4 for rows in (data.train_rows, data.test_rows)]
    batch = _encoding(encoder, stream, data)
    # the batches of a side are joined into one matrix; then the measurement takes its own copies
    memory = max(batch + sum(sides) + max(sides), copies * sum(sides) + (0 if model else _BLOCKS))
    classes, names = data.folder.num_classes, data.folder.samples["name"]
    scores = len(data.test_rows) * 4 * (classes + 2 + int(names.str.len().max()))  # NumPy's letters take 4 bytes each
    weights = sum(tensor.nbytes for tensor in encoder.state_dict().values()) + 4 * classes * (encoder.feature_dim + 1)
    disk = scores + _RESULT + 16 * classes**2 + (weights if model else 0)
    what = f"Features of {len(data.train_rows) + len(data.test_rows):,} sequences, batch {data.batch_size}"
    _say(what, out, disk, memory, machine, "lower the batch size (--data.batch_size)")


def _encoding(encoder: Encoder, stream: Stream, data: SkeletonData) -> int:
    """Bytes of a batch and of what an encoder makes of it on the way, at its peak."""
    tried, sequences = copy.deepcopy(encoder).cpu().eval(), data.folder.sequences

    def encode(size: int) -> Tensor:
        x = torch.from_numpy(sequences[np.resize(data.train_rows, size)])
        features: Tensor = tried(to_stream(x, stream, data.skeleton.parents))
        return features

    with torch.no_grad():
        return peak_memory(encode, data.batch_size) + data.batch_size * sequences[:1].nbytes


def _say(what: str, out: Path, disk: int, memory: int | None, machine: Machine, way_out: str) -> None:
    check_disk(out, disk)
    memory = None if memory is None else round(_GAPS * memory) + _LOADED
    device = choose_device(machine.accelerator)
    if device.type == "cuda":
        needs = Needs(what, out, disk, memory, torch.cuda.mem_get_info(device)[0])
    else:
        needs = Needs(what, out, disk, memory, available_memory(), machine.devices)
    _say_on_first(str(needs), needs.remark(way_out))


@rank_zero_only
def _say_on_first(*sentences: str | None) -> None:
    for sentence in filter(None, sentences):
        say(sentence)
