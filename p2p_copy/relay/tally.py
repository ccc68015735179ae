"""What a relay has done since it began: one line in the log for each pairing, one for the whole at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import trio

from p2p_copy.relay.log import LOGGER, size

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
        copied: bytes received, from both sides.

    """

    def __init__(self) -> None:
        """Begin with nothing."""
        self.served = 0
        self.copied = 0
        self._began = 0.0

    def begin(self) -> None:
        """Start the clock."""
        self._began = trio.current_time()

    def add(self, usage: Usage) -> None:
        """Count a pairing that has ended, and say how."""
        self.served += 1
        self.copied += usage.from_sender + usage.from_receiver
        LOGGER.info(
            "< pair ended: %s, %s from the sender, %s from the receiver, %.0f s",
            usage.outcome.value,
            size(usage.from_sender),
            size(usage.from_receiver),
            usage.seconds,
        )

    def close(self) -> None:
        """Say what it all was."""
        LOGGER.info(
            "stopped: pairs served: %d, %s copied, up for %.0f s",
            self.served,
            size(self.copied),
            trio.current_time() - self._began,
        )
