"""Chooses how long to wait before the next try."""

from __future__ import annotations

import random

from p2p_copy.peer import limits


class Backoff:
    """Seconds between two tries: twice as many each time, and different ones for each client."""

    def __init__(self) -> None:
        self._seconds = limits.RETURN_AFTER[0]

    def next(self) -> float:
        """Return the seconds until the next try."""
        seconds = self._seconds
        self._seconds = min(2 * seconds, limits.RETURN_AFTER[1])
        return seconds * random.uniform(0.5, 1.5)  # noqa: S311 - nothing secret
