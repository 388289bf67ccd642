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
_WEIGHTS = "query.encoder."


@dataclass(frozen=True)
class TrainedEncoder:
    """An encoder in eval mode, and what is known of its training.

    Args:
        path: the file it came from.
        encoder: the network.
        stream: what it was trained on.
        epochs: how many epochs it was trained; None for published weights.
        run: the settings of the run; empty for published weights.
    """

    path: Path
    encoder: Encoder
    stream: Stream
    epochs: int | None
    run: Mapping[str, Any]


def describe(encoder: Encoder, stream: Stream) -> dict[str, Any]:
    """What `load_encoder` needs beside the weights, in plain containers."""
    kind = type(encoder)
    return {
        "encoder": {
            "class_path": f"{kind.__module__}.{kind.__qualname__}",
            "init_args": {"skeleton": encoder.skeleton.to_dict(), **encoder.settings},
        },
        "stream": stream,
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
        stream: what published weights were trained on (such files do not say; joint when None).
            Our own checkpoints know theirs.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file holds no encoder, or one of another stream.
    """
    file = checkpoint_path(path)
    content = read_safely(file)
    if CHECKPOINT_KEY not in content:
        return TrainedEncoder(file, encoder_from_published(content, file), stream or "joint", None, {})
    known = content[CHECKPOINT_KEY]
    if stream is not None and stream != known["stream"]:
        raise ValueError(f"{file} was trained on the {known['stream']} stream, not on {stream}")
    encoder = _build(known["encoder"])
    try:
        encoder.load_state_dict(_encoder_weights(content.get("state_dict", {})))
    except RuntimeError as error:
        raise ValueError(f"{file}: its weights do not fit the encoder it describes: {error}") from None
    return TrainedEncoder(file, encoder.eval(), known["stream"], known["epochs"], known["run"])


def _encoder_weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix(_WEIGHTS): value for key, value in state.items() if key.startswith(_WEIGHTS)}


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
