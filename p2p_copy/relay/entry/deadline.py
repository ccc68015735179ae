"""Those who are on their way in: one budget of time for each, from accept to hello, and an end for one or for all."""

from __future__ import annotations

import math
from contextlib import contextmanager
from typing import TYPE_CHECKING

from p2p_copy.relay.log import abuse, events
from p2p_copy.relay.log.abuse import Abuse
from p2p_copy.transport.timeouts import within

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from p2p_copy.relay.access.admission import Guest
    from p2p_copy.transport.timeouts import Deadline


class ArrivalDeadlines:
    """The connections of one relay that have not said hello."""

    def __init__(self) -> None:
        """Begin with nobody."""
        self._deadlines: dict[Guest, Deadline] = {}

    @contextmanager
    def budget(self, seconds: float, guest: Guest) -> Iterator[Callable[[], None]]:
        """Limit the time of one guest until the function that is yielded gets called."""
        with within(seconds) as deadline:

            def arrived() -> None:
                deadline.restart(math.inf)
                self._deadlines.pop(guest, None)

            self._deadlines[guest] = deadline
            try:
                yield arrived
            finally:
                self._deadlines.pop(guest, None)
        if deadline.is_over and guest.gone:
            abuse.note(Abuse.EVICTED)
        elif deadline.is_over:
            events.TOO_SLOW.log()

    def put_out(self, guest: Guest) -> None:
        """End the connection of one guest, whatever it is at: TLS, HTTP, or the silence before its hello."""
        deadline = self._deadlines.get(guest)
        if deadline is not None:  # else its hello was refused, and it is leaving
            deadline.cancel()

    def cancel(self) -> None:
        """End them all."""
        for deadline in self._deadlines.values():
            deadline.cancel()
