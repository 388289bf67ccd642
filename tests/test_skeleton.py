"""Skeletons: what is derived from names and parents, against brute force; what cannot be derived is said."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hiclr.skeleton import SKELETONS, Skeleton, as_skeleton

# a small body: hips, chest, head, two arms of two joints, two legs
PARTS = ("shoulder", "elbow", "hip", "knee")
SPELLINGS = {
    "elbow_left": "{part}_{side}",
    "left elbow": "{side} {part}",
    "left-elbow": "{side}-{part}",
    "ElbowLeft": "{Part}{Side}",
    "leftElbow": "{side}{Part}",
    "LElbow": "{S}{Part}",
    "l_elbow": "{s}_{part}",
    "elbow.L": "{part}.{S}",
    "ELBOW_LEFT": "{PART}_{SIDE}",
    "rig:LeftElbow": "rig:{Side}{Part}",
}


def body(spelling: str = "{part}_{side}", **stated: Any) -> Skeleton:
    """Pelvis (root), chest, head and both sides' shoulder, elbow, hip, knee."""
    names, parents = ["pelvis", "chest", "head"], [-1, 0, 1]
    for side in ("left", "right"):
        for part, parent in zip(PARTS, ("chest", "shoulder", "pelvis", "hip"), strict=True):
            spelt = spelling.format(
                part=part, Part=part.title(), PART=part.upper(), side=side, Side=side.title(), SIDE=side.upper(),
                s=side[0], S=side[0].upper(),
            )  # fmt: skip
            parents.append(names.index(parent) if parent in names else len(names) - 1)
            names.append(spelt)
    return Skeleton("body", tuple(names), tuple(parents), **stated)


def random_tree(joints: int, seed: int) -> Skeleton:
    """A random tree with random joint order; joint "c" is the stated centre."""
    rng = np.random.default_rng(seed)
    place = rng.permutation(joints)
    parents = np.full(joints, -1)
    for i in range(1, joints):
        parents[place[i]] = place[rng.integers(i)]
    names = [f"j{i}" for i in range(joints)]
    names[rng.integers(joints)] = "c"
    return Skeleton("tree", tuple(names), tuple(int(p) for p in parents), centre="c")


def hop_distances(skeleton: Skeleton) -> NDArray[np.float64]:
    """Number of bones between each two joints, by powers of the adjacency."""
    v = skeleton.num_joints
    step = np.eye(v)
    for joint, parent in enumerate(skeleton.parents):
        if parent >= 0:
            step[joint, parent] = step[parent, joint] = 1
    hops = np.full((v, v), np.inf)
    reached = np.eye(v)
    for distance in range(v):
        hops[(reached > 0) & np.isinf(hops)] = distance
        reached = reached @ step
    return hops


def slow_adjacency(skeleton: Skeleton, max_hop: float) -> NDArray[np.float64]:
    """The spatial configuration partition, entry by entry; distances beyond `max_hop` are forgotten."""
    hops, v = hop_distances(skeleton), skeleton.num_joints
    to_centre = [hops[j, skeleton.centre_joint] for j in range(v)]
    to_centre = [np.inf if d > max_hop else d for d in to_centre]
    subsets = np.zeros((3, v, v))
    for source, target in itertools.product(range(v), repeat=2):
        if hops[source, target] > 1:
            continue
        degree = sum(hops[other, target] <= 1 for other in range(v))
        if source == target:
            subset = 0
        elif to_centre[source] >= to_centre[target]:
            subset = 1
        else:
            subset = 2
        subsets[subset, source, target] = 1 / degree
    return subsets


# --- the graph ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SKELETONS)
def test_published_adjacency_equals_the_brute_force_with_distances_up_to_one(name: str) -> None:
    skeleton = SKELETONS[name]
    np.testing.assert_allclose(skeleton.adjacency(), slow_adjacency(skeleton, 1), rtol=1e-6)


@pytest.mark.parametrize("skeleton", [*SKELETONS.values(), *(random_tree(9, seed) for seed in range(4))])
def test_spatial_adjacency_equals_the_brute_force(skeleton: Skeleton) -> None:
    np.testing.assert_allclose(skeleton.adjacency("spatial"), slow_adjacency(skeleton, np.inf), rtol=1e-6)
    np.testing.assert_allclose(skeleton.adjacency("published"), slow_adjacency(skeleton, 1), rtol=1e-6)


@pytest.mark.parametrize("partition", ["published", "spatial"])
def test_adjacency_columns_sum_to_one_and_subsets_do_not_overlap(partition: Any) -> None:
    adjacency = SKELETONS["ntu25"].adjacency(partition)
    assert adjacency.dtype == np.float32 and adjacency.shape == (3, 25, 25)
    np.testing.assert_allclose(adjacency.sum((0, 1)), 1, rtol=1e-6)
    assert ((adjacency > 0).sum(0) <= 1).all()


def test_partitions_differ_and_only_beyond_the_first_ring() -> None:
    skeleton = SKELETONS["ntu25"]
    published, spatial = skeleton.adjacency("published"), skeleton.adjacency("spatial")
    differs = (published != spatial).any(0)
    near = hop_distances(skeleton)[skeleton.centre_joint] <= 1
    assert differs.any() and not differs[:, near].any()


# --- what is derived ------------------------------------------------------------------------------


@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS)
def test_sides_shoulders_and_centre_are_read_from_any_spelling(spelling: str) -> None:
    skeleton = body(spelling)
    assert skeleton.mirror_pairs == ((3, 7), (4, 8), (5, 9), (6, 10))
    assert skeleton.shoulder_pair == (3, 7)
    assert skeleton.centre_joint == 1


def test_right_before_left_still_gives_left_first() -> None:
    skeleton = Skeleton("swapped", ("neck", "shoulder_right", "shoulder_left"), (-1, 0, 0))
    assert skeleton.mirror_pairs == ((2, 1),)
    assert skeleton.shoulder_pair == (2, 1)


@pytest.mark.parametrize(
    ("name", "centre", "shoulders", "pairs"),
    [
        ("ntu25", "spine_shoulder", ("shoulder_left", "shoulder_right"), 10),
        ("kinect20", "shoulder_center", ("shoulder_left", "shoulder_right"), 8),
        ("coco17", "nose", ("left_shoulder", "right_shoulder"), 8),
        ("openpose18", "neck", ("left_shoulder", "right_shoulder"), 8),
        ("mediapipe33", "nose", ("left_shoulder", "right_shoulder"), 16),
        ("h36m17", "thorax", ("left_shoulder", "right_shoulder"), 6),
    ],
)
def test_known_layouts(name: str, centre: str, shoulders: tuple[str, str], pairs: int) -> None:
    skeleton = SKELETONS[name]
    names = skeleton.joint_names
    assert names[skeleton.centre_joint] == centre
    assert tuple(names[i] for i in skeleton.shoulder_pair) == shoulders
    assert len(skeleton.mirror_pairs) == pairs
    for left, right in skeleton.mirror_pairs:
        assert names[left].replace("left", "right") == names[right]
    middle = [joint for joint in names if "left" not in joint and "right" not in joint]
    assert len(middle) + 2 * pairs == len(names) == int(name[-2:])


@pytest.mark.parametrize("name", SKELETONS)
def test_known_layouts_are_the_same_body_in_a_mirror(name: str) -> None:
    skeleton = SKELETONS[name]
    image = {left: right for pair in skeleton.mirror_pairs for left, right in (pair, pair[::-1])}
    bones = {(joint, parent) for joint, parent in enumerate(skeleton.parents) if parent >= 0}
    assert len(bones) == skeleton.num_joints - 1
    assert {(image.get(joint, joint), image.get(parent, parent)) for joint, parent in bones} == bones


# What the estimators' own drawings link, as index pairs, apart from our names (PYSKL: coco, openpose; Human3.6M: as in
# VideoPose3D; MediaPipe draws more links than a tree has, so ours are some of them)
DRAWN = {
    "coco17": [
        (15, 13), (13, 11), (16, 14), (14, 12), (11, 5), (12, 6), (9, 7), (7, 5), (10, 8), (8, 6), (5, 0), (6, 0),
        (1, 0), (3, 1), (2, 0), (4, 2),
    ],
    "openpose18": [
        (4, 3), (3, 2), (7, 6), (6, 5), (13, 12), (12, 11), (10, 9), (9, 8), (11, 5), (8, 2), (5, 1), (2, 1), (0, 1),
        (15, 0), (14, 0), (17, 15), (16, 14),
    ],
    "h36m17": list(enumerate([0, 1, 2, 0, 4, 5, 0, 7, 8, 9, 8, 11, 12, 8, 14, 15], 1)),
    "mediapipe33": [
        (0, 1), (1, 2), (2, 3), (3, 7), (0, 4), (4, 5), (5, 6), (6, 8), (9, 10), (11, 12), (11, 13), (13, 15),
        (15, 17), (15, 19), (15, 21), (17, 19), (12, 14), (14, 16), (16, 18), (16, 20), (16, 22), (18, 20), (11, 23),
        (12, 24), (23, 24), (23, 25), (24, 26), (25, 27), (26, 28), (27, 29), (28, 30), (29, 31), (30, 32), (27, 31),
        (28, 32),
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", DRAWN)
def test_estimators_layouts_have_the_bones_that_are_drawn(name: str) -> None:
    bones = {frozenset(bone) for bone in enumerate(SKELETONS[name].parents) if bone[1] >= 0}
    drawn = {frozenset(bone) for bone in DRAWN[name]}
    ours = {frozenset(bone) for bone in [(0, 9), (0, 10), (0, 11), (0, 12)]} if name == "mediapipe33" else set()
    assert bones - ours == (drawn & bones if name == "mediapipe33" else drawn)


def test_estimators_joints_have_their_numbers() -> None:
    numbers = {
        "coco17": {0: "nose", 5: "left_shoulder", 10: "right_wrist", 16: "right_ankle"},
        "openpose18": {1: "neck", 2: "right_shoulder", 7: "left_wrist", 13: "left_ankle", 14: "right_eye"},
        "mediapipe33": {7: "left_ear", 11: "left_shoulder", 16: "right_wrist", 23: "left_hip", 32: "right_foot_index"},
        "h36m17": {1: "right_hip", 6: "left_foot", 10: "head", 11: "left_shoulder", 16: "right_wrist"},
    }
    for layout, joints in numbers.items():
        assert {i: SKELETONS[layout].joint_names[i] for i in joints} == joints


def test_ntu_joints_have_the_published_numbers() -> None:
    # joints counted from 1 in the papers: 1 base of the spine, 5 and 9 the shoulders, 21 the spine at shoulder height
    names = SKELETONS["ntu25"].joint_names
    assert [names[i - 1] for i in (1, 5, 9, 21)] == [
        "spine_base", "shoulder_left", "shoulder_right", "spine_shoulder",
    ]  # fmt: skip


def test_upper_arm_stands_in_for_a_shoulder() -> None:
    names = ("chest", "LeftUpperArm", "RightUpperArm", "LeftForeArm", "RightForeArm")
    assert Skeleton("arms", names, (-1, 0, 0, 1, 2)).shoulder_pair == (1, 2)


def test_centre_is_where_the_arms_meet_even_below_the_root() -> None:
    names = ("pelvis", "spine", "chest", "clavicle_left", "shoulder_left", "shoulder_right")
    assert Skeleton("s", names, (-1, 0, 1, 2, 3, 2)).centre_joint == 2


def test_what_is_stated_wins() -> None:
    skeleton = body(centre="head", shoulders=("elbow_left", "elbow_right"), mirror=(("hip_right", "hip_left"),))
    assert skeleton.centre_joint == 2
    assert skeleton.shoulder_pair == (4, 8)
    assert skeleton.mirror_pairs == ((9, 5),)


def test_centre_follows_stated_shoulders() -> None:
    assert body(shoulders=("hip_left", "hip_right")).centre_joint == 0


def test_stated_facts_serve_names_that_tell_nothing() -> None:
    skeleton = Skeleton("abc", ("a", "b", "c"), (-1, 0, 0), shoulders=("b", "c"), mirror=(("b", "c"),))
    assert skeleton.centre_joint == 0 and skeleton.mirror_pairs == ((1, 2),)


@pytest.mark.parametrize("joint", range(25))
def test_path_to_root_follows_the_parents(joint: int) -> None:
    skeleton = SKELETONS["ntu25"]
    path = skeleton.path_to_root(joint)
    assert path[0] == joint and path[-1] == skeleton.root
    assert all(skeleton.parents[a] == b for a, b in itertools.pairwise(path))


# --- to containers and back -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "skeleton",
    [
        *SKELETONS.values(),
        body(),
        body(centre="head"),
        body(shoulders=("elbow_left", "elbow_right")),
        body(mirror=(("hip_left", "hip_right"), ("knee_left", "knee_right"))),
        body(mirror=()),
    ],
    ids=[*SKELETONS, "derived", "centre", "shoulders", "mirror", "no mirror"],
)
def test_round_trip_through_json(skeleton: Skeleton) -> None:
    again = Skeleton.from_dict(json.loads(json.dumps(skeleton.to_dict())))
    assert again == skeleton
    assert again.mirror_pairs == skeleton.mirror_pairs
    assert as_skeleton(skeleton.to_dict()) == skeleton


def test_as_skeleton_passes_a_skeleton_through_and_knows_names() -> None:
    skeleton = body()
    assert as_skeleton(skeleton) is skeleton
    assert as_skeleton("kinect20") is SKELETONS["kinect20"]


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "parents", "stated", "sentence"),
    [
        (("a", "b", "a"), (-1, 0, 0), {}, "joint names occur twice: a"),
        (("a", "b"), (-1,), {}, "2 joint names but 1 parents"),
        ((), (), {}, "exactly one root .* has 0"),
        (tuple(map(str, range(2001))), tuple(range(-1, 2000)), {}, "2001 joints, more than 2000"),
        (("a", "b"), (-1, -1), {}, "exactly one root .* has 2"),
        (("a", "b"), (1, 0), {}, "exactly one root .* has 0"),
        (("a", "b"), (-1, 7), {}, r"parent 7 is no joint \(0\.\.1\)"),
        (("a", "b"), (-1, -2), {}, "parent -2 is no joint"),
        (("a", "b", "c"), (-1, 2, 1), {}, "parents of 'b' run in a circle"),
        (("a", "b"), (-1, 1), {}, "parents of 'b' run in a circle"),
        (("a", "b"), (-1, 0), {"centre": "z"}, "no joint 'z': it has a, b"),
        (("a", "b"), (-1, 0), {"shoulders": ("a", "z")}, "no joint 'z'"),
        (("a", "b"), (-1, 0), {"mirror": (("z", "a"),)}, "no joint 'z'"),
    ],
)
def test_bad_skeletons_are_refused(names: Any, parents: Any, stated: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=f"skeleton 'bad': .*{sentence}|skeleton 'bad' has {sentence}"):
        Skeleton("bad", names, parents, **stated)


def test_a_joint_cannot_have_two_mirror_images() -> None:
    with pytest.raises(ValueError, match="'b'"):
        Skeleton("bad", ("a", "b", "c"), (-1, 0, 0), mirror=(("a", "b"), ("b", "c")))


@pytest.mark.parametrize(
    ("names", "fact", "way_out"),
    [
        (("a", "b", "c"), "mirror_pairs", r"\(a, b, c\): state the pairs as mirror="),
        (("a", "b", "c"), "centre_joint", "mirror="),
        (("a", "left", "right"), "shoulder_pair", "state them as shoulders="),
        (("a", "hip_left", "hip_right"), "centre_joint", "state them as shoulders="),
        (("a", "hip_left", "knee_right"), "mirror_pairs", "mirror="),
    ],
)
def test_what_cannot_be_derived_says_how_to_state_it(names: Any, fact: str, way_out: str) -> None:
    skeleton = Skeleton("mute", names, (-1, 0, 0))
    with pytest.raises(ValueError, match=f"skeleton 'mute': .*{way_out}"):
        getattr(skeleton, fact)


def test_unknown_layout_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"unknown skeleton 'ntu26': choose one of ntu25, kinect20, .*\.yaml file"):
        as_skeleton("ntu26")


def test_words_of_any_alphabet_tell_joints_apart() -> None:
    skeleton = Skeleton("s", ("首", "頭", "épaule_left", "épaule_right", "paule_right"), (-1, 0, 0, 0, 0))
    assert skeleton.mirror_pairs == ((2, 3),)


# --- from people's YAML ---------------------------------------------------------------------------


TREE = "joints:\n  hip: null\n  chest: hip\n  left_shoulder: chest\n  right_shoulder: chest\n"


def yaml_skeleton(folder: Path, text: str | bytes) -> Path:
    path = folder / "mine.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_yaml_of_joints_and_parents(tmp_path: Path) -> None:
    skeleton = as_skeleton(str(yaml_skeleton(tmp_path, TREE)))
    assert skeleton == Skeleton("mine", ("hip", "chest", "left_shoulder", "right_shoulder"), (-1, 0, 1, 1))
    assert skeleton.centre_joint == 1 and skeleton.mirror_pairs == ((2, 3),)


@pytest.mark.parametrize("parents", ["[-1, 0, 1, 1]", "[null, hip, chest, chest]", "[~, 0, chest, 1]"])
def test_yaml_of_lists(tmp_path: Path, parents: str) -> None:
    text = f"joint_names: [hip, chest, left_shoulder, right_shoulder]\nparents: {parents}\n"
    path = yaml_skeleton(tmp_path, text)
    assert as_skeleton(path).parents == (-1, 0, 1, 1)
    with_bom_and_crlf = yaml_skeleton(tmp_path, b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    assert as_skeleton(with_bom_and_crlf).parents == (-1, 0, 1, 1)


def test_yaml_states_what_names_do_not_tell(tmp_path: Path) -> None:
    text = "name: abc\njoints: {a: null, b: a, c: a}\ncentre: b\nshoulders: [b, c]\nmirror: [[b, c]]\n"
    skeleton = as_skeleton(yaml_skeleton(tmp_path, text))
    assert skeleton == Skeleton("abc", ("a", "b", "c"), (-1, 0, 0), "b", ("b", "c"), (("b", "c"),))
    assert as_skeleton({"name": "abc", "joints": {"a": None, "b": "a", "c": "a"}}).parents == (-1, 0, 0)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "needs joints"),
        ("- hip\n", "needs joints"),
        ("name: x\n", "needs joints"),
        ("joints: [a, b]\n", "joints must map each joint to its parent"),
        (TREE + "parents: [-1, 0, 1, 1]\n", "joints .* replaces joint_names and parents"),
        ("joint_names: [a, b]\nparents: [-1]\n", "2 joint names but 1 parents"),
        ("joint_names: [a]\nparents: [-1, 0]\n", "1 joint names but 2 parents"),
        ("joint_names: ab\nparents: [-1, 0]\n", "needs joints"),
        (TREE + "  head: neck\n", "parent 'neck' of 'head' is no joint: there are hip, chest"),
        (TREE + "  head: [hip]\n", r"parent \['hip'\] of 'head'"),
        (TREE + "  head: true\n", "parent True of 'head'"),
        (TREE + "  no: hip\n", "joint name False is no text: put it in quotes"),
        (TREE + "  3: hip\n", "joint name 3 is no text"),
        (TREE + "  chest: hip\n", "'chest' occurs twice, line 2"),
        (TREE + "  head: null\n", "exactly one root .* has 2"),
        (TREE + "  a: b\n  b: a\n", "parents of 'a' run in a circle"),
        (TREE + "center: chest\n", "unknown key 'center': it takes name, joints,"),
        (TREE + "centre: neck\n", "no joint 'neck'"),
        (TREE + "centre: [hip]\n", "no joint"),
        (TREE + "shoulders: left_shoulder\n", r"shoulders must be two joints \[left, right\]"),
        (TREE + "shoulders: [hip]\n", r"shoulders must be two joints"),
        (TREE + "mirror: hip\n", "mirror must be a list of pairs"),
        (TREE + "mirror: [[hip, chest, hip]]\n", "each pair of mirror must be two joints"),
        ("joints: {a: null, b: a", "mine.yaml.*line"),
        ("joints: !!python/object/apply:os.getcwd []\n", "could not determine a constructor"),
        ("joints: &x {a: null}\nmirror: [*x, *x]\n", r"aliases \(\*name\) are not understood"),
        (b"joints: {sch\xe4del: null}\n", "utf-8"),
        ("joints: " + "[" * 5000, "lists within lists"),
    ],
)
def test_yaml_faults_are_named(tmp_path: Path, text: str | bytes, sentence: str) -> None:
    path = yaml_skeleton(tmp_path, text)
    with pytest.raises(ValueError, match=sentence) as caught:
        as_skeleton(path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


def test_no_such_yaml(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no skeleton file .*mine.yml"):
        as_skeleton(tmp_path / "mine.yml")
