"""A model as an ONNX file, which runs without PyTorch, and how far its numbers are from the model's."""

from __future__ import annotations

import importlib
import json
import logging
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import asdict, dataclass
from importlib.metadata import version
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hiclr import functional
from hiclr.model import Model
from hiclr.skeleton import Skeleton

SEQUENCES, FEATURES, PROBABILITIES = "sequences", "features", "probabilities"  # the input and the outputs
OPSET = 18  # the oldest that PyTorch's exporter writes without converting
LIBRARIES = ("onnx", "onnxscript", "onnxruntime")  # of the extra `export`

_BONE = 0.25  # metres
_SWAY = 0.1  # of a bone's direction from frame to frame, as a share of its length
_TINY = 1e-30  # where an output is all zero


def to_onnx(model: Model) -> bytes:
    """The contents of an `.onnx` file that computes what the model does.

    Its input `sequences` (N, 3, T, V, M) is what the model takes: prepared joints, from which the stream is made in the
    file. N, T and M are free. Its outputs are `features` (N, D) and, if the model has a classifier, `probabilities`
    (N, L). Its metadata say what to feed it and what comes out (see `metadata`).

    Raises:
        ValueError: the extra `export` is not installed, or an encoder of one's own cannot be exported.
    """
    check_extra()
    outputs = [FEATURES] if model.head is None else [FEATURES, PROBABILITIES]
    example = random_sequences(
        model.skeleton, frames=8, bodies=2, count=3
    )  # no size is 1, which would be taken as fixed
    try:
        with torch.no_grad(), _quiet():
            program = torch.onnx.export(
                _Graph(deepcopy(model).cpu().eval()),
                (example,),
                input_names=[SEQUENCES],
                output_names=outputs,
                dynamic_shapes=({0: "N", 2: "T", 4: "M"},),
                opset_version=OPSET,
                dynamo=True,
                external_data=False,
                verbose=False,
            )
    except torch.onnx.errors.OnnxExporterError as error:
        raise ValueError(
            f"{type(model.encoder).__name__} cannot be exported ({_cause(error)}): its feature_map must take any "
            "number of sequences, frames and bodies, and must not look at their values to decide what to do"
        ) from None
    assert program is not None  # only without dynamo
    file = program.model_proto
    _forget_sources(file)
    file.producer_name, file.producer_version = "hiclr", version("hiclr")
    for key, value in metadata(model).items():
        file.metadata_props.add(key=key, value=value)
    contents: bytes = file.SerializeToString()
    return contents


def metadata(model: Model) -> dict[str, str]:
    """What the file says about itself: what to feed it, and what the numbers that come out mean.

    Returns:
        `hiclr_version`, `input` (a sentence or two), `stream`, and as JSON `skeleton`, `preparation` and, if the model
        has a classifier, `class_names`.
    """
    said = {
        "hiclr_version": version("hiclr"),
        "input": _what_to_feed(model),
        "stream": model.stream,
        "skeleton": json.dumps(model.skeleton.to_dict(), ensure_ascii=False),
        "preparation": json.dumps(asdict(model.preparation)),
    }
    if model.head is not None:
        said["class_names"] = json.dumps(model.class_names, ensure_ascii=False)
    return said


def _what_to_feed(model: Model) -> str:
    skeleton, preparation = model.skeleton, model.preparation
    joints = skeleton.joint_names
    left, right = (joints[joint] for joint in skeleton.shoulder_pair)
    turned = "" if preparation.planar else f", turned about y until the line from {left} to {right} runs along x"
    return (
        f"{SEQUENCES}, float32 (N, 3, T, V, M): sequences; x, y and z in metres, y up; frames; {skeleton.num_joints} "
        f"joints in the order of the skeleton; bodies. In every frame, each body with {joints[skeleton.centre_joint]} "
        f"at the origin{turned}; a clip resampled to {preparation.frames} frames; a body that is not there all zero. "
        f"Always joints: what the {model.stream} stream needs of them is computed in the file."
    )


class _Graph(nn.Module):
    """What the file computes."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        features = self.model(x)
        return (features,) if self.model.head is None else (features, self.model.probabilities(features))


# --- how far it is from the model -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Difference:
    """How far an output of the file is from the model's.

    Args:
        absolute: the largest difference of two numbers.
        relative: the same as a share of the largest number of the output.
    """

    absolute: float
    relative: float

    def within(self, tolerance: float) -> bool:
        """Whether no number is further off than the tolerance, times the largest number where that is more than 1."""
        return min(self.absolute, self.relative) <= tolerance


def differences(model: Model, contents: bytes, batches: Iterable[Tensor]) -> dict[str, Difference]:
    """How far each output of an `.onnx` file is from the model's, with onnxruntime on the CPU.

    Args:
        model: in eval mode, on the CPU.
        contents: of the file, as `to_onnx` gives them.
        batches: prepared joints (N, 3, T, V, M), each of a shape of its own.

    Raises:
        ValueError: the extra `export` is not installed, there are no batches, or the model gives no finite numbers.
    """
    session = _session(contents)
    names = [output.name for output in session.get_outputs()]
    apart, largest = dict.fromkeys(names, 0.0), dict.fromkeys(names, 0.0)
    graph, compared = _Graph(model), False
    for x in batches:
        compared = True
        with torch.no_grad():
            expected: list[NDArray[np.float32]] = [output.numpy() for output in graph(x)]
        got = session.run(names, {SEQUENCES: x.contiguous().numpy()})
        for name, ours, theirs in zip(names, expected, got, strict=True):
            if not np.isfinite(ours).all():
                raise ValueError(f"the model gives {name} that are no finite numbers: its training has diverged")
            apart[name] = float(np.maximum(apart[name], np.abs(ours - theirs).max()))  # stays NaN once it is
            largest[name] = max(largest[name], float(np.abs(ours).max()))
    if not compared:
        raise ValueError("no sequences to compare the file and the model on")
    return {name: Difference(apart[name], apart[name] / max(largest[name], _TINY)) for name in names}


def _session(contents: bytes) -> Any:
    runtime = _library("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors
    return runtime.InferenceSession(contents, options, providers=["CPUExecutionProvider"])


def random_sequences(skeleton: Skeleton, frames: int, bodies: int, count: int, seed: int = 0) -> Tensor:
    """Sequences (N, 3, T, V, M) with the size of people, whose bones sway; in every third the first body is alone."""
    chance = torch.Generator().manual_seed(seed)
    sway = torch.randn(count, 3, frames, skeleton.num_joints, bodies, generator=chance).cumsum(2)
    rest = torch.randn(count, 3, 1, skeleton.num_joints, bodies, generator=chance)
    bones = _BONE * nn.functional.normalize(rest + _SWAY * sway, dim=1)
    paths = [skeleton.path_to_root(joint) for joint in range(skeleton.num_joints)]
    x = functional.centre(torch.stack([bones[:, :, :, path].sum(3) for path in paths], 3), skeleton.centre_joint)
    x[::3, ..., 1:] = 0
    return x


# --- the libraries ----------------------------------------------------------------------------------------------------


def check_extra() -> None:
    """ValueError unless the libraries of the extra `export` are there."""
    for name in LIBRARIES:
        _library(name)


def _library(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        raise ValueError(f'hiclr export needs the extra "export" ({name}): pip install "hiclr[export]"') from None


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's remarks, which are for its own makers."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logging.disable(before)


def _cause(error: BaseException) -> str:
    """What an encoder was refused for: the first words of the innermost error."""
    while error.__cause__ is not None:
        error = error.__cause__
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(" .:")


def _forget_sources(file: Any) -> None:
    """Takes out the exporter's notes on every node, which quote the source and its place on this machine."""
    graph = file.graph
    for noted in (graph, *graph.node, *graph.input, *graph.output, *graph.initializer, *graph.value_info):
        del noted.metadata_props[:]
        noted.ClearField("doc_string")
