"""How much load, and which of the relay's limits are too low for it. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from p2p_copy.load import limits

if TYPE_CHECKING:
    from p2p_copy.protocol.rendezvous import LoadTerms


@dataclass(frozen=True, slots=True)
class Plan:
    """The load of one process, or of all together.

    First the waiting clients come, spread over `ramp` seconds, then in as many seconds the pairings. From then on the
    load is whole, for `duration` seconds. When a pairing has moved its bytes, the next one begins.

    Attributes:
        waiters: clients that wait all the time.
        pairings: pairings at once.
        size: bytes that a pairing moves.
        rate: bytes per second of a pairing; None for as fast as it goes.
        ramp: seconds.
        duration: seconds.

    """

    waiters: int
    pairings: int
    size: int
    rate: int | None
    ramp: float
    duration: float

    def share(self, number: int, of: int) -> Plan:
        """Return the share of process `number`, from 0 on, if `of` processes make the load."""

        def part(whole: int) -> int:
            return whole // of + (number < whole % of)

        return replace(self, waiters=part(self.waiters), pairings=part(self.pairings))

    @property
    def connections(self) -> int:
        """Connections at once."""
        return self.waiters + 2 * self.pairings

    @property
    def message(self) -> int:
        """Bytes of one message."""
        if self.rate is None:
            return limits.MESSAGE
        steps = int(self.rate * limits.MESSAGE_SECONDS) // limits.LEAST_MESSAGE
        return min(max(steps, 1) * limits.LEAST_MESSAGE, limits.MESSAGE)


NEVER_UNLIMITED: Final = frozenset(("max-connections", "max-waiting", "max-pending"))
"""Limits of the whole relay. For those of a source 0 is no limit."""


@dataclass(frozen=True, slots=True)
class LowLimit:
    """A limit of the relay that is too low for this load.

    Attributes:
        option: the relay's option, without dashes.
        allowed: what the relay allows.
        needed: what this load needs.

    """

    option: str
    allowed: int
    needed: int


def low_limits(plan: Plan, terms: LoadTerms) -> tuple[LowLimit, ...]:
    """Return the limits that this load meets as soon as it is whole, or while its clients come.

    How many clients come in a minute is what the plan says; pairings that follow upon others count if their rate says
    how long they last.
    """
    connections = plan.connections + 2  # those two measure the round trip
    in_a_minute = _in_a_minute(plan)
    at_once = _at_once(plan)
    needed = {
        "max-connections": (terms.max_connections, connections),
        "max-waiting": (terms.max_waiting, plan.waiters + min(plan.pairings, 1)),
        "max-pending": (terms.max_pending, at_once),
        "max-per-source": (terms.max_per_source, connections),
        "max-pending-per-source": (terms.max_pending_per_source, at_once),
        "connections-per-minute": (terms.connections_per_minute, in_a_minute),
        "joins-per-minute": (terms.joins_per_minute, in_a_minute),
    }
    return tuple(
        LowLimit(option, allowed, number)
        for option, (allowed, number) in needed.items()
        if number > allowed and (allowed or option in NEVER_UNLIMITED)
    )


def _in_a_minute(plan: Plan) -> int:
    """Return how many clients come in the busiest minute."""
    minutes = max(plan.ramp / 60, 1)
    come = (plan.waiters / minutes, 2 * plan.pairings / minutes)
    ramps = max(come) if plan.ramp >= 60 else sum(come)
    lasts = plan.size / plan.rate if plan.rate else math.inf
    follow = 2 * plan.pairings * 60 / lasts if lasts < plan.duration else 0
    return math.ceil(max(ramps, follow))


def _at_once(plan: Plan) -> int:
    """Return how many clients have connected, and not said hello, at the busiest time."""
    most = max(plan.waiters, plan.pairings)
    return math.ceil(min(most, most * limits.PENDING_SECONDS / plan.ramp)) if plan.ramp else most
