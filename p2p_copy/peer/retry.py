"""Decides where a side looks for the other, when it gives up, and what it forgets. No event loop, no disk.

Two sides find each other by the code or by a ticket. They agree on a first ticket when they meet by the code. Each
ticket has a room that only these two sides know. The room of the code may be known to others, who may guess the code.

Where to look:

1. A side without a ticket stays in the room of the code.
2. A side with tickets looks into the room of each ticket and into the room of the code in turn, since the other side
   may have lost its tickets. A turn in a ticket's room lasts three times as long as one in the room of the code, and
   turns become longer. So if two sides have the same ticket, the side with the longer turns stays in the ticket's room
   at least as long as the other side is elsewhere: they meet there. A side without a ticket is met in the room of the
   code.
3. A sender that is not sure of any ticket gives all its rooms turns of the same length: its receiver may have that
   ticket, another one, or none.

What each side knows after an event (see `Knowledge`):

| event                                                 | the code     | tickets                                |
|-------------------------------------------------------|--------------|----------------------------------------|
| an exchange by the code, before the proof is shown    | is spent     | stay                                   |
| an exchange by the code succeeds                      | is unspent   | stay                                   |
| an exchange by the code fails, or a client guesses    | is spent     | stay                                   |
| an exchange by a ticket fails                         | stays        | stay: it counts as a loss              |
| the sender is about to make its Offer; they met by    | stays        | the new one, and the last one that was |
|   the code, and have no ticket in common              |              |   sure                                 |
| an Accept is sent, or received                        | stays        | the one of this meeting alone          |
| the receiver declines                                 | stays        | all but the one of this meeting        |
| a side ends for good, and the other side was told     | stays        | none                                   |
| a side ends for good, and the other side was not told | stays        | stay                                   |
| a loss, a kill, a stop                                | stays        | stay                                   |
| all is done                                           | is forgotten | are forgotten                          |

A spent code is never used in an exchange again. A side with a ticket goes on by the ticket, and tells every client in
the room of the code that the code is used up. If the other side may not have that ticket, this side looks for it for a
few minutes only (`DOUBT_PATIENCE`): nothing has been transferred by the ticket yet, and without a limit both sides
might wait for ever.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from p2p_copy.errors import (
    IncompatiblePeer,
    NotTheRelay,
    P2PCopyError,
    PeerError,
    PeerTimeout,
    RelayError,
    RelayLost,
    UsageError,
    WrongCode,
)
from p2p_copy.peer import limits
from p2p_copy.units import duration
from p2p_copy.value import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

Room: TypeAlias = "bytes | None"
"""A room: the ticket whose room it is, or None for the room of the code."""


class Knowledge(NamedTuple):
    """By what one side can meet the other.

    Attributes:
        tickets: at most two, the newest first. Of two tickets the other side certainly has the second, and perhaps the
            first.
        sure: the other side certainly has the first ticket.
        spent: a key exchange with the code has failed, or began and may have failed.
        has_code: this process knows the code.

    """

    tickets: tuple[bytes, ...] = ()
    sure: bool = False
    spent: bool = False
    has_code: bool = True

    @property
    def rooms(self) -> tuple[Room, ...]:
        """The rooms to look into, in turn."""
        return (*self.tickets, None) if self.has_code else self.tickets

    @property
    def is_lost(self) -> bool:
        """Whether this side has nothing left by which to meet the other."""
        return not self.tickets and (self.spent or not self.has_code)

    @property
    def is_sure_of_one(self) -> bool:
        """Whether the other side certainly has had one of these tickets."""
        return self.sure or len(self.tickets) > 1

    @property
    def is_in_doubt(self) -> bool:
        """Whether only a ticket is left, and the other side may not have it."""
        return self.spent and bool(self.tickets) and not self.is_sure_of_one

    def tried(self) -> Knowledge:
        """Return the knowledge while a key exchange with the code runs: an attacker may be guessing in it."""
        return self._replace(spent=True)

    def proved(self) -> Knowledge:
        """Return the knowledge after that exchange has succeeded: the other client has the code."""
        return self._replace(spent=False)

    def ticket_of_meeting(self, room: Room, new: bytes, shared: Collection[bytes]) -> bytes:
        """Return the ticket of a meeting: that of its room, else one that both sides have already, else the new one.

        Args:
            room: where both sides have met.
            new: the ticket on which they have agreed in this meeting.
            shared: the tickets of this side that the other side has, too.

        """
        return room or next((ticket for ticket in self.tickets if ticket in shared), new)

    def offered(self, ticket: bytes) -> Knowledge:
        """Return the sender's knowledge once it makes its Offer: the receiver may have this ticket from then on."""
        if ticket in self.tickets:
            return self
        earlier = self.tickets[:1] if self.sure else self.tickets[1:]
        return self._replace(tickets=(ticket, *earlier), sure=False)

    def agreed(self, ticket: bytes) -> Knowledge:
        """Return the knowledge once both sides certainly have this ticket."""
        return self._replace(tickets=(ticket,), sure=True)

    def declined(self, ticket: bytes) -> Knowledge:
        """Return the knowledge after a meeting in which the receiver declined, and so did not keep its ticket."""
        left = tuple(each for each in self.tickets if each != ticket)
        return self._replace(tickets=left, sure=bool(left))

    def parted(self, *, told: bool) -> Knowledge:
        """Return the knowledge of a side that has ended for good. `told`: the other side knows that it has."""
        return self._replace(tickets=(), sure=False) if told else self


class Turn(NamedTuple):
    """A room, and for how long to look into it.

    Attributes:
        room: the room.
        seconds: how long this turn lasts at most.
        left: seconds for which this side looks for the other in all, if it does so in further turns, whatever a relay
            allows for one; 0 if this turn is the last.

    """

    room: Room
    seconds: float
    left: float = 0.0


class Turns:
    """The order in which one side looks into its rooms."""

    def __init__(self) -> None:
        self._round = 0
        self._left: list[Room] = []

    def restart(self) -> None:
        """Begin with short turns again: the other side was there a moment ago."""
        self._round, self._left = 0, []

    def next(self, knowledge: Knowledge, seconds: float) -> Turn:
        """Return the next turn of a search that lasts `seconds` in all."""
        rooms = knowledge.rooms
        self._left = [room for room in self._left if room in rooms]
        if not self._left:
            self._left = list(rooms)
            self._round += 1
        room = self._left.pop(0)
        if len(rooms) == 1:
            return Turn(room, seconds)
        base = min(limits.ROOM_TURN * 2 ** min(self._round - 1, _MOST_DOUBLINGS), limits.ROOM_TURN_MOST)
        weights = [self._weight(each, knowledge) for each in rooms]
        base = min(base, seconds / (_LEAST_ROUNDS * sum(weights)))
        return Turn(room, base * self._weight(room, knowledge))

    def _weight(self, room: Room, knowledge: Knowledge) -> int:
        """Return how many times the shortest turn a turn in this room lasts."""
        return 1 if room is None and knowledge.is_sure_of_one else limits.ROOM_TURNS


_MOST_DOUBLINGS: Final = 32
"""`ROOM_TURN_MOST` is reached long before. Without this, the power would grow as long as the search lasts."""

_LEAST_ROUNDS: Final = 2
"""Turns that each room has at least, however short the search is."""


class Retry(NamedTuple):
    """Try again after a pause.

    Attributes:
        after: seconds of the pause.
        left: seconds until this side gives up.

    """

    after: float
    left: float


class OtherRoom(NamedTuple):
    """Look into the next room at once."""


class GiveUp(NamedTuple):
    """End with this error: it is permanent, or the time for the search is over."""

    error: P2PCopyError


Decision: TypeAlias = "Retry | OtherRoom | GiveUp"


class Remembered(Protocol):
    """The part of a side's memory on which decisions depend."""

    patience: float
    """Seconds of a search after a loss."""

    @property
    def is_over(self) -> bool:
        """Whether this side has done all; the other side may not know that yet."""

    @property
    def knowledge(self) -> Knowledge:
        """By what this side can meet the other."""


class Reconnect:
    """Where to look next, and what to do after each try of one transfer. Times are in seconds, on any clock.

    A search begins with the first try, and anew after each loss. It ends when both sides meet or its time is over.
    """

    def __init__(
        self, memory: Remembered, *, wait: float, now: float, pauses: Callable[[], Iterator[float]]
    ) -> None:
        """Begin the first search, of `wait` seconds. `pauses` returns the pauses between the tries of one search."""
        self._memory = memory
        self._wait = wait
        self._until = now + wait
        self._since = now
        self._is_announced = memory.is_over  # the user knows of this search
        # In this process. Then there is a relay at the address, and an answer of something else is transient.
        self._has_met = False
        # In this process or an earlier one. Before, the address may be wrong, and is tried only once.
        self._relay_has_answered = bool(memory.knowledge.tickets)
        self._new_pauses = pauses
        self._pauses = pauses()
        self._turns = Turns()
        self._turn = Turn(None, 0.0)
        self._began = now

    def next_turn(self, now: float) -> Turn:
        """Return where to look now, and for how long.

        Raises:
            WrongCode: no ticket is left, and the code is used up.
            UsageError: no ticket is left, and this process does not know the code.

        """
        knowledge = self._memory.knowledge
        if knowledge.is_lost:
            raise WrongCode(_USED_UP) if knowledge.has_code else UsageError(_NO_CODE)
        left = self._left(self._wait, now)
        turn = self._turns.next(knowledge, left)
        self._turn = Turn(turn.room, min(turn.seconds, left), left if knowledge.tickets else 0.0)
        self._began = now
        return self._turn

    def after_decline(self, now: float) -> float:
        """Begin to wait for another receiver, since one has declined; return for how many seconds."""
        self._relay_has_answered = self._has_met = True
        self._is_announced, self._since, self._wait = False, now, self._until - now
        return self._wait

    def after(self, error: P2PCopyError, *, met: bool, now: float) -> Decision:
        """Return what to do after a try that ended with `error`. `met`: both sides had met in it."""
        self._has_met = self._has_met or met
        self._relay_has_answered = self._relay_has_answered or met or isinstance(error, RelayLost)
        if not self._may_pass(error, met=met):
            return GiveUp(error)
        if met:
            self._wait = self._memory.patience  # even if the link was lost before there was a ticket
        # The other side may come as late as the user allows; a relay is out of reach no longer than after a loss.
        has_ticket = bool(self._memory.knowledge.tickets)
        longest = self._memory.patience if has_ticket and not isinstance(error, PeerTimeout) else self._wait
        if not met and self._left(longest, now) <= 0:
            return GiveUp(self._too_late(error, now))
        if not met and self._looks_elsewhere(error, now):
            return OtherRoom()
        if met or not self._is_announced:
            self._is_announced, self._since = True, now
            self._pauses = self._new_pauses()
            self._turns.restart()
        left = self._left(longest, now)
        return Retry(min(next(self._pauses), left), left) if left > 0 else GiveUp(error)

    def _may_pass(self, error: P2PCopyError, *, met: bool) -> bool:
        """Tell whether a further try may end otherwise."""
        has_ticket = bool(self._memory.knowledge.tickets)
        if has_ticket and not met and isinstance(error, PeerError) and not error.transient:
            # A key exchange has failed. By the code, tickets are as good as before. A ticket cannot be guessed: its
            # failure is one more loss, unless the two programs do not understand each other.
            return self._turn.room is None or not isinstance(error, IncompatiblePeer)
        if not met and not has_ticket and not isinstance(error, RelayError):
            return False  # the other side has not come yet, so there is nothing to resume
        transient = error.transient or (self._has_met and isinstance(error, NotTheRelay))
        return transient and self._relay_has_answered

    def _looks_elsewhere(self, error: P2PCopyError, now: float) -> bool:
        """Tell whether to look into the next room at once, rather than after a pause."""
        if not self._has_several_rooms:
            return False
        waited = now - self._began >= self._turn.seconds  # a relay may say at once that the time is over
        return self._turn.room is None or (waited and isinstance(error, PeerTimeout))

    def _too_late(self, error: P2PCopyError, now: float) -> P2PCopyError:
        """Return the error with which a search ends when its time is over."""
        if self._memory.knowledge.is_in_doubt:
            return WrongCode(_USED_UP)
        if isinstance(error, PeerTimeout) and self._has_several_rooms:
            return PeerTimeout(f"The other side did not connect within {duration(now - self._since)}. {HINT}")
        return error

    @property
    def _has_several_rooms(self) -> bool:
        return len(self._memory.knowledge.rooms) > 1

    def _left(self, wait: float, now: float) -> float:
        """Return how many seconds are left of a search that lasts `wait` seconds without a ticket.

        With a ticket it lasts at least as long as after a loss: an earlier process may have met the other side, and
        been stopped since.
        """
        memory, knowledge = self._memory, self._memory.knowledge
        longest = max(memory.patience, wait) if knowledge.tickets else wait
        if memory.is_over:
            longest = memory.patience
        if knowledge.is_in_doubt:
            longest = min(longest, limits.DOUBT_PATIENCE)
        return max(longest - (now - self._since), 0.0)


HINT: Final = "Check that both sides use the same relay and the same code."

_USED_UP: Final = (
    "This code is used up: a key exchange with it has failed, or another client has tried to guess it. "
    "Use a new code on both sides."
)
_NO_CODE: Final = (
    "The two sides have ended that transfer, and its code is not known here. Start its command again."
)
