"""Chooses how many bytes of file data to put into a record, by the speed of the link."""

from __future__ import annotations

import math

from p2p_copy.transfer import limits


class ChunkSize:
    """The size of a chunk, `chunk`, which follows the pace of the link: see `limits.CHUNK_SECONDS`."""

    def __init__(self, rate: int = 0) -> None:
        """Begin. `rate` is the limit in bytes per second, 0 for none: no chunk is longer than suits it.

        Only the last link knows such a limit: the queue before it takes the first chunks at once.
        """
        suits = int(rate * limits.CHUNK_SECONDS) // limits.PACED_CHUNK * limits.PACED_CHUNK
        self._most = min(suits or limits.MOST_CHUNK, limits.MOST_CHUNK)
        self.chunk = min(limits.CHUNK, self._most)

    def keep(self, size: int, seconds: float) -> None:
        """Fit the size to a link that has just taken `size` bytes in `seconds`."""
        suits = size * limits.CHUNK_SECONDS / seconds if seconds > 0 else math.inf
        whole = min(suits, limits.MOST_CHUNK) // limits.LEAST_CHUNK
        self.chunk = min(max(int(whole), 1) * limits.LEAST_CHUNK, self._most)
