"""A few examples of each class make a classifier of frozen features: the nearest class mean, or logistic regression.

Both see features scaled to length 1. Both find what they cannot know, how sure to be, on examples that they have not
learnt from, and say how many of those they get right.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from torch.nn.functional import normalize

from hiclr.encoders.head import LinearHead, for_raw_features
from hiclr.evaluation import FeatureBank

Kind = Literal["logistic", "mean"]
KINDS = get_args(Kind)

FOLDS = 5  # in which a regression leaves examples out
STRENGTHS = tuple(10.0**power for power in range(-2, 4))  # C of the logistic regression, from doubtful to bold
UNTESTED_STRENGTH = 1.0  # of a single example a class
_NEVER = 1e-12  # the least probability that counts
SHARPNESS = np.geomspace(0.1, 1e6, 280)  # by which cosines are multiplied to be scores
UNTESTED_DOUBT = 0.5  # where there is nothing to learn it from: an example of its own class is taken for it by half


@dataclass(frozen=True, eq=False)
class Lesson:
    """A classifier and what is known of it.

    Args:
        head: the classifier.
        kind: of it.
        setting: what was found on the examples: the sharpness of a nearest mean, C of a logistic regression.
        estimate: accuracy in per cent on examples that were left out of the learning: one at a time of the mean, a
            fifth of a class at a time of the regression. None with one example of each class.
        estimated_on: how many examples that is measured on: those of classes with two or more.
    """

    head: LinearHead
    kind: Kind
    setting: float
    estimate: float | None
    estimated_on: int


def learn(
    features: Tensor,
    labels: Tensor,
    class_names: Sequence[str],
    kind: Kind = "logistic",
    progress: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> Lesson:
    """Learns classes from examples.

    Args:
        features: (N, D) of the examples, as the encoder gives them.
        labels: (N,) int64 from 0 to L - 1; each class has at least one example.
        class_names: of the L classes.
        kind: "mean": the class whose mean has the largest cosine. "logistic": logistic regression on features of
            mean 0 and deviation 1.
        progress: wraps what is tried, for a progress bar.

    Raises:
        ValueError: for fewer than two classes, a class without examples, or another kind.
    """
    if kind not in KINDS:
        raise ValueError(f"unknown classifier {kind!r}: choose one of {', '.join(KINDS)}")
    if len(class_names) < 2:
        raise ValueError(f"teaching needs at least 2 classes, got {len(class_names)}")
    counts = labels.bincount(minlength=len(class_names))
    if not counts.all():
        raise ValueError(f"class {class_names[int(counts.argmin())]!r} has no example")
    several = (counts[labels] > 1).numpy()  # examples that can be left out: their class has another
    if kind == "mean":
        return _mean(features, labels, class_names, several)
    return _logistic(features, labels, class_names, several, progress)


# --- nearest class mean -----------------------------------------------------------------------------------------------


def _mean(features: Tensor, labels: Tensor, class_names: Sequence[str], several: NDArray[np.bool_]) -> Lesson:
    x = normalize(features.double())
    sums = torch.zeros(len(class_names), x.shape[1], dtype=x.dtype).index_add_(0, labels, x)
    means = normalize(sums)
    cosines = x @ means.T
    rows = torch.arange(len(x))
    tested = torch.from_numpy(several)
    if several.any():
        cosines[rows, labels] = (x * normalize(sums[labels] - x)).sum(1)  # to the mean of the others of its class
        cosines = cosines[tested]
    truths = labels[tested] if several.any() else labels
    right = (cosines.argmax(1) == truths).double().mean().item()
    sharpness = min(SHARPNESS, key=lambda value: _loss(value * cosines, truths, _doubt(several)))
    head = LinearHead(class_names, sharpness * means, torch.zeros(len(class_names)), normalized=True)
    return Lesson(head, "mean", float(sharpness), 100 * right if several.any() else None, int(several.sum()))


def _doubt(several: NDArray[np.bool_]) -> float:
    """What is left to other classes: n examples speak for (n + 1) / (n + 2) at most, as Platt (1999) has it."""
    return 1 / (several.sum() + 2) if several.any() else UNTESTED_DOUBT


def _loss(scores: Tensor, labels: Tensor, doubt: float) -> float:
    """The mean cross-entropy of scores (N, L), with a share of every label given to the other classes alike."""
    chances = scores.log_softmax(1)
    own = chances.gather(1, labels[:, None])[:, 0]
    others = (chances.sum(1) - own) / (scores.shape[1] - 1)
    return -((1 - doubt) * own + doubt * others).mean().item()


# --- logistic regression ----------------------------------------------------------------------------------------------


def _logistic(
    features: Tensor,
    labels: Tensor,
    class_names: Sequence[str],
    several: NDArray[np.bool_],
    progress: Callable[[Iterable[Any]], Iterable[Any]],
) -> Lesson:
    bank = FeatureBank((), normalize(features), labels)
    x, truths = bank.standardised(bank).features.double().numpy(), labels.numpy()
    strength, estimate = UNTESTED_STRENGTH, None
    if several.any():
        folds = np.where(several, places_in_class(truths) % FOLDS, -1)
        tried = {strength: _left_out(x, truths, folds, strength) for strength in progress(STRENGTHS)}
        strength = min(tried, key=lambda one: _loss(tried[one], labels[several], _doubt(several)))
        estimate = 100 * (tried[strength].argmax(1) == labels[several]).double().mean().item()
    fitted = _regression(x, truths, strength)
    weight, bias = (torch.from_numpy(part) for part in _of_all_classes(fitted))
    head = LinearHead(class_names, *for_raw_features(weight, bias, *bank.spread()), normalized=True)
    return Lesson(head, "logistic", strength, estimate, int(several.sum()))


def places_in_class(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """(N,): the how manieth of its class each is, from 0."""
    places = np.empty_like(labels)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        places[rows] = np.arange(len(rows))
    return places


def _left_out(x: NDArray[np.float64], labels: NDArray[np.int64], folds: NDArray[np.int64], strength: float) -> Tensor:
    """Scores (N', L) of each fold, learnt from all the others; what is in fold -1 is never left out."""
    chances = np.zeros((len(x), labels.max() + 1))
    for fold in range(int(folds.max()) + 1):
        out = folds == fold
        chances[out] = _regression(x[~out], labels[~out], strength).predict_proba(x[out])
    return torch.from_numpy(np.log(chances[folds >= 0] + _NEVER))


def _regression(x: NDArray[np.float64], labels: NDArray[np.int64], strength: float) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of few examples a class, and of too few steps where C is large
        return LogisticRegression(C=strength, max_iter=1000).fit(x, labels)


def _of_all_classes(fitted: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weights (L, D) and biases (L,); of two classes scikit-learn has but the second's."""
    weight, bias = fitted.coef_, fitted.intercept_
    if len(fitted.classes_) == 2:
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    return weight, bias
