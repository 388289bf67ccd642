"""Dropping and adding edges: against slow loops, what is drawn, and where in an encoder it happens."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from hiclr import functional
from hiclr.encoders.base import Encoder
from hiclr.encoders.dsta import DSTA
from hiclr.encoders.stgcn import STGCN
from hiclr.skeleton import SKELETONS
from hiclr.transforms import DropAddEdges, View, growing_views
from learners import KINECT, Array

B, S, V = 4, 3, 20
NONE = torch.zeros(B, S, V, V, dtype=torch.bool)


def draws(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def graph() -> Tensor:
    """A weighted graph a body, (B, S, V, V)."""
    adjacency = torch.from_numpy(KINECT.adjacency("spatial")).double()
    return adjacency * (0.5 + draws(B, S, V, V))


@pytest.fixture
def attention() -> Tensor:
    """(B, S, V, V), no edge of which is absent; some weights are negative."""
    return draws(B, S, V, V, seed=1) - 0.2


# --- against loops --------------------------------------------------------------------------------


def slow_drop(edges: Array, dropped: NDArray[np.bool_], rate: Array) -> Array:
    out = np.zeros_like(edges)
    for b, s, u, v in np.ndindex(edges.shape):
        if not dropped[b, s, u, v]:
            out[b, s, u, v] = edges[b, s, u, v] / (1 - rate[b])
    return out


def slow_add(edges: Array, added: NDArray[np.bool_], value: Array) -> Array:
    out = edges.copy()
    for b, s in np.ndindex(edges.shape[:2]):
        for u, v in np.ndindex(edges.shape[2:]):
            if edges[b, s, u, v] == 0 and added[b, s, u, v]:
                out[b, s, u, v] = value[b, s]
        before, after = edges[b, s].sum(), out[b, s].sum()
        if before * after <= 0 or abs(after) < abs(before):
            out[b, s] = edges[b, s]
        else:
            out[b, s] *= before / after
    return out


def test_dropping_equals_the_loop(attention: Tensor) -> None:
    dropped, rate = draws(B, S, V, V, seed=2) < 0.3, draws(B, seed=3)
    ours = functional.drop_edges(attention, dropped, rate)
    np.testing.assert_allclose(ours, slow_drop(attention.numpy(), dropped.numpy(), rate.numpy()), rtol=1e-12)


def test_adding_to_a_graph_equals_the_loop(graph: Tensor) -> None:
    added = draws(B, S, V, V, seed=2) < 0.05
    ours = functional.add_edges(graph, added, torch.ones(B, 1, 1, 1))
    np.testing.assert_allclose(ours, slow_add(graph.numpy(), added.numpy(), np.ones((B, S))), rtol=1e-12)
    assert ((ours != 0) & (graph == 0)).sum() > B * S


def test_adding_to_an_attention_equals_the_loop(attention: Tensor) -> None:
    holed = functional.drop_edges(attention, draws(B, S, V, V, seed=2) < 0.1, torch.full((B,), 0.1))
    added, mean = draws(B, S, V, V, seed=3) < 0.5, attention.mean((2, 3), keepdim=True)
    ours = functional.add_edges(holed, added, mean)
    np.testing.assert_allclose(ours, slow_add(holed.numpy(), added.numpy(), mean[:, :, 0, 0].numpy()), rtol=1e-12)
    assert ((ours != 0) & (holed == 0)).sum() > B * S


# --- identities -----------------------------------------------------------------------------------


def test_nothing_dropped_and_nothing_added_is_the_identity(graph: Tensor) -> None:
    assert torch.equal(functional.drop_edges(graph, NONE, torch.zeros(B)), graph)
    assert torch.equal(functional.add_edges(graph, NONE, torch.ones(B, 1, 1, 1)), graph)


def test_dropping_keeps_every_edge_on_average(attention: Tensor) -> None:
    torch.manual_seed(0)
    rate = torch.full((B,), 0.3, dtype=torch.float64)
    drawn = [functional.drop_edges(attention, torch.rand(B, S, V, V) < 0.3, rate) for _ in range(2000)]
    # of 2000 draws the mean deviates by 0.015 of an edge
    torch.testing.assert_close(torch.stack(drawn).mean(0), attention, rtol=0.08, atol=0)


def test_adding_keeps_the_sum_and_what_the_old_edges_are_to_each_other(graph: Tensor) -> None:
    ours = functional.add_edges(graph, draws(B, S, V, V, seed=2) < 0.2, torch.ones(B, 1, 1, 1))
    torch.testing.assert_close(ours.sum((2, 3)), graph.sum((2, 3)))
    share = torch.where(graph > 0, ours / graph, torch.nan)
    torch.testing.assert_close(share.nan_to_num(nan=-1).amax((2, 3)), share.nan_to_num(nan=2).amin((2, 3)))
    new = torch.where((graph == 0) & (ours > 0), ours, torch.nan)
    torch.testing.assert_close(new.nan_to_num(nan=-1).amax((2, 3)), share.nan_to_num(nan=-1).amax((2, 3)))


@pytest.mark.parametrize(
    "weights", [[0.0, 0.0], [1.0, -1.0], [-3.0, 1.0], [-0.1, 0.05]], ids=["empty", "sum 0", "negative", "turns over"]
)
def test_a_matrix_that_cannot_keep_its_sum_stays(weights: list[float]) -> None:
    edges = torch.tensor([[[weights, [0.0, 0.0]]]])
    added = torch.ones(1, 1, 2, 2, dtype=torch.bool)
    assert torch.equal(functional.add_edges(edges, added, torch.ones(1, 1, 1, 1)), edges)


@pytest.mark.parametrize("weights", [[1.0, 2.0], [1.0, -1.0], [-3.0, 1.0]])
@pytest.mark.parametrize("drop", [False, True], ids=["kept", "all dropped"])
@pytest.mark.parametrize("add", [False, True], ids=["none added", "added"])
def test_gradients_are_finite_even_where_all_edges_are_dropped(weights: list[float], drop: bool, add: bool) -> None:
    importance = torch.ones(1, 1, 2, 2, requires_grad=True)
    edges = torch.tensor([[[weights, [0.0, 0.0]]]]) * importance
    dropped = (edges != 0) & drop
    left = functional.drop_edges(edges, dropped, torch.full((1,), 0.1))
    functional.add_edges(left, torch.full_like(dropped, add), torch.ones(1, 1, 1, 1)).square().sum().backward()
    assert importance.grad is not None and importance.grad.isfinite().all()


# --- what is drawn --------------------------------------------------------------------------------


def assert_uniform(values: Tensor, high: float) -> None:
    """Mean, deviation and range of U(0, high), of some thousand values."""
    assert 0 <= values.min() < 0.02 * high and 0.98 * high < values.max() <= high
    assert abs(values.mean() - high / 2) < 0.03 * high and abs(values.std() - high / 12**0.5) < 0.02 * high


@pytest.mark.parametrize(("drop", "add"), [(0.1, 0.05), (0.5, 0.3)])
def test_every_body_draws_its_rates_and_its_edges(drop: float, add: float) -> None:
    torch.manual_seed(0)
    params = DropAddEdges(drop, add).make_params(torch.zeros(2000, 3, 25, 25))
    assert params["applied"].all()
    assert_uniform(params["rate"], drop)
    dropped, added = (params[name].float().mean((1, 2, 3)) for name in ("dropped", "added"))
    noise = (drop / 1875) ** 0.5
    assert (dropped - params["rate"]).abs().max() < 5 * noise
    # the rate of adding is drawn apart: seen as the share of edges that are added
    assert abs(added.mean() - add / 2) < 0.03 * add and abs(added.std() - add / 12**0.5) < 0.03 * add
    assert abs(torch.corrcoef(torch.stack([dropped, added]))[0, 1]) < 0.1
    for name in ("dropped", "added"):  # each subset, row and column its own
        shares = params[name].float().mean(0)
        assert (shares - shares.mean()).abs().max() < 6 * (drop / 2000) ** 0.5


def test_defaults_are_the_papers() -> None:
    assert (DropAddEdges().drop, DropAddEdges().add, DropAddEdges().p) == (0.1, 0.05, 1.0)


@pytest.mark.parametrize("value", [1.0, "mean"])
def test_the_transform_drops_then_adds(graph: Tensor, value: Any) -> None:
    transform = DropAddEdges(0.5, 0.3)
    added_value = graph.mean((2, 3), keepdim=True) if value == "mean" else value
    torch.manual_seed(7)
    ours = transform(graph, added_value)
    torch.manual_seed(7)
    params = transform.make_params(graph)
    kept = slow_drop(graph.numpy(), params["dropped"].numpy(), params["rate"].numpy())
    values = np.broadcast_to(torch.as_tensor(added_value).double().view(-1, 3 if value == "mean" else 1), (B, S))
    np.testing.assert_allclose(ours, slow_add(kept, params["added"].numpy(), values), rtol=1e-12)
    assert not torch.equal(ours, graph)


@pytest.mark.parametrize(("drop", "add"), [(1.0, 0.1), (-0.1, 0.1), (0.1, 1.0), (0.1, -0.2)])
def test_rates_are_checked(drop: float, add: float) -> None:
    with pytest.raises(ValueError, match=r"DropAddEdges: (drop|add) must be at least 0 and less than 1, got"):
        DropAddEdges(drop, add)


# --- in an encoder --------------------------------------------------------------------------------


class Recorder(DropAddEdges):
    """Remembers edges before and after, and the value of an added one."""

    def __init__(self, drop: float = 0.5, add: float = 0.5) -> None:
        super().__init__(drop, add)
        self.calls: list[tuple[Tensor, Tensor | float, Tensor]] = []

    def forward(self, x: Tensor, value: Tensor | float = 1.0) -> Tensor:
        out = super().forward(x, value)
        self.calls.append((x.detach(), value, out.detach()))
        return out


ENCODERS = {"STGCN": (partial(STGCN, width=2), 10), "DSTA": (partial(DSTA, base_channels=4), 8)}


@pytest.mark.parametrize("name", ENCODERS)
def test_every_layer_of_every_body_draws_anew(name: str) -> None:
    make, layers = ENCODERS[name]
    encoder: Encoder = make("kinect20")
    recorder = Recorder()
    (view,) = growing_views([[recorder]], "kinect20")
    encoder(torch.randn(3, 3, 8, 20, 2), view.edges)
    assert [before.shape for before, _, _ in recorder.calls] == [(6, 3, 20, 20)] * layers
    kept = torch.stack([after != 0 for _, _, after in recorder.calls]).flatten(0, 1)  # (layers x bodies, S, V, V)
    assert len(kept.flatten(1).unique(dim=0)) == layers * 6
    for before, value, _ in recorder.calls:
        expected = torch.ones(()) if name == "STGCN" else before.mean((2, 3), keepdim=True)
        torch.testing.assert_close(torch.as_tensor(value), expected)


@pytest.mark.parametrize("name", ENCODERS)
def test_changed_edges_change_the_features_and_gradient_flows(name: str) -> None:
    torch.manual_seed(0)
    encoder: Encoder = ENCODERS[name][0]("kinect20").eval()
    (view,) = growing_views(["DAE"], "kinect20")
    x = torch.randn(3, 3, 8, 20, 2)
    plain, first, second = encoder(x), encoder(x, view.edges), encoder(x, view.edges)
    assert not torch.equal(first, plain) and not torch.equal(first, second)
    first.square().sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in encoder.parameters())


@pytest.mark.parametrize("name", ENCODERS)
def test_edges_that_are_left_alone_change_nothing(name: str) -> None:
    encoder: Encoder = ENCODERS[name][0]("kinect20").eval()
    (view,) = growing_views([[DropAddEdges(0.0, 0.0)]], "kinect20")
    x = torch.randn(3, 3, 8, 20, 2)
    torch.testing.assert_close(encoder(x, view.edges), encoder(x))


# --- in a view ------------------------------------------------------------------------------------


def test_only_levels_that_ask_for_it_change_edges() -> None:
    views = growing_views("BA,NA,DAE,Mask", "ntu25")
    assert [view.edges is not None for view in views] == [False, False, True, True]


def test_a_view_leaves_the_edges_to_the_encoder() -> None:
    (view,) = growing_views(["DAE"], "ntu25", "bone")
    x = torch.randn(2, 3, 5, 25, 2)
    assert torch.equal(view(x), functional.to_bone(x, view.parents))


def test_several_changes_of_edges_follow_each_other() -> None:
    drop, add = Recorder(0.5, 0.0), Recorder(0.0, 0.5)
    view = View([drop, add], SKELETONS["ntu25"], "joint")
    assert view.edges is not None
    edges = torch.from_numpy(SKELETONS["ntu25"].adjacency()).expand(2, -1, -1, -1)
    out = view.edges(edges, 0.25)
    (dropping,), (adding,) = drop.calls, add.calls
    assert torch.equal(dropping[0], edges) and torch.equal(adding[0], dropping[2]) and torch.equal(out, adding[2])
    assert dropping[1] == adding[1] == 0.25
