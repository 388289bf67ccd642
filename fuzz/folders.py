"""Small true folders, one function each, of the helpers of the tests."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from hiclr.encoders.base import EdgeChange, Encoder
from hiclr.encoders.checkpoint import CHECKPOINT_KEY, describe
from hiclr.encoders.stgcn import STGCN
from hiclr.evaluation import Scores
from hiclr.model import Model
from hiclr.skeleton import SKELETONS, Skeleton
from models import SMALL, small_model
from writers.clips import joint_columns, poses, write_csv_clip, write_npy_clip, write_table, write_text
from writers.ctrgcn import ctrgcn_arrays, write_ctrgcn
from writers.kinect import kinect_frames, write_nwucla, write_utdmhad
from writers.ntu import write_ntu
from writers.pkummd import pku_frames, write_pku_labels, write_pku_recording, write_pku_split
from writers.prepared import write_prepared
from writers.pyskl import annotation, in_pixels, write_pyskl
from writers.ragged import ragged_arrays, write_ragged

_KINECT = SKELETONS["kinect20"]


def _rounded(frames: Any) -> Any:
    """With few digits: every one is a place that libFuzzer tries in vain."""
    return np.round(frames, 2)


# --- recordings -------------------------------------------------------------------------------------------------------


def ntu(root: Path) -> None:
    first, second = _rounded(kinect_frames(2)), _rounded(kinect_frames(2, seed=1))
    first, second = (np.concatenate([body, body[:, :5]], 1) for body in (first, second))  # 25 joints
    write_ntu(root / "S001C001P001R001A001.skeleton", [[("1", first[0]), ("2", second[0])], [], [("1", first[1])]])


def ntu_lists(root: Path) -> None:
    ntu(root)
    names = ("S001C002P005R002A008", "S001C003P002R001A001.skeleton")
    write_text(root / "NTU_RGBD_samples_with_missing_skeletons.txt", "".join(f"{name}\r\n" for name in names))


def ntu_synthetic(root: Path) -> None:
    ntu(root)
    write_text(root / "synthetic.json", json.dumps({"class_names": ["walk", "sit"], "seed": 0, "licence": "CC0"}))


def pku(root: Path) -> None:
    write_pku_recording(root / "0002-L.txt", _rounded(pku_frames(4, bodies=2)))
    write_pku_labels(root / "labels" / "0002-L.txt", (26, 1, 2), (1, 2, 4, 1))
    write_pku_split(root / "cross-subject.txt", ["0002-L"], ["0002-M"])


def nwucla(root: Path) -> None:
    write_nwucla(root / "a01_s01_e00_v01.json", _rounded(kinect_frames(2)), 1)


def utdmhad(root: Path) -> None:
    write_utdmhad(root / "a1_s1_t1_skeleton.mat", kinect_frames(2), compressed=False)


def utdmhad_packed(root: Path) -> None:
    write_utdmhad(root / "a1_s1_t1_skeleton.mat", kinect_frames(2))


def _ragged() -> dict[str, Any]:
    arrays = ragged_arrays()
    return {**arrays, "frames": arrays["frames"][:5], "offsets": np.arange(6)}


def ragged(root: Path) -> None:
    write_ragged(root / "mine.npz", _ragged())


def ragged_packed(root: Path) -> None:
    own = {"joint_names": np.array(SMALL.joint_names), "parent": np.array(SMALL.parents), "centre": np.array("hip")}
    pairs = {"shoulders": np.array(SMALL.joint_names[1:]), "mirror": np.array([SMALL.joint_names[1:]])}
    np.savez_compressed(root / "mine.npz", **{**_ragged(), "frames": np.ones((5, 1, 3, 3)), **own, **pairs})


def ctrgcn(root: Path) -> None:
    arrays = ctrgcn_arrays(classes=3)
    write_ctrgcn(root / "NTU60_CS.npz", {key: value[:2, :2] for key, value in arrays.items() if key[0] == "x"} | {
        key: value[:2] for key, value in arrays.items() if key[0] == "y"
    })  # fmt: skip


def npy(root: Path) -> None:
    write_npy_clip(root / "clip.npy", poses(2).astype(np.float32))


def npy_of_two(root: Path) -> None:
    write_npy_clip(root / "clip.npy", np.asfortranarray(poses(4).reshape(2, 2, 20, 3)))


def csv(root: Path) -> None:
    write_csv_clip(root / "clips" / "walk.csv", _rounded(poses(2)), _KINECT)
    write_csv_clip(root / "clips" / "sit.csv", _rounded(poses(2, seed=1)), _KINECT)
    one = {"name": "walk", "label": "walk", "subject": "Anna", "camera": 1, "effort": 0.5, "xmine": "train"}
    other = {"name": "sit", "label": "sit", "subject": "Ben", "camera": "", "effort": "", "xmine": ""}
    write_table(root / "clips.csv", [one, other])


def csv_by_body(root: Path) -> None:
    header = ["time", "frame", "body", *joint_columns(_KINECT, "{axis}{number1}")]
    rows = [[i // 2, 10 + i // 2, "ab"[i % 2], *pose] for i, pose in enumerate(_rounded(poses(4)).reshape(4, -1))]
    lines = [header, *([str(cell).replace(".", ",") for cell in row] for row in rows)]
    write_text(root / "clips" / "walk.csv", "\n".join(map(";".join, lines)))


def _pyskl() -> dict[str, Any]:
    names = ("S001C001P001R001A001", "S002C002P003R002A060")
    annotations = [annotation(name, int(name[-3:]) - 1, 1 + i, 2, i) for i, name in enumerate(names)]
    return {"split": {"xsub_train": [names[0]], "xsub_val": [names[1]]}, "annotations": annotations}


def pickle2(root: Path) -> None:
    write_pyskl(root / "ntu60.pkl", _pyskl())


def pickle5(root: Path) -> None:
    write_pyskl(root / "ntu60.pkl", [in_pixels("a", 0, frames=2)], protocol=pickle.HIGHEST_PROTOCOL)


# --- models -----------------------------------------------------------------------------------------------------------


class Tiny(Encoder):
    """An encoder of few weights, so that most of its file is about them."""

    def __init__(self, skeleton: Mapping[str, Any], width: int) -> None:
        super().__init__(Skeleton.from_dict(skeleton), width, {"width": width})
        self.weight = nn.Parameter(torch.ones(width, 3))

    def feature_map(self, x: torch.Tensor, edges: EdgeChange | None = None) -> torch.Tensor:
        return torch.einsum("nctvm,dc->ndtvm", x, self.weight)


def _encoder() -> STGCN:
    torch.manual_seed(0)
    return STGCN("kinect20", 1, init="pytorch")


def checkpoint(root: Path) -> None:
    _save(_encoder(), root)


def tiny_checkpoint(root: Path) -> None:
    _save(Tiny(SMALL.to_dict(), 2), root)


def _save(encoder: Encoder, root: Path) -> None:
    state: dict[str, Any] = {f"query.{name}": value for name, value in encoder.state_dict().items()}
    state |= {"classifier.weight": torch.zeros(2, encoder.feature_dim), "classifier.bias": torch.zeros(2)}
    known = {**describe(encoder, {"bone": "query."}), "epochs": 12, "run": {"seed": 3}, "class_names": ["a", "b"]}
    torch.save({"state_dict": state, CHECKPOINT_KEY: known}, root / "last.ckpt")


def _published() -> dict[str, torch.Tensor]:
    parts = {"graph": "gcn.conv", "norm": "tcn.0", "temporal.0": "tcn.2", "temporal.1": "tcn.3"}
    state = {}
    for name, value in _encoder().state_dict().items():
        name = name.replace("adjacency", "A").replace("input_norm", "data_bn").replace("blocks", "st_gcn_networks")
        _, _, block = name.partition("st_gcn_networks.")
        number, _, part = block.partition(".")
        theirs = next((part.replace(ours, there, 1) for ours, there in parts.items() if part.startswith(ours)), part)
        plain = f"st_gcn_networks.{number}.{theirs}" if block else name
        state[f"encoder_q.{f'edge_importance{int(number) + 1}' if part == 'importance' else plain}"] = value
    return state


def published(root: Path) -> None:
    torch.save(_published(), root / "weights.pt")


def published_legacy(root: Path) -> None:
    torch.save(_published(), root / "weights.pt", _use_new_zipfile_serialization=False)


def model(root: Path) -> None:
    small_model(head=True).save_pretrained(root)


def tiny_model(root: Path) -> None:
    Model(Tiny(SMALL.to_dict(), 2), "bone", epochs=3, figures={"top1": 50.0}).save_pretrained(root)


# --- YAML -------------------------------------------------------------------------------------------------------------

_JOINTS = """name: mine
joints: {hip: null, neck: hip, left_arm: neck, right_arm: neck}
shoulders: [left_arm, right_arm]
"""
_LISTS = """joint_names: [hip, neck, l_hand, r_hand]
parents: [-1, 0, neck, 1]
centre: neck
mirror: [[l_hand, r_hand]]
"""
_RECIPE = """data:
  batch_size: 32
max_epochs: 60
method:
  init_args:
    queue_size: 256
    mining_start: 1.0 # never
    encoder: {class_path: STGCN, init_args: {dropout: 0.1}}
    optimizer: {class_path: SGD, init_args: {lr: 0.05}}
"""


def skeleton(root: Path) -> None:
    write_text(root / "mine.yaml", _JOINTS)


def skeleton_in_lists(root: Path) -> None:
    write_text(root / "mine.yaml", _LISTS)


def recipe(root: Path) -> None:
    write_text(root / "recipe.yaml", _RECIPE)


# --- what hiclr wrote -------------------------------------------------------------------------------------------------

_DATA = {"root": "data", "corpus": "mine", "source_hash": None, "sequences": 5, "benchmark": "xsub"}
_RUN: dict[str, Any] = {
    "data": _DATA,
    "batch_size": 2,
    "max_epochs": 7,
    "seed": 0,
    "learner": {"method": "HiCLR", "streams": ["joint"], "optimizer": {"name": "SGD", "lr": 0.1}},
    "command": "hiclr pretrain --seed 0",
    "versions": {"hiclr": "0.1.0"},
}


def prepared(root: Path) -> None:
    write_prepared(root / "made")
    for file in (root / "made").iterdir():
        file.rename(root / file.name)
    (root / "made").rmdir()


def run(root: Path) -> None:
    """A run and what was measured of it."""
    scores = Scores(("a", "b", "c"), torch.tensor([0, 1, 1]), torch.tensor([[1.0, 0], [0.5, 1], [1, 0]]))
    measured = {
        "chance": 50.0,
        "top1_per_class": {"walk": 100.0, "sit": 50.0},
        "confusion": scores.confusion().tolist(),
        "data": _DATA,
        "test_sequences": 3,
        "remarks": ["few sequences"],
        "versions": {"hiclr": "0.1.0"},
    }
    linear = {
        "protocol": "linear",
        "top1_last_epoch": scores.top1,
        "top1_best_on_test": 70.0,
        "top1_by_epoch": {"5": 70.0, "10": scores.top1},
        "stream": "joint",
        "settings": {"lr": 3.0, "seed": 0},
        "checkpoint": {"path": "runs/one/last.ckpt", "sha256": "abc", "epochs": 7},
        "pretraining": _RUN,
        **measured,
    }
    parts = [{"protocol": "linear", "path": "linear-xsub.json", "sha256": letter} for letter in "ab"]
    ensemble = {
        "protocol": "ensemble",
        "top1_last_epoch": 70.0,
        "streams": ["joint", "bone"],
        "weights": [0.5, 0.5],
        "results": parts,
        "settings": {"weights": None},
        **measured,
    }
    _write_json(root, {"linear-xsub.json": linear, "ensemble-xsub.json": ensemble, "run.json": _RUN})
    scores.save(root / "linear-xsub-scores.npz")
    write_text(root / "metrics.csv", "epoch,info,loss,lr\n0,5.5,6.0,0.1\n1,5.25,5.5,0.1\n")


def _write_json(root: Path, contents: Mapping[str, Any]) -> None:
    for name, content in contents.items():
        write_text(root / name, json.dumps(content))
