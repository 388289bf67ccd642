"""Chance: a contract that every transform keeps, and what each one draws. (Edges: test_edges; views: test_views.)"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from hiclr import functional, transforms
from hiclr.skeleton import SKELETONS
from hiclr.transforms import (
    AxisMask,
    DropAddEdges,
    GaussianBlur,
    GaussianNoise,
    Params,
    RandomMask,
    Rotate,
    Shear,
    SkeletonAdaIN,
    SpatialFlip,
    TemporalCrop,
    TimeReverse,
    Transform,
)

N, T, V, M = 6, 12, 25, 2
NTU = SKELETONS["ntu25"]
MANY = 4000  # sequences, for statistics: the deviation of a share is below 0.008


def subclasses(kind: type[Transform]) -> Iterator[type[Transform]]:
    for child in kind.__subclasses__():
        yield child
        yield from subclasses(child)


ALL = [
    kind for kind in subclasses(Transform) if kind.__module__ == transforms.__name__ and not inspect.isabstract(kind)
]
every_transform = pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)


def sequences(n: int = N, t: int = T, v: int = V, dtype: torch.dtype = torch.float64) -> Tensor:
    """(N, 3, T, V, M); the second body of every third sequence is absent."""
    x = torch.randn(n, 3, t, v, M, dtype=dtype, generator=torch.Generator().manual_seed(0))
    x[::3, ..., 1] = 0
    return x


def graphs(n: int = N, dtype: torch.dtype = torch.float64) -> Tensor:
    """Edges (B, S, V, V), of graphs with weights; the last subset of every third body has none."""
    chance = torch.Generator().manual_seed(0)
    x = torch.from_numpy(NTU.adjacency()).to(dtype) * (0.5 + torch.rand(n, 3, V, V, dtype=dtype, generator=chance))
    x[::3, 2] = 0
    return x


def fitting(kind: type[Transform], n: int = N, t: int = T, dtype: torch.dtype = torch.float64) -> Tensor:
    """What a transform works on: sequences, or edges."""
    return graphs(n, dtype) if kind.place == "edges" else sequences(n, t, dtype=dtype)


def absent(kind: type[Transform], x: Tensor) -> Tensor:
    """The part of `fitting` that is not there."""
    return x[::3, 2] if kind.place == "edges" else x[::3, ..., 1]


def in_use(kind: type[Transform]) -> Transform:
    """With its own defaults, sure to be applied; a learnt value that is not 0."""
    transform = kind()
    transform.p = 1.0
    for parameter in transform.parameters():
        torch.nn.init.constant_(parameter, 0.37)
    return transform


def drawn_for(transform: Transform, x: Tensor) -> Params:
    """All that `transform.transform` needs; the encoder says what an added edge weighs."""
    params = transform.make_params(x)
    return params | {"value": x.new_full((len(x), 1, 1, 1), 0.8)} if transform.place == "edges" else params


def row(params: Params, n: int) -> Params:
    return {name: value[n : n + 1] for name, value in params.items()}


# --- the contract of all transforms ---------------------------------------------------------------


def test_the_walk_finds_them() -> None:
    assert len(ALL) == 11 and {Shear, RandomMask, SkeletonAdaIN, DropAddEdges} <= set(ALL)


@every_transform
def test_all_parameters_have_the_sequences_in_front(kind: type[Transform]) -> None:
    params = in_use(kind).make_params(fitting(kind))
    assert "applied" in params
    assert all(len(value) == N for value in params.values())


@every_transform
@pytest.mark.parametrize("p", [1.0, 0.5])
def test_the_batch_equals_each_sequence_alone(kind: type[Transform], p: float) -> None:
    torch.manual_seed(3)
    transform, x = in_use(kind), fitting(kind)
    transform.p = p
    params = drawn_for(transform, x)
    batch = transform.transform(x, **params)
    for n in range(N):
        torch.testing.assert_close(transform.transform(x[n : n + 1], **row(params, n))[0], batch[n])


@every_transform
def test_sequences_are_changed_where_applied_and_nowhere_else_to_the_last_bit(kind: type[Transform]) -> None:
    torch.manual_seed(3)
    transform, x = in_use(kind), fitting(kind, dtype=torch.float32)
    params = drawn_for(transform, x)
    changed = transform.transform(x, **params)
    applied = torch.arange(N) % 2 == 0
    out = transform.transform(x, **params | {"applied": applied})
    assert torch.equal(out[applied], changed[applied]) and torch.equal(out[~applied], x[~applied])


@pytest.mark.parametrize("kind", [kind for kind in ALL if kind.place != "edges"])
def test_autocast_does_not_round_the_coordinates(kind: type[Transform]) -> None:
    transform, x = in_use(kind), sequences(dtype=torch.float32)
    torch.manual_seed(3)
    plain = transform(x)
    torch.manual_seed(3)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(transform(x), plain)


@every_transform
def test_what_is_drawn_is_all_the_chance_there_is(kind: type[Transform]) -> None:
    transform, x = in_use(kind), fitting(kind)
    params = drawn_for(transform, x)
    state = torch.get_rng_state()
    first = transform.transform(x, **params)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(transform.transform(x, **params), first)


@every_transform
def test_it_changes_what_is_there_and_leaves_what_is_absent_zero(kind: type[Transform]) -> None:
    torch.manual_seed(3)
    transform, x = in_use(kind), fitting(kind)
    for _ in range(5):
        out = transform(x)
        assert not absent(kind, out).any()
        assert not torch.equal(out, x)


@every_transform
def test_p_0_is_the_identity(kind: type[Transform]) -> None:
    transform, x = in_use(kind), fitting(kind)
    transform.p = 0.0
    assert torch.equal(transform(x), x)


@every_transform
def test_same_seed_same_result_other_seed_other_result(kind: type[Transform]) -> None:
    transform, x = in_use(kind), fitting(kind)
    transform.p = 0.5  # so that even a transform without other draws has a chance
    results = []
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        results.append(torch.stack([transform(x) for _ in range(4)]))
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


@every_transform
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_shape_type_and_input_are_kept(kind: type[Transform], dtype: torch.dtype) -> None:
    x = fitting(kind, dtype=dtype)
    before = x.clone()
    out = in_use(kind)(x)
    assert out.shape == x.shape and out.dtype == dtype
    assert torch.equal(x, before)


@every_transform
def test_p_is_the_share_of_sequences_that_change(kind: type[Transform]) -> None:
    torch.manual_seed(0)
    transform, x = in_use(kind), fitting(kind, 400, t=6)
    transform.p = 0.3
    changed = (transform(x) != x).flatten(1).any(1).double().mean()
    # a crop may start where the sequence does: one draw in 2 * padding + 1 changes nothing
    share = 0.3 * (2 / 3 if kind is TemporalCrop else 1)
    assert abs(changed - share) < 0.1


@every_transform
@pytest.mark.parametrize("p", [-0.1, 1.5])
def test_p_outside_0_to_1_is_refused(kind: type[Transform], p: float) -> None:
    with pytest.raises(ValueError, match=rf"{kind.__name__}: p must lie in 0\.\.1, got {p}"):
        kind(p=p)


@every_transform
def test_one_frame_of_one_sequence_is_enough(kind: type[Transform]) -> None:
    needed = 2 if kind is SkeletonAdaIN else 1  # style comes from another one
    assert in_use(kind)(fitting(kind, needed + 1, t=1)[1:]).isfinite().all()


# --- what is drawn --------------------------------------------------------------------------------


def drawn(transform: Transform, n: int = MANY, t: int = T, v: int = 1) -> dict[str, Tensor]:
    torch.manual_seed(0)
    return transform.make_params(sequences(n, t, v))


def assert_uniform(values: Tensor, low: float, high: float) -> None:
    """Inside the range, filling it, mean and deviation of a uniform distribution."""
    span = high - low
    assert values.min() >= low and values.max() <= high
    assert values.min() < low + 0.02 * span and values.max() > high - 0.02 * span
    assert abs(values.mean() - (low + high) / 2) < 0.05 * span
    assert abs(values.std() - span / 12**0.5) < 0.02 * span


@pytest.mark.parametrize("amplitude", [0.5, 0.2])
def test_shear_draws(amplitude: float) -> None:
    matrix = drawn(Shear(amplitude))["matrix"]
    assert matrix.shape == (MANY, 3, 3)
    assert torch.equal(matrix.diagonal(dim1=1, dim2=2), torch.ones(MANY, 3, dtype=matrix.dtype))
    off_diagonal = matrix[:, ~torch.eye(3, dtype=torch.bool)]
    for entry in off_diagonal.unbind(1):
        assert_uniform(entry, -amplitude, amplitude)
    assert (torch.corrcoef(off_diagonal.T) - torch.eye(6)).abs().max() < 0.1


def test_shear_default_is_the_papers() -> None:
    assert Shear().amplitude == 0.5 and Shear().p == 1.0


@pytest.mark.parametrize(("frames", "padding"), [(50, 8), (12, 2), (5, 0)])
def test_temporal_crop_draws_each_start(frames: int, padding: int) -> None:
    start = drawn(TemporalCrop(), t=frames)["start"]
    counts = Counter(start.tolist())
    assert sorted(counts) == list(range(2 * padding + 1))
    assert min(counts.values()) > 0.7 * MANY / (2 * padding + 1)


def test_temporal_crop_pads_with_what_it_draws_for() -> None:
    x = sequences(t=50)
    expected = functional.temporal_window(x, torch.arange(N), 8)
    applied = torch.ones(N, dtype=torch.bool)
    assert torch.equal(TemporalCrop().transform(x, applied=applied, start=torch.arange(N)), expected)


def test_rotate_draws_one_main_axis() -> None:
    degrees = drawn(Rotate())["degrees"]
    assert degrees.shape == (MANY, 3)
    assert degrees.min() >= 0 and degrees.max() <= 30
    assert (degrees > 1).sum(1).max() == 1
    main = degrees[(degrees > 1).any(1)]  # all but one in thirty show their main axis
    counts = torch.bincount(main.argmax(1), minlength=3)
    assert counts.sum() > 0.94 * MANY and counts.min() > 0.3 * MANY
    assert_uniform(torch.cat([main.amax(1), degrees[(degrees <= 1).all(1)].amax(1)]), 0, 30)
    others = main.scatter(1, main.argmax(1, keepdim=True), torch.nan)
    assert_uniform(others[~others.isnan()], 0, 1)


def test_noise_draws() -> None:
    noise = drawn(GaussianNoise(p=1.0), n=200, v=V)["noise"]
    assert noise.shape == (200, 3, T, V, M)
    assert abs(noise.std() - 0.01) < 1e-4 and abs(noise.mean()) < 1e-4
    assert noise.flatten(1).unique(dim=0).shape[0] == 200


def test_noise_is_normal() -> None:
    values = drawn(GaussianNoise(std=2.0, p=1.0), n=200, v=V)["noise"].flatten() / 2
    assert (values.unique(return_counts=True)[1] < 60).all()  # of 360,000 values each quantile has 5.5
    for deviations, share in ((-3.0, 0.00135), (-1.0, 0.15866), (0.0, 0.5), (0.5, 0.69146), (2.0, 0.97725)):
        assert abs((values < deviations).double().mean() - share) < 4 * (share * (1 - share) / len(values)) ** 0.5
    assert (
        abs(torch.corrcoef(values.view(2, -1))[0, 1]) < 0.01 and abs(torch.corrcoef(values.view(-1, 2).T)[0, 1]) < 0.01
    )


def test_noise_is_drawn_for_the_sequences_that_get_it() -> None:
    params = drawn(GaussianNoise(), n=200, v=V)
    assert torch.equal(params["noise"].flatten(1).all(1), params["applied"])
    assert torch.equal(params["noise"].flatten(1).any(1), params["applied"])


def test_blur_draws() -> None:
    assert_uniform(drawn(GaussianBlur())["sigma"], 0.1, 2.0)
    assert not GaussianBlur().normalize  # what the published numbers were made with


def test_axis_mask_draws() -> None:
    counts = torch.bincount(drawn(AxisMask())["axis"], minlength=3)
    assert len(counts) == 3 and counts.min() > 0.3 * MANY


@pytest.mark.parametrize("kind", [SpatialFlip, GaussianNoise, GaussianBlur, AxisMask, TimeReverse])
def test_half_of_the_sequences_by_default(kind: type[Transform]) -> None:
    assert abs(drawn(kind())["applied"].double().mean() - 0.5) < 0.05


@pytest.mark.parametrize("kind", [Shear, TemporalCrop, Rotate, RandomMask, SkeletonAdaIN])
def test_always_by_default(kind: type[Transform]) -> None:
    transform = kind()
    assert drawn(transform, n=50, v=V)["applied"].all()


@pytest.mark.parametrize(("joints", "ratio", "hidden"), [(25, 0.1, 2), (20, 0.1, 2), (25, 0.5, 12), (10, 0.1, 1)])
def test_random_mask_draws_as_many_joints_in_each_frame(joints: int, ratio: float, hidden: int) -> None:
    masked = drawn(RandomMask(ratio), n=200, v=joints)["masked"]
    assert masked.shape == (200, T, joints) and masked.dtype == torch.bool
    assert (masked.sum(2) == hidden).all()
    shares = masked.double().mean((0, 1))
    assert (shares - hidden / joints).abs().max() < 0.05
    assert masked.flatten(1).unique(dim=0).shape[0] == 200  # each sequence its own
    assert masked[0].unique(dim=0).shape[0] > 1  # each frame its own


def test_random_mask_draws_every_set_of_joints_alike() -> None:
    masked = drawn(RandomMask(0.6), v=5)["masked"].flatten(0, 1)
    sets, counts = masked.unique(dim=0, return_counts=True)
    assert len(sets) == 10  # 3 of 5
    assert (counts / len(masked) - 0.1).abs().max() < 0.01


def test_random_mask_shared_by_the_batch_on_request() -> None:
    masked = drawn(RandomMask(shared_draw=True), n=20, v=V)["masked"]
    assert masked.shape == (20, T, V) and (masked == masked[0]).all()


def test_adain_draws_one_shift_for_the_batch_and_no_one_gets_his_own_style() -> None:
    torch.manual_seed(0)
    x, transform, shifts = sequences(), SkeletonAdaIN(), Counter[int]()
    for _ in range(1000):
        style = transform.make_params(x)["style"]
        (shift,) = [shift for shift in range(N) if torch.equal(style, x.roll(shift, 0))]
        shifts[shift] += 1
    assert sorted(shifts) == list(range(1, N)) and min(shifts.values()) > 0.7 * 1000 / (N - 1)


# --- single transforms ----------------------------------------------------------------------------


def test_random_mask_value_gets_its_gradient_from_what_is_masked_alone() -> None:
    mask, x = RandomMask(0.3), sequences()
    assert mask.value.tolist() == [0.0]
    params = mask.make_params(x)
    weight = torch.randn_like(x)
    out = mask.transform(x, **params)
    (out * weight).sum().backward()
    hidden = params["masked"][:, None, :, :, None] & functional.present(x)
    assert torch.equal(out != x, hidden.expand_as(x))
    assert mask.value.grad is not None
    torch.testing.assert_close(mask.value.grad.double(), (weight * hidden).sum().view(1), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", [RandomMask, GaussianNoise])
def test_published_code_touches_absent_bodies_on_request(kind: type[Transform]) -> None:
    transform = kind(absent_bodies=True, p=1.0)  # type: ignore[call-arg]
    for parameter in transform.parameters():
        torch.nn.init.constant_(parameter, 0.37)
    out = transform(sequences())
    assert (out[::3, ..., 1] != 0).flatten(1).any(1).all()


@pytest.mark.parametrize("ratio", [0.0, -0.1, 1.0, 2.0])
def test_random_mask_ratio_is_checked(ratio: float) -> None:
    with pytest.raises(ValueError, match=f"ratio must lie between 0 and 1, got {ratio}"):
        RandomMask(ratio)


@pytest.mark.parametrize("statistics", ["sequence", "frame"])
def test_adain_takes_over_the_statistics_of_its_neighbour(statistics: Any) -> None:
    x = 3 * sequences()[1:3] + 1  # two sequences with both bodies: the neighbour is the other one
    out = SkeletonAdaIN(statistics)(x)
    dims = (2, 3) if statistics == "sequence" else (3,)
    torch.testing.assert_close(out.mean(dims), x.flip(0).mean(dims))
    torch.testing.assert_close(out.std(dims), x.flip(0).std(dims), rtol=1e-4, atol=0)
    correlation = torch.corrcoef(torch.stack([out[0, 0, 0, :, 0], x[0, 0, 0, :, 0]]))[0, 1]
    assert correlation > 0.9999  # its own shape remains


def test_adain_needs_another_sequence() -> None:
    with pytest.raises(ValueError, match="from another sequence: use batches of 2 or more"):
        SkeletonAdaIN()(sequences(1))


def test_adain_statistics_are_checked() -> None:
    unknown: Any = "joint"
    with pytest.raises(ValueError, match="unknown statistics 'joint': choose one of sequence, frame"):
        SkeletonAdaIN(unknown)


def test_time_reverse_twice_is_the_identity() -> None:
    reverse, x = TimeReverse(p=1.0), sequences()
    assert torch.equal(reverse(reverse(x)), x) and torch.equal(reverse(x), x.flip(2))


def test_spatial_flip_takes_its_pairs_from_the_skeleton() -> None:
    assert SpatialFlip("kinect20").pairs == SKELETONS["kinect20"].mirror_pairs
    x = sequences()
    assert torch.equal(SpatialFlip(p=1.0)(x), functional.mirror(x, NTU.mirror_pairs))


BAD_RANGES: dict[str, Any] = {
    "Shear amplitude": lambda: Shear(amplitude=-0.5),
    "TemporalCrop below 0": lambda: TemporalCrop(ratio=-0.5),
    "TemporalCrop beyond the sequence": lambda: TemporalCrop(ratio=3.0),
    "GaussianBlur sigma 0": lambda: GaussianBlur(low=0.0, high=0.0),
    "GaussianBlur upside down": lambda: GaussianBlur(low=2.0, high=1.0),
}


@pytest.mark.parametrize("name", BAD_RANGES)
def test_a_range_that_cannot_work_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=name.split()[0]):
        BAD_RANGES[name]()(sequences())
