"""The encoder in scikit-learn: its contracts, its pipelines, and the features of the model itself."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks
from sklearn.utils.validation import check_is_fitted, validate_data

from hiclr import SkeletonEncoder
from hiclr.data.prepare import prepare_batch
from hiclr.model import Model
from models import SMALL, clips, small_model

CLIPS = clips(24)
LABELS = np.arange(24) % 2  # every other one moves more


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_model().save_pretrained(tmp_path_factory.mktemp("models") / "m")


# --- scikit-learn's own checks --------------------------------------------------------------------


class OfTables(SkeletonEncoder):
    """The encoder behind a door that makes clips of rows of numbers, which is what scikit-learn's checks feed."""

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = True
        return tags

    def fit(self, X: Any, y: object = None) -> Self:
        return super().fit(self._clips(X, reset=True), y)

    def transform(self, X: Any) -> NDArray[np.float32]:
        check_is_fitted(self)
        return super().transform(self._clips(X, reset=False))

    def _clips(self, X: Any, reset: bool) -> list[NDArray[Any]]:
        table = np.tanh(validate_data(self, X, reset=reset, dtype="numeric").astype(float))
        pace = np.linspace(0, 1, 6)[:, None, None]
        return [pace * np.resize(row, (SMALL.num_joints, 3)) + 0.1 for row in table]


@pytest.fixture
def beside_a_model(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)


# one that needs an array library skips itself; nothing else is left out
@pytest.mark.usefixtures("beside_a_model")
@parametrize_with_checks([OfTables("m")])
def test_scikit_learns_checks(estimator: BaseEstimator, check: Callable[[BaseEstimator], None]) -> None:
    check(estimator)


# --- the features ---------------------------------------------------------------------------------


def expected(model: Model, batch: NDArray[np.float32]) -> NDArray[np.float32]:
    """Clips (N, F, M, V, 3) of one length, by hand."""
    x = prepare_batch(torch.from_numpy(batch).permute(0, 4, 1, 3, 2), SMALL, 16)
    with torch.no_grad():
        features: NDArray[np.float32] = model(x).numpy()
    return features


@pytest.mark.parametrize("stream", ["joint", "motion", "bone"])
def test_features_are_the_models_own(stream: Any) -> None:
    model = small_model(stream=stream)
    features = SkeletonEncoder(model).fit(CLIPS).transform(CLIPS)
    assert features.dtype == np.float32 and features.shape == (24, model.encoder.feature_dim)
    np.testing.assert_allclose(features, expected(model, CLIPS[:, :, None]), rtol=1e-5, atol=1e-6)


def test_every_form_of_clips_gives_the_same(folder: Path) -> None:
    encoder = SkeletonEncoder(folder).fit(CLIPS)
    features = encoder.transform(CLIPS)
    objects = np.empty(24, object)
    objects[:] = list(CLIPS)
    nobody = np.concatenate([CLIPS[:, :, None], np.zeros_like(CLIPS[:, :, None])], axis=2)
    forms = [CLIPS[:, :, None], list(CLIPS), tuple(CLIPS), CLIPS.tolist(), CLIPS.astype("f8"), objects, nobody]
    for form in [*forms, pd.Series(list(CLIPS), index=range(5, 29))]:
        assert np.array_equal(encoder.transform(form), features)


def test_clips_of_any_length_and_number_of_bodies(folder: Path) -> None:
    """One, two or three of them, of which the model keeps one."""
    short, long = clips(1, frames=5)[0], clips(1, frames=40, seed=1)[0]
    crowd = np.stack([long, long + 1, long + 2], axis=1)
    features = SkeletonEncoder(folder).fit([short]).transform([short, crowd, long])
    np.testing.assert_allclose(features[1], features[2], rtol=1e-5, atol=1e-6)
    assert not np.allclose(features[0], features[2])


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_features_do_not_hang_on_the_batch(folder: Path, batch_size: int) -> None:
    features = SkeletonEncoder(folder, batch_size=batch_size).fit(CLIPS).transform(CLIPS)
    np.testing.assert_allclose(features, SkeletonEncoder(folder).fit(CLIPS).transform(CLIPS), rtol=1e-5, atol=1e-6)


def test_a_model_is_not_changed() -> None:
    model = small_model().train()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    encoder = SkeletonEncoder(model).fit(CLIPS)
    encoder.transform(CLIPS)
    assert model.training and encoder.model_ is not model and not encoder.model_.training
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


# --- in scikit-learn ------------------------------------------------------------------------------


@pytest.fixture
def pipeline(folder: Path) -> Any:
    return make_pipeline(SkeletonEncoder(str(folder)), StandardScaler(), LogisticRegression())


@pytest.mark.parametrize("X", [CLIPS, list(CLIPS)], ids=["array", "list"])
def test_a_pipeline_learns_and_is_cross_validated(pipeline: Any, X: Any) -> None:
    assert cross_val_score(pipeline, X, LABELS, cv=3).mean() > 0.9
    assert (pipeline.fit(X, LABELS).predict(X) == LABELS).all()


def test_a_grid_search_sets_its_options(pipeline: Any, folder: Path) -> None:
    grid = {"skeletonencoder__model": [str(folder), small_model(stream="bone")], "logisticregression__C": [0.1, 1.0]}
    search = GridSearchCV(pipeline, grid, cv=2).fit(CLIPS, LABELS)
    assert len(search.cv_results_["params"]) == 4 and search.best_score_ > 0.9


def test_a_pickle_needs_no_file(tmp_path: Path) -> None:
    folder = small_model().save_pretrained(tmp_path / "m")
    encoder = SkeletonEncoder(folder).fit(CLIPS)
    features, bytes_ = encoder.transform(CLIPS), pickle.dumps(encoder)
    for file in folder.iterdir():
        file.unlink()
    assert np.array_equal(pickle.loads(bytes_).transform(CLIPS), features)


def test_a_clone_has_the_options_and_no_model(folder: Path) -> None:
    encoder = SkeletonEncoder(folder, batch_size=3).fit(CLIPS)
    other = clone(encoder)
    assert other.get_params() == encoder.get_params() and not hasattr(other, "model_")
    with pytest.raises(NotFittedError):
        other.transform(CLIPS)


def test_features_have_names(folder: Path) -> None:
    encoder = SkeletonEncoder(folder).fit(CLIPS)
    names = encoder.get_feature_names_out()
    assert list(names[:2]) == ["skeletonencoder0", "skeletonencoder1"]
    frame = encoder.set_output(transform="pandas").transform(CLIPS)
    assert isinstance(frame, pd.DataFrame) and list(frame.columns) == list(names) and len(frame) == 24


# --- what is refused ------------------------------------------------------------------------------


def changed(value: float) -> NDArray[np.float32]:
    some = CLIPS.copy()
    some[5, 3, 1, 0] = value
    return some


@pytest.mark.parametrize(
    ("X", "sentence"),
    [
        ([], "expected clips, got none"),
        (CLIPS[:0], "expected clips, got none"),
        (CLIPS[0], r"expected clips \(N, F, V, 3\).* got a ndarray of shape \(12, 3, 3\)"),
        (np.zeros((4, 9)), r"got a ndarray of shape \(4, 9\)"),
        ("recordings", r"got a str of shape \(\)"),
        (7, r"got a int of shape \(\)"),
        (clips(2)[..., :2], r"clip 0 has shape \(12, 3, 2\), the model expects \(F, 3, 3\) or \(F, M, 3, 3\)"),
        ([CLIPS[0], np.zeros((12, 25, 3))], r"clip 1 has shape \(12, 25, 3\), the model expects .* joints of small"),
        (["a.npy"], "clip 0 is no array of numbers"),
        ([[[0, 1], [2]]], "clip 0 is no array of numbers"),
        (CLIPS.astype(complex), "clip 0 has shape|clip 0 is no array of numbers"),
        (changed(np.nan), "clip 5 holds NaN, infinity or places out of this world in 1 of its frames"),
        (changed(np.inf), "clip 5 holds NaN, infinity"),
        (changed(1e30), "clip 5 holds NaN, infinity"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore::numpy.exceptions.ComplexWarning")
def test_what_are_no_clips_is_refused(folder: Path, X: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        SkeletonEncoder(folder).fit(X)
    with pytest.raises(ValueError, match=sentence):
        SkeletonEncoder(folder).fit(CLIPS).transform(X)


@pytest.mark.parametrize("nobody", [np.zeros((12, 3, 3)), np.zeros((0, 3, 3))])
def test_a_clip_of_nobody_is_named(folder: Path, nobody: NDArray[Any]) -> None:
    """Leaving it out would move the rows of all that come after."""
    with pytest.raises(ValueError, match=r"clip 20 cannot be used: no first body in \d+ frames"):
        SkeletonEncoder(folder, batch_size=8).fit(CLIPS).transform([*CLIPS[:20], nobody])


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"batch_size": 2.5}, "batch_size must be at least 1, got 2.5"),
        ({"device": "toaster"}, "the model cannot be moved to the device 'toaster'"),
        ({"device": "cuda:99"}, "the model cannot be moved to the device 'cuda:99'"),
        ({"stream": "bone"}, "was trained on the joint stream, not on bone"),
    ],
)  # fmt: skip
def test_options_that_cannot_be(folder: Path, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        SkeletonEncoder(folder, **options).fit(CLIPS)


def test_no_such_model(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        SkeletonEncoder(tmp_path / "none").fit(CLIPS)
