"""How good features are: a bank of frozen features, a linear probe, nearest neighbours, scores by name."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import normalize

from hiclr.data.recordings.archive import Npz
from hiclr.provenance import write_whole

# similarities held at a time: 64 MiB of float32, however large the training side is
_BLOCK = 2**24
_MOST_BYTES = 2**30  # of saved scores; those of NTU RGB+D 120 take some thirty million

SCORES, VALIDATION_SCORES = "scores", "validation-scores"  # kinds of files beside a result


@dataclass(frozen=True, eq=False)
class FeatureBank:
    """Frozen features of one side of a benchmark.

    Args:
        names: of the N sequences.
        features: (N, D) float32.
        labels: (N,) int64.
    """

    names: tuple[str, ...]
    features: Tensor
    labels: Tensor

    def where(self, chosen: Tensor) -> FeatureBank:
        """The sequences that `chosen` (N,) bool marks."""
        rows = chosen.nonzero()[:, 0]
        return FeatureBank(tuple(self.names[row] for row in rows), self.features[rows], self.labels[rows])

    def spread(self) -> tuple[Tensor, Tensor]:
        """Mean and deviation (D,) of every feature; of one that is constant but for rounding the deviation is 1."""
        deviation, mean = torch.std_mean(self.features, 0)
        return mean, torch.where(deviation > 1e-6 * mean.abs(), deviation, 1.0)

    def standardised(self, like: FeatureBank) -> FeatureBank:
        """The same bank with mean and deviation of every feature of `like` taken out."""
        mean, deviation = like.spread()
        return FeatureBank(self.names, (self.features - mean) / deviation, self.labels)


@dataclass(frozen=True, eq=False)
class Scores:
    """What a classifier thinks of each sequence, by name, so that streams can be fused later.

    Args:
        names: of the N sequences.
        labels: (N,) int64.
        scores: (N, L) float32, one per class.
    """

    names: tuple[str, ...]
    labels: Tensor
    scores: Tensor

    @property
    def predictions(self) -> Tensor:
        """(N,) the class with the highest score."""
        return self.scores.argmax(1)

    @property
    def top1(self) -> float:
        """Accuracy in per cent."""
        return 100 * (self.predictions == self.labels).double().mean().item()

    def confusion(self) -> NDArray[np.int64]:
        """(L, L): row the true class, column the predicted one."""
        classes = self.scores.shape[1]
        cells = self.labels * classes + self.predictions
        return torch.bincount(cells, minlength=classes * classes).view(classes, classes).numpy()

    def save(self, path: Path) -> None:
        """Writes names, labels and scores as `.npz`; an interrupted write leaves the old file."""
        write_whole(path, self._write)

    def _write(self, path: Path) -> None:
        content = BytesIO()  # a full disk makes a ZIP file that is left open complain once more on the screen
        np.savez(content, names=np.array(self.names), labels=self.labels.numpy(), scores=self.scores.numpy())
        path.write_bytes(content.getbuffer())

    @classmethod
    def load(cls, path: Path) -> Scores:
        """Reads what `save` wrote.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if it holds something else.
        """
        if not path.is_file():
            raise FileNotFoundError(f"no scores {path}: make them with the verb that measures, as `hiclr linear` does")
        again = "make it again with the verb that measures, as `hiclr linear` does"
        try:
            with path.open("rb") as stream:
                names, labels, scores = _read(Npz(stream), "names", "labels", "scores")
        except ValueError as error:
            raise ValueError(f"{path} holds no saved scores ({error}): {again}") from None
        if wrong := _wrong_with(names, labels, scores):
            raise ValueError(f"{path} holds {wrong}: {again}")
        return cls(tuple(names.tolist()), torch.from_numpy(labels).long(), torch.from_numpy(scores).float())


def _read(arrays: Npz, *keys: str) -> list[NDArray[Any]]:
    """Some arrays, if they are no larger than scores are."""
    missing = [key for key in keys if key not in arrays]
    if missing:
        raise ValueError(f"no {' and '.join(missing)}")
    size = sum(math.prod(header.shape) * header.dtype.itemsize for header in map(arrays.header, keys))
    if size > _MOST_BYTES:
        raise ValueError(f"its arrays take {size} bytes, more than {_MOST_BYTES}")
    return [arrays[key] for key in keys]


def _wrong_with(names: NDArray[Any], labels: NDArray[Any], scores: NDArray[Any]) -> str | None:
    kinds = names.dtype.kind, labels.dtype.kind, scores.dtype.kind
    if kinds != ("U", "i", "f") or scores.ndim != 2 or not names.shape == labels.shape == scores.shape[:1]:
        shapes = ", ".join(f"{array.dtype} {array.shape}" for array in (names, labels, scores))
        return f"{shapes} as names, labels and scores (expected text (N,), integers (N,), numbers (N, L))"
    if not scores.size or labels.min() < 0 or labels.max() >= scores.shape[1]:
        return f"no sequences, or labels outside its {scores.shape[1]} classes"
    if not np.isfinite(scores).all():
        return "scores that are no finite numbers"
    return "sequences of the same name" if len(np.unique(names)) < len(names) else None


def scores_path(result: Path, kind: str = SCORES) -> Path:
    """Where the scores of a result lie."""
    return result.with_name(f"{result.stem}-{kind}.npz")


@dataclass(frozen=True, eq=False)
class ProbeResult:
    """A linear probe's outcome on the test side.

    Args:
        scores: of the last epoch: the headline.
        top1_by_epoch: accuracy in per cent after some of the epochs, the last among them.
        layer: (L, 1 + D) biases and weights after the last epoch.
    """

    scores: Scores
    top1_by_epoch: dict[int, float]
    layer: Tensor

    @property
    def top1_best_on_test(self) -> float:
        """The best of `top1_by_epoch`: chosen on the test side, as the published figures are."""
        return max(self.top1_by_epoch.values())


@torch.no_grad()
def encode(encoder: nn.Module, batches: Iterable[Tensor], device: torch.device | str = "cpu") -> Tensor:
    """Features (N, D) of batches x (N, C, T, V, M), by an encoder in eval mode, on the CPU."""
    encoder = encoder.to(device).eval()
    # they stay on the device until the last: a copy of each would make the device wait for the next batch
    return torch.cat([encoder(x.to(device)).float() for x in batches]).cpu()


def held_out(labels: Tensor, share: float, seed: int) -> Tensor:
    """(N,) bool: a share (from 0 to 1) of each class of labels (N,), drawn with a seed, to validate on.

    At least one sequence of a class, but never its last: a class of one stays with the training.

    Raises:
        ValueError: if no class has two sequences.
    """
    chance = torch.Generator().manual_seed(seed)
    held = torch.zeros(len(labels), dtype=torch.bool)
    for label in labels.unique():
        rows = (labels == label).nonzero()[:, 0]
        count = min(max(round(share * len(rows)), 1), len(rows) - 1)
        held[rows[torch.randperm(len(rows), generator=chance)[:count]]] = True
    if not held.any():
        raise ValueError("validation needs a class with at least two training sequences: leave --validation out")
    return held


def linear_probe(
    train: FeatureBank,
    test: FeatureBank,
    classes: int,
    *,
    epochs: int = 100,
    lr: float = 3.0,
    lr_drop_epochs: Sequence[int] = (80,),
    batch_size: int = 128,
    evaluate_every: int = 5,
    seed: int = 0,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
    device: torch.device | str = "cpu",
) -> ProbeResult:
    """Trains one linear layer on frozen features (published schedule: SGD, momentum 0.9, no weight decay).

    The features are constant, so they are computed once: the same mathematics as training the layer
    behind a frozen encoder.

    Args:
        train: what to learn from.
        test: what to report on.
        classes: L.
        epochs: passes over the training side.
        lr: learning rate at the start.
        lr_drop_epochs: after which the learning rate falls to a tenth.
        batch_size: features in a step.
        evaluate_every: epochs between two looks at the test side; the last epoch is always looked at.
        seed: of the layer's weights and the order.
        progress: wraps the epochs, for a progress bar.
        device: where to compute; all features go there at once.

    Raises:
        ValueError: for settings that cannot work (`check_probe`), or a learning rate at which the weights overflow.
    """
    check_probe(epochs, lr, batch_size)
    chance = torch.Generator().manual_seed(seed)
    layer = torch.empty(classes, train.features.shape[1]).normal_(0.0, 0.01, generator=chance)
    layer = torch.cat([torch.zeros(classes, 1), layer], 1).to(device)
    speed = torch.zeros_like(layer)
    features, labels = _after_a_one(train.features, device), train.labels[:, None].to(device)
    minus_one = -torch.ones(1, 1, device=device)
    top1_by_epoch: dict[int, float] = {}
    for epoch in progress(range(1, epochs + 1)):
        rate = lr * 0.1 ** sum(epoch > drop for drop in lr_drop_epochs)
        for rows in torch.randperm(len(labels), generator=chance).to(device).split(batch_size):
            x, target = features.index_select(0, rows), labels.index_select(0, rows)
            # the gradient of the cross-entropy by hand, softmax less one-hot: autograd and SGD launch thrice as much
            error = (x @ layer.T).softmax(1).scatter_add_(1, target, minus_one.expand_as(target))
            speed.addmm_(error.T, x, beta=0.9, alpha=1 / len(x))
            layer.sub_(speed, alpha=rate)
        if not layer.isfinite().all():
            raise ValueError(f"the probe's weights are no finite numbers after epoch {epoch}: lower lr {lr:g} (--lr)")
        if epoch % evaluate_every == 0 or epoch == epochs:
            scores = _score(layer, test)
            top1_by_epoch[epoch] = scores.top1
    return ProbeResult(scores, top1_by_epoch, layer.cpu())


def check_probe(epochs: int, lr: float, batch_size: int) -> None:
    """ValueError for less than one epoch or one feature in a step, or a learning rate that is none."""
    if epochs < 1:
        raise ValueError(f"a linear probe needs at least 1 epoch, got epochs {epochs}")
    if not 0 < lr < math.inf:
        raise ValueError(f"the learning rate of a probe must be finite and above 0, got lr {lr}")
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")


def _after_a_one(features: Tensor, device: torch.device | str) -> Tensor:
    """Features (N, 1 + D) that begin with a one, whose weight is the bias of a linear layer."""
    ones = torch.ones(len(features), 1, device=device)
    return torch.cat([ones, features.to(device)], 1)


def _score(layer: Tensor, bank: FeatureBank) -> Scores:
    return Scores(bank.names, bank.labels, (_after_a_one(bank.features, layer.device) @ layer.T).cpu())


def check_neighbours(ks: Sequence[int], sequences: int) -> None:
    """ValueError unless every k is a number of neighbours that can be found among that many training sequences."""
    if not ks or min(ks) < 1 or max(ks) > sequences:
        raise ValueError(f"k must lie in 1..{sequences} (the training sequences), got {list(ks)}: set --k")


def nearest_neighbours(
    train: FeatureBank,
    test: FeatureBank,
    classes: int,
    ks: Sequence[int],
    progress: Callable[[Iterable[Any]], Iterable[Any]] = iter,
    device: torch.device | str = "cpu",
) -> dict[int, Scores]:
    """Votes of the k training sequences most similar in cosine, for each k.

    Every neighbour votes with its similarity, so a tie goes to the nearer ones.

    Args:
        train: who votes.
        test: who is voted on.
        classes: L.
        ks: how many vote.
        progress: wraps the blocks of test sequences, for a progress bar.
        device: where to compute.

    Raises:
        ValueError: for a k below 1 or above the number of training sequences.
    """
    check_neighbours(ks, len(train.labels))
    bank, queries = (normalize(side.features.to(device)) for side in (train, test))
    found = [(block @ bank.T).topk(max(ks), dim=1) for block in progress(queries.split(_rows_at_once(bank)))]
    similarity = torch.cat([values for values, _ in found]).cpu()
    labels = train.labels[torch.cat([indices for _, indices in found]).cpu()]
    # cosine runs from -1 to 1: one more makes every vote positive
    return {
        k: Scores(
            test.names,
            test.labels,
            torch.zeros(len(test.labels), classes).scatter_add_(1, labels[:, :k], similarity[:, :k] + 1),
        )
        for k in ks
    }


def average_precision(
    train: FeatureBank,
    test: FeatureBank,
    progress: Callable[[Iterable[Any]], Iterable[Any]] = iter,
    device: torch.device | str = "cpu",
) -> Tensor:
    """How far in front a search for each test sequence finds the training sequences of its class.

    The training side is ranked by cosine; the precision is taken at each sequence of the class and averaged over them.
    Equally similar ones all count as found with the last of them, so that their order does not matter.

    Args:
        train: what is searched.
        test: what is searched for.
        progress: wraps the blocks of queries, for a progress bar.
        device: where to compute.

    Returns:
        (N,) average precision from 0 to 1; NaN where no training sequence is of the query's class. Its mean over the
        others is "mean average precision", mAP.
    """
    bank, queries = (normalize(side.features.to(device)) for side in (train, test))
    precision = torch.empty(len(queries), dtype=torch.float64)
    for rows in progress(_blocks_of_a_class(test.labels, _rows_at_once(bank))):
        similarity = queries[rows.to(device)] @ bank.T
        same_class = (train.labels == test.labels[rows[0]]).nonzero()[:, 0]
        relevant = _in_order(similarity.index_select(1, same_class.to(device)))
        found = _no_smaller(relevant, relevant)
        rank = _no_smaller(_in_order(similarity), relevant)
        precision[rows] = (found.double() / rank).mean(1).cpu()
    return precision


def _rows_at_once(bank: Tensor) -> int:
    return max(1, _BLOCK // len(bank))


def _blocks_of_a_class(labels: Tensor, size: int) -> list[Tensor]:
    """The rows of labels (N,) by class, in blocks of at most `size`."""
    return [block for label in labels.unique() for block in (labels == label).nonzero()[:, 0].split(size)]


def _in_order(x: Tensor) -> Tensor:
    """Each row of x from its smallest value to its largest."""
    # on a CPU, NumPy sorts values alone 20 times as fast as PyTorch values with their places
    return torch.from_numpy(np.sort(x.numpy(), axis=1)) if x.device.type == "cpu" else x.sort(1).values


def _no_smaller(x: Tensor, than: Tensor) -> Tensor:
    """(N, R): how many values of a row of x (N, A), in order, are not smaller than each of `than` (N, R)."""
    return x.shape[1] - torch.searchsorted(x, than)
