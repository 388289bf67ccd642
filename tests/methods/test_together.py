"""Two processes on the CPU train as one does: the same queue, weights and losses."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor

import together
from hiclr.encoders.checkpoint import LAST_CHECKPOINT, load_encoder
from hiclr.methods.checkpoints import LOCK
from hiclr.methods.training import METRICS, RUN
from runs import checkpoint, metrics, prepared, run


def start(words: Sequence[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs Python in a session of its own, so that nothing is left behind when it takes too long."""
    ours = ("LOCAL_RANK", "NODE_RANK", "RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    env = {name: value for name, value in os.environ.items() if name not in ours and not name.startswith("SLURM")}
    env["OMP_NUM_THREADS"] = "1"
    process = subprocess.Popen(
        [sys.executable, *words],
        cwd=folder,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=240)
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    return subprocess.CompletedProcess(words, process.returncode, out, err)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where two processes have left what came out of `together`."""
    folder = tmp_path_factory.mktemp("together")
    prepared(folder / "tiny")
    done = start([together.__file__, str(folder)], folder)
    assert done.returncode == 0, done.stderr
    return folder


def by_rank(folder: Path, name: str) -> list[dict[str, Tensor]]:
    return [torch.load(folder / f"{name}-rank{rank}.pt", weights_only=True) for rank in range(2)]


# --- rows and chance ------------------------------------------------------------------------------


def test_rows_are_shared_out_and_come_together_in_order(folder: Path) -> None:
    first, second = by_rank(folder, "shares")
    x = torch.arange(18.0).view(9, 2)
    assert torch.equal(first["own"], x[:5]) and torch.equal(second["own"], x[5:])
    for shares in (first, second):
        assert shares["processes"] == 2
        assert torch.equal(shares["gathered"], x), "five and four of them"
        assert torch.equal(shares["evenly"], x[[0, 1, 2, 3, 5, 6, 7, 8]])
        assert torch.equal(shares["summed"], x.sum(0))


def test_views_are_drawn_alike_and_what_follows_is_not(folder: Path) -> None:
    first, second = by_rank(folder, "shares")
    assert torch.equal(first["view"], second["view"])
    assert torch.equal(torch.cat([first["half"], second["half"]]), first["view"])
    assert not (first["after"] == second["after"]).any()
    assert torch.equal(first["next"], second["next"]), "nor does it disturb the next step"


def test_one_process_draws_the_same_views(folder: Path) -> None:
    alone, both = together.shares(), by_rank(folder, "shares")
    for name in ("view", "next"):
        assert torch.equal(alone[name], both[0][name])
    assert torch.equal(alone["own"], alone["gathered"]) and alone["processes"] == 1


# --- training -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", together.EQUAL)
def test_two_processes_equal_one_with_the_whole_batch(folder: Path, name: str) -> None:
    first, second = by_rank(folder, name)
    for entry, value in first.items():
        assert torch.equal(value, second[entry]), f"{entry} of the two"
    alone = together.train(name, folder, devices=1).state_dict()
    for entry, value in alone.items():
        torch.testing.assert_close(first[entry], value, rtol=1e-9, atol=1e-9, msg=entry)
    assert any("queue.keys" in entry for entry in alone)
    one, two = (metrics(folder / f"{name}-{devices}") for devices in (1, 2))
    pd.testing.assert_frame_equal(two.drop(columns="feature_spread"), one.drop(columns="feature_spread"), rtol=1e-5)


@pytest.mark.parametrize("name", together.OTHER)
def test_with_statistics_and_dropout_of_their_own_weights_and_queue_stay_equal(folder: Path, name: str) -> None:
    first, second = by_rank(folder, name)
    own = {entry for entry, value in first.items() if not torch.equal(value, second[entry])}
    assert own and all(entry.endswith(("running_mean", "running_var")) for entry in own)
    assert first["contrasts.joint.queue.place"] == 8


def test_the_first_process_alone_writes_and_its_state_is_saved(folder: Path) -> None:
    out = folder / "BatchNorm-2"
    assert {path.name for path in out.iterdir()} == {LAST_CHECKPOINT, RUN, METRICS, "tensorboard", LOCK}
    assert len(list((out / "tensorboard").glob("events*"))) == 1
    assert metrics(out)["epoch"].tolist() == [1, 2] and metrics(out)["step"].tolist() == [2, 4]
    saved = checkpoint(out)["state_dict"]
    for entry, value in by_rank(folder, "BatchNorm")[0].items():
        assert torch.equal(saved[entry], value), entry


def test_a_run_goes_on_with_another_number_of_processes(folder: Path, tmp_path: Path) -> None:
    out = shutil.copytree(folder / "SkeletonCLR-2", tmp_path / "out")
    resumed = together.train("SkeletonCLR", folder, 1, out, max_epochs=3, ckpt_path=Path("last"))
    whole = together.train("SkeletonCLR", folder, 1, tmp_path / "whole", max_epochs=3)
    torch.testing.assert_close(resumed.state_dict(), whole.state_dict(), rtol=1e-6, atol=1e-6)
    assert metrics(out)["epoch"].tolist() == [1, 2, 3]


@pytest.mark.parametrize(("batch_size", "devices"), [(7, 2), (8, 3), (2, 4)])
def test_a_batch_that_cannot_be_shared_out_is_refused_before_anything_is_written(
    folder: Path, tmp_path: Path, batch_size: int, devices: int
) -> None:
    said = f"batch_size {batch_size} cannot be shared out evenly to {devices} processes: set it to a multiple of"
    with pytest.raises(ValueError, match=said):
        run(folder / "tiny", tmp_path / "out", together.EQUAL["HiCLR"], batch_size=batch_size, devices=devices)
    assert not (tmp_path / "out").exists()


# --- the command line -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def command(folder: Path) -> list[str]:
    settings: dict[str, Any] = {
        "data.root": "tiny",
        "data.batch_size": 8,
        "method.encoder.class_path": "hiclr.encoders.stgcn.STGCN",
        "method.encoder.init_args.width": 2,
        "method.queue_size": 16,
        "max_epochs": 1,
        "accelerator": "cpu",
        "devices": 2,
    }
    return [
        "-m",
        "hiclr",
        "pretrain",
        *(word for name, value in settings.items() for word in (f"--{name}", str(value))),
    ]


def test_on_the_command_line(folder: Path, command: list[str]) -> None:
    done = start([*command, "--out", "run"], folder)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("Run saved in run") == 1 and "Warning" not in done.stderr
    described = json.loads((folder / "run" / RUN).read_text())
    assert described["processes"] == 2 and not described["sync_batchnorm"]
    assert len(metrics(folder / "run")) == 1 and load_encoder(folder / "run").epochs == 1
