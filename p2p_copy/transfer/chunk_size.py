"""Chooses how many bytes of file data to put into a record, by the speed of the link."""

from __future__ import annotations

import math

from p2p_copy.transfer import limits


class ChunkSize:
    """The size of a chunk, `chunk`, which follows the pace of the link: see `limits.CHUNK_SECONDS`."""

    def __init__(self) -> None:
        self.chunk = limits.CHUNK

    def keep(self, size: int, seconds: float) -> None:
        """Fit the size to a link that has just taken `size` bytes in `seconds`."""
        suits = size * limits.CHUNK_SECONDS / seconds if seconds > 0 else math.inf
        whole = min(suits, limits.MOST_CHUNK) // limits.LEAST_CHUNK
        self.chunk = max(int(whole), 1) * limits.LEAST_CHUNK
