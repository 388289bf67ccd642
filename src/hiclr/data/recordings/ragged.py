"""One `.npz` with the sequences of a data set behind one another ("ragged")."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hiclr.data.recordings.archive import Npz, Rows, open_npz
from hiclr.data.recordings.base import PREPARED_COLUMNS, Recording, to_float32
from hiclr.skeleton import SKELETONS, Skeleton, skeleton_of

_FACTS = ("frames", "scale", "offsets", "class_names", "joint_names", "parent", "centre", "shoulders", "mirror", "meta")
_COLUMNS = ("name", "subject", "view", "camera", "setup", "length", "bodies")  # must be one value per sequence


@dataclass(frozen=True, eq=False)
class RaggedFile:
    """A "ragged" `.npz`: sequences of any length behind one another.

    Args:
        name: `dataset` of the file's meta text, or the file's stem.
        frames: (F, M, V, 3), floating point in metres or whole numbers; it stays on disk.
        scale: metres per unit of `frames`.
        offsets: (N+1,); sequence i is frames[offsets[i]:offsets[i+1]].
        samples: N rows: name, label, subject, camera, setup (0 where not stated), further columns of the file, and one
            column per benchmark with "train", "test" or "" (unused).
        benchmarks: names of those columns.
        class_names: one per label.
        skeleton: the joint layout.
        meta: the file's meta text (units, source, licence, citation, ...).
    """

    name: str
    frames: Rows
    scale: float
    offsets: NDArray[np.int64]
    samples: pd.DataFrame
    benchmarks: tuple[str, ...]
    class_names: tuple[str, ...]
    skeleton: Skeleton
    meta: dict[str, Any]

    def read(self, index: int) -> Recording:
        """Sequence `index` in metres."""
        frames = self.frames[self.offsets[index] : self.offsets[index + 1]]
        with np.errstate(over="ignore"):  # as in to_float32
            metres = to_float32(frames) * np.float32(self.scale)
        return Recording(str(self.samples["name"].iloc[index]), metres)


def open_ragged(path: Path | str) -> RaggedFile:
    """Opens and checks a ragged `.npz`; the coordinates themselves are not looked at.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no `.npz`, holds pickles, or what it holds does not fit together.
    """
    with open_npz(path) as arrays:
        return _ragged(arrays, Path(path).stem)


def _ragged(arrays: Npz, stem: str) -> RaggedFile:
    for key in ("frames", "offsets", "label", "class_names"):
        if key not in arrays:
            raise ValueError(f"lacks the key {key!r}; it holds {', '.join(arrays)}")
    shape, offsets = arrays.header("frames").shape, _vector(arrays, "offsets", "iu").astype(np.int64)
    if len(shape) != 4 or shape[3] != 3 or 0 in shape[1:]:
        raise ValueError(f"frames must be (frames, bodies, joints, 3), got {shape}")
    if len(offsets) < 2 or offsets[0] != 0 or offsets[-1] != shape[0] or (np.diff(offsets) < 0).any():
        raise ValueError(f"offsets must rise from 0 to the {shape[0]} frames, one more than there are sequences")
    meta = _meta(arrays)
    name = str(meta.get("dataset", stem))
    class_names = tuple(map(str, _vector(arrays, "class_names", "U")))
    samples, benchmarks = _ragged_samples(arrays, len(offsets) - 1, len(class_names))
    skeleton = _ragged_skeleton(arrays, name, shape[2])
    scale = _scale(arrays)
    return RaggedFile(name, arrays.rows("frames"), scale, offsets, samples, benchmarks, class_names, skeleton, meta)


def _vector(arrays: Npz, key: str, kinds: str, size: int | None = None) -> NDArray[Any]:
    names = {"b": "bool", "i": "whole numbers", "u": "unsigned", "f": "numbers", "U": "text"}
    header = arrays.header(key)
    if len(header.shape) != 1 or (size is not None and header.shape != (size,)):
        raise ValueError(f"{key} must be ({'any' if size is None else size},), got {header.shape}")
    if header.dtype.kind not in kinds:
        raise ValueError(f"{key} must hold {' or '.join(names[kind] for kind in kinds)}, got {header.dtype}")
    return arrays[key]


def _scale(arrays: Npz) -> float:
    dtype = arrays.header("frames").dtype
    if dtype.kind not in "fiu":
        raise ValueError(f"frames must hold numbers, got {dtype}")
    if "scale" not in arrays:
        if dtype.kind != "f":
            raise ValueError(f"frames are {dtype}, so `scale` (metres per unit) must be in the file")
        return 1.0
    scale = arrays["scale"]
    if scale.shape != () or scale.dtype.kind not in "fiu" or not 0 < float(scale) < np.inf:
        raise ValueError(f"scale must be one number above 0, got {scale}")
    return float(scale)


def _meta(arrays: Npz) -> dict[str, Any]:
    if "meta" not in arrays:
        return {}
    try:
        meta = json.loads(str(arrays["meta"][()]))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"meta is no JSON ({error})") from None
    if not isinstance(meta, dict):
        raise ValueError(f"meta must be a JSON object, got {type(meta).__name__}")
    return meta


def _ragged_samples(arrays: Npz, size: int, num_classes: int) -> tuple[pd.DataFrame, tuple[str, ...]]:
    labels = _vector(arrays, "label", "iu", size)
    outside = np.flatnonzero((labels < 0) | (labels >= num_classes))
    if len(outside):
        raise ValueError(
            f"label of sequence {outside[0]} is {labels[outside[0]]}, outside the {num_classes} class names"
        )
    columns: dict[str, Any] = {"name": [f"{i:06d}" for i in range(size)], "label": labels}
    columns |= {column: np.zeros(size, np.int64) for column in ("subject", "camera", "setup")}
    splits: dict[str, Any] = {}
    for key in arrays:
        if key in _FACTS or key == "label":
            continue
        if key.startswith("split_"):
            splits[key.removeprefix("split_")] = _sides(_vector(arrays, key, "biu", size), key)
        elif key not in _COLUMNS and arrays.header(key).shape != (size,):
            continue  # a fact of the file, not of its sequences
        elif key in PREPARED_COLUMNS or (key == "view" and "camera" in arrays):
            raise ValueError(f"the column {key!r} is taken: rename it")
        else:
            columns["camera" if key == "view" else key] = _vector(arrays, key, "U" if key == "name" else "biufU", size)
    taken = [benchmark for benchmark in splits if not benchmark or benchmark in {*columns, *PREPARED_COLUMNS}]
    if taken:
        raise ValueError(f"split_{taken[0]} would make a column {taken[0]!r}, which is taken: rename it")
    duplicates = pd.Series(columns["name"])[pd.Series(columns["name"]).duplicated()]
    if len(duplicates):
        raise ValueError(f"name must tell sequences apart, {duplicates.iloc[0]!r} occurs twice")
    return pd.DataFrame(columns | splits), tuple(splits)


def _sides(split: NDArray[Any], key: str) -> NDArray[Any]:
    split = split.astype(np.int64)
    strange = set(split.tolist()) - {1, 0, -1}
    if strange:
        raise ValueError(f"{key} must hold 1 (train), 0 (test) or -1 (unused), got {min(strange)}")
    return np.where(split == 1, "train", np.where(split == 0, "test", ""))


def _ragged_skeleton(arrays: Npz, name: str, num_joints: int) -> Skeleton:
    if "joint_names" not in arrays and "parent" not in arrays:
        try:
            return skeleton_of(num_joints)
        except ValueError as error:
            raise ValueError(f"{error}: add joint_names (V,) and parent (V,; -1 = root)") from None
    if "joint_names" not in arrays or "parent" not in arrays:
        raise ValueError("holds only one of joint_names and parent: add the other")
    stated: dict[str, Any] = {"name": name}
    stated["joint_names"] = _vector(arrays, "joint_names", "U", num_joints).tolist()
    stated["parents"] = _vector(arrays, "parent", "iu", num_joints).tolist()
    if "centre" in arrays:
        stated["centre"] = str(arrays["centre"])
    for key, shape in (("shoulders", (2,)), ("mirror", (-1, 2))):
        if key in arrays:
            stated[key] = _names(arrays[key], key, shape)
    skeleton = Skeleton.from_dict(stated)
    same = [known for known in SKELETONS.values() if known.to_dict() | {"name": name} == skeleton.to_dict()]
    return same[0] if same else skeleton


def _names(array: NDArray[Any], key: str, shape: tuple[int, ...]) -> list[Any]:
    fits = array.ndim == len(shape) and all(want in (-1, have) for want, have in zip(shape, array.shape, strict=True))
    if array.dtype.kind != "U" or not fits:
        wanted = "(left, right)" if len(shape) == 1 else "[(left, right), ...]"
        raise ValueError(f"{key} must hold joint names {wanted}, got {array.dtype} {array.shape}")
    names: list[Any] = array.tolist()
    return names
