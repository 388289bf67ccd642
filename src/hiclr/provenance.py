"""What a result needs beside its figures to be repeated: command, options, versions, revision, machine, file hashes."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch

from hiclr.data.folder import PreparedFolder
from hiclr.repeatable import repeatable
from hiclr.resources import room_for

RUN, METRICS = "run.json", "metrics.csv"  # of a run, in its folder
PARTIAL = ".partial"  # what the name of a file ends in until it is whole

# the command line's resolved options; stays empty when a verb is called from Python
resolved_options: dict[str, Any] = {}


def provenance(device: torch.device | None = None, processes: int = 1) -> dict[str, Any]:
    """Command, options, versions, revision and machine of this process, in plain containers.

    Args:
        device: that computes; the CPU when not given.
        processes: that share the work.
    """
    revision = _git_revision()
    return {
        "command": shlex.join(["hiclr", *sys.argv[1:]]) if resolved_options else None,
        "options": resolved_options or None,
        "git_revision": revision,
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("hiclr", "torch", "lightning", "numpy", "scikit-learn")},
        },
        "machine": f"{platform.system()} {platform.machine()}",
        "repeatable": repeatable(device or torch.device("cpu"), processes, (revision or "").endswith("-dirty")),
    }


def describe_data(folder: PreparedFolder, benchmark: str | None) -> dict[str, Any]:
    """Which data a result was made with."""
    return {
        "root": str(folder.root),
        "corpus": folder.about["corpus"],
        "synthetic": folder.about.get("synthetic", False),
        "source_hash": folder.about.get("source_hash"),
        "sequences": len(folder.samples),
        "benchmark": benchmark,
        "preparation": asdict(folder.preparation),
    }


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Writes readable JSON; an interrupted write leaves the old file."""
    text = json.dumps(content, indent=2, ensure_ascii=False, default=str) + "\n"
    write_whole(path, lambda file: file.write_text(text, encoding="utf-8"))


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Lets `write` make a file under another name, then puts it in its place: it is there whole or not at all.

    So it is whatever ends the process or the machine meanwhile, and when several processes write it at once.
    """
    partial = path.with_name(f"{path.name}.{uuid4().hex[:8]}{PARTIAL}")
    try:
        with room_for(path):
            write(partial)
            _to_disk(partial)
            partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    if os.name == "posix":
        with suppress(OSError):  # some network file systems cannot; the file is whole and in its place
            _to_disk(path.parent)  # that it has its name now


def _to_disk(path: Path) -> None:
    """Waits until a file, or the names in a folder, would outlive a power cut."""
    opened = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)  # Windows wants to be able to write
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _git_revision() -> str | None:
    """Revision of the checkout hiclr runs from, with "-dirty" for uncommitted changes; None outside one."""
    here = Path(__file__).parent
    try:
        said = subprocess.run(
            ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
            capture_output=True,
            text=True,
            check=True,
        )
        tracked = subprocess.run(
            ["git", "-C", str(here), "ls-files", "--error-unmatch", Path(__file__).name], capture_output=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return said.stdout.strip() if tracked.returncode == 0 else None
