"""A bell for one task that waits for what another one hears."""

from __future__ import annotations

import trio


class News:
    """Tells somebody who waits that the receiver has said what it holds."""

    def __init__(self) -> None:
        self._event = trio.Event()

    def next(self) -> trio.Event:
        """Return what is set by the first news from now on."""
        self._event = trio.Event()
        return self._event

    def come(self) -> None:
        """Here they are."""
        self._event.set()
