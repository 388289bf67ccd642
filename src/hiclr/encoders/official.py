"""Weights that the published implementation wrote, under its key names, into our encoders."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hiclr.encoders.base import Encoder
from hiclr.encoders.stgcn import STGCN
from hiclr.skeleton import SKELETONS, Skeleton

_PREFIX = "encoder_q."
_ADJACENCY = f"{_PREFIX}A"
_FIRST_NORM = f"{_PREFIX}st_gcn_networks.0.tcn.0.weight"

# our names -> the published ones
_RENAMES = (
    (r"^adjacency$", "A"),
    (r"^input_norm\.", "data_bn."),
    (r"^blocks\.(\d+)\.graph\.", r"st_gcn_networks.\1.gcn.conv."),
    (r"^blocks\.(\d+)\.norm\.", r"st_gcn_networks.\1.tcn.0."),
    (r"^blocks\.(\d+)\.temporal\.0\.", r"st_gcn_networks.\1.tcn.2."),
    (r"^blocks\.(\d+)\.temporal\.1\.", r"st_gcn_networks.\1.tcn.3."),
    (r"^blocks\.(\d+)\.residual\.", r"st_gcn_networks.\1.residual."),
)


def load_official(path: str | Path) -> Encoder:
    """The query encoder of a published `.pt`, in eval mode.

    Only tensors are read: nothing in the file is run. What else it holds (key encoder, queue, head)
    is passed over.

    Args:
        path: a state dict with the published key names ("encoder_q.st_gcn_networks.0.gcn.conv.weight").

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: naming what the file lacks, or what does not fit.
    """
    return encoder_from_published(read_safely(Path(path)), path)


def encoder_from_published(content: Mapping[str, Any], path: str | Path) -> Encoder:
    """The same, from the contents of such a file; `path` is for the messages.

    Raises:
        ValueError: as `load_official`.
    """
    state = {key: value for key, value in content.items() if isinstance(value, Tensor)}
    for key, dims in ((_ADJACENCY, 3), (_FIRST_NORM, 1)):
        if key not in state or state[key].ndim != dims or not len(state[key]):
            raise ValueError(
                f"{path} holds no published ST-GCN weights: {key} is missing or no tensor of {dims} dimensions"
            )
    encoder = STGCN(_skeleton_of(state[_ADJACENCY].shape[-1], path), width=len(state[_FIRST_NORM]))
    ours = encoder.state_dict()
    published = {name: _PREFIX + _published_name(name) for name in ours}
    missing = [key for key in published.values() if key not in state]
    if missing:
        raise ValueError(f"{path} lacks {len(missing)} of {len(ours)} tensors: {', '.join(missing[:5])}")
    for name, key in published.items():
        if state[key].shape != ours[name].shape:
            raise ValueError(
                f"{path}: {key} has shape {tuple(state[key].shape)}, ST-GCN needs {tuple(ours[name].shape)}"
            )
    encoder.load_state_dict({name: state[key] for name, key in published.items()})
    return encoder.eval()


def read_safely(path: Path) -> Mapping[str, Any]:
    """The dict in a file that `torch.save` wrote, if it holds tensors and plain containers alone.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is damaged, or would run code.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {path}")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damage shows in many ways
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{path} is no file of tensors and plain values: {reason}") from None
    if not isinstance(content, Mapping):
        raise ValueError(f"{path} holds a {type(content).__name__}, expected a dict of tensors")
    return content


def _skeleton_of(joints: int, path: str | Path) -> Skeleton:
    for skeleton in SKELETONS.values():
        if skeleton.num_joints == joints:
            return skeleton
    raise ValueError(f"{path} was made for {joints} joints, which no known skeleton has ({', '.join(SKELETONS)})")


def _published_name(name: str) -> str:
    importance = re.match(r"^blocks\.(\d+)\.importance$", name)
    if importance:
        return f"edge_importance{int(importance[1]) + 1}"
    for pattern, replacement in _RENAMES:
        name = re.sub(pattern, replacement, name)
    return name
