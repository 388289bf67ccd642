"""What there is to report: the runs below some folders, and what was measured of them."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from hiclr.evaluation import Scores, scores_path
from hiclr.forms import Maybe, Null, fits, is_file_name, read_json, read_text
from hiclr.provenance import METRICS, RUN
from hiclr.reporting.views import VIEWS

MOST_EPOCHS = 10**9
SAME_DATA = ("corpus", "source_hash", "benchmark", "sequences")  # in which two results agree that may stand in a table
_LEARNER = {
    "method": Maybe(str),
    "streams": Maybe([str]),
    **{name: Maybe(Null([[str]] if name == "arrangement" else [str])) for name in VIEWS},
}
_MADE = {  # by which command and versions
    "versions": Maybe({...: Null(str)}),
    **dict.fromkeys(("command", "git_revision", "machine"), Maybe(Null(str))),
}
_TRAINING = {"learner": Maybe(_LEARNER), "max_epochs": Maybe(Null(int)), **_MADE}
_RUN = {**_TRAINING, "learner": _LEARNER}
_RESULT: dict[str, Any] = {
    "protocol": str,
    "stream": Maybe(str),
    "data": {
        **{"root": str, "corpus": str, "source_hash": Null(str), "benchmark": str, "sequences": int},
        "synthetic": Maybe(bool),
    },
    "chance": float,
    "confusion": [[int]],
    "top1_per_class": {...: float},
    "test_sequences": int,
    "train_sequences": Maybe(int),
    "settings": {"label_fraction": Maybe(float), "k": Maybe([int])},
    "checkpoint": Maybe({"path": str, "sha256": str, "epochs": Null(int)}),
    "pretraining": Maybe(_TRAINING),
    "results": Maybe([{"protocol": str, "sha256": str}]),
    "streams": Maybe([str]),
    "weights": Maybe([float]),
    "remarks": Maybe([str]),
    "top1_by_epoch": Maybe({...: float}),
    **dict.fromkeys(
        ("top1_last_epoch", "top1", "top1_best_on_test", "top1_best_weights_on_test", "retrieval_map"),
        Maybe(Null(float)),
    ),
    **_MADE,
}
_ORDER = ("linear", "knn", "finetune")
_NOT_THE_METHOD = (
    *("seed", "stream_seed", "command", "options", "versions", "git_revision", "machine", "repeatable", "processes"),
    *("root", "checkpoint", "labels"),
)


@dataclass(frozen=True, eq=False)
class Result:
    """What a verb measured.

    Args:
        path: its `.json` file.
        facts: what stands in it.
    """

    path: Path
    facts: Mapping[str, Any]

    @property
    def protocol(self) -> str:
        """linear, knn, finetune, ensemble, ensemble-published-protocol."""
        return str(self.facts["protocol"])

    @property
    def data(self) -> tuple[Any, ...]:
        """What it shares with the results it may be compared to."""
        return tuple(self.facts["data"].get(fact) for fact in SAME_DATA)

    @property
    def settings(self) -> dict[str, Any]:
        """Of the protocol, without what belongs to one run of it."""
        own = ("seed", "labels", "from_scratch")
        return {name: value for name, value in self.facts["settings"].items() if name not in own}

    @property
    def from_scratch(self) -> bool:
        """Whether it was fine-tuned from untrained weights."""
        return bool(self.facts["settings"].get("from_scratch"))

    @property
    def rank(self) -> tuple[int, float]:
        """Its place among others: linear, kNN, fine-tuned with more labels before fewer, ensembles."""
        place = _ORDER.index(self.protocol) if self.protocol in _ORDER else len(_ORDER)
        return place, -float(self.settings.get("label_fraction", 1))

    @property
    def fused(self) -> str | None:
        """The protocol whose scores an ensemble fuses; None for a result of one encoder."""
        singles = self.facts.get("results")
        return str(singles[0]["protocol"]) if self.protocol.startswith("ensemble") and singles else None

    @property
    def top1(self) -> float | None:
        """The headline: of the last epoch, or of the first k. None if it was chosen on the test side."""
        return _number(self.facts, "top1_last_epoch", "top1")

    @property
    def best_on_test(self) -> float | None:
        """What the literature reports: the best epoch, or the best weights, on the test side."""
        return _number(self.facts, "top1_best_on_test", "top1_best_weights_on_test")

    def scores(self) -> Scores:
        """Its class scores of the test side.

        Raises:
            FileNotFoundError: they are gone.
            ValueError: the file holds something else, or the scores of another result.
        """
        path = scores_path(self.path)
        scores = Scores.load(path)
        if scores.confusion().tolist() != self.facts["confusion"]:
            raise ValueError(f"{path} holds other scores than {self.path} was made from")
        return scores


@dataclass(frozen=True, eq=False)
class Run:
    """A training.

    Args:
        folder: where it lies.
        facts: its `run.json`.
        metrics: its `metrics.csv`, a row per epoch; None if it has none.
    """

    folder: Path
    facts: Mapping[str, Any]
    metrics: pd.DataFrame | None


@dataclass(eq=False)
class Encoder:
    """An encoder, or several that differ by seed alone: a row of the tables.

    Args:
        name: each once among those of a stream.
        stream: what it sees.
        epochs: how long it was trained; None where that is not known.
        facts: of the run that made it (of the first seed); empty for published weights.
        results: what was measured of it, of all seeds.
        runs: that made it, one a seed.
    """

    name: str
    stream: str
    epochs: int | None
    facts: Mapping[str, Any]
    results: list[Result] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)

    @property
    def seeds(self) -> list[Any]:
        """Of its trainings."""
        known = [result.facts.get("pretraining", {}) for result in self.results] + [run.facts for run in self.runs]
        return sorted({str(facts["seed"]) for facts in known if "seed" in facts})


@dataclass(frozen=True, eq=False)
class Gathered:
    """All there is on a page.

    Args:
        encoders: in the order in which they were named.
        finetunings: runs with labels.
        left_out: files that look like results and cannot be read, and why.
    """

    encoders: list[Encoder]
    finetunings: list[Run]
    left_out: list[str]

    @property
    def results(self) -> list[Result]:
        """Of all encoders."""
        return [result for encoder in self.encoders for result in encoder.results]

    def label(self, encoder: Encoder) -> str:
        """Its name, with its stream where that is needed to tell it from another."""
        twins = [other for other in self.encoders if other.name == encoder.name]
        return encoder.name if len(twins) == 1 else f"{encoder.name}, {encoder.stream}"

    @property
    def subject(self) -> Encoder:
        """The encoder that the page looks into: the first that was trained and measured."""
        single = [encoder for encoder in self.encoders if any(not result.fused for result in encoder.results)]
        measured = single or [encoder for encoder in self.encoders if encoder.results] or self.encoders
        return next((encoder for encoder in measured if encoder.epochs != 0), measured[0])

    @property
    def main(self) -> Result | None:
        """The result that the page looks into; None if nothing was measured."""
        return min(self.subject.results, key=lambda result: (result.fused is not None, result.rank), default=None)


def gather(places: Sequence[Path]) -> Gathered:
    """Reads what lies in and below some folders.

    Args:
        places: folders of runs, or of many; or a result's `.json`.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: nothing is named, or there is nothing to report.
    """
    if not places:
        raise ValueError("name what to report: hiclr report RUN ...")
    results: list[Result] = []
    runs: list[Run] = []
    left_out: list[str] = []
    for file in _files(places):
        content, reason = _read(file)
        if file.name == RUN:
            if content is not None and fits(content, _RUN):
                runs.append(Run(file.parent, content, _metrics(file.with_name(METRICS))))
        elif reason and _named_as_a_result(file):
            left_out.append(f"{file}: {reason}")
        elif content is not None and is_result(content):
            results.append(Result(file, content))
        elif _named_as_a_result(file):
            left_out.append(f"{file}: it is no result of this hiclr")
    if not results and not runs:
        raise ValueError(
            f"no run and no result in {' or '.join(map(str, places))}: train (hiclr pretrain) and measure "
            "(hiclr linear, knn, finetune) first"
        )
    with_labels = [run for run in runs if run.facts["learner"].get("method") == "Classifier"]
    return Gathered(_encoders(results, [run for run in runs if run not in with_labels]), with_labels, left_out)


def results_in(folder: Path) -> list[Result]:
    """The results that lie in a folder itself, by name."""
    read = ((file, _read(file)[0]) for file in sorted(folder.glob("*.json")))
    return [Result(file, content) for file, content in read if content is not None and is_result(content)]


def _number(facts: Mapping[str, Any], *names: str) -> float | None:
    """The first of these that there is."""
    return next((float(facts[name]) for name in names if facts.get(name) is not None), None)


def _files(places: Sequence[Path]) -> list[Path]:
    files: dict[Path, Path] = {}  # a folder may be named beside one above it
    for place in map(Path, places):
        if not place.exists():
            raise FileNotFoundError(f"no run {place}: name a folder that hiclr pretrain, linear, knn or finetune made")
        found = sorted(place.rglob("*.json")) if place.is_dir() else [place]
        files |= {file.resolve(): file for file in found if file.resolve() not in files}
    return list(files.values())


def _read(file: Path) -> tuple[dict[str, Any] | None, str]:
    try:
        content = read_json(file)
    except (ValueError, OSError) as error:
        return None, f"it cannot be read ({error})"
    return (content, "") if isinstance(content, dict) else (None, "it is no result")


def is_result(content: Any) -> bool:
    """Whether a JSON file holds what a verb measured, as all that reads results relies on."""
    if not fits(content, _RESULT) or not is_file_name(content["data"]["benchmark"]):
        return False
    classes, counts = len(content["top1_per_class"]), content["confusion"]
    square = len(counts) == classes and all(len(row) == classes for row in counts)
    return square and ("streams" if content.get("results") else "stream") in content


def _named_as_a_result(file: Path) -> bool:
    return file.name.startswith(("linear-", "knn-", "finetune-", "ensemble-"))


def _metrics(file: Path) -> pd.DataFrame | None:
    try:
        metrics = pd.read_csv(io.StringIO(read_text(file)))
    except (OSError, ValueError):  # none was trained, or it is cut
        return None
    if "epoch" not in metrics:
        return None
    metrics["epoch"] = pd.to_numeric(metrics["epoch"], errors="coerce")
    metrics = metrics[metrics["epoch"].between(0, MOST_EPOCHS)]
    return metrics if len(metrics) else None


def _encoders(results: Sequence[Result], runs: Sequence[Run]) -> list[Encoder]:
    """Results and runs by what made them, alike but for the seed."""
    by_key: dict[str, Encoder] = {}
    folders: dict[str, str] = {}
    for result in results:
        facts, checkpoint = result.facts, result.facts.get("checkpoint", {})
        made = {} if result.from_scratch else facts.get("pretraining", {})
        if result.fused:
            parts = [part.get("sha256") for part in facts["results"]]
            stream, key = " + ".join(facts["streams"]), f"ensemble {parts} {facts.get('weights')}"
        else:
            stream, trained = str(facts.get("stream", "–")), made or checkpoint.get("sha256")
            key = _key(trained, stream, checkpoint.get("epochs"), result.from_scratch)
        encoder = by_key.setdefault(key, Encoder(_base_name(result), stream, checkpoint.get("epochs"), made))
        encoder.results.append(result)
        folders.setdefault(key, Path(checkpoint["path"]).parent.name if checkpoint else result.path.parent.name)
    for run in runs:
        for stream in run.facts["learner"].get("streams", ["joint"]):
            done = len(run.metrics) if run.metrics is not None else 0
            keys = [_key(run.facts, stream, epochs, False) for epochs in (done, run.facts.get("max_epochs"))]
            key = next((key for key in keys if key in by_key), keys[0])
            if key not in by_key:
                by_key[key] = Encoder(_method_name(run.facts, done), stream, done, run.facts)
                folders[key] = run.folder.resolve().name
            by_key[key].runs.append(run)
    _tell_apart(list(by_key.values()), list(map(folders.__getitem__, by_key)))
    return list(by_key.values())


def _key(trained: Any, stream: str, epochs: int | None, from_scratch: bool) -> str:
    """The same for two encoders that differ by their seed alone."""
    text = json.dumps([_without_the_one_run(trained), stream, epochs, from_scratch], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _without_the_one_run(facts: Any) -> Any:
    if isinstance(facts, Mapping):
        return {name: _without_the_one_run(value) for name, value in facts.items() if name not in _NOT_THE_METHOD}
    return facts


def _base_name(result: Result) -> str:
    facts = result.facts
    if result.fused:
        return "ensemble, published protocol" if result.protocol.endswith("protocol") else "ensemble"
    if result.from_scratch:
        return "from scratch"
    return _method_name(facts.get("pretraining", {}), facts.get("checkpoint", {}).get("epochs"))


def _method_name(facts: Mapping[str, Any], epochs: int | None) -> str:
    if not facts:
        return "published weights" if epochs is None else "untrained encoder"
    method = str(facts.get("learner", {}).get("method", "encoder"))
    if method == "Classifier":
        return "fine-tuned encoder"
    return "untrained encoder" if epochs == 0 else f"{method}, {epochs} epoch{'' if epochs == 1 else 's'}"


def _tell_apart(encoders: Sequence[Encoder], folders: Sequence[str]) -> None:
    """Gives encoders of the same name and stream the names of their folders, then numbers."""
    for names in (folders, [str(place) for place in range(1, len(encoders) + 1)]):
        seen = [(encoder.name, encoder.stream) for encoder in encoders]
        for encoder, name, label in zip(encoders, names, seen, strict=True):
            if seen.count(label) > 1:
                encoder.name = f"{encoder.name} ({name})"
