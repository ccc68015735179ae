"""What one process measures, in a form that can be handed over and added up."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from p2p_copy.value import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Kind: TypeAlias = Literal["refused", "not_connected", "lost", "late", "changed", "local"]
"""What went wrong: the relay refused a client; there was no connection; a link broke; an answer did not come; bytes
arrived changed; this machine had no more descriptors, or the like."""


class Failure(NamedTuple):
    """What went wrong with one client.

    Attributes:
        kind: what it was.
        limit: the relay's option with the limit that refused the client; empty if it was none.
        sentence: for people.

    """

    kind: Kind
    limit: str
    sentence: str


def percentile(values: Sequence[float], share: float) -> float:
    """Return the least of some values that `share` of them do not exceed."""
    return sorted(values)[max(math.ceil(share * len(values)) - 1, 0)]


@dataclass(slots=True)
class Figures:
    """What was measured until now. Times are in seconds.

    Attributes:
        connect: how long each client took to connect: TCP, TLS and WebSocket.
        welcome: from its hello to the relay's welcome.
        pair: from the first packet of the second client of a pair until both were told.
        waiting: clients that wait now.
        paired: pairings that run now.
        most_waiting: the most of them at once.
        most_paired: the most of them at once.
        redials: how often a waiting client has connected again, as the relay asks it to.
        completed: pairings of which all bytes arrived.
        received: bytes that arrived.
        failures: what went wrong, and how often.
        seconds: for how long the load was whole; before that, since it began.
        moved: bytes that arrived in that time.
        processor: processor seconds that this process took in that time.
        is_whole: whether the load is whole.

    """

    connect: list[float] = field(default_factory=list)
    welcome: list[float] = field(default_factory=list)
    pair: list[float] = field(default_factory=list)
    waiting: int = 0
    paired: int = 0
    most_waiting: int = 0
    most_paired: int = 0
    redials: int = 0
    completed: int = 0
    received: int = 0
    failures: Counter[Failure] = field(default_factory=Counter)
    seconds: float = 0.0
    moved: int = 0
    processor: float = 0.0
    is_whole: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return all of it as what JSON can express."""
        plain = {name: getattr(self, name) for name in self.__slots__}
        return plain | {"failures": [[*failure, count] for failure, count in self.failures.items()]}

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> Figures:
        """Return figures that another process has handed over."""
        failures = Counter({Failure(*failure): count for *failure, count in plain["failures"]})
        return cls(**{**plain, "failures": failures})


def together(several: Iterable[Figures]) -> Figures:
    """Return the sum of the figures of several processes that made load at the same time.

    `processor` is that of the busiest one, for it is the one that may be too slow.
    """
    total = Figures()
    parts = list(several)
    for one in parts:
        total.connect += one.connect
        total.welcome += one.welcome
        total.pair += one.pair
        total.failures += one.failures
        for name in (
            "waiting",
            "paired",
            "most_waiting",
            "most_paired",
            "redials",
            "completed",
            "received",
            "moved",
        ):
            setattr(total, name, getattr(total, name) + getattr(one, name))
    total.seconds = max((one.seconds for one in parts), default=0.0)
    total.processor = max((one.processor for one in parts), default=0.0)
    total.is_whole = bool(parts) and all(one.is_whole for one in parts)
    return total
