"""The model card: what people and the Hub read of a model, whatever is known of it."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
import yaml

from hiclr.card import model_card
from hiclr.data.folder import Preparation
from hiclr.encoders.dsta import DSTA
from hiclr.encoders.head import LinearHead
from hiclr.encoders.stgcn import STGCN
from hiclr.model import Model
from hiclr.skeleton import SKELETONS, Skeleton
from models import CLASSES, RUN, SMALL, small_model


def card_with(run: dict[str, Any]) -> str:
    return model_card(Model(STGCN(SMALL, 2), run=run), "ada/waves")


def table(card: str, heading: str) -> dict[str, str]:
    """The rows of the table under a heading."""
    section = card.split(f"{heading}\n")[1].split("\n#")[0]
    rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in section.splitlines() if line.startswith("|")]
    return {row[0].strip(): row[1].strip() for row in rows[2:]}


@pytest.fixture(scope="module")
def card() -> str:
    return model_card(small_model(stream="bone", head=True), "ada/waves")


def test_the_hub_reads_its_metadata(card: str) -> None:
    _, front, _ = card.split("---\n", 2)
    metadata = yaml.safe_load(front)
    assert metadata["library_name"] == "hiclr" and {"st-gcn", "3-joints", "bone-stream"} <= set(metadata["tags"])
    assert "license" not in metadata


def test_the_licence_is_left_to_the_author_and_seen(card: str) -> None:
    assert "\n**Licence:** not stated yet. Author: choose one" in card


def test_it_says_what_the_model_is(card: str) -> None:
    assert "\n# ST-GCN for 3 joints (mine, bone)\n" in card
    facts = table(card, "## What it is")
    assert facts["stream"] == "bone, made of the joints by the model itself" and facts["features"] == "32"
    assert facts["classifier"] == "linear, on features scaled to length 1, 3 classes"
    assert "width 2" in facts["encoder"] and "Each is resampled to 16 frames" in card and "One body is kept" in card


def test_it_says_how_to_use_it(card: str) -> None:
    for words in ('embed("ada/waves", "recordings")', "--model ada/waves --data recordings", "hiclr predict"):
        assert words in card
    assert "hiclr predict" not in model_card(small_model(), "x")


def test_every_joint_and_what_it_hangs_on() -> None:
    skeleton = SKELETONS["ntu25"]
    rows = re.findall(r"^\| (\d+) \| (\w+) \| (\w*) \|$", model_card(Model(DSTA(skeleton, base_channels=4)), "x"), re.M)
    assert [(int(number), joint) for number, joint, _ in rows] == list(enumerate(skeleton.joint_names))
    parents = [skeleton.joint_names[parent] if parent >= 0 else "" for parent in skeleton.parents]
    assert [parent for _, _, parent in rows] == parents


def test_figures_and_chance(card: str) -> None:
    assert table(card, "## Figures") == {
        "linear top-1 on xsub, last epoch, %": "61.25", "chance, classes equally often, %": "33.33"
    }  # fmt: skip
    assert "None were measured with this model." in card_with({})


def test_how_it_was_made(card: str) -> None:
    assert table(card, "## How it was made") == {
        "method": "HiCLR",
        "corpus": "mine, 24 sequences",
        "trained on": "the training side of xsub",
        "views": "Shear; + Rotate; AxisMask",
        "epochs": "4",
        "batch size": "8",
        "optimizer": "SGD, learning rate 0.1",
        "seed": "3",
        "made with": "hiclr 0.1.0, abc123",
    }


def test_a_fine_tuned_model_names_what_it_started_from() -> None:
    card = card_with({"labels": 7, "learner": {"method": "Classifier"}, "pretraining": RUN})
    recipe = card.split("## How it was made")[1]
    assert re.search(r"method \| Classifier.*labels used \| 7.*before that.*method \| HiCLR.*epochs \| 4", recipe, re.S)


def test_what_is_unknown_is_not_made_up() -> None:
    card = card_with({})
    assert "The file of weights did not say." in card and "Nothing is known here of the data" in card
    assert "None" not in card.replace("None were measured", "")


def test_simulated_data_are_named() -> None:
    assert "trained on simulated movements" in card_with({"data": {"corpus": "synthetic", "synthetic": True}})


def test_sequences_of_every_row_of_the_benchmark() -> None:
    assert "| trained on | all sequences |" in card_with({"data": {"corpus": "mine", "benchmark": None}})


def test_poses_without_depth() -> None:
    model = Model(STGCN(SMALL, 2), preparation=Preparation(planar=True, bodies=2, actors="motion"))
    assert "nobody is turned, as for poses without depth. Up to 2 bodies are kept, chosen by motion." in model_card(
        model, "x"
    )


@pytest.mark.parametrize(
    "run", [{"data": 3}, {"learner": []}, {"learner": {"arrangement": ["BA"]}}, {"versions": None}]
)
def test_strange_records_break_nothing(run: dict[str, Any]) -> None:
    assert card_with(run).endswith("(https://arxiv.org/abs/2211.13466).\n")


def test_names_cannot_break_the_page() -> None:
    """No line, cell, link, tag or template of theirs."""
    evil = "a|b\n# c [d](e) <script> `f` {{ 7 * 7 }} ---"
    skeleton = Skeleton(evil, (evil, "l", "r"), (-1, 0, 0), evil, ("l", "r"))
    head = LinearHead([evil, "y"], torch.zeros(2, 256), torch.zeros(2))
    model = Model(DSTA(skeleton), head=head, run={"data": {"corpus": evil}}, figures={evil: 1.0})
    card = model_card(model, "x")
    assert "\n# c" not in card and "<script>" not in card.replace("\\<script\\>", "") and "49" not in card
    assert not re.search(r"(?<!\\)\]\(e\)", card)
    assert yaml.safe_load(card.split("---\n")[1])["library_name"] == "hiclr"
    assert len(table(card, "### Joints")) == 3 and len(table(card, "## Figures")) == 2


def test_a_skeleton_without_a_centre_has_a_card_too() -> None:
    skeleton = Skeleton("chain", ("a", "b"), (-1, 0))
    assert "the origin" not in model_card(Model(DSTA(skeleton, base_channels=4)), "x")
    assert "every body's hip is the origin" in card_with({})


def test_class_names_are_listed(card: str) -> None:
    assert "3: wave, put on a hat/cap, sit \\| stand." in card and len(CLASSES) == 3
