"""Chooses how long to wait before the next try."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from p2p_copy.peer import limits

if TYPE_CHECKING:
    from collections.abc import Iterator


def backoff() -> Iterator[float]:
    """Yield seconds between tries: twice as many each time, and different ones for each client."""
    seconds, most = limits.RETURN_AFTER
    while True:
        yield seconds * random.uniform(0.5, 1.5)  # noqa: S311 - nothing secret
        seconds = min(2 * seconds, most)
