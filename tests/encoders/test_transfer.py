"""Trained weights on other joints and under other settings: what goes along is bit-equal, what does not is known."""

from __future__ import annotations

import copy
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hiclr.encoders.base import Encoder
from hiclr.encoders.dsta import DSTA
from hiclr.encoders.stgcn import STGCN
from hiclr.encoders.transfer import carried_over, estimate_statistics, fresh, graph_norms, graph_tensors, with_settings
from hiclr.skeleton import SKELETONS, Skeleton

KINECT, NTU = SKELETONS["kinect20"], SKELETONS["ntu25"]
KINDS = [
    pytest.param(lambda skeleton: STGCN(skeleton, 2, 0.3, "spatial"), id="stgcn"),
    pytest.param(lambda skeleton: DSTA(skeleton, 12, 0.3, base_channels=4), id="dsta"),
]
every_kind = pytest.mark.parametrize("kind", KINDS)


def trained(kind: Any, skeleton: Skeleton = KINECT) -> Encoder:
    """An encoder none of whose weights and statistics is as it was made; the adjacency alone is."""
    torch.manual_seed(3)
    encoder: Encoder = kind(skeleton)
    with torch.no_grad():
        for name, tensor in encoder.state_dict().items():
            if name != "adjacency" and tensor.is_floating_point():
                tensor.copy_(
                    torch.rand_like(tensor) + 0.5 if "var" in name else tensor + 0.1 * torch.randn_like(tensor)
                )
    return encoder.eval()


def poses(skeleton: Skeleton, n: int = 3) -> Tensor:
    return torch.randn(n, 3, 12, skeleton.num_joints, 2, generator=torch.Generator().manual_seed(1))


def permuted(skeleton: Skeleton, order: list[int]) -> Skeleton:
    """The same joints and bones, listed in another order: `order[new] = old`."""
    names = tuple(skeleton.joint_names[old] for old in order)
    parents = tuple(-1 if skeleton.parents[old] == -1 else order.index(skeleton.parents[old]) for old in order)
    return Skeleton("permuted", names, parents)


# --- the same joints ------------------------------------------------------------------------------


@every_kind
def test_the_same_joints_under_another_name_are_the_same_encoder(kind: Any) -> None:
    encoder = trained(kind)
    x = poses(KINECT)
    before = encoder(x)
    moved, re_made = carried_over(encoder, replace(KINECT, name="mine", shoulders=("shoulder_left", "shoulder_right")))
    assert moved is encoder and re_made == ()
    assert torch.equal(moved(x), before)


# --- other joints ---------------------------------------------------------------------------------


@every_kind
def test_all_that_does_not_depend_on_the_joints_is_carried_over_bit_by_bit(kind: Any) -> None:
    encoder = trained(kind)
    original = copy.deepcopy(encoder.state_dict())
    moved, re_made = carried_over(encoder, NTU)
    assert type(moved) is type(encoder) and moved.settings == encoder.settings and not moved.training
    after = moved.state_dict()
    graph = {name for name in original if any(fnmatchcase(name, pattern) for pattern in re_made)}
    assert graph and after.keys() == original.keys()
    for name in original.keys() - graph:
        assert torch.equal(after[name], original[name]), name
    for name, value in encoder.state_dict().items():
        assert torch.equal(value, original[name]), f"{name} of the encoder itself"
    assert moved(poses(NTU)).shape == (3, encoder.feature_dim)


@every_kind
def test_what_depends_on_the_joints_is_as_in_an_untrained_encoder_without_chance(kind: Any) -> None:
    encoder = trained(kind)
    torch.manual_seed(0)
    moved, _ = carried_over(encoder, NTU)
    torch.manual_seed(1)
    again, _ = carried_over(encoder, NTU)
    new = graph_tensors(kind(NTU))
    for name, tensor in graph_tensors(moved).items():
        assert torch.equal(tensor, graph_tensors(again)[name]), name
        if name == "input_norm.weight":
            assert torch.equal(tensor, torch.ones(3 * 25))
        else:
            assert torch.equal(tensor, new[name]), name


@every_kind
def test_graph_tensors_are_those_that_another_skeleton_changes(kind: Any) -> None:
    """Those of another shape, and the counter beside the statistics of the input."""
    one, other = kind(KINECT), kind(NTU)
    sizes = {name: tensor.shape for name, tensor in [*other.named_parameters(), *other.named_buffers()]}
    differ = {name for name, tensor in [*one.named_parameters(), *one.named_buffers()] if tensor.shape != sizes[name]}
    of_graph = set(graph_tensors(one))
    assert differ <= of_graph and of_graph - differ <= {"input_norm.num_batches_tracked"}


@every_kind
def test_another_order_of_the_joints_loses_only_what_is_made_anew(kind: Any) -> None:
    """An encoder whose graph part is untrained (and, for attention, that does not tell joints apart) loses nothing."""
    encoder = trained(kind)
    untrained = graph_tensors(kind(KINECT))
    for name, tensor in graph_tensors(encoder).items():
        tensor.data.copy_(torch.ones_like(tensor) if name == "input_norm.weight" else untrained[name])
    order = np.random.default_rng(0).permutation(20).tolist()
    moved, _ = carried_over(encoder, permuted(KINECT, order))
    for network in (encoder, moved):
        for name, buffer in network.named_buffers():
            if name.endswith("encoding"):
                buffer.zero_()
    x = poses(KINECT)
    torch.testing.assert_close(moved(x[:, :, :, order]), encoder(x), rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        for name, tensor in encoder.named_parameters():
            if "importance" in name or "global_map" in name:
                tensor[..., 3] += 0.5
    lost, _ = carried_over(encoder, permuted(KINECT, order))
    assert not torch.allclose(lost(x[:, :, :, order]), encoder(x), rtol=1e-3, atol=1e-4)


def test_other_parents_are_another_skeleton() -> None:
    parents = list(KINECT.parents)
    parents[KINECT.index("head")] = KINECT.index("spine")
    other = Skeleton("kinect20", KINECT.joint_names, tuple(parents))
    moved, re_made = carried_over(trained(lambda skeleton: STGCN(skeleton, 1)), other)
    assert re_made == STGCN.graph_tensors
    np.testing.assert_array_equal(moved.state_dict()["adjacency"].numpy(), other.adjacency("published"))


class Silent(Encoder):
    """Depends on the joints and does not say so."""

    def __init__(self, skeleton: Skeleton) -> None:
        super().__init__(skeleton, 4, {})
        self.map = nn.Linear(3 * skeleton.num_joints, 4)

    def feature_map(self, x: Tensor, edges: Any = None) -> Tensor:
        raise NotImplementedError


def test_an_encoder_that_does_not_say_what_depends_on_the_joints_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Silent cannot move to the skeleton 'ntu25': map\.weight depends on the joi"):
        carried_over(Silent(KINECT), NTU)


# --- statistics -----------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [1, 4, 7])
def test_statistics_are_those_of_all_sequences_however_batched(batch: int) -> None:
    moved, _ = carried_over(trained(lambda skeleton: STGCN(skeleton, 1)), NTU)
    assert isinstance(moved, STGCN)
    before = copy.deepcopy(moved.state_dict())
    x = poses(NTU, 7) * 2 + torch.arange(25)[:, None]
    estimate_statistics(moved, x.split(batch))
    for joint in range(25):
        for axis in range(3):
            values = x[:, axis, :, joint, :].double().numpy()
            channel = 3 * joint + axis
            np.testing.assert_allclose(moved.input_norm.running_mean[channel], values.mean(), rtol=1e-5)
            np.testing.assert_allclose(moved.input_norm.running_var[channel], values.var(ddof=1), rtol=1e-5)
    for name, value in moved.state_dict().items():
        assert name in ("input_norm.running_mean", "input_norm.running_var") or torch.equal(value, before[name]), name
    assert not moved.training
    first = {name: value.clone() for name, value in moved.state_dict().items()}
    moved(x + 1)  # nothing goes on counting
    assert all(torch.equal(value, first[name]) for name, value in moved.state_dict().items())


@pytest.mark.parametrize("batch", [7, 3, 1])
def test_statistics_count_every_absent_body(batch: int) -> None:
    """Those of a batch are encoded once."""
    moved, _ = carried_over(trained(lambda skeleton: STGCN(skeleton, 1)), NTU)
    x = poses(NTU, 7) + 2
    x[:5, ..., 1] = 0
    estimate_statistics(moved, x.split(batch))
    values = x.double().permute(3, 1, 0, 2, 4).flatten(0, 1).flatten(1).numpy()  # (V*C, N*T*M)
    (norm,) = graph_norms(moved)
    np.testing.assert_allclose(norm.running_mean, values.mean(1), rtol=1e-5)
    np.testing.assert_allclose(norm.running_var, values.var(1, ddof=1), rtol=1e-5)


def test_a_joint_that_never_moves_is_no_trouble() -> None:
    moved, _ = carried_over(trained(lambda skeleton: STGCN(skeleton, 1)), NTU)
    x = poses(NTU)
    x[:, :, :, 20] = 1 / 3
    estimate_statistics(moved, [x])
    assert moved(x).isfinite().all() and (graph_norms(moved)[0].running_var >= 0).all()


def test_statistics_of_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="no sequences to estimate"):
        estimate_statistics(STGCN(width=1), [])


# --- other settings -------------------------------------------------------------------------------


@every_kind
def test_other_settings_leave_the_weights(kind: Any) -> None:
    encoder = trained(kind)
    name = "dropout" if isinstance(encoder, STGCN) else "attention_dropout"
    other = with_settings(encoder, {name: 0.75})
    assert other.settings == {**encoder.settings, name: 0.75} and encoder.settings[name] == 0.3
    assert {module.p for module in other.modules() if isinstance(module, nn.Dropout)} >= {0.75}
    for key, value in encoder.state_dict().items():
        assert torch.equal(other.state_dict()[key], value), key
    assert torch.equal(other(poses(KINECT)), encoder(poses(KINECT)))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"dropuot": 0.1}, "STGCN has no setting 'dropuot': it has width, dropout, partition, init"),
        ({"skeleton": "ntu25"}, "STGCN has no setting 'skeleton'"),
        ({"width": 3}, r"{'width': 3} would change blocks\.0\.graph\.weight of the trained STGCN"),
        ({"partition": "published"}, "would change adjacency of the trained STGCN"),
        ({"partition": "radial"}, "unknown partition 'radial'"),
        ({"dropout": "much"}, "STGCN cannot be built with {'dropout': 'much'}"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        with_settings(STGCN(KINECT, 1, partition="spatial"), settings)


@every_kind
def test_a_fresh_encoder_is_built_alike_and_drawn_anew(kind: Any) -> None:
    encoder = trained(kind)
    torch.manual_seed(8)
    one = fresh(encoder, NTU)
    torch.manual_seed(8)
    expected = kind(NTU)
    assert one.settings == expected.settings
    for name, value in expected.state_dict().items():
        assert torch.equal(one.state_dict()[name], value), name
