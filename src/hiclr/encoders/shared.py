"""The model folder: weights that people share, as tensors and JSON alone; nothing in it is run.

- `config.json`: how the encoder is built, its stream, the preparation it expects, its classes, where it comes from;
- `model.safetensors`: the tensors;
- `README.md`: the model card, for people.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"
FORMAT = 1

_NEEDED = {"encoder": dict, "stream": str, "preparation": dict, "run": dict}


def is_model_folder(path: Path) -> bool:
    """Whether a folder holds the parts of a model."""
    return (path / CONFIG).is_file() and (path / WEIGHTS).is_file()


def read_config(folder: Path) -> dict[str, Any]:
    """The configuration of a model folder.

    Raises:
        ValueError: it is damaged, or of another kind.
    """
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{folder / CONFIG} is no JSON ({error}): save the model again") from None
    if not isinstance(config, dict) or "hiclr_format" not in config:
        raise ValueError(f"{folder / CONFIG} is not of a model of hiclr: give a folder that save_pretrained wrote")
    if config["hiclr_format"] != FORMAT:
        raise ValueError(f"{folder} is of format {config['hiclr_format']}, this hiclr reads {FORMAT}: update hiclr")
    wrong = [key for key, kind in _NEEDED.items() if not isinstance(config.get(key), kind)]
    if wrong:
        raise ValueError(f"{folder / CONFIG} does not say the model's {' and '.join(wrong)}: save the model again")
    return config


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """The tensors of a model folder.

    Raises:
        ValueError: the file is damaged.
    """
    try:
        return load_file(folder / WEIGHTS)
    except (SafetensorError, ValueError, OSError) as error:
        raise ValueError(f"{folder / WEIGHTS} is damaged ({error}): copy or save the model again") from None
