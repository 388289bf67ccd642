"""The memory of a training, told before it: true for the size of the run, and without a trace in the run."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.optim import SGD, AdamW

from hiclr.methods import footprint as footprints
from hiclr.methods.base import Learner
from hiclr.methods.classifier import Classifier
from hiclr.methods.footprint import footprint, peak_memory
from hiclr.methods.hiclr import HiCLR
from learners import KINECT, METHODS, attached, poses, small, tiny_stgcn


def test_peak_of_a_known_computation() -> None:
    def work(size: int) -> None:
        x = torch.zeros(size, 1000)
        y = x + 1  # two at once
        del x
        z = y.view(-1).relu_()  # no new memory
        torch.cat([z, z])  # three
        torch.zeros(5000)  # not counted twice, and gone again

    assert peak_memory(work, 100) == 3 * 100 * 4000


def test_the_peak_may_lie_elsewhere_in_a_larger_batch() -> None:
    def work(size: int) -> None:
        torch.zeros(100_000)
        torch.zeros(size, 1000)

    assert peak_memory(work, 10) == 400_000
    assert peak_memory(work, 1000) == 4_000_000


def test_work_that_goes_another_way_in_a_larger_batch_is_estimated_all_the_same() -> None:
    def work(size: int) -> None:
        for row in [torch.zeros(1000) for _ in range(size)]:
            row.add_(1)

    assert peak_memory(work, 64) == 64 * 4000


@pytest.mark.parametrize("method", METHODS)
def test_told_is_what_a_step_of_that_size_takes(method: type[Learner]) -> None:
    learner = small(method, encoder=tiny_stgcn, queue_size=500)
    told = footprint(learner, poses, 12).step
    last = copy.deepcopy(learner).train()
    attached(last, epoch=0, max_epochs=0)

    def step(size: int) -> None:
        loss: Any = last.training_step(poses(size), 0)
        loss.backward()

    assert told == pytest.approx(max(footprints._traced(step, 12)), rel=0.01)


def test_nothing_of_the_run_changes() -> None:
    learner = small(HiCLR, encoder=tiny_stgcn).train()
    before, chance = copy.deepcopy(learner.state_dict()), torch.get_rng_state()
    threads = torch.get_num_threads()
    footprint(learner, poses, 8)
    assert all(torch.equal(value, before[name]) for name, value in learner.state_dict().items())
    assert torch.equal(torch.get_rng_state(), chance)
    assert torch.get_num_threads() == threads
    assert all(parameter.grad is None for parameter in learner.parameters())
    with pytest.raises(RuntimeError, match="not attached"):
        _ = learner.trainer


@pytest.mark.parametrize(("optimizer", "remembered"), [(partial(SGD, lr=0.1, momentum=0.9), 1), (partial(AdamW), 2)])
def test_a_checkpoint_holds_weights_queue_and_state_of_the_optimizer(optimizer: Any, remembered: int) -> None:
    learner = small(HiCLR, optimizer=optimizer)
    told = footprint(learner, poses, 4)
    weights = sum(value.nbytes for value in learner.state_dict().values())
    learning = sum(value.nbytes for value in learner.parameters() if value.requires_grad)
    assert told.gradients == learning
    assert told.checkpoint == pytest.approx(weights + remembered * learning, abs=200)  # AdamW counts its steps
    assert told.memory == told.checkpoint + told.gradients + (told.step or 0)


def test_labelled_batches() -> None:
    classifier = Classifier(tiny_stgcn(KINECT), "joint", ["a", "b"])
    told = footprint(classifier, lambda size: (poses(size), torch.zeros(size, dtype=torch.long)), 8)
    assert told.step is not None and told.step > 8 * poses(1).nbytes


def test_a_method_that_wants_more_of_its_trainer_is_not_forbidden() -> None:
    class Demanding(HiCLR):
        def training_step(self, x: Tensor, _: int) -> Tensor:
            raise RuntimeError(f"{self.trainer.callback_metrics} are not there yet")

    told = footprint(small(Demanding), poses, 4)
    assert told.step is None and told.memory is None
    assert told.checkpoint > 0


def test_half_precision_takes_less() -> None:
    learner = small(HiCLR, encoder=tiny_stgcn)
    whole, half = (footprint(learner, poses, 32, half).step or 0 for half in (False, True))
    assert 0.4 < half / whole < 0.95
