"""What happens to a transfer in one round: drawn from the round's seed and nothing else, so that it can be repeated."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple

LARGE, TREE = "large", "tree"
WORKS = (LARGE, TREE)

FEWEST, MOST = 3, 8
"""Accidents of one round."""

LONGEST_PAUSE = 5.0
"""Seconds after which what was ended is started again, at most. Two of five times it is at once."""

SHORT, LONG = 5.0, 120.0
"""Seconds for which a link is down: one that connections survive, and one that they do not."""

SOON = 6.0
"""Seconds after one accident in which another one often comes: into the middle of coming back."""

LAST = 0.985
"""Share of the data after which the end is near: the last digests, the receipt."""


class Who(StrEnum):
    SENDER = "sender"
    RELAY = "relay"
    RECEIVER = "receiver"


class Action(StrEnum):
    KILLED = "killed"
    TOLD = "told to end"
    BOTH_KILLED = "sender and receiver killed"
    SHORT = f"link down for {SHORT:g} s"
    LONG = f"link down for {LONG / 60:g} min"
    MOVED = "moved to another address"


class Kind(NamedTuple):
    """An accident, and whom it meets; None if that is not one of the three."""

    action: Action
    whom: Who | None

    def __str__(self) -> str:
        if self.whom is None:
            return self.action
        if self.action in WITH_NETWORK - {Action.MOVED}:
            return f"{self.whom}'s {self.action}"
        return f"{self.whom} {self.action}"


WITH_NETWORK = frozenset({Action.SHORT, Action.LONG, Action.MOVED})
"""What needs networks of our own."""

KINDS: dict[Kind, float] = {
    **{Kind(Action.KILLED, who): 1 for who in Who},
    **{Kind(Action.TOLD, who): 1 for who in Who},
    Kind(Action.BOTH_KILLED, None): 1,
    Kind(Action.MOVED, Who.RELAY): 1,
    **{Kind(Action.SHORT, who): 0.7 for who in Who},
    **{Kind(Action.LONG, who): 0.05 for who in Who},
}
"""All kinds, and how often they come beside their turn."""

WAYS = {
    Action.TOLD: ("SIGTERM", "SIGTERM", "SIGINT"),
    Action.SHORT: ("cable", "interface"),
    Action.LONG: ("cable", "interface"),
    Action.MOVED: ("politely", "silently"),
}
"""How it may happen: with a cable, packets vanish; with an interface, programs are told that there is no network.
A relay that moves politely is told to end; one that moves silently has lost its address before."""


@dataclass(frozen=True, slots=True)
class Accident:
    """One accident: when the share `at` of the data has arrived, and `delay` seconds after that or the one before.

    Attributes:
        pause: seconds until what was ended is started again, or for which a link is down.
        way: one of `WAYS`, or nothing.

    """

    kind: Kind
    at: float
    delay: float
    pause: float
    way: str = ""

    def __str__(self) -> str:
        way = f" ({self.way})" if self.way else ""
        pause = "" if self.kind.action in (Action.SHORT, Action.LONG) else f", back after {self.pause:.1f} s"
        return f"{self.kind}{way} at {self.at:.1%} + {self.delay:.1f} s{pause}"


@dataclass(frozen=True, slots=True)
class Plan:
    """One round.

    Attributes:
        work: what is copied, one of `WORKS`.
        tls: whether the relay has a certificate.
        pace: times the usual seconds that the round lasts without accidents.
        receiver_first: who comes first.

    """

    seed: int
    work: str
    tls: bool
    pace: float
    receiver_first: bool
    accidents: tuple[Accident, ...]

    @property
    def outage(self) -> float:
        """Seconds for which something is ended or down, all accidents together."""
        return sum(accident.pause for accident in self.accidents)


def plan(seed: int, *, only: str | None, network: bool, most: int = MOST) -> Plan:
    """Return the round of a seed, with `most` of its accidents. Rounds in turn have all kinds, and both works.

    Args:
        seed: of the round.
        only: one of `WORKS`, if the other one is not wanted.
        network: whether there are networks of our own.
        most: accidents; the first ones of a round do not depend on it.

    """
    chance = random.Random(seed)
    shape = Plan(
        seed=seed,
        work=only or WORKS[seed % len(WORKS)],
        tls=chance.random() < 0.5,
        pace=chance.uniform(0.7, 1.3),
        receiver_first=chance.random() < 0.5,
        accidents=(),
    )
    possible = {kind: often for kind, often in KINDS.items() if network or kind.action not in WITH_NETWORK}
    count = chance.randint(FEWEST, MOST)
    kinds = [list(possible)[seed // len(WORKS) % len(possible)]]
    kinds += chance.choices(list(possible), list(possible.values()), k=count - 1)
    chance.shuffle(kinds)
    accidents = tuple(
        _accident(chance, kind, at, delay)
        for kind, (at, delay) in zip(kinds, _times(chance, count), strict=True)
    )
    return replace(shape, accidents=accidents[:most])


def _times(chance: random.Random, count: int) -> list[tuple[float, float]]:
    """Return when `count` accidents come, one after another."""
    shares = sorted(chance.uniform(0.01, 0.95) for _ in range(count))
    times = [(share, 0.0) for share in shares]
    if chance.random() < 0.2:
        times[0] = (0.0, chance.uniform(0, 2))  # into the greetings
    if chance.random() < 0.2:
        times[-1] = (LAST, chance.uniform(0, 1))
    for number in range(1, count):
        if chance.random() < 0.3:
            times[number] = (times[number - 1][0], chance.uniform(0, SOON))
    return times


def _accident(chance: random.Random, kind: Kind, at: float, delay: float) -> Accident:
    pause = 0.0 if chance.random() < 0.4 else chance.uniform(0, LONGEST_PAUSE)
    pause = {Action.SHORT: SHORT, Action.LONG: LONG}.get(kind.action, pause)
    return Accident(kind, at, delay, pause, chance.choice(WAYS.get(kind.action, ("",))))
