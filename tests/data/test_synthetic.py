"""The synthetic corpus: bodies that move as bodies do, sensors that err as a Kinect does, files as NTU's."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from hiclr import functional
from hiclr.data.actions import CLASS_NAMES, PROGRAMS
from hiclr.data.performers import MAX_FRAMES, MIN_FRAMES, draw_subject, perform
from hiclr.data.prepare import choose_actors, prepare_batch
from hiclr.data.recordings.ntu import read_ntu_skeleton
from hiclr.data.synthetic import INFERRED, MARKER, observe, synthesise, write_skeleton
from hiclr.skeleton import SKELETONS

NTU25 = SKELETONS["ntu25"]
BONES = [(joint, parent) for joint, parent in enumerate(NTU25.parents) if parent >= 0]
PAIRS = ("push", "handshake", "hug")
NAME = re.compile(r"S001C(00[123])P(\d{3})R(\d{3})A(\d{3})")

Array = NDArray[np.floating[Any]]


class Recorded(NamedTuple):
    """One file: its numbers in the name, its joints (F, M, V, 3), and the tracking states of all joints in it."""

    camera: int
    subject: int
    repetition: int
    action: int
    frames: Array
    states: set[int]

    @property
    def class_name(self) -> str:
        return CLASS_NAMES[self.action - 1]

    @property
    def first_body(self) -> Array:
        body = self.frames[:, 0]
        return np.asarray(body[body.any((1, 2))])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthesise(tmp_path_factory.mktemp("corpus") / "raw", subjects=8, repetitions=1, seed=0)


@pytest.fixture(scope="module")
def corpus(folder: Path) -> list[Recorded]:
    recordings = []
    for path in sorted(folder.glob("*.skeleton")):
        name = NAME.fullmatch(path.stem)
        assert name, f"{path.name} is no NTU name"
        camera, subject, repetition, action = map(int, name.groups())
        states = {int(line[-1]) for line in path.read_text().splitlines() if line.count(" ") == 11}
        recordings.append(Recorded(camera, subject, repetition, action, read_ntu_skeleton(path).frames, states))
    return recordings


def at(joint: str) -> int:
    return NTU25.index(joint)


def distance(motion: Array, a: str, b: str) -> Array:
    return np.asarray(np.linalg.norm(motion[:, at(a)] - motion[:, at(b)], axis=-1))


def performances(action: str, subject: int = 1, count: int = 4) -> Iterator[Array]:
    for seed in range(count):
        rng = np.random.default_rng([seed, subject])
        yield perform(action, draw_subject(subject), rng, draw_subject(subject + 1))


# --- the performers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("action", CLASS_NAMES)
def test_bodies_keep_their_bones_stand_on_the_floor_and_bend_their_knees_forward(action: str) -> None:
    for motion in performances(action):
        assert motion.shape == (len(motion), 2 if action in PAIRS else 1, 25, 3)
        assert MIN_FRAMES <= len(motion) <= MAX_FRAMES
        for body in np.moveaxis(motion, 1, 0):
            for joint, parent in BONES:
                lengths = np.linalg.norm(body[:, joint] - body[:, parent], axis=-1)
                assert np.ptp(lengths) < 1e-4, (NTU25.joint_names[joint], lengths.min(), lengths.max())
            assert body[..., 1].min() > 0
            for side in ("left", "right"):
                hip, knee, ankle = (body[:, at(f"{joint}_{side}")] for joint in ("hip", "knee", "ankle"))
                toes = body[:, at(f"foot_{side}")] - ankle
                assert (((knee - (hip + ankle) / 2) * toes * [1, 0, 1]).sum(-1) > -1e-3).all()


def test_who_does_not_walk_does_not_slide() -> None:
    for action in ("drink", "wave", "sit down", "pick up"):
        for motion in performances(action):
            for foot in ("foot_left", "foot_right"):
                assert np.ptp(motion[:, 0, at(foot)], axis=0).max() < 1e-4


def test_hands_get_where_they_reach() -> None:
    for motion in performances("handshake"):
        apart = np.linalg.norm(motion[:, 0, at("hand_right")] - motion[:, 1, at("hand_right")], axis=-1)
        assert apart.min() < 0.10
    for action in ("put on hat", "take off hat"):
        for motion in performances(action):
            above = motion[:, 0, at("hand_right"), 1] - motion[:, 0, at("head"), 1]
            assert above[distance(motion[:, 0], "hand_right", "head") < 0.3].max() > 0.05
    for motion in performances("pick up"):
        assert motion[:, 0, at("hand_right"), 1].min() < 0.4
    for motion in performances("hug"):
        bodies = motion[:, 0, at("spine_shoulder")] - motion[:, 1, at("spine_shoulder")]
        assert np.linalg.norm(bodies, axis=-1).min() < 0.6


def test_drinking_and_calling_differ_in_where_the_hand_goes() -> None:
    beside = {}
    for action in ("drink", "phone call"):
        lifted = [motion[distance(motion[:, 0], "hand_right", "head").argmin(), 0] for motion in performances(action)]
        to_right = [body[at("shoulder_right")] - body[at("shoulder_left")] for body in lifted]
        from_head = [body[at("hand_right")] - body[at("head")] for body in lifted]
        beside[action] = [x @ hand / np.linalg.norm(x) for x, hand in zip(to_right, from_head, strict=True)]
    assert np.mean(beside["drink"]) + 0.03 < np.mean(beside["phone call"])


@pytest.mark.parametrize(
    ("forth", "back"), [("sit down", "stand up"), ("put on hat", "take off hat"), ("pick up", "put down")]
)
def test_some_classes_are_others_backward_in_time(forth: str, back: str) -> None:
    assert PROGRAMS[forth].reversed() == PROGRAMS[back]
    assert PROGRAMS[back].reversed() == PROGRAMS[forth]
    assert PROGRAMS[forth] != PROGRAMS[back]


def test_a_loop_is_repeated_between_its_ends() -> None:
    program = PROGRAMS["wave"]
    assert program.order(1) == [0, 1, 2, 3, 4]
    assert program.order(3) == [0, 1, 2, 3, 2, 3, 2, 3, 4]
    assert program.keys[program.loop[0]] == program.keys[program.loop[1]]
    assert program.reversed().order(2) == program.order(2)


def test_sitting_down_lowers_the_hips_and_standing_up_raises_them() -> None:
    for action, sign in (("sit down", -1), ("stand up", 1)):
        for motion in performances(action):
            heights = motion[:, 0, at("spine_base"), 1]
            assert sign * (heights[-1] - heights[0]) > 0.2


def test_left_handed_performers_use_the_left_arm_except_to_shake_hands() -> None:
    assert [number for number in range(1, 9) if draw_subject(number).left_handed] == [2, 7]
    for subject, hand, other in ((1, "right", "left"), (2, "left", "right"), (7, "left", "right")):
        for motion in performances("wave", subject):
            heights = motion[:, 0, :, 1].max(0)
            assert heights[at(f"hand_{hand}")] > heights[at(f"hand_{other}")] + 0.2
        for motion in performances("handshake", subject):
            between = np.linalg.norm(motion[:, 0, at("hand_right")] - motion[:, 1, at("hand_right")], axis=-1)
            assert between.min() < 0.10


def test_performers_differ_and_stay_themselves() -> None:
    heights = [draw_subject(number).height for number in range(1, 9)]
    assert max(heights) - min(heights) > 0.1
    assert draw_subject(3) == draw_subject(3)
    assert draw_subject(3) != draw_subject(3, seed=1)


def test_an_unknown_action_is_named() -> None:
    with pytest.raises(ValueError, match="unknown action 'swim': choose one of drink, phone call"):
        perform("swim", draw_subject(1), np.random.default_rng(0))


# --- the sensor -------------------------------------------------------------------------------------------------------


def test_a_camera_sees_whoever_faces_it_the_right_way_round(corpus: list[Recorded]) -> None:
    frontal = [r.first_body for r in corpus if r.camera == 2 and r.class_name not in PAIRS]
    right_minus_left = [np.median(body[:, at("hip_right"), 0] - body[:, at("hip_left"), 0]) for body in frontal]
    assert np.median(right_minus_left) > 0.1
    assert 2.5 < np.median([np.median(body[..., 2]) for body in frontal]) < 4
    assert all(np.median(body[:, at("head"), 1]) > np.median(body[:, at("foot_left"), 1]) + 0.8 for body in frontal)


def test_the_far_side_is_guessed_and_seen_worse() -> None:
    near, far, near_error, far_error = [], [], [], []
    joints = {side: [at(f"{joint}_{side}") for joint in ("shoulder", "hip", "knee")] for side in ("left", "right")}
    for seed, motion in enumerate(performances("drink", count=8)):
        still = np.repeat(motion[:1], 90, axis=0)
        seen, state = observe(still, 90.0, np.random.default_rng(seed))  # to x: the performer's left is near
        seen = seen[seen.any((1, 2, 3))]
        near.append((state[..., joints["left"]] == INFERRED).mean())
        far.append((state[..., joints["right"]] == INFERRED).mean())
        near_error.append(seen[:, 0, joints["left"]].std(0).mean())
        far_error.append(seen[:, 0, joints["right"]].std(0).mean())
    assert np.mean(far) > np.mean(near) + 0.3
    assert np.median(far_error) > 1.3 * np.median(near_error)  # a lost joint in one of them weighs little


def test_bones_vary_in_length_as_much_as_a_kinects(corpus: list[Recorded]) -> None:
    variation = []
    for recorded in corpus:
        body = recorded.first_body
        lengths = np.stack([np.linalg.norm(body[:, j] - body[:, p], axis=-1) for j, p in BONES], axis=1)
        variation.append(lengths.std(0) / lengths.mean(0))
    assert 0.08 < np.median(np.median(variation, axis=0)) < 0.16


def test_planted_feet_jitter_by_two_centimetres(corpus: list[Recorded]) -> None:
    still = [r.first_body for r in corpus if r.class_name in ("drink", "phone call", "wave", "put on hat")]
    spread = [body[:, [at("foot_left"), at("foot_right")]].std(0).mean() for body in still]
    assert 0.012 < np.median(spread) < 0.032


def test_noise_lasts() -> None:
    standing = np.repeat(next(performances("wave"))[:1], 90, axis=0)
    correlations = []
    for seed in range(10):
        body = observe(standing, 0.0, np.random.default_rng(seed))[0][:, 0]
        knee = body[body.any((1, 2)), at("knee_left"), 0]
        correlations.append(np.corrcoef(knee[1:], knee[:-1])[0, 1])
    assert 0.4 < np.median(correlations) < 0.95


def test_joints_are_lost_and_frames_are_empty_now_and_then(corpus: list[Recorded]) -> None:
    empty = [not recorded.frames.any((1, 2, 3)).all() for recorded in corpus]
    assert 0.1 < np.mean(empty) < 0.35
    assert all(recorded.first_body.shape[0] >= 20 for recorded in corpus)
    assert {frozenset(recorded.states) for recorded in corpus} >= {frozenset({1, 2}), frozenset({0, 1, 2})}


def test_two_person_classes_show_two_bodies_of_which_one_may_be_late_or_lost(corpus: list[Recorded]) -> None:
    assert all(recorded.frames.shape[1] == (2 if recorded.class_name in PAIRS else 1) for recorded in corpus)
    pairs = [recorded.frames.any((2, 3)) for recorded in corpus if recorded.class_name in PAIRS]
    assert all(present.any(0).all() for present in pairs)
    late = [not present[present.any(1)][0].all() for present in pairs]
    assert 0.1 < np.mean(late) < 0.6


def test_a_performance_too_short_to_be_cut_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a performance of at least 90 frames, got 20"):
        observe(next(performances("wave"))[:20], 0.0, np.random.default_rng(0))


# --- the file format --------------------------------------------------------------------------------------------------


def read_slowly(path: Path) -> list[list[tuple[list[str], list[list[str]]]]]:
    """Frames of bodies of (10 fields, joints of 12 fields), one line at a time."""
    lines = iter(path.read_text(encoding="ascii").splitlines())
    frames = []
    for _ in range(int(next(lines))):
        bodies = []
        for _ in range(int(next(lines))):
            fields = next(lines).split(" ")
            bodies.append((fields, [next(lines).split(" ") for _ in range(int(next(lines)))]))
        frames.append(bodies)
    assert not list(lines)
    return frames


def test_the_file_says_what_was_given(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frames = rng.normal((0, 0, 3), 0.5, (5, 2, 25, 3))
    frames[1, 0] = frames[2] = frames[3, 1] = 0
    states = rng.integers(0, 3, (5, 2, 25))
    ids = ["72057594037944738", "72057594037944739"]
    write_skeleton(tmp_path / "x.skeleton", frames, tracking=states, body_ids=ids)
    read = read_slowly(tmp_path / "x.skeleton")
    assert [[fields[0] for fields, _ in bodies] for bodies in read] == [ids, ids[1:], [], ids[:1], ids]
    for frame, bodies in enumerate(read):
        for fields, joints in bodies:
            body = ids.index(fields[0])
            assert (len(fields), len(joints)) == (10, 25)
            assert all(len(joint) == 12 for joint in joints)
            np.testing.assert_allclose(np.array(joints, dtype=float)[:, :3], frames[frame, body], atol=1e-5)
            assert [int(joint[11]) for joint in joints] == states[frame, body].tolist()


def test_orientations_turn_the_y_axis_to_the_bone_and_are_zero_at_ends(tmp_path: Path) -> None:
    frames = np.random.default_rng(1).normal((0, 0, 3), 0.5, (3, 1, 25, 3))
    frames[0, 0, 1] = frames[0, 0, 20] - [0, 0.5, 0]  # a bone straight down
    write_skeleton(tmp_path / "x.skeleton", frames)
    for frame, bodies in enumerate(read_slowly(tmp_path / "x.skeleton")):
        for joint, numbers in enumerate(np.array(bodies[0][1], dtype=float)):
            w, x, y, z = numbers[7:11]
            if joint not in NTU25.parents:
                assert (w, x, y, z) == (0, 0, 0, 0)
                continue
            assert np.isclose(w * w + x * x + y * y + z * z, 1, atol=1e-4)
            turned = [2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x)]  # of (0, 1, 0)
            parent = NTU25.parents[joint]
            if parent >= 0:
                bone = frames[frame, 0, joint] - frames[frame, 0, parent]
                np.testing.assert_allclose(turned, bone / np.linalg.norm(bone), atol=1e-3)


def test_pixels_are_where_a_kinect_sees_them(tmp_path: Path) -> None:
    frames = np.tile([0.2181153, 0.1725972, 3.785547], (1, 1, 25, 1))
    write_skeleton(tmp_path / "x.skeleton", frames)
    joint = np.array(read_slowly(tmp_path / "x.skeleton")[0][0][1][0], dtype=float)
    np.testing.assert_allclose(joint[3:7], [277.419, 191.8218, 1036.233, 519.1677], atol=2)  # as the SDK maps it


@pytest.mark.parametrize("shape", [(4, 25, 3), (4, 1, 20, 3), (4, 1, 25, 2)])
def test_other_shapes_are_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=re.escape(f"expected frames (F, M, 25, 3), got {shape}")):
        write_skeleton(tmp_path / "x.skeleton", np.zeros(shape))


def test_body_ids_must_be_numbers_one_for_each_body(tmp_path: Path) -> None:
    for ids in (["1"], ["1", "two"]):
        with pytest.raises(ValueError, match="expected a number as id for each of 2 bodies"):
            write_skeleton(tmp_path / "x.skeleton", np.ones((4, 2, 25, 3)), body_ids=ids)


# --- the corpus -------------------------------------------------------------------------------------------------------


def test_names_and_lengths_are_as_in_ntu(corpus: list[Recorded]) -> None:
    assert 12 <= len(CLASS_NAMES) == len(set(CLASS_NAMES))
    found = {(r.camera, r.subject, r.repetition, r.action) for r in corpus}
    assert found == {(c, s, 1, a) for c in (1, 2, 3) for s in range(1, 9) for a in range(1, len(CLASS_NAMES) + 1)}
    lengths = [len(r.frames) for r in corpus]
    assert min(lengths) >= 30
    assert max(lengths) <= 200
    assert np.percentile(lengths, 90) > 1.7 * np.percentile(lengths, 10)


def test_the_folder_says_that_it_is_synthetic(folder: Path) -> None:
    marker = json.loads((folder / MARKER).read_text())
    assert marker["synthetic"] is True
    assert marker["generator"] == "hiclr"
    assert marker["class_names"] == list(CLASS_NAMES)
    assert (marker["seed"], marker["subjects"], marker["repetitions"]) == (0, 8, 1)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_same_seed_gives_the_same_bytes_and_another_one_others(tmp_path: Path) -> None:
    asked: dict[str, Any] = {"subjects": 1, "repetitions": 1, "classes": ["wave", "hug"]}
    first, again, other = (
        contents(synthesise(tmp_path / name, seed=seed, **asked)) for name, seed in (("a", 5), ("b", 5), ("c", 6))
    )
    assert first == again
    assert first.keys() == other.keys()
    assert not any(first[name] == other[name] for name in first)
    assert len(first) == 2 * 3 + 1


def test_a_smaller_corpus_is_a_part_of_a_larger_one(folder: Path, tmp_path: Path) -> None:
    part = synthesise(tmp_path / "part", subjects=2, repetitions=1, seed=0, classes=["kick", "push"])
    files = sorted(part.glob("*.skeleton"))
    assert len(files) == 2 * 2 * 3
    assert all(file.read_bytes() == (folder / file.name).read_bytes() for file in files)


def test_a_corpus_that_is_there_is_left_alone_and_another_is_refused(tmp_path: Path) -> None:
    out = synthesise(tmp_path / "raw", subjects=1, repetitions=1, classes=["wave"])
    times = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    assert synthesise(out, subjects=1, repetitions=1, classes=["wave"]) == out
    assert {path: path.stat().st_mtime_ns for path in out.iterdir()} == times
    with pytest.raises(ValueError, match=r"other settings \(seed, actions\): name another folder or remove it"):
        synthesise(out, subjects=1, repetitions=1, seed=1, classes=["kick"])


def test_what_is_no_corpus_is_refused_and_an_empty_folder_is_not(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("keep me")
    (tmp_path / "file").write_text("keep me too")
    for taken in ("notes", "file"):
        with pytest.raises(ValueError, match="is no synthetic corpus: name another folder or remove it"):
            synthesise(tmp_path / taken, subjects=1, repetitions=1, classes=["wave"])
    (tmp_path / "empty").mkdir()
    assert len(contents(synthesise(tmp_path / "empty", subjects=1, repetitions=1, classes=["wave"]))) == 4


def test_a_killed_run_leaves_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(path: Path, *args: Any, **kwargs: Any) -> None:
        path.write_text("half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("hiclr.data.synthetic.write_skeleton", killed)
        synthesise(tmp_path / "raw", subjects=1, repetitions=1, classes=["drink"])
    assert not (tmp_path / "raw").exists()
    synthesise(tmp_path / "raw", subjects=1, repetitions=1, classes=["wave"])
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]
    assert len(contents(tmp_path / "raw")) == 4


@pytest.mark.parametrize(
    ("asked", "problem"),
    [
        ({"subjects": 0}, "subjects must be from 1 to 999, got 0"),
        ({"repetitions": 1000}, "repetitions must be from 1 to 999, got 1000"),
        ({"seed": -1}, "seed must be from 0 to .*, got -1"),
        ({"classes": ["wave", "swim"]}, "no class is called 'swim': choose from drink"),
        ({"classes": []}, "no class is named: choose from drink"),
    ],
)
def test_what_cannot_be_done_is_said(tmp_path: Path, asked: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        synthesise(tmp_path / "raw", **asked)
    assert not list(tmp_path.iterdir())


# --- how hard it is ---------------------------------------------------------------------------------------------------


class Clips(NamedTuple):
    """All recordings as a batch (N, 3, 50, V, M): merely centred, and prepared; and what they are, (N,) each."""

    centred: torch.Tensor
    prepared: torch.Tensor
    action: NDArray[np.intp]
    train: dict[str, NDArray[np.bool_]]


@pytest.fixture(scope="module")
def clips(corpus: list[Recorded]) -> Clips:
    frames = [choose_actors(recorded.frames, 2) for recorded in corpus]
    x = torch.zeros(len(frames), 3, max(map(len, frames)), 25, 2)
    for n, clip in enumerate(frames):
        x[n, :, : len(clip)] = torch.from_numpy(clip).permute(3, 0, 2, 1)
    lengths = x[:, :, :, 0, 0].ne(0).any(1).sum(1)
    centred = functional.resample(functional.centre(x, NTU25.centre_joint), lengths, 50)
    subject, camera = (np.array([getattr(r, field) for r in corpus]) for field in ("subject", "camera"))
    train = {"xview": camera != 1, "xsub": np.isin(subject, (1, 2, 4, 5, 8))}
    return Clips(centred, prepare_batch(x, NTU25), np.array([r.action for r in corpus]), train)


def accuracy_of_the_nearest(features: torch.Tensor, labels: NDArray[np.intp], train: NDArray[np.bool_]) -> float:
    flat = features.flatten(1)
    nearest = torch.cdist(flat[~train], flat[train]).argmin(1).numpy()
    return float((labels[train][nearest] == labels[~train]).mean())


def test_coordinates_alone_do_not_tell_the_class_across_views_or_subjects(clips: Clips) -> None:
    xview, xsub = clips.train["xview"], clips.train["xsub"]
    assert accuracy_of_the_nearest(clips.centred, clips.action, xview) < 0.6
    assert accuracy_of_the_nearest(clips.prepared, clips.action, xview) < 0.7
    assert 0.3 < accuracy_of_the_nearest(clips.prepared, clips.action, xsub) < 0.65


def test_what_moved_how_far_and_which_way_tells_it_better(clips: Clips) -> None:
    x = clips.prepared
    velocity = x[:, :, 3:] - x[:, :, :-3]
    levels = torch.tensor([0.0, 0.1, 0.5, 0.9, 1.0])
    over_time = [torch.quantile(series, levels, dim=2).transpose(0, 1).flatten(1) for series in (x, velocity)]
    change = x[:, :, -10:].mean(2) - x[:, :, :10].mean(2)
    features = torch.cat([*over_time, change.flatten(1)], dim=1).numpy()
    train = clips.train["xsub"]
    learner = make_pipeline(StandardScaler(), LogisticRegression(C=3e-4, max_iter=100))
    learner.fit(features[train], clips.action[train])
    accuracy = learner.score(features[~train], clips.action[~train])
    assert accuracy > accuracy_of_the_nearest(x, clips.action, train) + 0.05
