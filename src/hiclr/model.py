"""A model: an encoder with the preparation it expects and, maybe, a classifier. What is used, and what is shared."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args

import torch
from safetensors.torch import save
from torch import Tensor, nn

from hiclr.card import model_card
from hiclr.data.actors import Actors
from hiclr.data.folder import Preparation
from hiclr.data.prepare import MOST_FRAMES
from hiclr.encoders.base import Encoder
from hiclr.encoders.checkpoint import describe, load_encoder
from hiclr.encoders.head import LinearHead
from hiclr.encoders.shared import (
    CARD,
    CONFIG,
    FORMAT,
    PARTS,
    WEIGHTS,
    check_precision,
    digest,
    hub_folder,
    is_model_folder,
    local_path,
    read_config,
    without_paths,
)
from hiclr.encoders.transfer import same_joints
from hiclr.functional import Stream, to_stream
from hiclr.hub import is_hub_name, push
from hiclr.provenance import PARTIAL, write_whole
from hiclr.skeleton import Skeleton

MOST_BODIES = 100  # of a preparation: a file could ask for any number


class Model(nn.Module):
    """From prepared sequences to features and classes.

    Args:
        encoder: the network.
        stream: what it was trained on; the model makes it of joints by itself.
        preparation: of the sequences it expects.
        head: the classifier, if there is one.
        epochs: how long the encoder was trained; None for published weights.
        run: the settings of its training; empty for published weights.
        figures: what was measured, by name, for the model card.

    Raises:
        ValueError: the head takes features of another size.
    """

    def __init__(
        self,
        encoder: Encoder,
        stream: Stream = "joint",
        preparation: Preparation | None = None,
        head: LinearHead | None = None,
        epochs: int | None = None,
        run: Mapping[str, Any] | None = None,
        figures: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__()
        if head is not None and head.weight.shape[1] != encoder.feature_dim:
            raise ValueError(
                f"the classifier takes features of size {head.weight.shape[1]}, the encoder's are {encoder.feature_dim}"
            )
        self.encoder = encoder
        self.stream: Stream = stream
        self.preparation = preparation or Preparation()
        self.head = head
        self.epochs = epochs
        self.run = dict(run or {})
        self.figures = dict(figures or {})
        self.eval()

    @property
    def skeleton(self) -> Skeleton:
        """The joints it expects."""
        return self.encoder.skeleton

    @property
    def class_names(self) -> tuple[str, ...]:
        """Of the L classes it tells apart.

        Raises:
            ValueError: it has no classifier.
        """
        return self._known_head().class_names

    def forward(self, x: Tensor) -> Tensor:
        """Joints x (N, 3, T, V, M), as prepared -> features (N, D)."""
        features: Tensor = self.encoder(to_stream(x, self.stream, self.skeleton.parents))
        return features

    def probabilities(self, features: Tensor) -> Tensor:
        """Features (N, D) -> the probability of each class (N, L).

        Raises:
            ValueError: it has no classifier.
        """
        scores: Tensor = self._known_head()(features)
        return scores.softmax(1)

    def check_skeleton(self, skeleton: Skeleton, what: str = "the recordings") -> None:
        """ValueError unless recordings have the joints that the model expects."""
        if same_joints(skeleton, self.skeleton):
            return
        if skeleton.joint_names == self.skeleton.joint_names:
            pairs = enumerate(zip(skeleton.parents, self.skeleton.parents, strict=True))
            joint = next(joint for joint, (theirs, own) in pairs if theirs != own)
            raise ValueError(
                f"{what} have the model's joints, but {skeleton.joint_names[joint]} hangs on "
                f"{_parent(skeleton, joint)} and in the model on {_parent(self.skeleton, joint)}: give the recordings "
                "as they are, or prepare them with the model's skeleton (--skeleton FILE.yaml)"
            )
        raise ValueError(
            f"{what} have {skeleton.num_joints} joints ({skeleton.name}), the model expects "
            f"{self.skeleton.num_joints} ({self.skeleton.name}): use a model of their skeleton, or carry this one "
            "over with hiclr linear or hiclr finetune"
        )

    def _known_head(self) -> LinearHead:
        if self.head is None:
            raise ValueError(
                "the model has no classifier: give one that hiclr linear, finetune or teach made, "
                "or teach this one your classes (hiclr teach)"
            )
        return self.head

    @staticmethod
    def from_pretrained(name: Path | str, revision: str | None = None, token: str | None = None) -> Model:
        """The model in a folder, or on the Hugging Face Hub.

        Args:
            name: a folder that `save_pretrained` wrote, or whatever else `load_model` reads; if there is none of this
                name, a model on the Hub, `owner/name`. One that was fetched before is found without a network.
            revision: of a model on the Hub: a branch, a tag or a commit. The newest when None.
            token: for private models; what `hf auth login` or `HF_TOKEN` says when None.

        Raises:
            FileNotFoundError: there is no such folder or model, or the Hub cannot be reached.
            ValueError: it is no model of hiclr, or damaged.
        """
        return load_model(hub_folder(str(name), revision, token) if is_hub_name(name) else name)

    def save_pretrained(self, folder: Path | str, name: str | None = None) -> Path:
        """Writes a model folder: `config.json`, `model.safetensors` and a model card, `README.md`.

        Args:
            folder: a new one, or one that holds a model already, which is replaced, its card too.
            name: what the card calls it, as in `owner/name`; the folder when None.

        Returns:
            The folder.

        Raises:
            ValueError: the folder holds something else, or the weights are not in float32.
        """
        folder = Path(folder)
        check_free(folder)
        check_precision(self.state_dict(), "the model")
        weights = save({name: _on_cpu(tensor) for name, tensor in self.state_dict().items()})
        config = json.dumps(self._config(weights), indent=2, ensure_ascii=False, default=str) + "\n"
        card = model_card(self, name or folder.name)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / CONFIG).unlink(missing_ok=True)  # written last: a folder without it is unfinished
        write_whole(folder / WEIGHTS, lambda file: file.write_bytes(weights))
        write_whole(folder / CARD, lambda file: file.write_text(card, encoding="utf-8"))
        write_whole(folder / CONFIG, lambda file: file.write_text(config, encoding="utf-8"))
        return folder

    def push_to_hub(self, name: str, private: bool = True, token: str | None = None) -> str:
        """Uploads a model folder with a new card to the Hugging Face Hub.

        Args:
            name: `owner/name`; made when there is none.
            private: whether a new one is shown to nobody else; one that is there stays as it is.
            token: what `hf auth login` or `HF_TOKEN` says when None.

        Returns:
            The address of its page.

        Raises:
            ValueError: for a name that cannot be one.
            OSError: the Hub refuses, or cannot be reached.
        """
        with TemporaryDirectory() as folder:
            return push(self.save_pretrained(folder, name), name, PARTS, private, token)

    def _config(self, weights: bytes) -> dict[str, Any]:
        head = None if self.head is None else {"class_names": self.head.class_names, "normalized": self.head.normalized}
        return {
            "hiclr_format": FORMAT,
            "encoder": describe(self.encoder, {})["encoder"],
            "weights": digest(weights),
            "stream": self.stream,
            "preparation": asdict(self.preparation),
            "head": head,
            "epochs": self.epochs,
            "figures": self.figures,
            "run": without_paths(self.run),
        }


def _parent(skeleton: Skeleton, joint: int) -> str:
    parent = skeleton.parents[joint]
    return "none" if parent < 0 else skeleton.joint_names[parent]


def load_model(path: Path | str, stream: Stream | None = None) -> Model:
    """The model in a run's folder, a checkpoint, a model folder, or published weights; nothing in a file is run.

    Args:
        path: a run's folder or a `.ckpt` of it, a folder that `save_pretrained` wrote, a published `.pt`, or the name
            of a model on the Hugging Face Hub, `owner/name`.
        stream: which of the encoders of a checkpoint that holds several; what published weights were trained on.

    Raises:
        FileNotFoundError: there is no such file, or no such model on the Hub.
        ValueError: it holds no model, or none of this stream.
    """
    path = local_path(path)
    trained = load_encoder(path, stream)
    config = read_config(path) if is_model_folder(path) else {}
    known = config.get("preparation") or trained.run.get("data", {}).get("preparation") or {}
    try:
        return Model(
            trained.encoder,
            trained.stream,
            _preparation(known),
            trained.head,
            trained.epochs,
            trained.run,
            config.get("figures"),
        )
    except ValueError as error:
        raise ValueError(f"{trained.path}: {error}") from None


def _preparation(known: Mapping[str, Any]) -> Preparation:
    unknown = sorted(map(str, known.keys() - Preparation.__dataclass_fields__.keys()))
    if unknown:
        raise ValueError(f"it states a preparation that this hiclr does not know ({unknown[0]}): update hiclr")
    preparation = Preparation(**known)
    numbers = {"frames": MOST_FRAMES, "bodies": MOST_BODIES}
    wrong = [
        *(name for name, most in numbers.items() if not _is_count(getattr(preparation, name), most)),
        *(["actors"] if preparation.actors not in get_args(Actors) else []),
        *(["planar"] if not isinstance(preparation.planar, bool) else []),
    ]
    if wrong:
        raise ValueError(f"it states a preparation with {wrong[0]} {getattr(preparation, wrong[0])!r}: save it again")
    return preparation


def _is_count(number: Any, most: int) -> bool:
    return type(number) is int and 1 <= number <= most


def _on_cpu(tensor: Tensor) -> Tensor:
    """A copy of its own memory, as the file format wants it."""
    return tensor.detach().cpu().clone(memory_format=torch.contiguous_format)


def check_free(folder: Path) -> None:
    """ValueError unless a model can be written there: a new folder, or one that holds a model alone."""
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file: choose a folder for the model")
    left = {path for part in PARTS for path in folder.glob(f"{part}.*{PARTIAL}")}  # by a save that was killed
    strange = sorted(path.name for path in set(folder.glob("*")) - left if path.name not in PARTS)
    if strange:
        raise ValueError(f"{folder} holds other things ({strange[0]}): choose another folder for the model")
