"""From data to features and classes: what goes in is what the model expects, wherever it comes from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from hiclr.data.corpora import clips
from hiclr.data.folder import Preparation
from hiclr.data.prepare import prepare
from hiclr.encoders.head import LinearHead
from hiclr.encoders.stgcn import STGCN
from hiclr.inference import classify, embed_source, open_source, top_classes
from hiclr.model import Model
from hiclr.skeleton import SKELETONS, Skeleton
from runs import KINECT, prepared
from toys import hand_model, posing
from writers.clips import poses, small_clips, write_npy_clip, write_table


def small_model(frames: int = 16, bodies: int = 2, skeleton: Skeleton = KINECT) -> Model:
    torch.manual_seed(0)
    head = LinearHead(("sit", "b", "walk"), torch.randn(3, 32), torch.randn(3))
    return Model(STGCN(skeleton, width=2), preparation=Preparation(frames=frames, bodies=bodies), head=head)


def by_hand(model: Model, x: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        features: np.ndarray = model(torch.from_numpy(np.array(x))).numpy()
    return features


# --- what goes in ---------------------------------------------------------------------------------


def test_a_prepared_folder_is_taken_as_it_is(tmp_path: Path) -> None:
    model, source = small_model(), open_source(prepared(tmp_path / "mine"), small_model())
    found = embed_source(model, source)
    assert source.remarks == () and source.folder is not None
    np.testing.assert_array_equal(found.features, by_hand(model, source.folder.sequences))
    assert found.names == tuple(f"s{i}" for i in range(24))
    assert found.labels is not None and found.labels.tolist() == [0, 1, 2] * 8
    assert found.classes[:3] == ("a", "b", "c")


def test_batches_and_chosen_rows_keep_their_order(tmp_path: Path) -> None:
    model = small_model()
    source = open_source(prepared(tmp_path / "mine"), model)
    whole = embed_source(model, source)
    rows = np.array([1, 4, 5, 20])
    some = embed_source(model, source, rows, batch_size=3)
    assert some.names == ("s1", "s4", "s5", "s20")
    np.testing.assert_allclose(some.features, whole.features[rows], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(embed_source(model, source, batch_size=7).features, whole.features, rtol=1e-5, atol=1e-6)


def test_raw_recordings_give_what_they_give_prepared(tmp_path: Path) -> None:
    model, options = small_model(bodies=1), small_clips(tmp_path)
    prepare(clips(**options), tmp_path / "mine", frames=16, progress=False)
    raw = embed_source(model, open_source(tmp_path / "clips", model))  # finds the table beside it
    folder = embed_source(model, open_source(tmp_path / "mine", model))
    np.testing.assert_array_equal(raw.features, folder.features)
    assert raw.names == folder.names == ("sit/01", "sit/02", "walk/01", "walk/02")
    assert raw.classes == folder.classes == ("sit", "sit", "walk", "walk")


@pytest.mark.parametrize(("there", "wanted"), [(1, 2), (2, 1)])
def test_a_folder_of_other_bodies_is_as_the_recordings_are(tmp_path: Path, there: int, wanted: int) -> None:
    model, options = small_model(bodies=wanted), small_clips(tmp_path)
    write_npy_clip(tmp_path / "clips" / "sit" / "02.npy", np.stack([poses(seed=3), poses(seed=4)], 1))
    prepare(clips(**options, bodies=there), tmp_path / "mine", frames=16, progress=False)
    source = open_source(tmp_path / "mine", model)
    found, raw = embed_source(model, source), embed_source(model, open_source(tmp_path / "clips", model))
    alone = slice(2, 4) if there < wanted else slice(0, 4)  # the second body of sit/02 is lost in a folder for one
    np.testing.assert_array_equal(found.features[alone], raw.features[alone])
    assert source.preparation == model.preparation
    (remark,) = source.remarks
    assert f"is prepared for {there} bodies, the model expects {wanted}" in remark


def test_what_else_was_done_otherwise_is_said(tmp_path: Path) -> None:
    model = small_model()
    model.preparation = replace(model.preparation, actors="motion", planar=True)
    said = open_source(prepared(tmp_path / "mine"), model).remarks
    assert "with actors 'file order', the model expects 'motion'" in said[0]
    assert "are turned to face the camera, unlike those that the model expects" in said[1]


def test_own_clips_are_read_as_the_models_joints(tmp_path: Path) -> None:
    mine = Skeleton("mine", tuple(f"joint{i}" for i in range(20)), (-1, *range(19)), centre="joint0")
    write_npy_clip(tmp_path / "one.npy", poses())
    model = Model(STGCN(KINECT, width=2), preparation=Preparation(16, bodies=1))
    assert open_source(tmp_path / "one.npy", model).corpus.skeleton == KINECT
    other = Model(STGCN(mine, width=2), preparation=Preparation(16, bodies=1))
    assert open_source(tmp_path / "one.npy", other).corpus.skeleton == mine
    with pytest.raises(ValueError, match=r"one.npy have 20 joints \(kinect20\), the model expects 20 \(mine\)"):
        open_source(tmp_path / "one.npy", other, options={"skeleton": "kinect20"})


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    folder = prepared(tmp_path / "mine")
    with pytest.raises(
        ValueError, match=r"mine is prepared with 16 frames, the model expects 50: prepare .*--frames 50"
    ):
        open_source(folder, small_model(frames=50))
    with pytest.raises(ValueError, match=r"mine have 20 joints \(kinect20\), the model expects 25 \(ntu25\)"):
        open_source(folder, small_model(skeleton=SKELETONS["ntu25"]))
    write_npy_clip(tmp_path / "one.npy", poses())
    with pytest.raises(ValueError, match=r"one\.npy: expected the 25 joints of ntu25, got 20"):
        open_source(tmp_path / "one.npy", small_model(skeleton=SKELETONS["ntu25"]))
    with pytest.raises(FileNotFoundError):
        open_source(tmp_path / "nowhere", small_model())
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        embed_source(small_model(), open_source(folder, small_model()), batch_size=0)


# --- what comes out -------------------------------------------------------------------------------


def three_clips(root: Path) -> Path:
    write_npy_clip(root / "a.npy", poses(seed=1))
    write_npy_clip(root / "b.npy", np.zeros((5, 20, 3)))
    write_npy_clip(root / "c.npy", poses(seed=2))
    return root


def test_what_cannot_be_used_is_named_and_left_out(tmp_path: Path) -> None:
    model = small_model()
    found = embed_source(model, open_source(three_clips(tmp_path), model), batch_size=2)
    assert found.names == ("a", "c")
    (skipped,) = found.skipped
    assert skipped.name == "b" and skipped.reason == "no first body in 5 frames"
    assert found.class_names is None and found.labels is None and found.classes == (None, None)
    np.testing.assert_allclose(
        found.features[1], embed_source(model, open_source(tmp_path / "c.npy", model)).features[0]
    )


def test_nothing_usable_is_refused(tmp_path: Path) -> None:
    three_clips(tmp_path)
    with pytest.raises(ValueError, match=r"none of the 1 recordings of b can be used: no first body in 5 frames"):
        embed_source(small_model(), open_source(tmp_path / "b.npy", small_model()))


def test_a_diverged_model_is_refused(tmp_path: Path) -> None:
    model = small_model()
    for parameter in model.parameters():
        parameter.data.fill_(float("nan"))
    with pytest.raises(ValueError, match="no finite numbers: its training has diverged"):
        embed_source(model, open_source(prepared(tmp_path / "mine"), model))


def test_classes_are_those_of_the_head(tmp_path: Path) -> None:
    model = small_model()
    embeddings = embed_source(model, open_source(prepared(tmp_path / "mine"), model))
    found = classify(model, embeddings)
    assert model.head is not None
    scores = model.head(torch.from_numpy(embeddings.features))
    torch.testing.assert_close(torch.from_numpy(found.probabilities), scores.softmax(1))
    best = [("sit", "b", "walk")[label] for label in scores.argmax(1)]
    assert list(found.classes) == best
    # of the data's classes a, b and c the model knows b alone
    assert list(found.right) == [name == "b" if i % 3 == 1 else None for i, name in enumerate(best)]
    assert [one[0][0] for one in found.top(2)] == best and all(len(one) == 2 for one in found.top(2))
    assert len(found.top(9)[0]) == 3


def test_a_model_without_classifier_names_no_class(tmp_path: Path) -> None:
    model = Model(STGCN(KINECT, width=2), preparation=Preparation(16))
    embeddings = embed_source(model, open_source(prepared(tmp_path / "mine"), model))
    with pytest.raises(ValueError, match="the model has no classifier"):
        classify(model, embeddings)


def test_hands_up(tmp_path: Path) -> None:
    for name, height in (("low", -0.8), ("high", 0.9)):
        write_npy_clip(tmp_path / f"{name}.npy", posing(height, 30)[:, 0])
    write_table(tmp_path / "table.csv", [{"name": "low", "label": "down"}, {"name": "high", "label": "down"}])
    model = hand_model()
    found = classify(model, embed_source(model, open_source(tmp_path, model)))
    assert found.names == ("high", "low") and found.classes == ("up", "down") and found.right == (False, True)


def test_among_equals_the_first_class_comes_first() -> None:
    assert top_classes(np.array([0.2, 0.4, 0.4]), "abc", 2) == [("b", 0.4), ("c", 0.4)]
