"""A model: an encoder with the preparation it expects and, maybe, a classifier. What is used, and what is shared."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor, nn

from hiclr.card import model_card
from hiclr.data.folder import Preparation
from hiclr.encoders.base import Encoder
from hiclr.encoders.checkpoint import describe, load_encoder
from hiclr.encoders.head import LinearHead
from hiclr.encoders.shared import CARD, CONFIG, FORMAT, WEIGHTS, is_model_folder, read_config
from hiclr.encoders.transfer import same_joints
from hiclr.functional import Stream, to_stream
from hiclr.provenance import write_whole
from hiclr.skeleton import Skeleton


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
        if not same_joints(skeleton, self.skeleton):
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

    def save_pretrained(self, folder: Path | str) -> Path:
        """Writes a model folder: `config.json`, `model.safetensors` and a model card, `README.md`.

        Args:
            folder: a new one, or one that holds a model already, which is replaced.

        Returns:
            The folder.

        Raises:
            ValueError: the folder holds something else.
        """
        folder = Path(folder)
        _check_free(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / CONFIG).unlink(missing_ok=True)  # written last: a folder without it is unfinished
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.state_dict().items()}
        write_whole(folder / WEIGHTS, lambda file: file.write_bytes(save(tensors)))
        write_whole(folder / CARD, lambda file: file.write_text(model_card(self), encoding="utf-8"))
        text = json.dumps(self._config(), indent=2, ensure_ascii=False, default=str) + "\n"
        write_whole(folder / CONFIG, lambda file: file.write_text(text, encoding="utf-8"))
        return folder

    def _config(self) -> dict[str, Any]:
        head = None if self.head is None else {"class_names": self.head.class_names, "normalized": self.head.normalized}
        return {
            "hiclr_format": FORMAT,
            "encoder": describe(self.encoder, {})["encoder"],
            "stream": self.stream,
            "preparation": asdict(self.preparation),
            "head": head,
            "epochs": self.epochs,
            "figures": self.figures,
            "run": self.run,
        }


def load_model(path: Path | str, stream: Stream | None = None) -> Model:
    """The model in a run's folder, a checkpoint, a model folder, or published weights; nothing in a file is run.

    Args:
        path: a run's folder or a `.ckpt` of it, a folder that `save_pretrained` wrote, or a published `.pt`.
        stream: which of the encoders of a checkpoint that holds several; what published weights were trained on.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it holds no model, or none of this stream.
    """
    trained = load_encoder(path, stream)
    config = read_config(Path(path)) if is_model_folder(Path(path)) else {}
    known = config.get("preparation") or trained.run.get("data", {}).get("preparation")
    return Model(
        trained.encoder,
        trained.stream,
        Preparation() if known is None else _preparation(known, trained.path),
        trained.head,
        trained.epochs,
        trained.run,
        config.get("figures"),
    )


def _preparation(known: Mapping[str, Any], file: Path) -> Preparation:
    try:
        return Preparation(**known)
    except TypeError as error:
        raise ValueError(f"{file} states a preparation that this hiclr does not know ({error}): update hiclr") from None


def _check_free(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file: choose a folder for the model")
    parts = {CONFIG, WEIGHTS, CARD}
    strange = sorted(path.name for path in folder.glob("*") if path.name.removesuffix(".partial") not in parts)
    if strange:
        raise ValueError(f"{folder} holds other things ({strange[0]}): choose another folder for the model")
