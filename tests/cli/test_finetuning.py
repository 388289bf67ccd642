"""`hiclr finetune` on tiny clips: what it leaves, that it can be repeated and resumed; transfer across skeletons."""

from __future__ import annotations

import json
import math
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from hiclr.__main__ import main
from hiclr.cli.finetuning import ScoreLog
from hiclr.data.corpora.ntu import synthetic
from hiclr.data.module import SkeletonData
from hiclr.data.prepare import prepare
from hiclr.data.synthetic import synthesise
from hiclr.encoders.checkpoint import CHECKPOINT_KEY, LAST_CHECKPOINT, load_encoder
from hiclr.encoders.transfer import carried_over
from hiclr.evaluation import Scores
from hiclr.methods.checkpoints import LOCK
from hiclr.methods.classifier import Classifier
from hiclr.model import load_model
from hiclr.skeleton import SKELETONS
from learners import KINECT, tiny_stgcn
from writers.learnable import LABELS, learnable_frames, write_learnable

TUNE = "finetune --data.root mine --checkpoint run --batch_size 16 --accelerator cpu"
SHORT = "--max_epochs 6 --lr_drops 0.667 --warmup_epochs 2 --optimizer.lr 0.05"
RESULT = "finetune-xsub.json"
WITH_LABELS = "The encoder was trained with labels: this is no figure of unsupervised pre-training"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A place with an untrained run in `run`, a finished one in `run/finetune`, and 48 clips.

    The clips are there with the joints of kinect20 (`mine`), of ntu25 (`other`), and as of another corpus (`again`).
    """
    place = tmp_path_factory.mktemp("finetuning")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        write_learnable(Path("mine.npz"))
        content = dict(np.load("mine.npz"))
        other = np.concatenate([learnable_frames(), learnable_frames()[:, :, :5]], axis=2)
        np.savez("other.npz", **{**content, "frames": other})
        for name in ("mine", "other"):
            main(["prepare", "npz", f"{name}.npz", name, "--frames", "16"])
        shutil.copytree("mine", "again")
        about = json.loads(Path("again/about.json").read_text(encoding="utf-8"))
        about["corpus"], about["skeleton"]["name"] = "another", "kinect-as-others-call-it"
        Path("again/about.json").write_text(json.dumps(about), encoding="utf-8")
        tiny = "--data.batch_size 16 --method.encoder.width 2 --method.encoder.init pytorch --method.queue_size 32"
        main(shlex.split(f"pretrain --data.root mine {tiny} --max_epochs 0 --out run"))
        main(shlex.split(f"{TUNE} {SHORT}"))
    return place


@pytest.fixture
def here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(folder)
    return folder


def run(command: str) -> None:
    main(shlex.split(command))


def result(path: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
    return content


def checkpoint(out: str | Path) -> dict[str, Any]:
    content: dict[str, Any] = torch.load(Path(out, LAST_CHECKPOINT), weights_only=True)
    return content


def metrics(out: str | Path) -> pd.DataFrame:
    return pd.read_csv(Path(out, "metrics.csv")).drop(columns="sequences_per_second")


def assert_same(a: str | Path, b: str | Path) -> None:
    """Weights, momenta and figures, bit by bit."""
    ours, theirs = checkpoint(a), checkpoint(b)
    assert ours["state_dict"].keys() == theirs["state_dict"].keys()
    for name, value in ours["state_dict"].items():
        assert torch.equal(value, theirs["state_dict"][name]), name
    speeds, others = (state["optimizer_states"][0]["state"] for state in (ours, theirs))
    for index, speed in speeds.items():
        assert torch.equal(speed["momentum_buffer"], others[index]["momentum_buffer"]), index
    pd.testing.assert_frame_equal(metrics(a), metrics(b), check_exact=True)
    one, other = result(f"{a}/{RESULT}"), result(f"{b}/{RESULT}")
    assert one["top1_by_epoch"] == other["top1_by_epoch"] and one["confusion"] == other["confusion"]
    assert torch.equal(scores(a).scores, scores(b).scores)


def scores(out: str | Path) -> Scores:
    return Scores.load(Path(out, "finetune-xsub-scores.npz"))


# --- what it leaves -------------------------------------------------------------------------------


def test_files_and_figures(here: Path) -> None:
    out = Path("run/finetune")
    there = {path.name for path in out.iterdir()}
    files = {LAST_CHECKPOINT, LOCK, "run.json", "metrics.csv", "tensorboard"}
    assert there == files | {RESULT, "finetune-xsub-scores.npz"}
    said = result(f"run/finetune/{RESULT}")
    assert said["protocol"] == "finetune" and said["stream"] == "joint" and said["test_sequences"] == 12
    assert list(said["top1_by_epoch"]) == ["5", "6"]
    assert said["top1_last_epoch"] == said["top1_by_epoch"]["6"] == scores(out).top1
    assert said["top1_best_on_test"] == max(said["top1_by_epoch"].values())
    settings = said["settings"]
    assert (settings["labels"], settings["label_fraction"], settings["from_scratch"]) == (36, 1.0, False)
    assert settings["optimizer"]["lr"] == 0.05 and settings["lr_drops"] == [0.667] and settings["batch_size"] == 16
    assert "transfer" not in said and said["remarks"] == [] and said["checkpoint"]["epochs"] == 0
    rows = metrics(out)
    assert rows["epoch"].tolist() == [1, 2, 3, 4, 5, 6] and rows["step"].tolist() == [3, 6, 9, 12, 15, 18]
    np.testing.assert_allclose(rows["lr"], [0.025, 0.05, 0.05, 0.05, 0.005, 0.005], rtol=1e-6)
    assert rows["top1_test"].isna().tolist() == [True] * 4 + [False, True]
    assert rows["top1_test"][4] == pytest.approx(said["top1_by_epoch"]["5"])


def test_the_checkpoint_gives_the_encoder_and_the_scores_back(here: Path) -> None:
    trained = load_encoder("run/finetune")
    assert (trained.stream, trained.epochs) == ("joint", 6) and trained.run["pretraining"]["seed"] == 0
    model, data = load_model("run/finetune"), SkeletonData("mine")
    assert model.class_names == ("wave", "squat", "jump") and model.preparation == data.folder.preparation
    with torch.no_grad():
        again = model.probabilities(model(torch.cat(list(data.batches(data.test_rows)))))
    torch.testing.assert_close(again, scores("run/finetune").scores.softmax(1), rtol=1e-4, atol=1e-5)
    assert scores("run/finetune").labels.tolist() == LABELS[36:].tolist()
    before = load_encoder("run").encoder.state_dict()
    assert not torch.equal(trained.encoder.state_dict()["blocks.3.graph.weight"], before["blocks.3.graph.weight"])


def test_a_fine_tuned_encoder_can_be_evaluated(here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(f"knn --checkpoint run/finetune --data.root mine --k [1] --out {tmp_path}")
    said = result(f"{tmp_path}/knn-xsub.json")
    assert said["checkpoint"]["epochs"] == 6
    assert said["remarks"] == [WITH_LABELS] and WITH_LABELS in " ".join(capsys.readouterr().err.split())


def test_fine_tuning_a_fine_tuned_encoder_says_so_but_not_from_scratch(here: Path, tmp_path: Path) -> None:
    again = "finetune --data.root mine --checkpoint run/finetune --max_epochs 1 --accelerator cpu"
    run(f"{again} --out {tmp_path}/again")
    run(f"{again} --from_scratch true --out {tmp_path}/scratch")
    assert result(f"{tmp_path}/again/{RESULT}")["remarks"] == [WITH_LABELS]
    assert result(f"{tmp_path}/scratch/{RESULT}")["remarks"] == []


def test_simulated_actions_are_learnt(tmp_path: Path) -> None:
    raw = synthesise(tmp_path / "raw", subjects=4, repetitions=1, classes=["sit down", "wave", "kick"])
    data = prepare(synthetic(raw), tmp_path / "data", frames=16).root
    tiny = "--data.batch_size 8 --method.encoder.width 4 --method.encoder.init pytorch --method.queue_size 32"
    run(f"pretrain --data.root {data} {tiny} --max_epochs 0 --out {tmp_path}/run")
    tune = "--batch_size 8 --max_epochs 8 --lr_drops 0.75 --warmup_epochs 2 --encoder_settings.dropout 0"
    run(f"finetune --data.root {data} --checkpoint {tmp_path}/run --accelerator cpu {tune}")
    assert metrics(tmp_path / "run" / "finetune")["loss"].iloc[-1] < 0.8 * math.log(3)  # that of guessing
    said = result(f"{tmp_path}/run/finetune/{RESULT}")
    assert said["top1_last_epoch"] > said["chance"] > 33


# --- repeatable -----------------------------------------------------------------------------------


def test_a_share_of_the_labels_from_scratch_same_seed_same_numbers(here: Path, tmp_path: Path) -> None:
    before = Path("run", LAST_CHECKPOINT).read_bytes()
    tune = f"{TUNE} --label_fraction 0.25 --from_scratch true --augmentation BA --max_epochs 2 --lr_drops []"
    run(tune)
    torch.manual_seed(77)  # what happened before does not matter
    run(f"{tune} --out {tmp_path}/again")
    run(f"{tune} --out {tmp_path}/other --seed 1")
    first = "run/finetune-25pct-scratch"
    assert_same(first, f"{tmp_path}/again")
    assert metrics(first)["loss"][0] != metrics(f"{tmp_path}/other")["loss"][0]
    said = result(f"{first}/{RESULT}")
    assert said["settings"]["labels"] == said["train_sequences"] == 9  # 3 of each 12
    assert said["pretraining"] == {} and said["settings"]["from_scratch"] is True
    assert Path("run", LAST_CHECKPOINT).read_bytes() == before


def test_training_starts_at_the_pretrained_weights_or_from_scratch(here: Path, tmp_path: Path) -> None:
    """With a learning rate of 0 the weights stay where they were."""
    still = f"{TUNE} --max_epochs 1 --optimizer.lr 0 --encoder_settings.dropout 0.25"
    run(f"{still} --out {tmp_path}/tuned")
    run(f"{still} --from_scratch true --out {tmp_path}/scratch")
    start = load_encoder("run").encoder
    tuned, scratch = (load_encoder(tmp_path / name).encoder for name in ("tuned", "scratch"))
    for name, parameter in start.named_parameters():
        assert torch.equal(tuned.get_parameter(name), parameter), name
    assert not torch.equal(scratch.get_parameter("blocks.3.graph.weight"), start.get_parameter("blocks.3.graph.weight"))
    assert scratch.settings == tuned.settings == {**start.settings, "dropout": 0.25}


class Killed(BaseException):
    """What nothing catches."""


@pytest.mark.parametrize("step", [7, 16], ids=["before the first look at the test side", "after it"])
def test_resumed_equals_never_stopped(here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    whole = Classifier.training_step

    def deadly(self: Classifier, batch: tuple[Tensor, Tensor], i: int) -> Tensor:
        if self.global_step == step:
            raise Killed
        return whole(self, batch, i)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Classifier, "training_step", deadly)
        run(f"{TUNE} {SHORT} --out {tmp_path}/killed")
    assert checkpoint(tmp_path / "killed")[CHECKPOINT_KEY]["epochs"] == step // 3
    torch.manual_seed(5)
    run(f"{TUNE} {SHORT} --out {tmp_path}/killed --ckpt_path last")
    assert_same(tmp_path / "killed", "run/finetune")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("", "already holds a run"),
        ("--ckpt_path last --optimizer.lr 0.1", "was trained with optimizer"),
        ("--ckpt_path last --label_fraction 0.5", "was trained with label_fraction 1.0, not 0.5"),
        ("--ckpt_path last --seed 3", "was trained with seed 0, not 3"),
        ("--ckpt_path last --lr_drops 0.8", "was trained with lr_drops [0.667], not [0.8]"),
        ("--ckpt_path last --augmentation BA", "was trained with augmentation"),
        ("--ckpt_path last --from_scratch true", "was trained with from_scratch False, not True"),
        ("--ckpt_path last --checkpoint run/finetune", "was trained with checkpoint"),
        ("--ckpt_path last --max_epochs 5", "was trained for 6 epochs already"),
        ("--ckpt_path run", "already holds a run"),
    ],
)
def test_going_on_with_other_settings_is_refused(
    here: Path, capsys: pytest.CaptureFixture[str], change: str, sentence: str
) -> None:
    before = {path: path.read_bytes() for path in Path("run/finetune").rglob("*") if path.is_file()}
    with pytest.raises(SystemExit) as stopped:
        run(f"{TUNE} {SHORT} --out run/finetune {change}")
    assert stopped.value.code == 2 and sentence in capsys.readouterr().err
    assert {path: path.read_bytes() for path in Path("run/finetune").rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("--max_epochs 0", "finetune needs at least 1 epoch, got max_epochs 0"),
        ("--label_fraction 10", "label_fraction must lie above 0 and up to 1, got 10.0"),
        ("--batch_size 0", "batch_size must be at least 1, got 0"),
        ("--data.benchmark null", "evaluation needs a benchmark: choose one of xsub"),
        ("--encoder_settings.dropuot 0", "STGCN has no setting 'dropuot': it has width, dropout"),
        ("--encoder_settings.width 4", "would change blocks.0.graph.weight of the trained STGCN"),
        ("--augmentation XX", "unknown augmentation set 'XX'"),
        ("--lr_drops 30 55", "lr_drops are shares of the epochs, from 0 to 1, got [30.0, 55.0]"),
        ("--stream bone", "was trained on the joint stream, not on bone"),
        ("--checkpoint gone", "no checkpoint gone"),
    ],
)
def test_settings_that_cannot_work_are_refused_before_anything_is_written(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: str, sentence: str
) -> None:
    with pytest.raises(SystemExit) as stopped:
        run(f"{TUNE} {SHORT} --out {tmp_path}/out {change}")
    said = capsys.readouterr().err.strip()
    assert stopped.value.code == 2 and sentence in said and "\n" not in said
    assert not (tmp_path / "out").exists()


def test_a_diverging_run_stops_in_a_sentence(here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        run(f"{TUNE} {SHORT} --optimizer.lr 1e30 --out {tmp_path}/out")
    assert stopped.value.code == 2
    assert "hiclr: the loss is nan in epoch 1: lower the learning rate" in capsys.readouterr().err


# --- looks at the test side -----------------------------------------------------------------------


def test_looks_come_every_few_epochs_and_leave_the_network_training() -> None:
    network = Classifier(tiny_stgcn(KINECT), "joint", ["a", "b", "c"])
    logged: list[float] = []
    looked: list[int] = []

    def score(seen: torch.nn.Module) -> Scores:
        seen.eval()
        looked.append(epoch)
        return Scores(("a", "b"), torch.tensor([0, 1]), torch.eye(2, 3) if epoch < 8 else torch.ones(2, 3))

    watch = ScoreLog(score, every=4)
    for epoch in range(1, 10):
        trainer: Any = type("Stub", (), {"current_epoch": epoch - 1})
        watch.on_train_epoch_end(trainer, network)
        logged.append(network.figures["top1_test"])
        assert network.training
    assert looked == [4, 8] and watch.top1_by_epoch == {4: 100.0, 8: 50.0}
    np.testing.assert_equal(logged, [np.nan] * 3 + [100.0] + [np.nan] * 3 + [50.0, np.nan])
    again = ScoreLog(score)
    again.load_state_dict(watch.state_dict())
    assert again.top1_by_epoch == watch.top1_by_epoch


# --- transfer -------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["linear --epochs 2", "knn --k [1]", "finetune --max_epochs 1"])
def test_transfer_to_other_joints(here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], verb: str) -> None:
    run(f"{verb} --checkpoint run --data.root other --out {tmp_path}/out")
    said = " ".join(capsys.readouterr().err.split())
    name = verb.split()[0]
    moved = result(f"{tmp_path}/out/{name}-xsub.json")["transfer"]
    assert moved["from"]["skeleton"] == "kinect20" and moved["to"]["skeleton"] == "ntu25"
    assert moved["re_made"] == ["adjacency", "blocks.*.importance", "input_norm.*"]
    weights = {name: parameter.numel() for name, parameter in load_encoder("run").encoder.named_parameters()}
    lost = sum(count for name, count in weights.items() if "importance" in name or "input_norm" in name)
    total = sum(weights.values())
    assert moved["carried_over"] == f"{total - lost:,} of {total:,} weights"
    assert said.count("Transfer from") == 1 and moved["carried_over"] in said and "blocks.*.importance" in said


def test_features_of_other_joints_are_standardised_like_the_training_side(here: Path, tmp_path: Path) -> None:
    """What the first layer gets from the training side has mean 0 and deviation 1: seen after an epoch that learns
    nothing, in which the statistics move towards those of its batches, which are the same.
    """
    out = f"{tmp_path}/out"
    run(f"{TUNE} --data.root other --max_epochs 1 --optimizer.lr 0 --batch_size 100 --out {out}")
    encoder = load_encoder(out).encoder
    data = SkeletonData("other")
    x = torch.cat(list(data.batches(data.train_rows))).permute(3, 1, 0, 2, 4).flatten(0, 1).flatten(1).double()
    norm = encoder.get_submodule("input_norm")
    torch.testing.assert_close(norm.running_mean.double(), x.mean(1), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(norm.running_var.double(), x.var(1), rtol=1e-3, atol=1e-5)
    start, _ = carried_over(load_encoder("run").encoder, SKELETONS["ntu25"])
    for name, parameter in start.named_parameters():
        assert torch.equal(encoder.get_parameter(name), parameter), name


def test_the_same_joints_of_another_corpus_just_work(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for corpus in ("mine", "again"):
        run(f"knn --checkpoint run --data.root {corpus} --k [1] --out {tmp_path}/{corpus}")
    home, away = (result(f"{tmp_path}/{corpus}/knn-xsub.json") for corpus in ("mine", "again"))
    assert home["confusion"] == away["confusion"] and "transfer" not in home
    assert away["transfer"]["re_made"] == [] and away["transfer"]["to"]["corpus"] == "another"
    said = capsys.readouterr().err
    assert said.count("Transfer from") == 1 and "made anew" not in said


def test_results_on_other_data_lie_apart(here: Path) -> None:
    run("knn --checkpoint run --data.root again --k [1]")
    assert Path("run/on-again/knn-xsub.json").is_file() and not Path("run/knn-xsub.json").exists()


def test_results_on_other_data_of_the_same_name_lie_apart(here: Path, tmp_path: Path) -> None:
    shutil.copytree("mine", tmp_path / "namesake")
    about = json.loads(Path("mine/about.json").read_text(encoding="utf-8"))
    (tmp_path / "namesake/about.json").write_text(json.dumps({**about, "source_hash": "0"}), encoding="utf-8")
    run(f"knn --checkpoint run --data.root {tmp_path}/namesake --k [1]")
    said = result("run/on-namesake/knn-xsub.json")
    assert "transfer" not in said and not Path("run/knn-xsub.json").exists()


def test_from_scratch_on_other_joints_is_no_transfer(here: Path, tmp_path: Path) -> None:
    run(f"{TUNE} --data.root other --from_scratch true --max_epochs 1 --out {tmp_path}/out")
    assert "transfer" not in result(f"{tmp_path}/out/{RESULT}")
    assert load_encoder(tmp_path / "out").encoder.skeleton == SKELETONS["ntu25"]
