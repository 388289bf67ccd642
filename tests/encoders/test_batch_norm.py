"""The batch norm that encoders share: against PyTorch's own over every body, in one process and in two."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hiclr.encoders.layers import BatchNorm
from pair import leave, run_pair

LAYOUTS = {"contiguous": torch.contiguous_format, "channels last": torch.channels_last}
every_layout = pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def near(ours: Tensor, reference: Tensor, share: float) -> bool:
    """Whether the difference is a small share of the reference, as a whole."""
    return bool((ours.double() - reference).norm() <= share * reference.norm())


# --- batch norm -----------------------------------------------------------------------------------


def expanded(x: Tensor, copies: int) -> Tensor:
    """The bodies of which the last one stands for many."""
    return torch.cat([x, x[-1:].expand(copies - 1, *x.shape[1:])])


def folded(x: Tensor, copies: int) -> Tensor:
    """What belongs to each copy of the last body, summed."""
    return torch.cat([x[:-copies], x[-copies:].sum(0, keepdim=True)])


def norms(channels: int, kind: torch.dtype = torch.float64) -> tuple[BatchNorm, nn.BatchNorm2d]:
    """Ours and PyTorch's in float64, with the same drawn weights and statistics."""
    ours, reference = BatchNorm(channels).to(kind), nn.BatchNorm2d(channels).double()
    with torch.no_grad():
        for i, value in enumerate((ours.weight, ours.bias, ours.running_mean, ours.running_var)):
            value.copy_(draw(channels, seed=10 + i).abs() + 0.5)
    reference.load_state_dict(ours.state_dict())
    return ours, reference


def results(norm: nn.BatchNorm2d, y: Tensor, upstream: Tensor, x: Tensor) -> dict[str, Tensor]:
    """Of a pass through a norm: all that it computes, with the gradients for `upstream`."""
    gradients = torch.autograd.grad(y, (x, norm.weight, norm.bias), upstream)
    return {
        "y": y.detach(),
        **dict(zip(("grad x", "grad weight", "grad bias"), gradients, strict=True)),
        **{name: value.clone() for name, value in norm.named_buffers()},
    }


def compared(
    x: Tensor, copies: int, training: bool = True, kind: torch.dtype = torch.float64
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Results of ours on the bodies x (B, C, V, T), and of PyTorch's in float64 on every body, folded alike."""
    ours, reference = norms(x.shape[1], kind)
    ours.train(training)
    reference.train(training)
    upstream = draw(len(x) + copies - 1, *x.shape[1:], seed=1).to(x)
    of_all = upstream.double()
    x = x.detach().requires_grad_()
    rows = expanded(x.detach().double(), copies).requires_grad_()
    with torch.no_grad():  # statistics of an earlier step, so that both the old and the new ones count
        ours(2 * x, copies)
        reference(2 * rows)
    found = results(ours, ours(x, copies), folded(of_all, copies).to(x), x)
    expected = results(reference, reference(rows), of_all, rows)
    expected["y"], expected["grad x"] = expected["y"][: len(x)], folded(expected["grad x"], copies)
    return found, expected


# (B, C, V, T), down to one channel, joint, frame or body
SHAPES = [(5, 3, 4, 6), (5, 7, 6, 1), (1, 3, 4, 5), (4, 1, 3, 2), (3, 2, 1, 5), (4, 2, 1, 1), (1, 2, 3, 1)]


@every_layout
@pytest.mark.parametrize("training", [True, False], ids=["training", "eval"])
@pytest.mark.parametrize("copies", [1, 2, 7])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_batch_norm_is_pytorchs_over_every_body(
    shape: tuple[int, ...], copies: int, training: bool, layout: Any
) -> None:
    x = (1 + 2 * draw(*shape)).contiguous(memory_format=layout)
    found, expected = compared(x, copies, training)
    assert int(found["num_batches_tracked"]) == (2 if training else 0)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-10, atol=1e-11, msg=lambda said, n=name: f"{n}: {said}")


@pytest.mark.parametrize("copies", [1, 4])
def test_batch_norm_of_a_view_in_no_dense_layout(copies: int) -> None:
    found, expected = compared(draw(4, 6, 5, 8)[:, ::2, :, 1:7].transpose(2, 3), copies)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("copies", [1, 3])
@every_layout
def test_gradient_of_batch_norm(layout: Any, copies: int) -> None:
    norm, _ = norms(2)
    x = draw(3, 2, 2, 3).contiguous(memory_format=layout).requires_grad_()

    def normalized(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        y: Tensor = torch.func.functional_call(norm, {"weight": weight, "bias": bias}, (x, copies))
        return y

    assert torch.autograd.gradcheck(normalized, (x, norm.weight, norm.bias))


@pytest.mark.parametrize("copies", [1, 30])
@every_layout
def test_batch_norm_of_bfloat16_is_near(layout: Any, copies: int) -> None:
    x = (1 + 2 * draw(20, 4, 5, 8)).bfloat16().contiguous(memory_format=layout)
    found, expected = compared(x, copies, kind=torch.float32)
    assert found["y"].dtype == found["grad x"].dtype == torch.bfloat16
    assert found["grad weight"].dtype == found["running_var"].dtype == torch.float32
    for name in ("y", "grad x"):
        assert near(found[name], expected[name], 2**-7), name
    for name in ("running_mean", "running_var"):
        assert near(found[name], expected[name], 1e-5), name
    for name in ("grad weight", "grad bias"):
        assert near(found[name], expected[name], 2**-6), name  # of the last body's gradients, summed before rounding


@pytest.mark.parametrize("copies", [1, 50])
def test_a_large_mean_leaves_the_deviation_its_digits(copies: int) -> None:
    """In float32 the mean of squares less the square of the mean would be nothing but rounding here."""
    x = (1000 + 0.1 * draw(30, 4, 5, 8)).float().contiguous(memory_format=torch.channels_last)
    found, expected = compared(x, copies, kind=torch.float32)
    torch.testing.assert_close(found["running_mean"].double(), expected["running_mean"], rtol=1e-6, atol=0)
    assert near(found["y"], expected["y"], 1e-3)
    alone, _ = norms(4, torch.float32)
    alone.running_var.zero_()
    alone(x, copies)
    unbiased = 0.1 * expanded(x.double(), copies).transpose(0, 1).flatten(1).var(1)
    torch.testing.assert_close(alone.running_var.double(), unbiased, rtol=1e-3, atol=0)


def test_sums_over_a_whole_batch_in_float32_keep_their_digits() -> None:
    """PyTorch's own is six times farther off than this allows for a channels-last gradient."""
    x = draw(64, 2, 25, 50).float().contiguous(memory_format=torch.channels_last)
    found, expected = compared(x, 10, kind=torch.float32)
    for name in ("running_mean", "running_var", "grad x"):
        assert near(found[name], expected[name], 1e-6), name


def test_batch_norm_refuses_a_single_value() -> None:
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        BatchNorm(2)(torch.ones(1, 2, 1, 1))


# --- batch norm over processes --------------------------------------------------------------------

# bodies and copies of the last one in two processes: many absent in the first, one or none in the second
SHARES = {"uneven": ((3, 5), (6, 1)), "all absent in one": ((1, 9), (4, 2)), "none absent": ((4, 1), (4, 1))}
every_share = pytest.mark.parametrize("share", SHARES)


def share_of(name: str, rank: int) -> tuple[Tensor, Tensor, int]:
    """The bodies of a process, the gradients of every copy of theirs, and copies."""
    bodies, copies = SHARES[name][rank]
    return 3 + draw(bodies, 3, 4, 5, seed=rank), draw(bodies + copies - 1, 3, 4, 5, seed=5 + rank), copies


def synchronized(rank: int) -> dict[str, Tensor]:
    """Runs in each of two processes: results by share and name."""
    left = {}
    for name in SHARES:
        x, upstream, copies = share_of(name, rank)
        norm, _ = norms(3)
        norm.synchronized = True
        x.requires_grad_()
        found = results(norm, norm(x, copies), folded(upstream, copies), x)
        left.update({f"{name}: {part}": value for part, value in found.items()})
    return left


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Tensor]]:
    return run_pair(__file__, tmp_path_factory.mktemp("pair"))


@every_share
def test_synchronized_statistics_are_those_of_every_body_of_both(pair: list[dict[str, Tensor]], share: str) -> None:
    both = [share_of(share, rank) for rank in range(2)]
    x = torch.cat([expanded(x, copies) for x, _, copies in both]).requires_grad_()
    _, reference = norms(3)
    expected = results(reference, reference(x), torch.cat([upstream for _, upstream, _ in both]), x)
    counts = [len(x) + copies - 1 for x, _, copies in both]
    found = [{part: left[f"{share}: {part}"] for part in expected} for left in pair]
    for rank, (bodies, _, copies) in enumerate(both):
        y, grad = (expected[part].split(counts)[rank] for part in ("y", "grad x"))
        torch.testing.assert_close(found[rank]["y"], y[: len(bodies)])
        torch.testing.assert_close(found[rank]["grad x"], folded(grad, copies))
        for statistic in ("running_mean", "running_var", "num_batches_tracked"):
            torch.testing.assert_close(found[rank][statistic], expected[statistic])
    for part in ("grad weight", "grad bias"):  # of the own bodies: training adds those of the processes up
        torch.testing.assert_close(found[0][part] + found[1][part], expected[part])


if __name__ == "__main__":
    leave(synchronized)
