"""How views grow: which transforms each level holds, in which order, and where the stream comes in."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

from hiclr import functional
from hiclr.functional import Stream
from hiclr.skeleton import SKELETONS, Skeleton
from hiclr.transforms import (
    AUGMENTATION_SETS,
    AxisMask,
    DropAddEdges,
    GaussianBlur,
    GaussianNoise,
    RandomMask,
    Rotate,
    Shear,
    SkeletonAdaIN,
    SpatialFlip,
    TemporalCrop,
    TimeReverse,
    Transform,
    View,
    growing_views,
)

N, T, V, M = 6, 12, 25, 2
NTU = SKELETONS["ntu25"]


def sequences(v: int = V) -> Tensor:
    """(N, 3, T, V, M); the second body of every third sequence is absent."""
    x = torch.randn(N, 3, T, v, M, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x[::3, ..., 1] = 0
    return x


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


# the seven of the paper's table: what each level adds
TABLE: dict[str, list[list[type[Transform]]]] = {
    "BA": [],
    "BA,NA": [],
    "BA,NA,Mask": [[RandomMask]],
    "BA,NA,AdaIN": [[SkeletonAdaIN]],
    "BA,NA,DAE": [[DropAddEdges]],
    "BA,NA,DAE,Mask": [[DropAddEdges], [RandomMask]],
    "BA,NA,DAE,AdaIN": [[DropAddEdges], [SkeletonAdaIN]],
}


@pytest.mark.parametrize("arrangement", TABLE)
def test_the_papers_arrangements(arrangement: str) -> None:
    added = [BA, NA, *TABLE[arrangement]][: arrangement.count(",") + 1]
    views = growing_views(arrangement, NTU)
    assert [set(kinds(view)) for view in views] == [set().union(*added[: i + 1]) for i in range(len(added))]
    assert all(len(kinds(view)) == sum(map(len, added[: i + 1])) for i, view in enumerate(views))
    assert all(view(sequences()).isfinite().all() for view in views)


def test_names_joined_by_a_plus_are_one_level() -> None:
    weak, strong = growing_views(["BA", "NA+Mask"], NTU)
    assert kinds(weak) == BA and kinds(strong) == [*BA, *NA, RandomMask]
    (all_in_one,) = growing_views("BA+AdaIN+DAE", NTU)
    assert kinds(all_in_one) == [*BA, SkeletonAdaIN, DropAddEdges]


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


SAID: dict[str, Any] = {
    "Shear(p=1.0, amplitude=0.2)": lambda: Shear(0.2),
    "Rotate(p=1.0, main=5, other=1.0)": lambda: Rotate(5),
    "GaussianBlur(p=0.5, low=0.1, high=2.0, normalize=True)": lambda: GaussianBlur(normalize=True),
    "RandomMask(p=1.0, ratio=0.3, shared_draw=True, absent_bodies=False)": lambda: RandomMask(0.3, shared_draw=True),
    "SkeletonAdaIN(p=1.0, statistics=frame)": lambda: SkeletonAdaIN("frame"),
    "DropAddEdges(p=1.0, drop=0.1, add=0.0)": lambda: DropAddEdges(add=0.0),
}


@pytest.mark.parametrize("said", SAID)
def test_a_view_says_all_that_makes_its_numbers(said: str) -> None:
    """Two runs are taken for the same by these words."""
    (view,) = growing_views([[SAID[said]()]], NTU)
    assert view.steps == [said]


def test_steps_stand_in_the_order_of_a_view() -> None:
    view = growing_views(["DAE+Mask+BA"], NTU)[0]
    assert [step.split("(")[0] for step in view.steps] == ["Shear", "TemporalCrop", "RandomMask", "DropAddEdges"]
