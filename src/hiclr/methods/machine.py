"""What a run is trained on: the kind of device, and the processes that share the work."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.pytorch.strategies import DDPStrategy, Strategy

from hiclr.device import Accelerator as Accelerator


@dataclass(frozen=True)
class Machine:
    """One process, or several that train together (DistributedDataParallel), one for each GPU.

    Args:
        accelerator: cpu, gpu or auto.
        devices: processes on each machine.
        num_nodes: machines.

    Raises:
        ValueError: for numbers below 1, GPUs that are not there, another number of processes than torchrun or SLURM
            has started, or tasks of SLURM's that nobody has started.
    """

    accelerator: Accelerator = "auto"
    devices: int = 1
    num_nodes: int = 1

    def __post_init__(self) -> None:
        for name in ("devices", "num_nodes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        gpus = torch.accelerator.device_count()
        if self.accelerator == "gpu" and not gpus:
            raise ValueError("there is no GPU that this PyTorch can use: set --accelerator cpu, or auto")
        if self.accelerator != "cpu" and 0 < gpus < self.devices:
            raise ValueError(f"devices {self.devices}, but there are {gpus} GPUs: set --devices to at most that")
        started = _started()
        if started not in (None, self.processes):
            raise ValueError(
                f"{started} processes were started, but --devices {self.devices} on --num_nodes {self.num_nodes} are "
                f"{self.processes}: state as many as torchrun or srun starts"
            )
        if started is None and self.processes == _tasks() > 1:  # each would wait for the others
            raise ValueError(f"the {self.processes} tasks of this SLURM job were not started: write srun before hiclr")

    @property
    def processes(self) -> int:
        """How many processes train together."""
        return self.devices * self.num_nodes

    @property
    def strategy(self) -> Strategy | str:
        """How Lightning lets them work together."""
        # buffers: the queue is equal everywhere already, and BatchNorm's statistics stay each process's own
        alone = self.processes == 1
        return "auto" if alone else DDPStrategy(broadcast_buffers=False, gradient_as_bucket_view=True)

    @property
    def plugins(self) -> list[ClusterEnvironment]:
        """What Lightning must be told of a cluster: not to take SLURM's signals, which end a run in our own way."""
        slurm = SLURMEnvironment.detect() and not TorchElasticEnvironment.detect()
        return [SLURMEnvironment(auto_requeue=False)] if slurm else []


def _started() -> int | None:
    """How many processes a launcher has started, if there is one."""
    if TorchElasticEnvironment.detect():
        return TorchElasticEnvironment().world_size()
    if SLURMEnvironment.detect() and "SLURM_STEP_NUM_TASKS" in os.environ:  # not in the batch script itself
        return int(os.environ["SLURM_STEP_NUM_TASKS"])
    return None


def _tasks() -> int:
    """How many tasks a job of SLURM's has, if it is one."""
    return int(os.environ["SLURM_NTASKS"]) if SLURMEnvironment.detect() else 1
