"""The screen: remarks and progress bars go to stderr."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

from rich.progress import track

from hiclr.screen import Screen

console = Screen(stderr=True, force_jupyter=False)  # in a notebook a bar of text, which needs no widgets


def say(sentence: str) -> None:
    """A sentence beside the results, on one line, so that what it quotes can be copied."""
    console.print(sentence, markup=False, highlight=False, soft_wrap=True)


@cache
def say_once(sentence: str) -> None:
    """As `say`, but never the same sentence again: a command may train many times."""
    say(sentence)


def progress(description: str) -> Callable[[Iterable[Any]], Iterable[Any]]:
    return lambda items: track(items, description, console=console, transient=True)
