"""AimCLR: the energy drop and the loss against loops, and which view meets which network."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from hiclr.methods.aimclr import AimCLR, energy_drop
from hiclr.transforms import AxisMask, GaussianBlur, GaussianNoise, Rotate, Shear, SpatialFlip, TemporalCrop, Transform
from learners import (
    Array,
    Handed,
    PerJoint,
    Watched,
    attached,
    cross_entropy,
    distribution,
    info,
    moved_on,
    nearest,
    poses,
    small,
)

# --- energy drop ----------------------------------------------------------------------------------


def slow_energy_drop(features: Array) -> Array:
    """Section 9 of the specification, for each sequence and body; the variance is unbiased."""
    out = np.zeros_like(features)
    _, channels, frames, joints, _ = features.shape
    for n, m in np.ndindex(len(features), features.shape[4]):
        x = features[n, ..., m]
        a = np.empty_like(x)
        for d in range(channels):
            mu = sum(x[d].flat) / (frames * joints)
            variance = sum((value - mu) ** 2 for value in x[d].flat) / (frames * joints - 1)
            for t, v in np.ndindex(frames, joints):
                energy = (x[d, t, v] - mu) ** 2 / (4 * (variance + 1e-4)) + 0.5
                a[d, t, v] = 1 / (1 + math.exp(-energy))
        kept_joints = [v for v in range(joints) if a[:, :, v].mean() < 0.7]
        for d, v in np.ndindex(channels, joints):
            kept_frames = [t for t in range(frames) if a[d, t, v] < 0.7]
            for t in kept_frames:
                if v in kept_joints:
                    out[n, d, t, v, m] = x[d, t, v] * joints / len(kept_joints) * frames / len(kept_frames)
    return out


def features(frames: int = 5) -> torch.Tensor:
    """(N, D, T, V, M); one joint of every body stands out, one channel of another one too."""
    x = torch.randn(3, 4, frames, 6, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x[:, :, :, 2] *= 3
    x[:, 1, :, 4] += 4
    return x


@pytest.mark.parametrize("frames", [5, 1])
def test_energy_drop_equals_the_loop(frames: int) -> None:
    x = features(frames)
    ours = energy_drop(x)
    np.testing.assert_allclose(ours, slow_energy_drop(x.numpy()), rtol=1e-12)
    dropped = (ours == 0).flatten(1, 2)
    assert dropped.all(1).any(), "some joint is gone with all its channels"
    assert ((ours == 0).all(2) & ~(ours == 0).all(2).all(1, keepdim=True)).any(), "some channel of a joint that is left"
    assert 0.2 < dropped.double().mean() < 0.8


def test_energy_drop_looks_at_every_body_of_every_sequence_alone() -> None:
    x = features()
    alone = torch.stack(
        [torch.cat([energy_drop(x[n : n + 1, ..., m : m + 1])[0] for m in range(2)], -1) for n in range(3)]
    )
    torch.testing.assert_close(energy_drop(x), alone)


def test_what_hardly_differs_is_kept() -> None:
    """All energies alike: sigmoid(1/4 + 1/2) is below the threshold."""
    x = torch.tensor([1.0, -1.0]).repeat(12).view(1, 1, 4, 6, 1)
    assert torch.equal(energy_drop(x), x)
    assert torch.equal(energy_drop(torch.full_like(x, 7.0)), torch.full_like(x, 7.0))


def test_gradient_flows_through_what_is_kept_alone() -> None:
    x = features().requires_grad_()
    out = energy_drop(x)
    out.sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, out.detach() / x.detach())  # the factors, 0 where dropped


# --- one step -------------------------------------------------------------------------------------


@pytest.mark.parametrize("mining", [False, True])
def test_step_equals_the_formulae(mining: bool) -> None:
    learner = small(AimCLR, encoder=PerJoint, key_momentum=0.9).double()
    x, other, strong = (10 * poses(seed=seed).double() for seed in range(3))
    strong[:, :, :, 3] *= 4  # so that there is something to drop
    learner.basic, learner.extreme = Handed(x, other), Handed(strong)  # type: ignore[assignment]
    terms = attached(learner, epoch=5 if mining else 4)
    moved_on(learner)
    contrast, before = learner.contrast, [p.clone() for p in learner.contrast.key.parameters()]
    queue = contrast.queue.snapshot().numpy()

    loss = learner.training_step(poses(), 0)

    for key, old, query in zip(contrast.key.parameters(), before, contrast.query.parameters(), strict=True):
        torch.testing.assert_close(key, 0.9 * old + 0.1 * query)
    with torch.no_grad():
        key = contrast.key(other).numpy()
        features = contrast.query.encoder.feature_map(strong)
        dropped = torch.from_numpy(slow_energy_drop(features.numpy()).mean((2, 3, 4)))
        assert not torch.allclose(dropped, features.mean((2, 3, 4)))
        queries = [z.numpy() for z in (contrast.query(x), contrast.query(strong), contrast.query.head(dropped))]
    slow = 0.0
    for n in range(len(key)):
        basic, extreme, extreme_dropped = (distribution(query[n], key[n], queue) for query in queries)
        positives = {0, nearest(basic), nearest(extreme), nearest(extreme_dropped)} if mining else {0}
        slow += info(basic, positives)
        slow += 0.5 * (cross_entropy(basic, extreme) + cross_entropy(basic, extreme_dropped))
    assert loss.item() == pytest.approx(slow / len(key), rel=1e-9)
    torch.testing.assert_close(terms["loss"], terms["info"] + 0.5 * terms["consistency"])
    torch.testing.assert_close(
        contrast.queue.keys[: len(key)].numpy(), key / np.linalg.norm(key, axis=1, keepdims=True)
    )


def test_the_extreme_view_is_the_basic_one_and_more() -> None:
    def kinds(view: torch.nn.Module) -> set[type]:
        return {type(module) for module in view.modules() if isinstance(module, Transform)}

    learner = small(AimCLR)
    assert kinds(learner.basic) == {Shear, TemporalCrop}
    added = {SpatialFlip, Rotate, GaussianNoise, GaussianBlur, AxisMask}
    assert kinds(learner.extreme) == {Shear, TemporalCrop} | added
    assert learner.second_stage_start == 0.5


def test_edges_change_in_the_extreme_view_alone() -> None:
    Watched.calls.clear()
    learner = small(AimCLR, extreme="NA+DAE", encoder=Watched)
    attached(learner)
    learner.training_step(poses(), 0).backward()
    assert [call is not None for call in Watched.calls].count(True) == 1 and len(Watched.calls) == 3
    assert Watched.calls[-1] is None, "the key"
