"""The same seed gives the same files, byte for byte: of every verb, in any folder, after any draws, in any process.

Further: `test_the_number_of_processes_does_not_change_the_bytes` (tests/data/test_prepare.py),
`test_every_epoch_has_its_own_order_and_seed_and_epoch_alone_decide` (tests/data/test_module.py),
`test_views_are_drawn_alike_and_what_follows_is_not` (tests/methods/test_together.py).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from functools import partial
from importlib.util import find_spec
from itertools import combinations, product
from pathlib import Path
from typing import Any, ClassVar, get_args

import numpy as np
import pytest
import torch
from lightning.pytorch import seed_everything
from torch import Tensor
from torch.optim import SGD

import road
from hiclr import cli
from hiclr.__main__ import main
from hiclr.cli import finetuning
from hiclr.data import corpora
from hiclr.data.folder import ABOUT, SAMPLES, SEQUENCES
from hiclr.data.module import SkeletonData
from hiclr.distributed import seed_all
from hiclr.encoders.checkpoint import CHECKPOINT_KEY, LAST_CHECKPOINT
from hiclr.functional import Stream
from hiclr.methods.aimclr import AimCLR
from hiclr.methods.base import stream_seed
from hiclr.methods.crossclr import CrosSCLR
from hiclr.methods.hiclr import HiCLR
from hiclr.methods.skeletonclr import SkeletonCLR
from hiclr.methods.training import RUN
from hiclr.provenance import provenance
from hiclr.repeatable import repeatable
from hiclr.reporting.gathering import gather
from learners import KINECT, tiny_stgcn
from runs import checkpoint, metrics, prepared, run
from writers import SMALL

NO_TIME = {"bench"}  # it measures how fast things are
# what hangs on more than command and seed, beside the rate in metrics.csv, whose clock `road` sets
TIMED_FOLDERS = {"tensorboard"}  # events, with the time of each
TIMED_FACTS = {"source_times"}  # of a prepared folder: when its raw files were changed

HAS_ONNX = all(map(find_spec, ("onnx", "onnxscript", "onnxruntime")))
needs_onnx = pytest.param("export", marks=pytest.mark.skipif(not HAS_ONNX, reason="no onnx: install the extra export"))

Walked = dict[str, list[str]]


@pytest.fixture(scope="module")
def walks(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Walked]:
    """Two folders in which every verb ran, the second time after other draws, and what each verb wrote."""
    verbs = [verb for verb in road.ROAD if verb != "export" or HAS_ONNX]
    first, second = (tmp_path_factory.mktemp(name) for name in ("first", "second"))
    written = road.walk(first, verbs)
    road.disturb()
    assert road.walk(second, verbs).keys() == written.keys()
    return first, second, written


def content(path: Path) -> bytes | dict[str, Any]:
    """What must be the same."""
    if path.name != ABOUT:
        return path.read_bytes()
    about: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return {name: fact for name, fact in about.items() if name not in TIMED_FACTS}


def assert_same_files(first: Path, second: Path, paths: list[str]) -> None:
    compared = [path for path in paths if not TIMED_FOLDERS & set(Path(path).parts)]
    assert compared
    differ = [path for path in compared if content(first / path) != content(second / path)]
    assert not differ


# --- every verb -----------------------------------------------------------------------------------


def test_every_verb_is_on_the_road() -> None:
    verbs = {name.replace("_", " ") for name in cli.__all__} - NO_TIME
    assert set(road.ROAD) == verbs | {"prepare npz"}, "the other kinds of prepare: see below"


@pytest.mark.parametrize("verb", [needs_onnx if verb == "export" else verb for verb in road.ROAD])
def test_the_same_command_writes_the_same_bytes(walks: tuple[Path, Path, Walked], verb: str) -> None:
    first, second, written = walks
    assert_same_files(first, second, written[verb])


@pytest.mark.slow
def test_another_process_writes_them_too(walks: tuple[Path, Path, Walked], tmp_path: Path) -> None:
    verbs = ["prepare npz", "view", "pretrain", "linear", "knn", "finetune", "teach", "predict", "embed", "share"]
    env = {
        **os.environ,
        "PYTHONHASHSEED": "7",
        "PYTHONPATH": os.pathsep.join([str(Path(road.__file__).parent), str(Path(cli.__file__).parents[2])]),
        "ROAD_THREADS": str(torch.get_num_threads()),
    }
    command = [sys.executable, road.__file__, str(tmp_path), *verbs]
    done = subprocess.run(command, env=env, cwd="/", capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    first, _, written = walks
    assert_same_files(first, tmp_path, [path for verb in verbs for path in written[verb]])


@pytest.mark.parametrize("kind", corpora.__all__)
def test_every_kind_is_prepared_to_the_same_bytes_by_one_process_and_by_two(kind: str, tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    options = SMALL[kind](tmp_path / "raw")
    words = [str(options.pop("raw")), *(f"--{name}={value}" for name, value in options.items())]
    for processes in (1, 2):
        main(["prepare", kind, *words, str(tmp_path / str(processes)), "--frames=8", f"--processes={processes}"])
    assert_same_files(tmp_path / "1", tmp_path / "2", [SEQUENCES, SAMPLES, ABOUT])


@pytest.mark.parametrize(
    ("verb", "path"),
    [
        ("prepare synthetic", "simulated/sequences.npy"),
        ("view", "views.png"),
        ("linear", "runs/joint/linear-xsub-scores.npz"),
        ("finetune", "runs/joint/finetune-50pct/metrics.csv"),
        ("teach", "taught/model.safetensors"),
        ("report", "report.html"),  # it does not tell its own command
        ("pretrain", "runs/joint/metrics.csv"),
        ("pretrain", "runs/bone/metrics.csv"),
        ("pretrain", "runs/cross/metrics.csv"),
    ],
)
def test_another_seed_gives_others(walks: tuple[Path, Path, Walked], tmp_path: Path, verb: str, path: str) -> None:
    first, _, written = walks
    here = tmp_path / "here"
    shutil.copytree(first, here, ignore=shutil.ignore_patterns("demo", "ablation"))
    for old in written[verb]:
        (here / old).unlink()
    if verb == "prepare synthetic":
        shutil.rmtree(here / "simulated-raw")
    road.walk(here, [verb], seed=1)
    assert (here / path).read_bytes() != (first / path).read_bytes()


# --- streams --------------------------------------------------------------------------------------


class Listening(SkeletonCLR):
    """Remembers each batch, and what is drawn then."""

    heard: ClassVar[list[tuple[Tensor, Tensor]]] = []

    def training_step(self, x: Tensor, place: int) -> Tensor:
        state = torch.get_rng_state()
        self.heard.append((x.clone(), torch.rand(4)))
        torch.set_rng_state(state)
        return super().training_step(x, place)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepared(tmp_path_factory.mktemp("data") / "tiny")


def heard(root: Path, out: Path, stream: Stream) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """Weights (by name), first batch and first draws of a run with seed 0; it does not learn."""
    Listening.heard.clear()
    still = partial(SGD, lr=0.0)
    run(root, out, partial(Listening, stream=stream, encoder=tiny_stgcn, queue_size=16, optimizer=still), max_epochs=1)
    prefix = f"contrasts.{stream}."
    weights = {name: value for name, value in checkpoint(out)["state_dict"].items() if name.endswith("weight")}
    return {name.removeprefix(prefix): value for name, value in weights.items()}, *Listening.heard[-2]  # of two


def test_the_same_seed_gives_each_stream_weights_order_and_draws_of_its_own(root: Path, tmp_path: Path) -> None:
    runs = [heard(root, tmp_path / stream, stream) for stream in get_args(Stream)]
    for (ours, batch, draws), (theirs, other_batch, other_draws) in combinations(runs, 2):
        drawn = [name for name, value in ours.items() if value.dim() > 1]
        assert drawn and not any((ours[name] == theirs[name]).any() for name in drawn)
        assert not torch.equal(batch, other_batch)
        assert not (draws == other_draws).any()


def test_joint_hangs_on_the_seed_alone_as_ever(root: Path, tmp_path: Path) -> None:
    weights, batch, draws = heard(root, tmp_path, "joint")
    seed_everything(0, verbose=False)
    contrast = SkeletonCLR(KINECT, encoder=tiny_stgcn, queue_size=16).contrast
    assert torch.equal(weights["query.head.0.weight"], contrast.query.state_dict()["head.0.weight"])
    rows = SkeletonData(root).train_rows[np.random.default_rng((0, 0)).permutation(16)[:8]]
    assert torch.equal(batch, torch.from_numpy(np.load(root / SEQUENCES)[rows]))
    seed_all(0, 0)
    assert torch.equal(draws, torch.rand(4))


def test_several_streams_in_one_run_keep_its_seed_and_have_weights_of_their_own() -> None:
    assert [stream_seed(seed, get_args(Stream)) for seed in (0, 5)] == [0, 5]
    torch.manual_seed(0)
    learner = CrosSCLR(KINECT, encoder=tiny_stgcn, queue_size=16)
    heads = [next(learner.contrast_of(stream).query.head.parameters()) for stream in learner.streams]
    assert not any((one == other).any() for one, other in combinations(heads, 2))


def chances() -> dict[tuple[Any, ...], Tensor]:
    """What is drawn first of near seeds: for the weights of each stream, and in steps of joint's."""
    drawn = {}
    for seed in range(5):
        for stream in get_args(Stream):
            torch.manual_seed(stream_seed(seed, [stream]))
            drawn["weights", stream, seed] = torch.rand(2000)
        for step in range(5):
            seed_all(seed, step)
            drawn["step", step, seed] = torch.rand(2000)
    return drawn


def test_near_seeds_steps_and_streams_give_unlike_draws() -> None:
    drawn = torch.stack(list(chances().values()))
    alike = torch.corrcoef(drawn).fill_diagonal_(0).abs().max()
    assert alike < 0.12, "40 draws of 2000: of independent ones the largest of 780 is near 0.08"


def test_no_stream_begins_as_a_step_does() -> None:
    """PyTorch's generator of the CPU knows 32 bits of a seed."""
    steps = set()
    for seed, step in product(range(4), range(1000)):
        seed_all(seed, step)
        steps.add(torch.initial_seed() % 2**32)
    assert len(steps) == 4000
    own = {stream_seed(seed, [stream]) for seed, stream in product(range(1000), get_args(Stream))}
    assert len(own) == 3000 and not {seed for seed in own if seed >= 1000} & steps


@pytest.mark.parametrize("kind", [HiCLR, SkeletonCLR, AimCLR])
def test_every_method_says_its_stream_to_the_chance_of_its_run(root: Path, tmp_path: Path, kind: type[Any]) -> None:
    method = partial(kind, stream="motion", encoder=tiny_stgcn, queue_size=16)
    facts = json.loads((run(root, tmp_path, method, max_epochs=0, seed=3) / RUN).read_text(encoding="utf-8"))
    assert (facts["seed"], facts["stream_seed"]) == (3, stream_seed(3, ["motion"])) and facts["stream_seed"] != 3


@pytest.mark.parametrize(("stream", "goes_on"), [("joint", True), ("bone", False)])
def test_a_run_of_when_all_streams_shared_a_seed_goes_on_or_says_why_not(
    root: Path, tmp_path: Path, stream: Stream, goes_on: bool
) -> None:
    method = partial(SkeletonCLR, stream=stream, encoder=tiny_stgcn, queue_size=16)
    out = run(root, tmp_path, method, max_epochs=1)
    old = checkpoint(out)
    del old[CHECKPOINT_KEY]["run"]["stream_seed"]
    torch.save(old, out / LAST_CHECKPOINT)
    if goes_on:
        run(root, out, method, max_epochs=2, ckpt_path=Path("last"))
        assert metrics(out)["epoch"].tolist() == [1, 2]
    else:
        with pytest.raises(
            ValueError, match=r"was trained with stream_seed 0, not \d+: use the same, or another --out"
        ):
            run(root, out, method, max_epochs=2, ckpt_path=Path("last"))


def test_finetuning_draws_the_same_labels_for_all_streams_and_the_rest_for_each(
    walks: tuple[Path, Path, Walked], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or their scores could not be fused fairly."""
    seen: list[tuple[Any, Any]] = []

    def look(trainee: Any, batches: Any, *_: Any) -> None:
        seen.append((trainee.classifier.weight.detach(), batches))
        raise InterruptedError

    monkeypatch.setattr(finetuning, "fit", look)
    for stream in ("joint", "bone"):
        data = SkeletonData(walks[0] / "data")
        with pytest.raises(InterruptedError):
            cli.finetune(walks[0] / "runs" / stream, data, out=Path("none"), label_fraction=0.4, accelerator="cpu")
    (weight, batches), (other_weight, other_batches) = seen
    assert not (weight == other_weight).any()
    sequences = [torch.cat([x for x, _ in one]) for one in (batches, other_batches)]
    assert not torch.equal(*sequences)
    ours, theirs = (x.flatten(1).sum(1).sort().values for x in sequences)
    assert torch.equal(ours, theirs)


def test_seeds_of_one_stream_stand_in_one_row_of_a_report(root: Path, tmp_path: Path) -> None:
    method = partial(SkeletonCLR, stream="bone", encoder=tiny_stgcn, queue_size=16)
    for seed in (0, 1):
        out = run(root, tmp_path / f"seed{seed}", method, max_epochs=0, seed=seed)
        cli.linear(out, SkeletonData(root), epochs=1, accelerator="cpu")
    [encoder] = gather([tmp_path / "seed0", tmp_path / "seed1"]).encoders
    assert encoder.seeds == ["0", "1"]


# --- what a result says about it ------------------------------------------------------------------


def test_run_and_result_say_alike_what_their_numbers_hang_on(walks: tuple[Path, Path, Walked]) -> None:
    files = ["runs/joint/run.json", "runs/joint/linear-xsub.json", "runs/joint/knn-xsub.json"]
    files += ["runs/joint/finetune-50pct/finetune-xsub.json", "predictions/predictions.json", "lesson/teach-xsub.json"]
    for file in files:
        facts = json.loads((walks[0] / file).read_text(encoding="utf-8"))
        assert facts["versions"].keys() == {"python", "hiclr", "torch", "lightning", "numpy", "scikit-learn"}
        assert facts["repeatable"]["bitwise"] is not torch.cuda.is_available()
        assert facts["repeatable"]["threads"] == torch.get_num_threads() and facts["repeatable"]["processes"] == 1
        assert facts["repeatable"]["processor"] and facts["repeatable"]["instructions"]


def test_a_processor_repeats_bit_for_bit() -> None:
    said = repeatable(torch.device("cpu"), 2)
    assert said["bitwise"] and said["gpu"] is None and said["processes"] == 2
    assert "same number of threads" in said["says"] and "no revision" not in said["says"]


@pytest.mark.parametrize("asked", [False, True])
def test_a_gpu_does_so_only_where_it_is_asked_to(monkeypatch: pytest.MonkeyPatch, asked: bool) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "Fast")
    monkeypatch.setattr(torch, "are_deterministic_algorithms_enabled", lambda: asked)
    said = repeatable(torch.device("cuda"), 1)
    assert said["bitwise"] is asked and said["gpu"]["name"] == "Fast"
    assert said["gpu"]["deterministic_algorithms"] is asked and set(said["gpu"]["tf32"]) == {"matmul", "cudnn"}
    assert ("near, not the same" in said["says"]) is not asked
    json.dumps(said)


@pytest.mark.parametrize(("revision", "told"), [("abc-dirty", True), ("abc", False), (None, False)])
def test_changes_that_are_in_no_revision_are_told(
    monkeypatch: pytest.MonkeyPatch, revision: str | None, told: bool
) -> None:
    monkeypatch.setattr("hiclr.provenance._git_revision", lambda: revision)
    assert ("changes that are in no revision" in provenance()["repeatable"]["says"]) is told
