"""Verbs about data: simulate a corpus, look at one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hiclr.cli.console import console
from hiclr.data.corpora.ntu import synthetic
from hiclr.data.doctor import Diagnosis, examine
from hiclr.data.folder import PreparedFolder
from hiclr.data.prepare import prepare
from hiclr.data.synthetic import synthesise
from hiclr.provenance import write_json
from hiclr.screen import Screen


def prepare_synthetic(
    out: Path, subjects: int = 8, repetitions: int = 2, seed: int = 0, frames: int = 50, overwrite: bool = False
) -> PreparedFolder:
    """Simulates a small corpus, writes it as NTU `.skeleton` files (`<out>-raw`) and prepares it.

    Args:
        out: prepared folder to write.
        subjects: how many people perform.
        repetitions: how often each performs each action.
        seed: of everything random in it.
        frames: T, the length every sequence is resampled to.
        overwrite: replace a folder prepared from other data or with other options.
    """
    out = Path(out)
    raw = synthesise(out.with_name(f"{out.name}-raw"), subjects=subjects, repetitions=repetitions, seed=seed)
    return prepare(synthetic(raw), out, frames=frames, overwrite=overwrite)


def doctor(
    path: Path,
    kind: str | None = None,
    options: dict[str, Any] | None = None,
    json: Path | None = None,
    processes: int | None = None,
    progress: bool = True,
) -> Diagnosis:
    """Looks at raw or prepared data: what is in it, what is wrong with it, what to do next.

    Ends with exit code 1 when something would spoil a result.

    Args:
        path: a folder or file of any kind that `hiclr prepare` reads, or a folder it made.
        kind: what to take it for: "prepared", "synthetic" or a kind of `hiclr prepare`; recognised when not given.
        options: further options of that kind, as in `--options.table clips.csv`.
        json: file for the whole diagnosis, which the screen shortens.
        processes: how many work at once; as many as there are cores when not given.
        progress: show a progress bar.

    Raises:
        FileNotFoundError: there is nothing at `path`.
        ValueError: nothing there is known, or the kind has no such option.
    """
    diagnosis = examine(path, kind, options, processes, progress)
    diagnosis.print(Screen())
    if json is not None:
        write_json(json, diagnosis.to_dict())
        console.print(f"all of it in {json}", markup=False, highlight=False)
    return diagnosis
