"""Chance: a contract that every transform keeps, what each one draws, and how views grow."""

from __future__ import annotations

import inspect
import itertools
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from hiclr import functional, transforms
from hiclr.functional import Stream
from hiclr.skeleton import SKELETONS, Skeleton
from hiclr.transforms import (
    AUGMENTATION_SETS,
    AxisMask,
    GaussianBlur,
    GaussianNoise,
    RandomMask,
    Rotate,
    Shear,
    SpatialFlip,
    TemporalCrop,
    TimeReverse,
    Transform,
    View,
    growing_views,
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


def in_use(kind: type[Transform]) -> Transform:
    """With its own defaults, sure to be applied; a learnt value that is not 0."""
    transform = kind()
    transform.p = 1.0
    for parameter in transform.parameters():
        torch.nn.init.constant_(parameter, 0.37)
    return transform


def row(params: dict[str, Tensor], n: int) -> dict[str, Tensor]:
    return {name: value[n : n + 1] for name, value in params.items()}


# --- the contract of all transforms ---------------------------------------------------------------


def test_the_walk_finds_them() -> None:
    assert {Shear, TemporalCrop, SpatialFlip, Rotate, GaussianNoise, GaussianBlur, AxisMask, RandomMask} <= set(ALL)


@every_transform
def test_all_parameters_have_the_sequences_in_front(kind: type[Transform]) -> None:
    params = in_use(kind).make_params(sequences())
    assert "applied" in params
    assert all(len(value) == N for value in params.values())


@every_transform
@pytest.mark.parametrize("p", [1.0, 0.5])
def test_the_batch_equals_each_sequence_alone(kind: type[Transform], p: float) -> None:
    torch.manual_seed(3)
    transform, x = in_use(kind), sequences()
    transform.p = p
    params = transform.make_params(x)
    batch = transform.transform(x, **params)
    for n in range(N):
        torch.testing.assert_close(transform.transform(x[n : n + 1], **row(params, n))[0], batch[n])


@every_transform
def test_what_is_drawn_is_all_the_chance_there_is(kind: type[Transform]) -> None:
    transform, x = in_use(kind), sequences()
    params = transform.make_params(x)
    state = torch.get_rng_state()
    first = transform.transform(x, **params)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(transform.transform(x, **params), first)


@every_transform
def test_it_changes_what_is_there_and_leaves_an_absent_body_zero(kind: type[Transform]) -> None:
    torch.manual_seed(3)
    transform, x = in_use(kind), sequences()
    for _ in range(5):
        out = transform(x)
        assert not out[::3, ..., 1].any()
        assert not torch.equal(out, x)


@every_transform
def test_p_0_is_the_identity(kind: type[Transform]) -> None:
    transform, x = in_use(kind), sequences()
    transform.p = 0.0
    assert torch.equal(transform(x), x)


@every_transform
def test_same_seed_same_result_other_seed_other_result(kind: type[Transform]) -> None:
    transform, x = in_use(kind), sequences()
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
    x = sequences(dtype=dtype)
    before = x.clone()
    out = in_use(kind)(x)
    assert out.shape == x.shape and out.dtype == dtype
    assert torch.equal(x, before)


@every_transform
def test_p_is_the_share_of_sequences_that_change(kind: type[Transform]) -> None:
    torch.manual_seed(0)
    transform, x = in_use(kind), sequences(400, t=6)
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
def test_one_frame_and_one_sequence_are_enough(kind: type[Transform]) -> None:
    x = sequences(2)[1:, :, :1]
    assert in_use(kind)(x).isfinite().all()


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
    noise = drawn(GaussianNoise(), n=200, v=V)["noise"]
    assert noise.shape == (200, 3, T, V, M)
    assert abs(noise.std() - 0.01) < 1e-4 and abs(noise.mean()) < 1e-4
    assert noise.flatten(1).unique(dim=0).shape[0] == 200


def test_blur_draws() -> None:
    assert_uniform(drawn(GaussianBlur())["sigma"], 0.1, 2.0)
    assert not GaussianBlur().normalize  # what the published numbers were made with


def test_axis_mask_draws() -> None:
    counts = torch.bincount(drawn(AxisMask())["axis"], minlength=3)
    assert len(counts) == 3 and counts.min() > 0.3 * MANY


@pytest.mark.parametrize("kind", [SpatialFlip, GaussianNoise, GaussianBlur, AxisMask, TimeReverse])
def test_half_of_the_sequences_by_default(kind: type[Transform]) -> None:
    assert abs(drawn(kind())["applied"].double().mean() - 0.5) < 0.05


@pytest.mark.parametrize("kind", [Shear, TemporalCrop, Rotate, RandomMask])
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


def test_random_mask_shared_by_the_batch_on_request() -> None:
    masked = drawn(RandomMask(shared_draw=True), n=20, v=V)["masked"]
    assert masked.shape == (20, T, V) and (masked == masked[0]).all()


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


# --- growing views --------------------------------------------------------------------------------


def parts(view: View) -> list[Transform]:
    """In the order in which they are applied."""
    return [module for module in view.modules() if isinstance(module, Transform)]


def kinds(view: View) -> list[type[Transform]]:
    return [type(transform) for transform in parts(view)]


BA = [Shear, TemporalCrop]
NA = [SpatialFlip, Rotate, GaussianNoise, GaussianBlur, AxisMask]


@pytest.mark.parametrize("arrangement", ["BA,NA,Mask", "BA, NA, Mask", ["BA", "NA", "Mask"], ("BA", "NA", "Mask")])
def test_each_level_holds_all_sets_up_to_its_own(arrangement: Any) -> None:
    views = growing_views(arrangement, NTU)
    assert [kinds(view) for view in views] == [BA, BA + NA, [*BA, *NA, RandomMask]]


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_as_many_views_as_levels(levels: int) -> None:
    assert len(growing_views(["BA", "NA", "Mask"][:levels], NTU)) == levels


def test_levels_share_their_transforms() -> None:
    views = growing_views("BA,NA,Mask,NA", NTU)
    for weaker, stronger in itertools.pairwise(views):
        assert set(parts(weaker)) < set(parts(stronger))
    masks = {id(parameter) for view in views for parameter in view.parameters()}
    assert len(masks) == 1
    assert len(list(torch.nn.ModuleList(views).parameters())) == 1


def test_two_callings_share_nothing() -> None:
    first, second = growing_views("BA,Mask", NTU)[1], growing_views("BA,Mask", NTU)[1]
    assert not set(parts(first)) & set(parts(second))


def test_own_transforms_and_published_sets_mix() -> None:
    mask, reverse = RandomMask(0.5), TimeReverse(1.0)
    views = growing_views(["BA", [mask, reverse], [Shear(0.1)]], NTU)
    assert [kinds(view) for view in views] == [
        BA,
        [*BA, TimeReverse, RandomMask],
        [*BA, TimeReverse, Shear, RandomMask],
    ]
    assert parts(views[1])[-1] is mask and parts(views[2])[-1] is mask


@pytest.mark.parametrize("name", AUGMENTATION_SETS)
def test_every_published_set_can_stand_alone(name: str) -> None:
    (view,) = growing_views([name], NTU)
    assert view(sequences()).shape == (N, 3, T, V, M)


class Twice(Transform):
    """Doubles the joints, and remembers what it saw."""

    def __init__(self) -> None:
        super().__init__(1.0)

    def change(self, x: Tensor, **params: Tensor) -> Tensor:
        self.seen = x
        return 2 * x


class PlusOne(Twice):
    """Adds 1 to the stream."""

    place = "stream"

    def change(self, x: Tensor, **params: Tensor) -> Tensor:
        self.seen = x
        return x + 1


@pytest.mark.parametrize("stream", ["joint", "motion", "bone"])
def test_the_stream_is_computed_after_the_joints_are_augmented_and_before_the_mask(stream: Stream) -> None:
    before, after = Twice(), PlusOne()
    (view,) = growing_views([[after, before]], NTU, stream)
    x = sequences()
    out = view(x)
    assert torch.equal(before.seen, x)
    assert torch.equal(after.seen, functional.to_stream(2 * x, stream, NTU.parents))
    assert torch.equal(out, after.seen + 1)


@pytest.mark.parametrize("stream", ["joint", "motion", "bone"])
def test_random_mask_hides_values_of_the_stream(stream: Stream) -> None:
    mask = RandomMask(0.5)
    torch.nn.init.constant_(mask.value, 9.0)
    (view,) = growing_views([[mask]], NTU, stream)
    x = sequences()
    out, unmasked = view(x), functional.to_stream(x, stream, NTU.parents)
    hidden = out == 9
    assert hidden.any() and torch.equal(out[~hidden], unmasked[~hidden])
    assert (hidden[1].all(0) == hidden[1].any(0)).all()  # all coordinates of a joint, or none


def test_views_are_fresh_draws() -> None:
    views = growing_views("BA,NA", NTU)
    x = sequences()
    assert not torch.equal(views[0](x), views[0](x))


def test_views_fit_the_skeleton() -> None:
    kinect = SKELETONS["kinect20"]
    view = growing_views("BA,NA,Mask", kinect)[-1]
    (flip,) = [transform for transform in parts(view) if isinstance(transform, SpatialFlip)]
    assert flip.pairs == kinect.mirror_pairs
    assert view(sequences(v=20)).shape == (N, 3, T, 20, M)
    assert growing_views("NA", "kinect20")[0].parents == kinect.parents


def test_own_flip_keeps_its_probability() -> None:
    (view,) = growing_views([[SpatialFlip(p=0.9)]], "kinect20")
    assert parts(view)[0].p == 0.9


@pytest.mark.parametrize("arrangement", [[], ()])
def test_empty_arrangement_is_refused(arrangement: Any) -> None:
    with pytest.raises(ValueError, match="at least one set of augmentations"):
        growing_views(arrangement, NTU)


@pytest.mark.parametrize("arrangement", ["BA,Strong", ["BA", "Strong"]])
def test_unknown_set_names_the_known_ones(arrangement: Any) -> None:
    with pytest.raises(ValueError, match=r"unknown augmentation set 'Strong': choose one of BA, NA, Mask"):
        growing_views(arrangement, NTU)


def test_a_mask_that_would_hide_no_joint_says_what_would() -> None:
    small = Skeleton("small", ("a", "b", "c", "d", "e"), (-1, 0, 0, 1, 2))
    with pytest.raises(ValueError, match=r"ratio 0\.1 of 5 joints hides none: use at least 0\.200"):
        growing_views(["Mask"], small)
    view = growing_views([[RandomMask(0.2)]], small)[0]
    torch.nn.init.constant_(parts(view)[0].value, 9.0)
    assert ((view(sequences(v=5))[1] == 9).all(0).sum(1) == 1).all()
