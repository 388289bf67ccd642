"""The verb that writes a model for other programs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from hiclr.cli.console import console, progress, say
from hiclr.data.corpora.base import LeftOut
from hiclr.functional import Stream
from hiclr.inference import open_source
from hiclr.model import Model, load_model
from hiclr.onnx import (
    FEATURES,
    LIBRARIES,
    OPSET,
    SEQUENCES,
    Difference,
    check_extra,
    differences,
    metadata,
    random_sequences,
    to_onnx,
)
from hiclr.provenance import provenance, write_json, write_whole

_SUFFIX = ".onnx"
_FREE = {"N": 0, "T": 2, "M": 4}  # the axes that may have any size
_LARGEST_BATCH = 7


def export(
    model: Path,
    out: Path,
    data: Path | None = None,
    kind: str | None = None,
    options: dict[str, Any] | None = None,
    clips: int = 100,
    tolerance: float = 1e-4,
    stream: Stream | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Writes a model as an ONNX file, which runs without PyTorch, and checks its numbers against the model's.

    The file takes prepared joints of any number of sequences, frames and bodies, and gives features and, from a model
    with a classifier, probabilities. Its metadata say what to feed it. It is written only if onnxruntime computes the
    same as PyTorch.

    Args:
        model: a run's folder, a `.ckpt` of it, a model folder, or published weights (`.pt`).
        out: the file to write, `.onnx`; the result goes beside it, as `.onnx.json`.
        data: clips to compare on, prepared or raw, of any kind; random sequences when not given.
        kind: what to take raw data for; recognised when not given (see `hiclr doctor`).
        options: further options of that kind, as in `--options.table clips.csv`.
        clips: how many to compare on, taken from all over the data.
        tolerance: how far numbers may differ; where an output has numbers above 1, as a share of its largest.
        stream: which of the encoders of a checkpoint that holds several; what published weights were trained on.
        seed: of the random sequences.

    Returns:
        The result, as saved: `difference` holds the largest difference of each output, absolute and relative to the
        output's largest number.

    Raises:
        FileNotFoundError: there is no such model, or no such data.
        ValueError: the extra `export` is not installed, the model and the data do not fit, or the two disagree.
    """
    check_extra()
    out = Path(out)
    if out.suffix != _SUFFIX:
        raise ValueError(f"out is the file to write and ends in {_SUFFIX}, got {out}")
    if out.is_dir():
        raise ValueError(f"{out} is a folder: choose another name for the file")
    if clips < 1:
        raise ValueError(f"clips must be at least 1, got {clips}")
    if not tolerance > 0:
        raise ValueError(f"tolerance must be above 0, got {tolerance}")
    loaded = load_model(model, stream)
    compared = _clips(loaded, data, kind, options, clips, seed)
    with console.status("Exporting"):
        contents = to_onnx(loaded)
    batches = list(_batches(compared.x))
    found = differences(loaded, contents, progress("Comparing")(batches))
    _check(found, tolerance)
    result = {
        "protocol": "export",
        "difference": {name: asdict(difference) for name, difference in found.items()},
        "tolerance": tolerance,
        "clips": len(compared.x),
        "data": compared.source,
        "sizes": {letter: sorted({x.shape[axis] for x in batches}) for letter, axis in _FREE.items()},
        "skipped": [one._asdict() for one in compared.skipped],
        "model": {"path": str(model), "epochs": loaded.epochs, "feature_dim": loaded.encoder.feature_dim},
        "file": {"name": out.name, "bytes": len(contents), "sha256": hashlib.sha256(contents).hexdigest()},
        "opset": OPSET,
        "libraries": {name: version(name) for name in LIBRARIES},
        "metadata": metadata(loaded),
        **provenance(),
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    write_whole(out, lambda file: file.write_bytes(contents))
    write_json(out.with_name(f"{out.name}.json"), result)
    _say(out, loaded, found, compared)
    return result


@dataclass(frozen=True)
class _Clips:
    """What the file and the model are compared on.

    Args:
        x: (N, 3, T, V, M), as prepared.
        source: where they come from.
        skipped: recordings that cannot be used, and why.
        remarks: in what they are not quite as the model expects.
    """

    x: Tensor
    source: str
    skipped: tuple[LeftOut, ...] = ()
    remarks: tuple[str, ...] = ()


def _clips(
    model: Model, data: Path | None, kind: str | None, options: dict[str, Any] | None, most: int, seed: int
) -> _Clips:
    if data is None:
        preparation = model.preparation
        return _Clips(random_sequences(model.skeleton, preparation.frames, preparation.bodies, most, seed), "random")
    source = open_source(data, model, kind, options)
    names = source.corpus.samples["name"]
    batch = source.read(_spread(len(names), most))
    skipped = tuple(LeftOut(str(names.iloc[row]), reason) for row, reason in batch.skipped)
    if not len(batch.x):
        raise ValueError(f"none of {len(skipped)} recordings of {data} can be used: {skipped[0].reason}")
    return _Clips(batch.x, str(data), skipped, source.remarks)


def _spread(size: int, most: int) -> NDArray[np.int64]:
    """Up to `most` rows from all over a table, ascending."""
    return np.linspace(0, size - 1, min(size, most)).round().astype(np.int64)


def _batches(x: Tensor) -> Iterator[Tensor]:
    """All of x in batches of 1 to 7, then some of it with other frames and other bodies."""
    first, size = 0, 1
    while first < len(x):
        yield x[first : first + size]
        first, size = first + size, size % _LARGEST_BATCH + 1
    yield x[:2, :, : (x.shape[2] + 1) // 2]
    yield x[:3].repeat(1, 1, 2, 1, 1)
    yield x[:4, ..., :1]
    yield pad(x[:5], (0, 1))  # a body more, who is not there


def _check(found: dict[str, Difference], tolerance: float) -> None:
    for name, difference in found.items():
        if not difference.within(tolerance):
            raise ValueError(
                f"onnxruntime and PyTorch differ by {difference.absolute:.1e} in the {name} ({difference.relative:.1e} "
                f"of the largest), more than {tolerance:g}: nothing is written; an untrained network may need a larger "
                "--tolerance, a trained one should not"
            )


def _say(out: Path, model: Model, found: dict[str, Difference], compared: _Clips) -> None:
    for name, difference in found.items():
        relative = f"  ({difference.relative:.1e} of the largest)"
        print(f"export {name}: onnxruntime and PyTorch differ by at most {difference.absolute:.1e}{relative}")
    what = "random sequences" if compared.source == "random" else f"clips of {compared.source}"
    wide = f"(N, {model.encoder.feature_dim})"
    remarks = [
        f"Compared on {len(compared.x)} {what}, in batches of 1 to {_LARGEST_BATCH}, and on some with other frames "
        "and bodies",
        *compared.remarks,
        *(f"Left out: {name}: {reason}" for name, reason in compared.skipped),
        f"{out} takes {SEQUENCES} (N, 3, T, {model.skeleton.num_joints}, M) and gives {FEATURES} {wide}"
        + ("" if model.head is None else f" and probabilities (N, {len(model.class_names)})"),
        f"Result saved in {out}.json",
    ]
    for remark in remarks:
        say(remark)
