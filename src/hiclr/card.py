"""The model card: what people should know of a model before they use it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hiclr.model import Model


def model_card(model: Model) -> str:
    """The card of a model, Markdown with the metadata that the Hub reads."""
    return f"# {model.skeleton.name}\n"
