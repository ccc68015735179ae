"""What a relay has done since it began: one line in the log for each pairing, one for the whole at the end."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

import trio

from p2p_copy.protocol.rendezvous import Refusal
from p2p_copy.relay.log import events
from p2p_copy.relay.log.redact import Size
from p2p_copy.relay.pairing import Outcome

if TYPE_CHECKING:
    from p2p_copy.relay.pairing import Usage


class Counts(NamedTuple):
    """What a relay is doing, and what it has done: `served` pairings and `copied` bytes are those that ended."""

    waiting: int
    pairings: int
    served: int
    copied: int


class Tally:
    """The sums over all pairings that have ended.

    Attributes:
        served: pairings.
        outcomes: pairings by how they ended.
        received: bytes by the side that they came from.
        refused: clients that were told no, by reason.
        handshakes_failed: connections that ended without a hello.

    """

    def __init__(self) -> None:
        """Begin with nothing."""
        self.served = 0
        # Zeros for all, or whoever watches would not see the first one as an increase.
        self.outcomes = Counter({outcome.value: 0 for outcome in Outcome})
        self.received = {"from_sender": 0, "from_receiver": 0}
        self.refused = Counter({code.value: 0 for code in Refusal})
        self.handshakes_failed = 0
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

    def add(self, usage: Usage, addresses: tuple[str | None, ...] = ()) -> None:
        """Count a pairing that has ended, and say how, and who the two were if that is known here."""
        self.served += 1
        self.outcomes[usage.outcome.value] += 1
        self.received["from_sender"] += usage.from_sender
        self.received["from_receiver"] += usage.from_receiver
        events.PAIR_ENDED.log(
            addresses,
            outcome=usage.outcome.value,
            from_sender=Size(usage.from_sender),
            from_receiver=Size(usage.from_receiver),
            seconds=round(usage.seconds),
            rate=Size((usage.from_sender + usage.from_receiver) / max(usage.seconds, 1e-3)),
        )

    def close(self) -> None:
        """Say what it all was."""
        events.STOPPED.log(served=self.served, copied=Size(self.copied), seconds=round(self.seconds))
