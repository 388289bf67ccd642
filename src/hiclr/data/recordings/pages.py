"""The bytes of a file that does not fit into memory."""

from __future__ import annotations

import mmap
from typing import IO

RESIDENT = 1 << 24  # bytes of a file that may count as ours before the kernel is told that we have done with them


class Pages(mmap.mmap):
    """The bytes of a file, mapped: reading them does not make the process grow.

    The file may be closed or unlinked meanwhile. Make one with `map_pages`, and copy out of it what is needed.
    """

    _looked_at = 0

    def done_with(self, size: int) -> None:
        """To be called when `size` more bytes were copied; from time to time it lets go of all pages."""
        self._looked_at += size
        if self._looked_at > RESIDENT:
            self._looked_at = 0
            if hasattr(mmap, "MADV_DONTNEED"):  # elsewhere only the count of resident pages suffers
                self.madvise(mmap.MADV_DONTNEED)


def map_pages(stream: IO[bytes]) -> Pages:
    """Maps a file that is open for reading and not empty."""
    return Pages(stream.fileno(), 0, access=mmap.ACCESS_READ)
