"""A few examples make a classifier: what it learns, how sure it is, what it says of itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler
from torch import Tensor
from torch.nn.functional import normalize

from hiclr.teaching import FOLDS, STRENGTHS, UNTESTED_STRENGTH, Kind, learn, places_in_class

every_kind = pytest.mark.parametrize("kind", ["mean", "logistic"])


def examples(classes: int = 3, each: int = 5, noise: float = 0.05, seed: int = 0) -> tuple[Tensor, Tensor, list[str]]:
    """Features (N, 8) around a direction for each class, positive and of different lengths like an encoder's."""
    chance = torch.Generator().manual_seed(seed)
    directions = torch.eye(8)[:classes] + 0.5
    labels = torch.arange(classes).repeat(each)
    x = directions[labels] + noise * torch.randn(len(labels), 8, generator=chance)
    lengths = torch.rand(len(labels), 1, generator=chance) + 0.5
    return lengths * x, labels, list("abcdefgh"[:classes])


@every_kind
@pytest.mark.parametrize("classes", [2, 3, 8])
def test_what_can_be_told_apart_is(kind: Kind, classes: int) -> None:
    lesson = learn(*examples(classes), kind)
    new, truths, _ = examples(classes, each=20, seed=1)
    assert (lesson.head(new).argmax(1) == truths).double().mean() > 0.97
    assert lesson.estimate == 100 and lesson.estimated_on == 5 * classes


@every_kind
def test_the_length_of_features_does_not_matter(kind: Kind) -> None:
    x, labels, names = examples(noise=0.4)
    one, other = learn(x, labels, names, kind), learn(7 * x, labels, names, kind)
    new = examples(noise=0.4, seed=1)[0]
    torch.testing.assert_close(one.head(new), other.head(0.1 * new), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("classes", [2, 4])
def test_logistic_is_scikit_learns(classes: int) -> None:
    x, labels, names = examples(classes, noise=0.5)
    lesson = learn(x, labels, names, "logistic")
    assert lesson.setting in STRENGTHS
    # ours divides by the deviation of a sample, scikit-learn by that of a population
    scale = (len(x) - 1) / len(x)
    theirs = make_pipeline(Normalizer(), StandardScaler(), LogisticRegression(C=lesson.setting * scale, max_iter=1000))
    theirs.fit(x.double().numpy(), labels.numpy())
    new = examples(classes, each=20, noise=0.5, seed=1)[0]
    np.testing.assert_allclose(
        lesson.head(new).softmax(1).numpy(), theirs.predict_proba(new.double().numpy()), atol=2e-3
    )


def test_the_mean_is_the_nearest_in_cosine() -> None:
    x, labels, names = examples(noise=0.5)
    lesson = learn(x, labels, names, "mean")
    new = examples(each=20, noise=0.5, seed=1)[0]
    unit = normalize(x)
    means = torch.stack([normalize(unit[labels == label].mean(0), dim=0) for label in range(3)])
    torch.testing.assert_close(lesson.head(new), lesson.setting * normalize(new) @ means.T, rtol=1e-4, atol=1e-4)


# --- what it says of itself -----------------------------------------------------------------------


def test_the_estimate_of_the_mean_leaves_one_out_at_a_time() -> None:
    x, labels, names = examples(classes=4, noise=0.8)
    right = 0
    for i in range(len(x)):
        others = torch.arange(len(x)) != i
        right += learn(x[others], labels[others], names, "mean").head(x[i : i + 1]).argmax().item() == labels[i]
    assert 0 < right < len(x)
    assert learn(x, labels, names, "mean").estimate == pytest.approx(100 * right / len(x))


def test_the_estimate_of_the_regression_leaves_a_fifth_out() -> None:
    x, labels, names = examples(classes=4, each=7, noise=0.8)
    lesson = learn(x, labels, names, "logistic")
    z = normalize(x).double()
    z = ((z - z.mean(0)) / z.std(0)).numpy()
    folds, truths = places_in_class(labels.numpy()) % FOLDS, labels.numpy()
    right = 0
    for fold in range(FOLDS):
        fitted = LogisticRegression(C=lesson.setting, max_iter=1000).fit(z[folds != fold], truths[folds != fold])
        right += (fitted.predict(z[folds == fold]) == truths[folds == fold]).sum()
    assert lesson.estimate == pytest.approx(100 * right / len(x)) and lesson.estimate < 100


@every_kind
def test_an_example_alone_is_never_left_out(kind: Kind) -> None:
    x, labels, names = examples()
    kept = torch.ones(len(x), dtype=torch.bool)
    kept[(labels == 2).nonzero()[1:, 0]] = False
    assert learn(x[kept], labels[kept], names, kind).estimated_on == 10


@every_kind
def test_one_example_of_each_class_estimates_nothing(kind: Kind) -> None:
    x, labels, names = examples(classes=5, each=1)
    lesson = learn(x, labels, names, kind)
    assert lesson.estimate is None and lesson.estimated_on == 0
    assert torch.equal(lesson.head(x).argmax(1), labels)
    if kind == "logistic":
        assert lesson.setting == UNTESTED_STRENGTH
    else:  # it is not surer of the very example than by half
        assert lesson.head(x).softmax(1).diagonal().mean().item() == pytest.approx(0.5, abs=0.1)


@every_kind
def test_it_is_as_sure_as_it_is_right(kind: Kind) -> None:
    for noise in (0.3, 1.0):
        lesson = learn(*examples(classes=8, each=12, noise=noise), kind)
        new, truths, _ = examples(classes=8, each=100, noise=noise, seed=1)
        chances = lesson.head(new).softmax(1)
        right = (chances.argmax(1) == truths).double().mean().item()
        assert chances.max(1).values.mean().item() == pytest.approx(right, abs=0.15)


def test_places_count_within_a_class() -> None:
    assert places_in_class(np.array([2, 0, 2, 2, 1, 0])).tolist() == [0, 0, 1, 2, 0, 1]


def test_what_cannot_be_taught_is_refused() -> None:
    x, labels, names = examples()
    with pytest.raises(ValueError, match="unknown classifier 'svm': choose one of logistic, mean"):
        learn(x, labels, names, "svm")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="needs at least 2 classes, got 1"):
        learn(x, labels, ["a"])
    with pytest.raises(ValueError, match="class 'd' has no example"):
        learn(x, labels, [*names, "d"])
