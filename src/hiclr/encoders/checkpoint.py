"""From a file of weights to an encoder that can be used: our own checkpoints and the published ones."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from torch import Tensor
from torch.overrides import TorchFunctionMode

from hiclr.encoders.base import Encoder
from hiclr.encoders.head import LinearHead
from hiclr.encoders.official import encoder_from_published
from hiclr.encoders.safely import read_safely
from hiclr.encoders.shared import RUN, WEIGHTS, is_model_folder, local_path, read_config, read_tensors
from hiclr.forms import Maybe, Null, misfits, reason
from hiclr.functional import Stream
from hiclr.hub import is_hub_name

LAST_CHECKPOINT = "last.ckpt"
CHECKPOINT_KEY = "hiclr"

_KNOWN = {  # of a checkpoint, under its key
    "encoder": {"class_path": str, "init_args": dict},
    "weights": {...: str},
    "epochs": int,
    "run": RUN,
    "class_names": Maybe(Null([str])),
}
_UNSAVED = 1_000_000  # elements that an encoder may keep in one tensor that is not saved


@dataclass(frozen=True)
class TrainedEncoder:
    """An encoder in eval mode, and what is known of its training.

    Args:
        path: the file it came from.
        encoder: the network.
        stream: what it was trained on.
        streams: of all encoders in the file.
        epochs: how many epochs it was trained; None for published weights.
        run: the settings of the run; empty for published weights.
        head: the classifier on it, if the file holds one.
        hub: its name on the Hugging Face Hub, if it came from there.
    """

    path: Path
    encoder: Encoder
    stream: Stream
    streams: tuple[Stream, ...]
    epochs: int | None
    run: Mapping[str, Any]
    head: LinearHead | None = None
    hub: str | None = None


def describe(encoder: Encoder, weights: Mapping[Stream, str]) -> dict[str, Any]:
    """What `load_encoder` needs beside the weights, in plain containers.

    Args:
        encoder: one of the encoders of the file, which are all built alike.
        weights: for each stream, what the names of its encoder's weights begin with.
    """
    kind = type(encoder)
    return {
        "encoder": {
            "class_path": f"{kind.__module__}.{kind.__qualname__}",
            "init_args": {"skeleton": encoder.skeleton.to_dict(), **encoder.settings},
        },
        "weights": dict(weights),
    }


def checkpoint_path(path: Path | str) -> Path:
    """The checkpoint itself, or the last one in a run's folder.

    Raises:
        FileNotFoundError: if there is none.
    """
    path = Path(path)
    file = path / LAST_CHECKPOINT if path.is_dir() else path
    if not file.is_file():
        raise FileNotFoundError(
            f"no checkpoint {file}: give a run's folder or a .ckpt file, as `hiclr pretrain` writes, or a model folder"
        )
    return file


def load_encoder(path: Path | str, stream: Stream | None = None) -> TrainedEncoder:
    """The query encoder of a checkpoint of ours, of a run's folder, of a model folder, or of published weights.

    Only tensors and plain containers are read: nothing in the file is run.

    Args:
        path: a `.ckpt`, a run's folder, a model folder, a published `.pt`, or the name of a model on the Hugging Face
            Hub, `owner/name`.
        stream: what published weights were trained on (such files do not say; joint when None). Our own
            checkpoints know theirs; one that holds several encoders needs to be told which.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file holds no encoder, or none of this stream.
    """
    folder, hub = local_path(path), str(path) if is_hub_name(path) else None
    if is_model_folder(folder):
        return _from_model_folder(folder, stream, hub)
    file = checkpoint_path(path)
    content = read_safely(file)
    if CHECKPOINT_KEY not in content:
        stream = stream or "joint"
        return TrainedEncoder(file, encoder_from_published(content, file, stream), stream, (stream,), None, {})
    known = training_of(content, file)
    weights: Mapping[Stream, str] = known["weights"]
    stream = _choose(stream, tuple(weights), file)
    state = content["state_dict"]
    encoder = _with_weights(known["encoder"], _below(weights[stream], state), file)
    head = _head(known.get("class_names"), _below("classifier.", state), file)
    return TrainedEncoder(file, encoder, stream, tuple(weights), known["epochs"], known["run"], head)


def training_of(content: Mapping[str, Any], file: Path) -> Mapping[str, Any]:
    """What a checkpoint of ours says of itself, beside its weights.

    Raises:
        ValueError: it says nothing, or not as expected.
    """
    known, state = content.get(CHECKPOINT_KEY), content.get("state_dict")
    known = known if isinstance(known, dict) else {}
    lost = misfits(known, _KNOWN)
    if not lost and not (known["weights"].keys() <= set(get_args(Stream)) and known["weights"]):
        lost = ["streams"]
    if not lost and not (isinstance(state, Mapping) and all(isinstance(name, str) for name in state)):
        lost = ["weights"]
    if lost:
        raise ValueError(f"{file} does not say its {' and '.join(lost)}: it was written by another version of hiclr")
    return known


def _from_model_folder(folder: Path, stream: Stream | None, hub: str | None) -> TrainedEncoder:
    config = read_config(folder)
    tensors = read_tensors(folder, config)
    file = folder / WEIGHTS
    stream = _choose(stream, (config["stream"],), file)
    encoder = _with_weights(config["encoder"], _below("encoder.", tensors), file)
    said = config["head"] or {"class_names": None, "normalized": False}
    head = _head(said["class_names"], _below("head.", tensors), file, said["normalized"])
    return TrainedEncoder(file, encoder, stream, (stream,), config["epochs"], config["run"], head, hub)


def _with_weights(description: Mapping[str, Any], state: Mapping[str, Tensor], file: Path) -> Encoder:
    if not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise ValueError(f"{file}: its weights are no tensors")
    with _NoneLarger(sum(tensor.numel() for tensor in state.values()) + _UNSAVED):
        encoder = _build(description, file)
    _check_shapes(encoder, state, file)
    encoder.load_state_dict(state)
    return encoder.eval()


class _NoneLarger(TorchFunctionMode):
    """No tensor can be made of more elements: a file could describe a network of any size, which fills the memory."""

    def __init__(self, elements: int) -> None:
        super().__init__()
        self.elements = elements

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))  # memory is taken when it is written to, which comes after
        if isinstance(made, Tensor) and made.numel() > self.elements:
            raise ValueError("it would be larger than the weights in the file")
        return made


def _check_shapes(encoder: Encoder, state: Mapping[str, Tensor], file: Path) -> None:
    expected = {name: tuple(tensor.shape) for name, tensor in encoder.state_dict().items()}
    given = {name: tuple(tensor.shape) for name, tensor in state.items()}
    wrong = [name for name in expected | given if expected.get(name) != given.get(name)]
    if wrong:
        there, described = (str(shapes.get(wrong[0], "missing")) for shapes in (given, expected))
        raise ValueError(
            f"{file}: its weights do not fit the encoder it describes: {wrong[0]} is {there}, expected {described}"
        )


def _head(
    class_names: Sequence[str] | None, state: Mapping[str, Tensor], file: Path, normalized: bool = False
) -> LinearHead | None:
    if class_names is None:
        return None
    try:
        return LinearHead(class_names, state["weight"], state["bias"], normalized)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{file}: its classifier is not whole ({reason(error)})") from None


def _choose(stream: Stream | None, streams: tuple[Stream, ...], file: Path) -> Stream:
    if stream is None and len(streams) == 1:
        return streams[0]
    if stream is None:
        raise ValueError(f"{file} holds an encoder for each of {', '.join(streams)}: choose one with --stream")
    if stream not in streams:
        raise ValueError(f"{file} was trained on the {' and the '.join(streams)} stream, not on {stream}")
    return stream


def _below(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


def _build(description: Mapping[str, Any], file: Path) -> Encoder:
    class_path, settings = str(description.get("class_path")), description.get("init_args")
    module, _, name = class_path.rpartition(".")
    if module.startswith("hiclr.encoders."):
        with contextlib.suppress(ModuleNotFoundError):
            importlib.import_module(module)
    # a file must not choose what is imported: an encoder of one's own is known once its module is
    kind = getattr(sys.modules.get(module), name, None)
    if not (isinstance(kind, type) and issubclass(kind, Encoder)) or inspect.isabstract(kind):
        raise ValueError(f"{file}: {class_path} is no hiclr Encoder, or its module was not imported before")
    try:
        encoder: Encoder = kind(**(settings or {}))
    except (TypeError, ValueError, KeyError, AttributeError, RuntimeError, OverflowError) as error:
        raise ValueError(f"{file}: no {name} can be built as it says ({reason(error)})") from None
    return encoder
