"""How long a chunk should be on the link that there is."""

from __future__ import annotations

import math

from p2p_copy.transfer import limits


class ChunkSize:
    """Bytes of file data in one record: `chunk`, by what the link has taken."""

    def __init__(self) -> None:
        self.chunk = limits.CHUNK

    def keep(self, size: int, seconds: float) -> None:
        """Make chunks as long as suits a link that has just taken `size` bytes in `seconds`."""
        suits = size * limits.CHUNK_SECONDS / seconds if seconds > 0 else math.inf
        whole = min(suits, limits.MOST_CHUNK) // limits.LEAST_CHUNK
        self.chunk = max(int(whole), 1) * limits.LEAST_CHUNK
