"""The classifier: loss and schedule against slow loops, what augments it, that it learns."""

from __future__ import annotations

import math
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import linear
from torch.optim import SGD

from hiclr.encoders.base import EdgeChange
from hiclr.encoders.stgcn import STGCN
from hiclr.functional import to_stream
from hiclr.methods.classifier import Classifier
from hiclr.skeleton import SKELETONS
from hiclr.transforms import RandomMask

KINECT = SKELETONS["kinect20"]
CLASSES = ("wave", "squat", "jump")


def classifier(stream: Any = "joint", **options: Any) -> Classifier:
    torch.manual_seed(0)
    return attached(Classifier(STGCN(KINECT, 2, dropout=0.0, init="pytorch"), stream, CLASSES, **options))


def attached(network: Classifier) -> Classifier:
    """Beside a stub of a trainer."""
    stub: Any = SimpleNamespace(current_epoch=2, max_epochs=70)
    network.trainer = stub
    return network


def poses(n: int = 6) -> Tensor:
    return torch.randn(n, 3, 12, 20, 2, generator=torch.Generator().manual_seed(1))


# --- the step -------------------------------------------------------------------------------------


def test_the_loss_is_the_mean_of_minus_log_softmax() -> None:
    network = classifier().eval()
    x, labels = poses(), torch.tensor([0, 1, 2, 2, 1, 0])
    loss = network.training_step((x, labels), 0)
    scores = linear(network.encoder(x), network.classifier.weight, network.classifier.bias)
    total, right = 0.0, 0
    for row, label in zip(scores.tolist(), labels.tolist(), strict=True):
        total -= math.log(math.exp(row[label]) / sum(math.exp(score) for score in row)) / len(labels)
        right += max(range(3), key=row.__getitem__) == label
    logged = network.means.means()
    assert loss.item() == pytest.approx(total, rel=1e-5) == logged["loss"]
    assert logged["top1_train"] == pytest.approx(100 * right / 6)


@pytest.mark.parametrize("stream", ["joint", "motion", "bone"])
def test_without_augmentation_training_sees_what_scoring_sees(stream: Any) -> None:
    network, x = classifier(stream).eval(), poses()
    torch.testing.assert_close(network.view(x), to_stream(x, stream, KINECT.parents), rtol=0, atol=0)
    expected = network.classifier(network.encoder(to_stream(x, stream, KINECT.parents)))
    assert torch.equal(network(x), expected)


def test_augmentation_changes_training_alone() -> None:
    network, x = classifier("bone", augmentation="BA+NA").eval(), poses()
    assert torch.equal(network(x), network(x))
    first, second = network.view(x), network.view(x)
    assert not torch.equal(first, second) and not torch.equal(first, to_stream(x, "bone", KINECT.parents))
    assert len(network.settings["augmentation"]) == 7


def test_edges_are_augmented_in_training_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    network, x = classifier(augmentation="DAE"), poses()
    seen: list[EdgeChange | None] = []
    forward = STGCN.forward

    def spied(self: STGCN, x: Tensor, edges: EdgeChange | None = None) -> Tensor:
        seen.append(edges)
        return forward(self, x, edges)

    monkeypatch.setattr(STGCN, "forward", spied)
    network.training_step((x, torch.zeros(6, dtype=torch.long)), 0)
    network(x)
    assert callable(seen[0]) and seen[1] is None


def test_encoder_layer_and_the_augmentation_s_own_weights_are_trained() -> None:
    network = classifier(augmentation=[RandomMask(0.5)])
    trained = {id(parameter) for group in network.configure_optimizers().param_groups for parameter in group["params"]}
    assert trained == {id(parameter) for parameter in network.parameters()}
    network.training_step((poses(), torch.zeros(6, dtype=torch.long)), 0).backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in network.view.parameters())


def test_a_loss_that_is_no_number_is_said_in_a_sentence() -> None:
    network = classifier()
    with torch.no_grad():
        network.classifier.weight[0, 0] = math.inf
    with pytest.raises(ValueError, match=r"the loss is (nan|inf) in epoch 3: lower the learning rate"):
        network.training_step((poses(), torch.zeros(6, dtype=torch.long)), 0)


def test_the_loss_falls() -> None:
    network, x = classifier(optimizer=partial(SGD, lr=0.1, momentum=0.9)), poses(12)
    labels = torch.arange(12) % 3
    optimizer = network.configure_optimizers()
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = network.training_step((x, labels), 0)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]


# --- the schedule ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("epochs", "drops", "steps", "warmup"),
    [
        (70, (30 / 70, 55 / 70), (30, 55), 5),
        (50, (0.3, 0.6), (15, 30), 5),
        (80, (0.4375, 0.6875), (35, 55), 5),
        (20, (30 / 70, 55 / 70), (9, 16), 5),  # a short training has its falls too
        (70, (), (), 0),
        (10, (0.3,), (3,), 7),
        (8, (0.5, 0.5), (4, 4), 1),
        (10, (0, 1), (0, 10), 0),
    ],
)
def test_the_learning_rate_rises_then_falls_in_steps(
    epochs: int, drops: tuple[float, ...], steps: tuple[int, ...], warmup: int
) -> None:
    network = classifier(lr_drops=drops, warmup_epochs=warmup)
    stub: Any = network.trainer
    stub.max_epochs = epochs
    for epoch in range(epochs):
        expected = 1.0
        for step in steps:
            if epoch >= step:
                expected /= 10
        if epoch < warmup:
            expected *= (epoch + 1) / warmup
        assert network.lr_factor(epoch) == pytest.approx(expected), epoch


def test_published_schedule_at_its_corners() -> None:
    network = classifier()
    rates = {epoch: 0.1 * network.lr_factor(epoch) for epoch in (0, 3, 4, 5, 29, 30, 54, 55, 69)}
    expected = {0: 0.02, 3: 0.08, 4: 0.1, 5: 0.1, 29: 0.1, 30: 0.01, 54: 0.01, 55: 0.001, 69: 0.001}
    assert rates == pytest.approx(expected)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"lr_drops": [0.5, -0.1]}, r"lr_drops are shares of the epochs, from 0 to 1, got \[0\.5, -0\.1\]"),
        ({"lr_drops": [30, 55]}, r"from 0 to 1, got \[30, 55\]"),
        ({"lr_drops": [math.nan]}, r"from 0 to 1, got \[nan\]"),
        ({"warmup_epochs": -1}, "warmup_epochs counts epochs, from 0 on, got -1"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        classifier(**options)


def test_an_unknown_augmentation_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown augmentation set 'XX'"):
        classifier(augmentation="XX")


# --- what is written down -------------------------------------------------------------------------


def test_settings_say_all_that_must_not_change() -> None:
    optimizer = partial(SGD, lr=0.3, momentum=0.9, nesterov=True)
    settings = classifier("bone", augmentation="BA", optimizer=optimizer).settings
    assert settings["optimizer"]["name"] == "SGD" and settings["optimizer"]["lr"] == 0.3
    assert settings["optimizer"]["nesterov"] is True
    assert settings["weights"] == {"bone": "encoder."} and settings["class_names"] == list(CLASSES)
    assert settings["encoder"]["init_args"]["width"] == 2 and settings["lr_drops"] == [30 / 70, 55 / 70]
