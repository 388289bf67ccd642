"""Verbs that use a model: features and classes of one's own recordings."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from hiclr.cli.answers import say_skipped, show_clips, show_timelines, write_clips, write_timelines
from hiclr.cli.console import progress, say
from hiclr.data.corpora.base import LeftOut
from hiclr.device import Accelerator, choose_device
from hiclr.functional import Stream
from hiclr.inference import Embeddings, Predictions, Source, classify, embed_source, open_source
from hiclr.memory import keep_freed
from hiclr.model import Model, load_model
from hiclr.provenance import provenance, resolved_options, write_whole
from hiclr.timeline import Timelines, follow

_SLOWEST, _FASTEST = 1.0, 1000.0  # frames in a second
_OVERLAP = 4  # windows that see a frame, unless a stride is given


def embed(
    model: Path | str,
    data: Path | str,
    out: Path | str | None = None,
    stream: Stream | None = None,
    kind: str | None = None,
    options: dict[str, Any] | None = None,
    batch_size: int = 64,
    accelerator: Accelerator = "auto",
) -> Embeddings:
    """Turns recordings into features: a table of numbers, a row each, with names and labels.

    Args:
        model: a run's folder, a checkpoint, a model folder, published weights, or the name of a model on the Hugging
            Face Hub, `owner/name`.
        data: raw recordings of any kind that `hiclr prepare` reads, a single clip, or a prepared folder.
        out: `.npz` or `.parquet` file for the features (Python may leave it out). A `.npz` holds names, features and,
            where they are known, labels and class_names; a `.parquet` has a column for each feature.
        stream: which of the encoders of a checkpoint that holds several; what published weights were trained on.
        kind: what to take the data for; recognised when not given.
        options: further options of that kind, as in `--options.units mm`.
        batch_size: sequences encoded at a time.
        accelerator: cpu, gpu or auto.

    Returns:
        The features, with names and labels.

    Raises:
        FileNotFoundError: there is no such model, or there are no such data.
        ValueError: the data do not fit the model, or none of them can be used.
    """
    if out is None and resolved_options:  # on the command line, features that are not written are lost
        raise ValueError("say where the features shall go: --out features.npz, or features.parquet")
    write = None if out is None else _writer(Path(out))
    used, source, device = _open(model, data, stream, kind, options, accelerator)
    found = embed_source(used, source, None, batch_size, device, progress("Features"))
    say(f"{len(found.names)} sequences, {found.features.shape[1]} features each")
    say_skipped(found.skipped)
    if out is not None and write is not None:
        Path(out).parent.mkdir(parents=True, exist_ok=True)
        write_whole(Path(out), lambda file: write(found, file))
        say(f"Features saved in {out}")
    return found


def predict(
    model: Path | str,
    data: Path | str,
    out: Path | str | None = None,
    top: int = 3,
    window: float | None = None,
    stride: float | None = None,
    fps: float | None = None,
    stream: Stream | None = None,
    kind: str | None = None,
    options: dict[str, Any] | None = None,
    batch_size: int = 64,
    accelerator: Accelerator = "auto",
) -> Predictions | Timelines:
    """Names the class of each clip or, with a window, who does what when in long recordings.

    Writes `predictions.csv`, `predictions.json` and `predictions.png`. A window slides over each raw recording, and
    what it sees is prepared and classified like a clip; a moment has the mean probability of all windows that see it.

    Args:
        model: with a classifier: one that `hiclr linear`, `finetune` or `teach` made (a run's folder, a checkpoint, a
            model folder), or the name of one on the Hugging Face Hub.
        data: raw recordings of any kind that `hiclr prepare` reads, a single clip, or a prepared folder.
        out: folder for the files; named after the data when not given (from Python, nothing is written then).
        top: how many classes are told of each clip.
        window: length of the window, in frames, or in seconds if fps is given.
        stride: from the beginning of one window to that of the next; a quarter of the window when not given.
        fps: frames in a second of the recordings, for times in seconds.
        stream: which of the encoders of a checkpoint that holds several.
        kind: what to take the data for; recognised when not given.
        options: further options of that kind, as in `--options.units mm`.
        batch_size: sequences encoded at a time.
        accelerator: cpu, gpu or auto.

    Returns:
        The probabilities of all classes, by clip or by window.

    Raises:
        FileNotFoundError: there is no such model, or there are no such data.
        ValueError: the model has no classifier, the data do not fit it or none of them can be used, or a window cannot
            be so.
    """
    if top < 1:
        raise ValueError(f"top must be at least 1, got {top}")
    slide = _window(window, stride, fps)
    if out is None and resolved_options:
        place = Path(data).resolve()
        out = Path(f"{place.name if place.is_dir() else place.stem}-predictions")
    if out is not None and Path(out).is_file():
        raise ValueError(f"{out} is a file: choose a folder for the predictions")
    used, source, device = _open(model, data, stream, kind, options, accelerator)
    _ = used.class_names  # a model without a classifier says so before the work
    known = {"protocol": "predict", "model": str(model), "epochs": used.epochs, "data": str(data)}
    if slide is None:
        clips = classify(used, embed_source(used, source, None, batch_size, device, progress("Clips")))
        show_clips(clips, top)
        say_skipped(clips.skipped)
        if out is not None:
            write_clips(Path(out), clips, top, known | provenance(device))
        return clips
    if source.folder is not None:
        raise ValueError(
            f"{data} is prepared, all of its sequences have one length: give the raw recordings to a window"
        )
    found = _follow_all(used, source, *slide, batch_size, device)
    show_timelines(found, fps)
    say_skipped(found.skipped)
    if out is not None:
        windows = {"window": slide[0], "stride": slide[1]}
        write_timelines(Path(out), found, top, fps, known | windows | provenance(device))
    return found


def _open(
    model: Path | str,
    data: Path | str,
    stream: Stream | None,
    kind: str | None,
    options: dict[str, Any] | None,
    accelerator: Accelerator,
) -> tuple[Model, Source, torch.device]:
    device = choose_device(accelerator)
    used = load_model(model, stream)
    source = open_source(data, used, kind, options)
    for remark in source.remarks:
        say(remark)
    if device.type == "cpu":
        keep_freed()
    return used, source, device


def _window(window: float | None, stride: float | None, fps: float | None) -> tuple[int, int] | None:
    """Window and stride in frames; None without a window."""
    if window is None:
        if stride is not None or fps is not None:
            raise ValueError("stride and fps are of a window: say how long it shall be (--window)")
        return None
    if fps is not None and not _SLOWEST <= fps <= _FASTEST:
        raise ValueError(f"fps must be from {_SLOWEST:g} to {_FASTEST:g} frames in a second, got {fps:g}")
    length = _frames("window", window, fps)
    return length, max(1, length // _OVERLAP) if stride is None else _frames("stride", stride, fps)


def _frames(what: str, value: float, fps: float | None) -> int:
    if fps is None and not float(value).is_integer():
        raise ValueError(f"a {what} of {value:g} is no number of frames: give --fps too, for seconds")
    frames = round(value * (fps or 1)) if np.isfinite(value) else 0
    if frames < 1:
        raise ValueError(f"{what} must be at least 1 frame, got {value:g}{'' if fps is None else ' s'}")
    return frames


def _follow_all(
    model: Model, source: Source, window: int, stride: int, batch_size: int, device: torch.device
) -> Timelines:
    corpus = source.corpus
    names = corpus.samples["name"].tolist()
    alone = len(names) == 1
    timelines, skipped = [], []
    for row in range(1) if alone else progress("Recordings")(range(len(names))):
        bar = progress("Windows") if alone else iter
        try:
            recording = corpus.read(row)
            timelines.append(follow(model, corpus, recording, window, stride, batch_size, device, bar))
        except ValueError as error:
            skipped.append(LeftOut(str(names[row]), str(error)))
    if not timelines:
        raise ValueError(f"none of the {len(names)} recordings of {corpus.name} can be used: {skipped[0].reason}")
    return Timelines(tuple(timelines), tuple(skipped))


# --- files of features ------------------------------------------------------------------------------------------------


def _writer(out: Path) -> Callable[[Embeddings, Path], None]:
    """How features are written into a file of this ending.

    Raises:
        ValueError: there is no such form, or what it needs is not installed.
    """
    if out.is_dir():
        raise ValueError(f"{out} is a folder: name a file in it for the features, such as {out / 'features.npz'}")
    if out.suffix == ".npz":
        return _write_npz
    if out.suffix != ".parquet":
        raise ValueError(f"features are written as .npz or .parquet, not as {out.name!r}")
    try:
        importlib.import_module("pyarrow")
    except ImportError as error:
        raise ValueError(f'a .parquet file needs the extra "export" ({error}): pip install "hiclr[export]"') from None
    return _write_parquet


def _write_npz(found: Embeddings, path: Path) -> None:
    arrays = {
        "names": np.array(found.names),
        "features": found.features,
        "skipped": np.array([name for name, _ in found.skipped], dtype=str),
    }
    if found.class_names is not None:
        arrays |= {"labels": found.samples["label"].to_numpy("int64"), "class_names": np.array(found.class_names)}
    content = BytesIO()  # a full disk makes a ZIP file that is left open complain once more on the screen
    np.savez(content, **arrays)
    path.write_bytes(content.getbuffer())


def _write_parquet(found: Embeddings, path: Path) -> None:
    known = found.samples.copy()
    if found.class_names is not None:
        known["class"] = found.classes
    columns = [f"feature_{place}" for place in range(found.features.shape[1])]
    table = pd.concat([known, pd.DataFrame(found.features, columns=columns)], axis=1)
    table.attrs["skipped"] = dict(found.skipped)
    table.to_parquet(path, index=False)
