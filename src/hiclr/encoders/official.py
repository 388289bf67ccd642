"""Weights that the published implementations wrote, under their key names, into our encoders."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from hiclr.encoders.base import Encoder
from hiclr.encoders.dsta import DSTA
from hiclr.encoders.safely import read_safely
from hiclr.encoders.stgcn import STGCN
from hiclr.skeleton import SKELETONS, Skeleton

_QUERY = "encoder_q"
_Renames = tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...]  # beginnings of names: ours, theirs


class _Published(NamedTuple):
    """How an encoder is told from the published names, built, and its own names turned into theirs."""

    name: str
    sign: str  # what one of the names begins with
    joints: tuple[str, int]  # a tensor whose last dimension is V, and how many dimensions it has
    width: tuple[str, int]  # a tensor whose first dimension is the width, and how many it has
    build: Callable[[Skeleton, int], Encoder]
    renames: _Renames


_STGCN = _Published(
    "ST-GCN",
    sign="",
    joints=("A", 3),
    width=("st_gcn_networks.0.tcn.0.weight", 1),
    build=lambda skeleton, width: STGCN(skeleton, width=width),
    renames=(
        (r"adjacency$", "A"),
        (r"input_norm\.", "data_bn."),
        (r"blocks\.(\d+)\.importance$", lambda block: f"edge_importance{int(block[1]) + 1}"),
        (r"blocks\.(\d+)\.graph\.", r"st_gcn_networks.\1.gcn.conv."),
        (r"blocks\.(\d+)\.norm\.", r"st_gcn_networks.\1.tcn.0."),
        (r"blocks\.(\d+)\.temporal\.0\.", r"st_gcn_networks.\1.tcn.2."),
        (r"blocks\.(\d+)\.temporal\.1\.", r"st_gcn_networks.\1.tcn.3."),
        (r"blocks\.(\d+)\.residual\.", r"st_gcn_networks.\1.residual."),
    ),
)
# SkeletonCLR, AimCLR and CrosSCLR keep the importances in a list
_STGCN_WITH_LIST = _STGCN._replace(
    sign="edge_importance.",
    renames=((r"blocks\.(\d+)\.importance$", r"edge_importance.\1"), *_STGCN.renames),
)
_DSTA = _Published(
    "DSTA",
    sign="graph_layers.",
    joints=("graph_layers.0.attention0s", 4),
    width=("proj.weight", 4),
    build=lambda skeleton, width: DSTA(skeleton, base_channels=width),
    renames=(
        (r"input_map\.0\.", "proj."),
        (r"input_map\.1\.", "input_map.0."),
        (r"blocks\.(\d+)\.attention\.queries_keys\.", r"graph_layers.\1.in_nets."),
        (r"blocks\.(\d+)\.attention\.strength$", r"graph_layers.\1.alphas"),
        (r"blocks\.(\d+)\.attention\.global_map$", r"graph_layers.\1.attention0s"),
        (r"blocks\.(\d+)\.mix\.", r"graph_layers.\1.out_nets."),
        (r"blocks\.(\d+)\.mix_residual\.", r"graph_layers.\1.downs1."),
        (r"blocks\.(\d+)\.feed_forward\.", r"graph_layers.\1.ff_nets."),
        (r"blocks\.(\d+)\.feed_forward_residual\.", r"graph_layers.\1.downs2."),
        (r"blocks\.(\d+)\.temporal\.", r"graph_layers.\1.out_nett."),
        (r"blocks\.(\d+)\.temporal_residual\.", r"graph_layers.\1.downt2."),
    ),
)


def load_official(path: str | Path) -> Encoder:
    """The query encoder of a published `.pt`, in eval mode.

    Files of HiCLR (ST-GCN, DSTA), AimCLR, SkeletonCLR and CrosSCLR are known, the joint stream's of the three in
    the last. Only tensors are read: nothing in the file is run. What else it holds (key encoder, queue, head) is
    passed over.

    Args:
        path: a state dict with the published key names ("encoder_q.st_gcn_networks.0.gcn.conv.weight").

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: naming what the file lacks, or what does not fit.
    """
    return encoder_from_published(read_safely(Path(path)), path)


def encoder_from_published(content: Mapping[str, Any], path: str | Path, stream: str = "joint") -> Encoder:
    """The same, from the contents of such a file; `path` is for the messages.

    Args:
        content: the state dict.
        path: where it came from.
        stream: whose encoder, where the file holds several (CrosSCLR); else there is but one.

    Raises:
        ValueError: as `load_official`.
    """
    prefix, state = _tensors_of(content, stream)
    if not state:
        raise ValueError(f"{path} holds no published weights: no tensor in it is named {prefix}...")
    known = next(kind for kind in (_DSTA, _STGCN_WITH_LIST, _STGCN) if any(key.startswith(kind.sign) for key in state))
    for key, dims in (known.joints, known.width):
        if key not in state or state[key].ndim != dims or not state[key].numel():
            raise ValueError(
                f"{path} holds no published {known.name} weights: {prefix}{key} is missing or no tensor of {dims} "
                "dimensions"
            )
    skeleton = _skeleton_of(state[known.joints[0]].shape[-1], path)
    encoder = known.build(skeleton, len(state[known.width[0]]))
    ours = encoder.state_dict()
    published = {name: _published_name(name, known.renames) for name in ours}
    missing = [prefix + key for key in published.values() if key not in state]
    if missing:
        raise ValueError(f"{path} lacks {len(missing)} of {len(ours)} tensors: {', '.join(missing[:5])}")
    for name, key in published.items():
        if state[key].shape != ours[name].shape:
            raise ValueError(
                f"{path}: {prefix}{key} has shape {tuple(state[key].shape)}, "
                f"{known.name} needs {tuple(ours[name].shape)}"
            )
    encoder.load_state_dict({name: state[key] for name, key in published.items()})
    return encoder.eval()


def _tensors_of(content: Mapping[str, Any], stream: str) -> tuple[str, dict[str, Tensor]]:
    """The tensors of a stream's query encoder, and what was cut off the beginning of their names."""
    plain = {str(key).removeprefix("module."): value for key, value in content.items()}  # DataParallel's
    prefix = f"{_QUERY}_{stream}."
    if not any(key.startswith(prefix) for key in plain):
        prefix = f"{_QUERY}."
    own = {key: value for key, value in plain.items() if key.startswith(prefix) and isinstance(value, Tensor)}
    return prefix, {key.removeprefix(prefix): value for key, value in own.items()}


def _skeleton_of(joints: int, path: str | Path) -> Skeleton:
    for skeleton in SKELETONS.values():
        if skeleton.num_joints == joints:
            return skeleton
    raise ValueError(f"{path} was made for {joints} joints, which no known skeleton has ({', '.join(SKELETONS)})")


def _published_name(name: str, renames: _Renames) -> str:
    for pattern, replacement in renames:
        name = re.sub(f"^{pattern}", replacement, name)
    return name
