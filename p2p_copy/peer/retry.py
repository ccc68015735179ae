"""Decides where a side looks for the other one, when it gives up, and what it forgets. No event loop, no disk.

A side may have two things by which the other one finds it: the code, and tickets, of which every first meeting gives
both sides one. No other client knows the room of a ticket. The room of the code may be known to others, who may guess.

Where to look:

1. Without a ticket a side is in the room of the code, all the time.
2. With a ticket it looks into the rooms of its tickets and of the code in turn, since the other side may have forgotten
   the ticket. It is in each ticket's room three times as long as in the room of the code, and turns become longer. So
   of two sides that have the same ticket, the one whose turns are longer is in its room at least as long as the other
   one is away; and a side without a ticket stays where the other one comes to. A sender that is not sure of any ticket
   is in both rooms for as long: its receiver may have that ticket, another one, or none.

Who forgets what, when (see `Knowledge`):

| what happens                                          | the code       | tickets                              |
|-------------------------------------------------------|----------------|--------------------------------------|
| an exchange by the code: before the proof is shown    | is spent       | stay                                 |
| an exchange by the code succeeds                      | is good again  | stay                                 |
| an exchange by the code fails, or a client guesses    | is spent       | stay                                 |
| an exchange by a ticket fails                         | stays          | stay: it is one more loss            |
| sender, before its Offer, met by the code,            | stays          | the new one, and the last that was   |
|   and the other side has none of its tickets          |                |   sure                               |
| both sides, once there is an Accept                   | stays          | the one of this meeting, and no other|
| the receiver declines                                 | stays          | without that of this meeting         |
| a side ends for good, and the other one was told      | stays          | none                                 |
| a side ends for good, and the other one was not told  | stays          | stay                                 |
| a loss, a kill, a stop                                | stays          | stay                                 |
| all is done                                           | everything is forgotten                              |

A code that is spent is never used in an exchange again. A side that has a ticket goes on by that, and tells every
client that comes to the room of the code that the code is used up. If it is not sure that the other side has the
ticket, too, it looks for it a few minutes only: nothing has been transferred by that ticket yet, and both may wait
for each other without end.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, TypeAlias

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

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

Room: TypeAlias = "bytes | None"
"""A room to look into: the ticket that it belongs to, or None for the room of the code."""


@dataclass(frozen=True)
class Knowledge:
    """The secrets of one side with which it can meet the other one.

    Attributes:
        tickets: the newest first, at most two. If there are two, the other side certainly has the second one, and
            perhaps the first.
        sure: the other side has the first ticket, too.
        spent: the code was tried in an exchange that failed, or whose end is not known.
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
        """Whether this side has nothing left with which to meet the other one."""
        return not self.tickets and (self.spent or not self.has_code)

    @property
    def is_sure_of_one(self) -> bool:
        """Whether there is a ticket that the other side certainly has had, too."""
        return self.sure or len(self.tickets) > 1

    @property
    def is_in_doubt(self) -> bool:
        """Whether this side has only a ticket left that the other side may not have."""
        return self.spent and bool(self.tickets) and not self.is_sure_of_one

    def tried(self) -> Knowledge:
        """Return what this side has while a key exchange with the code runs, in which another client may guess once."""
        return replace(self, spent=True)

    def proved(self) -> Knowledge:
        """Return what this side has after that exchange succeeded: the other side has the code, and did not guess."""
        return replace(self, spent=False)

    def in_common(self, room: Room, new: bytes, theirs: Collection[bytes]) -> bytes:
        """Return the ticket of a meeting: that of its room, else one that both have already, else the new one.

        Args:
            room: where both have met.
            new: the ticket of that meeting.
            theirs: those of this side's tickets that the other side has, too.

        """
        return room or next((ticket for ticket in self.tickets if ticket in theirs), new)

    def offered(self, ticket: bytes) -> Knowledge:
        """Return what a sender has once it makes its offer: from then on the receiver may have this ticket."""
        if ticket in self.tickets:
            return self
        earlier = self.tickets[:1] if self.sure else self.tickets[1:]
        return replace(self, tickets=(ticket, *earlier), sure=False)

    def agreed(self, ticket: bytes) -> Knowledge:
        """Return what a side has when both certainly have this ticket."""
        return replace(self, tickets=(ticket,), sure=True)

    def declined(self, ticket: bytes) -> Knowledge:
        """Return what a side has after a meeting in which the receiver kept nothing."""
        left = tuple(each for each in self.tickets if each != ticket)
        return replace(self, tickets=left, sure=bool(left))

    def parted(self, *, told: bool) -> Knowledge:
        """Return what a side has once it has ended for good; `told` says whether the other side knows that."""
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
        """Begin with the first round again: the other side was there a moment ago."""
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
"""How often a side looks into each room at least, however short its patience is."""


class Retry(NamedTuple):
    """Try again after a pause.

    Attributes:
        after: seconds of the pause.
        search: seconds that the search for the other side lasts at most, if it begins now; else None.

    """

    after: float
    search: float | None = None


class OtherRoom(NamedTuple):
    """Look into the next room at once."""


class GiveUp(NamedTuple):
    """End with this error: it is permanent, or the time is over."""

    error: P2PCopyError


Decision: TypeAlias = "Retry | OtherRoom | GiveUp"


class Remembered(Protocol):
    """What a side remembers, as far as decisions depend on it."""

    patience: float
    """Seconds for which to look for the other side after a loss."""

    @property
    def is_over(self) -> bool:
        """Whether this side has done all, and only the other one may not know that."""

    @property
    def knowledge(self) -> Knowledge:
        """By what this side can meet the other one."""


class Reconnect:
    """Where to look next, and what to do after each try of one transfer. A time is in seconds, on any clock.

    A search begins with the first try and after each loss. It ends when both sides meet, or when its time is over.
    """

    def __init__(
        self, memory: Remembered, *, wait: float, now: float, pauses: Callable[[], Iterator[float]]
    ) -> None:
        """Begin the first search, of `wait` seconds. `pauses` returns those between the tries of one search."""
        self._memory = memory
        self._wait = wait
        self._until = now + wait
        self._since = now
        self._is_told = memory.is_over  # the user knows of this search
        self._was_seen = False  # this process has reached the relay
        # If an earlier process has reached it for this transfer, this one waits for it.
        self._was_reached = bool(memory.knowledge.tickets)
        self._new_pauses = pauses
        self._pauses = pauses()
        self._turns = Turns()
        self._turn = Turn(None, 0.0)
        self._began = now

    def next_turn(self, now: float) -> Turn:
        """Return where to look now, and for how long.

        Raises:
            WrongCode, UsageError: nothing is left by which both sides could meet.

        """
        knowledge = self._memory.knowledge
        if knowledge.is_lost:
            raise WrongCode(_USED_UP) if knowledge.has_code else UsageError(_NO_CODE)
        left = self._left(self._wait, now)
        room, seconds = self._turns.next(knowledge, left)
        self._turn, self._began = Turn(room, min(seconds, left)), now
        return self._turn

    def after_decline(self, now: float) -> float:
        """Begin to wait for another receiver, since one said no; return for how many seconds."""
        self._was_reached = self._was_seen = True
        self._is_told, self._since, self._wait = False, now, self._until - now
        return self._wait

    def after(self, error: P2PCopyError, *, met: bool, now: float) -> Decision:
        """Return what to do after a try that ended with `error`, before or after both sides `met`."""
        self._was_seen = self._was_seen or met
        self._was_reached = self._was_reached or met or isinstance(error, RelayLost)
        other_room = self._looks_elsewhere(error, met=met, now=now)
        if other_room is None:
            return GiveUp(error)
        if met:
            self._wait = self._memory.patience  # also if the link was lost before there was a ticket
        # The other side may take long to come; an unreachable relay is waited for as after any loss.
        has_ticket = bool(self._memory.knowledge.tickets)
        longest = self._memory.patience if has_ticket and not isinstance(error, PeerTimeout) else self._wait
        if not met and self._left(longest, now) <= 0:
            return GiveUp(self._too_late(error, now))
        if other_room:
            return OtherRoom()
        search = None
        if met or not self._is_told:
            self._is_told, self._since = True, now
            self._pauses = self._new_pauses()
            self._turns.restart()
            search = self._left(longest, now)
        left = self._left(longest, now)
        return Retry(min(next(self._pauses), left), search) if left > 0 else GiveUp(error)

    def _looks_elsewhere(self, error: P2PCopyError, *, met: bool, now: float) -> bool | None:
        """Tell whether to look into another room at once, rather than to pause; None to give up."""
        knowledge, room = self._memory.knowledge, self._turn.room
        if knowledge.tickets and not met and isinstance(error, PeerError) and not error.transient:
            if room is None:  # the exchange by the code has failed: the ticket is as good as before
                return True
            if not isinstance(error, IncompatiblePeer):  # tickets are not guessed: one more loss
                return False
        is_known = met or bool(knowledge.tickets)  # else only the relay is waited for
        transient = error.transient or (self._was_seen and isinstance(error, NotTheRelay))
        if not transient or not self._was_reached or not (is_known or isinstance(error, RelayError)):
            return None
        if met or not self._has_other_rooms:
            return False
        waited = now - self._began >= self._turn.seconds  # a relay may say at once that the time is over
        return room is None or (waited and isinstance(error, PeerTimeout))

    def _too_late(self, error: P2PCopyError, now: float) -> P2PCopyError:
        """Return what it means that the time is over."""
        if self._memory.knowledge.is_in_doubt:
            return WrongCode(_USED_UP)
        if isinstance(error, PeerTimeout) and self._has_other_rooms:
            return PeerTimeout(f"The other side did not come within {now - self._since:.0f} s. {HINT}")
        return error

    @property
    def _has_other_rooms(self) -> bool:
        return len(self._memory.knowledge.rooms) > 1

    def _left(self, wait: float, now: float) -> float:
        """Return how many seconds of this search are left, if it may last `wait` seconds without a ticket.

        With a ticket the longer of both counts: an earlier process may have met the other side, and been stopped since.
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
