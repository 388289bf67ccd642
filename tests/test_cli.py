"""The command line as a new user meets it: help, failures in one sentence, options, the whole road."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch

from commands import run
from hiclr import cli
from hiclr.__main__ import main
from hiclr.cli import showing
from hiclr.data import corpora
from hiclr.data.folder import PreparedFolder
from hiclr.methods.hiclr import HiCLR
from hiclr.skeleton import SKELETONS
from writers.clips import write_csv_clip, write_table
from writers.learnable import LABELS, learnable_frames, write_learnable


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with 48 short clips of 20 joints: in `mine.npz`, and in `recordings` with `clips.csv`."""
    monkeypatch.chdir(tmp_path)
    write_learnable(Path("mine.npz"))
    frames, label = learnable_frames(), LABELS
    table = [{"name": f"{i:02d}", "label": "abc"[label[i]], "subject": f"p{i // 6}"} for i in range(48)]
    for i, row in enumerate(table):
        write_csv_clip(
            Path("recordings", f"{row['name']}.csv"), frames[10 * i : 10 * (i + 1), 0], SKELETONS["kinect20"]
        )
    write_table(Path("clips.csv"), table)
    return tmp_path


# --- help and failures ----------------------------------------------------------------------------


def test_help_lists_every_verb_without_importing_torch() -> None:
    code = "import sys; from hiclr.__main__ import main; main(['--help']); assert 'torch' not in sys.modules"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    own = [name.replace("_", " ") for name in cli.__all__]
    verbs = [*own, *(f"prepare {kind}" for kind in corpora.__all__)]
    assert {"pretrain", "linear", "knn", "demo", "prepare npz", "prepare ntu60", "prepare synthetic"} <= set(verbs)
    assert all(f"  {verb} " in said for verb in verbs)


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        ("fly", "no verb 'fly': choose one of prepare"),
        ("prepare kinetics RAW OUT", "no verb 'prepare kinetics': choose one of prepare"),
        ("prepare npz gone.npz data/x", "gone.npz"),
        (
            "prepare npz mine.npz mine.npz/x",
            "mine.npz/x.partial cannot be made (Not a directory): choose another place",
        ),
        (f"prepare npz mine.npz {'x' * 300}", f"{'x' * 300}: File name too long"),
        ("doctor caf\udce9", "'caf\\udce9' is no UTF-8: rename it"),
        ("prepare npz mine.npz data/x --frames 0", "frames must be from 1 to 10000, got 0"),
        ("pretrain", "the following arguments are required: data.root"),
        ("pretrain --data.root gone", "no folder gone: run `hiclr prepare` to make it"),
        ("pretrain --data.root data/mine --data.benchmark xview", "no benchmark 'xview': it has xsub"),
        ("pretrain --data.root data/mine", "batch_size 128 is larger than the 36 training sequences"),
        ("pretrain --data.root data/mine --max_epochs many", "Expected a <class 'int'>. Got value: many"),
        ("pretrain --data.root data/mine --data.batch_size null", "Expected a <class 'int'>. Got value: None"),
        ("pretrain --data.root data/mine --method.queue_size null", "Expected a <class 'int'>. Got value: None"),
        ("pretrain --data.root data/mine --config recipe.yaml", "a recipe cannot name another one"),
        ("pretrain --data.root data/mine --method.stream smell", "Got value: smell"),
        ("pretrain --data.root data/mine --method.arrangement [XX]", "unknown augmentation set 'XX'"),
        ("pretrain --data.root data/mine --data.batch_size 8 --ckpt_path last", "no checkpoint"),
        ("pretrain --data.root data/mine --max_epochs -1", "max_epochs must not be negative, got -1"),
        ("pretrain --data.root data/mine --method.temperature 0", "temperature must be greater than 0, got 0.0"),
        ("pretrain --data.root data/mine --accelerator tpu", "Got value: tpu"),
        ("pretrain --data.root data/mine --method.lr_drop 250", "are shares of the training, 0 to 1, got 250.0"),
        ("pretrain --data.root data/mine --method AimCLR --method.basic [BA,NA]", "cannot be ['BA', 'NA']"),
        ("linear --checkpoint gone --data.root data/mine", "no checkpoint gone"),
        ("knn --checkpoint mine.npz --data.root data/mine", "mine.npz is no file of tensors"),
    ],
)
def test_failure_is_one_sentence_and_exit_code_2(
    here: Path, capsys: pytest.CaptureFixture[str], command: str, sentence: str
) -> None:
    main(["prepare", "npz", "mine.npz", "data/mine"])
    Path("recipe.yaml").write_text("config: {seed: 1}\n")
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        main(shlex.split(command))
    said = capsys.readouterr().err.strip()
    assert stopped.value.code == 2
    assert sentence in said and said.startswith("hiclr: ") and "\n" not in said
    assert not (here / "runs").exists() and not (here / "data" / "x").exists()


def test_weights_of_another_skeleton_are_carried_over(
    here: Path, capsys: pytest.CaptureFixture[str], shared: Path
) -> None:
    main(["prepare", "npz", "mine.npz", "data/mine"])
    weights = str(shared / "parity" / "stgcn_official.pt")
    main(["knn", "--checkpoint", weights, "--data.root", "data/mine", "--out", "result", "--k", "[1]"])
    transfer = json.loads(Path("result/knn-xsub.json").read_text(encoding="utf-8"))["transfer"]
    assert transfer["from"] == {"corpus": None, "skeleton": "ntu25"} and transfer["to"]["skeleton"] == "kinect20"
    assert f"{transfer['carried_over']} carried over" in " ".join(capsys.readouterr().err.split())


# --- doctor and options ----------------------------------------------------------------------------


def test_doctor_ends_with_1_when_a_result_would_be_spoilt(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["doctor", "recordings", "--json", "fine.json"])
    assert json.loads(Path("fine.json").read_text(encoding="utf-8"))["spoils"] is False
    shutil.copy("recordings/00.csv", "recordings/30.csv")  # of p0 and p5: on both sides
    with pytest.raises(SystemExit) as stopped:
        main(["doctor", "recordings", "--options.split_by", "subject", "--json", "spoilt.json"])
    assert stopped.value.code == 1
    spoilt = json.loads(Path("spoilt.json").read_text(encoding="utf-8"))
    assert spoilt["spoils"] is True
    assert spoilt["findings"][0]["what"] == "duplicates across train and test of xsub"
    assert "Something here would spoil a result." in capsys.readouterr().out


def test_dashes_in_options_are_underscores(here: Path) -> None:
    for option in ("--split-by", "--split_by=subject"):
        words = [option, "subject"] if option == "--split-by" else [option]
        main(["prepare", "clips", "recordings", "data/mine", "--table", "clips.csv", *words])
    assert PreparedFolder.open("data/mine").benchmarks == ("xsub",)


# --- the whole road -------------------------------------------------------------------------------


def test_demo_ends_with_a_page_and_goes_on_where_it_was(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(showing, "prepare_synthetic", partial(cli.prepare_synthetic, subjects=4, repetitions=1))
    main(["demo", "--out", "demo", "--max_epochs", "1"])
    said = capsys.readouterr().out
    assert "untrained encoder" in said and "chance" in said
    page = Path("demo/report.html").read_text(encoding="utf-8")
    assert "synthetic data" in page and "HiCLR" in page and "This part is missing" not in page
    weights = Path("demo/hiclr/last.ckpt").stat().st_mtime_ns
    main(["demo", "--out", "demo", "--max_epochs", "2"])
    assert Path("demo/hiclr/last.ckpt").stat().st_mtime_ns > weights
    assert len(Path("demo/hiclr/metrics.csv").read_text(encoding="utf-8").splitlines()) == 3


def test_one_number_of_the_optimizer_can_be_set(here: Path) -> None:
    main(["prepare", "npz", "mine.npz", "data/mine"])
    run("hiclr pretrain --data.root data/mine --out one --method.optimizer.lr 0.02")
    options = json.loads(Path("one/run.json").read_text(encoding="utf-8"))["options"]
    kept = options["method"]["init_args"]["optimizer"]["init_args"]
    assert (kept["lr"], kept["momentum"], kept["weight_decay"]) == (0.02, 0.9, 1e-4)


@pytest.mark.parametrize("words", ["--k 1", "--k 1 3", "--k=[1,3]", "--k [1]"])
def test_lists_are_written_as_one_likes(here: Path, words: str) -> None:
    main(["prepare", "npz", "mine.npz", "data/mine"])
    run("hiclr pretrain --data.root data/mine --out one")
    main(["knn", "--checkpoint", "one", "--data.root", "data/mine", *shlex.split(words)])
    settings = json.loads(Path("one/knn-xsub.json").read_text(encoding="utf-8"))["settings"]
    assert settings["k"] == ([1, 3] if "3" in words else [1])


def test_a_gpu_that_is_not_there_is_said(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    main(["prepare", "npz", "mine.npz", "data/mine"])
    with pytest.raises(SystemExit) as stopped:
        main(["pretrain", "--data.root", "data/mine", "--data.batch_size", "8", "--accelerator", "gpu", "--out", "one"])
    assert stopped.value.code == 2 and not Path("one").exists()
    assert "there is no GPU that this PyTorch can use" in capsys.readouterr().err


def test_ctrl_c_in_training_is_one_sentence(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    main(["prepare", "npz", "mine.npz", "data/mine"])
    monkeypatch.setattr(HiCLR, "training_step", interrupt)
    with pytest.raises(SystemExit) as stopped:
        run("hiclr pretrain --data.root data/mine --out one")
    assert stopped.value.code == 130 and capsys.readouterr().err.endswith("hiclr: stopped: what is finished is kept\n")


def test_a_loss_that_is_no_number_stops(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["prepare", "npz", "mine.npz", "data/mine"])
    with pytest.raises(SystemExit) as stopped:
        run("hiclr pretrain --data.root data/mine --out one --method.optimizer.lr 1e30")
    assert stopped.value.code == 2 and "hiclr: the loss is nan in epoch 1: lower the" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "words"),
    [("", ""), ("--method CrosSCLR", " --stream joint"), ("--data.benchmark null", " --data.benchmark xsub")],
)
def test_the_next_command_can_be_pasted(
    here: Path, capsys: pytest.CaptureFixture[str], options: str, words: str
) -> None:
    main(["prepare", "npz", "mine.npz", "data/mine"])
    run(f"hiclr pretrain --data.root data/mine --out one {options}")
    assert f"Next: hiclr linear --checkpoint one --data.root data/mine{words}\n" in capsys.readouterr().err
