"""Kinect v1 recordings of one body: NW-UCLA's `.json` and UTD-MHAD's `.mat`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hiclr.data.recordings.base import Recording, to_float32
from hiclr.data.recordings.mat import read_mat
from hiclr.forms import reason
from hiclr.skeleton import SKELETONS

_JOINTS = SKELETONS["kinect20"].joint_names

# The order in UTD-MHAD's files; here as everywhere the SDK's order is used.
_HEAD_FIRST = (
    *("head", "shoulder_center", "spine", "hip_center"),
    *("shoulder_left", "elbow_left", "wrist_left", "hand_left"),
    *("shoulder_right", "elbow_right", "wrist_right", "hand_right"),
    *("hip_left", "knee_left", "ankle_left", "foot_left"),
    *("hip_right", "knee_right", "ankle_right", "foot_right"),
)
_TO_SDK_ORDER = [_HEAD_FIRST.index(joint) for joint in _JOINTS]

MAT_LARGEST = 1 << 20  # bytes: two thousand frames, while the longest clip has 125


def read_nwucla(path: Path | str, label: int) -> Recording:
    """Reads an NW-UCLA `.json`: {"file_name": ..., "skeletons": (F, 20, 3) in metres, "label": from 1}.

    Args:
        path: named as its `file_name`.
        label: what `label` must be, by the name.

    Raises:
        ValueError: it is no such file, or says it is another recording; the sentence names the file.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path.name} is no JSON ({reason(error)})") from None
    if not isinstance(content, dict) or not {"file_name", "skeletons", "label"} <= content.keys():
        raise ValueError(f"{path.name}: expected an object with file_name, skeletons and label")
    if content["file_name"] != path.stem:
        raise ValueError(f"{path.name} says it is {content['file_name']!r:.40}: give it its own name back")
    if content["label"] != label:
        raise ValueError(f"{path.name} has label {content['label']!r:.40}, but by its name it must be {label}")
    return Recording(path.stem, _one_body(content["skeletons"], path.name))


def read_utdmhad(path: Path | str) -> Recording:
    """Reads a UTD-MHAD `.mat`, `d_skel` (20, 3, F) in metres; joints come out in the order of "kinect20".

    Nothing but that array is read, and it must be plain numbers.

    Raises:
        ValueError: it is no such file; the sentence names it.
    """
    path = Path(path)
    skeleton = read_mat(path, "d_skel", MAT_LARGEST)
    if skeleton.ndim == 2:  # MATLAB drops the last dimension of a single frame
        skeleton = skeleton[..., None]
    if skeleton.ndim != 3 or skeleton.shape[:2] != (len(_HEAD_FIRST), 3):
        raise ValueError(f"{path.name}: expected d_skel as (20, 3, frames), got {skeleton.shape}")
    frames = skeleton.transpose(2, 0, 1)[:, _TO_SDK_ORDER]
    return Recording(path.stem.removesuffix("_skeleton"), _one_body(frames, path.name))


def _one_body(values: Any, name: str) -> NDArray[np.float32]:
    """Frames of one body as (F, 1, 20, 3), after a look at whether they are numbers of that shape."""
    joints = len(_JOINTS)
    try:
        array = np.asarray(values)
    except ValueError:
        raise ValueError(f"{name}: expected numbers (frames, {joints}, 3), got lists of unequal lengths") from None
    if array.shape == (0,):  # an empty list
        array = np.zeros((0, joints, 3))
    if array.dtype.kind not in "fiu" or array.shape[1:] != (joints, 3):
        raise ValueError(f"{name}: expected numbers (frames, {joints}, 3), got {array.dtype} {array.shape}")
    return to_float32(array)[:, None]
