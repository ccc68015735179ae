"""What a relay has done and is doing, as one value that the admin address shows.

The values of several processes can be added. Nothing in it identifies a client.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from p2p_copy.value import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping


class RunningPairing(NamedTuple):
    """A pairing that runs: its number, for how many seconds, and the bytes that both sides have sent so far."""

    number: int
    seconds: int
    copied: int


@dataclass(slots=True)
class Snapshot:
    """Counts of one relay at one moment.

    Attributes:
        connections: connections that are open, those without a hello included.
        waiting: clients that wait for their other side.
        rooms: rooms with clients, waiting or paired.
        running: pairings that run.
        stalled: those of them in which nothing from the sender moves.
        tasks: tasks of the event loop.
        memory_held: bytes that pairings hold.
        memory_limit: bytes that they may hold.
        received: bytes received since the relay began, by the side that they came from, those of running pairings
            included.
        served: pairings that have ended, and `outcomes`: these by how they ended.
        outcomes: see `served`.
        refused: refused clients, by reason.
        handshakes_failed: connections that ended without a hello.
        abuse: cases of abuse, by kind.
        workers: worker processes that serve, those included that end with their last pairings.
        workers_died: worker processes that have ended though they should not.
        pairings: the running ones, if they were asked for.

    """

    connections: int = 0
    waiting: int = 0
    rooms: int = 0
    running: int = 0
    stalled: int = 0
    tasks: int = 0
    memory_held: int = 0
    memory_limit: int = 0
    received: Counter[str] = field(default_factory=Counter)
    served: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    handshakes_failed: int = 0
    abuse: Counter[str] = field(default_factory=Counter)
    workers: int = 0
    workers_died: int = 0
    pairings: list[RunningPairing] = field(default_factory=list)

    def add(self, other: Snapshot) -> None:
        """Add what another process has counted."""
        for each in fields(self):
            ours, theirs = getattr(self, each.name), getattr(other, each.name)
            if isinstance(ours, Counter):
                ours.update(theirs)  # unlike +, this keeps zeros
            else:
                setattr(self, each.name, ours + theirs)

    def past(self) -> Snapshot:
        """Return only what stays counted when the process is gone."""
        return Snapshot(
            received=self.received,
            served=self.served,
            outcomes=self.outcomes,
            refused=self.refused,
            handshakes_failed=self.handshakes_failed,
            abuse=self.abuse,
        )

    def facts(self) -> dict[str, Any]:
        """Return the fields, for JSON."""
        return {each.name: getattr(self, each.name) for each in fields(self)}

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Snapshot:
        """Return the snapshot of which `facts` has made these, by way of JSON."""
        found = cls(**facts)
        for each in fields(found):
            value = getattr(found, each.name)
            if isinstance(value, dict):
                setattr(found, each.name, Counter(value))
        found.pairings = [RunningPairing(*each) for each in found.pairings]
        return found
