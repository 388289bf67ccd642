"""Verbs that train an encoder."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from lightning.pytorch import seed_everything
from lightning.pytorch.utilities import rank_zero_only

import hiclr.methods.recipe  # noqa: F401 (whose classes --method may name: one is found by its name once imported)
from hiclr.cli.console import say, say_once
from hiclr.cli.needs import say_needs_of_training
from hiclr.data.module import SkeletonData
from hiclr.device import choose_device
from hiclr.methods.base import Learner, stream_seed
from hiclr.methods.health import Remarks, remarks
from hiclr.methods.hiclr import HiCLR
from hiclr.methods.machine import Accelerator, Machine
from hiclr.methods.training import Precision, resume_point, train
from hiclr.provenance import describe_data, provenance
from hiclr.skeleton import Skeleton


def pretrain(
    data: SkeletonData,
    method: Callable[[Skeleton], Learner] = HiCLR,
    out: Path | None = None,
    max_epochs: int = 300,
    seed: int = 0,
    precision: Precision = "32-true",
    accelerator: Accelerator = "auto",
    devices: int = 1,
    num_nodes: int = 1,
    sync_batchnorm: bool = False,
    ckpt_path: Path | None = None,
) -> Path:
    """Learns an encoder from unlabelled sequences.

    Writes `last.ckpt` (after every epoch), `metrics.csv`, TensorBoard logs and `run.json`. The defaults
    are the paper's for NTU RGB+D 60; small corpora need `--config recipes/small.yaml`.

    Args:
        data: prepared folder, benchmark (its training side is used) and batch size, that of a step over all processes.
        method: HiCLR, or another learner of `hiclr.methods`.
        out: folder of the run; runs/<data>-<benchmark>-<method>-<stream>-seed<seed> when not given.
        max_epochs: passes over the training side; 0 saves the untrained network.
        seed: of weights, order and augmentations, of which each stream has its own: the same seed gives the same
            numbers on the same machine (`repeatable` in run.json says more). Order and augmentations are the same for
            any number of processes; dropout and random edges are each process's own.
        precision: of the arithmetic.
        accelerator: cpu, gpu or auto.
        devices: processes on each machine that share every batch; one for each GPU.
        num_nodes: machines; start the command on each (SLURM, torchrun).
        sync_batchnorm: take the statistics of BatchNorm over the whole batch; otherwise each process takes those of its
            share, and the first one's are saved.
        ckpt_path: checkpoint to go on from; "last" for the one in `out`, "auto" for that one if it is there.

    Returns:
        The run's folder.

    Raises:
        ValueError: for settings that cannot work, or a folder that already holds another run.
        OSError: the disk has no room for the run.
    """
    if max_epochs < 0:
        raise ValueError(f"max_epochs must not be negative, got {max_epochs}")
    machine = Machine(accelerator, devices, num_nodes)
    seed_everything(seed, verbose=False)
    learner = method(data.skeleton)
    own_seed = stream_seed(seed, learner.streams)
    if own_seed != seed:  # which stream it is, the learner alone says
        seed_everything(own_seed, verbose=False)
        learner = method(data.skeleton)
    if sync_batchnorm:
        learner.synchronize_batchnorm()
    what = [type(learner).__name__.lower(), "+".join(learner.streams), f"seed{seed}"]
    out = Path(out or Path("runs") / "-".join([data.folder.root.resolve().name, data.benchmark or "all", *what]))
    resume = resume_point(out, ckpt_path)
    learner.run = {
        "data": describe_data(data.folder, data.benchmark),
        "batch_size": data.batch_size,
        "max_epochs": max_epochs,
        "seed": seed,
        "stream_seed": own_seed,
        "precision": precision,
        "processes": machine.processes,
        "sync_batchnorm": sync_batchnorm,
        "learner": learner.settings,
        **provenance(choose_device(accelerator), machine.processes),
    }
    known = Remarks(remarks(learner, len(data.train_rows)), say_once)
    say_needs = partial(say_needs_of_training, learner, data, data.train_rows, data.batch_size, out, machine, precision)
    train(learner, data, out, max_epochs, own_seed, precision, machine, resume, say_needs, known)
    rank_zero_only(say)(f"Run saved in {out}.{_next_step(out, data, learner)}")
    return out


def _next_step(run: Path, data: SkeletonData, learner: Learner) -> str:
    """The command that measures a run, if the data have a benchmark at all."""
    if not data.folder.benchmarks:
        return ""
    words = ["hiclr linear", f"--checkpoint {run}", f"--data.root {data.folder.root}"]
    words += [] if data.benchmark == "xsub" else [f"--data.benchmark {data.benchmark or data.folder.benchmarks[0]}"]
    words += [] if len(learner.streams) == 1 else [f"--stream {learner.streams[0]}"]
    return f" Next: {' '.join(words)}"
