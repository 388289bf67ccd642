"""What is done to a batch, against slow loops written from the formulae, and identities and inverses."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from hiclr import functional
from hiclr.skeleton import SKELETONS

N, T, V, M = 3, 11, 20, 2
SKELETON = SKELETONS["kinect20"]
Array = NDArray[np.float64]


@pytest.fixture
def x() -> Tensor:
    """(N, 3, T, V, M) float64; the second body of the last sequence is absent."""
    x = torch.randn(N, 3, T, V, M, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    x[-1, ..., 1] = 0
    return x


def draws(*shape: int, low: float = 0.0, high: float = 1.0, seed: int = 2) -> Tensor:
    chance = torch.Generator().manual_seed(seed)
    return low + (high - low) * torch.rand(*shape, dtype=torch.float64, generator=chance)


def close(ours: Tensor, slow: Array) -> None:
    np.testing.assert_allclose(ours.numpy(), slow, rtol=1e-9, atol=1e-9)


def body_is_there(x: Array, n: int, m: int) -> bool:
    return bool((x[n, :, :, :, m] != 0).any())


# --- preparation ----------------------------------------------------------------------------------


def slow_resample(x: Array, lengths: list[int], frames: int) -> Array:
    """Linear interpolation at half-pixel centres, edges clamped."""
    out = np.empty((len(x), x.shape[1], frames, *x.shape[3:]))
    for n, length in enumerate(lengths):
        for t in range(frames):
            position = max((t + 0.5) * length / frames - 0.5, 0.0)
            before = min(math.floor(position), length - 1)
            after = min(before + 1, length - 1)
            out[n, :, t] = (1 - (position - before)) * x[n, :, before] + (position - before) * x[n, :, after]
    return out


def slow_face_camera(x: Array, left: int, right: int) -> Array:
    """One angle a body and frame; the sign of the summed depth of the shoulder line, one a body."""
    out = x.copy()
    for n in range(len(x)):
        for m in range(x.shape[4]):
            line = x[n, :, :, right, m] - x[n, :, :, left, m]
            sign = -1.0 if line[2].sum() < 0 else 1.0
            for t in range(x.shape[2]):
                length = math.sqrt(line[0, t] ** 2 + line[2, t] ** 2)
                angle = sign * math.acos(line[0, t] / (length + 1e-4))
                about_y = np.array(
                    [[math.cos(angle), 0, math.sin(angle)], [0, 1, 0], [-math.sin(angle), 0, math.cos(angle)]]
                )
                out[n, :, t, :, m] = about_y @ x[n, :, t, :, m]
    return out


@pytest.mark.parametrize("frames", [1, 4, T, 50])
def test_resample_equals_the_loop(x: Tensor, frames: int) -> None:
    lengths = [T, 7, 1]
    close(functional.resample(x, torch.tensor(lengths), frames), slow_resample(x.numpy(), lengths, frames))


@pytest.mark.parametrize("frames", [3, 50])
def test_resample_equals_torch_interpolate(x: Tensor, frames: int) -> None:
    rows = x.permute(0, 1, 3, 4, 2).flatten(1, 3)
    expected = torch.nn.functional.interpolate(rows, frames, mode="linear", align_corners=False)
    ours = functional.resample(x, torch.full((N,), T), frames).permute(0, 1, 3, 4, 2).flatten(1, 3)
    torch.testing.assert_close(ours, expected)


def test_resample_to_the_same_length_is_the_identity(x: Tensor) -> None:
    torch.testing.assert_close(functional.resample(x, torch.full((N,), T), T), x, rtol=0, atol=1e-14)


def test_resample_never_sees_what_lies_beyond_the_length(x: Tensor) -> None:
    beyond = x.clone()
    beyond[:, :, 6:] = torch.nan
    lengths = torch.full((N,), 6)
    assert torch.equal(functional.resample(beyond, lengths, 50), functional.resample(x, lengths, 50))


def test_face_camera_equals_the_loop(x: Tensor) -> None:
    left, right = SKELETON.shoulder_pair
    close(functional.face_camera(x, (left, right)), slow_face_camera(x.numpy(), left, right))


def test_face_camera_turns_a_steady_shoulder_line_along_x(x: Tensor) -> None:
    x = x[:, :, :1].expand(-1, -1, T, -1, -1)
    left, right = SKELETON.shoulder_pair
    turned = functional.face_camera(x, (left, right))
    line = (turned[:, :, :, right] - turned[:, :, :, left])[..., 0]
    assert (line[:, 0] > 0).all()
    assert (line[:, 2].abs() < 0.05 * line[:, 0]).all()  # the published 1e-4 leaves a little
    torch.testing.assert_close(turned[:, 1], x[:, 1])
    torch.testing.assert_close(turned.norm(dim=1), x.norm(dim=1))


@pytest.mark.parametrize("joint", [0, 7])
def test_centre_puts_the_joint_at_the_origin_and_moves_the_body_as_one(x: Tensor, joint: int) -> None:
    centred = functional.centre(x, joint)
    assert not centred[:, :, :, joint].any()
    for other in (1, 5):
        torch.testing.assert_close(centred[:, :, :, other] - centred[:, :, :, 3], x[:, :, :, other] - x[:, :, :, 3])


# --- augmentation ---------------------------------------------------------------------------------


def slow_shear(x: Array, matrix: Array) -> Array:
    out = np.zeros_like(x)
    for n in range(len(x)):
        for i in range(3):
            for j in range(3):
                out[n, i] += matrix[n, i, j] * x[n, j]
    return out


def slow_rotate(x: Array, degrees: Array) -> Array:
    """The published matrices, applied to each point: about x, then y, then z."""
    out = np.empty_like(x)
    for n in range(len(x)):
        a, b, c = np.deg2rad(degrees[n])
        rx = np.array([[1, 0, 0], [0, math.cos(a), math.sin(a)], [0, -math.sin(a), math.cos(a)]])
        ry = np.array([[math.cos(b), 0, -math.sin(b)], [0, 1, 0], [math.sin(b), 0, math.cos(b)]])
        rz = np.array([[math.cos(c), math.sin(c), 0], [-math.sin(c), math.cos(c), 0], [0, 0, 1]])
        for t, v, m in np.ndindex(x.shape[2:]):
            out[n, :, t, v, m] = rz @ (ry @ (rx @ x[n, :, t, v, m]))
    return out


def slow_window(x: Array, start: list[int], padding: int) -> Array:
    """Builds the mirrored sequence frame by frame, then cuts T frames out."""
    out = np.empty_like(x)
    frames = x.shape[2]
    for n in range(len(x)):
        order = [*reversed(range(padding)), *range(frames), *reversed(range(frames - padding, frames))]
        for t in range(frames):
            out[n, :, t] = x[n, :, order[start[n] + t]]
    return out


def slow_blur(x: Array, sigma: Array, normalize: bool) -> Array:
    out = np.zeros_like(x)
    for n in range(len(x)):
        taps = [math.exp(-((k - 7) ** 2) / (2 * sigma[n] ** 2)) for k in range(15)]
        total = sum(taps) if normalize else 1.0
        for t in range(x.shape[2]):
            for k in range(15):
                if 0 <= t + k - 7 < x.shape[2]:
                    out[n, :, t] += taps[k] / total * x[n, :, t + k - 7]
    return out


def slow_mask_joints(x: Array, masked: NDArray[np.bool_], value: float, absent_bodies: bool) -> Array:
    out = x.copy()
    for n, t, v, m in np.ndindex(len(x), *x.shape[2:]):
        if masked[n, t, v] and (absent_bodies or body_is_there(x, n, m)):
            out[n, :, t, v, m] = value
    return out


def slow_adain(x: Array, style: Array, per_frame: bool) -> Array:
    out = np.zeros_like(x)
    frames = range(x.shape[2]) if per_frame else [slice(None)]
    for n, c, m in np.ndindex(len(x), 3, x.shape[4]):
        if not body_is_there(x, n, m):
            continue
        if not body_is_there(style, n, m):
            out[n, c, :, :, m] = x[n, c, :, :, m]
            continue
        for t in frames:
            content, other = x[n, c, t, :, m], style[n, c, t, :, m]
            deviation = math.sqrt(content.var(ddof=1) + 1e-5)
            style_deviation = math.sqrt(other.var(ddof=1) + 1e-5)
            out[n, c, t, :, m] = (content - content.mean()) / deviation * style_deviation + other.mean()
    return out


def test_shear_equals_the_loop(x: Tensor) -> None:
    matrix = draws(N, 3, 3, low=-1)
    close(functional.shear(x, matrix), slow_shear(x.numpy(), matrix.numpy()))


def test_rotate_equals_the_loop(x: Tensor) -> None:
    degrees = draws(N, 3, low=-180, high=180)
    close(functional.rotate(x, degrees), slow_rotate(x.numpy(), degrees.numpy()))


@pytest.mark.parametrize("padding", [0, 1, T // 6, 5, T])
def test_temporal_window_equals_the_loop(x: Tensor, padding: int) -> None:
    start = torch.tensor([0, padding, 2 * padding])
    close(functional.temporal_window(x, start, padding), slow_window(x.numpy(), start.tolist(), padding))


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("frames", [4, T])  # fewer frames than the filter reaches, and more
def test_blur_equals_the_loop(x: Tensor, normalize: bool, frames: int) -> None:
    sigma = draws(N, low=0.1, high=2)
    x = x[:, :, :frames]
    close(functional.blur(x, sigma, normalize), slow_blur(x.numpy(), sigma.numpy(), normalize))


def test_blur_gain() -> None:
    ones = torch.ones(2, 3, 41, 1, 1, dtype=torch.float64)
    sigma = torch.tensor([1.0, 2.0], dtype=torch.float64)
    middle = functional.blur(ones, sigma)[:, 0, 20, 0, 0]
    torch.testing.assert_close(middle, sigma * math.sqrt(2 * math.pi), rtol=1e-3, atol=0)
    torch.testing.assert_close(functional.blur(ones, sigma, normalize=True)[:, :, 10:30], ones[:, :, 10:30])


@pytest.mark.parametrize("absent_bodies", [False, True])
@pytest.mark.parametrize("value", [0.0, -0.7])
def test_mask_joints_equals_the_loop(x: Tensor, absent_bodies: bool, value: float) -> None:
    masked = draws(N, T, V) < 0.3
    ours = functional.mask_joints(x, masked, value, absent_bodies)
    close(ours, slow_mask_joints(x.numpy(), masked.numpy(), value, absent_bodies))
    learnt = torch.tensor([value], requires_grad=True)
    torch.testing.assert_close(functional.mask_joints(x, masked, learnt, absent_bodies).detach(), ours)


@pytest.mark.parametrize(("dims", "per_frame"), [((2, 3), False), ((3,), True)])
def test_adain_equals_the_loop(x: Tensor, dims: tuple[int, ...], per_frame: bool) -> None:
    style = x.roll(1, 0) * 3 + 2
    style[1, ..., 0] = 0  # nobody is there to be imitated
    assert functional.present(style).view(N, M).tolist() == [[True, True], [False, True], [True, True]]
    close(functional.adain(x, style, dims), slow_adain(x.numpy(), style.numpy(), per_frame))


def test_adain_in_its_own_style_is_the_identity(x: Tensor) -> None:
    torch.testing.assert_close(functional.adain(x, x), x)


def test_adain_takes_over_the_statistics(x: Tensor) -> None:
    style = 5 * x.flip(0)[:2] + 1
    ours = functional.adain(x[:2], style)
    torch.testing.assert_close(ours.mean((2, 3))[..., 0], style.mean((2, 3))[..., 0])
    torch.testing.assert_close(ours.std((2, 3))[..., 0], style.std((2, 3))[..., 0], rtol=1e-4, atol=1e-4)


ANYWHERE_IN_MEMORY: dict[str, Callable[[Tensor], Tensor]] = {
    "mirror": lambda x: functional.mirror(x, SKELETON.mirror_pairs),
    "window": lambda x: functional.temporal_window(x, torch.tensor([0, 1, 2]), 3),
    "shear": lambda x: functional.shear(x, draws(N, 3, 3)),
    "blur": lambda x: functional.blur(x, draws(N, low=0.1, high=2)),
    "noise": lambda x: functional.add_noise(x, draws(*x.shape)),
    "mask": lambda x: functional.mask_joints(x, draws(N, T, V) < 0.3, 0.5),
    "adain": lambda x: functional.adain(x, x.roll(1, 0)),
}


@pytest.mark.parametrize("name", ANYWHERE_IN_MEMORY)
@pytest.mark.parametrize("bodies", [1, 2])
def test_the_layout_of_memory_does_not_matter(x: Tensor, name: str, bodies: int) -> None:
    x = x[..., :bodies]
    elsewhere = x.permute(4, 2, 0, 3, 1).contiguous().permute(2, 4, 1, 3, 0)
    assert elsewhere.stride() != x.contiguous().stride()
    expected = ANYWHERE_IN_MEMORY[name](x.contiguous())
    torch.testing.assert_close(ANYWHERE_IN_MEMORY[name](elsewhere), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("axis", [[0, 1, 2], [2, 2, 2]])
def test_mask_axis_sets_only_that_coordinate_to_zero(x: Tensor, axis: list[int]) -> None:
    ours = functional.mask_axis(x, torch.tensor(axis))
    for n in range(N):
        for c in range(3):
            assert torch.equal(ours[n, c], torch.zeros_like(x[n, c]) if c == axis[n] else x[n, c])


def test_add_noise_leaves_an_absent_body_unless_asked(x: Tensor) -> None:
    noise = torch.ones_like(x)
    assert torch.equal(functional.add_noise(x, noise)[:2], x[:2] + 1)
    assert not functional.add_noise(x, noise)[-1, ..., 1].any()
    assert torch.equal(functional.add_noise(x, noise, absent_bodies=True), x + 1)


def test_present_asks_for_each_body(x: Tensor) -> None:
    assert functional.present(x).view(N, M).tolist() == [[True, True], [True, True], [True, False]]
    x[-1, 2, 5, 7, 1] = -1e-30
    assert functional.present(x).all()


# --- identities and inverses ----------------------------------------------------------------------

FORTH_AND_BACK: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "mirror": (
        lambda x: functional.mirror(x, SKELETON.mirror_pairs),
        lambda x: functional.mirror(x, SKELETON.mirror_pairs),
    ),
    "reverse": (functional.reverse, functional.reverse),
    "shear": (
        lambda x: functional.shear(x, torch.eye(3).expand(N, 3, 3) + draws(N, 3, 3, high=0.3)),
        lambda x: functional.shear(x, torch.linalg.inv(torch.eye(3).expand(N, 3, 3) + draws(N, 3, 3, high=0.3))),
    ),
    "rotate about one axis": (
        lambda x: functional.rotate(x, torch.tensor([[40.0, 0, 0], [0, 50, 0], [0, 0, 60]])),
        lambda x: functional.rotate(x, -torch.tensor([[40.0, 0, 0], [0, 50, 0], [0, 0, 60]])),
    ),
}


@pytest.mark.parametrize("name", FORTH_AND_BACK)
def test_back_is_the_inverse_of_forth(x: Tensor, name: str) -> None:
    forth, back = FORTH_AND_BACK[name]
    changed = forth(x)
    assert not torch.allclose(changed, x)
    torch.testing.assert_close(back(changed), x)


IDENTITIES: dict[str, Callable[[Tensor], Tensor]] = {
    "rotate by 0": lambda x: functional.rotate(x, torch.zeros(N, 3)),
    "shear by 1": lambda x: functional.shear(x, torch.eye(3).expand(N, 3, 3)),
    "window at the padding": lambda x: functional.temporal_window(x, torch.full((N,), 4), 4),
    "no pairs": lambda x: functional.mirror(x, []),
    "no noise": lambda x: functional.add_noise(x, torch.zeros_like(x)),
    "nothing masked": lambda x: functional.mask_joints(x, torch.zeros(N, T, V, dtype=torch.bool), 9.0),
    "joint stream": lambda x: functional.to_stream(x, "joint", SKELETON.parents),
}


@pytest.mark.parametrize("name", IDENTITIES)
def test_identity(x: Tensor, name: str) -> None:
    assert torch.equal(IDENTITIES[name](x), x)


def test_rotation_keeps_lengths_and_handedness() -> None:
    matrix = functional.rotation_matrix(draws(5, 3, low=-180, high=180))
    torch.testing.assert_close(matrix @ matrix.mT, torch.eye(3).to(matrix).expand(5, 3, 3))
    torch.testing.assert_close(torch.linalg.det(matrix), torch.ones(5).to(matrix))


def test_quarter_turns_are_exact_in_direction() -> None:
    unit = torch.eye(3, dtype=torch.float64).view(3, 3, 1, 1, 1)
    turned = functional.rotate(unit, torch.tensor([[0.0, 0, 90]]).expand(3, 3))[..., 0, 0, 0]
    torch.testing.assert_close(turned, torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]], dtype=torch.float64))


def test_mirror_moves_joints_and_keeps_coordinates(x: Tensor) -> None:
    ours = functional.mirror(x, SKELETON.mirror_pairs)
    partner = {a: b for left, right in SKELETON.mirror_pairs for a, b in ((left, right), (right, left))}
    for joint in range(V):
        assert torch.equal(ours[:, :, :, joint], x[:, :, :, partner.get(joint, joint)])


# --- streams --------------------------------------------------------------------------------------


def test_bone_equals_the_loop(x: Tensor) -> None:
    slow = np.zeros(x.shape)
    for joint, parent in enumerate(SKELETON.parents):
        if parent != -1:
            slow[:, :, :, joint] = x[:, :, :, joint] - x[:, :, :, parent]
    close(functional.to_bone(x, SKELETON.parents), slow)
    assert torch.equal(functional.to_stream(x, "bone", SKELETON.parents), functional.to_bone(x, SKELETON.parents))


def test_bones_add_up_to_the_joints(x: Tensor) -> None:
    bones = functional.to_bone(x, SKELETON.parents)
    for joint in range(V):
        path = SKELETON.path_to_root(joint)
        torch.testing.assert_close(bones[:, :, :, path].sum(3), x[:, :, :, joint] - x[:, :, :, SKELETON.root])


def test_motion_equals_the_loop(x: Tensor) -> None:
    slow = np.zeros(x.shape)
    for t in range(T - 1):
        slow[:, :, t] = x[:, :, t + 1] - x[:, :, t]
    close(functional.to_motion(x), slow)
    assert torch.equal(functional.to_stream(x, "motion", SKELETON.parents), functional.to_motion(x))


def test_steps_add_up_to_the_whole_way(x: Tensor) -> None:
    torch.testing.assert_close(functional.to_motion(x).sum(2), x[:, :, -1] - x[:, :, 0])


def test_motion_of_one_frame_is_zero(x: Tensor) -> None:
    assert torch.equal(functional.to_motion(x[:, :, :1]), torch.zeros_like(x[:, :, :1]))


def test_unknown_stream_names_the_known_ones(x: Tensor) -> None:
    bad: Any = "speed"
    with pytest.raises(ValueError, match="unknown stream 'speed': choose one of joint, motion, bone"):
        functional.to_stream(x, bad, SKELETON.parents)


# --- contracts ------------------------------------------------------------------------------------

FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "centre": lambda x: functional.centre(x, 2),
    "resample": lambda x: functional.resample(x, torch.full((len(x),), 7), T),
    "face_camera": lambda x: functional.face_camera(x, SKELETON.shoulder_pair),
    "shear": lambda x: functional.shear(x, draws(len(x), 3, 3)),
    "rotate": lambda x: functional.rotate(x, draws(len(x), 3, high=90)),
    "temporal_window": lambda x: functional.temporal_window(x, torch.ones(len(x), dtype=torch.long), 3),
    "mirror": lambda x: functional.mirror(x, SKELETON.mirror_pairs),
    "reverse": functional.reverse,
    "add_noise": lambda x: functional.add_noise(x, torch.ones_like(x)),
    "blur": lambda x: functional.blur(x, draws(len(x), low=0.5, high=2)),
    "mask_axis": lambda x: functional.mask_axis(x, torch.ones(len(x), dtype=torch.long)),
    "mask_joints": lambda x: functional.mask_joints(x, draws(len(x), T, V) < 0.5, 3.0),
    "adain": lambda x: functional.adain(x, x.roll(1, 0)),
    "to_bone": lambda x: functional.to_bone(x, SKELETON.parents),
    "to_motion": functional.to_motion,
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_pure_function_of_the_batch(x: Tensor, name: str, dtype: torch.dtype) -> None:
    x = x.to(dtype)
    before = x.clone()
    out = FUNCTIONS[name](x)
    assert torch.equal(x, before), "the input was changed"
    assert out.shape == x.shape and out.dtype == dtype
    assert not torch.equal(out, x)
    assert not out[-1, ..., 1].any(), "an absent body stays exactly zero"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_gradient_flows_through(x: Tensor, name: str) -> None:
    x.requires_grad_()
    FUNCTIONS[name](x).sum().backward()
    assert x.grad is not None and x.grad.isfinite().all()
