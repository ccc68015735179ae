"""Keeps a client's bytes to a rate, over all of its links together."""

from __future__ import annotations

import sys

import trio

from p2p_copy.transport import limits
from p2p_copy.transport.token_bucket import TokenBucket


class Pacer:
    """Lets pieces pass at a rate: wait for the turn of a piece, let it pass, say how large it was.

    Attributes:
        rate: bytes per second; None for no limit.
        piece: bytes of a piece at most. Pieces are short, so that all links keep moving, and neither side takes a slow
            transfer for one that stands still.
        waits: how often a piece has waited for its turn. While this stays the same, something else is slower.

    """

    def __init__(self, rate: int | None) -> None:
        """Let `rate` bytes per second pass, from now on."""
        self._bucket = TokenBucket(0, 0, 0)
        self.rate: int | None = None
        self.piece = sys.maxsize
        self.waits = 0
        self.limit(rate)

    def limit(self, rate: int | None) -> None:
        """Change the rate, from now on."""
        if rate == self.rate:
            return
        self.rate = rate
        if rate is None:
            self.piece = sys.maxsize
            return
        now = trio.current_time()
        self.piece = max(int(rate * limits.PACE_PIECE), 1)
        self._bucket = TokenBucket(rate, rate * limits.PACE_BURST, now)
        self._bucket.take(self._bucket.capacity, now)

    async def turn(self) -> None:
        """Wait until the next piece may pass."""
        while self.rate is not None:
            seconds = self._bucket.seconds_until(0, trio.current_time())
            if seconds < limits.PACE_AT_ONCE:
                return
            self.waits += 1
            await trio.sleep(seconds)  # meanwhile another link may have had its turn

    def passed(self, size: int) -> None:
        """Count a piece that has passed."""
        if self.rate is not None:
            self._bucket.take(size, trio.current_time())
