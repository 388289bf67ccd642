"""A model as an ONNX file: the same numbers with onnxruntime, and a file that says what to feed it."""

from __future__ import annotations

import itertools
import json
import sys
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import Tensor

from hiclr.data.folder import Preparation
from hiclr.encoders import dsta, stgcn
from hiclr.encoders.base import EdgeChange, Encoder
from hiclr.encoders.head import LinearHead
from hiclr.functional import Stream, to_stream
from hiclr.model import Model, load_model
from hiclr.onnx import Difference, differences, metadata, random_sequences, to_onnx
from hiclr.skeleton import SKELETONS, Skeleton

onnx = pytest.importorskip("onnx", reason="no onnx: install the extra export")
onnxruntime = pytest.importorskip("onnxruntime", reason="no onnxruntime: install the extra export")

JOINTS = SKELETONS["kinect20"].num_joints
CLASSES = ("wave", "drink tea", "鞠躬")
# one block of every kind (first, same, wider and slower): what is exported grows with blocks, and so does the time
BLOCKS = {stgcn: ((1, 1), (1, 1), (2, 2)), dsta: ((1, 1, 1), (2, 1, 2), (2, 1, 1))}


def trained(encoder: Encoder) -> Encoder:
    """Statistics that are not those of an untrained encoder."""
    with torch.no_grad():
        for seed in range(20):
            encoder.train()(random_sequences(encoder.skeleton, 8, 2, 8, seed))
    return encoder.eval()


@cache
def exported(kind: str, stream: Stream) -> tuple[Model, bytes]:
    """A model with a classifier, but for the joint stream, and its file."""
    torch.manual_seed(0)
    with pytest.MonkeyPatch.context() as patch:
        for module, blocks in BLOCKS.items():
            patch.setattr(module, "_BLOCKS", blocks)
        made = stgcn.STGCN("kinect20", 4, init="pytorch") if kind == "stgcn" else dsta.DSTA("kinect20", base_channels=4)
        encoder = trained(made)
    head = LinearHead(CLASSES, torch.randn(3, encoder.feature_dim), torch.randn(3), normalized=stream == "bone")
    model = Model(encoder, stream, Preparation(frames=30), None if stream == "joint" else head)
    return model, to_onnx(model)


def run(contents: bytes, x: Tensor) -> list[Any]:
    outputs: list[Any] = onnxruntime.InferenceSession(contents).run(None, {"sequences": x.numpy()})
    return outputs


every_model = pytest.mark.parametrize(("kind", "stream"), list(itertools.product(("stgcn", "dsta"), get_args(Stream))))


# --- the numbers ------------------------------------------------------------------------------------------------------


@every_model
def test_computes_the_same_for_any_number_of_sequences_frames_and_bodies(kind: str, stream: Stream) -> None:
    model, contents = exported(kind, stream)
    session = onnxruntime.InferenceSession(contents)
    frames = (2, 13, 64) if stream == "motion" else (1, 2, 13, 64)  # one frame has no motion
    for n, t, m in itertools.product((1, 2, 3, 4, 5, 6, 7), frames, (1, 2, 3)):
        x = random_sequences(model.skeleton, t, m, n, seed=t)
        x[n // 2] = 0  # nobody at all
        features = model.encoder(to_stream(x, stream, model.skeleton.parents)).detach()
        outputs = session.run(None, {"sequences": x.numpy()})
        assert outputs[0].shape == (n, model.encoder.feature_dim)
        np.testing.assert_allclose(outputs[0], features, atol=1e-5)
        if model.head is not None:
            np.testing.assert_allclose(outputs[1], model.probabilities(features), atol=1e-5)
            np.testing.assert_allclose(outputs[1].sum(1), np.ones(n), atol=1e-5)


@pytest.mark.parametrize("name", ["stgcn", "dsta"])
def test_published_weights_give_the_published_features(shared: Path, name: str) -> None:
    model = load_model(shared / "parity" / f"{name}_official.pt")
    expected = np.load(shared / "parity" / f"{name}_official_expected.npz")
    x, contents, largest = torch.from_numpy(expected["x"]), to_onnx(model), abs(expected["feature"]).max()
    np.testing.assert_allclose(run(contents, x)[0], expected["feature"], rtol=0, atol=1e-4 * max(1, largest))
    part = x[1:2, :, :31, :, :1]
    np.testing.assert_allclose(run(contents, part)[0], model(part).detach(), rtol=0, atol=1e-5 * max(1, largest))


def test_differences_are_the_largest_of_all_batches() -> None:
    model, contents = exported("stgcn", "bone")
    batches = [random_sequences(model.skeleton, t, 2, n, seed=t) for n, t in ((3, 20), (5, 9), (1, 30))]
    assert all(found.absolute < 1e-5 for found in differences(model, contents, batches).values())

    other, apart = exported("stgcn", "motion")[0], []
    for x in batches:
        ours, (features, probabilities) = other(x).detach(), run(contents, x)
        shares = other.probabilities(ours)
        apart.append((abs(features - ours.numpy()).max(), abs(probabilities - shares.numpy()).max(), abs(ours).max()))
    found = differences(other, contents, batches)
    assert found["features"].absolute == pytest.approx(max(one[0] for one in apart), rel=1e-3)
    assert found["probabilities"].absolute == pytest.approx(max(one[1] for one in apart), rel=1e-3)
    assert found["features"].relative == pytest.approx(found["features"].absolute / max(float(one[2]) for one in apart))


def test_small_numbers_are_compared_as_they_are_and_large_ones_by_their_size() -> None:
    assert Difference(absolute=9e-5, relative=0.5).within(1e-4)
    assert Difference(absolute=3.0, relative=9e-5).within(1e-4)
    assert not Difference(absolute=2e-4, relative=2e-4).within(1e-4)


def test_a_model_that_has_diverged_is_no_measure() -> None:
    model, contents = exported("stgcn", "joint")
    broken = deepcopy(model)
    next(broken.encoder.parameters()).data.fill_(np.nan)
    with pytest.raises(ValueError, match="the model gives features that are no finite numbers: its training has div"):
        differences(broken, contents, [random_sequences(model.skeleton, 8, 2, 2)])
    found = differences(model, to_onnx(broken), [random_sequences(model.skeleton, 8, 2, 2)])
    assert not any(one.within(1e9) for one in found.values())  # nor is a file that gives no numbers like the model
    with pytest.raises(ValueError, match="no sequences to compare"):
        differences(model, contents, [])


def test_the_model_stays_as_it_is() -> None:
    torch.manual_seed(0)
    model = Model(Halves()).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    to_onnx(model)
    assert model.training and model.encoder.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


# --- what the file says -----------------------------------------------------------------------------------------------


@every_model
def test_the_file_is_valid_and_its_sizes_are_free(kind: str, stream: Stream) -> None:
    model, contents = exported(kind, stream)
    onnx.checker.check_model(onnx.load_from_string(contents), full_check=True)
    session = onnxruntime.InferenceSession(contents)
    (x,) = session.get_inputs()
    assert (x.name, x.type, x.shape) == ("sequences", "tensor(float)", ["N", 3, "T", JOINTS, "M"])
    outputs = {output.name: output.shape for output in session.get_outputs()}
    classes = {} if model.head is None else {"probabilities": ["N", len(CLASSES)]}
    assert outputs == {"features": ["N", model.encoder.feature_dim]} | classes


@every_model
def test_the_file_alone_says_what_to_feed_it(kind: str, stream: Stream) -> None:
    model, contents = exported(kind, stream)
    facts = onnxruntime.InferenceSession(contents).get_modelmeta()
    said = facts.custom_metadata_map
    assert said == metadata(model)
    assert Skeleton.from_dict(json.loads(said["skeleton"])) == model.skeleton
    assert Preparation(**json.loads(said["preparation"])) == model.preparation
    assert said["stream"] == stream
    assert facts.producer_name == "hiclr"
    assert ("class_names" in said) is (model.head is not None)
    if model.head is not None:
        assert tuple(json.loads(said["class_names"])) == CLASSES
    for word in ("metres", "shoulder_center at the origin", "30 frames", "shoulder_left to shoulder_right", stream):
        assert word in said["input"]


def test_poses_without_depth_are_not_said_to_be_turned() -> None:
    model = Model(Halves(), preparation=Preparation(planar=True))
    assert "turned" not in metadata(model)["input"]


def test_the_file_does_not_quote_sources_or_places() -> None:
    _, contents = exported("dsta", "bone")
    for words in (b".py", b"stack_trace", b"site-packages", b"hiclr/", b"pkg.torch"):
        assert words not in contents


# --- encoders of one's own, and what is missing -----------------------------------------------------------------------


class Halves(Encoder):
    def __init__(self) -> None:
        super().__init__(SKELETONS["kinect20"], 3, {})
        self.weight = torch.nn.Parameter(torch.tensor(0.5))

    def feature_map(self, x: Tensor, edges: EdgeChange | None = None) -> Tensor:
        return x * self.weight


class Looks(Halves):
    def feature_map(self, x: Tensor, edges: EdgeChange | None = None) -> Tensor:
        return x * self.weight if x.sum() > 0 else x


class OfFiftyFrames(Halves):
    def feature_map(self, x: Tensor, edges: EdgeChange | None = None) -> Tensor:
        return x + torch.ones(50, 1, 1)


def test_an_encoder_of_ones_own_is_exported() -> None:
    model = Model(Halves(), "motion")
    x = random_sequences(model.skeleton, 9, 3, 4)
    np.testing.assert_allclose(run(to_onnx(model), x)[0], model(x).detach(), atol=1e-6)


@pytest.mark.parametrize("kind", [Looks, OfFiftyFrames])
def test_one_that_cannot_be_traced_is_refused_in_a_sentence(kind: type[Halves]) -> None:
    with pytest.raises(ValueError, match=rf"^{kind.__name__} cannot be exported \(.+\): its feature_map must take any"):
        to_onnx(Model(kind()))


@pytest.mark.parametrize("library", ["onnx", "onnxscript", "onnxruntime"])
def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, library: str) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ValueError, match=rf'the extra "export" \({library}\): pip install "hiclr\[export\]"'):
        to_onnx(Model(Halves()))


# --- sequences for want of data ---------------------------------------------------------------------------------------


def test_random_sequences_look_like_people() -> None:
    skeleton = SKELETONS["ntu25"]
    x = random_sequences(skeleton, 20, 2, 6, seed=1)
    assert x.shape == (6, 3, 20, 25, 2) and torch.equal(x, random_sequences(skeleton, 20, 2, 6, seed=1))
    assert not torch.equal(x, random_sequences(skeleton, 20, 2, 6, seed=2))
    assert not x[:, :, :, skeleton.centre_joint].any()
    child = next(joint for joint in range(25) if skeleton.parents[joint] != -1)
    bones = (x[:, :, :, child] - x[:, :, :, skeleton.parents[child]]).norm(dim=1)
    there = x.abs().sum((1, 2, 3)).ne(0)
    assert there.tolist() == [[True, False], [True, True], [True, True]] * 2
    torch.testing.assert_close(bones[:, :, 0], torch.full((6, 20), 0.25))
