"""Stopping on request: what is under way comes to a good place, saves itself, and says how to go on."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any, NoReturn, Self

# Ctrl-C; what clusters send before they end a job, and what SLURM is often told to send some minutes before; what a
# terminal sends that is closed
_NAMES = ("SIGINT", "SIGTERM", "SIGUSR1", "SIGHUP")


class Stopped(BaseException):
    """A command that was asked to stop, and has: its work is saved. The sentence says where, and how to go on.

    Args:
        sentence: for the user.
        asked: the signal.
    """

    def __init__(self, sentence: str, asked: signal.Signals) -> None:
        super().__init__(sentence)
        self.code = 128 + asked  # as a shell states it


class Stopping:
    """Takes note of the signals that ask this process to stop, instead of dying of them. A second Ctrl-C interrupts.

    Signals that are ignored (`nohup`, `&` in a script) stay so. Outside the main thread nothing can be noted, and all
    signals do what they did before.

    Attributes:
        asked: the signal that came, or None.
    """

    def __init__(self) -> None:
        self.asked: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        before = {number: signal.getsignal(number) for number in _signals()}
        self._before = {number: handler for number, handler in before.items() if handler not in (None, signal.SIG_IGN)}
        self.listen()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def listen(self) -> None:
        """Listens, again if another library has taken the signals meanwhile."""
        for number in self._before:
            signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.asked is signal.SIGINT:
            signal.default_int_handler(number, frame)
        if number == signal.SIGINT and os.environ.get("LOCAL_RANK", "0") == "0":
            os.write(2, b"\nstopping after this step; Ctrl-C again does not wait for it\n")  # print is not safe here
        self.asked = signal.Signals(number)

    def stop(self, sentence: str) -> NoReturn:
        """Ends the work that was asked to stop.

        Raises:
            Stopped: always.
        """
        # of several processes that stop together some were not asked themselves
        raise Stopped(sentence, self.asked or signal.SIGTERM)


def _signals() -> list[signal.Signals]:
    """Those that this system has, if they can be listened to here."""
    if threading.current_thread() is not threading.main_thread():
        return []
    return [signal.Signals[name] for name in _NAMES if name in signal.Signals.__members__]
