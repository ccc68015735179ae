"""Ends connections that do not say hello in time, and on demand one or all of those that have not."""

from __future__ import annotations

import math
from contextlib import contextmanager
from typing import TYPE_CHECKING

from p2p_copy.relay.log import events
from p2p_copy.relay.log.abuse import Abuse
from p2p_copy.transport.timeouts import within

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from p2p_copy.relay.access.admission import Client
    from p2p_copy.relay.log.abuse import AbuseCounter
    from p2p_copy.transport.timeouts import Deadline


class ArrivalDeadlines:
    """The connections of one relay that have not said hello."""

    def __init__(self, abuse: AbuseCounter) -> None:
        """Begin with none; `abuse` counts those that are evicted."""
        self._deadlines: dict[Client, Deadline] = {}
        self._abuse = abuse

    @contextmanager
    def limit(self, seconds: float, client: Client) -> Iterator[Callable[[], None]]:
        """Limit the time of one client until the function that is yielded gets called."""
        with within(seconds) as deadline:

            def arrived() -> None:
                deadline.restart(math.inf)
                self._deadlines.pop(client, None)

            self._deadlines[client] = deadline
            if client.gone:  # it was evicted on its way from one process to another
                deadline.cancel()
            try:
                yield arrived
            finally:
                self._deadlines.pop(client, None)
        if deadline.is_over and client.gone:
            self._abuse.count(Abuse.EVICTED)
        elif deadline.is_over:
            events.TOO_SLOW.log()

    def evict(self, client: Client) -> None:
        """End the connection of a client that has not said hello, whether at TLS, at HTTP, or silent after that."""
        deadline = self._deadlines.get(client)
        if deadline is not None:  # else its hello was refused, and it is leaving
            deadline.cancel()

    def cancel_all(self) -> None:
        """End the connections of all clients that have not said hello."""
        for deadline in self._deadlines.values():
            deadline.cancel()
