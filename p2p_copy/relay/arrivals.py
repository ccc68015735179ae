"""Those who are on their way in: one budget of time for each, from accept to hello, and an end for all at once."""

from __future__ import annotations

import math
from contextlib import contextmanager
from typing import TYPE_CHECKING

from p2p_copy.relay import events
from p2p_copy.watches import within

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from p2p_copy.watches import Deadline


class Arrivals:
    """The connections of one relay that have not said hello."""

    def __init__(self) -> None:
        """Begin with nobody."""
        self._deadlines: set[Deadline] = set()

    @contextmanager
    def budget(self, seconds: float) -> Iterator[Callable[[], None]]:
        """Limit the time until the function that is yielded gets called."""
        with within(seconds) as deadline:

            def arrived() -> None:
                deadline.restart(math.inf)
                self._deadlines.discard(deadline)

            self._deadlines.add(deadline)
            try:
                yield arrived
            finally:
                self._deadlines.discard(deadline)
        if deadline.is_over:
            events.TOO_SLOW.log()

    def cancel(self) -> None:
        """End them all."""
        for deadline in self._deadlines:
            deadline.cancel()
