"""Evaluation: neighbours and votes against loops, the probe on features whose answer is known, scores by name."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hiclr import evaluation
from hiclr.evaluation import (
    FeatureBank,
    ProbeResult,
    Scores,
    average_precision,
    encode,
    held_out,
    linear_probe,
    nearest_neighbours,
)

CLASSES = 4


def bank(n: int, seed: int, separation: float = 0.0, dim: int = 6) -> FeatureBank:
    """Random features; with a separation each class sits on an axis of its own."""
    chance = torch.Generator().manual_seed(seed)
    labels = torch.randint(CLASSES, (n,), generator=chance)
    features = torch.randn(n, dim, generator=chance) + separation * torch.eye(CLASSES, dim)[labels]
    return FeatureBank(tuple(f"s{i}" for i in range(n)), features, labels)


# --- nearest neighbours ---------------------------------------------------------------------------


def slow_votes(train: FeatureBank, test: FeatureBank, k: int) -> list[list[float]]:
    votes = []
    for feature in test.features.tolist():
        similarities = []
        for other, label in zip(train.features.tolist(), train.labels.tolist(), strict=True):
            product = sum(a * b for a, b in zip(feature, other, strict=True))
            similarities.append((product / (math.hypot(*feature) * math.hypot(*other)), label))
        row = [0.0] * CLASSES
        for similarity, label in sorted(similarities, reverse=True)[:k]:
            row[label] += 1 + similarity
        votes.append(row)
    return votes


@pytest.mark.parametrize("k", [1, 3, 10, 30])
def test_votes_equal_the_loop(k: int) -> None:
    train, test = bank(30, 0), bank(12, 1)
    scores = nearest_neighbours(train, test, CLASSES, [k])[k]
    np.testing.assert_allclose(scores.scores.numpy(), slow_votes(train, test, k), rtol=1e-5, atol=1e-6)
    assert scores.names == test.names and torch.equal(scores.labels, test.labels)


def test_each_k_is_counted_by_itself() -> None:
    train, test = bank(30, 0), bank(12, 1)
    together = nearest_neighbours(train, test, CLASSES, [5, 1])
    assert list(together) == [5, 1]
    for k in (1, 5):
        assert torch.equal(together[k].scores, nearest_neighbours(train, test, CLASSES, [k])[k].scores)


def test_nearest_neighbour_of_the_training_side_is_itself() -> None:
    train = bank(50, 0)
    assert nearest_neighbours(train, train, CLASSES, [1])[1].top1 == 100


def test_neighbours_do_not_see_the_length_of_a_feature() -> None:
    train, test = bank(30, 0), bank(12, 1)
    scaled = FeatureBank(test.names, test.features * torch.logspace(-3, 3, 12)[:, None], test.labels)
    ours = nearest_neighbours(train, scaled, CLASSES, [3])[3].scores
    torch.testing.assert_close(ours, nearest_neighbours(train, test, CLASSES, [3])[3].scores)


@pytest.mark.parametrize("block", [1, 30, 100])  # rows of 30 similarities: one at a time, and three
def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    train, test = bank(30, 0), bank(13, 1)
    votes, precision = nearest_neighbours(train, test, CLASSES, [3])[3], average_precision(train, test)
    monkeypatch.setattr(evaluation, "_BLOCK", block)
    torch.testing.assert_close(nearest_neighbours(train, test, CLASSES, [3])[3].scores, votes.scores)
    torch.testing.assert_close(average_precision(train, test), precision)


@pytest.mark.parametrize("ks", [[0], [1, 31], [-1, 5]])
def test_k_is_checked(ks: list[int]) -> None:
    with pytest.raises(ValueError, match=r"k must lie in 1\.\.30 .*, got \["):
        nearest_neighbours(bank(30, 0), bank(3, 1), CLASSES, ks)


def test_no_k_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match=r"k must lie in 1\.\.30"):
        nearest_neighbours(bank(30, 0), bank(3, 1), CLASSES, [])


# --- retrieval ------------------------------------------------------------------------------------


def slow_average_precision(train: FeatureBank, test: FeatureBank) -> list[float]:
    """Walks down the ranking; of equally similar sequences all are found when the last of them is."""
    found = []
    for feature, label in zip(test.features.tolist(), test.labels.tolist(), strict=True):
        ranked = []
        for other, theirs in zip(train.features.tolist(), train.labels.tolist(), strict=True):
            product = sum(a * b for a, b in zip(feature, other, strict=True))
            ranked.append((product / (math.hypot(*feature) * math.hypot(*other)), theirs == label))
        precisions = []
        for similarity, relevant in ranked:
            as_near = [theirs for other, theirs in ranked if other >= similarity]
            if relevant:
                precisions.append(sum(as_near) / len(as_near))
        found.append(sum(precisions) / len(precisions) if precisions else math.nan)
    return found


def test_average_precision_equals_the_loop() -> None:
    train, test = bank(30, 0, 1), bank(40, 1, 1)
    np.testing.assert_allclose(average_precision(train, test), slow_average_precision(train, test), rtol=1e-5)


def test_retrieval_of_a_perfect_and_of_the_worst_ranking() -> None:
    train = FeatureBank(tuple("abcd"), torch.tensor([[1.0, 0], [1, 0.1], [0, 1], [0.1, 1]]), torch.tensor([0, 0, 1, 1]))
    query = torch.tensor([[1.0, 0.0]])
    assert average_precision(train, FeatureBank(("q",), query, torch.tensor([0]))).item() == 1
    worst = average_precision(train, FeatureBank(("q",), query, torch.tensor([1]))).item()
    assert worst == pytest.approx((1 / 3 + 2 / 4) / 2)


def test_order_of_equally_similar_sequences_does_not_matter() -> None:
    labels = torch.tensor([0, 0, 1, 1, 1, 1])
    train = FeatureBank(tuple("abcdef"), torch.ones(6, 2), labels)  # a network that has collapsed
    for order in (torch.arange(6), torch.arange(5, -1, -1)):
        shuffled = FeatureBank(train.names, train.features, labels[order])
        assert average_precision(shuffled, train).tolist() == pytest.approx([2 / 6] * 2 + [4 / 6] * 4)


def test_query_of_a_class_that_is_not_there_has_no_precision() -> None:
    train, test = bank(30, 0), bank(12, 1)
    lacking = train.where(train.labels != 3)
    missing = average_precision(lacking, test).isnan()
    assert torch.equal(missing, test.labels == 3) and missing.any()


# --- held-out share -------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.01, 0.2, 0.5, 0.99])
def test_held_out_counts_equal_the_formula(share: float) -> None:
    labels = torch.tensor([0] * 10 + [1] * 7 + [2] * 2 + [3]).flip(0)
    held = held_out(labels, share, seed=0)
    for label, count in enumerate([10, 7, 2, 1]):
        assert held[labels == label].sum() == min(max(round(share * count), 1), count - 1)


def test_held_out_is_drawn_by_its_seed_alone() -> None:
    labels = bank(60, 0).labels
    torch.manual_seed(1)
    first = held_out(labels, 0.3, seed=5)
    torch.manual_seed(2)
    assert torch.equal(held_out(labels, 0.3, seed=5), first)
    assert not torch.equal(held_out(labels, 0.3, seed=6), first)


def test_nothing_to_hold_out_is_refused() -> None:
    with pytest.raises(ValueError, match="at least two training sequences"):
        held_out(torch.arange(5), 0.2, seed=0)


def test_where_keeps_names_features_and_labels_together() -> None:
    whole = bank(9, 0)
    part = whole.where(whole.labels == 1)
    rows = [row for row, label in enumerate(whole.labels.tolist()) if label == 1]
    assert part.names == tuple(f"s{row}" for row in rows)
    assert torch.equal(part.features, whole.features[rows]) and torch.equal(part.labels, whole.labels[rows])


# --- linear probe ---------------------------------------------------------------------------------


def test_probe_separates_what_is_separable() -> None:
    result = linear_probe(bank(200, 0, separation=20), bank(100, 1, separation=20), CLASSES, epochs=20)
    assert result.scores.top1 == 100


def test_probe_finds_nothing_where_there_is_nothing() -> None:
    result = linear_probe(bank(400, 0), bank(400, 1), CLASSES, epochs=20)
    assert abs(result.scores.top1 - 100 / CLASSES) < 10


def plain_probe(
    train: FeatureBank, test: FeatureBank, epochs: int, lr: float, drops: list[int], batch_size: int, seed: int
) -> tuple[Tensor, list[float]]:
    """PyTorch's own layer, gradient, optimizer and schedule, a batch of the bank at a time; top-1 of every epoch."""
    chance = torch.Generator().manual_seed(seed)
    layer = nn.Linear(train.features.shape[1], CLASSES)
    nn.init.normal_(layer.weight, 0.0, 0.01, generator=chance)
    nn.init.zeros_(layer.bias)
    optimizer = torch.optim.SGD(layer.parameters(), lr=lr, momentum=0.9)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones=drops, gamma=0.1)
    top1 = []
    for _ in range(epochs):
        for rows in torch.randperm(len(train.labels), generator=chance).split(batch_size):
            optimizer.zero_grad()
            nn.functional.cross_entropy(layer(train.features[rows]), train.labels[rows]).backward()
            optimizer.step()
        schedule.step()
        scores = layer(test.features).detach()
        top1.append(100 * (scores.argmax(1) == test.labels).double().mean().item())
    return scores, top1


@pytest.mark.parametrize("drops", [[2, 4], [], [0, 5], [3, 3]])
def test_probe_equals_the_plain_one(drops: list[int]) -> None:
    train, test = bank(40, 0, 3), bank(20, 1, 3)  # batches of 16, 16 and 8
    ours = linear_probe(
        train, test, CLASSES, epochs=6, lr=0.5, lr_drop_epochs=drops, batch_size=16, evaluate_every=3, seed=7
    )
    scores, top1 = plain_probe(train, test, 6, 0.5, drops, 16, seed=7)
    torch.testing.assert_close(ours.scores.scores, scores, rtol=1e-4, atol=1e-4)
    assert ours.top1_by_epoch == {epoch: pytest.approx(top1[epoch - 1]) for epoch in (3, 6)}


def test_same_seed_same_probe_whatever_the_global_state() -> None:
    train, test = bank(40, 0, 2), bank(20, 1, 2)
    first = linear_probe(train, test, CLASSES, epochs=3, seed=1).scores.scores
    torch.manual_seed(99)
    assert torch.equal(linear_probe(train, test, CLASSES, epochs=3, seed=1).scores.scores, first)
    assert not torch.equal(linear_probe(train, test, CLASSES, epochs=3, seed=2).scores.scores, first)


@pytest.mark.parametrize(("epochs", "looks"), [(1, [1]), (5, [5]), (7, [5, 7]), (10, [5, 10])])
def test_the_last_epoch_is_always_looked_at(epochs: int, looks: list[int]) -> None:
    result = linear_probe(bank(20, 0), bank(10, 1), CLASSES, epochs=epochs)
    assert list(result.top1_by_epoch) == looks
    assert result.top1_by_epoch[epochs] == result.scores.top1


def test_headline_and_best_on_test_are_kept_apart() -> None:
    scores = Scores(("a", "b"), torch.tensor([0, 1]), torch.tensor([[1.0, 0.0], [1.0, 0.0]]))
    result = ProbeResult(scores, {5: 75.0, 10: 50.0}, torch.zeros(2, 3))
    assert result.scores.top1 == 50 and result.top1_best_on_test == 75


def test_progress_sees_every_epoch() -> None:
    seen: list[int] = []
    linear_probe(
        bank(20, 0), bank(5, 1), CLASSES, epochs=4, progress=lambda epochs: (seen.append(e) or e for e in epochs)
    )
    assert seen == [1, 2, 3, 4]


def test_a_probe_without_epochs_or_features_in_a_step_is_refused() -> None:
    with pytest.raises(ValueError, match=r"epochs.*0"):
        linear_probe(bank(20, 0), bank(5, 1), CLASSES, epochs=0)
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        linear_probe(bank(20, 0), bank(5, 1), CLASSES, batch_size=0)


# --- feature bank ---------------------------------------------------------------------------------


class Halved(nn.Module):
    """Mean over all but the sequences; in training mode something else."""

    def __init__(self) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.9)

    def forward(self, x: Tensor) -> Tensor:
        assert not torch.is_grad_enabled()
        return self.dropout(x.flatten(1)).half()


def test_encode_joins_batches_in_order_without_dropout_or_gradient() -> None:
    x = torch.randn(7, 3, 2, 2, 1)
    features = encode(Halved().train(), x.split(3))
    assert features.dtype == torch.float32 and features.shape == (7, 12)
    torch.testing.assert_close(features, x.flatten(1), rtol=1e-3, atol=1e-3)


def test_standardised_by_the_training_side() -> None:
    train, test = bank(200, 0, 3), bank(50, 1, 3)
    ours = train.standardised(train)
    torch.testing.assert_close(ours.features.mean(0), torch.zeros(6), rtol=0, atol=1e-5)
    torch.testing.assert_close(ours.features.std(0), torch.ones(6))
    expected = (test.features - train.features.mean(0)) / train.features.std(0)
    torch.testing.assert_close(test.standardised(train).features, expected)
    assert ours.names == train.names and torch.equal(ours.labels, train.labels)


def test_a_feature_that_is_constant_on_the_training_side_does_not_explode() -> None:
    train, test = bank(20, 0), bank(5, 1)
    train.features[:, 2] = 0.1  # e.g. a ReLU that never fires there
    assert train.standardised(train).features.abs().max() < 100
    assert test.standardised(train).features.abs().max() < 100


# --- scores ---------------------------------------------------------------------------------------


def test_accuracy_and_confusion_equal_the_loop() -> None:
    chance = torch.Generator().manual_seed(0)
    scores = Scores(
        tuple("abcdefghij"), torch.randint(3, (10,), generator=chance), torch.randn(10, 3, generator=chance)
    )
    confusion = np.zeros((3, 3), int)
    for label, row in zip(scores.labels.tolist(), scores.scores.tolist(), strict=True):
        confusion[label, row.index(max(row))] += 1
    np.testing.assert_array_equal(scores.confusion(), confusion)
    assert scores.top1 == pytest.approx(100 * confusion.trace() / 10)


def test_confusion_keeps_classes_nobody_has() -> None:
    scores = Scores(("a",), torch.tensor([1]), torch.tensor([[0.0, 1.0, 0.0, 0.0]]))
    assert scores.confusion().shape == (4, 4) and scores.confusion()[1, 1] == 1


def test_saved_scores_hold_names_labels_and_scores(tmp_path: Path) -> None:
    scores = Scores(("a", "S001é"), torch.tensor([0, 1]), torch.randn(2, 3))
    scores.save(tmp_path / "scores.npz")
    with np.load(tmp_path / "scores.npz", allow_pickle=False) as saved:
        assert tuple(saved["names"]) == scores.names
        np.testing.assert_array_equal(saved["labels"], scores.labels)
        np.testing.assert_array_equal(saved["scores"], scores.scores)


def test_scores_come_back_as_they_were_saved(tmp_path: Path) -> None:
    scores = Scores(("a", "S001é", ""), torch.tensor([0, 1, 2]), torch.randn(3, 3))
    scores.save(tmp_path / "scores.npz")
    again = Scores.load(tmp_path / "scores.npz")
    assert again.names == scores.names
    assert torch.equal(again.labels, scores.labels) and torch.equal(again.scores, scores.scores)
    assert [path.name for path in tmp_path.iterdir()] == ["scores.npz"]


def test_scores_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no scores .*gone\.npz"):
        Scores.load(tmp_path / "gone.npz")


GOOD = {"names": np.array(["a", "b"]), "labels": np.array([0, 1]), "scores": np.eye(2, dtype=np.float32)}


@pytest.mark.parametrize(
    ("part", "sentence"),
    [
        ({"names": np.array(["a", "a"])}, "sequences of the same name"),
        ({"names": np.array([1, 2])}, "expected text"),
        ({"names": np.array(["a", object()], dtype=object)}, "holds no saved scores"),
        ({"names": np.array(["a"])}, r"<U1 \(1,\)"),
        ({"labels": np.array([0.0, 1.0])}, "expected text"),
        ({"labels": np.array([0, 2])}, "outside its 2 classes"),
        ({"labels": np.array([0, -1])}, "outside its 2 classes"),
        ({"scores": np.zeros(2)}, r"float64 \(2,\)"),
        ({"scores": np.array([[0.0, np.nan], [1.0, 0.0]])}, "no finite numbers"),
        ({"names": np.array([], str), "labels": np.array([], int), "scores": np.zeros((0, 2))}, "no sequences"),
    ],
)
def test_file_of_other_things_is_refused(tmp_path: Path, part: dict[str, np.ndarray], sentence: str) -> None:
    path = tmp_path / "scores.npz"
    np.savez(path, **GOOD | part)
    with pytest.raises(ValueError, match=sentence) as error:
        Scores.load(path)
    assert str(error.value).startswith(str(path))


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04 cut", b"\x80\x04N."])
def test_file_that_is_no_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "scores.npz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"scores\.npz holds no saved scores"):
        Scores.load(path)


def test_archive_or_array_without_scores_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    np.save(tmp_path / "array.npy", np.zeros(3))
    for name in ("other.npz", "array.npy"):
        with pytest.raises(ValueError, match=f"{name} holds no saved scores"):
            Scores.load(tmp_path / name)


def test_a_probe_whose_weights_overflow_is_refused_and_not_scored() -> None:
    huge = FeatureBank(tuple("abcd"), 1e30 * torch.ones(4, 3), torch.tensor([0, 1, 0, 1]))
    with pytest.raises(ValueError, match=r"no finite numbers after epoch 1: lower lr 1e\+30 \(--lr\)"):
        linear_probe(huge, huge, 2, epochs=3, lr=1e30, batch_size=1)
