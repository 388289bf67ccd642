"""The slow copy and the queue, against references in plain Python."""

from __future__ import annotations

import random
from collections import deque

import pytest
import torch
from torch import Tensor, nn

from hiclr.momentum import KeyQueue, MomentumEncoder


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3))


def weights(module: nn.Module) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in module.parameters()]


# --- MomentumEncoder ------------------------------------------------------------------------------


def test_starts_as_an_exact_copy_of_its_own() -> None:
    query = network()
    key = MomentumEncoder(query, 0.9)
    assert key.network is not query
    for name, value in query.state_dict().items():
        assert torch.equal(key.network.state_dict()[name], value)
    nn.init.zeros_(query[0].weight)
    assert key.network[0].weight.any()


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.999, 1.0])
def test_follow_is_a_moving_average(momentum: float) -> None:
    query = network()
    key = MomentumEncoder(query, momentum)
    expected = [w.double() for w in weights(key)]
    for _ in range(3):
        with torch.no_grad():
            for parameter in query.parameters():
                parameter.copy_(torch.randn_like(parameter))
        key.follow(query)
        for i, parameter in enumerate(weights(query)):
            expected[i] = momentum * expected[i] + (1 - momentum) * parameter
    for ours, slow in zip(weights(key), expected, strict=True):
        torch.testing.assert_close(ours, slow.float())


def test_follow_leaves_the_followed_network_alone() -> None:
    query = network()
    key = MomentumEncoder(query, 0.3)
    with torch.no_grad():
        query[0].weight.add_(1)
    before = weights(query)
    key.follow(query)
    assert all(torch.equal(a, b) for a, b in zip(before, query.parameters(), strict=True))


def test_batch_norm_statistics_are_its_own() -> None:
    query = network()
    key = MomentumEncoder(query, 0.0)
    query(torch.randn(8, 4) + 5)
    key.follow(query)
    assert not torch.equal(key.network[1].running_mean, query[1].running_mean)
    x = torch.randn(8, 4)
    key(x)
    torch.testing.assert_close(key.network[1].running_mean, 0.1 * key.network[0](x).mean(0))


def test_no_gradient_and_nothing_for_an_optimizer() -> None:
    query = network()
    key = MomentumEncoder(query, 0.5)
    assert not key(torch.randn(8, 4, requires_grad=True)).requires_grad
    assert not any(parameter.requires_grad for parameter in key.parameters())
    assert all(parameter.requires_grad for parameter in query.parameters())


@pytest.mark.parametrize("momentum", [-0.1, 1.1, float("nan")])
def test_momentum_is_checked(momentum: float) -> None:
    with pytest.raises(ValueError, match=rf"momentum must lie in 0\.\.1, got {momentum}"):
        MomentumEncoder(network(), momentum)


# --- KeyQueue -------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 5, 16])
@pytest.mark.parametrize("seed", range(3))
def test_queue_holds_the_last_keys_whatever_the_batches(size: int, seed: int) -> None:
    queue, chance = KeyQueue(size, 2), random.Random(seed)
    last: deque[tuple[float, ...]] = deque((tuple(row) for row in queue.snapshot().tolist()), maxlen=size)
    for step in range(25):
        batch = chance.choice([0, 1, 2, 3, size - 1, size, size + 1, 2 * size + 3])
        keys = 100 * step + torch.arange(2.0 * batch).view(batch, 2)
        queue.push(keys)
        last.extend(tuple(row) for row in keys.tolist())
        place = int(queue.place)
        in_order = queue.snapshot().roll(-place, 0)  # the oldest lies where the next one goes
        assert [tuple(row) for row in in_order.tolist()] == list(last)


def test_first_batch_lies_at_the_front() -> None:
    queue = KeyQueue(6, 3)
    start = queue.snapshot()
    queue.push(torch.ones(4, 3))
    assert torch.equal(queue.keys, torch.cat([torch.ones(4, 3), start[4:]]))
    assert queue.place == 4
    queue.push(2 * torch.ones(4, 3))
    assert queue.keys[:, 0].tolist() == [2, 2, 1, 1, 2, 2] and queue.place == 2


def test_starts_with_normalised_random_keys() -> None:
    keys = KeyQueue(500, 64).snapshot()
    torch.testing.assert_close(keys.norm(dim=1), torch.ones(500))
    assert keys.mean(0).abs().max() < 0.05
    assert (keys @ keys.T - torch.eye(500)).abs().max() < 0.8


def test_a_snapshot_stays_as_it_is() -> None:
    queue = KeyQueue(4, 2)
    snapshot = queue.snapshot()
    before = snapshot.clone()
    queue.push(torch.ones(3, 2))
    assert torch.equal(snapshot, before)


def test_push_takes_no_gradient_along() -> None:
    queue = KeyQueue(4, 2)
    queue.push(torch.ones(3, 2, requires_grad=True) * 2)
    assert not queue.keys.requires_grad and queue.keys[0, 0] == 2
    assert not list(queue.parameters())


def test_state_holds_keys_and_place() -> None:
    queue, again = KeyQueue(5, 2), KeyQueue(5, 2)
    queue.push(torch.ones(3, 2))
    again.load_state_dict(queue.state_dict())
    for one in (queue, again):
        one.push(torch.full((4, 2), 7.0))
    assert torch.equal(queue.keys, again.keys) and queue.place == again.place == 2


@pytest.mark.parametrize("size", [0, -3])
def test_queue_needs_room(size: int) -> None:
    with pytest.raises(ValueError, match=f"room for at least one key, got size {size}"):
        KeyQueue(size, 8)
