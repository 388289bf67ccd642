"""What counts as a finding: how a reader may fail, and what it must not touch."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

LONGEST = 500  # characters of a sentence
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_FORBIDDEN = (
    *("os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty", "subprocess.Popen", "pty.spawn"),
    *("socket.connect", "socket.bind", "socket.getaddrinfo", "urllib.Request", "webbrowser.open"),
    *("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod", "os.chown"),
    *("shutil.copyfile", "shutil.move", "shutil.rmtree", "os.kill", "ctypes.dlopen"),
)


class Finding(Exception):  # noqa: N818 (not an error of ours)
    """A reader did what it must not do; the exception it raised, if any, is the cause."""


def check_refusal(error: BaseException, names: Sequence[str]) -> None:
    """Finding unless a reader failed as it may.

    Args:
        error: what it raised.
        names: of the file or its folder, one of which the message must say; none for a message shown beside the name.
    """
    message = str(error)
    if not isinstance(error, ValueError | OSError):
        raise Finding(f"{type(error).__name__}, which no caller expects") from error
    if not message.strip():
        raise Finding("a refusal without a reason") from error
    if len(message.splitlines()) > 1:
        raise Finding("a refusal of more than one line") from error
    if len(message) > LONGEST:
        raise Finding(f"a refusal of more than {LONGEST} characters") from error
    if names and not any(name in message for name in names):
        raise Finding("a refusal that does not say which file") from error


class _Watch:
    """Sees what Python does; there is one, as an audit hook cannot be taken away again."""

    on = False

    def __init__(self) -> None:
        self.seen: list[str] = []
        sys.addaudithook(self)

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.on and (event in _FORBIDDEN or (event == "open" and _writes_outside(*arguments))):
            what = f"{event} {arguments[0] if arguments else ''!s:.200}"
            self.seen.append(what)
            raise PermissionError(f"no reader may do that: {what}")


_WATCH: _Watch | None = None


@contextmanager
def watched() -> Iterator[None]:
    """Finding if anything is written outside of the temporary folder meanwhile, started, or sent."""
    global _WATCH
    watch = _WATCH = _WATCH or _Watch()
    watch.seen.clear()
    watch.on = True
    try:
        yield
    finally:
        watch.on = False
        if watch.seen:
            raise Finding(f"it tried {watch.seen[0]}")


def _writes_outside(path: Any, mode: Any, flags: int) -> bool:
    if not flags & _WRITES or isinstance(path, int) or path == os.devnull:
        return False
    return not Path(os.fsdecode(path)).resolve().is_relative_to(Path(tempfile.gettempdir()).resolve())
