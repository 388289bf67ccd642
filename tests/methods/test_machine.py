"""How many processes, on what: what cannot be is refused, and what a launcher has started must agree."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from lightning.pytorch.strategies import DDPStrategy

from hiclr.methods.machine import Machine

SLURM = {"SLURM_NTASKS": "4", "SLURM_JOB_NAME": "train"}
SRUN = {**SLURM, "SLURM_STEP_NUM_TASKS": "4"}
TORCHRUN = {"TORCHELASTIC_RUN_ID": "none", "WORLD_SIZE": "4"}


def given(monkeypatch: pytest.MonkeyPatch, gpus: int = 0, environment: dict[str, str] | None = None) -> None:
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: gpus)
    for name in {*SRUN, *TORCHRUN}:
        monkeypatch.delenv(name, raising=False)
    for name, value in (environment or {}).items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    ("settings", "gpus", "said"),
    [
        ({"devices": 0}, 0, "devices must be at least 1, got 0"),
        ({"num_nodes": -1}, 0, "num_nodes must be at least 1, got -1"),
        ({"accelerator": "gpu"}, 0, "no GPU that this PyTorch can use: set --accelerator cpu, or auto"),
        ({"accelerator": "gpu", "devices": 4}, 2, "devices 4, but there are 2 GPUs: set --devices to at most that"),
        ({"accelerator": "auto", "devices": 4}, 2, "devices 4, but there are 2 GPUs"),
    ],
)
def test_what_cannot_be_is_refused(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], gpus: int, said: str
) -> None:
    given(monkeypatch, gpus)
    with pytest.raises(ValueError, match=said):
        Machine(**settings)


@pytest.mark.parametrize("settings", [{}, {"accelerator": "cpu", "devices": 4}, {"devices": 2, "num_nodes": 8}])
def test_what_can_be_is_not(monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any]) -> None:
    given(monkeypatch, gpus=2)
    machine = Machine(**settings)
    assert machine.processes == settings.get("devices", 1) * settings.get("num_nodes", 1)
    assert isinstance(machine.strategy, DDPStrategy) is (machine.processes > 1)


@pytest.mark.parametrize("environment", [SRUN, TORCHRUN], ids=["srun", "torchrun"])
def test_started_processes_and_stated_ones_agree(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> None:
    given(monkeypatch, environment=environment)
    assert Machine("cpu", 2, 2).processes == Machine("cpu", 4).processes == 4
    with pytest.raises(ValueError, match="4 processes were started, but --devices 1 on --num_nodes 2 are 2: state as"):
        Machine("cpu", 1, 2)
    with pytest.raises(ValueError, match="4 processes were started, but --devices 1 on --num_nodes 1 are 1"):
        Machine()


def test_a_batch_script_itself_is_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, environment=SLURM)
    assert Machine().processes == 1
    with pytest.raises(ValueError, match="the 4 tasks of this SLURM job were not started: write srun before hiclr"):
        Machine("cpu", 2, 2)


def test_in_a_job_of_one_task_lightning_starts_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, environment={**SLURM, "SLURM_NTASKS": "1"})
    assert Machine("cpu", 4).processes == 4
