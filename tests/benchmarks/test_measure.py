"""Measuring itself: workers, rounds and ratios, what is counted, tables and the verb."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import nn

from hiclr.__main__ import main
from hiclr.benchmarks import measure, workers
from hiclr.benchmarks.measure import AXES, Axis, compare, growth
from hiclr.benchmarks.paths import PATHS, PLAIN
from hiclr.benchmarks.profiling import GROUPS, profiled
from hiclr.benchmarks.roofline import Peaks, demand
from hiclr.benchmarks.sides import our_step
from hiclr.benchmarks.sizes import QUICK, Size
from hiclr.benchmarks.tables import duration, tables
from hiclr.benchmarks.workers import Worker, peak_memory, seconds
from hiclr.cli import bench

PEAKS = Peaks({"float32": 1e9, "bfloat16": 1e10}, 1e8)


class FakeWorker:
    """In place of a process: times handed out in turn, noted in the order in which they were asked for."""

    asked: list[str]
    times: dict[str, list[float]]

    def __init__(self, path: str, side: str, size: Size) -> None:
        self.side, self.size = side, size

    def ask(self, question: Any) -> Any:
        if question is workers.peak_memory:
            return 100.0
        self.asked.append(self.side)
        return self.times[self.side].pop(0)

    def __enter__(self) -> FakeWorker:
        return self

    def __exit__(self, *_: Any) -> None:
        pass


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> type[FakeWorker]:
    FakeWorker.asked = []
    monkeypatch.setattr(measure, "Worker", FakeWorker)
    return FakeWorker


# --- processes ------------------------------------------------------------------------------------


def test_a_worker_does_the_work_of_its_side_in_a_process_of_its_own() -> None:
    with Worker("follow", PLAIN, QUICK) as worker:
        assert 0 < worker.ask(seconds) < 1
        peak = worker.ask(peak_memory)
        assert peak is None or 50 < peak < 5000
    assert not worker._process.is_alive()
    with pytest.raises(ChildProcessError, match=r"measured key network follows, straightforward died"):
        worker.ask(seconds)


def test_a_worker_that_is_stopped_takes_its_files_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with pytest.raises(KeyboardInterrupt), Worker("batches", PLAIN, QUICK) as worker:
        worker.ask(seconds)
        assert list(tmp_path.glob("hiclr-bench-*"))
        raise KeyboardInterrupt
    assert not list(tmp_path.glob("hiclr-bench-*"))


def test_short_work_is_repeated_and_long_work_is_not() -> None:
    runs = []
    assert seconds(lambda: runs.append(time.sleep(0.01)), at_least=0.05) >= 0.01
    assert 1 < len(runs) <= 5
    runs.clear()
    seconds(lambda: runs.append(time.sleep(0.01)), at_least=0.005)
    assert len(runs) == 1


# --- rounds and ratios ----------------------------------------------------------------------------


def test_sides_take_turns_and_ratios_are_those_of_the_rounds(fake: type[FakeWorker]) -> None:
    plain, ours = [9.0, 4.0, 6.0, 8.0, 10.0, 40.0], [9.0, 2.0, 2.0, 2.0, 2.0, 2.0]
    fake.times = {PLAIN: plain, "ours": ours}
    result = compare("augmentation", QUICK, set(), PEAKS, lambda what: None)["sides"]
    assert fake.asked == [PLAIN, "ours"] * 6
    assert result["ours"]["ratio"] == [4.0, 2.0, 20.0] and result[PLAIN]["ratio"] == [1.0, 1.0, 1.0]
    assert result["ours"]["sequences_per_second"] == QUICK.batch / 2
    assert result["ours"]["peak_memory"] == 100.0 and "floor" not in result["ours"]


def test_a_part_of_the_work_is_scaled_to_the_whole(fake: type[FakeWorker]) -> None:
    fake.times = {PLAIN: [1.0] * 6, "ours": [1.0] * 6}
    probe = compare("linear", QUICK, set(), PEAKS, lambda what: None)["sides"]
    assert probe["ours"]["ratio"][0] == pytest.approx(100) and probe["ours"]["seconds"][0] == 1


def test_rounds_end_when_patience_does(fake: type[FakeWorker], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "PATIENCE", -1.0)
    fake.times = {PLAIN: [1.0] * 6, "ours": [1.0] * 6}
    result = compare("augmentation", QUICK, set(), PEAKS, lambda what: None)["sides"]
    assert len(result["ours"]["seconds"]) == 3


def test_growth_finds_the_power(fake: type[FakeWorker]) -> None:
    axis = Axis("batch", "step", "batch", (16, 32, 64), (1, 2))
    fake.times = {"ours": [9.0, 1.0, 1.0, 9.0, 4.0, 4.0, 9.0, 16.0, 16.0]}
    result = growth(axis, Size(), quick=False, say=lambda what: None)
    assert result["seconds"] == [1.0, 4.0, 16.0] and result["exponent"] == pytest.approx(2)


def test_axes_grow_fields_of_the_size() -> None:
    for axis in AXES:
        assert hasattr(QUICK, axis.field) and axis.path in PATHS and list(axis.values) == sorted(axis.values)


# --- what is counted ------------------------------------------------------------------------------


def test_demand_of_a_product_is_its_formula() -> None:
    a, b = torch.randn(100, 200), torch.randn(200, 50)
    asks = demand(lambda: a @ b, PEAKS)
    moved = 4 * (100 * 200 + 200 * 50 + 100 * 50)
    assert asks == {"flops": 2 * 100 * 200 * 50, "bytes": moved, "floor": max(2e6 / 1e9, moved / 1e8)}


def test_demand_counts_backward_and_each_type_at_its_own_peak() -> None:
    layer, x = nn.Linear(64, 32, bias=False), torch.randn(16, 64, requires_grad=True)
    flops = 2 * 16 * 64 * 32
    assert demand(lambda: layer(x).sum().backward(), PEAKS)["flops"] == 3 * flops
    half = x.detach().bfloat16()
    free = Peaks(PEAKS.flops, float("inf"))
    assert demand(lambda: half @ half.T, free)["floor"] == 2 * 16 * 16 * 64 / 1e10


def test_views_cost_nothing() -> None:
    x = torch.randn(8, 9)
    assert demand(lambda: x.T.view(9, 8)[:, None].expand(9, 5, 8), PEAKS)["bytes"] == 0


def test_profile_tells_the_groups_apart() -> None:
    times = profiled(our_step(QUICK))
    assert tuple(times) == GROUPS and all(time > 0 for time in times.values())
    assert times["augmentation"] < 0.9 * sum(times.values())


# --- tables and the verb --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("taken", "text"), [(75.0, "75.0 s"), (1.5, "1.50 s"), (0.25, "250 ms"), (2.5e-5, "25.0 µs"), (1e-9, "0.00 µs")]
)
def test_durations_have_their_unit(taken: float, text: str) -> None:
    assert duration(taken) == text


def test_bench_measures_and_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str], fake: type[FakeWorker]) -> None:
    fake.times = {PLAIN: [9.0, 4.0, 6.0, 8.0, 10.0, 40.0], "ours": [9.0, 2.0, 2.0, 2.0, 2.0, 2.0]}
    out = bench(tmp_path / "bench", quick=True, only=["follow"])
    results = json.loads((out / "bench.json").read_text(encoding="utf-8"))
    (path,) = results["paths"].values()
    assert path["sides"]["ours"]["ratio"] == [4.0, 2.0, 20.0]
    assert results["peaks"]["cpu"]["bandwidth"] > 0 and results["quick"]
    text = (out / "bench.md").read_text(encoding="utf-8")
    assert "| key network follows | 8.00 s | 2.00 s | 4.0x (2.0 to 20.0) | 100 MB / 100 MB |" in text
    assert "figures say little" in text and (out / "bench.png").stat().st_size > 1000
    said = capsys.readouterr()
    assert "Hot paths" in said.out and str(out) in said.err.replace("\n", "")


def test_tables_are_of_what_was_measured() -> None:
    results: dict[str, Any] = {"paths": {}, "growth": [], "profile": {"dropout": 1.0, "optimizer": 3.0}}
    (table,) = tables(results).values()
    assert list(table["share"]) == ["25%", "75%", "100%"] and isinstance(table, pd.DataFrame)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ("--only speed", "nothing here to measure by the name speed: choose among step, augmentation"),
        ("--precision []", "precision is empty: choose among 32-true, bf16-mixed"),
    ],
)
def test_failures_are_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: str, sentence: str
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["bench", "--out", str(tmp_path / "bench"), *options.split()])
    said = capsys.readouterr().err.strip()
    assert stopped.value.code == 2 and sentence in said and "\n" not in said
    assert not (tmp_path / "bench").exists()
