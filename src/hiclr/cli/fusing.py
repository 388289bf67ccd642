"""The verb that makes one classifier of several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from hiclr.cli.results import by_class, save
from hiclr.evaluation import SCORES, VALIDATION_SCORES, Scores, scores_path
from hiclr.forms import fits, printable, read_json
from hiclr.fusion import PUBLISHED_WEIGHTS, best_weights, fuse, matched
from hiclr.provenance import file_hash, provenance
from hiclr.reporting.gathering import is_result


@dataclass(frozen=True, eq=False)
class _Source:
    """A saved result and its scores of the test side."""

    path: Path
    result: dict[str, Any]
    scores: Scores


def ensemble(
    results: Sequence[Path],
    protocol: str = "linear",
    benchmark: str = "xsub",
    weights: Sequence[float] | Literal["validation"] | None = None,
    published_protocol: bool = False,
    out: Path | None = None,
) -> dict[str, Any]:
    """Fuses results of several streams or runs: the weighted sum of their class scores.

    The scores are matched by the names of the sequences. They are summed as they are: a result with larger scores
    weighs more.

    Args:
        results: folders of results, or their `.json` files.
        protocol: which result of a folder, as its file's name begins: `linear`, `knn`, `finetune`.
        benchmark: which result of a folder, as its file's name ends.
        weights: one for each result, in their order; `validation`: chosen on the scores that
            `hiclr linear --validation` saved, never on the test side; all equal when not given.
        published_protocol: take the better, on the test side, of the two published weightings of joint, bone and
            motion (0.5, 0.5, 0.5 and 0.6, 0.6, 0.4), as the published figures do.
        out: folder for the result; `ensemble` beside the first result's folder when not given.

    Returns:
        The result, as saved in `ensemble-<benchmark>.json`, or `ensemble-published-protocol-<benchmark>.json`.

    Raises:
        FileNotFoundError: if there is no such result, or none of its scores.
        ValueError: for results that cannot be fused, or weights that cannot be.
    """
    if published_protocol and weights is not None:
        raise ValueError("--published-protocol brings its own weights: leave --weights out")
    sources = _read(results, protocol, benchmark)
    first = sources[0].result
    name = "ensemble-published-protocol" if published_protocol else "ensemble"
    folder = Path(out) if out else sources[0].path.absolute().parents[1] / "ensemble"
    path = folder / f"{name}-{first['data']['benchmark']}.json"
    _refuse_another(path, sources)
    scores = matched({scores_path(source.path): source.scores for source in sources})
    if published_protocol:
        used, chosen = _better_on_test(sources, scores)
    elif weights == "validation":
        used, chosen = _best_on_validation(sources)
    else:
        used, chosen = (1 / len(sources),) * len(sources) if weights is None else tuple(weights), {}
    fused = fuse(scores, used)
    singles = [_single(source, weight) for source, weight in zip(sources, used, strict=True)]
    result = {
        "protocol": name,
        "top1_best_weights_on_test" if published_protocol else "top1_last_epoch": fused.top1,
        **chosen,
        "chance": first["chance"],
        **by_class(fused, list(first["top1_per_class"])),
        "streams": [single["stream"] for single in singles],
        "weights": list(used),
        "results": singles,
        "settings": {"weights": "published" if published_protocol else weights},
        "data": first["data"],
        "test_sequences": len(fused.labels),
        "remarks": list(dict.fromkeys(remark for source in sources for remark in source.result.get("remarks", []))),
        **provenance(),
    }
    for single in singles:
        what = printable(f"{single['stream']} top1: {single['top1']:.2f} %")
        print(f"{what}  (weight {single['weight']:.3g}, {single['path']})")
    save(result, path, {SCORES: fused})
    return result


def _read(results: Sequence[Path], protocol: str, benchmark: str) -> list[_Source]:
    """All results, which are of the same data."""
    paths = [path / f"{protocol}-{benchmark}.json" if path.is_dir() else path for path in map(Path, results)]
    if len(paths) < 2:
        raise ValueError(f"an ensemble needs at least two results, got {len(paths)}: name them after --results")
    for path in paths:
        if paths.count(path) > 1:
            raise ValueError(f"{path} is named twice: give each result once, and a weight to it")
    sources = [_source(path) for path in paths]
    for fact in ("source_hash", "benchmark"):
        facts = [source.result["data"].get(fact) for source in sources]
        for path, other in zip(paths, facts, strict=True):
            if other != facts[0]:
                raise ValueError(f"{paths[0]} and {path} are of different data ({fact} {facts[0]} and {other})")
    return sources


def _source(path: Path) -> _Source:
    if not path.is_file():
        raise FileNotFoundError(f"no result {path}: make it first (hiclr linear, knn, finetune), or set --protocol")
    try:
        result = read_json(path)
    except ValueError as error:
        raise ValueError(f"{path} is no JSON ({error}): name a result's folder or .json file") from None
    if not is_result(result) or "stream" not in result:
        raise ValueError(f"{path} is no result of one encoder: name what hiclr linear, knn or finetune saved")
    scores = Scores.load(scores_path(path))
    if scores.confusion().tolist() != result["confusion"]:
        raise ValueError(f"{scores_path(path)} holds other scores than {path} was made from: measure again")
    return _Source(path, result, scores)


def _refuse_another(path: Path, sources: Sequence[_Source]) -> None:
    """An ensemble of other results stays where it is."""
    if not path.exists():
        return
    try:
        there = read_json(path)
    except ValueError:
        there = {}
    before = there["results"] if fits(there, {"results": [{"path": str}]}) else []
    if sorted(single["path"] for single in before) != sorted(str(source.path) for source in sources):
        raise ValueError(f"{path} is not of these results: choose another folder with --out")


def _better_on_test(sources: Sequence[_Source], scores: Sequence[Scores]) -> tuple[tuple[float, ...], dict[str, Any]]:
    streams = [source.result["stream"] for source in sources]
    if sorted(streams) != sorted(PUBLISHED_WEIGHTS[0]):
        raise ValueError(
            f"--published-protocol fuses one result each of {', '.join(PUBLISHED_WEIGHTS[0])}, got {', '.join(streams)}"
        )
    weightings = [tuple(weights[stream] for stream in streams) for weights in PUBLISHED_WEIGHTS]
    tried = {weights: fuse(scores, weights).top1 for weights in weightings}
    return max(weightings, key=lambda weights: tried[weights]), {
        "top1_by_weights": {", ".join(map(str, weights)): top1 for weights, top1 in tried.items()}
    }


def _best_on_validation(sources: Sequence[_Source]) -> tuple[tuple[float, ...], dict[str, Any]]:
    for source in sources:
        if source.result["protocol"] != "linear":
            raise ValueError(f"{source.path}: only results of hiclr linear have validation scores: set weights")
        if not source.result["settings"].get("validation"):
            raise ValueError(
                f"{source.path} was made without validation: run hiclr linear --validation 0.2, or set weights"
            )
    paths = [scores_path(source.path, VALIDATION_SCORES) for source in sources]
    scores = matched({path: Scores.load(path) for path in paths})
    weights = best_weights(scores)
    return weights, {
        "validation_top1": fuse(scores, weights).top1,
        "validation_sequences": len(scores[0].labels),
    }


def _single(source: _Source, weight: float) -> dict[str, Any]:
    return {
        "path": str(source.path),
        "sha256": file_hash(source.path),
        "scores_sha256": file_hash(scores_path(source.path)),
        "protocol": source.result["protocol"],
        "stream": source.result["stream"],
        "top1": source.scores.top1,
        "weight": weight,
    }
