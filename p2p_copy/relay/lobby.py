"""Who waits for whom. Decides at once and says what it decided: no await, so no two decisions overlap.

A room holds one sender and one receiver. The first one waits; the second one, of the other role, is matched with
it; whoever comes then changes nothing. Nobody is ever put out for a stranger's sake: a seat becomes free when
the one who took it leaves, or when the server has found it dead and says so with `leave`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeAlias, TypeVar

if TYPE_CHECKING:
    from p2p_copy.protocol.rendezvous import Role

S = TypeVar("S")


class Room(NamedTuple):
    """A room's name. The two forms of rendezvous have rooms of their own."""

    legacy: bool
    name: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """You are the first."""


@dataclass(frozen=True, slots=True)
class Matched(Generic[S]):
    """The other one is here: `first` was waiting for you."""

    first: S


@dataclass(frozen=True, slots=True)
class Taken:
    """Your role is taken, by one who waits or by one of two who are paired."""


Decision: TypeAlias = Waiting | Matched[S] | Taken


class Lobby(Generic[S]):
    """All rooms of one relay. A seat is whatever the server puts there; it is compared by identity."""

    def __init__(self) -> None:
        self._rooms: dict[Room, dict[Role, S]] = {}

    def __len__(self) -> int:
        return len(self._rooms)

    def waiting(self, room: Room) -> S | None:
        """Return who waits alone in a room, if anybody does."""
        seats = list(self._rooms.get(room, {}).values())
        return seats[0] if len(seats) == 1 else None

    def join(self, room: Room, role: Role, seat: S) -> Decision[S]:
        """Take the seat of `role` if it is free, and say what that means."""
        seats = self._rooms.setdefault(room, {})
        if role in seats:
            return Taken()
        others = list(seats.values())
        seats[role] = seat
        return Matched(others[0]) if others else Waiting()

    def leave(self, room: Room, seat: S) -> None:
        """Free the room of the one who sat there; nothing happens if `seat` sits there no more.

        When one of two leaves, both have: their pairing is over, and the room is for the next ones.
        """
        seats = self._rooms.get(room, {})
        if any(taken is seat for taken in seats.values()):
            del self._rooms[room]
