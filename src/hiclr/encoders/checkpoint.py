"""From a file of weights to an encoder that can be used: our own checkpoints and the published ones."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from hiclr.encoders.base import Encoder
from hiclr.encoders.official import encoder_from_published, read_safely
from hiclr.functional import Stream

LAST_CHECKPOINT = "last.ckpt"
CHECKPOINT_KEY = "hiclr"


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
    """

    path: Path
    encoder: Encoder
    stream: Stream
    streams: tuple[Stream, ...]
    epochs: int | None
    run: Mapping[str, Any]


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
            f"no checkpoint {file}: give a run's folder or a .ckpt file, as `hiclr pretrain` writes"
        )
    return file


def load_encoder(path: Path | str, stream: Stream | None = None) -> TrainedEncoder:
    """The query encoder of a checkpoint of ours, of a run's folder, or of published weights.

    Only tensors and plain containers are read: nothing in the file is run.

    Args:
        path: a `.ckpt`, a run's folder, or a published `.pt`.
        stream: what published weights were trained on (such files do not say; joint when None). Our own
            checkpoints know theirs; one that holds several encoders needs to be told which.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file holds no encoder, or none of this stream.
    """
    file = checkpoint_path(path)
    content = read_safely(file)
    if CHECKPOINT_KEY not in content:
        stream = stream or "joint"
        return TrainedEncoder(file, encoder_from_published(content, file, stream), stream, (stream,), None, {})
    known = content[CHECKPOINT_KEY]
    lost = [part for part in ("encoder", "weights", "epochs", "run") if part not in known]
    if lost:
        raise ValueError(f"{file} does not say its {' and '.join(lost)}: it was written by another version of hiclr")
    weights: Mapping[Stream, str] = known["weights"]
    stream = _choose(stream, tuple(weights), file)
    encoder = _build(known["encoder"])
    try:
        encoder.load_state_dict(_below(weights[stream], content.get("state_dict", {})))
    except RuntimeError as error:
        raise ValueError(f"{file}: its weights do not fit the encoder it describes: {error}") from None
    return TrainedEncoder(file, encoder.eval(), stream, tuple(weights), known["epochs"], known["run"])


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


def _build(description: Mapping[str, Any]) -> Encoder:
    class_path = description["class_path"]
    module, _, name = class_path.rpartition(".")
    if module.startswith("hiclr.encoders."):
        with contextlib.suppress(ModuleNotFoundError):
            importlib.import_module(module)
    # a file must not choose what is imported: an encoder of one's own is known once its module is
    kind = getattr(sys.modules.get(module), name, None)
    if not (isinstance(kind, type) and issubclass(kind, Encoder)) or inspect.isabstract(kind):
        raise ValueError(f"{class_path} is no hiclr Encoder, or its module was not imported before")
    encoder: Encoder = kind(**description["init_args"])
    return encoder
