"""HiCLR: one step against the formulae of the paper, what is trained and what is not, and that it learns."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import SGD, Adam

from hiclr.encoders.base import EdgeChange, Encoder
from hiclr.encoders.stgcn import STGCN
from hiclr.methods.contrast import feature_spread
from hiclr.methods.hiclr import HiCLR
from hiclr.skeleton import SKELETONS, Skeleton
from hiclr.transforms import RandomMask, Rotate, Shear, TemporalCrop

KINECT = SKELETONS["kinect20"]
N, K = 6, 11


class Flat(Encoder):
    """A linear map of the mean pose."""

    def __init__(self, skeleton: Skeleton) -> None:
        super().__init__(skeleton, 8, {})
        self.map = nn.Linear(3 * skeleton.num_joints, 8)

    def feature_map(self, x: Tensor, edges: EdgeChange | None = None) -> Tensor:
        return self.map(x.mean((2, 4)).flatten(1))[:, :, None, None, None]


class Handed(nn.Module):
    """A view that hands out prepared tensors, one a call, and counts."""

    def __init__(self, *views: Tensor) -> None:
        super().__init__()
        self.waiting = list(views)

    def forward(self, x: Tensor) -> Tensor:
        return self.waiting.pop(0)


def attached(learner: HiCLR, epoch: int = 0, max_epochs: int = 10) -> dict[str, Tensor]:
    """Puts a learner beside a stub of a trainer; what it logs appears in the result."""
    stub: Any = SimpleNamespace(current_epoch=epoch, max_epochs=max_epochs)
    learner.trainer = stub
    terms: dict[str, Tensor] = {}
    learner.log_terms = lambda **logged: terms.update(logged)  # type: ignore[method-assign]
    return terms


def poses(n: int = N, seed: int = 0, frames: int = 12) -> Tensor:
    return torch.randn(n, 3, frames, 20, 2, generator=torch.Generator().manual_seed(seed))


def small(**settings: Any) -> HiCLR:
    torch.manual_seed(0)
    return HiCLR(KINECT, **{"encoder": Flat, "queue_size": K, **settings})


# --- one step -------------------------------------------------------------------------------------


def slow_loss(
    queries: Sequence[NDArray[np.float64]],
    key: NDArray[np.float64],
    queue: NDArray[np.float64],
    weights: Sequence[float],
    mining: bool,
) -> float:
    """Section by section as printed: logits, L_Info, L_h; then L."""
    total = 0.0
    for n in range(len(key)):
        z_key = key[n] / np.linalg.norm(key[n])
        distributions = []
        for query in queries:
            z = query[n] / np.linalg.norm(query[n])
            logits = [z @ z_key / 0.07, *(z @ memory / 0.07 for memory in queue)]
            exponentials = [math.exp(logit) for logit in logits]
            distributions.append([value / sum(exponentials) for value in exponentials])
        positives = {0}
        if mining:
            positives |= {1 + int(np.argmax(p[1:])) for p in distributions}
        total += -sum(math.log(distributions[0][j]) for j in positives) / len(positives)
        for weight, weaker, stronger in zip(weights, distributions, distributions[1:], strict=False):
            total += weight * -sum(p * math.log(q) for p, q in zip(weaker, stronger, strict=True))
    return total / len(key)


@pytest.mark.parametrize("mining", [False, True])
@pytest.mark.parametrize(
    ("levels", "consistency_weight", "branch_weights"),
    [(1, 0.5, None), (2, 1.0, None), (3, 0.5, None), (4, 1.0, [0.5, 0.3, 0.2]), (3, 0.0, None)],
)
def test_step_equals_the_formulae(
    levels: int, consistency_weight: float, branch_weights: list[float] | None, mining: bool
) -> None:
    learner = small(
        arrangement=[[Shear()]] * levels,
        consistency_weight=consistency_weight,
        branch_weights=branch_weights,
        key_momentum=0.9,
    ).double()
    drawn = [10 * poses(seed=seed).double() for seed in range(levels + 1)]
    learner.views = nn.ModuleList([Handed(drawn[0], drawn[-1]), *(Handed(x) for x in drawn[1:-1])])
    terms = attached(learner, epoch=5 if mining else 4)
    with torch.no_grad():
        for parameter in learner.contrast.query.parameters():
            parameter.mul_(1.5)  # so that the key has some way to go
    before, queue = learner.contrast.key.state_dict(), learner.contrast.queue.snapshot().numpy()
    before = {name: value.clone() for name, value in before.items()}

    loss = learner.training_step(poses(), 0)

    for name, value in learner.contrast.query.state_dict().items():
        torch.testing.assert_close(
            learner.contrast.key.state_dict()[f"network.{name}"], 0.9 * before[f"network.{name}"] + 0.1 * value
        )
    with torch.no_grad():
        queries = [learner.contrast.query(x).numpy() for x in drawn[:-1]]
        key = learner.contrast.key(drawn[-1])
    weights = [consistency_weight * weight for weight in branch_weights or [1.0] * (levels - 1)]
    assert loss.item() == pytest.approx(slow_loss(queries, key.numpy(), queue, weights, mining), rel=1e-9)
    assert torch.equal(terms["loss"], loss)
    pushed = torch.nn.functional.normalize(key)
    torch.testing.assert_close(learner.contrast.queue.keys[:N], pushed)
    np.testing.assert_array_equal(learner.contrast.queue.keys[N:], queue[N:])
    assert learner.contrast.queue.place == N
    assert not any(view.waiting for view in learner.views)


def test_the_key_is_a_second_draw_of_the_weakest_view() -> None:
    learner = small(arrangement=[[Shear()], [Rotate()]], key_momentum=1.0, temperature=1.0)
    learner.contrast.key.network.load_state_dict(learner.contrast.query.state_dict())
    seen: list[Tensor] = []
    learner.contrast.query.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    learner.contrast.key.network.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    attached(learner)
    x = poses()
    learner.training_step(x, 0)
    basic, stronger, key = seen
    assert not torch.equal(basic, key) and not torch.equal(basic, stronger)
    # the matrix that made the key of x is a shear S, with ones on its diagonal, and no turned one
    matrix = torch.linalg.lstsq(x[0].flatten(1).T, key[0].flatten(1).T).solution.T
    torch.testing.assert_close(matrix.diagonal(), torch.ones(3), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("stream", ["joint", "motion", "bone"])
@pytest.mark.parametrize("arrangement", [["BA"], ["BA", "NA"], ["BA", "NA", "Mask"], [[RandomMask(0.5)], [Rotate()]]])
def test_every_arrangement_and_stream_takes_a_step(arrangement: Any, stream: Any) -> None:
    learner = small(arrangement=arrangement, stream=stream)
    terms = attached(learner)
    loss = learner.training_step(poses(), 0)
    loss.backward()
    assert loss.isfinite() and all(term.isfinite() for term in terms.values())
    assert all(
        parameter.grad is not None and parameter.grad.isfinite().all() for parameter in learner.contrast.query.parameters()
    )
    if any(isinstance(module, RandomMask) for module in learner.views.modules()):
        mask = next(module for module in learner.views.modules() if isinstance(module, RandomMask))
        assert mask.value.grad is not None and mask.value.grad.any()


@pytest.mark.parametrize(
    ("share", "epoch", "mined"), [(0.5, 4, False), (0.5, 5, True), (0.0, 0, True), (1.0, 9, False)]
)
def test_mining_starts_at_its_share(share: float, epoch: int, mined: bool) -> None:
    losses = []
    for mining_start in (share, 1.0):
        learner = small(arrangement=[[Rotate(p=0.0)]], mining_start=mining_start)
        attached(learner, epoch)
        losses.append(learner.training_step(poses(), 0).item())
    assert (losses[0] != losses[1]) is mined


def test_number_of_branch_weights_is_checked_before_training() -> None:
    with pytest.raises(ValueError, match=r"3 levels need 2 weights .*, got 3"):
        small(branch_weights=[0.5, 0.3, 0.2])


# --- what is trained ------------------------------------------------------------------------------


def test_the_optimizer_has_the_query_and_the_mask_and_nothing_else() -> None:
    learner = small()
    attached(learner, max_epochs=300)
    optimizer = learner.configure_optimizers()
    (group,) = optimizer.param_groups
    mask = next(module for module in learner.views.modules() if isinstance(module, RandomMask))
    expected = [*learner.contrast.query.parameters(), mask.value]
    assert {id(parameter) for parameter in group["params"]} == {id(parameter) for parameter in expected}
    assert len(group["params"]) == len(expected)
    chosen = {name: group[name] for name in ("lr", "momentum", "weight_decay", "nesterov", "dampening")}
    assert chosen == {"lr": 0.1, "momentum": 0.9, "weight_decay": 1e-4, "nesterov": False, "dampening": 0}


def test_an_optimizer_of_ones_own() -> None:
    learner = small(optimizer=partial(Adam, lr=3e-4))
    attached(learner)
    optimizer = learner.configure_optimizers()
    assert isinstance(optimizer, Adam) and optimizer.param_groups[0]["lr"] == 3e-4


# NTU and PKU-MMD I and II, as published
@pytest.mark.parametrize(("epochs", "drop", "mining"), [(300, 250, 150), (600, 500, 300), (1500, 1250, 750)])
def test_published_epochs(epochs: int, drop: int, mining: int) -> None:
    learner = small()
    attached(learner, max_epochs=epochs)
    assert learner.epoch_at(learner.mining_start) == mining
    learner.trainer.optimizers = [learner.configure_optimizers()]
    rates = []
    for epoch in range(epochs):
        learner.trainer.current_epoch = epoch
        learner.on_train_epoch_start()
        rates.append(learner.trainer.optimizers[0].param_groups[0]["lr"])
    assert rates[:drop] == [0.1] * drop
    assert rates[drop:] == pytest.approx([0.01] * (epochs - drop))


def test_defaults_are_the_papers() -> None:
    learner = HiCLR(SKELETONS["ntu25"])
    assert learner.negatives == 32768 and learner.contrast.queue.keys.shape == (32768, 128)
    assert learner.contrast.key.momentum == 0.999 and learner.temperature == 0.07 and learner.consistency_weight == 0.5
    assert len(learner.views) == 3 and list(learner.branch_weights) == [1.0, 1.0] and learner.stream == "joint"
    assert isinstance(learner.contrast.query.encoder, STGCN) and learner.contrast.query.encoder.feature_dim == 256
    assert [type(layer) for layer in learner.contrast.query.head] == [nn.Linear, nn.ReLU, nn.Linear]
    assert [tuple(learner.contrast.query.head[i].weight.shape) for i in (0, 2)] == [(256, 256), (128, 256)]


def test_the_key_starts_as_a_copy_and_takes_no_gradient() -> None:
    learner = small()
    for query, key in zip(learner.contrast.query.parameters(), learner.contrast.key.parameters(), strict=True):
        assert torch.equal(query, key) and not key.requires_grad and query is not key


def test_two_learners_share_no_mask() -> None:
    first, second = small(), small()
    assert not {id(p) for p in first.parameters()} & {id(p) for p in second.parameters()}


def test_a_step_of_training_moves_all_that_should_move() -> None:
    learner = small(key_momentum=0.5)
    attached(learner)
    optimizer = learner.configure_optimizers()
    before = {name: value.clone() for name, value in learner.state_dict().items()}
    for step in range(2):  # the key moves on the second step: it follows before the first one changes the query
        optimizer.zero_grad()
        learner.training_step(poses(seed=step), step).backward()
        optimizer.step()
    unmoved = [name for name, value in learner.state_dict().items() if torch.equal(value, before[name])]
    assert unmoved == []


# --- whether it learns ----------------------------------------------------------------------------


@pytest.mark.parametrize("levels", [1, 3])
def test_the_loss_falls_on_poses_that_are_easy_to_tell_apart(levels: int) -> None:
    torch.manual_seed(0)
    kinds = 3 * torch.randn(16, 3, 1, 20, 1)  # 16 people standing still in poses of their own
    learner = HiCLR(
        KINECT,
        arrangement=[[TemporalCrop(), Shear(0.1)], [Rotate(5.0)], [RandomMask()]][:levels],
        encoder=partial(STGCN, width=2, dropout=0.0, init="pytorch"),
        queue_size=32,
        key_momentum=0.9,
        optimizer=partial(SGD, lr=0.05, momentum=0.9),
        mining_start=1.0,
    )
    terms = attached(learner)
    optimizer = learner.configure_optimizers()
    losses = []
    for step in range(30):
        optimizer.zero_grad()
        x = kinds + 0.05 * torch.randn(16, 3, 12, 20, 1)
        learner.training_step(x, step).backward()
        optimizer.step()
        losses.append(terms["info"].item())
    # the queue holds random keys at first: the rise while real ones come in is not counted
    assert np.mean(losses[-5:]) < 0.7 * max(losses)
    assert np.mean(losses[-5:]) < 0.7 * math.log(1 + 32)


def test_feature_spread() -> None:
    torch.manual_seed(0)
    assert feature_spread(torch.randn(4000, 128)).item() == pytest.approx(1, abs=0.02)
    assert feature_spread(torch.randn(1, 128).expand(50, 128)).item() == pytest.approx(0, abs=1e-5)
    narrow = torch.randn(1, 128) + 0.01 * torch.randn(50, 128)
    assert 0 < feature_spread(narrow) < 0.05
