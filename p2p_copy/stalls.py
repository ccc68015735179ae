"""Who it is that a transfer waits for when nothing moves.

Each task says what it waits for while it does. What has lasted for `limits.STALL` seconds is told to the observer,
once, and again when it is over. Nothing is ended here: a link that is dead is found out by the link itself.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import trio

from p2p_copy import limits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from p2p_copy.observe import Observer


class Stalls:
    """What is being waited for on this side. `watch` it in a task of its own."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._since: dict[str | Callable[[], str], float] = {}
        self._told: str | Callable[[], str] | None = None
        self.heard_at = trio.current_time()
        """When the other side last said anything."""

    @property
    def hears(self) -> bool:
        """Whether the other side has said something lately."""
        return trio.current_time() - self.heard_at < limits.STALL

    @contextmanager
    def waiting_for(self, what: str | Callable[[], str]) -> Iterator[None]:
        """Say what the body waits for: a sentence without its end, or what makes one when it is needed."""
        self._since[what] = trio.current_time()
        try:
            yield
        finally:
            del self._since[what]
            if what == self._told:
                self._told = None
                self._observer.moving()

    async def watch(self) -> None:
        """Tell the observer of every stall, until this is cancelled."""
        while True:
            await trio.sleep(limits.PROGRESS_INTERVAL)
            if self._told is None and self._since:
                what, since = min(self._since.items(), key=lambda each: each[1])
                lasted = trio.current_time() - since
                if lasted >= limits.STALL:
                    self._told = what
                    self._observer.stalled(what if isinstance(what, str) else what(), lasted)
