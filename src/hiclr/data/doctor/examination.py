"""The examination: recognise, open, look at every recording once, judge."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hiclr.data.doctor.diagnosis import Diagnosis
from hiclr.data.doctor.facts import all_facts
from hiclr.data.doctor.findings import Checkup, about_recordings
from hiclr.data.doctor.splits import about_corpus
from hiclr.data.opening import PREPARED, opener, recognise, with_table


def examine(
    path: Path | str,
    kind: str | None = None,
    options: Mapping[str, Any] | None = None,
    processes: int | None = None,
    progress: bool = True,
) -> Diagnosis:
    """Looks at raw or prepared data and says what is in it, what is wrong with it and what to do next.

    Each recording is read once; nothing is written. Data that cannot be opened at all is a finding, too.

    Args:
        path: a folder or file of any kind that `hiclr prepare` reads, or a folder it made.
        kind: what to take it for: "prepared", "synthetic" or a verb of `hiclr prepare`; recognised when None.
        options: further arguments of that verb's corpus function, such as `missing` of ntu60. A table of clips
            (a CSV with the columns name and label, in the folder or beside it) is found when there is only one.
        processes: how many work at once; as many as there are cores when None.
        progress: show a progress bar.

    Raises:
        FileNotFoundError: there is nothing at `path`.
        ValueError: nothing there is known, or an option is not one of that kind.
    """
    path, options = Path(path), dict(options or {})
    kind = kind or recognise(path)
    open_kind = opener(kind, options)
    options = with_table(kind, path, options)
    try:
        corpus = open_kind(path, **options)
    except ValueError as error:
        return Diagnosis.unopened(path, kind, str(error))
    checkup = Checkup(path, kind, corpus, all_facts(corpus, kind == PREPARED, processes, progress), options)
    return Diagnosis.of(checkup, (*about_corpus(checkup), *about_recordings(checkup)))
