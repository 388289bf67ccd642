"""The verb that makes a page of runs and results, to look at and to send to a colleague."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from hiclr.cli.console import console, progress
from hiclr.cli.results import fitted
from hiclr.data.folder import PreparedFolder
from hiclr.data.module import SkeletonData
from hiclr.device import Accelerator, choose_device
from hiclr.encoders.base import Encoder
from hiclr.encoders.checkpoint import LAST_CHECKPOINT, TrainedEncoder, load_encoder
from hiclr.evaluation import encode
from hiclr.functional import to_stream
from hiclr.provenance import file_hash
from hiclr.reporting.gathering import Gathered, Result, gather
from hiclr.reporting.looking import Rows, look
from hiclr.reporting.page import write_report

_BATCH = 64


def report(
    runs: Sequence[Path],
    out: Path = Path("report.html"),
    title: str | None = None,
    data: Path | None = None,
    sequences: int = 400,
    neighbours: int = 5,
    seed: int = 0,
    accelerator: Accelerator = "auto",
) -> Path:
    """Makes one HTML page of runs and what was measured of them, to look at and to send: hiclr report RUN ...

    All tables, learning curves, confusions, a map of the features, nearest neighbours and a player for the sequences
    are in the one file; it needs no network. The page looks into the first encoder that was trained and measured.

    Args:
        runs: folders of runs, with whatever was measured in and below them; several streams, seeds and methods, and
            ensembles, stand side by side.
        out: the `.html` file; an old one is replaced.
        title: of the page.
        data: the prepared folder, if it is no longer where the results say.
        sequences: how many of the test side are on the map and can be played.
        neighbours: how many training sequences are shown beside each query.
        seed: of what is drawn: sequences, map, views.
        accelerator: cpu, gpu or auto, for the features.

    Returns:
        The page.

    Raises:
        FileNotFoundError: there is no such run, or no such prepared folder.
        ValueError: there is nothing to report, the data are others than were measured on, or so many sequences do not
            fit.
    """
    out = Path(out)
    _check(out, sequences, neighbours)
    gathered = gather([runs] if isinstance(runs, str | Path) else runs)
    return make_page(gathered, out, title, None, data, sequences, neighbours, seed, accelerator)


def make_page(
    gathered: Gathered,
    out: Path,
    title: str | None = None,
    command: str | None = None,
    data: Path | None = None,
    sequences: int = 400,
    neighbours: int = 5,
    seed: int = 0,
    accelerator: Accelerator = "auto",
) -> Path:
    """The page of what was gathered, see `report`; `command` is what repeats all of it."""
    main = gathered.main
    folder, looks, gone = None, {}, ""
    if main is None:
        looks = {"missing": "no encoder was measured yet"}
    else:
        folder, gone = _prepared(main, data)
        looks = {"missing": gone}
    if main is not None and folder is not None:
        features = _Features(main, folder, accelerator)
        learner = main.facts.get("pretraining", {}).get("learner", {})
        looks = look(main, folder, features, learner, sequences, neighbours, seed)
    write_report(out, gathered, folder, looks, title, command, gone)
    for one in gathered.left_out:
        console.print(f"Left out {one}", markup=False, highlight=False)
    console.print(
        f"Report saved in {out} ({out.stat().st_size / 1e6:.1f} MB): open it in a browser",
        markup=False,
        highlight=False,
    )
    return out


def _check(out: Path, sequences: int, neighbours: int) -> None:
    if out.is_dir():
        raise ValueError(f"{out} is a folder: name the page, as in --out {out / 'report.html'}")
    if not 1 <= neighbours <= 7:  # the player shows eight side by side, the query is one of them
        raise ValueError(f"neighbours must be from 1 to 7, got {neighbours}")
    if sequences < 3:
        raise ValueError(f"sequences must be at least 3, got {sequences}")


def _prepared(main: Result, given: Path | None) -> tuple[PreparedFolder | None, str]:
    """The prepared folder, or why there is none; one that was named must be right."""
    facts = main.facts["data"]
    root = given or Path(facts["root"])
    try:
        folder = PreparedFolder.open(root)
        if folder.about.get("source_hash") != facts["source_hash"] or len(folder.samples) != facts["sequences"]:
            raise ValueError(f"{root} holds other data than {main.path} was measured on")
        if facts["benchmark"] not in folder.benchmarks:
            raise ValueError(f"{root} has no benchmark {facts['benchmark']}")
    except (OSError, ValueError) as error:
        if given is not None:
            raise
        return None, f"{error}; name the place of the prepared data with --data"
    return folder, ""


class _Features:
    """Features of rows, by the encoder that was measured; it is loaded when first asked for."""

    def __init__(self, main: Result, folder: PreparedFolder, accelerator: Accelerator) -> None:
        self.main = main
        self.data = SkeletonData(folder.root, str(main.facts["data"]["benchmark"]), _BATCH)
        self.device = choose_device(accelerator)
        self._loaded: tuple[TrainedEncoder, Encoder] | None = None

    def __call__(self, rows: Rows, what: str) -> Tensor:
        """(N, D), finite."""
        if self._loaded is None:
            trained = load_encoder(weights_of(self.main), self.main.facts["stream"])
            self._loaded = trained, fitted(trained, self.data, self.device)
        trained, encoder = self._loaded
        joints = progress(what)(self.data.batches(rows))
        batches = (to_stream(x.to(self.device), trained.stream, self.data.skeleton.parents) for x in joints)
        found = encode(encoder, batches, self.device)
        if not found.isfinite().all():
            raise ValueError(f"{trained.path} gives features that are no finite numbers: its training has diverged")
        return found


def weights_of(result: Result) -> Path:
    """The file of the weights that were measured, wherever its run's folder lies now.

    Raises:
        FileNotFoundError: it is gone, or holds other weights by now.
    """
    if result.fused:
        raise FileNotFoundError("an ensemble has no features of its own")
    if result.protocol == "finetune":
        trained = result.path.with_name(LAST_CHECKPOINT)
        if not trained.is_file():
            raise FileNotFoundError(f"there is no {trained}, the fine-tuned encoder")
        return trained
    checkpoint: dict[str, Any] = result.facts.get("checkpoint", {})
    named = Path(checkpoint.get("path", LAST_CHECKPOINT))
    for file in (named, *(parent / named.name for parent in result.path.absolute().parents[:4])):
        if file.is_file() and file_hash(file) == checkpoint.get("sha256"):
            return file
    raise FileNotFoundError(f"{named} is gone, or has changed since it was measured (trained further, or anew)")
