"""The face to scikit-learn: a trained encoder as a transformer of raw clips, for pipelines and cross-validation."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from hiclr.data.corpora.base import Corpus
from hiclr.data.prepare import prepared_batches
from hiclr.data.recordings.base import Recording, broken_frames, to_float32
from hiclr.functional import Stream
from hiclr.model import Model, load_model

Clips = ArrayLike | Sequence[ArrayLike]


class SkeletonEncoder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Features of raw clips by a trained encoder, which does not learn anything here.

    `make_pipeline(SkeletonEncoder("runs/mine"), LogisticRegression())` is a classifier of clips. Clips are an array
    (N, F, V, 3) or (N, F, M, V, 3), or a list of arrays (F, V, 3) or (F, M, V, 3) of any lengths: metres, y up, in the
    joints of the model, zero where a body is absent. What the model expects is done to them first.

    Args:
        model: a run's folder, a checkpoint, a model folder, published weights, the name of a model on the Hugging Face
            Hub (`owner/name`), or a `Model`, which is not changed.
        stream: which of the encoders of a checkpoint that holds several.
        batch_size: clips that are encoded at once; the features do not hang on it.
        device: where to compute, as in "cpu" or "cuda".

    Attributes:
        model_: the model, after `fit`.
    """

    def __init__(
        self, model: Model | Path | str, stream: Stream | None = None, batch_size: int = 64, device: str = "cpu"
    ) -> None:
        self.model = model
        self.stream = stream
        self.batch_size = batch_size
        self.device = device

    def fit(self, X: Clips, y: object = None) -> Self:
        """Loads the model, and looks whether it fits the clips. Nothing is learnt.

        Args:
            X: clips.
            y: not looked at.

        Raises:
            FileNotFoundError: there is no such model.
            ValueError: it does not fit the clips, or these or an option are no such thing.
        """
        if not isinstance(self.batch_size, int) or self.batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {self.batch_size!r}")
        model = deepcopy(self.model) if isinstance(self.model, Model) else load_model(self.model, self.stream)
        _recordings(X, model)
        try:
            self.model_ = model.eval().to(self.device)
        except (RuntimeError, AssertionError, TypeError) as error:  # PyTorch's
            raise ValueError(f"the model cannot be moved to the device {self.device!r}: {error}") from None
        self._n_features_out = model.encoder.feature_dim
        return self

    def transform(self, X: Clips) -> NDArray[np.float32]:
        """Clips -> features (N, D) float32.

        Raises:
            ValueError: a clip is of another form, or cannot be used: NaN, nobody in it.
        """
        check_is_fitted(self)
        model: Model = self.model_
        corpus = _corpus(_recordings(X, model), model)
        device = next(iter(model.parameters())).device
        features = []
        with torch.no_grad():
            for batch in prepared_batches(corpus, model.preparation, self.batch_size):
                if batch.skipped:
                    raise ValueError(f"clip {batch.skipped[0].row} cannot be used: {batch.skipped[0].reason}")
                features.append(model(batch.x.to(device)).cpu().numpy())
        return np.concatenate(features)

    def __sklearn_tags__(self) -> Any:
        """Clips are no table of numbers."""
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags


def _recordings(X: Clips, model: Model) -> list[NDArray[np.float32]]:
    """The clips, each (F, M, V, 3).

    Raises:
        ValueError: one of them is of another form, or holds NaN.
    """
    clips = X if isinstance(X, list | tuple) else np.asarray(X)
    if isinstance(clips, np.ndarray) and clips.ndim not in ((1, 4, 5) if clips.dtype == object else (4, 5)):
        raise ValueError(
            f"expected clips (N, F, V, 3) or (N, F, M, V, 3), or a list of clips, got a {type(X).__name__} of shape "
            f"{clips.shape}"
        )
    if not len(clips):
        raise ValueError("expected clips, got none")
    return [_recording(clip, place, model) for place, clip in enumerate(clips)]


def _recording(clip: ArrayLike, place: int, model: Model) -> NDArray[np.float32]:
    try:
        given = np.asarray(clip)
        frames = to_float32(given)
    except (TypeError, ValueError):
        raise ValueError(f"clip {place} is no array of numbers") from None
    joints = model.skeleton.num_joints
    if np.iscomplexobj(given) or frames.ndim not in (3, 4) or frames.shape[-2:] != (joints, 3):
        raise ValueError(
            f"clip {place} has shape {given.shape}, the model expects (F, {joints}, 3) or (F, M, {joints}, 3), the "
            f"joints of {model.skeleton.name} in metres"
        )
    frames = frames if frames.ndim == 4 else frames[:, None]
    broken = broken_frames(frames)
    if broken.any():
        raise ValueError(
            f"clip {place} holds NaN, infinity or places out of this world in {broken.sum()} of its frames"
        )
    return frames


def _corpus(recordings: Sequence[NDArray[np.float32]], model: Model) -> Corpus:
    names = [f"clip {place}" for place in range(len(recordings))]
    return Corpus(
        name="clips",
        skeleton=model.skeleton,
        class_names=(),
        benchmarks=(),
        bodies=model.preparation.bodies,
        samples=pd.DataFrame({"name": names}),
        read=lambda row: Recording(names[row], recordings[row]),
        files=(),
        fingerprint="",
    )
