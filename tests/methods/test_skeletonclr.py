"""SkeletonCLR: the loss against a loop, and that it is HiCLR with one level and no mining."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch.optim import SGD

from hiclr.methods.hiclr import HiCLR
from hiclr.methods.skeletonclr import SkeletonCLR
from learners import Handed, attached, distribution, info, moved_on, poses, small, tiny_stgcn


def test_step_equals_the_formula() -> None:
    learner = small(SkeletonCLR, key_momentum=0.9).double()
    drawn = [10 * poses(seed=seed).double() for seed in range(2)]
    learner.view = Handed(*drawn)
    terms = attached(learner)
    moved_on(learner)
    queue = learner.contrast.queue.snapshot().numpy()
    loss = learner.training_step(poses(), 0)
    with torch.no_grad():
        query, key = learner.contrast.query(drawn[0]).numpy(), learner.contrast.key(drawn[1]).numpy()
    slow = [info(distribution(query[n], key[n], queue), {0}) for n in range(len(key))]
    assert loss.item() == pytest.approx(sum(slow) / len(slow), rel=1e-9)
    assert terms["loss"] == terms["info"] == loss


def trained(kind: Any, **settings: Any) -> tuple[list[float], dict[str, torch.Tensor]]:
    """Losses of five steps, and all weights, keys and queue after them."""
    learner = small(kind, encoder=tiny_stgcn, optimizer=partial(SGD, lr=0.05, momentum=0.9), **settings)
    terms = attached(learner, epoch=9)  # so late that any mining would have begun
    optimizer = learner.configure_optimizers()
    losses = []
    for step in range(5):
        optimizer.zero_grad()
        learner.training_step(poses(seed=step), step).backward()
        optimizer.step()
        losses.append(terms["loss"].item())
    return losses, learner.contrasts.state_dict()


@pytest.mark.parametrize("stream", ["joint", "motion", "bone"])
@pytest.mark.parametrize("augmentation", ["BA", "BA+DAE"])
def test_it_is_hiclr_with_one_level_and_no_mining(augmentation: str, stream: Any) -> None:
    losses, state = trained(SkeletonCLR, augmentation=augmentation, stream=stream)
    others, other_state = trained(HiCLR, arrangement=[augmentation], mining_start=1.0, stream=stream)
    assert losses == others and len(set(losses)) == 5
    assert state.keys() == other_state.keys()
    assert all(torch.equal(value, other_state[name]) for name, value in state.items())
