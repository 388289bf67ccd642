"""Pickles of pose annotations, as PYSKL and MMAction2 use them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hiclr.data.recordings.base import Recording, to_float32
from hiclr.data.recordings.pickled import Array, read_pickle
from hiclr.forms import reason

MAX_CLASSES = 1 << 16  # a label beyond is an error, and must not ask for as many class names
_FARTHEST = 100  # metres from the camera; farther away "metres" are something else


class Annotation(NamedTuple):
    """One sequence of the file.

    Args:
        name: its `frame_dir`.
        label: its class, from 0.
        keypoint: (M, T, V, C).
        image: height and width in pixels where C is 2.
    """

    name: str
    label: int
    keypoint: NDArray[Any]
    image: tuple[float, float] | None


@dataclass(frozen=True, eq=False)
class PysklFile:
    """A pickle of pose annotations.

    Args:
        annotations: one per sequence, all with the same joints and the same C, and different names.
        split: name -> the names of sequences in it.
    """

    annotations: tuple[Annotation, ...]
    split: dict[str, tuple[str, ...]]

    @property
    def joints(self) -> int:
        """V."""
        return int(self.annotations[0].keypoint.shape[2])

    @property
    def planar(self) -> bool:
        """Whether the poses are of two coordinates in pixels (C = 2) and not of three in metres (C = 3)."""
        return self.annotations[0].image is not None

    @property
    def bodies(self) -> int:
        """The largest M."""
        return max(len(annotation.keypoint) for annotation in self.annotations)

    def read(self, index: int) -> Recording:
        """Sequence `index`; see `from_pixels` for what becomes of pixels.

        Raises:
            ValueError: coordinates of three are no metres.
        """
        annotation = self.annotations[index]
        keypoint = to_float32(annotation.keypoint).swapaxes(0, 1)
        if annotation.image is not None:
            return Recording(annotation.name, from_pixels(keypoint, *annotation.image))
        if (np.abs(keypoint) > _FARTHEST).any():
            raise ValueError(
                f"{reason(annotation.name)}: coordinates reach {np.nanmax(np.abs(keypoint)):g}, which are no metres "
                "(pixels need a keypoint of 2 coordinates, scores go into keypoint_score)"
            )
        return Recording(annotation.name, np.ascontiguousarray(keypoint))


def from_pixels(keypoint: NDArray[np.float32], height: float, width: float) -> NDArray[np.float32]:
    """Poses in an image: the origin in its middle, y up, in units of its height, and z = 0.

    A joint at pixel (0, 0) was not found, as pose estimators write it, and is zero.

    Args:
        keypoint: (..., 2) in pixels, x to the right and y down.
        height: of the image in pixels.
        width: of the image in pixels.

    Returns:
        (..., 3).
    """
    x, y = keypoint[..., 0], keypoint[..., 1]
    pose = np.stack([(x - width / 2) / height, (height / 2 - y) / height, np.zeros_like(x)], -1)
    found = keypoint.any(-1, keepdims=True)
    return np.where(found, pose, 0).astype(np.float32)


def open_pyskl(path: Path | str) -> PysklFile:
    """Opens and checks a pickle of pose annotations; their coordinates are not looked at.

    Either {"split": {name: [frame_dir, ...]}, "annotations": [...]} or the list of annotations alone. Each is a
    dictionary with `frame_dir`, `label`, `keypoint` (M, T, V, C) and, for C = 2, `img_shape` (height, width).

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no pickle of arrays and plain containers, or what it holds does not fit together.
    """
    content = read_pickle(path)
    try:
        return _pyskl(content)
    except ValueError as error:
        raise ValueError(f"{path}: {reason(error)}") from None


def _pyskl(content: Any) -> PysklFile:
    if isinstance(content, list):
        content = {"annotations": content}
    if not isinstance(content, dict) or not isinstance(content.get("annotations"), list):
        raise ValueError("must hold a list of annotations, or a dictionary with the lists `annotations` and `split`")
    annotations = tuple(_annotation(fields, at) for at, fields in enumerate(content["annotations"]))
    if not annotations:
        raise ValueError("holds no annotations")
    _check_alike(annotations)
    return PysklFile(annotations, _split(content.get("split") or {}))


def _annotation(fields: Any, at: int) -> Annotation:
    if not isinstance(fields, dict):
        raise ValueError(f"annotation {at} must be a dictionary, got {type(fields).__name__}")
    fields = {key: value.array if isinstance(value, Array) else value for key, value in fields.items()}
    name = fields.get("frame_dir")
    where = f"annotation {at} ({name})" if isinstance(name, str) else f"annotation {at}"
    for key in ("frame_dir", "label", "keypoint"):
        if key not in fields:
            raise ValueError(f"{where} lacks the key {key!r}; it holds {', '.join(map(str, fields))}")
    label, keypoint = fields["label"], fields["keypoint"]
    if not isinstance(name, str) or not name:
        raise ValueError(f"{where}: frame_dir must be text, got {_shown(name)}")
    if type(label) is not int or not 0 <= label < MAX_CLASSES:
        raise ValueError(f"{where}: label must be a whole number from 0 to {MAX_CLASSES - 1}, got {_shown(label)}")
    if not isinstance(keypoint, np.ndarray) or keypoint.dtype.kind not in "fiu":
        raise ValueError(f"{where}: keypoint must be an array of numbers, got {_shown(keypoint)}")
    if len(keypoint.shape) != 4 or keypoint.shape[3] not in (2, 3) or not keypoint.shape[2]:
        raise ValueError(f"{where}: keypoint must be (bodies, frames, joints, 2 or 3), got {keypoint.shape}")
    if fields.get("total_frames", keypoint.shape[1]) != keypoint.shape[1]:
        raise ValueError(
            f"{where}: total_frames is {_shown(fields['total_frames'])}, but keypoint has {keypoint.shape[1]} frames"
        )
    return Annotation(name, label, keypoint, _image(fields, where) if keypoint.shape[3] == 2 else None)


def _image(fields: dict[Any, Any], where: str) -> tuple[float, float]:
    if "img_shape" not in fields:
        raise ValueError(f"{where} lacks `img_shape` (height, width), without which pixels have no scale")
    image = fields["img_shape"]
    if isinstance(image, np.ndarray):
        image = image.tolist()
    if (
        not isinstance(image, Sequence)
        or len(image) < 2
        or not all(type(side) in (int, float) and 0 < side < np.inf for side in image[:2])
    ):
        raise ValueError(f"{where}: img_shape must be (height, width) in pixels, got {_shown(image)}")
    return float(image[0]), float(image[1])


def _check_alike(annotations: Sequence[Annotation]) -> None:
    seen = set()
    first = annotations[0]
    for at, (name, _, keypoint, _) in enumerate(annotations):
        if name in seen:
            raise ValueError(f"annotation {at}: frame_dir {name!r} occurs twice")
        seen.add(name)
        if keypoint.shape[2:] != first.keypoint.shape[2:]:
            raise ValueError(
                f"annotation {at} ({name}) has {keypoint.shape[2]} joints of {keypoint.shape[3]} coordinates, "
                f"but annotation 0 ({first.name}) {first.keypoint.shape[2]} of {first.keypoint.shape[3]}"
            )


def _split(split: Any) -> dict[str, tuple[str, ...]]:
    if not isinstance(split, dict):
        raise ValueError(f"split must be a dictionary of lists of names, got {type(split).__name__}")
    for key, names in split.items():
        if not isinstance(key, str) or not isinstance(names, list | tuple):
            raise ValueError(f"split {_shown(key)} must be a list of names, got {type(names).__name__}")
        strange = [name for name in names if not isinstance(name, str)]
        if strange:
            raise ValueError(f"split {key!r} must be a list of names, one of which is {_shown(strange[0])}")
    return {key: tuple(names) for key, names in split.items()}


def _shown(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype} {value.shape}"
    if isinstance(value, str | int | float | None):
        text = repr(value)
        return text if len(text) <= 40 else text[:40] + "..."
    return type(value).__name__
