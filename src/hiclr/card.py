"""The model card: what people should know of a model before they use it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import yaml
from jinja2 import Environment, StrictUndefined

from hiclr.pages import read_page

if TYPE_CHECKING:
    from hiclr.model import Model

# how they are called where the class names leave it open
_NETWORKS = {"STGCN": "ST-GCN"}
_TAGS = ("skeleton", "skeleton-based-action-recognition", "action-recognition", "self-supervised-learning", "pose")


def model_card(model: Model, name: str) -> str:
    """The card of a model, Markdown with the metadata that the Hub reads.

    Of the record of its training only what is named here is shown: no place on its author's machine.

    Args:
        model: what it is about.
        name: what people will load it by: a folder, or `owner/name`.
    """
    page = Environment(undefined=StrictUndefined, keep_trailing_newline=True)
    page.filters["cell"] = _cell
    skeleton, head, data = model.skeleton, model.head, _part(model.run, "data")
    network = _network(model)
    metadata = {
        "library_name": "hiclr",
        "tags": [*_TAGS, network.lower(), f"{skeleton.num_joints}-joints", f"{model.stream}-stream"],
    }
    return page.from_string(read_page("card.md")).render(
        metadata=yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True),
        title=_cell(
            f"{network} for {skeleton.num_joints} joints ({data.get('corpus', skeleton.name)}, {model.stream})"
        ),
        summary=_summary(model, network),
        name=name,
        version=version("hiclr"),
        feature_dim=model.encoder.feature_dim,
        classes=() if head is None else head.class_names,
        facts=list(_facts(model, network)),
        preparation=model.preparation,
        centre=_centre(model),
        bodies=_bodies(model.preparation.bodies),
        skeleton=skeleton,
        joints=[
            (joint, _parent(skeleton.joint_names, at))
            for joint, at in zip(skeleton.joint_names, skeleton.parents, strict=True)
        ],
        figures=model.figures,
        recipe=list(_recipe(model)),
        limits=list(_limits(model, data)),
    )


def figure_name(protocol: str, corpus: str, benchmark: str | None) -> str:
    """What the card calls a headline: the accuracy in per cent of a protocol."""
    return f"{protocol} top-1 on {corpus} {benchmark}, %"


def _summary(model: Model, network: str) -> str:
    what = f"{network} makes {model.encoder.feature_dim} features of a 3D skeleton sequence of one action"
    if model.head is not None:
        return f"{what}; a linear classifier tells {len(model.head.class_names)} classes by them."
    return f"{what}, to recognise, compare or search for actions by. It has no classifier."


def _facts(model: Model, network: str) -> Iterator[tuple[str, str]]:
    settings = ", ".join(f"{key} {value}" for key, value in model.encoder.settings.items())
    weights = sum(weight.numel() for weight in model.encoder.parameters())
    yield "encoder", f"{network}, {weights:,} weights ({settings})" if settings else f"{network}, {weights:,} weights"
    yield "stream", f"{model.stream}, made of the joints by the model itself" if model.stream != "joint" else "joint"
    yield "features", f"{model.encoder.feature_dim}"
    if model.head is not None:
        scaled = ", on features scaled to length 1" if model.head.normalized else ""
        yield "classifier", f"linear{scaled}, {len(model.head.class_names)} classes"


def _recipe(model: Model) -> Iterator[tuple[str, str]]:
    """What a record of the training says, the latest run first."""
    run: Mapping[str, Any] = model.run
    epochs = model.epochs
    while run:
        learner, data, versions = (_part(run, key) for key in ("learner", "data", "versions"))
        yield from _told("method", learner.get("method"))
        yield from _told(
            "corpus", data.get("corpus"), f", {data.get('sequences')} sequences" if "sequences" in data else ""
        )
        if data.get("benchmark"):
            yield "trained on", f"the training side of {data['benchmark']}"
        elif data:
            yield "trained on", "all sequences"
        yield from _told("labels used", run.get("labels"))
        yield from _told("views", _views(learner))
        yield from _told("epochs", epochs)
        yield from _told("batch size", run.get("batch_size"))
        optimizer = _part(learner, "optimizer")
        yield from _told("optimizer", optimizer.get("name"), f", learning rate {optimizer.get('lr')}")
        yield from _told("seed", run.get("seed"))
        revision = run.get("git_revision")
        yield from _told(
            "made with", versions.get("hiclr") and f"hiclr {versions['hiclr']}", f", {revision}" if revision else ""
        )
        run = _part(run, "pretraining")
        epochs = run.get("max_epochs")
        if run:
            yield "before that", ""


def _told(fact: str, value: Any, more: str = "") -> Iterator[tuple[str, str]]:
    if value is not None:
        yield fact, f"{value}{more}"


def _views(learner: Mapping[str, Any]) -> str | None:
    """The growing augmentations, each view by what it adds to the one before."""
    levels = learner.get("arrangement")
    if not isinstance(levels, list) or not all(isinstance(level, list) for level in levels):
        return None
    names = [[re.sub(r"\(.*", "", str(step), flags=re.DOTALL) for step in level] for level in levels]
    shown, before = [], list[str]()
    for level in names:
        grown = level[: len(before)] == before and before
        shown.append(("+ " if grown else "") + ", ".join(level[len(before) :] if grown else level))
        before = level
    return "; ".join(shown)


def _limits(model: Model, data: Mapping[str, Any]) -> Iterator[str]:
    if data.get("synthetic"):
        yield "It was trained on simulated movements: it shows how things work and recognises nobody real."
    elif "corpus" in data:
        where = _cell(data["corpus"])
        yield f"It knows the people, sensors and actions of {where}. Elsewhere its figures will be lower: measure them."
    else:
        yield "Nothing is known here of the data it was trained on: measure it on yours."
    if model.head is not None:
        yield "It answers with one of its classes whatever it is shown: a probability proves none of them."
    yield "It has seen clips of one action each, cut to it; what a hand holds or a face says is not in a skeleton."
    yield "It is not made for decisions on people's health, work or liberty, nor for telling who somebody is."


def _network(model: Model) -> str:
    name = type(model.encoder).__name__
    return _NETWORKS.get(name, name)


def _centre(model: Model) -> str | None:
    try:
        return model.skeleton.joint_names[model.skeleton.centre_joint]
    except ValueError:  # a skeleton that does not tell it, which no recording can be prepared for
        return None


def _parent(names: tuple[str, ...], parent: int) -> str:
    return "" if parent < 0 else names[parent]


def _bodies(bodies: int) -> str:
    return "One body is kept" if bodies == 1 else f"Up to {bodies} bodies are kept"


def _part(facts: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    part = facts.get(key)
    return part if isinstance(part, Mapping) else {}


def _cell(text: object) -> str:
    """Text that stays within a cell of a table, and is no markup."""
    return re.sub(r"([\\`*\[\]<>|])", r"\\\1", " ".join(str(text).split()))
