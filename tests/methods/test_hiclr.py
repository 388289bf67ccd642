"""HiCLR: one step against the formulae of the paper, and which view meets which network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hiclr.encoders.stgcn import STGCN
from hiclr.losses import hierarchical_consistency
from hiclr.methods.hiclr import HiCLR
from hiclr.skeleton import SKELETONS
from hiclr.transforms import DropAddEdges, RandomMask, Rotate, Shear
from learners import (
    Array,
    Handed,
    N,
    Watched,
    attached,
    cross_entropy,
    distribution,
    info,
    moved_on,
    nearest,
    poses,
    small,
    tiny_stgcn,
)

# --- one step -------------------------------------------------------------------------------------


def slow_loss(queries: Sequence[Array], key: Array, queue: Array, weights: Sequence[float], mining: bool) -> float:
    """Section by section as printed: logits, L_Info, L_h; then L."""
    total = 0.0
    for n in range(len(key)):
        p = [distribution(query[n], key[n], queue) for query in queries]
        total += info(p[0], {0, *map(nearest, p)} if mining else {0})
        for weight, weaker, stronger in zip(weights, p, p[1:], strict=False):
            total += weight * cross_entropy(weaker, stronger)
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
        HiCLR,
        arrangement=[[Shear()]] * levels,
        consistency_weight=consistency_weight,
        branch_weights=branch_weights,
        key_momentum=0.9,
    ).double()
    drawn = [10 * poses(seed=seed).double() for seed in range(levels + 1)]
    learner.views = nn.ModuleList([Handed(drawn[0], drawn[-1]), *(Handed(x) for x in drawn[1:-1])])
    terms = attached(learner, epoch=5 if mining else 4)
    moved_on(learner)
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
    learner = small(HiCLR, arrangement=[[Shear()], [Rotate()]], key_momentum=1.0, temperature=1.0)
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


# the seven of the paper's table, and others
ARRANGEMENTS: dict[str, Any] = {
    **{name: name.split(",") for name in ("BA", "BA,NA", "BA,NA,Mask", "BA,NA,AdaIN", "BA,NA,DAE")},
    **{name: name.split(",") for name in ("BA,NA,DAE,Mask", "BA,NA,DAE,AdaIN")},
    "joined": ["BA", "NA+AdaIN+DAE+Mask"],
    "strong first": ["DAE+Mask", "BA"],
    "one's own": [[RandomMask(0.5)], [Rotate(), DropAddEdges(0.5)]],
}


@pytest.mark.parametrize("name", ARRANGEMENTS)
def test_every_arrangement_takes_a_step(name: str) -> None:
    learner = small(HiCLR, arrangement=ARRANGEMENTS[name], encoder=tiny_stgcn)
    terms = attached(learner)
    loss = learner.training_step(poses(), 0)
    loss.backward()
    assert loss.isfinite() and all(term.isfinite() for term in terms.values())
    gradients = [parameter.grad for parameter in learner.contrast.query.parameters()]
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)
    for mask in (module for module in learner.views.modules() if isinstance(module, RandomMask)):
        assert mask.value.grad is not None and mask.value.grad.any()


@pytest.mark.parametrize("stream", ["joint", "motion", "bone"])
def test_every_stream_takes_a_step(stream: Any) -> None:
    learner = small(HiCLR, stream=stream)
    attached(learner)
    assert learner.training_step(poses(), 0).isfinite()


@pytest.mark.parametrize(
    ("arrangement", "changed"),
    [
        (["BA", "NA", "DAE", "Mask"], [False, False, True, True, False]),
        (["BA", "NA", "Mask"], [False] * 4),
        (["DAE", "NA"], [True, True, True]),  # the key is another draw of the first level
    ],
)
def test_edges_change_for_the_levels_that_ask_for_it(arrangement: list[str], changed: list[bool]) -> None:
    Watched.calls.clear()
    learner = small(HiCLR, arrangement=arrangement, encoder=Watched)
    attached(learner)
    learner.training_step(poses(), 0)
    assert [call is not None for call in Watched.calls] == changed, "queries from weak to strong, then the key"
    draws = [layer for call in Watched.calls if call is not None for layer in call]
    if draws:
        bodies = torch.cat(draws).flatten(1)
        assert len(bodies.unique(dim=0)) == len(bodies), "anew in every layer, level and sequence"


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("distance", ["kl", "squared"])
def test_the_distances_of_the_comparison(distance: Any, symmetric: bool) -> None:
    learner = small(
        HiCLR, arrangement=["BA", "NA", "Mask"], branch_weights=[0.5, 0.3], distance=distance, symmetric=symmetric
    )
    terms = attached(learner)
    drawn = [10 * poses(seed=seed) for seed in range(4)]
    learner.views = nn.ModuleList([Handed(drawn[0], drawn[3]), Handed(drawn[1]), Handed(drawn[2])])
    queue = learner.contrast.queue.snapshot()
    learner.training_step(poses(), 0)
    z = [nn.functional.normalize(learner.contrast.query(x)) for x in drawn]  # the key is a copy as yet
    levels = [torch.cat([(query * z[3]).sum(1, keepdim=True), query @ queue.T], 1) / 0.07 for query in z[:3]]
    expected = hierarchical_consistency(levels, [0.5, 0.3], distance, symmetric)
    torch.testing.assert_close(terms["consistency"], expected)
    torch.testing.assert_close(terms["loss"], terms["info"] + 0.5 * expected)


@pytest.mark.parametrize(
    ("share", "epoch", "mined"), [(0.5, 4, False), (0.5, 5, True), (0.0, 0, True), (1.0, 9, False)]
)
def test_mining_starts_at_its_share(share: float, epoch: int, mined: bool) -> None:
    losses = []
    for mining_start in (share, 1.0):
        learner = small(HiCLR, arrangement=[[Rotate(p=0.0)]], mining_start=mining_start)
        attached(learner, epoch)
        losses.append(learner.training_step(poses(), 0).item())
    assert (losses[0] != losses[1]) is mined


def test_number_of_branch_weights_is_checked_before_training() -> None:
    with pytest.raises(ValueError, match=r"3 levels need 2 weights .*, got 3"):
        small(HiCLR, branch_weights=[0.5, 0.3, 0.2])


def test_defaults_are_the_papers() -> None:
    learner = HiCLR(SKELETONS["ntu25"])
    contrast = learner.contrast
    assert contrast.queue.keys.shape == (32768, 128) and contrast.key.momentum == 0.999 and contrast.temperature == 0.07
    assert learner.consistency_weight == 0.5 and list(learner.branch_weights) == [1.0, 1.0]
    assert len(learner.views) == 3 and learner.streams == ["joint"] and learner.second_stage_start == 0.5
    assert (learner.distance, learner.symmetric) == ("kl", False)
    assert isinstance(contrast.query.encoder, STGCN) and contrast.query.encoder.feature_dim == 256
