"""Stopped anywhere and resumed: the same bits as a run that was never stopped."""

from __future__ import annotations

import json
import os
import re
import resource
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch import Trainer
from lightning.pytorch.utilities.exceptions import SIGTERMException
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor

import killed
from hiclr.__main__ import main
from hiclr.encoders.checkpoint import LAST_CHECKPOINT
from hiclr.methods.checkpoints import LOCK, alone
from hiclr.methods.classifier import Classifier
from hiclr.methods.hiclr import HiCLR
from hiclr.methods.machine import Machine
from runs import metrics, prepared

HOW_TO = Path(__file__).parents[2] / "docs" / "how-to" / "resume.md"


def scalars(out: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard shows of a run, without the rate, which no seed determines."""
    events = EventAccumulator(str(out / "tensorboard"))
    events.Reload()
    tags = set(events.Tags()["scalars"]) - {"sequences_per_second"}
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in tags}


def assert_equal(a: Any, b: Any, where: str = "checkpoint") -> None:
    """Containers with equal contents, tensors bit by bit."""
    assert type(a) is type(b), where
    if isinstance(a, dict):
        assert a.keys() == b.keys(), where
        for key in a:
            assert_equal(a[key], b[key], f"{where}.{key}")
    elif isinstance(a, list | tuple):
        assert len(a) == len(b), where
        for i, (one, other) in enumerate(zip(a, b, strict=True)):
            assert_equal(one, other, f"{where}[{i}]")
    elif isinstance(a, torch.Tensor):
        assert torch.equal(a, b), where
    else:
        assert a == b, where


def assert_never_stopped(out: Path, whole: Path) -> None:
    """The whole checkpoint (weights, key encoder, queue, optimizer, chance, progress), and all that was logged."""
    ours, theirs = (torch.load(run / LAST_CHECKPOINT, weights_only=True) for run in (out, whole))
    for content in (ours, theirs):
        content["hiclr"].pop("run")  # says the command and when it was started
    assert_equal(ours, theirs)
    pd.testing.assert_frame_equal(metrics(out), metrics(whole), check_exact=True)
    assert scalars(out) == scalars(whole)
    assert len(scalars(out)["loss"]) == len(metrics(out))


def ended(folder: Path, method: str, processes: int, number: str, times: int) -> dict[str, Any]:
    """Lets a run be ended by a signal some times; what `killed` says of it."""
    prepared(folder / "tiny")
    words = [method, str(processes), number, str(times), "0"]
    path = os.pathsep.join([str(Path(killed.__file__).parent), os.environ.get("PYTHONPATH", "")])
    env = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, killed.__file__, str(folder), *words], env=env, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    assert len(said["moments"]) == times
    return said


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("method", killed.METHODS)
def test_killed_twenty_times_equals_never_stopped(method: str, processes: int, tmp_path: Path) -> None:
    """SIGKILL, in steps and in writes of the checkpoint."""
    moments = ended(tmp_path, method, processes, "SIGKILL", 20)["moments"]
    for place in (" of a step", "half of last is written", "last is whole, without its name", "it has its name"):
        assert any(place in moment for moment in moments), place
    assert_never_stopped(tmp_path / "ended", tmp_path / "whole")
    left = [path.name for path in (tmp_path / "ended").iterdir()]
    assert not [name for name in left if name.endswith(".partial")], "what killed writes left is taken away"


@pytest.mark.parametrize("processes", [1, 2])
def test_stopped_on_request_equals_never_stopped(processes: int, tmp_path: Path) -> None:
    """SIGTERM to the first process: all finish the step, save, and end as a shell knows it."""
    endings = ended(tmp_path, "HiCLR", processes, "SIGTERM", 5)["endings"]
    assert endings == [[0] * processes, *[[128 + signal.SIGTERM] * processes] * 5, [0] * processes]
    assert_never_stopped(tmp_path / "ended", tmp_path / "whole")


# --- through the command line ---------------------------------------------------------------------


def words(out: Path, *more: str) -> list[str]:
    root = out.parent / "tiny"
    if not root.exists():
        prepared(root)
    small = ["--method.encoder.width", "2", "--method.encoder.init", "pytorch", "--method.queue_size", "10"]
    tiny = ["--data.root", str(root), "--data.batch_size", "4", "--max_epochs", "3", "--accelerator", "cpu"]
    return ["pretrain", *tiny, *small, "--out", str(out), *more]


@pytest.fixture(autouse=True)
def as_in_a_terminal() -> Iterator[None]:
    """Ctrl-C interrupts, also where the tests run in the background of a script, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "whole"
    main(words(out))
    return out


@pytest.fixture
def at_step(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, Callable[[], object]], None]:
    """Lets something happen in a step of the next run, counted from 0."""

    def arrange(number: int, happen: Callable[[], object]) -> None:
        step, done = HiCLR.training_step, []

        def stepping(self: HiCLR, x: Tensor, i: int) -> Tensor:
            if isinstance(self._trainer, Trainer) and self.global_step == number and not done:
                done.append(number)
                happen()
            return step(self, x, i)

        monkeypatch.setattr(HiCLR, "training_step", stepping)

    return arrange


def failure(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[Any, str]:
    """The exit code and the sentence of a command that fails."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        main(arguments)
    return end.value.code, capsys.readouterr().err.strip().splitlines()[-1]


@pytest.mark.parametrize(
    ("number", "step", "epoch"),
    [(signal.SIGTERM, 5, 2), (signal.SIGINT, 0, 1), (signal.SIGUSR1, 10, 3), (signal.SIGTERM, 7, 2)],
)
def test_a_signal_ends_the_step_and_saves(
    whole: Path, at_step: Any, capsys: pytest.CaptureFixture[str], number: signal.Signals, step: int, epoch: int
) -> None:
    out = whole.parent / f"{number.name}{step}"
    before = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP)}
    at_step(step, lambda: os.kill(os.getpid(), number))
    code, said = failure(words(out), capsys)
    assert code == 128 + number
    assert said == (
        f"hiclr: stopped by {number.name} in epoch {epoch} of 3, after step {step + 1}: "
        f"saved in {out / LAST_CHECKPOINT}; the same command with --ckpt_path last goes on"
    )
    assert {each: signal.getsignal(each) for each in before} == before, "signals mean what they did before"
    main(words(out, "--ckpt_path", "last"))
    assert_never_stopped(out, whole)


def test_a_signal_in_the_last_step_comes_too_late(whole: Path, at_step: Any) -> None:
    out = whole.parent / "late"
    at_step(11, lambda: os.kill(os.getpid(), signal.SIGTERM))
    main(words(out))
    assert_never_stopped(out, whole)


def test_a_second_ctrl_c_does_not_wait_for_the_step(
    whole: Path, at_step: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    out = whole.parent / "impatient"
    at_step(5, lambda: [os.kill(os.getpid(), signal.SIGINT) for _ in range(2)])
    code, said = failure(words(out), capsys)
    assert code == 130 and said == "hiclr: stopped: what is finished is kept"
    main(words(out, "--ckpt_path", "last"))
    assert_never_stopped(out, whole)


def test_a_signal_that_is_ignored_stays_so(whole: Path, at_step: Any) -> None:
    """As under `nohup`, and Ctrl-C behind `&` in a script."""
    out = whole.parent / "ignoring"
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    at_step(5, lambda: os.kill(os.getpid(), signal.SIGHUP))
    main(words(out))
    assert signal.signal(signal.SIGHUP, before) == signal.SIG_IGN
    assert_never_stopped(out, whole)


def test_a_signal_while_lightning_listens(
    whole: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before the first step; of two processes it is Lightning then that ends them."""

    def fit(*_: Any, **__: Any) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        raise SIGTERMException

    monkeypatch.setattr(Trainer, "fit", fit)
    code, said = failure(words(whole.parent / "early"), capsys)
    assert (code, said) == (143, "hiclr: stopped before the first step: the same command starts it again")


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (KeyError("momentum"), 2, "cannot be gone on from (KeyError: 'momentum'): start again with another --out"),
        (OSError(5, "Input/output error", "events"), 2, "hiclr: events: Input/output error"),
        (torch.OutOfMemoryError("CUDA out of memory"), 2, "hiclr: there is not enough memory: start fewer"),
    ],
)
def test_a_machine_that_fails_is_not_the_checkpoint_s_fault(
    whole: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
    code: int,
    said: str,
) -> None:
    def fit(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(Trainer, "fit", fit)
    got = failure(words(whole, "--ckpt_path", "last"), capsys)
    assert got[0] == code and said in got[1]


def test_one_command_starts_and_goes_on_as_a_requeued_job_does(whole: Path, at_step: Any) -> None:
    out = whole.parent / "requeued"
    for step in (2, 6):
        at_step(step, lambda: os.kill(os.getpid(), signal.SIGTERM))
        with pytest.raises(SystemExit):
            main(words(out, "--ckpt_path", "auto"))
    main(words(out, "--ckpt_path", "auto"))
    assert_never_stopped(out, whole)


def test_finetuning_stopped_within_an_epoch(
    whole: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["finetune", "--checkpoint", str(whole), "--data.root", str(whole.parent / "tiny")]
    arguments += ["--batch_size", "6", "--max_epochs", "6", "--accelerator", "cpu"]  # a last batch of four
    main([*arguments, "--out", str(whole.parent / "tuned")])
    out, step = whole.parent / "tuned-again", Classifier.training_step

    def stepping(self: Classifier, batch: tuple[Tensor, Tensor], i: int) -> Tensor:
        if isinstance(self._trainer, Trainer) and self.global_step == 16:  # of three an epoch; scores are there
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, batch, i)

    with monkeypatch.context() as patch:
        patch.setattr(Classifier, "training_step", stepping)
        code, said = failure([*arguments, "--out", str(out)], capsys)
    assert code == 143 and "in epoch 6 of 6, after step 17" in said
    main([*arguments, "--out", str(out), "--ckpt_path", "last"])
    assert_never_stopped(out, whole.parent / "tuned")
    results = [json.loads((run / "finetune-xsub.json").read_text()) for run in (out, whole.parent / "tuned")]
    assert results[0]["top1_by_epoch"] == results[1]["top1_by_epoch"] and len(results[0]["top1_by_epoch"]) == 2


# --- a disk that fills up -------------------------------------------------------------------------


@pytest.fixture
def largest_file() -> Iterator[Callable[[int], None]]:
    """Lets no file of this process become larger: what a full disk is to a write, without one."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize(("step", "way_on"), [(6, "with --ckpt_path last goes on"), (2, "starts it again")])
def test_a_disk_that_fills_up_loses_nothing(
    whole: Path,
    at_step: Any,
    largest_file: Callable[[int], None],
    capsys: pytest.CaptureFixture[str],
    step: int,
    way_on: str,
) -> None:
    out = whole.parent / f"full{step}"
    half = (whole / LAST_CHECKPOINT).stat().st_size // 2
    at_step(step, lambda: largest_file(half))
    code, said = failure(words(out), capsys)
    largest_file(resource.getrlimit(resource.RLIMIT_FSIZE)[1])
    assert code == 2 and said.startswith(f"hiclr: {out} cannot be written, ")
    assert said.endswith(f"make room; then the same command {way_on}")
    assert not list(out.glob("*.partial"))
    main(words(out, "--ckpt_path", "auto"))
    assert_never_stopped(out, whole)


# --- several runs in one folder -------------------------------------------------------------------


def test_a_run_refuses_the_folder_of_one_that_is_training(
    whole: Path, at_step: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    out = whole.parent / "shared"
    refused: list[Any] = []

    def start_another() -> None:
        with torch.random.fork_rng():
            refused.extend(failure(words(out, "--ckpt_path", "auto"), capsys))

    at_step(5, start_another)
    main(words(out))
    code, said = refused
    assert code == 2
    assert said == f"hiclr: another run is training in {out}: let it finish, or choose another --out"
    assert_never_stopped(out, whole)


def test_a_folder_is_free_again_once_its_run_was_killed(tmp_path: Path) -> None:
    for name in (f"{LAST_CHECKPOINT}.0123abcd.partial", f"{LAST_CHECKPOINT}.partial-notes", "mine.partial"):
        (tmp_path / name).touch()
    with alone(tmp_path), pytest.raises(ValueError, match="another run is training in"), alone(tmp_path):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {LOCK, f"{LAST_CHECKPOINT}.partial-notes", "mine.partial"}
    with alone(tmp_path):
        pass


def test_the_job_of_the_how_to_puts_itself_into_the_queue_again(whole: Path, tmp_path: Path) -> None:
    """SLURM's part is played by two scripts: `srun` signals the run as it begins, `scontrol` notes the call."""
    [script] = re.findall(r"^#!/bin/bash\n.*?(?=^```)", HOW_TO.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    play(tmp_path / "hiclr", f'exec {sys.executable} -m hiclr "$@" {shlex.join(words(whole.parent / "job")[1:])}')
    play(tmp_path / "scontrol", 'echo "$@" >> calls')
    play(
        tmp_path / "srun",
        f'"$@" & run=$!\nuntil [ -e {whole.parent}/job/run.json ]; do sleep 0.1; done\n'
        "[ -e calls ] || kill -USR1 $run\nwait $run",
    )
    play(tmp_path / "job", script)
    path = f"{tmp_path}:{os.environ['PATH']}"
    env = os.environ | {"PATH": path, "SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "job", "SLURM_NTASKS": "1"}
    env |= {"SLURM_STEP_NUM_TASKS": "1", "OMP_NUM_THREADS": "1"}
    for code in (138, 0):
        done = subprocess.run(tmp_path / "job", cwd=tmp_path, env=env, capture_output=True, text=True, timeout=200)
        assert done.returncode == code, done.stderr
        assert (tmp_path / "calls").read_text() == "requeue 7\n"
    assert_never_stopped(whole.parent / "job", whole)


def play(path: Path, script: str) -> None:
    path.write_text(script if script.startswith("#!") else f"#!/bin/bash\n{script}\n", encoding="utf-8")
    path.chmod(0o755)


def test_slurm_does_not_take_the_signals(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"SLURM_NTASKS": "1", "SLURM_JOB_NAME": "train", "SLURM_STEP_NUM_TASKS": "1"}.items():
        monkeypatch.setenv(name, value)
    [slurm] = Machine("cpu").plugins
    assert isinstance(slurm, SLURMEnvironment) and not slurm.auto_requeue
