"""Files that `torch.save` wrote: tensors and plain containers, and nothing that is larger than the file."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hiclr.forms import reason

_MOST_DEPTH = 100  # containers in containers
_MOST_PARTS = 10_000_000  # of all containers, written out; a list that is in many places counts as often
_ZIP = b"PK"
_OPEN = -1  # the count of a container that is being counted


def read_safely(path: Path) -> Mapping[str, Any]:
    """The dict in a file that `torch.save` wrote, if it holds tensors and plain containers alone.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is damaged, would run code, or would unfold to more than the file holds.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {path}")
    try:
        _check_packing(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
        _parts(content, {}, 0)
    except Exception as error:  # damage shows in many ways
        why = reason((str(error).splitlines() or [type(error).__name__])[0])
        raise ValueError(f"{path} is no file of tensors and plain values: {why}") from None
    if not isinstance(content, Mapping):
        raise ValueError(f"{path} holds a {type(content).__name__}, expected a dict of tensors")
    return content


def _check_packing(path: Path) -> None:
    """ValueError for a zip archive whose parts are compressed or lie over one another: a bomb."""
    with path.open("rb") as file:
        if file.read(len(_ZIP)) != _ZIP:
            return  # as old versions wrote it: one pickle after the other
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(entry.file_size for entry in archive.infolist())
    if unpacked > path.stat().st_size:
        raise ValueError(f"its parts take {unpacked} bytes, more than the file")


def _parts(content: Any, counted: dict[int, int], depth: int) -> int:
    """How many parts containers have, written out; ValueError for too many, or a tensor that is not what it seems."""
    if isinstance(content, Tensor):
        _check_plain(content)
    if not isinstance(content, Mapping | list | tuple | set | frozenset):
        return 1
    known = counted.get(id(content))
    if known == _OPEN or depth > _MOST_DEPTH:
        raise ValueError("it holds containers within containers without end")
    if known is None:
        counted[id(content)] = _OPEN
        inner = [*content, *content.values()] if isinstance(content, Mapping) else content
        known = 1 + sum(_parts(part, counted, depth + 1) for part in inner)
        counted[id(content)] = known
    if known > _MOST_PARTS:
        raise ValueError(f"it unfolds to more than {_MOST_PARTS} values")
    return known


def _check_plain(tensor: Tensor) -> None:
    """ValueError unless each element of a tensor is there in memory."""
    plain = type(tensor) in (Tensor, nn.Parameter) and tensor.layout == torch.strided and not tensor.is_quantized
    if not plain or tensor.device.type != "cpu":
        raise ValueError(f"it holds a tensor of another kind ({tensor.layout}, {tensor.device}, {tensor.dtype})")
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise ValueError(f"it holds a tensor {tuple(tensor.shape)} without as many numbers")
