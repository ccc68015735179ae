"""What one transfer of the trees campaign is: drawn from a seed and a number, before anything begins."""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import Enum
from typing import Final

from p2p_copy.options import Preserve
from p2p_copy.protocol import limits
from p2p_copy.units import KIB, MIB
from tests.support.random_trees import Case, Wishes, random_case, thresholds

PROGRAMS: Final = (5, 9)
"""So many transfers of so many are between two processes. The others take a fifth of the time: both sides run here, by
the API."""

UNLUCKY: Final = 0.45
"""Share of the transfers between processes that meet accidents."""

MOST_ACCIDENTS: Final = 3

RATES: Final = (64 * KIB, 512 * KIB, 4 * MIB)
"""Bytes per second of the relays through which transfers go that shall meet accidents while data flows."""

LASTS: Final = 4.0
"""Seconds that such a transfer may take for its data, if there is a relay that is fast enough."""

SQUEEZED: Final = 50
"""How much shorter the bytes of most files are on the wire."""

LINKS: Final = (None, None, None, 1, 2, 3, 4)
"""What is drawn for `--links`; None for no word of it."""


class Action(Enum):
    """What an accident does."""

    KILL = "kill -9"
    TERM = "SIGTERM"
    INT = "SIGINT"
    RELAY_KILLED = "relay killed"
    RELAY_STOPPED = "relay stopped"

    @property
    def of_relay(self) -> bool:
        return self in (Action.RELAY_KILLED, Action.RELAY_STOPPED)


class Moment(Enum):
    """From when on the delay of an accident counts."""

    START = "its start"
    CONNECTING = "before it connects"
    MEETING = "the meeting"


@dataclass(frozen=True, slots=True)
class Accident:
    """One accident.

    Attributes:
        to: "sender", "receiver" or both of them, in this order; empty for the relay.
        since: the moment from which the delay counts: when the last of these parties has reached it.
        delay: seconds.
        pause: seconds until it is started again.

    """

    action: Action
    to: tuple[str, ...]
    since: Moment
    delay: float
    pause: float


@dataclass(frozen=True, slots=True)
class Plan:
    """One transfer.

    Attributes:
        programs: both sides are processes.
        links: what the sender asks for, and the receiver.
        preserve: the same.
        code_in_file: each side has its code from a file, not from the environment.
        out_is_there: the output directory exists.
        lag: seconds between the start of the sender and that of the receiver; if negative, the receiver begins.

    """

    seed: int
    number: int
    case: Case
    programs: bool
    links: tuple[int | None, int | None]
    preserve: tuple[frozenset[Preserve], frozenset[Preserve]]
    code_in_file: tuple[bool, bool]
    out_is_there: bool
    lag: float
    accidents: tuple[Accident, ...]

    @property
    def code(self) -> str:
        return f"trees{self.seed}x{self.number}-a long passphrase"

    @property
    def several_links(self) -> bool:
        return min((number for number in self.links if number is not None), default=1) > 1

    @property
    def rate(self) -> int | None:
        """The rate of its relay, of those that there are; None for a fast one."""
        if not self.accidents:
            return None
        sizes = [node.size // (SQUEEZED if node.compressible else 1) for node in self.case.source.values()]
        return next((rate for rate in RATES if sum(sizes) / rate <= LASTS), RATES[-1])

    @property
    def own_relay(self) -> bool:
        """Whether it needs a relay without other clients."""
        return any(accident.action.of_relay for accident in self.accidents)


def plan(seed: int, number: int) -> Plan:
    """Draw a transfer."""
    rng = random.Random(f"{seed}/{number}")
    programs = number % PROGRAMS[1] < PROGRAMS[0]
    accidents = rng.randint(1, MOST_ACCIDENTS) if programs and rng.random() < UNLUCKY else 0
    case = random_case(rng, Wishes(thresholds(most=2 * limits.SEGMENT), xattrs=True))
    return Plan(
        seed,
        number,
        case,
        programs,
        (rng.choice(LINKS), rng.choice(LINKS)),
        _preserve(rng, case),
        (rng.random() < 0.5, rng.random() < 0.5),
        bool(case.existing) or rng.random() < 0.5,
        rng.choice((0, 0, rng.uniform(-0.5, 0.5))),
        tuple(_accident(rng) for _ in range(accidents)),
    )


def _preserve(rng: random.Random, case: Case) -> tuple[frozenset[Preserve], frozenset[Preserve]]:
    """Return what each side names: both of them what the case says, and sometimes one of them something else."""
    sender: set[Preserve] = set()
    receiver: set[Preserve] = set()
    asked = {Preserve.HARD_LINKS: case.asked.hard_links, Preserve.XATTRS: case.asked.xattrs}
    for what, by_both in asked.items():
        alone = rng.choice((sender, receiver)) if rng.random() < 0.2 else None
        for side in (sender, receiver):
            if by_both or side is alone:
                side.add(what)
    return frozenset(sender), frozenset(receiver)


def _accident(rng: random.Random) -> Accident:
    action = rng.choices(list(Action), (6, 3, 3, 1, 1))[0]
    if action.of_relay:
        return Accident(action, (), Moment.MEETING, rng.choice((0.05, 0.5)) * rng.random(), rng.random())
    to = rng.choices((("sender",), ("receiver",), ("sender", "receiver")), (4, 4, 2))[0]
    since = rng.choices(list(Moment), (1, 1, 4))[0]
    delay = rng.random() * (0.5 if since is Moment.START else rng.choice((0.01, 0.05, 0.2, 1.0)))
    return Accident(action, to, since, delay, rng.choice((0, 0.5)) * rng.random())
