"""What one of two processes does for both, and shares of uneven size; `tests/methods/test_together.py` has the rest."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from hiclr.distributed import by_first, gathered, num_processes, own_rows, summed
from pair import leave, run_pair

FEATURES = torch.arange(6.0).view(3, 2)


def both(rank: int) -> dict[str, Tensor]:
    """Runs in each of two processes."""
    work_done = []

    def work() -> tuple[int, str]:
        work_done.append(rank)
        return 10 + rank, "said"

    def refuse() -> int:
        raise ValueError(f"process {rank} refuses")

    with pytest.raises(ValueError, match=r"^process 0 refuses$"):
        by_first(refuse)
    number, said = by_first(work)
    assert said == "said"
    leaf = FEATURES.clone().requires_grad_()
    return {
        "number": torch.tensor(number),
        "worked": torch.tensor(len(work_done)),
        "of one row": gathered(own_rows(FEATURES[:1])),  # the second has none
        "labels": gathered(own_rows(torch.tensor([3, 1, 2]))),
        "turned": gathered(own_rows(FEATURES.T.contiguous().T)),  # not contiguous
        "summed": summed(leaf),
        "leaf": leaf.detach(),
        "follows": torch.tensor([gathered(leaf).requires_grad, summed(leaf).requires_grad]),
    }


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Tensor]]:
    return run_pair(__file__, tmp_path_factory.mktemp("pair"))


def test_the_first_alone_works_for_both(left: list[dict[str, Tensor]]) -> None:
    assert [int(process["number"]) for process in left] == [10, 10]
    assert [int(process["worked"]) for process in left] == [1, 0]


def test_uneven_rows_of_any_kind_come_together(left: list[dict[str, Tensor]]) -> None:
    for process in left:
        assert torch.equal(process["of one row"], FEATURES[:1])
        assert torch.equal(process["labels"], torch.tensor([3, 1, 2])) and process["labels"].dtype == torch.int64
        assert torch.equal(process["turned"], FEATURES)


def test_sums_leave_what_they_sum_and_carry_no_gradient(left: list[dict[str, Tensor]]) -> None:
    for process in left:
        assert torch.equal(process["summed"], 2 * FEATURES) and torch.equal(process["leaf"], FEATURES)
        assert not process["follows"].any()


def test_alone_nothing_is_exchanged() -> None:
    assert num_processes() == 1
    assert by_first(lambda: 5) == 5
    for of_all in (own_rows, gathered, summed):
        assert torch.equal(of_all(FEATURES), FEATURES)


if __name__ == "__main__":
    leave(both)
