"""Counts what a relay has done since it began, and logs each pairing and, at the end, the sums."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import trio

from p2p_copy.protocol.rendezvous import Refusal
from p2p_copy.relay.log import events
from p2p_copy.relay.log.abuse import AbuseCounter
from p2p_copy.relay.log.redact import Size
from p2p_copy.relay.pairing import Outcome
from p2p_copy.value import NamedTuple

if TYPE_CHECKING:
    from p2p_copy.relay.pairing import Usage


class Counts(NamedTuple):
    """Clients and pairings that are here, and those that were: `served` pairings have ended, with `copied` bytes."""

    waiting: int
    pairings: int
    served: int
    copied: int


class Tally:
    """The sums of one relay.

    Attributes:
        served: pairings that have ended.
        outcomes: these pairings by how they ended.
        received: their bytes by the side that they came from.
        refused: refused clients, by reason.
        handshakes_failed: connections that ended without a hello.
        abuse: cases of abuse, by kind.

    """

    def __init__(self) -> None:
        """Begin with nothing."""
        self.served = 0
        # Zeros for all, or a program that watches would not see the first one as an increase.
        self.outcomes = Counter({outcome.value: 0 for outcome in Outcome})
        self.received = {"from_sender": 0, "from_receiver": 0}
        self.refused = Counter({code.value: 0 for code in Refusal})
        self.handshakes_failed = 0
        self.abuse = AbuseCounter()
        self._began = 0.0

    @property
    def copied(self) -> int:
        """Bytes received, from both sides."""
        return sum(self.received.values())

    @property
    def seconds(self) -> float:
        """Seconds since the beginning."""
        return trio.current_time() - self._began

    def begin(self) -> None:
        """Start the clock."""
        self._began = trio.current_time()

    def add(self, usage: Usage, number: int, addresses: tuple[str | None, ...] = ()) -> None:
        """Count a pairing that has ended, and log how; `addresses` are those of its two clients, if known here."""
        self.served += 1
        self.outcomes[usage.outcome.value] += 1
        self.received["from_sender"] += usage.from_sender
        self.received["from_receiver"] += usage.from_receiver
        events.PAIR_ENDED.log(
            addresses,
            pairing=number,
            outcome=usage.outcome.value,
            from_sender=Size(usage.from_sender),
            from_receiver=Size(usage.from_receiver),
            seconds=round(usage.seconds),
            rate=Size((usage.from_sender + usage.from_receiver) / max(usage.seconds, 1e-3)),
        )

    def close(self) -> None:
        """Log the sums."""
        events.STOPPED.log(served=self.served, copied=Size(self.copied), seconds=round(self.seconds))
