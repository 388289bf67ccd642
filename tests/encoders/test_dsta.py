"""DSTA: the published size, every block against explicit loops, and what it refuses."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hiclr.encoders.dsta import DSTA, JointAttention, joint_encoding
from hiclr.skeleton import SKELETONS, Skeleton

SMALL = Skeleton("small", ("chest", "hip", "shoulder_left", "shoulder_right"), (-1, 0, 0, 0))
Array = NDArray[np.float64]

# channels in and out, key channels and stride of the eight blocks, as published
BLOCKS = [
    (32, 32, 16, 1), (32, 32, 16, 1), (32, 64, 16, 2), (64, 64, 16, 1),
    (64, 128, 32, 2), (128, 128, 32, 1), (128, 128, 32, 1), (128, 256, 32, 1),
]  # fmt: skip


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def shaken(skeleton: str | Skeleton = SMALL, width: int = 2) -> DSTA:
    """In eval mode and double precision, every weight and statistic drawn, so that none can hide."""
    torch.manual_seed(0)
    encoder = DSTA(skeleton, base_channels=width).double().eval()
    with torch.no_grad():
        for name, value in encoder.state_dict().items():
            if value.is_floating_point():
                value.copy_(torch.rand_like(value) + 0.5 if "running_var" in name else torch.randn_like(value))
    for block in encoder.blocks:
        encoding = block.get_submodule("attention").get_buffer("encoding")  # made in single precision
        encoding.copy_(torch.from_numpy(slow_encoding(len(encoding), encoding.shape[2]))[:, None])
    return encoder


# --- size -----------------------------------------------------------------------------------------


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_published_number_of_parameters() -> None:
    encoder = DSTA()
    assert encoder.feature_dim == 256
    assert parameters(encoder) + parameters(nn.Linear(encoder.feature_dim, 60)) == 1_561_900


def test_channels_of_the_published_network() -> None:
    blocks: Any = DSTA().blocks
    shapes = [
        (
            block.attention.queries_keys.in_channels,
            block.temporal[0].out_channels,
            block.attention.queries_keys.out_channels // 6,
            block.temporal[0].stride[0],
        )
        for block in blocks
    ]
    assert shapes == BLOCKS


@pytest.mark.parametrize(("width", "dim"), [(1, 8), (3, 24), (32, 256)])
def test_feature_dim_follows_the_width(width: int, dim: int) -> None:
    encoder = DSTA(SMALL, base_channels=width)
    assert encoder.feature_dim == dim
    assert encoder(torch.randn(2, 3, 8, 4, 1)).shape == (2, dim)


@pytest.mark.parametrize(("frames", "left"), [(1, 1), (7, 2), (50, 13)])
@pytest.mark.parametrize("bodies", [1, 3])
@pytest.mark.parametrize("skeleton", [SMALL, "kinect20"])
def test_any_number_of_frames_joints_and_bodies(skeleton: Any, frames: int, left: int, bodies: int) -> None:
    encoder = DSTA(skeleton, base_channels=2)
    v = encoder.skeleton.num_joints
    assert encoder.feature_map(torch.randn(3, 3, frames, v, bodies)).shape == (3, 16, left, v, bodies)


# --- against loops --------------------------------------------------------------------------------


def state(module: nn.Module, prefix: str) -> dict[str, Array]:
    weights = module.state_dict()
    return {key.removeprefix(prefix): value.numpy() for key, value in weights.items() if key.startswith(prefix)}


def slow_conv(x: Array, weights: dict[str, Array], name: str, stride: int = 1) -> Array:
    """x (C, T, V): a convolution over time with zeros beyond the ends."""
    weight, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
    taps = weight.shape[2]
    frames = range(0, x.shape[1], stride)
    out = np.empty((len(weight), len(frames), x.shape[2]))
    for i, t in enumerate(frames):
        out[:, i] = bias[:, None]
        for tap in range(taps):
            if 0 <= t + tap - taps // 2 < x.shape[1]:
                out[:, i] += weight[:, :, tap, 0] @ x[:, t + tap - taps // 2]
    return out


def slow_conv_norm(x: Array, weights: dict[str, Array], name: str, stride: int = 1) -> Array:
    out = slow_conv(x, weights, f"{name}.0", stride)
    for c in range(len(out)):
        standard = (out[c] - weights[f"{name}.1.running_mean"][c]) / np.sqrt(weights[f"{name}.1.running_var"][c] + 1e-5)
        out[c] = standard * weights[f"{name}.1.weight"][c] + weights[f"{name}.1.bias"][c]
    return out


def leaky(x: Array) -> Array:
    return np.where(x > 0, x, 0.1 * x)


def slow_encoding(channels: int, joints: int) -> Array:
    encoding = np.empty((channels, joints))
    for c in range(channels):
        for v in range(joints):
            angle = v / 10000 ** ((c - c % 2) / channels)
            encoding[c, v] = math.sin(angle) if c % 2 == 0 else math.cos(angle)
    return encoding


def slow_attention(x: Array, weights: dict[str, Array]) -> Array:
    """x (C, T, V): tanh(q.k / (channels * T)) * alpha + global map, joint by joint, head by head."""
    _, frames, joints = x.shape
    both = slow_conv(x + slow_encoding(len(x), joints)[:, None], weights, "attention.queries_keys")
    channels = len(both) // 6
    out = np.empty((3, joints, joints))
    for head in range(3):
        queries = both[head * channels : (head + 1) * channels]
        keys = both[(3 + head) * channels : (4 + head) * channels]
        for u in range(joints):
            for v in range(joints):
                total = sum(queries[c, t, u] * keys[c, t, v] for c in range(channels) for t in range(frames))
                out[head, u, v] = math.tanh(total / (channels * frames)) * weights["attention.strength"][0, head, 0, 0]
    return out + weights["attention.global_map"][0]


def slow_block(x: Array, weights: dict[str, Array], stride: int) -> Array:
    joints = x.shape[2]
    attention = slow_attention(x, weights)
    gathered = np.zeros((3, *x.shape))
    for head in range(3):
        for target in range(joints):
            for source in range(joints):
                gathered[head, :, :, target] += attention[head, source, target] * x[:, :, source]
    widens = "mix_residual.0.weight" in weights
    short = {name: slow_conv_norm(x, weights, f"{name}_residual") if widens else x for name in ("mix", "feed_forward")}
    y = leaky(slow_conv_norm(gathered.reshape(-1, *x.shape[1:]), weights, "mix") + short["mix"])
    y = leaky(slow_conv_norm(y, weights, "feed_forward") + short["feed_forward"])
    last = slow_conv_norm(y, weights, "temporal_residual", stride) if widens else y
    return leaky(slow_conv_norm(y, weights, "temporal", stride) + last)


@pytest.mark.parametrize(("channels", "joints"), [(2, 3), (32, 25), (5, 4), (1, 2)])
def test_the_encoding_is_the_published_formula(channels: int, joints: int) -> None:
    ours = joint_encoding(channels, joints)
    np.testing.assert_allclose(ours, slow_encoding(channels, joints), atol=2e-6)


@pytest.mark.parametrize(("i", "stride"), [(i, block[3]) for i, block in enumerate(BLOCKS)])
@pytest.mark.parametrize("width", [1, 2])
def test_each_block_equals_the_loops(i: int, stride: int, width: int) -> None:
    encoder = shaken(width=width)
    block: Any = encoder.blocks[i]
    x = draw(1, block.attention.queries_keys.in_channels, 7, 4)
    with torch.no_grad():
        ours = block(x)[0].numpy()
    expected = slow_block(x[0].numpy(), state(encoder, f"blocks.{i}."), stride)
    np.testing.assert_allclose(ours, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("frames", [8, 9])  # even and odd for the strides
def test_the_whole_network_equals_the_loops(frames: int) -> None:
    encoder, x = shaken(), draw(1, 3, frames, 4, 2)
    bodies = []
    for m in range(2):
        y = leaky(slow_conv_norm(x[0, ..., m].numpy(), state(encoder, ""), "input_map"))
        for i, (_, _, _, stride) in enumerate(BLOCKS):
            y = slow_block(y, state(encoder, f"blocks.{i}."), stride)
        bodies.append(y.mean((1, 2)))
    with torch.no_grad():
        np.testing.assert_allclose(encoder(x)[0].numpy(), np.mean(bodies, 0), rtol=1e-8)


# --- attention and its edges ----------------------------------------------------------------------


def test_attention_is_a_mean_over_frames() -> None:
    attention: Any = shaken().blocks[0]
    x = draw(2, 2, 5, 4)
    with torch.no_grad():
        torch.testing.assert_close(attention.attention(x.repeat_interleave(3, 2)), attention.attention(x))


def test_attention_starts_even() -> None:
    attention = JointAttention(4, 2, 5)
    nn.init.zeros_(attention.queries_keys.weight)
    nn.init.zeros_(attention.queries_keys.bias)  # type: ignore[arg-type]
    torch.testing.assert_close(attention(torch.randn(2, 4, 3, 5)), torch.full((2, 3, 5, 5), 0.2))


def test_edges_change_the_attention_of_every_block() -> None:
    encoder, x = shaken(), draw(2, 3, 8, 4, 2)
    seen = []

    def nothing(edges: Tensor, value: Tensor | float) -> Tensor:
        seen.append((edges, value))
        return edges

    with torch.no_grad():
        assert torch.equal(encoder(x, nothing), encoder(x))
        inputs = encoder.input_map(x.movedim(-1, 1).flatten(0, 1))
        for block, (edges, value) in zip(encoder.blocks, seen, strict=True):
            attention: Any = block.get_submodule("attention")
            assert torch.equal(edges, attention(inputs)) and edges.shape == (4, 3, 4, 4)
            assert isinstance(value, Tensor)
            torch.testing.assert_close(value.expand_as(edges).sum((2, 3)), edges.sum((2, 3)))
            inputs = block(inputs)


def test_changed_edges_are_the_ones_used() -> None:
    encoder = shaken()
    block: Any = encoder.blocks[0]
    x, other = draw(2, 2, 5, 4), draw(2, 2, 5, 4, seed=1)
    other[..., 1:] = x[..., 1:]  # only joint 0 differs

    def only_itself(edges: Tensor, value: Tensor | float) -> Tensor:
        return torch.eye(4, dtype=edges.dtype).expand_as(edges)

    with torch.no_grad():
        apart = (block(x, only_itself) != block(other, only_itself)).flatten(0, 2).any(0)
        mixed = (block(x) != block(other)).flatten(0, 2).any(0)
    assert apart.tolist() == [True, False, False, False] and mixed.all()


# --- what features are ----------------------------------------------------------------------------


def test_the_feature_is_the_mean_over_bodies() -> None:
    encoder, x = shaken(), draw(2, 3, 8, 4, 2)
    x[1, ..., 1] = 0  # an absent body counts, as published
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
    encoder = DSTA(SMALL, attention_dropout=0.5, base_channels=4).train()
    assert not torch.equal(encoder(x), encoder(x))
    still = DSTA(SMALL, base_channels=4).train()
    assert torch.equal(still(x), still(x))
    encoder.eval()
    assert torch.equal(encoder(x), encoder(x))


def test_full_dropout_leaves_the_temporal_convolution() -> None:
    block: Any = DSTA(SMALL, attention_dropout=1.0, base_channels=4).train().blocks[0]
    x = torch.randn(2, 4, 8, 4)
    with torch.no_grad():
        dropped = block(x)
        block.dropout.p = 0.0
        assert not torch.allclose(dropped, block(x))
        block.temporal_residual.register_forward_hook(lambda *_: torch.zeros(()))
        torch.testing.assert_close(dropped, block(x))


def test_gradient_reaches_every_parameter() -> None:
    encoder = DSTA(SMALL, base_channels=2)
    encoder(torch.randn(4, 3, 16, 4, 2)).square().sum().backward()
    without = [name for name, p in encoder.named_parameters() if p.grad is None or not p.grad.any()]
    # a bias before a batch norm has none but rounding
    assert [name for name in without if "bias" not in name] == []


# --- settings -------------------------------------------------------------------------------------


def test_initialisation() -> None:
    torch.manual_seed(0)
    encoder = DSTA()
    for conv in (module for module in encoder.modules() if isinstance(module, nn.Conv2d)):
        spread = math.sqrt(2 / (conv.out_channels * conv.kernel_size[0]))
        assert conv.weight.std().item() == pytest.approx(spread, rel=0.2)
    features = encoder(torch.randn(4, 3, 50, 25, 2))
    assert features.isfinite().all() and features.std(0).mean() > 1e-3
    blocks: Any = encoder.blocks
    assert all((block.attention.global_map == 1 / 25).all() for block in blocks)
    assert all((block.attention.strength == 1).all() for block in blocks)


@pytest.mark.parametrize("skeleton", ["kinect20", SKELETONS["kinect20"], SKELETONS["kinect20"].to_dict()])
def test_settings_rebuild_the_encoder(skeleton: Any) -> None:
    encoder = DSTA(skeleton, frames=64, attention_dropout=0.5, base_channels=2)
    again = DSTA(encoder.skeleton.to_dict(), **encoder.settings)
    again.load_state_dict(encoder.state_dict())
    assert again.settings == encoder.settings and again.skeleton == encoder.skeleton
    x = torch.randn(2, 3, 8, 20, 1)
    assert torch.equal(again.eval()(x), encoder.eval()(x))


def test_what_can_be_derived_is_not_kept() -> None:
    assert not [name for name in DSTA(SMALL, base_channels=1).state_dict() if "encoding" in name]


@pytest.mark.parametrize(
    ("shape", "sentence"),
    [
        ((2, 3, 8, 20, 2), r"expected 25 joints \(ntu25\), got 20: build the encoder with"),
        ((2, 2, 8, 25, 2), r"expected x of shape \(N, 3, T, V, M\), got \(2, 2, 8, 25, 2\)"),
    ],
)
def test_other_data_are_refused(shape: tuple[int, ...], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        DSTA("ntu25", base_channels=1)(torch.zeros(shape))


@pytest.mark.parametrize(
    ("setting", "value"), [("base_channels", 0), ("frames", 0), ("attention_dropout", 1.5), ("attention_dropout", -0.1)]
)
def test_settings_that_do_not_exist_are_refused(setting: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{setting} must .*, got {value}"):
        DSTA("ntu25", **{"base_channels": 1, setting: value})
