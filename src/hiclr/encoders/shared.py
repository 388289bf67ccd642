"""The model folder: weights that people share, as tensors and JSON alone; nothing in it is run.

- `config.json`: how the encoder is built, its stream, the preparation it expects, its classes, where it comes from, and
  the SHA-256 of the weights, so that two halves of different models are told from one;
- `model.safetensors`: the tensors;
- `README.md`: the model card, for people.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Mapping
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from typing import Any, get_args

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, float32

from hiclr.forms import Maybe, Null, misfits, read_json
from hiclr.functional import Stream
from hiclr.hub import fetch, is_hub_name

CONFIG, WEIGHTS, CARD = PARTS = "config.json", "model.safetensors", "README.md"
FORMAT = 1

RUN: dict[str, Any] = {  # what others rely on in the settings of a training, if they are there
    "data": Maybe({"corpus": Maybe(Null(str)), "preparation": Maybe(Null(dict))}),
    "learner": Maybe(dict),
    "max_epochs": Maybe(Null(int)),
}
RUN["pretraining"] = Maybe(RUN)  # what it started from
_FORM = {  # of a model's configuration
    "encoder": {"class_path": str, "init_args": dict},
    "weights": str,
    "stream": frozenset(get_args(Stream)),
    "preparation": dict,
    "head": Null({"class_names": [str], "normalized": bool}),
    "epochs": Null(int),
    "figures": {...: float},
    "run": RUN,
}


def is_model_folder(path: Path) -> bool:
    """Whether a folder holds the parts of a model.

    Raises:
        ValueError: it holds weights alone, as a save that was stopped leaves them.
    """
    parts = [(path / name).is_file() for name in (CONFIG, WEIGHTS)]
    if parts == [False, True]:
        raise ValueError(f"{path} is half-written (no {CONFIG}): save or copy the model again")
    return all(parts)


def local_path(path: Path | str) -> Path:
    """Where a model lies: the path itself or, for a name on the Hub, the folder it was downloaded to.

    Raises:
        FileNotFoundError: the Hub has no such model, or cannot be reached.
        ValueError: what it has there is no model of hiclr.
    """
    return hub_folder(str(path)) if is_hub_name(path) else Path(path)


def hub_folder(name: str, revision: str | None = None, token: str | None = None) -> Path:
    """The model folder of a model on the Hub (see `hiclr.hub.fetch`).

    Raises:
        FileNotFoundError: the Hub has no such model, or cannot be reached.
        ValueError: what it has there is no model of hiclr.
    """
    folder = fetch(name, PARTS, revision, token)
    if not is_model_folder(folder):
        raise ValueError(f"{name} on the Hugging Face Hub is no model of hiclr: it lacks {CONFIG} or {WEIGHTS}")
    return folder


def read_config(folder: Path) -> dict[str, Any]:
    """The configuration of a model folder.

    Raises:
        ValueError: it is damaged, or of another kind.
    """
    try:
        config = read_json(folder / CONFIG)
    except ValueError as error:
        raise ValueError(f"{folder / CONFIG} is no JSON ({error}): save or copy the model again") from None
    if not isinstance(config, dict) or "hiclr_format" not in config:
        raise ValueError(f"{folder / CONFIG} is not of a model of hiclr: give a folder that save_pretrained wrote")
    if config["hiclr_format"] != FORMAT:
        raise ValueError(f"{folder} is of format {config['hiclr_format']}, this hiclr reads {FORMAT}: update hiclr")
    if wrong := misfits(config, _FORM):
        raise ValueError(
            f"{folder / CONFIG} does not say the model's {' and '.join(wrong)}, or not as expected: "
            "save or copy the model again"
        )
    return config


def read_tensors(folder: Path, config: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors of a model folder.

    Raises:
        ValueError: the file is damaged, or not the one that the configuration was written for.
    """
    file = folder / WEIGHTS
    with file.open("rb") as content:  # of whatever size: it is not there in memory until it is known to be meant
        found = hashlib.file_digest(content, "sha256").hexdigest()
    if f"sha256:{found}" != config["weights"]:
        raise ValueError(f"{file} is damaged, or of another model than {CONFIG} beside it: save or copy it again")
    try:
        tensors = {name: tensor.clone() for name, tensor in load_file(file).items()}  # the file may be replaced
    except (SafetensorError, AttributeError, TypeError) as error:  # it knows types of numbers that PyTorch does not
        raise ValueError(f"{file} is no safetensors file ({error}): save the model again") from None
    check_precision(tensors, file)
    return tensors


def check_precision(tensors: Mapping[str, Tensor], what: Path | str) -> None:
    """ValueError unless all weights are in float32: others would not give the same features after loading."""
    others = {str(value.dtype) for value in tensors.values() if value.is_floating_point() and value.dtype != float32}
    if others:
        raise ValueError(
            f"{what} is in {min(others).removeprefix('torch.')}: models are shared in float32 (model.float())"
        )


def digest(content: bytes) -> str:
    """What `config.json` says of the weights."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def without_paths(facts: Any) -> Any:
    """The settings of a run without the places on its author's machine: of each path its last part is kept.

    Options repeat what the settings say, with more paths, and are left out.
    """
    if isinstance(facts, Mapping):
        kept = {str(key): value for key, value in facts.items() if key != "options"}
        return {key: _command(value) if key == "command" else without_paths(value) for key, value in kept.items()}
    if isinstance(facts, list | tuple):
        return [without_paths(fact) for fact in facts]
    if isinstance(facts, PurePath) or (isinstance(facts, str) and _is_place(facts)):
        return _last_part(str(facts))
    return facts


def _command(line: Any) -> Any:
    if not isinstance(line, str):
        return None
    try:
        words = [word.rpartition("=") for word in shlex.split(line)]
    except ValueError:  # an open quote: not written by hiclr
        return None
    return shlex.join(f"{option}{equals}{_last_part(value)}" for option, equals, value in words)


def _is_place(text: str) -> bool:
    if "\n" in text or len(text) < 2:
        return False
    return (
        PurePosixPath(text).is_absolute() or PureWindowsPath(text).is_absolute() or text.startswith(("~", "..", "./"))
    )


def _last_part(path: str) -> str:
    return PureWindowsPath(path).name or path  # which knows both kinds of slashes
