"""Layers that encoders share: against sums written out, numerical gradients, and what chance must look like."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from hiclr.encoders import layers
from hiclr.encoders.layers import Dropout, TemporalConv, distinct_bodies, graph_product

LAYOUTS = {"contiguous": torch.contiguous_format, "channels last": torch.channels_last}
every_layout = pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def near(ours: Tensor, reference: Tensor, share: float) -> bool:
    """Whether the difference is a small share of the reference, as a whole."""
    return bool((ours.double() - reference).norm() <= share * reference.norm())


# --- dropout --------------------------------------------------------------------------------------


def dropped(x: Tensor, p: float, seed: int = 0) -> Tensor:
    torch.manual_seed(seed)
    y: Tensor = Dropout(p).train()(x)
    return y


@pytest.mark.parametrize("kind", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("p", [0.1, 0.25, 0.3, 0.5, 0.9])
def test_a_share_p_is_dropped_and_the_rest_scaled_for_it(p: float, kind: torch.dtype) -> None:
    x = draw(2**18).abs().add(0.5).to(kind)
    y = dropped(x, p)
    bits = 8 if kind == torch.bfloat16 else 16
    rate = round(p * 2**bits) / 2**bits
    kept = y != 0
    assert torch.equal(y[kept], x[kept] * (1 / (1 - rate)))
    sigma = (rate * (1 - rate) / len(x)) ** 0.5
    assert abs(float((~kept).double().mean()) - rate) < 5 * sigma
    ones = dropped(torch.ones_like(x), p, seed=1).double()
    assert abs(float(ones.mean()) - 1) < 5 * sigma / (1 - rate) + (2**-8 if kind == torch.bfloat16 else 1e-7)


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16], ids=str)
def test_rates_near_none_and_all(kind: torch.dtype) -> None:
    x = draw(2**16).abs().add(0.5).to(kind)
    assert torch.equal(dropped(x, 1e-7), x)
    y = dropped(x, 1 - 1e-7)
    assert y.isfinite().all() and (y != 0).sum() < 2**9


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16], ids=str)
def test_dropout_without_chance(kind: torch.dtype) -> None:
    x = draw(4, 3, 5, 6).to(kind)
    assert torch.equal(Dropout(0.5).eval()(x), x) and torch.equal(dropped(x, 0.0), x)
    x.requires_grad_()
    y = dropped(x, 1.0)
    y.sum().backward()
    assert x.grad is not None and not y.any() and not x.grad.any()


@every_layout
@pytest.mark.parametrize("p", [0.3, 0.5])
def test_the_gradient_is_dropped_where_the_value_is(p: float, layout: Any) -> None:
    x = draw(4, 3, 5, 6).contiguous(memory_format=layout).requires_grad_()
    upstream = draw(4, 3, 5, 6, seed=1)  # in a layout of its own
    before = x.detach().clone()
    y = dropped(x, p)
    torch.rand(100)  # what is drawn in between is of no matter
    (grad,) = torch.autograd.grad(y, x, upstream)
    assert 0 < int((y == 0).sum()) < y.numel()
    torch.testing.assert_close(grad, upstream * (y.detach() / before), rtol=1e-12, atol=0)
    assert torch.equal(x.detach(), before)


def test_the_same_seed_drops_the_same() -> None:
    x = torch.ones(4, 3, 5, 6)
    assert torch.equal(dropped(x, 0.3), dropped(x, 0.3))
    assert not torch.equal(dropped(x, 0.3), dropped(x, 0.3, seed=1))
    layer = Dropout(0.3)
    assert not torch.equal(layer(x), layer(x)), "each call draws anew"


NO_DENSE = {
    "expanded bodies": lambda: torch.ones(1, 8, 9, 7).expand(40, -1, -1, -1),
    "expanded frames": lambda: torch.ones(40, 8, 9, 1).expand(-1, -1, -1, 7),
    "every second": lambda: torch.ones(40, 8, 9, 14)[..., ::2],
    "turned": lambda: torch.ones(8, 40, 7, 9).permute(1, 0, 3, 2),
}


@pytest.mark.parametrize("make", NO_DENSE.values(), ids=NO_DENSE)
def test_every_value_of_any_view_has_a_chance_of_its_own(make: Any) -> None:
    kept = dropped(make(), 0.5) != 0
    assert kept.shape == (40, 8, 9, 7)
    for dim in range(4):  # no two slices are alike, and half of their values agree
        slices = kept.movedim(dim, 0).flatten(1)
        agree = (slices[1:] == slices[:-1]).double().mean()
        assert abs(agree - 0.5) < 5 * 0.5 / slices[1:].numel() ** 0.5


@pytest.mark.parametrize("p", [0.3, 0.5])
def test_dropout_keeps_the_layout(p: float) -> None:
    for x in (draw(4, 3, 5, 6), draw(4, 3, 5, 6).contiguous(memory_format=torch.channels_last), NO_DENSE["turned"]()):
        assert dropped(x, p).stride() == x.stride()


@pytest.mark.parametrize(("p", "bits"), [(0.5, 8), (0.3, 16)])
def test_values_are_independent_of_their_neighbours(p: float, bits: int) -> None:
    """64 bits make eight values or four: neither neighbours nor places within them know of each other."""
    n = 2**18
    kept = (dropped(torch.ones(n), p) != 0).double()
    standard = (kept - (1 - p)) / (p * (1 - p)) ** 0.5
    for lag in range(1, 2 * 64 // bits + 1):
        assert abs(float((standard[lag:] * standard[:-lag]).mean())) < 5 / n**0.5, lag
    by_place = standard.view(-1, 64 // bits).mean(0)
    assert by_place.abs().max() < 5 / (n / (64 // bits)) ** 0.5


@pytest.mark.parametrize("kind", [torch.int8, torch.int16], ids=str)
def test_bits_are_fair(kind: torch.dtype) -> None:
    torch.manual_seed(0)
    x = torch.empty(2**18, dtype=kind)
    layers.fill_with_bits(x)
    values = x.long() & 0xFF if kind == torch.int8 else x.long() & 0xFFFF
    low, high = values & 0xFF, values >> 8
    for byte in (low,) if kind == torch.int8 else (low, high):
        counts = byte.bincount(minlength=256).double()
        expected = len(x) / 256
        assert (counts - expected).abs().max() < 5 * expected**0.5


@pytest.mark.parametrize("n", [0, 1, 7, 8, 9])
def test_bits_for_any_number_of_values(n: int) -> None:
    torch.manual_seed(0)
    drawn = torch.zeros(200, n, dtype=torch.int8)
    for row in drawn:
        layers.fill_with_bits(row)
    assert drawn.ne(0).any(0).all(), "up to the last one"


# --- graph product --------------------------------------------------------------------------------


def product_of(kind: str, channels: int, out: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """x, edges, weight and bias, with edges that all bodies share or of each body."""
    b, s, v, t = 3, 2, 4, 5
    own = (b,) if kind == "own" else ()
    drawn = (
        draw(b, channels, v, t),
        draw(*own, s, v, v, seed=1),
        draw(s, out, channels, seed=2),
        draw(*own, out, v, seed=3),
    )
    x, edges, weight, bias = (tensor.requires_grad_() for tensor in drawn)
    return x, edges, weight, bias


def slow_product(x: Tensor, edges: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A convolution for each subset, then what it sends over the subset's edges, then their sum."""
    y = torch.zeros(len(x), weight.shape[1], *x.shape[2:], dtype=x.dtype) + bias.unsqueeze(-1)
    for s in range(len(weight)):
        sent = F.conv2d(x, weight[s, :, :, None, None])
        of_subset = edges.movedim(-3, 0)[s].expand(len(x), -1, -1)
        y = y + torch.einsum("bout,buv->bovt", sent, of_subset)
    return y


every_kind = pytest.mark.parametrize("kind", ["shared", "own"])
every_width = pytest.mark.parametrize(("channels", "out"), [(2, 5), (5, 2), (1, 1)], ids=str)


@every_layout
@every_width
@every_kind
def test_graph_product_is_a_convolution_then_a_sum_over_edges(kind: str, channels: int, out: int, layout: Any) -> None:
    x, edges, weight, bias = product_of(kind, channels, out)
    x = x.detach().contiguous(memory_format=layout).requires_grad_()
    inputs = x, edges, weight, bias
    ours, reference = graph_product(*inputs), slow_product(*inputs)
    torch.testing.assert_close(ours, reference, rtol=1e-11, atol=1e-12)
    upstream = draw(*ours.shape, seed=9)
    for found, expected in zip(
        torch.autograd.grad(ours, inputs, upstream), torch.autograd.grad(reference, inputs, upstream), strict=True
    ):
        torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-12)


@every_kind
def test_gradient_of_graph_product(kind: str) -> None:
    assert torch.autograd.gradcheck(graph_product, product_of(kind, 2, 3))


@every_kind
def test_graph_product_with_edges_that_are_not_learnt(kind: str) -> None:
    x, edges, weight, bias = product_of(kind, 2, 3)
    learnt = x, weight, bias
    upstream = draw(3, 3, 4, 5, seed=9)
    found = torch.autograd.grad(graph_product(x, edges.detach(), weight, bias), learnt, upstream)
    expected = torch.autograd.grad(graph_product(x, edges, weight, bias), learnt, upstream)
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


@every_kind
def test_graph_product_in_autocast_is_near(kind: str) -> None:
    inputs = [tensor.detach().float().requires_grad_() for tensor in product_of(kind, 5, 4)]
    with torch.autocast("cpu", torch.bfloat16):
        ours = graph_product(*inputs)
    assert ours.dtype == torch.bfloat16
    exact = [tensor.detach().double().requires_grad_() for tensor in inputs]
    reference = slow_product(*exact)
    assert near(ours.detach(), reference.detach(), 0.02) and not torch.equal(ours.double(), reference)
    upstream = draw(*ours.shape, seed=9).bfloat16()
    expected = torch.autograd.grad(reference, exact, upstream.double())
    for found, exactly in zip(torch.autograd.grad(ours, inputs, upstream), expected, strict=True):
        assert found.dtype == torch.float32 and near(found, exactly, 0.02)


# --- bodies that are there ------------------------------------------------------------------------

N, M = 3, 2


def presences() -> Iterator[Tensor]:
    """Which bodies are there (N, M): every way."""
    for there in product((False, True), repeat=N * M):
        yield torch.tensor(there).view(N, M)


def test_all_absent_bodies_are_one_and_every_body_comes_back_in_place() -> None:
    for there in presences():
        x = draw(N, 3, 4, 5, M) * there[:, None, None, None, :]
        bodies, copies, place = distinct_bodies(x)
        absent = int((~there).sum())
        assert copies == max(absent, 1) and len(bodies) + copies - 1 == N * M
        assert torch.equal(bodies[place], x.movedim(4, 1))
        stood_for = place.flatten().bincount(minlength=len(bodies))
        assert stood_for.tolist() == [1] * (len(bodies) - 1) + [copies]
        if absent:
            assert (place[~there] == place[~there][0]).all()


def test_bodies_that_are_somewhere_or_somewhen_are_there() -> None:
    x = draw(N, 3, 4, 5, M)
    x[0, :, 2:, :, 1] = 0  # gone after half of the frames
    x[1, :, :, 1:, 1] = 0  # a single joint
    x[2, 1:, :, :, 1] = 0  # a single coordinate
    assert distinct_bodies(x)[1] == 1 and len(distinct_bodies(x)[0]) == N * M
    x[..., 1] = 0
    x[:, 2, 3, 4, 1] = 1e-30  # a single value
    assert distinct_bodies(x)[1] == 1 and len(distinct_bodies(x)[0]) == N * M
    x[..., 1] = -0.0
    assert distinct_bodies(x)[1] == N


def test_bodies_with_noise_are_all_encoded() -> None:
    x = draw(N, 3, 4, 5, M)
    x[..., 1] = 1e-3 * draw(N, 3, 4, 5, seed=1)
    bodies, copies, place = distinct_bodies(x)
    assert copies == 1 and torch.equal(bodies[place], x.movedim(4, 1))


def test_gradients_of_absent_bodies_add_up_in_one_of_them() -> None:
    x = draw(N, 3, 4, 5, M)
    x[..., 1] = 0
    x.requires_grad_()
    bodies, _, place = distinct_bodies(x)
    upstream = draw(N, M, 3, 4, 5, seed=1)
    (grad,) = torch.autograd.grad(bodies[place], x, upstream)
    upstream = upstream.movedim(1, 4)
    torch.testing.assert_close(grad[..., 0], upstream[..., 0])
    torch.testing.assert_close(grad[..., 1].sum(0), upstream[..., 1].sum(0))


# --- convolutions over time -----------------------------------------------------------------------


def test_gradients_of_narrow_strided_shortcuts_stay_in_their_memory() -> None:
    """PyTorch's own, of a strided 1x1 convolution in this memory order, ended the process."""
    code = """
import torch
from hiclr.encoders.layers import TemporalConv, channels_last
torch.set_num_threads(2)
shortcut = TemporalConv(4, 8, stride=2)
for _ in range(50):
    x = channels_last(torch.randn(17, 4, 25, 8)).requires_grad_()
    shortcut(x).sum().backward()
"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (1, 2), (9, 1), (9, 2)])
def test_a_convolution_over_time_is_the_plain_one(kernel: int, stride: int) -> None:
    torch.manual_seed(0)
    ours = TemporalConv(3, 5, kernel, stride)
    x = torch.randn(4, 3, 6, 9, requires_grad=True)
    weight = ours.weight.detach().clone().requires_grad_()
    plain = F.conv2d(x.mT, weight, ours.bias, (stride, 1), (kernel // 2, 0)).mT  # frames before joints, as published
    ours(x).square().sum().backward()
    grads = x.grad, ours.weight.grad
    x.grad = None
    plain.square().sum().backward()
    torch.testing.assert_close(ours(x), plain)
    torch.testing.assert_close(grads, (x.grad, weight.grad), rtol=1e-4, atol=1e-4)
