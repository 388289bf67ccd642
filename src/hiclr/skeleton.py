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
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Partition = Literal["published", "spatial"]

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
            if parent in path:
                raise ValueError(f"skeleton {self.name!r}: parents of {self.joint_names[joint]!r} run in a circle")
            path.append(parent)
        return path

    @cached_property
    def mirror_pairs(self) -> tuple[tuple[int, int], ...]:
        """Index pairs (left, right)."""
        if self.mirror is not None:
            return tuple((self.index(left), self.index(right)) for left, right in self.mirror)
        place = {_words(name): i for i, name in enumerate(self.joint_names)}
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
                if word in "".join(_words(self.joint_names[left])):
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
        return np.stack([normalised * subset for subset in subsets]).astype(np.float32)

    def _distances(self) -> NDArray[np.float64]:
        """Number of bones between each two joints, (V, V)."""
        hops = np.zeros((self.num_joints, self.num_joints))
        paths = [self.path_to_root(joint) for joint in range(self.num_joints)]
        for i, mine in enumerate(paths):
            for j, other in enumerate(paths):
                common = len(set(mine) & set(other))
                hops[i, j] = len(mine) + len(other) - 2 * common
        return hops

    def to_dict(self) -> dict[str, Any]:
        """Plain containers, as `about.json` and checkpoints keep them."""
        stated = {key: value for key, value in asdict(self).items() if value is not None}
        return {key: _listed(value) for key, value in stated.items()}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Skeleton:
        """The inverse of `to_dict`."""
        shoulders = fields.get("shoulders")
        mirror = fields.get("mirror")
        return cls(
            name=str(fields["name"]),
            joint_names=tuple(str(n) for n in fields["joint_names"]),
            parents=tuple(int(p) for p in fields["parents"]),
            centre=fields.get("centre"),
            shoulders=(shoulders[0], shoulders[1]) if shoulders else None,
            mirror=None if mirror is None else tuple((left, right) for left, right in mirror),
        )


def _words(joint_name: str) -> tuple[str, ...]:
    """Lower-case words of a joint name: "ElbowLeft", "elbow_left", "LElbow", "l-elbow"."""
    split = re.sub(r"([a-z0-9])([A-Z])|([A-Z])(?=[A-Z][a-z])", r"\1\3 \2", joint_name)
    return tuple(word.lower() for word in re.split(r"[^A-Za-z0-9]+", split) if word)


def _listed(value: Any) -> Any:
    return [_listed(item) for item in value] if isinstance(value, tuple) else value


def _layout(name: str, bones: Sequence[tuple[str, str | None]]) -> Skeleton:
    names = tuple(joint for joint, _ in bones)
    parents = tuple(-1 if parent is None else names.index(parent) for _, parent in bones)
    return Skeleton(name, names, parents)


# Kinect v2 (NTU RGB+D, PKU-MMD). Bones as published: a hand tip hangs on the thumb.
_NTU25 = _layout(
    "ntu25",
    [
        ("spine_base", "spine_mid"),
        ("spine_mid", "spine_shoulder"),
        ("neck", "spine_shoulder"),
        ("head", "neck"),
        ("shoulder_left", "spine_shoulder"),
        ("elbow_left", "shoulder_left"),
        ("wrist_left", "elbow_left"),
        ("hand_left", "wrist_left"),
        ("shoulder_right", "spine_shoulder"),
        ("elbow_right", "shoulder_right"),
        ("wrist_right", "elbow_right"),
        ("hand_right", "wrist_right"),
        ("hip_left", "spine_base"),
        ("knee_left", "hip_left"),
        ("ankle_left", "knee_left"),
        ("foot_left", "ankle_left"),
        ("hip_right", "spine_base"),
        ("knee_right", "hip_right"),
        ("ankle_right", "knee_right"),
        ("foot_right", "ankle_right"),
        ("spine_shoulder", None),
        ("hand_tip_left", "thumb_left"),
        ("thumb_left", "hand_left"),
        ("hand_tip_right", "thumb_right"),
        ("thumb_right", "hand_right"),
    ],
)

# Kinect v1 (NW-UCLA, UTD-MHAD), in the order of its SDK.
_KINECT20 = _layout(
    "kinect20",
    [
        ("hip_center", "spine"),
        ("spine", "shoulder_center"),
        ("shoulder_center", None),
        ("head", "shoulder_center"),
        ("shoulder_left", "shoulder_center"),
        ("elbow_left", "shoulder_left"),
        ("wrist_left", "elbow_left"),
        ("hand_left", "wrist_left"),
        ("shoulder_right", "shoulder_center"),
        ("elbow_right", "shoulder_right"),
        ("wrist_right", "elbow_right"),
        ("hand_right", "wrist_right"),
        ("hip_left", "hip_center"),
        ("knee_left", "hip_left"),
        ("ankle_left", "knee_left"),
        ("foot_left", "ankle_left"),
        ("hip_right", "hip_center"),
        ("knee_right", "hip_right"),
        ("ankle_right", "knee_right"),
        ("foot_right", "ankle_right"),
    ],
)

SKELETONS: dict[str, Skeleton] = {layout.name: layout for layout in (_NTU25, _KINECT20)}


def as_skeleton(skeleton: str | Skeleton | Mapping[str, Any]) -> Skeleton:
    """A skeleton from its name in `SKELETONS`, from `Skeleton.to_dict`, or itself."""
    if isinstance(skeleton, Skeleton):
        return skeleton
    if isinstance(skeleton, str):
        if skeleton not in SKELETONS:
            raise ValueError(f"unknown skeleton {skeleton!r}: choose one of {', '.join(SKELETONS)}")
        return SKELETONS[skeleton]
    return Skeleton.from_dict(skeleton)
