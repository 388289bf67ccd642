"""What was measured, as tables of text."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd

from hiclr.benchmarks.paths import OURS, PLAIN

Measured = Mapping[str, Any]

_UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"))

_HOW = """
Medians of rounds in which the sides took turns; the ratio is the median of the rounds' ratios, with the smallest and
the largest. Peak memory is that of a fresh process for each side, with Python and PyTorch (about 500 MB). Of the
straightforward linear probe one epoch in 100 was measured: its time is scaled to the whole.
"""


def conditions(results: Measured) -> str:
    """What the tables do not say: the machine, its limits, how it was measured."""
    hardware = results["hardware"]
    gpu = f", {hardware['gpu']}" if hardware["gpu"] else ""
    limits = []
    for device, best in results["peaks"].items():
        flops = " and ".join(f"{rate / 1e9:,.0f} GFLOP/s in {kind}" for kind, rate in best["flops"].items())
        limits.append(f"{device} {flops}, copy {best['bandwidth'] / 1e9:,.0f} GB/s")
    quick = " Quick: small shapes, whose figures say little." if results["quick"] else ""
    return (
        f"{hardware['processor']}, {hardware['threads']} threads{gpu}, PyTorch {results['versions']['torch']}, "
        f"revision {results['git_revision']}. At best, measured in the same run: {'; '.join(limits)}. "
        f"{' '.join(_HOW.split())}{quick}"
    )


def tables(results: Measured) -> dict[str, pd.DataFrame]:
    """Tables by their titles, of those parts that were measured."""
    makers: dict[str, tuple[Callable[[Any], pd.DataFrame], str]] = {
        "Hot paths": (_paths, "paths"),
        "What a step asks of the machine, and what the machine could do": (_limits, "paths"),
        "Growth": (_growth, "growth"),
        "Where the time of a step goes": (_profile, "profile"),
        "Peak memory of prepare": (_prepare, "prepare"),
    }
    made = {title: maker(results[part]) for title, (maker, part) in makers.items() if results.get(part)}
    return {title: table for title, table in made.items() if len(table)}


def _paths(paths: Measured) -> pd.DataFrame:
    lines = []
    for path in paths.values():
        reference = path["sides"].get(PLAIN)
        for name, side in path["sides"].items():
            median, low, high = side["ratio"]
            if side is not reference:
                lines.append(
                    {
                        "": _named(path, name),
                        "straightforward": "" if reference is None else _rate(reference),
                        "ours": _rate(side),
                        "ratio (range)": "" if reference is None else f"{median:.1f}x ({low:.1f} to {high:.1f})",
                        "peak memory": " / ".join(_megabytes(of) for of in (reference, side) if of is not None),
                    }
                )
    return pd.DataFrame(lines)


def _limits(paths: Measured) -> pd.DataFrame:
    lines = [
        {
            "": f"{path['title']}: {name}",
            "arithmetic": f"{side['flops'] / 1e9:,.0f} GFLOP",
            "rate": f"{side['flops'] / _median(side) / 1e9:,.0f} GFLOP/s",
            "traffic": f"{side['bytes'] / 1e9:,.1f} GB",
            "at best": duration(side["floor"]),
            "taken": duration(_median(side)),
            "share of the limit": f"{side['share_of_limit']:.0%}",
        }
        for path in paths.values()
        for name, side in path["sides"].items()
        if "flops" in side
    ]
    return pd.DataFrame(lines)


def _growth(axes: Sequence[Measured]) -> pd.DataFrame:
    lines = [
        {
            "what grows": axis["what"],
            "to": ", ".join(f"{value:,}" for value in axis["values"]),
            "time": ", ".join(map(duration, axis["seconds"])),
            "grows as its power": f"{axis['exponent']:.2f}",
            "peak memory, MB": ", ".join("–" if peak is None else f"{peak:,.0f}" for peak in axis["peak_memory"]),
        }
        for axis in axes
    ]
    return pd.DataFrame(lines)


def _profile(times: Mapping[str, float]) -> pd.DataFrame:
    whole = sum(times.values())
    lines = [
        {"": group, "time": f"{time:,.1f} ms", "share": f"{time / whole:.0%}"}
        for group, time in [*times.items(), ("the step", whole)]
    ]
    return pd.DataFrame(lines)


def _prepare(counts: Sequence[Measured]) -> pd.DataFrame:
    parts = {"first": "first process", "worker": "largest worker", "all": "all, at most"}
    lines = [
        {
            "recordings": f"{count['recordings']:,}",
            **{words: f"{count[part]:,.0f} MB" for part, words in parts.items()},
            "time": duration(count["seconds"]),
        }
        for count in counts
    ]
    few, many = counts
    ratios = {words: f"{many[part] / max(few[part], 1):.2f}" for part, words in parts.items()}
    return pd.DataFrame([*lines, {"recordings": "ratio", **ratios, "time": ""}])


def ratios(paths: Measured) -> pd.DataFrame:
    """One line for each side that was compared: what, ratio, low, high."""
    lines = [
        dict(zip(("what", "ratio", "low", "high"), (_named(path, name), *side["ratio"]), strict=True))
        for path in paths.values()
        for name, side in path["sides"].items()
        if PLAIN in path["sides"] and name != PLAIN
    ]
    return pd.DataFrame(lines)


def _named(path: Measured, side: str) -> str:
    return str(path["title"]) + ("" if side == OURS else f" ({side})")


def duration(seconds: float) -> str:
    """A time in the unit that suits it, with three digits."""
    size, unit = next((scale for scale in _UNITS if seconds >= scale[0]), _UNITS[-1])
    value = seconds / size
    return f"{value:,.{2 if value < 10 else 1 if value < 100 else 0}f} {unit}"


def _rate(side: Measured) -> str:
    rate = side["sequences_per_second"]
    return duration(_median(side)) + ("" if rate is None else f" ({rate:,.{1 if rate < 100 else 0}f}/s)")


def _median(side: Measured) -> float:
    return float(statistics.median(side["seconds"]))


def _megabytes(side: Measured) -> str:
    return "–" if side["peak_memory"] is None else f"{side['peak_memory']:,.0f} MB"
