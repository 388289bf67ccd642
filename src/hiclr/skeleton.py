"""Which joints there are and what hangs on what; everything else about a skeleton is derived.

A `Skeleton` states joint names and parents. The centre, the shoulders, the left-right mirror and
the graph follow from them; where a layout's names do not tell (no "left" and "right", no
shoulders), the fact can be stated instead: `centre=`, `shoulders=`, `mirror=`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml
from numpy.typing import NDArray

from hiclr import plain_yaml
from hiclr.forms import read_text
from hiclr.layouts import LAYOUTS

Partition = Literal["published", "spatial"]

MOST_JOINTS = 2000  # a face and two hands have some six hundred; what looks at all pairs would never end for more

_FIELDS = ("name", "joints", "joint_names", "parents", "centre", "shoulders", "mirror")
_NEEDED = "it needs joints (joint: parent), or the lists joint_names and parents"
_SIDES = {"left": "right", "l": "r"}
_SHOULDER_WORDS = ("shoulder", "upperarm")


@dataclass(frozen=True)
class Skeleton:
    """A joint layout.

    Args:
        name: what to call it in files and messages.
        joint_names: one name per joint, V of them; sides are read from the words in them
            ("elbow_left", "left elbow", "l_elbow", "LElbow").
        parents: index of each joint's parent; -1 marks the one root.
        centre: name of the joint that preparation moves to the origin and the graph is
            partitioned about. Derived when None: where the two arms meet.
        shoulders: names of the left and the right shoulder. Derived when None.
        mirror: pairs of names (left, right) that change places in a mirror. Derived when None.

    Raises:
        ValueError: for parents that are no tree over the joints, or a stated name that is no joint.
    """

    name: str
    joint_names: tuple[str, ...]
    parents: tuple[int, ...]
    centre: str | None = None
    shoulders: tuple[str, str] | None = None
    mirror: tuple[tuple[str, str], ...] | None = None

    def __post_init__(self) -> None:
        if self.num_joints > MOST_JOINTS:
            raise ValueError(f"skeleton {self.name!r}: {self.num_joints} joints, more than {MOST_JOINTS}")
        duplicates = sorted({n for n in self.joint_names if self.joint_names.count(n) > 1})
        if duplicates:
            raise ValueError(f"skeleton {self.name!r}: joint names occur twice: {', '.join(duplicates)}")
        if len(self.parents) != self.num_joints:
            raise ValueError(f"skeleton {self.name!r}: {self.num_joints} joint names but {len(self.parents)} parents")
        self._check_tree()
        for stated in (self.centre, *(self.shoulders or ()), *(n for pair in self.mirror or () for n in pair)):
            if stated is not None:
                self.index(stated)
        mirrored = [joint for pair in self.mirror or () for joint in pair]
        twice = sorted({joint for joint in mirrored if mirrored.count(joint) > 1})
        if twice:
            raise ValueError(f"skeleton {self.name!r}: {twice[0]!r} has two mirror images")

    def _check_tree(self) -> None:
        roots = [i for i, p in enumerate(self.parents) if p == -1]
        if len(roots) != 1:
            raise ValueError(f"skeleton {self.name!r}: needs exactly one root (parent -1), has {len(roots)}")
        outside = [p for p in self.parents if not -1 <= p < self.num_joints]
        if outside:
            raise ValueError(f"skeleton {self.name!r}: parent {outside[0]} is no joint (0..{self.num_joints - 1})")
        for joint in range(self.num_joints):
            self.path_to_root(joint)

    @property
    def num_joints(self) -> int:
        """V."""
        return len(self.joint_names)

    @property
    def root(self) -> int:
        """Index of the joint without a parent."""
        return self.parents.index(-1)

    def index(self, joint: str) -> int:
        """Index of a joint by name; ValueError names the joints there are."""
        if joint not in self.joint_names:
            raise ValueError(f"skeleton {self.name!r} has no joint {joint!r}: it has {', '.join(self.joint_names)}")
        return self.joint_names.index(joint)

    def path_to_root(self, joint: int) -> list[int]:
        """The joint, its parent, ... up to the root."""
        path = [joint]
        while (parent := self.parents[path[-1]]) != -1:
            if len(path) == self.num_joints:
                raise ValueError(f"skeleton {self.name!r}: parents of {self.joint_names[joint]!r} run in a circle")
            path.append(parent)
        return path

    @cached_property
    def mirror_pairs(self) -> tuple[tuple[int, int], ...]:
        """Index pairs (left, right)."""
        if self.mirror is not None:
            return tuple((self.index(left), self.index(right)) for left, right in self.mirror)
        place = {name_words(name): i for i, name in enumerate(self.joint_names)}
        pairs = []
        for words, left in place.items():
            other = tuple(_SIDES.get(word, word) for word in words)
            if other != words and other in place:
                pairs.append((left, place[other]))
        if not pairs:
            raise ValueError(
                f"skeleton {self.name!r}: joint names tell no left from right ({', '.join(self.joint_names)}): "
                "state the pairs as mirror=[[left, right], ...]"
            )
        return tuple(pairs)

    @cached_property
    def shoulder_pair(self) -> tuple[int, int]:
        """Indices of the left and the right shoulder."""
        if self.shoulders is not None:
            return self.index(self.shoulders[0]), self.index(self.shoulders[1])
        for word in _SHOULDER_WORDS:
            for left, right in self.mirror_pairs:
                if word in "".join(name_words(self.joint_names[left])):
                    return left, right
        raise ValueError(
            f"skeleton {self.name!r}: no pair of joints is named shoulder or upper arm: "
            "state them as shoulders=[left, right]"
        )

    @cached_property
    def centre_joint(self) -> int:
        """Index of the centre: the joint where the two arms meet, unless another is stated."""
        if self.centre is not None:
            return self.index(self.centre)
        left, right = self.shoulder_pair
        above_right = self.path_to_root(right)
        return next(joint for joint in self.path_to_root(left) if joint in above_right)

    def adjacency(self, partition: Partition = "published") -> NDArray[np.float32]:
        """The graph in "spatial configuration", columns divided by their degree: (3, V, V).

        Subset 0 holds the self-links, 1 the links from a neighbour at the same distance to the
        centre or nearer, 2 the links from a neighbour farther away. The published code forgets distances above one hop
        before it compares them, so most links count as "same distance" and fall in subset 1;
        "spatial" compares the true distances (Yan et al., AAAI 2018).
        """
        hops = self._distances()
        links = hops <= 1
        to_centre = hops[self.centre_joint].copy()
        if partition == "published":
            to_centre[to_centre > 1] = np.inf
        normalised = links / links.sum(0, keepdims=True)
        rows, columns = to_centre[:, None], to_centre[None, :]
        itself = hops == 0
        subsets = (itself, ~itself & (rows >= columns), ~itself & (rows < columns))
        adjacency: NDArray[np.float32] = np.stack([normalised * subset for subset in subsets]).astype(np.float32)
        return adjacency

    def _distances(self) -> NDArray[np.float64]:
        """Number of bones between each two joints, (V, V)."""
        hops = np.zeros((self.num_joints, self.num_joints))
        known: list[int] = []
        for joint in self._from_the_root():  # one bone farther from each that is known than its parent is
            hops[joint, known] = hops[known, joint] = hops[self.parents[joint], known] + 1
            known.append(joint)
        return hops

    def _from_the_root(self) -> list[int]:
        """All joints, each after its parent."""
        children: dict[int, list[int]] = {}
        for joint, parent in enumerate(self.parents):
            children.setdefault(parent, []).append(joint)
        order = [self.root]
        for joint in order:
            order += children.get(joint, [])
        return order

    def to_dict(self) -> dict[str, Any]:
        """Plain containers, as `about.json` and checkpoints keep them."""
        stated = {key: value for key, value in asdict(self).items() if value is not None}
        return {key: _listed(value) for key, value in stated.items()}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Skeleton:
        """The inverse of `to_dict`, for what people write too.

        Args:
            fields: the arguments by their names. Parents are indices or names, None or -1 for the root; `joints`, a
                mapping of each joint to its parent, may stand for `joint_names` and `parents`.

        Raises:
            ValueError: something is missing, unknown, or of another form.
        """
        name = str(fields.get("name", "unnamed"))
        try:
            unknown = [str(key) for key in fields if key not in _FIELDS]
            if unknown:
                raise ValueError(f"unknown key {unknown[0]!r}: it takes {', '.join(_FIELDS)}")
            joint_names, parents = _tree(fields)
            shoulders, mirror = fields.get("shoulders"), fields.get("mirror")
            if mirror is not None and not isinstance(mirror, list | tuple):
                raise ValueError("mirror must be a list of pairs [left, right]")
            pair = None if shoulders is None else _pair(shoulders, "shoulders")
            pairs = None if mirror is None else tuple(_pair(pair, "each pair of mirror") for pair in mirror)
        except ValueError as error:
            raise ValueError(f"skeleton {name!r}: {error}") from None
        return cls(name, joint_names, parents, fields.get("centre"), pair, pairs)


def name_words(joint_name: str) -> tuple[str, ...]:
    """Lower-case words of a joint name: "ElbowLeft", "elbow_left", "LElbow", "l-elbow"."""
    split = re.sub(r"([a-z0-9])([A-Z])|([A-Z])(?=[A-Z][a-z])", r"\1\3 \2", joint_name)
    return tuple(word.lower() for word in re.split(r"[\W_]+", split) if word)


def _listed(value: Any) -> Any:
    return [_listed(item) for item in value] if isinstance(value, tuple) else value


def _tree(fields: Mapping[str, Any]) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Joint names and the index of each one's parent."""
    if "joints" in fields:
        joints = fields["joints"]
        if not isinstance(joints, Mapping) or "joint_names" in fields or "parents" in fields:
            raise ValueError("joints must map each joint to its parent, and replaces joint_names and parents")
        fields = {"joint_names": list(joints), "parents": list(joints.values())}
    names, parents = fields.get("joint_names"), fields.get("parents")
    if not isinstance(names, list | tuple) or not isinstance(parents, list | tuple):
        raise ValueError(_NEEDED)
    if len(names) != len(parents):
        raise ValueError(f"{len(names)} joint names but {len(parents)} parents")
    mute = [name for name in names if not isinstance(name, str)]
    if mute:
        raise ValueError(f"joint name {mute[0]!r} is no text: put it in quotes")
    return tuple(names), tuple(_parent(parent, joint, names) for joint, parent in zip(names, parents, strict=True))


def _parent(parent: Any, joint: str, names: Sequence[str]) -> int:
    if parent is None:
        return -1
    if isinstance(parent, int) and not isinstance(parent, bool):
        return parent
    if parent not in names:
        raise ValueError(f"parent {parent!r} of {joint!r} is no joint: there are {', '.join(names)}")
    return names.index(parent)


def _pair(value: Any, what: str) -> tuple[str, str]:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise ValueError(f"{what} must be two joints [left, right], got {value!r}")
    return value[0], value[1]


def _layout(name: str, bones: str) -> Skeleton:
    """A skeleton from the text of its bones (see `LAYOUTS`)."""
    pairs = [bone.split(":") for bone in "".join(bones.split()).split(";")]
    return Skeleton.from_dict({"name": name, "joints": {joint: next(iter(parent), None) for joint, *parent in pairs}})


SKELETONS: dict[str, Skeleton] = {name: _layout(name, bones) for name, bones in LAYOUTS.items()}


def as_skeleton(skeleton: str | Path | Skeleton | Mapping[str, Any]) -> Skeleton:
    """A skeleton from its name in `SKELETONS`, from a YAML file or a mapping (see `Skeleton.from_dict`), or itself.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: neither a known name nor a `.yaml`, or no skeleton; the sentence names the file.
    """
    if isinstance(skeleton, Skeleton):
        return skeleton
    if isinstance(skeleton, Mapping):
        return Skeleton.from_dict(skeleton)
    if Path(skeleton).suffix.lower() in (".yaml", ".yml"):
        return _read_yaml(Path(skeleton))
    if str(skeleton) not in SKELETONS:
        known = ", ".join(SKELETONS)
        raise ValueError(
            f"unknown skeleton {str(skeleton)!r}: choose one of {known}, or a .yaml file that states `joints:`"
        )
    return SKELETONS[str(skeleton)]


def skeleton_of(num_joints: int) -> Skeleton:
    """The known layout with so many joints.

    Raises:
        ValueError: none has, or several have; the caller adds the way out.
    """
    layouts = [layout for layout in SKELETONS.values() if layout.num_joints == num_joints]
    if len(layouts) != 1:
        who = f"{' and '.join(layout.name for layout in layouts)} have" if layouts else "no known layout has"
        raise ValueError(f"holds {num_joints} joints, which {who}")
    return layouts[0]


def _read_yaml(path: Path) -> Skeleton:
    if not path.is_file():
        raise FileNotFoundError(f"no skeleton file {path}")
    try:
        fields = plain_yaml.load(read_text(path))
        if not isinstance(fields, dict):
            raise ValueError(_NEEDED)
        return Skeleton.from_dict({"name": path.stem, **fields})
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValueError(f"{path}: {' '.join(str(error).split())}") from None
