"""The verb that makes a model ready for others."""

from __future__ import annotations

from pathlib import Path

from hiclr.card import figure_name
from hiclr.cli.console import say
from hiclr.encoders.checkpoint import checkpoint_path
from hiclr.encoders.shared import CARD, PARTS, is_model_folder, local_path
from hiclr.functional import Stream
from hiclr.hub import check_name
from hiclr.hub import push as push_folder
from hiclr.model import Model, load_model
from hiclr.provenance import file_hash
from hiclr.reporting.gathering import results_in


def share(
    model: Path,
    out: Path | None = None,
    push: str | None = None,
    private: bool = True,
    stream: Stream | None = None,
) -> Path:
    """Writes a model that others can use: weights, what they need and a card; and uploads it.

    The folder holds `model.safetensors`, `config.json` and the model card, `README.md`: no code, and no path of your
    machine. Look at the card and state a licence in it before you upload the folder:
    `hiclr share --model FOLDER --push owner/name` uploads it as it is.

    Args:
        model: a run's folder, a `.ckpt` of it, published weights (`.pt`), a model folder, or the name of a model on the
            Hugging Face Hub.
        out: the model folder to write; not needed to upload one that is there.
        push: where to upload it, `owner/name` on the Hugging Face Hub. Log in before: `hf auth login`.
        private: whether a model that is new there is shown to nobody else.
        stream: which of the encoders of a checkpoint that holds several; what published weights were trained on.

    Returns:
        The model folder.

    Raises:
        FileNotFoundError: there is no such model.
        ValueError: it holds no model or another stream, or `out` holds something else.
        OSError: the Hub refuses, or cannot be reached.
    """
    if push is not None:
        check_name(push)
    there = local_path(model)
    loaded = load_model(there, stream)
    loaded.figures.update(_measured(there, loaded.stream))
    if out is not None:
        folder = loaded.save_pretrained(out, push)
        say(f"Model saved in {folder}: {_contents(loaded)}.")
        if push is None:
            say(f"Next: look at {folder / CARD}, state a licence, then hiclr share --model {folder} --push owner/name")
    elif push is not None and is_model_folder(there):
        folder = there
    else:
        raise ValueError(
            f"nothing to do with {model}: say with --out where to write the model, or with --push where to upload a "
            "model folder"
        )
    if push is not None:
        for part in PARTS:
            if (folder / part).is_symlink():  # what a folder from elsewhere points at is not meant for others
                raise ValueError(f"{folder / part} is a link: put the file itself in its place before it is uploaded")
        shown = "private if it is new; --private false shows it to all" if private else "public if it is new"
        say(f"Uploaded to {push_folder(folder, push, PARTS, private)} ({shown})")
    return folder


def _measured(path: Path, stream: Stream) -> dict[str, float]:
    """The headlines beside a checkpoint that are about it: with its hash, or of the fine-tuning that made it."""
    if is_model_folder(path):
        return {}
    checkpoint = checkpoint_path(path)
    sha256 = file_hash(checkpoint)
    figures = {}
    for result in results_in(checkpoint.parent):
        made = result.facts.get("checkpoint", {}).get("sha256") == sha256 and result.facts.get("stream") == stream
        if result.top1 is not None and (made or result.protocol == "finetune"):
            facts = result.facts["data"]
            share = result.settings.get("label_fraction", 1)
            protocol = result.protocol if share == 1 else f"{result.protocol} with {share:.0%} of the labels,"
            figures[figure_name(protocol, facts["corpus"], facts["benchmark"])] = result.top1
    return figures


def _contents(model: Model) -> str:
    classes = "no classifier" if model.head is None else f"a classifier of {len(model.head.class_names)} classes"
    return (
        f"{type(model.encoder).__name__} of the {model.stream} stream, {model.skeleton.num_joints} joints "
        f"({model.skeleton.name}), {model.encoder.feature_dim} features, {classes}"
    )
