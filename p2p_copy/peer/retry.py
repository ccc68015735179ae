"""Where two sides look for each other, and who forgets what when: decisions only, without loop, clock or disk.

A side may hold two things by which the other one finds it: the code, and tickets, of which every first meeting gives
both sides one. A ticket has a room that nobody else knows; the room of the code may be known to others, who may guess.

Where to look:

1. Without a ticket a side is in the room of the code, all the time.
2. With a ticket it looks into the rooms of its tickets and of the code in turn, since the other side may have forgotten
   the ticket. It is in each ticket's room three times as long as in the room of the code, and turns become longer. So
   of two sides that hold the same ticket, the one whose turns are longer is in its room at least as long as the other
   one is away; and a side without a ticket stays where the other one comes to. A sender that is not sure of any ticket
   is in both rooms for as long: its receiver may have that ticket, another one, or none.

Who forgets what, when (see `Knowledge`):

| what happens                                          | the code       | tickets                              |
|-------------------------------------------------------|----------------|--------------------------------------|
| an exchange by the code: before the proof is shown    | is spent       | stay                                 |
| an exchange by the code succeeds                      | is good again  | stay                                 |
| an exchange by the code fails, or somebody guesses    | is spent       | stay                                 |
| an exchange by a ticket fails                         | stays          | stay: it is one more loss            |
| sender, before its Offer, met by the code,            | stays          | the new one, and the last that was   |
|   and the other side has none of its tickets          |                |   sure                               |
| both sides, once there is an Accept                   | stays          | the one of this meeting, and no other|
| the receiver declines                                 | stays          | without that of this meeting         |
| a side ends for good, and the other one was told      | stays          | none                                 |
| a side ends for good, and the other one was not told  | stays          | stay                                 |
| a loss, a kill, a stop                                | stays          | stay                                 |
| all is done                                           | everything is forgotten                              |

A code that is spent is never used in an exchange again. A side that has a ticket goes on by that, and tells whoever
comes to the room of the code that the code is used up. If it is not sure that the other side has the ticket, too, it
looks for it a few minutes only: nothing has been transferred by that ticket yet, and both may wait in vain.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from p2p_copy.errors import (
    CertificateNotTrusted,
    IncompatiblePeer,
    NobodyCame,
    NotARelay,
    P2PCopyError,
    PeerMisbehaved,
    RelayExpectsTLS,
    RelayLost,
    RelayRefused,
    RelayUnreachable,
    RelayWithoutTLS,
    WrongCode,
)
from p2p_copy.peer import limits

if TYPE_CHECKING:
    from collections.abc import Collection

Room: TypeAlias = "bytes | None"
"""A place to look: the ticket whose room it is, or None for the room of the code."""


@dataclass(frozen=True)
class Knowledge:
    """What one side holds by which it can meet the other one.

    Attributes:
        tickets: the newest first, at most two; the second one is what both have for sure while only this side has
            the first one for sure.
        sure: the other side has the first ticket, too.
        spent: the code was tried in an exchange that failed, or whose end is not known.
        has_code: the code is known here.

    """

    tickets: tuple[bytes, ...] = ()
    sure: bool = False
    spent: bool = False
    has_code: bool = True

    @property
    def rooms(self) -> tuple[Room, ...]:
        """Where to look, in turn."""
        return (*self.tickets, None) if self.has_code else self.tickets

    @property
    def is_lost(self) -> bool:
        """Whether there is nothing left by which to meet anybody."""
        return not self.tickets and (self.spent or not self.has_code)

    @property
    def is_sure_of_one(self) -> bool:
        """Whether there is a ticket that the other side has had, too."""
        return self.sure or len(self.tickets) > 1

    @property
    def is_in_doubt(self) -> bool:
        """Whether all that is left is a ticket of which nobody knows whether the other side has it."""
        return self.spent and bool(self.tickets) and not self.is_sure_of_one

    def tried(self) -> Knowledge:
        """Return what is left when the code was put to the test, and nobody knows yet how that ends."""
        return replace(self, spent=True)

    def proved(self) -> Knowledge:
        """Return what is left when that ended well: the other side holds the code, so nobody has guessed."""
        return replace(self, spent=False)

    def in_common(self, room: Room, new: bytes, theirs: Collection[bytes]) -> bytes:
        """Return the ticket of a meeting: that of its room, else one that both hold already, else the new one.

        Args:
            room: where both have met.
            new: the ticket of that meeting.
            theirs: of this side's tickets those that the other side holds, too.

        """
        return room or next((ticket for ticket in self.tickets if ticket in theirs), new)

    def offered(self, ticket: bytes) -> Knowledge:
        """Return what a sender holds before it offers: the receiver may have this ticket from now on, or not."""
        if ticket in self.tickets:
            return self
        earlier = self.tickets[:1] if self.sure else self.tickets[1:]
        return replace(self, tickets=(ticket, *earlier), sure=False)

    def agreed(self, ticket: bytes) -> Knowledge:
        """Return what a side holds when both have this ticket."""
        return replace(self, tickets=(ticket,), sure=True)

    def declined(self, ticket: bytes) -> Knowledge:
        """Return what a side holds after a meeting in which the receiver kept nothing."""
        left = tuple(each for each in self.tickets if each != ticket)
        return replace(self, tickets=left, sure=bool(left))

    def parted(self, *, told: bool) -> Knowledge:
        """Return what a side holds that ends for good; `told` if the other side knows."""
        return replace(self, tickets=(), sure=False) if told else self


class Turn(NamedTuple):
    """Where to look next, and for how many seconds."""

    room: Room
    seconds: float


class Turns:
    """The order in which one side looks into its rooms."""

    def __init__(self) -> None:
        self._round = 0
        self._left: list[Room] = []

    def restart(self) -> None:
        """Begin anew: the other side was there a moment ago."""
        self._round, self._left = 0, []

    def next(self, knowledge: Knowledge, whole: float) -> Turn:
        """Return the next turn of a search that lasts `whole` seconds in all."""
        rooms = knowledge.rooms
        self._left = [room for room in self._left if room in rooms]
        if not self._left:
            self._left = list(rooms)
            self._round += 1
        room = self._left.pop(0)
        if len(rooms) == 1:
            return Turn(room, whole)
        base = min(limits.ROOM_TURN * 2 ** min(self._round - 1, _MOST_ROUNDS), limits.ROOM_TURN_MOST)
        weights = [self._weight(each, knowledge) for each in rooms]
        base = min(base, whole / (_LEAST_ROUNDS * sum(weights)))
        return Turn(room, base * self._weight(room, knowledge))

    def _weight(self, room: Room, knowledge: Knowledge) -> int:
        """Return how long to be in a room, in units of the shortest turn."""
        return 1 if room is None and knowledge.is_sure_of_one else limits.ROOM_TURNS


_MOST_ROUNDS: Final = 32
"""More would only make the numbers larger."""

_LEAST_ROUNDS: Final = 2
"""So often a side looks into each room, however short its patience is."""


class Retry(NamedTuple):
    """Try again after a pause."""


class OtherRoom(NamedTuple):
    """Look into the next room at once."""


class GiveUp(NamedTuple):
    """It does not pass, or there is nobody to wait for."""

    error: P2PCopyError


Decision: TypeAlias = "Retry | OtherRoom | GiveUp"


class Outcome(NamedTuple):
    """How a try ended, other than well.

    Attributes:
        error: why.
        met: both sides have proved to each other that they hold the same secret.
        room: where.
        others: there are other rooms to look into.
        waited: nobody came, for as long as the turn lasts.

    """

    error: P2PCopyError
    met: bool
    room: Room
    others: bool
    waited: bool


class Reconnect:
    """What to do after each try of one transfer.

    Attributes:
        reached: the relay was there, for this transfer: it is waited for if it is not.

    """

    def __init__(self, *, has_ticket: bool) -> None:
        self._seen = False  # the relay, by this process
        self.reached = has_ticket

    def declined(self) -> None:
        """The receiver said no: somebody else may come, and the relay is waited for."""
        self.reached = self._seen = True

    def after(self, outcome: Outcome, *, has_ticket: bool) -> Decision:
        """Return what to do next."""
        error = outcome.error
        self._seen = self._seen or outcome.met
        self.reached = self.reached or outcome.met or isinstance(error, RelayLost)
        if has_ticket and not outcome.met and isinstance(error, _FAILED_EXCHANGE):
            if outcome.room is None:  # whoever that was, it ends nothing that has a ticket
                return OtherRoom()
            if not isinstance(error, IncompatiblePeer):  # nobody guesses a ticket: it is one more loss
                return Retry()
        known = outcome.met or has_ticket
        passes = error.passes or (self._seen and isinstance(error, _ON_THE_WAY))
        if not passes or not self.reached or not (known or isinstance(error, _OF_RELAYS)):
            return GiveUp(error)
        if outcome.met or not outcome.others:
            return Retry()
        in_turn = outcome.waited and isinstance(error, NobodyCame)
        return OtherRoom() if in_turn or outcome.room is None else Retry()


_FAILED_EXCHANGE: Final = (IncompatiblePeer, PeerMisbehaved, WrongCode)

_OF_RELAYS: Final = (RelayLost, RelayUnreachable, RelayRefused)

_ON_THE_WAY: Final = (CertificateNotTrusted, NotARelay, RelayExpectsTLS, RelayWithoutTLS)
"""Where the relay was, somebody else answers: a network that wants a login first, say. That passes."""
