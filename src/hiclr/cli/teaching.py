"""The verb that teaches a model one's own classes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hiclr.card import figure_name
from hiclr.cli.answers import say_skipped
from hiclr.cli.console import progress, say
from hiclr.cli.results import record, save_model
from hiclr.data.corpora.base import some
from hiclr.data.module import SkeletonData
from hiclr.device import Accelerator, choose_device
from hiclr.encoders.checkpoint import load_encoder
from hiclr.evaluation import Scores
from hiclr.functional import Stream
from hiclr.inference import Embeddings, Rows, Source, classify, embed_source, open_source
from hiclr.memory import keep_freed
from hiclr.model import Model, check_free, load_model
from hiclr.teaching import KINDS, Kind, Lesson, learn, places_in_class

_NAMED = 8  # classes in a sentence


def teach(
    model: Path | str,
    examples: Path | str,
    out: Path | str | None = None,
    classifier: Kind = "logistic",
    per_class: int | None = None,
    seed: int = 0,
    benchmark: str | None = None,
    stream: Stream | None = None,
    kind: str | None = None,
    options: dict[str, Any] | None = None,
    batch_size: int = 64,
    accelerator: Accelerator = "auto",
) -> Model:
    """Teaches a model your own classes, with as few as five clips of each.

    The encoder stays as it is; a classifier learns from the features of the examples. Says how many examples are
    recognised when they are left out of the learning: what to expect of new clips of the same people.

    Args:
        model: a run's folder, a checkpoint, a model folder, published weights, or the name of a model on the Hugging
            Face Hub, `owner/name`. A classifier that it has is replaced.
        examples: clips and their classes: raw data of any kind that `hiclr prepare` reads with labels (own clips: a
            folder, and in it or beside it a table with the columns name and label), or a prepared folder.
        out: model folder to write. With a benchmark: folder for the result, `teach-<benchmark>.json`, and the model,
            `teach-<benchmark>-model`; that of the given model when not given.
        classifier: "logistic": logistic regression; "mean": the class whose mean example is nearest.
        per_class: how many examples are drawn of each class; all of them serve when not given.
        seed: of the draw.
        benchmark: of a prepared folder: the examples are of its training side, and its test side is scored.
        stream: which of the encoders of a checkpoint that holds several; what published weights were trained on.
        kind: what to take the examples for; recognised when not given.
        options: further options of that kind, as in `--options.table clips.csv`.
        batch_size: sequences encoded at a time.
        accelerator: cpu, gpu or auto.

    Returns:
        The model with its new classifier, as saved.

    Raises:
        FileNotFoundError: there is no such model, or there are no such examples.
        ValueError: the examples have no labels, are of one class, or none of a class can be used; they do not fit the
            model; or it is not said where the model shall go.
    """
    if classifier not in KINDS:
        raise ValueError(f"unknown classifier {classifier!r}: choose one of {', '.join(KINDS)}")
    if per_class is not None and per_class < 1:
        raise ValueError(f"per_class must be at least 1, got {per_class}")
    if benchmark is None and out is None:
        raise ValueError("say where the model shall go: --out my-model")
    if benchmark is None:
        check_free(Path(str(out)))
    device = choose_device(accelerator)
    known = load_model(model, stream)
    source = open_source(examples, known, kind, options)
    rows = _drawn(source, _side(source, benchmark, examples), per_class, seed)
    for remark in source.remarks:
        say(remark)
    if device.type == "cpu":
        keep_freed()
    shown = embed_source(known, source, rows, batch_size, device, progress("Examples"))
    say_skipped(shown.skipped)
    taught = _taught(source, shown, rows)
    names = [source.corpus.class_names[label] for label in taught]
    labels = torch.from_numpy(np.searchsorted(taught, shown.samples["label"].to_numpy("int64")))
    lesson = learn(torch.from_numpy(shown.features), labels, names, classifier, progress("Learning"))
    _say_lesson(lesson, shown, source)
    done = Model(
        known.encoder, known.stream, source.preparation, lesson.head, known.epochs, known.run, _figures(lesson)
    )
    if benchmark is None:
        save_model(done.cpu(), Path(str(out)))
        return done
    data = SkeletonData(examples, benchmark, batch_size)
    scores = _scores(
        done, embed_source(done, source, data.test_rows, batch_size, device, progress("Test side")), taught
    )
    done.figures[figure_name("teach", data.folder.about["corpus"], benchmark)] = scores.top1
    settings = {"classifier": classifier, "per_class": per_class, "seed": seed, "setting": lesson.setting}
    figures = {"top1": scores.top1, **({} if lesson.estimate is None else {"left_out_examples_top1": lesson.estimate})}
    folder = None if out is None else Path(out)
    trained = load_encoder(model, stream)
    record("teach", trained, data, folder, figures, scores, settings, len(labels), model=done.cpu(), device=device)
    return done


# --- the examples -----------------------------------------------------------------------------------------------------


def _side(source: Source, benchmark: str | None, examples: Path | str) -> Rows:
    """The rows that may be drawn from.

    Raises:
        ValueError: they have no labels, or there is no such benchmark.
    """
    if not source.labelled:
        raise ValueError(
            f"{examples} has no labels to learn from: lay a table with the columns name and label beside it, "
            "or name one (--options.table clips.csv)"
        )
    if benchmark is None:
        return np.arange(len(source.corpus.samples))
    if source.folder is None:
        raise ValueError(f"--benchmark needs a prepared folder, and {examples} is none: run `hiclr prepare` first")
    source.folder.indices(benchmark, "test")  # refuses where there is none
    return source.folder.indices(benchmark, "train")


def _drawn(source: Source, rows: Rows, per_class: int | None, seed: int) -> Rows:
    """Some rows of each class, ascending; a draw of fewer is part of one of more, with the same seed."""
    if per_class is None:
        return rows
    order = np.random.default_rng(seed).permutation(rows)
    places = places_in_class(source.corpus.samples["label"].to_numpy("int64")[order])
    return np.sort(order[places < per_class])


def _taught(source: Source, shown: Embeddings, rows: Rows) -> list[int]:
    """The labels that there are examples of, ascending; says of which classes there are none.

    Raises:
        ValueError: it is one alone, or no example of a class can be used.
    """
    names, wanted = source.corpus.class_names, source.corpus.samples["label"].iloc[rows]
    taught = sorted(set(shown.samples["label"]))
    lost = sorted(set(wanted) - set(taught))
    if lost:
        reasons = dict(shown.skipped)
        name = next(name for name in source.corpus.samples["name"].iloc[rows[wanted == lost[0]]] if name in reasons)
        raise ValueError(f"no example of {names[lost[0]]!r} can be used ({name}: {reasons[name]}): add another")
    if len(taught) < 2:
        raise ValueError(f"all examples are of one class, {names[taught[0]]!r}: teaching needs two or more")
    absent = [name for label, name in enumerate(names) if label not in taught]
    if absent:
        say(f"Without examples, and so not taught: {some(absent, _NAMED)}")
    return taught


# --- what is said and measured ----------------------------------------------------------------------------------------


def _say_lesson(lesson: Lesson, shown: Embeddings, source: Source) -> None:
    counts = shown.samples["label"].value_counts()
    fewest, most = counts.min(), counts.max()
    each = f"{fewest}" if fewest == most else f"{fewest} to {most}"
    say(f"{len(shown.names)} examples of {len(counts)} classes, {each} of each")
    if fewest == 1 < most:
        single = [source.corpus.class_names[label] for label in sorted(counts.index[counts == 1])]
        say(f"One example alone, a weak one to go by: {some(single, _NAMED)}")
    if lesson.estimate is None:
        say("With one example of each class nothing can be left out: neither accuracy nor probabilities are tested")
        return
    out = "one at a time" if lesson.kind == "mean" else "a fifth at a time"
    say(
        f"Left out of the learning, {out}, {lesson.estimate:.1f} % of {lesson.estimated_on} examples are recognised "
        f"(chance {100 / len(counts):.1f} %)"
    )


def _figures(lesson: Lesson) -> dict[str, float]:
    return {} if lesson.estimate is None else {"top-1 of examples left out of the learning, %": lesson.estimate}


def _scores(model: Model, test: Embeddings, taught: Sequence[int]) -> Scores:
    """Probabilities of all classes of the data; those that were not taught have none."""
    found = classify(model, test).probabilities
    assert test.class_names is not None  # they are of a benchmark
    scores = torch.zeros(len(found), len(test.class_names))
    scores[:, list(taught)] = torch.from_numpy(found)
    return Scores(test.names, torch.tensor(test.samples["label"].to_numpy("int64")), scores)
