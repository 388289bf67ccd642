"""Every recipe: its commands are read by the real command line, say the published numbers and bring them into a run."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from hiclr.__main__ import main

RECIPES = Path(__file__).parents[1] / "recipes"

# The numbers of spec/method.md, sections 3, 4, 5, 7 and 9 (`small`: measured, docs/benchmarks.md), each
# where `hiclr VERB --print_config` says it. `sgd` is (lr, momentum, weight decay, Nesterov).
CONTRAST = {"method.queue_size": 32768, "method.key_momentum": 0.999, "method.temperature": 0.07}
PRETRAIN = {**CONTRAST, "max_epochs": 300, "data.batch_size": 128, "sgd": (0.1, 0.9, 1e-4, False)}
STGCN = {"method.encoder": "STGCN", "method.encoder.width": 16, "method.encoder.dropout": 0.5}
DSTA = {
    "method.encoder": "DSTA",
    "method.encoder.base_channels": 32,
    "method.encoder.attention_dropout": 0.5,
    "sgd": (0.1, 0.9, 5e-4, False),
}
CROSSCLR = {"method": "CrosSCLR", "method.augmentation": "BA", "method.cross_start": 0.5}
MINED = {"method.mining_start": 0.5}
K3 = {"method": "HiCLR", "method.arrangement": ["BA", "NA", "Mask"], "method.consistency_weight": 0.5, **MINED}
K2 = {**K3, "method.arrangement": ["BA", "NA"], "method.consistency_weight": 1.0}
K4 = {
    **K3,
    "method.arrangement": ["BA", "NA", "DAE", "Mask"],
    "method.consistency_weight": 1.0,
    "method.branch_weights": [0.5, 0.3, 0.2],
}
AIMCLR = {"method": "AimCLR", "method.basic": "BA", "method.extreme": "NA", **MINED}
SMALL = {
    "method.queue_size": 256,
    "method.key_momentum": 0.99,
    "method.temperature": 0.2,
    "method.mining_start": 1.0,
    "method.encoder.init": "pytorch",
    "method.encoder.dropout": 0.1,
    "max_epochs": 60,
    "data.batch_size": 32,
    "sgd": (0.05, 0.9, 1e-4, False),
}
LINEAR = {"epochs": 100, "lr": 3.0, "lr_drops": [0.8], "batch_size": 128}
FINETUNE = {
    "max_epochs": 70,
    "lr_drops": [30 / 70, 55 / 70],
    "warmup_epochs": 5,
    "batch_size": 64,
    "augmentation": None,
    "label_fraction": 1.0,
    "encoder_settings": None,
}
SEMI = {
    "max_epochs": 50,
    "lr_drops": [0.3, 0.6],
    "warmup_epochs": 5,
    "batch_size": 64,
    "augmentation": None,
    "label_fraction": 0.1,
    "sgd": (0.1, 0.9, 1e-4, False),
}
EXPECTED: dict[str, dict[str, Any]] = {
    "pretrain-dsta": {**PRETRAIN, **K3, **DSTA},
    "pretrain-k2": {**PRETRAIN, **K2, **STGCN},
    "pretrain-k4": {**PRETRAIN, **K4, **STGCN},
    "pretrain-pkummd1": {**PRETRAIN, **K3, **STGCN, "max_epochs": 600},
    "pretrain-pkummd2": {**PRETRAIN, **K3, **STGCN, "max_epochs": 1500},
    "pretrain-skeletonclr": {**PRETRAIN, **STGCN, "method": "SkeletonCLR", "method.augmentation": "BA"},
    "pretrain-aimclr": {**PRETRAIN, **AIMCLR, **STGCN},
    "pretrain-crossclr": {
        **PRETRAIN,
        **STGCN,
        "method": "CrosSCLR",
        "method.augmentation": "BA",
        "method.cross_start": 0.5,
    },
    "small": {**PRETRAIN, **K3, **STGCN, **SMALL},
    "linear-dsta": {**LINEAR, "lr_drops": [0.3, 0.8]},
    "semi-stgcn": SEMI,
    "semi-small": {
        **SEMI,
        "max_epochs": 60,
        "lr_drops": [0.667, 0.867],
        "batch_size": 16,
        "sgd": (0.05, 0.9, 1e-4, False),
    },
    "semi-dsta": {**SEMI, "encoder_settings": {"attention_dropout": 0.0}},
    "finetune-dsta": {
        "max_epochs": 80,
        "lr_drops": [0.4375, 0.6875],
        "warmup_epochs": 5,
        "batch_size": 128,
        "augmentation": "BA",
        "label_fraction": 1.0,
        "encoder_settings": {"attention_dropout": 0.0},
        "sgd": (0.1, 0.9, 5e-4, True),
    },
}
# of each corpus: epochs, and those after which the learning rate falls and mining starts
TRAINING = {
    "ntu60": (300, 250, 150),
    "ntu120": (300, 250, 150),
    "pkummd1": (600, 500, 300),
    "pkummd2": (1500, 1250, 750),
}
# of fine-tuning: epochs, and those after which the learning rate falls
TUNING = {
    "the defaults": (70, [30, 55]),
    "finetune-dsta": (80, [35, 55]),
    "semi-stgcn": (50, [15, 30]),
    "semi-dsta": (50, [15, 30]),
    "semi-small": (60, [40, 52]),
}
# what the published commands cost is not paid here: a narrow encoder, two epochs of one batch
SHORTER = {
    "pretrain": "--max_epochs 2 --accelerator cpu --method.queue_size 256",
    "finetune": "--max_epochs 2 --accelerator cpu",
    "linear": "--epochs 2",
}
NARROW = {"dsta": "--method.encoder.base_channels 2", "stgcn": "--method.encoder.width 2"}
SHORTENED = {"max_epochs", "epochs", "method.encoder.width", "method.encoder.base_channels", "method.queue_size"}
VIEWS = {"method.arrangement", "method.augmentation", "method.basic", "method.extreme", "augmentation"}


def commands(document: Path) -> list[str]:
    return re.findall(r"^(?:# )?(hiclr .*)$", document.read_text(encoding="utf-8"), re.MULTILINE)


def words(command: str) -> list[str]:
    return shlex.split(command.replace("recipes/", f"{RECIPES}/"))[1:]


def facts(options: Mapping[str, Any], name: str = "") -> Iterator[tuple[str, Any]]:
    """Options by dotted name, as one writes them on the command line; an object's is that of its class."""
    for key, value in options.items():
        inner = f"{name}{key}"
        if isinstance(value, dict) and "class_path" in value:
            yield inner, value["class_path"].rsplit(".", 1)[1]
            yield from facts(value.get("init_args", {}), f"{inner}.")
        else:
            yield inner, value
            yield from facts(value if isinstance(value, dict) else {}, f"{inner}.")


def parsed(command: str, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """What a command's options are, defaults included."""
    with pytest.raises(SystemExit) as stopped:
        main([*words(command), "--print_config"])
    said = capsys.readouterr()
    assert stopped.value.code == 0, said.err
    return dict(facts(yaml.safe_load(said.out)))


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `data/tiny`, NTU's 25 joints and two bodies, 128 sequences of 8 frames to train on."""
    here = tmp_path_factory.mktemp("recipes")
    chance, sequences, frames = np.random.default_rng(0), 144, 8
    pose = np.cumsum(chance.normal(0, 0.1, (2, 25, 3)), axis=1) + np.array([[[0.0, 0, 3]], [[1.0, 0, 3]]])
    motion = np.cumsum(chance.normal(0, 0.02, (sequences, frames, 2, 25, 3)), axis=1)
    np.savez(
        here / "tiny.npz",
        frames=(pose + motion).reshape(-1, 2, 25, 3).astype(np.float32),
        offsets=np.arange(sequences + 1) * frames,
        label=np.arange(sequences) % 4,
        class_names=["drink", "wave", "kick", "fall"],
        split_xsub=np.arange(sequences) < 128,
    )
    main(["prepare", "npz", str(here / "tiny.npz"), str(here / "data" / "tiny"), "--frames", str(frames)])
    return here


def run(command: str, workshop: Path, out: Path) -> Path:
    """Runs a command as it stands, but shorter, on the tiny data and into `out`."""
    verb, *others = words(command)
    there = {"--data.root": workshop / "data" / "tiny", "--out": out}
    if "--checkpoint" in others:
        there["--checkpoint"] = pretrained(others[others.index("--checkpoint") + 1], workshop)
    replaced = [word for option, path in there.items() for word in (option, str(path))]
    narrow = NARROW["dsta" if "dsta" in command else "stgcn"] if verb == "pretrain" else ""
    main([verb, *others, *replaced, *shlex.split(f"{SHORTER[verb]} {narrow}")])
    return out


def pretrained(checkpoint: str, workshop: Path) -> Path:
    """The checkpoint that a command names, made by that encoder's own recipe."""
    encoder = "dsta" if checkpoint.endswith("-dsta") else "stgcn"
    made = workshop / "runs" / encoder
    if not made.exists():
        recipe = ["--config", str(RECIPES / "pretrain-dsta.yaml")] if encoder == "dsta" else []
        data = ["--data.root", str(workshop / "data" / "tiny"), "--out", str(made)]
        main(
            ["pretrain", *recipe, *data, *shlex.split(f"{SHORTER['pretrain']} {NARROW[encoder]}"), "--max_epochs", "0"]
        )
    return made


def trained(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = torch.load(folder / "last.ckpt", weights_only=True)
    return content


SGD_SETTINGS = ("lr", "momentum", "weight_decay", "nesterov")


def sgd(optimizer: Mapping[str, Any]) -> tuple[float, float, float, bool]:
    """(lr, momentum, weight decay, Nesterov)."""
    lr, momentum, weight_decay, nesterov = (optimizer[name] for name in SGD_SETTINGS)
    return lr, momentum, weight_decay, nesterov


def test_every_recipe_is_in_the_table() -> None:
    assert {recipe.stem for recipe in RECIPES.glob("*.yaml")} == EXPECTED.keys()
    listed = set(re.findall(r"`([\w-]+)\.yaml`", (RECIPES / "README.md").read_text(encoding="utf-8")))
    assert listed == EXPECTED.keys()


@pytest.mark.parametrize("recipe", EXPECTED)
def test_commands_of_a_recipe_say_the_published_numbers(recipe: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = RECIPES / f"{recipe}.yaml"
    said = commands(path)
    assert path.read_text(encoding="utf-8").startswith(f"# {said[0]}\n")
    for command in said:
        assert f"--config recipes/{recipe}.yaml" in command
        expected = {name: number for name, number in EXPECTED[recipe].items() if name != "sgd"}
        if "--config recipes/pretrain-pkummd" in command:
            expected["max_epochs"] = TRAINING[command.split("data/")[1].split()[0]][0]
        if "AdaIN" in command:
            expected["method.arrangement"] = ["BA", "NA", "DAE", "AdaIN"]
        options = parsed(command, capsys)
        assert {name: options[name] for name in expected} == expected


def test_settings_that_need_no_recipe_are_the_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    data = "--data.root data/ntu60"
    pretrain = parsed(f"hiclr pretrain {data}", capsys)
    expected = {name: number for name, number in {**PRETRAIN, **K3, **STGCN}.items() if name != "sgd"}
    assert {name: pretrain[name] for name in expected} == expected
    assert sgd({name: pretrain[f"method.optimizer.{name}"] for name in SGD_SETTINGS}) == PRETRAIN["sgd"]
    linear = parsed(f"hiclr linear --checkpoint runs/ntu60 {data}", capsys)
    assert {name: linear[name] for name in LINEAR} == LINEAR
    finetune = parsed(f"hiclr finetune --checkpoint runs/ntu60 {data}", capsys)
    assert {name: finetune[name] for name in FINETUNE} == FINETUNE


def test_commands_of_the_page_are_read(capsys: pytest.CaptureFixture[str]) -> None:
    page = commands(RECIPES / "README.md")
    assert len(page) == 12
    for command in page:
        options = parsed(command, capsys)
        if "--out" in command:
            assert options["max_epochs"] == TRAINING[options["data.root"].removeprefix("data/")][0]


def test_evaluation_is_of_runs_that_recipes_make() -> None:
    said = [command for path in RECIPES.iterdir() for command in commands(path)]
    made, used = (
        {command.split(f"{option} ")[1].split()[0] for command in said if option in command}
        for option in ("--out", "--checkpoint")
    )
    assert used - {"runs/mine"} <= made and len(used) == 11  # that one is one's own


@pytest.mark.parametrize("corpus", TRAINING)
def test_shares_of_the_training_are_the_published_epochs(corpus: str, capsys: pytest.CaptureFixture[str]) -> None:
    said = commands(RECIPES / "pretrain-aimclr.yaml")
    (command,) = [command for command in said if f"data/{corpus} " in command]
    options = parsed(command, capsys)
    epochs = options["max_epochs"]
    drop, mining = (round(options[f"method.{share}"] * epochs) for share in ("lr_drop", "mining_start"))
    assert (epochs, drop, mining) == TRAINING[corpus]


@pytest.mark.parametrize("recipe", TUNING)
def test_shares_of_fine_tuning_are_the_published_epochs(recipe: str, capsys: pytest.CaptureFixture[str]) -> None:
    config = "" if recipe == "the defaults" else f"--config recipes/{recipe}.yaml"
    options = parsed(f"hiclr finetune {config} --checkpoint runs/ntu60 --data.root data/ntu60", capsys)
    epochs = options["max_epochs"]
    assert (epochs, [round(drop * epochs) for drop in options["lr_drops"]]) == TUNING[recipe]


@pytest.mark.parametrize("order", [("pretrain-dsta", "pretrain-aimclr"), ("pretrain-aimclr", "pretrain-dsta")])
def test_recipes_of_encoder_and_method_go_together(order: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    recipes = " ".join(f"--config recipes/{name}.yaml" for name in order)
    options = parsed(f"hiclr pretrain {recipes} --data.root data/ntu60", capsys)
    expected = {**PRETRAIN, **AIMCLR, **DSTA}
    assert {name: options[name] for name in expected if name != "sgd"} | {"sgd": expected["sgd"]} == expected
    assert sgd({name: options[f"method.optimizer.{name}"] for name in SGD_SETTINGS}) == expected["sgd"]


@pytest.mark.parametrize("recipe", EXPECTED)
def test_recipe_runs_and_its_numbers_arrive(recipe: str, workshop: Path, tmp_path: Path) -> None:
    command = commands(RECIPES / f"{recipe}.yaml")[0]
    verb, expected = command.split()[1], dict(EXPECTED[recipe])
    out = run(command, workshop, tmp_path / "run")
    if verb != "linear":
        content = trained(out)
        (group,) = content["optimizer_states"][0]["param_groups"]
        assert sgd({**group, "lr": group["initial_lr"]}) == expected.pop("sgd")
        assert content["global_step"] == 2 * (128 // 32 if recipe == "small" else 1)
    result = json.loads((out / ("run.json" if verb == "pretrain" else f"{verb}-xsub.json")).read_text(encoding="utf-8"))
    options = dict(facts(result["options"]))
    used = dict(facts(result["learner"], "method.") if verb == "pretrain" else facts(result["settings"]))
    for name in expected.keys() - SHORTENED:
        assert options.get(name) == expected[name], name
    for name in used.keys() & expected.keys() - SHORTENED - VIEWS:  # views are spelled out there
        assert used[name] == expected[name], name


def test_dropout_of_pretraining_ends_there(workshop: Path, tmp_path: Path) -> None:
    pretraining = trained(pretrained("runs/ntu60-dsta", workshop))["hiclr"]["encoder"]["init_args"]
    out = run(commands(RECIPES / "finetune-dsta.yaml")[0], workshop, tmp_path / "run")
    afterwards = trained(out)["hiclr"]["encoder"]["init_args"]
    assert (pretraining.pop("attention_dropout"), afterwards.pop("attention_dropout")) == (0.5, 0.0)
    assert pretraining == afterwards
