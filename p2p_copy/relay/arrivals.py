"""Those who are on their way in: one budget of time for each, from accept to hello, and an end for all at once."""

from __future__ import annotations

import math
from contextlib import contextmanager
from typing import TYPE_CHECKING

import trio

from p2p_copy.relay import events

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Arrivals:
    """The connections of one relay that have not said hello."""

    def __init__(self) -> None:
        """Begin with nobody."""
        self._scopes: set[trio.CancelScope] = set()

    @contextmanager
    def budget(self, seconds: float) -> Iterator[Callable[[], None]]:
        """Limit the time until the function that is yielded gets called."""
        with trio.move_on_after(seconds) as scope:

            def arrived() -> None:
                scope.deadline = math.inf
                self._scopes.discard(scope)

            self._scopes.add(scope)
            try:
                yield arrived
            finally:
                self._scopes.discard(scope)
        if scope.cancelled_caught:
            events.TOO_SLOW.log()

    def cancel(self) -> None:
        """End them all."""
        for scope in self._scopes:
            scope.cancel()
