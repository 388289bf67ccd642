"""How jsonargparse reads options and recipes here: a file says what is built, and never what is run."""

from __future__ import annotations

import sys
from typing import Any

from jsonargparse import get_loader, set_loader, set_parsing_settings
from yaml import YAMLError

from hiclr import plain_yaml

_load = get_loader("yaml")  # jsonargparse's own, which knows numbers such as 1e-3


def _load_plain(text: str) -> Any:
    plain_yaml.check(text)
    content = _load(text)
    if isinstance(content, dict) and "config" in content:  # jsonargparse breaks on it
        raise ValueError("a recipe cannot name another one: give both, --config ONE.yaml --config OTHER.yaml")
    return content


def trust_no_file() -> None:
    """Sets jsonargparse up: only types say what may be built, or be null, and nothing of Python's own is to be named.

    A class of one's own is found where Python finds modules, as in `PYTHONPATH=. hiclr pretrain --config mine.yaml`.
    """
    set_parsing_settings(
        unset_sentinel=True,  # else null would be taken for every type
        instantiate_subclass_spec_in_any=False,
        import_path_denylist=sorted({*sys.stdlib_module_names, "jsonargparse"}),
    )
    set_loader("yaml", _load_plain, exceptions=(YAMLError, ValueError))
