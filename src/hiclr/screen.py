"""The screen, on which names from files are shown: none of them can steer the terminal."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from hiclr.forms import printable


class Screen(Console):
    """rich's console, which shows the control characters of a text as question marks; its own do what they should."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """What will be written, piece by piece."""
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else printable(text), style, control)
