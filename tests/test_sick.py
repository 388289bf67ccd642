"""Sick settings and data through the command line: each works, or is refused before anything is written."""

from __future__ import annotations

import hashlib
import json
import shlex
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from hiclr.__main__ import main
from hiclr.cli.console import say_once
from hiclr.data.writer import FolderWriter
from hiclr.methods.hiclr import HiCLR
from hiclr.skeleton import SKELETONS, Skeleton

TINY = "--method.encoder.width 2 --method.encoder.init pytorch --method.queue_size 8 --max_epochs 1 --accelerator cpu"
PRETRAIN = f"pretrain --data.root mine --out new --data.batch_size 8 {TINY}"
LINEAR = "linear --checkpoint run --data.root mine --out new --epochs 2 --accelerator cpu"
KNN = "knn --checkpoint run --data.root mine --out new --k 1 --accelerator cpu"
FINETUNE = "finetune --checkpoint run --data.root mine --out new --max_epochs 1 --batch_size 8 --accelerator cpu"
TEACH = "teach --model run --examples mine --out new --accelerator cpu"
ABLATE = f"ablate --table contrast --rows SkeletonCLR --seeds 0 --data.root mine --out new --data.batch_size 8 {TINY}"

KINECT = SKELETONS["kinect20"]
TWO = Skeleton("two", ("hip", "head"), (-1, 0), "hip", ("hip", "head"), ())
ONE = Skeleton("one", ("hip",), (-1,), "hip", ("hip", "hip"), ())
FIVE = Skeleton("five", ("chest", "shoulder_left", "shoulder_right", "hand_left", "hand_right"), (-1, 0, 0, 1, 2))


@dataclass
class Data:
    """A prepared folder to be: 16 sequences to train on and 8 to test, of 3 classes, unless it is changed."""

    skeleton: Skeleton = KINECT
    frames: int = 16
    labels: NDArray[np.int64] = field(default_factory=lambda: np.arange(24) % 3)
    sides: NDArray[np.str_] = field(default_factory=lambda: np.array(["train"] * 16 + ["test"] * 8))
    change: Callable[[NDArray[np.float32]], Any] = lambda x: x

    def write(self, root: Path) -> Path:
        n, shape = len(self.labels), (3, self.frames, self.skeleton.num_joints, 2)
        x = np.random.default_rng(0).normal(0, 0.3, (n, *shape)).astype(np.float32)
        self.change(x)
        writer = FolderWriter(root, {"corpus": "tiny"}, shape, rows=n, chunk=n)
        writer.start()
        writer.write(0, x)
        writer.note(0, n, None)
        facts: dict[str, Any] = dict.fromkeys(("subject", "camera", "setup"), 0)
        names = [f"s{i}" for i in range(n)]
        samples = {"name": names, "label": self.labels, **facts, "length": self.frames, "bodies": 2, "xsub": self.sides}
        about = {"schema": 1, "corpus": "tiny", "frames": self.frames, "bodies": 2, "benchmarks": ["xsub"]}
        class_names = ["sit", "wave", "jump", "bow"][: max(3, 1 + max(self.labels))]
        more = {"skeleton": self.skeleton.to_dict(), "class_names": class_names}
        writer.finish(pd.DataFrame(samples), about | more)
        return root


def of(**settings: Any) -> Data:
    return Data(**settings)


def sides(*these: str) -> NDArray[np.str_]:
    return np.array(these)


def zero(x: NDArray[np.float32]) -> None:
    x[:] = 0


def nan(row: int) -> Callable[[NDArray[np.float32]], None]:
    def change(x: NDArray[np.float32]) -> None:
        x[row, 0, 3, 2, 0] = np.nan

    return change


def still(x: NDArray[np.float32]) -> None:
    x[:] = x[:, :, :1]


def same(x: NDArray[np.float32]) -> None:
    x[:] = x[:1]


def flat(x: NDArray[np.float32]) -> None:
    x[:, 2] = 0


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A healthy run on healthy data."""
    place = tmp_path_factory.mktemp("healthy")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        Data().write(Path("mine"))
        main(shlex.split(PRETRAIN.replace("--out new", "--out run")))
    return place / "run"


@pytest.fixture
def here(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the run in it, in which everything is said anew."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").symlink_to(run)
    say_once.cache_clear()
    yield tmp_path


# --- refused ----------------------------------------------------------------------------------------------------------

ALL_TRAIN, ALL_TEST = np.array(["train"] * 24), np.array(["test"] * 24)
NAN = "1 of 16 sequences hold NaN or infinite numbers, the first in row 5 of sequences.npy: prepare the data again"
NAN_TEST = "1 of 8 sequences hold NaN or infinite numbers, the first in row 20 of sequences.npy"
NO_TRAIN, NO_TEST = (f"benchmark 'xsub' has no {side} sequences: choose another" for side in ("train", "test"))
NO_MOTION = "sequences of one frame have no motion: choose the stream joint, or prepare more --frames"
AXES = "[{class_path: AxisMask, init_args: {p: 1.0}}" + ", {class_path: AxisMask, init_args: {p: 1.0}}" * 9 + "]"

REFUSED: list[tuple[str, Data, str]] = [
    # settings
    (f"{PRETRAIN} --method.optimizer.lr .inf", of(), "the learning rate must be a finite number, got inf"),
    (
        f"{PRETRAIN} --method.temperature 1e-30",
        of(),
        "temperature must lie in 0.001..100.0 (published: 0.07), got 1e-30",
    ),
    (f"{PRETRAIN} --method.temperature .nan", of(), "temperature must be greater than 0, got nan"),
    (f"{PRETRAIN} --method.key_momentum 1.5", of(), "momentum must lie in 0..1, got 1.5"),
    (f"{PRETRAIN} --method.queue_size 0", of(), "the queue needs room for at least one key, got size 0"),
    (f"{PRETRAIN} --data.batch_size 17", of(), "batch_size 17 is larger than the 16 training sequences"),
    (f"{PRETRAIN} --data.batch_size 1", of(), "batch_size 1 is too small: contrast needs steps of 2 sequences or more"),
    (f"{LINEAR} --lr .nan", of(), "the learning rate of a probe must be finite and above 0, got lr nan"),
    (f"{LINEAR} --batch_size 0", of(), "batch_size must be at least 1, got 0"),
    (f"{FINETUNE} --optimizer.lr .inf", of(), "the learning rate must be a finite number, got inf"),
    # numbers
    (PRETRAIN, of(change=nan(5)), NAN),
    (FINETUNE, of(change=nan(5)), NAN),
    (FINETUNE, of(change=nan(20)), NAN_TEST),
    (LINEAR, of(change=nan(5)), NAN),
    (KNN, of(change=nan(20)), NAN_TEST),
    (TEACH, of(change=nan(5)), "its training has diverged, or the data hold NaN (s5 for one)"),
    (ABLATE, of(change=nan(5)), NAN),
    # nothing to learn from
    (PRETRAIN, of(change=zero), "the training sequences are all the same (16 looked at): there is nothing to learn"),
    (PRETRAIN, of(change=same), "the training sequences are all the same (16 looked at): there is nothing to learn"),
    (FINETUNE, of(change=zero), "the joint stream of the training sequences is all zero: prepare other data"),
    (f"{PRETRAIN} --method.stream motion", of(change=still), "the motion stream of the training sequences is all zero"),
    (f"{PRETRAIN} --method CrosSCLR", of(change=still), "the motion stream of the training sequences is all zero"),
    (f"{PRETRAIN} --method.stream motion", of(frames=1), NO_MOTION),
    (
        f"{PRETRAIN} --method.stream bone --method.arrangement BA",
        of(skeleton=ONE),
        "a skeleton of one joint has no bones",
    ),
    (
        f"{PRETRAIN} --data.batch_size 1",
        of(sides=sides("train", *["test"] * 23)),
        "there is one training sequence alone: contrast needs others to tell it from",
    ),
    # masks
    (f"{PRETRAIN} --method.arrangement '[BA, {AXES}]'", of(), "of the sequences after Shear"),
    (
        f"{PRETRAIN} --method.arrangement BA,Mask",
        of(skeleton=FIVE),
        "ratio 0.1 of 5 joints hides none: use at least 0.200",
    ),
    (f"{PRETRAIN} --method.arrangement BA,Mask", of(skeleton=ONE), "RandomMask needs a skeleton of two joints or more"),
    # sides
    (PRETRAIN, of(sides=ALL_TEST), NO_TRAIN),
    *[(verb, of(sides=ALL_TEST), NO_TRAIN) for verb in (LINEAR, KNN, FINETUNE, f"{TEACH} --benchmark xsub", ABLATE)],
    *[(verb, of(sides=ALL_TRAIN), NO_TEST) for verb in (LINEAR, KNN, FINETUNE, f"{TEACH} --benchmark xsub", ABLATE)],
    # classes
    (
        f"{LINEAR} --validation 0.2",
        of(labels=np.arange(3), sides=sides("train", "train", "test")),
        "needs a class with",
    ),
    (TEACH, of(labels=np.zeros(24, int)), "all examples are of one class, 'sit': teaching needs two or more"),
    (KNN.replace("--k 1", "--k 17"), of(), "k must lie in 1..16 (the training sequences), got [17]: set --k"),
]


@pytest.mark.parametrize(("command", "data", "sentence"), REFUSED)
def test_refused_before_the_first_step(
    here: Path, capsys: pytest.CaptureFixture[str], command: str, data: Data, sentence: str
) -> None:
    data.write(Path("mine"))
    with pytest.raises(SystemExit) as stopped:
        main(shlex.split(command))
    said = capsys.readouterr().err
    assert stopped.value.code == 2
    assert sentence in " ".join(said.split())
    assert not Path("new").exists()


# --- works, and what is said ------------------------------------------------------------------------------------------

QUEUE = "The queue of 32 keys is longer than the 16 training sequences: each is contrasted with about 2.0 past keys"
RARE = np.array([0, 1] * 11 + [2, 2])  # the last two: one to train on, one to test on
LACKING = np.array([0, 1] * 11 + [2, 3])
LAST_TRAINED = sides(*["train"] * 14, *["test"] * 8, "train", "test")
SINGLE = "1 of 3 classes have one training sequence alone, a weak one to go by: jump"
UNLEARNT = "1 of 4 classes are tested but have no training sequence, so that they are always wrong: bow"
ONE_CLASS = "All sequences are of one class: there is nothing to recognise"

WORKS: list[tuple[str, Data, str]] = [
    (f"{PRETRAIN} --method.queue_size 32", of(), f"{QUEUE} of its own; fewer: --method.queue_size 8"),
    (f"{PRETRAIN} --method.optimizer.lr 0", of(), "The learning rate is 0, so that nothing is learnt"),
    (f"{PRETRAIN} --method.key_momentum 1", of(), "With key_momentum 1 the key encoder stays as it is drawn"),
    (f"{PRETRAIN} --method.temperature 0.001 --precision bf16-mixed", of(), "Run saved in new"),
    (f"{PRETRAIN} --method.queue_size 1", of(), "Run saved in new"),
    (f"{PRETRAIN} --max_epochs 0", of(), "Run saved in new"),
    (f"{PRETRAIN} --data.batch_size 16", of(), "Run saved in new"),
    (PRETRAIN, of(sides=ALL_TRAIN), "Run saved in new"),
    (PRETRAIN, of(change=flat), "Run saved in new"),
    (f"{PRETRAIN} --method.arrangement BA,NA", of(frames=1), "Run saved in new"),
    (f"{PRETRAIN} --method.arrangement BA,DAE --method.stream bone", of(skeleton=TWO), "Run saved in new"),
    (f"{PRETRAIN} --data.batch_size 2", of(sides=sides("train", "train", *["test"] * 22)), "Run saved in new"),
    (LINEAR, of(labels=RARE, sides=LAST_TRAINED), SINGLE),
    (KNN, of(labels=RARE, sides=LAST_TRAINED), SINGLE),
    (FINETUNE, of(labels=RARE, sides=LAST_TRAINED), SINGLE),
    (f"{LINEAR} --validation 0.2", of(labels=RARE, sides=LAST_TRAINED), SINGLE),
    (f"{TEACH} --benchmark xsub", of(labels=RARE, sides=LAST_TRAINED), "One example alone, a weak one to go by: jump"),
    (LINEAR, of(labels=LACKING, sides=LAST_TRAINED), UNLEARNT),
    (KNN, of(labels=LACKING, sides=LAST_TRAINED), UNLEARNT),
    (f"{FINETUNE} --label_fraction 0.01", of(labels=LACKING, sides=LAST_TRAINED), UNLEARNT),
    (LINEAR, of(labels=np.zeros(24, int)), ONE_CLASS),
    (FINETUNE, of(labels=np.zeros(24, int)), ONE_CLASS),
    (LINEAR, of(sides=sides("train", *["test"] * 23)), "2 of 3 classes are tested but have no training sequence"),
    (LINEAR, of(change=same), "Result saved in new"),
]


def figures(folder: Path) -> Iterator[float]:
    """All numbers that a verb has left, of training and of results."""
    for file in folder.rglob("metrics.csv"):
        yield from pd.read_csv(file).drop(columns="top1_test", errors="ignore").to_numpy().ravel()
    for file in folder.rglob("*-xsub.json"):
        yield from (figure for figure in json.loads(file.read_text()).values() if isinstance(figure, float))


@pytest.mark.parametrize(("command", "data", "sentence"), WORKS)
def test_works_and_is_noticed(
    here: Path, capsys: pytest.CaptureFixture[str], command: str, data: Data, sentence: str
) -> None:
    data.write(Path("mine"))
    main(shlex.split(command))
    assert sentence in " ".join(capsys.readouterr().err.split())
    assert list(Path("new").iterdir()) and np.isfinite(list(figures(Path("new")))).all()


def test_healthy_settings_are_not_remarked_on(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Data().write(Path("mine"))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        main(shlex.split(PRETRAIN))
        main(shlex.split(LINEAR))
    said = capsys.readouterr().err
    assert "queue" not in said and "learning rate" not in said and "classes" not in said
    assert json.loads(Path("new/linear-xsub.json").read_text())["remarks"] == []


def test_what_many_runs_share_is_said_once(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Data().write(Path("mine"))
    main(shlex.split(f"{ABLATE} --method.queue_size 32 --seeds 0 1"))
    assert " ".join(capsys.readouterr().err.split()).count(QUEUE) == 1


# --- while it runs ----------------------------------------------------------------------------------------------------


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_loss_that_is_no_number_ends_the_run_and_leaves_the_last_good_checkpoint(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Data().write(Path("mine"))
    step, before = HiCLR.training_step, {}

    def sick(self: HiCLR, x: Tensor, i: int) -> Tensor:
        if self.current_epoch == 2 and i == 0:
            before["sha"] = digest(Path("new/last.ckpt"))
            with torch.no_grad():
                next(self.contrast.query.parameters()).fill_(np.inf)
        return step(self, x, i)

    monkeypatch.setattr(HiCLR, "training_step", sick)
    with pytest.raises(SystemExit) as stopped:
        main(shlex.split(f"{PRETRAIN} --max_epochs 4"))
    said = " ".join(capsys.readouterr().err.split())
    assert stopped.value.code == 2
    assert "the loss is nan in epoch 3: lower the learning rate (--method.optimizer.lr) and train anew" in said
    assert "the checkpoint of epoch 2 is kept" in said
    assert digest(Path("new/last.ckpt")) == before["sha"]
    assert pd.read_csv("new/metrics.csv")["epoch"].tolist() == [1, 2]
    content = torch.load("new/last.ckpt", weights_only=True)
    assert all(value.isfinite().all() for value in content["state_dict"].values())


def test_too_large_steps_are_noticed_as_collapse(here: Path) -> None:
    Data().write(Path("mine"))
    with pytest.warns(UserWarning, match=r"epoch 5: training looks collapsed: .*Lower --method\.optimizer\.lr"):
        main(shlex.split(f"{PRETRAIN} --max_epochs 5 --method.optimizer.lr 10000 --method.mining_start 1"))


def test_a_classifier_whose_loss_explodes_is_noticed(here: Path) -> None:
    Data().write(Path("mine"))
    with pytest.warns(UserWarning, match=r"epoch 5: the loss is .*, far above that of guessing \(1\.10\): lower the"):
        main(shlex.split(f"{FINETUNE} --max_epochs 5 --warmup_epochs 0 --optimizer.lr 30"))


@pytest.mark.slow
def test_healthy_training_on_real_data_is_not_called_sick(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """UTD-MHAD with recipes/small.yaml, narrow, for as long as it takes to be looked at."""
    recipe = Path(__file__).parents[1] / "recipes" / "small.yaml"
    monkeypatch.chdir(tmp_path)
    say_once.cache_clear()
    main(["prepare", "npz", str(shared / "data" / "utd_mhad.npz"), "utd", "--frames", "8"])
    capsys.readouterr()
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        options = "--data.root utd --out run --max_epochs 5 --method.encoder.width 2 --accelerator cpu"
        main(shlex.split(f"pretrain --config {recipe} {options}"))
    said = capsys.readouterr().err
    assert "queue" not in said and "collapsed" not in said
    rows = pd.read_csv("run/metrics.csv")
    assert rows["feature_spread"].min() > 0.05 and rows["queue_similarity"].iloc[-1] < 0.9
