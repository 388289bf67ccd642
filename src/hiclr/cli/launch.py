"""Several processes for one command."""

from __future__ import annotations

import logging

import torch
from lightning.fabric import Fabric

from hiclr.cli.console import console
from hiclr.device import choose_device
from hiclr.methods.machine import Machine


def launch(machine: Machine) -> torch.device:
    """Starts the processes of a command, or joins those that torchrun or SLURM has started.

    To start them, Lightning Fabric runs the same command (or script) again for each. From here on all do the same,
    but for what `hiclr.distributed` shares out; only the first one has a screen. One process alone stays as it is.

    Args:
        machine: how many processes, and on what.

    Returns:
        Where this process computes.
    """
    if machine.processes == 1:
        return choose_device(machine.accelerator)
    for logger in ("lightning.fabric", "lightning.pytorch"):
        logging.getLogger(logger).setLevel(logging.WARNING)  # they say who has joined
    fabric = Fabric(
        accelerator=machine.accelerator, devices=machine.devices, num_nodes=machine.num_nodes, strategy="ddp"
    )
    fabric.launch()
    console.quiet = not fabric.is_global_zero
    return fabric.device
