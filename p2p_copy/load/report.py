"""What a load test has shown, for people and programs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from p2p_copy.errors import P2PCopyError, RelayLost, RelayRefused, SystemFailed
from p2p_copy.load import limits
from p2p_copy.load.figures import percentile
from p2p_copy.load.plan import LowLimit  # noqa: TC001 - the schema of --json is made from the types
from p2p_copy.units import count

if TYPE_CHECKING:
    from collections.abc import Sequence

    from p2p_copy.load.figures import Figures


@dataclass(frozen=True, slots=True)
class Times:
    """How long something took, each time: percentiles in seconds.

    Attributes:
        count: how often it was measured.
        p50: half of the times were not longer; the median.
        p90: nine of ten were not longer.
        p99: 99 of a hundred were not longer.
        longest: none was longer.

    """

    count: int
    p50: float
    p90: float
    p99: float
    longest: float


@dataclass(frozen=True, slots=True)
class LoadFailure:
    """Something that went wrong, and how often.

    Attributes:
        kind: `refused` by the relay, `not_connected`, `lost` connection, `late` answer, `changed` bytes, or `local`:
            this machine lacks something.
        limit: the relay's option with the limit that refused the clients; empty if it was none.
        sentence: what happened, for a person.
        count: how often.

    """

    kind: str
    limit: str
    sentence: str
    count: int


@dataclass(frozen=True, slots=True)
class LoadReport:
    """The result of `relay-load`. Times are in seconds.

    Attributes:
        relay: the relay's address.
        is_whole: whether all clients had come; if not, the figures are of what came until the end.
        is_gone: whether the test has ended because the relay was gone.
        seconds: for how long the whole load was measured.
        waiters: the most clients that waited at once.
        pairings: the most pairings at once.
        completed: pairings of which all bytes arrived.
        received: bytes that arrived, in all.
        rate: bytes per second that arrived while the load was whole.
        redials: how often a waiting client has connected again, as the relay asks it to.
        connect: from a client's first packet to its WebSocket, with TLS; null if there was none, as below.
        welcome: from a client's hello to the relay's welcome.
        pair: from the first packet of a pair's second client until both were told that they are paired.
        round_trip: of a small message from one client to another and back, while the load was whole.
        processes: how many processes made the load.
        processor: processor seconds per second of the busiest one of them.
        is_bottleneck: whether that one was too busy, so that the relay may be faster than these figures.
        low_limits: the relay's limits that are too low for this load.
        failures: what went wrong, the most frequent first.

    """

    relay: str
    is_whole: bool
    is_gone: bool
    seconds: float
    waiters: int
    pairings: int
    completed: int
    received: int
    rate: float
    redials: int
    connect: Times | None
    welcome: Times | None
    pair: Times | None
    round_trip: Times | None
    processes: int
    processor: float
    is_bottleneck: bool
    low_limits: tuple[LowLimit, ...]
    failures: tuple[LoadFailure, ...]

    def raise_for_failures(self) -> None:
        """Raise the error that fits what went wrong most often.

        Raises:
            RelayRefused: the relay refused clients.
            RelayLost: connections were lost or not made, or bytes arrived changed; or the relay is gone.
            SystemFailed: this machine lacks something.

        """
        if self.is_gone:
            raise RelayLost(f"The relay was gone for {limits.GONE_AFTER:.0f} s, so the load test has ended.")
        if self.failures:
            errors: dict[str, type[P2PCopyError]] = {"refused": RelayRefused, "local": SystemFailed}
            often = count(sum(one.count for one in self.failures), "failure")
            raise errors.get(self.failures[0].kind, RelayLost)(f"The load test had {often}.")


def report_of(
    relay: str,
    total: Figures,
    *,
    round_trips: Sequence[float],
    low: tuple[LowLimit, ...],
    processes: int,
    is_gone: bool,
) -> LoadReport:
    """Return the report of all figures together."""
    share = total.processor / total.seconds if total.seconds else 0.0
    return LoadReport(
        relay=relay,
        is_whole=total.is_whole,
        is_gone=is_gone,
        seconds=round(total.seconds, 3),
        waiters=total.most_waiting,
        pairings=total.most_paired,
        completed=total.completed,
        received=total.received,
        rate=round(total.moved / total.seconds) if total.seconds else 0,
        redials=total.redials,
        connect=_times(total.connect),
        welcome=_times(total.welcome),
        pair=_times(total.pair),
        round_trip=_times(round_trips),
        processes=processes,
        processor=round(share, 3),
        is_bottleneck=share >= limits.GENERATOR_BUSY,
        low_limits=low,
        failures=tuple(LoadFailure(*failure, number) for failure, number in total.failures.most_common()),
    )


def _times(values: Sequence[float]) -> Times | None:
    if not values:
        return None
    return Times(len(values), *(round(percentile(values, share), 6) for share in (0.5, 0.9, 0.99, 1)))
