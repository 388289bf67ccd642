"""ST-GCN: the published size, every block against explicit loops, and what it refuses."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hiclr.encoders import stgcn
from hiclr.encoders.base import EdgeChange, pooled
from hiclr.encoders.stgcn import STGCN
from hiclr.skeleton import SKELETONS, Skeleton

SMALL = Skeleton("small", ("chest", "hip", "shoulder_left", "shoulder_right"), (-1, 0, 0, 0))
Array = NDArray[np.float64]


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def shaken(skeleton: str | Skeleton = SMALL, width: int = 2, dropout: float = 0.5) -> STGCN:
    """In eval mode and double precision, every weight and statistic drawn, so that none can hide."""
    torch.manual_seed(0)
    encoder = STGCN(skeleton, width, dropout).double().eval()
    with torch.no_grad():
        for name, value in encoder.state_dict().items():
            if value.is_floating_point() and name != "adjacency":
                value.copy_(torch.rand_like(value) + 0.5 if "running_var" in name else torch.randn_like(value))
    return encoder


# --- size -----------------------------------------------------------------------------------------


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_published_number_of_parameters() -> None:
    encoder = STGCN()
    assert parameters(encoder) == 821_380
    assert parameters(encoder) + parameters(nn.Linear(encoder.feature_dim, 60)) == 836_800


@pytest.mark.parametrize(("width", "dim"), [(1, 16), (4, 64), (16, 256)])
def test_feature_dim_follows_the_width(width: int, dim: int) -> None:
    encoder = STGCN(SMALL, width)
    assert encoder.feature_dim == dim
    assert encoder(torch.randn(2, 3, 8, 4, 1)).shape == (2, dim)


@pytest.mark.parametrize("frames", [1, 7, 50])
@pytest.mark.parametrize("bodies", [1, 2, 3])
def test_any_number_of_frames_and_bodies(frames: int, bodies: int) -> None:
    assert STGCN(SMALL, 1)(torch.randn(3, 3, frames, 4, bodies)).shape == (3, 16)


# --- against loops --------------------------------------------------------------------------------


def state(module: nn.Module, prefix: str) -> dict[str, Array]:
    found = {key.removeprefix(prefix): value.numpy() for key, value in module.state_dict().items()}
    return {key: value for key, value in found.items() if f"{prefix}{key}" in module.state_dict()}


def slow_norm(x: Array, weights: dict[str, Array], name: str) -> Array:
    """x (C, ...) with statistics of each channel; eps as in PyTorch."""
    out = np.empty_like(x)
    for c in range(len(x)):
        standard = (x[c] - weights[f"{name}.running_mean"][c]) / np.sqrt(weights[f"{name}.running_var"][c] + 1e-5)
        out[c] = standard * weights[f"{name}.weight"][c] + weights[f"{name}.bias"][c]
    return out


def slow_graph(x: Array, weight: Array, bias: Array, adjacency: Array) -> Array:
    """x (C, T, V): sum over the subsets k of (W_k x + b_k) A_k, joint by joint."""
    subsets, joints, _ = adjacency.shape
    channels = len(weight) // subsets
    out = np.zeros((channels, x.shape[1], joints))
    for k in range(subsets):
        own = slice(k * channels, (k + 1) * channels)
        for target in range(joints):
            for source in range(joints):
                message = weight[own, :, 0, 0] @ x[:, :, source] + bias[own, None]
                out[:, :, target] += adjacency[k, source, target] * message
    return out


def slow_temporal(x: Array, weight: Array, bias: Array, stride: int) -> Array:
    """x (C, T, V): a 9-tap convolution over time with zeros beyond the ends."""
    frames = range(0, x.shape[1], stride)
    out = np.empty((len(weight), len(frames), x.shape[2]))
    for i, t in enumerate(frames):
        out[:, i] = bias[:, None]
        for tap in range(9):
            if 0 <= t + tap - 4 < x.shape[1]:
                out[:, i] += weight[:, :, tap, 0] @ x[:, t + tap - 4]
    return out


def slow_block(x: Array, encoder: STGCN, i: int, stride: int, residual: str) -> Array:
    weights = state(encoder, f"blocks.{i}.")
    adjacency = encoder.adjacency.numpy() * weights["importance"]
    y = slow_graph(x, weights["graph.weight"], weights["graph.bias"], adjacency)
    y = np.maximum(slow_norm(y, weights, "norm"), 0)
    y = slow_temporal(y, weights["temporal.0.weight"], weights["temporal.0.bias"], stride)
    y = slow_norm(y, weights, "temporal.1")
    if residual == "identity":
        y = y + x
    if residual == "convolution":
        short = np.einsum("oc,ctv->otv", weights["residual.0.weight"][:, :, 0, 0], x[:, ::stride])
        y = y + slow_norm(short + weights["residual.0.bias"][:, None, None], weights, "residual.1")
    return np.maximum(y, 0)


# stride and residual of the ten blocks, as published
BLOCKS = [
    (1, "none"), (1, "identity"), (1, "identity"), (1, "identity"), (2, "convolution"),
    (1, "identity"), (1, "identity"), (2, "convolution"), (1, "identity"), (1, "convolution"),
]  # fmt: skip


def slow_features(encoder: STGCN, x: Array) -> Array:
    features = []
    for sequence in x:
        bodies = []
        for m in range(x.shape[4]):
            weights = state(encoder, "")
            # the first norm has a channel for each joint and coordinate, joints outermost
            rows = np.stack([sequence[c, :, v, m] for v in range(x.shape[3]) for c in range(3)])
            rows = slow_norm(rows, weights, "input_norm")
            y = np.stack([np.stack([rows[v * 3 + c] for v in range(x.shape[3])], 1) for c in range(3)])
            for i, (stride, residual) in enumerate(BLOCKS):
                y = slow_block(y, encoder, i, stride, residual)
            bodies.append(y.mean((1, 2)))
        features.append(np.mean(bodies, 0))
    return np.stack(features)


def joints_first(layer: nn.Module, x: Tensor, adjacency: Tensor) -> Tensor:
    """x (B, C, T, V) through a layer that takes joints before frames."""
    y: Tensor = layer(x.transpose(2, 3), adjacency)
    return y.transpose(2, 3)


@pytest.mark.parametrize("frames", [8, 9])  # even and odd for the strides
def test_the_whole_network_equals_the_loops(frames: int) -> None:
    encoder, x = shaken(), draw(1, 3, frames, 4, 2)
    with torch.no_grad():
        ours = encoder(x).numpy()
    np.testing.assert_allclose(ours, slow_features(encoder, x.numpy()), rtol=1e-9)


@pytest.mark.parametrize(("i", "stride", "residual"), [(i, *block) for i, block in enumerate(BLOCKS)])
def test_each_block_equals_the_loops(i: int, stride: int, residual: str) -> None:
    encoder = shaken()
    block: Any = encoder.blocks[i]
    x = draw(1, block.graph.in_channels, 7, 4)
    with torch.no_grad():
        ours = joints_first(block, x, encoder.adjacency)[0].numpy()
    np.testing.assert_allclose(ours, slow_block(x[0].numpy(), encoder, i, stride, residual), rtol=1e-9, atol=1e-12)


def test_graph_convolution_sends_from_rows_to_columns() -> None:
    encoder = STGCN(SMALL, 1)
    graph: Any = encoder.blocks[0].graph
    adjacency = torch.zeros(3, 4, 4)
    adjacency[1, 0, 2] = 1  # joint 0 speaks to joint 2
    changed = torch.randn(1, 3, 4, 5)
    other = changed.clone()
    other[:, :, 0] += 1
    differs = (graph(changed, adjacency) != graph(other, adjacency)).any(3).any(1)[0]
    assert differs.tolist() == [False, False, True, False]


def test_channels_of_the_published_network() -> None:
    blocks: Any = STGCN().blocks
    assert [block.norm.num_features for block in blocks] == [16, 16, 16, 16, 32, 32, 32, 64, 64, 256]
    assert [block.temporal[2].p for block in blocks] == [0.0] + [0.5] * 9
    assert all((block.importance == 1).all() for block in blocks)


# --- a graph of its own for every body ------------------------------------------------------------


def test_graph_convolution_takes_an_adjacency_a_body() -> None:
    graph: Any = shaken().blocks[1].graph
    x, adjacency = draw(5, 2, 7, 4), draw(5, 3, 4, 4, seed=1)
    ours = joints_first(graph, x, adjacency).detach().numpy()
    weight, bias = graph.weight.detach().numpy(), graph.bias.detach().numpy()
    for b in range(5):
        slow = slow_graph(x[b].numpy(), weight, bias, adjacency[b].numpy())
        np.testing.assert_allclose(ours[b], slow, rtol=1e-9, atol=1e-12)


class Layers:
    """Adds prepared matrices (B, S, V, V) to the edges, other ones in every layer."""

    def __init__(self, changes: list[Tensor]) -> None:
        self.changes = iter(changes)

    def __call__(self, edges: Tensor, value: Tensor | float) -> Tensor:
        assert value == 1.0, "what an added edge weighs in a graph"
        return edges + next(self.changes)


def test_each_body_runs_on_its_own_edges() -> None:
    encoder, x = shaken(), draw(3, 3, 8, 4, 2)
    changes = [draw(6, 3, 4, 4, seed=i) for i in range(10)]
    layers = Layers(changes)
    with torch.no_grad():
        together = encoder.feature_map(x, layers)
        assert next(layers.changes, None) is None, "every layer asks once"
        for n, m in np.ndindex(3, 2):
            body = 2 * n + m
            alone = encoder.feature_map(x[n : n + 1, ..., m : m + 1], Layers([c[body : body + 1] for c in changes]))
            torch.testing.assert_close(together[n, ..., m], alone[0, ..., 0])
        torch.testing.assert_close(encoder(x, Layers(changes)), pooled(together))


def test_edges_that_stay_are_the_same_network() -> None:
    encoder, x = shaken(), draw(3, 3, 8, 4, 2)
    with torch.no_grad():
        torch.testing.assert_close(encoder(x, lambda edges, _: edges), encoder(x))


# --- what features are ----------------------------------------------------------------------------


@pytest.mark.parametrize("frames", [8, 9])
def test_the_feature_map_has_frames_joints_and_bodies(frames: int) -> None:
    encoder, x = shaken(), draw(2, 3, frames, 4, 2)
    with torch.no_grad():
        features = encoder.feature_map(x)
        assert features.shape == (2, encoder.feature_dim, math.ceil(frames / 4), 4, 2)
        torch.testing.assert_close(encoder(x), torch.stack([f.flatten(1).mean(1) for f in features]))


def test_the_feature_is_the_mean_over_bodies() -> None:
    encoder, x = shaken(), draw(2, 3, 8, 4, 2)
    with torch.no_grad():
        alone = torch.stack([encoder(x[..., m : m + 1]) for m in range(2)]).mean(0)
        torch.testing.assert_close(encoder(x), alone)
        torch.testing.assert_close(encoder(x.flip(4)), encoder(x))


def test_in_eval_mode_sequences_do_not_see_each_other() -> None:
    encoder, x = shaken(), draw(3, 3, 8, 4, 2)
    with torch.no_grad():
        torch.testing.assert_close(encoder(x)[1:2], encoder(x[1:2]))


def test_dropout_is_on_in_training_only() -> None:
    x = torch.randn(2, 3, 8, 4, 1)
    encoder = STGCN(SMALL, 4, dropout=0.5, init="pytorch").train()
    assert not torch.equal(encoder(x), encoder(x))
    still = STGCN(SMALL, 4, dropout=0.0, init="pytorch").train()
    assert torch.equal(still(x), still(x))
    encoder.eval()
    assert torch.equal(encoder(x), encoder(x))


def test_gradient_reaches_every_parameter() -> None:
    encoder = STGCN(SMALL, 2, init="pytorch")
    encoder(torch.randn(4, 3, 16, 4, 2)).square().sum().backward()
    without = [name for name, p in encoder.named_parameters() if p.grad is None or not p.grad.any()]
    # a bias before a batch norm has none but rounding
    assert [name for name in without if "bias" not in name] == []


# --- bodies that are not there --------------------------------------------------------------------


def every_body(x: Tensor) -> tuple[Tensor, int, Tensor]:
    """In place of `distinct_bodies`: each body is encoded."""
    n, *_, m = x.shape
    return x.movedim(4, 1).flatten(0, 1), 1, torch.arange(n * m).view(n, m)


ABSENT = {
    "none": torch.zeros(4, 2, dtype=torch.bool),
    "one": torch.arange(8).view(4, 2) == 5,
    "many": torch.tensor([[False, True], [False, True], [False, False], [True, True]]),
    "all but one": torch.arange(8).view(4, 2) != 2,
}


def trained(x: Tensor, part: str, edges: EdgeChange | None) -> dict[str, Tensor]:
    """What a step computes: features, gradients of all parameters and of x, statistics."""
    encoder = shaken(dropout=0.0).train()
    x = x.clone().requires_grad_()
    features = getattr(encoder, part)(x, edges)
    upstream = draw(*features.shape, seed=1)
    gradients = torch.autograd.grad(features, [x, *encoder.parameters()], upstream)
    names = ["x", *(name for name, _ in encoder.named_parameters())]
    return {
        "features": features.detach(),
        **{f"gradient of {name}": gradient for name, gradient in zip(names, gradients, strict=True)},
        **{name: value for name, value in encoder.named_buffers() if "running" in name},
    }


@pytest.mark.parametrize("own_edges", [False, True])
@pytest.mark.parametrize("part", ["forward", "feature_map"])
@pytest.mark.parametrize("absent", ABSENT.values(), ids=ABSENT)
def test_absent_bodies_encoded_once_train_as_if_each_was_encoded(
    absent: Tensor, part: str, own_edges: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many equal bodies have the same features, and their gradients belong to one."""
    x = draw(4, 3, 9, 4, 2).masked_fill(absent[:, None, None, None], 0)
    matrix = draw(3, 4, 4, seed=2)
    edges = (lambda edges, _: edges + matrix) if own_edges else None
    once = trained(x, part, edges)
    monkeypatch.setattr(stgcn, "distinct_bodies", every_body)
    each = trained(x, part, edges)
    for results in (once, each):
        gradient = results["gradient of x"].movedim(4, 1)
        results["gradient of x"] = torch.cat([gradient[~absent], gradient[absent].sum(0, keepdim=True)])
    largest = max(float(value.abs().max()) for name, value in each.items() if "gradient" in name)
    for name, value in each.items():  # before a batch norm a bias has none but rounding
        torch.testing.assert_close(once[name], value, rtol=1e-9, atol=1e-13 * largest, msg=name)


def test_absent_bodies_in_eval_mode_have_features_of_their_own() -> None:
    encoder, x = shaken(), draw(4, 3, 9, 4, 2)
    x[1:, ..., 1] = 0
    with torch.no_grad():
        together = encoder.feature_map(x)
        for n, m in np.ndindex(4, 2):
            torch.testing.assert_close(
                together[n, ..., m], encoder.feature_map(x[n : n + 1, ..., m : m + 1])[0, ..., 0]
            )


# --- settings -------------------------------------------------------------------------------------


@pytest.mark.parametrize("partition", ["published", "spatial"])
def test_partition_is_the_skeletons(partition: Any) -> None:
    encoder = STGCN("kinect20", 1, partition=partition)
    np.testing.assert_array_equal(encoder.adjacency, SKELETONS["kinect20"].adjacency(partition))
    assert "adjacency" in encoder.state_dict() and not encoder.adjacency.requires_grad


def convolutions(encoder: STGCN) -> list[nn.Conv2d]:
    return [module for module in encoder.modules() if isinstance(module, nn.Conv2d)]


def test_published_initialisation() -> None:
    torch.manual_seed(0)
    encoder = STGCN()
    weights = torch.cat([conv.weight.flatten() for conv in convolutions(encoder)])
    assert abs(weights.std() - 0.02) < 2e-4 and abs(weights.mean()) < 2e-4
    norms = [m for m in encoder.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
    scales = torch.cat([norm.weight for norm in norms])
    assert abs(scales.mean() - 1) < 2e-3 and abs(scales.std() - 0.02) < 2e-3
    assert not any(module.bias.any() for module in [*convolutions(encoder), *norms])


def test_pytorch_initialisation() -> None:
    encoder = STGCN(init="pytorch")
    for conv in convolutions(encoder):
        bound = 1 / (conv.in_channels * conv.kernel_size[0]) ** 0.5
        assert 0.8 * bound < conv.weight.abs().max() <= bound
    assert (encoder.input_norm.weight == 1).all()


@pytest.mark.parametrize("skeleton", ["kinect20", SKELETONS["kinect20"], SKELETONS["kinect20"].to_dict()])
def test_settings_rebuild_the_encoder(skeleton: Any) -> None:
    encoder = STGCN(skeleton, 2, dropout=0.1, partition="spatial", init="pytorch")
    again = STGCN(encoder.skeleton.to_dict(), **encoder.settings)
    again.load_state_dict(encoder.state_dict())
    assert again.settings == encoder.settings and again.skeleton == encoder.skeleton
    x = torch.randn(2, 3, 8, 20, 1)
    assert torch.equal(again.eval()(x), encoder.eval()(x))


@pytest.mark.parametrize(
    ("shape", "sentence"),
    [
        ((2, 3, 8, 20, 2), r"expected 25 joints \(ntu25\), got 20: build the encoder with"),
        ((2, 2, 8, 25, 2), r"expected x of shape \(N, 3, T, V, M\), got \(2, 2, 8, 25, 2\)"),
        ((3, 8, 25, 2), r"expected x of shape \(N, 3, T, V, M\), got \(3, 8, 25, 2\)"),
    ],
)
def test_other_data_are_refused(shape: tuple[int, ...], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        STGCN("ntu25", 1)(torch.zeros(shape))


@pytest.mark.parametrize(
    ("setting", "value"), [("width", 0), ("dropout", 1.5), ("partition", "polar"), ("init", "zeros")]
)
def test_settings_that_do_not_exist_are_refused(setting: str, value: Any) -> None:
    with pytest.raises(ValueError, match=str(value)):
        STGCN("ntu25", **{"width": 1, setting: value})
