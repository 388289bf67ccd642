"""Readers on files that were damaged at random: the same form of data, or one sentence that names the file."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st

from hiclr import forms, plain_yaml
from hiclr.data.folder import PreparedFolder
from hiclr.data.opening import open_corpus
from hiclr.encoders.shared import CONFIG, WEIGHTS, digest
from hiclr.evaluation import Scores, scores_path
from hiclr.model import load_model
from hiclr.reporting.gathering import gather
from hiclr.reporting.page import page
from hiclr.skeleton import Skeleton, as_skeleton
from hostile import files
from hostile.damage import SAME, damaged, misshapen
from models import small_model
from test_report import fused, knn, linear, run_facts
from writers.prepared import ABOUT, write_prepared

HOME = Path(__file__).parent
LAYOUT = {
    "name": "mine",
    "joints": {"hip": None, "l_arm": "hip", "r_arm": "hip"},
    "centre": "hip",
    "shoulders": ["l_arm", "r_arm"],
    "mirror": [["l_arm", "r_arm"]],
}
SAID = {  # what `about.json` may say beside what it must
    "steps": [{"step": "face camera"}],
    "published": {"xsub": [1, 2]},
    "dirty": [{"what": "a", "sequences": 1, "done": "b"}],
    "skipped": [{"name": "a", "reason": "b"}],
    "notes": ["a"],
    "source": {"citation": "a"},
}
SCORES = Scores(("a", "b", "c"), torch.tensor([0, 1, 2]), torch.eye(3))


def saved(write: Callable[[Path], object], path: Path) -> bytes:
    write(path)
    content = path.read_bytes()
    path.unlink()
    return content


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("readers")


def refused_or(read: Callable[[], object], named: Path) -> None:
    """Reads, or is refused in one line that names the file or what holds it."""
    try:
        read()
    except (ValueError, OSError) as error:
        said = str(error)
        assert said and len(said.strip().splitlines()) == 1, said
        assert str(named) in said, said


def as_json(content: Any) -> bytes:
    """JSON of whatever can be written."""
    return json.dumps(content).encode()


# --- checkpoints and models -------------------------------------------------------------------------------------------


def checkpoint_bytes(zipped: bool) -> bytes:
    path = HOME / f".{'zip' if zipped else 'old'}.ckpt"
    return saved(files.saved(files.checkpoint, zipped), path)


@SAME
@given(misshapen(files.checkpoint()))
def test_checkpoints_that_hold_something_else(here: Path, content: Any) -> None:
    path = here / "a.ckpt"
    try:
        torch.save(content, path)
    except (OverflowError, UnicodeEncodeError):  # what no checkpoint can hold
        return
    refused_or(lambda: load_model(path), path)


@pytest.mark.parametrize("zipped", [True, False])
def test_damaged_checkpoints(here: Path, zipped: bool) -> None:
    path = here / "a.ckpt"

    @SAME
    @given(damaged(checkpoint_bytes(zipped)))
    def check(content: bytes) -> None:
        path.write_bytes(content)
        refused_or(lambda: load_model(path), path)

    check()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return small_model(head=True).save_pretrained(tmp_path / "model")


def test_models_that_say_something_else(model: Path) -> None:
    true = json.loads((model / CONFIG).read_text())

    @SAME
    @given(misshapen(true))
    def check(content: Any) -> None:
        (model / CONFIG).write_bytes(as_json(content))
        refused_or(lambda: load_model(model), model)

    assert load_model(model).class_names
    check()


def test_damaged_weights_with_the_right_hash(model: Path) -> None:
    weights, config = (model / WEIGHTS).read_bytes(), (model / CONFIG).read_text()

    @SAME
    @given(damaged(weights))
    def check(content: bytes) -> None:
        (model / WEIGHTS).write_bytes(content)
        (model / CONFIG).write_text(json.dumps({**json.loads(config), "weights": digest(content)}))
        refused_or(lambda: load_model(model), model)

    check()


# --- skeletons and YAML -----------------------------------------------------------------------------------------------


@SAME
@given(misshapen(LAYOUT).map(lambda content: yaml.safe_dump(content).encode(errors="replace")))
def test_skeletons_that_say_something_else(here: Path, content: bytes) -> None:
    read_skeleton(here, content)


@SAME
@given(damaged(yaml.safe_dump(LAYOUT).encode()))
def test_damaged_skeletons(here: Path, content: bytes) -> None:
    read_skeleton(here, content)


def read_skeleton(here: Path, content: bytes) -> None:
    path = here / "skeleton.yaml"
    path.write_bytes(content)
    refused_or(lambda: as_skeleton(path), path)


def trees(names: list[str]) -> st.SearchStrategy[tuple[int, ...]]:
    """Parents of joints, each among those before it."""
    later = [st.integers(0, joint - 1) for joint in range(1, len(names))]
    return st.tuples(st.just(-1), *later)


@SAME
@given(st.data())
def test_any_skeleton_comes_back(here: Path, data: st.DataObject) -> None:
    names = data.draw(st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=12, unique=True))
    skeleton = Skeleton(data.draw(st.text(max_size=8)), tuple(names), data.draw(trees(names)), names[0])
    path = here / "mine.yaml"
    path.write_text(yaml.safe_dump(skeleton.to_dict()), encoding="utf-8")
    assert as_skeleton(path) == skeleton


@SAME
@given(st.data())
def test_bones_between_joints_are_those_of_the_paths(here: Path, data: st.DataObject) -> None:
    names = [f"j{joint}" for joint in range(data.draw(st.integers(1, 12)))]
    skeleton = Skeleton("x", tuple(names), data.draw(trees(names)), "j0")
    hops = skeleton._distances()
    for i, a in enumerate(map(skeleton.path_to_root, range(len(names)))):
        for j, b in enumerate(map(skeleton.path_to_root, range(len(names)))):
            assert hops[i, j] == len(set(a) ^ set(b))


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63) + 1, 2**63 - 1) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(min_size=1, max_size=6), inner, max_size=3),
    max_leaves=10,
)


@SAME
@given(PLAIN)
def test_any_plain_content_comes_back(here: Path, content: Any) -> None:
    assert plain_yaml.load(yaml.dump(content, Dumper=Plain)) == content
    path = here / "a.json"
    path.write_bytes(as_json(content))
    assert forms.read_json(path) == content


class Plain(yaml.SafeDumper):
    """Writes everything out."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


# --- prepared folders -------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_prepared(tmp_path / "prepared")


def read_folder(folder: Path) -> None:
    opened = PreparedFolder.open(folder)
    assert opened.sequences.dtype == np.float32 and len(opened.samples) == len(opened.sequences)
    _ = opened.skeleton, opened.preparation, opened.class_names
    open_corpus(folder).read(0)


@pytest.mark.parametrize("name", ["about.json", "samples.csv", "sequences.npy"])
def test_damaged_folders(folder: Path, name: str) -> None:
    true = (folder / name).read_bytes()
    head = len(true) if name != "sequences.npy" else 200  # what follows are numbers

    @SAME
    @given(damaged(true[:head]))
    def check(content: bytes) -> None:
        (folder / name).write_bytes(content + true[head:])
        refused_or(lambda: read_folder(folder), folder)

    read_folder(folder)
    check()


def test_folders_that_say_something_else(folder: Path) -> None:

    @SAME
    @given(misshapen({**ABOUT, **SAID}))
    def check(content: Any) -> None:
        (folder / "about.json").write_bytes(as_json(content))
        refused_or(lambda: read_folder(folder), folder)

    check()


# --- results ----------------------------------------------------------------------------------------------------------


@SAME
@given(damaged(saved(SCORES.save, HOME / ".scores.npz")))
def test_damaged_scores(here: Path, content: bytes) -> None:
    path = here / "scores.npz"
    path.write_bytes(content)
    refused_or(lambda: Scores.load(path), path)


NAMES = st.lists(st.text(max_size=6).filter(lambda name: not name.endswith("\0")), min_size=1, max_size=6, unique=True)


@SAME
@given(NAMES, st.integers(1, 4), st.integers(0, 2**16))
def test_any_scores_come_back(here: Path, names: list[str], classes: int, seed: int) -> None:
    chance = torch.Generator().manual_seed(seed)
    scores = Scores(
        tuple(names),
        torch.randint(classes, (len(names),), generator=chance),
        torch.randn(len(names), classes, generator=chance),
    )
    path = scores_path(here / "linear-xsub.json")
    scores.save(path)
    read = Scores.load(path)
    assert read.names == scores.names
    assert torch.equal(read.labels, scores.labels) and torch.equal(read.scores, scores.scores)


METRICS = b"epoch,step,info,loss\n1,2,3.0,3.0\n2,4,2.0,2.0\n"
PARTS: dict[str, Any] = {
    "a/linear-xsub.json": linear(),
    "a/knn-xsub.json": knn(),
    "a/run.json": run_facts(),
}


def results(here: Path) -> Path:
    """A run with results and an ensemble."""
    root = here / "runs"
    shutil.rmtree(root, ignore_errors=True)
    for name, content in PARTS.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(as_json(content))
    (root / "a" / "metrics.csv").write_bytes(METRICS)
    (root / "e").mkdir()
    (root / "e" / "ensemble-xsub.json").write_bytes(as_json(fused(root / "a" / "linear-xsub.json")))
    return root


def report(root: Path) -> str:
    return page(gather([root]), None, {"missing": "no data"})


@pytest.mark.parametrize("name", [*PARTS, "e/ensemble-xsub.json"])
def test_results_that_say_something_else_are_left_out(here: Path, name: str) -> None:
    root = results(here)
    true = copy.deepcopy(json.loads((root / name).read_text()))

    @SAME
    @given(misshapen(true))
    def check(content: Any) -> None:
        (root / name).write_bytes(as_json(content))
        assert report(root)

    check()


def test_damaged_metrics_are_left_out(here: Path) -> None:
    root = results(here)

    @SAME
    @given(damaged(METRICS))
    def check(content: bytes) -> None:
        (root / "a" / "metrics.csv").write_bytes(content)
        assert report(root)

    check()
