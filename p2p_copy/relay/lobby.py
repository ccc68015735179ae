"""Who waits for whom. Decides at once and says what it decided: no await, so no two decisions overlap.

A room holds one sender and one receiver. The first one waits; the second one, of the other role, is matched with
it; whoever comes then changes nothing. Nobody is ever put out for a stranger's sake, however slow: a seat becomes free
when the one who took it leaves, or when the server has found it dead and says so with `leave`. And one who comes again
is no stranger: who knows the claim under which a seat was taken takes it over, whatever became of the old connection.
"""

from __future__ import annotations

import hmac
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
class Returned(Generic[S]):
    """You sat here before, and now you wait here: `former`, your old seat, is yours no more, nor is its partner."""

    former: S


@dataclass(frozen=True, slots=True)
class Taken:
    """Your role is taken, by one who waits or by one of two who are paired."""


Decision: TypeAlias = Waiting | Matched[S] | Returned[S] | Taken


class _Place(NamedTuple, Generic[S]):
    """Who sits there, and the secret by which it is known when it comes again."""

    seat: S
    claim: str | None


class Lobby(Generic[S]):
    """All rooms of one relay. A seat is whatever the server puts there; it is compared by identity."""

    def __init__(self) -> None:
        self._rooms: dict[Room, dict[Role, _Place[S]]] = {}
        self._claims: dict[str, Room] = {}  # where each claim was last used

    def __len__(self) -> int:
        return len(self._rooms)

    def waiting(self, room: Room) -> S | None:
        """Return who waits alone in a room, if anybody does."""
        places = list(self._rooms.get(room, {}).values())
        return places[0].seat if len(places) == 1 else None

    def knows(self, room: Room, role: Role, claim: str | None) -> bool:
        """Tell whether the seat of `role` was taken under this claim; a claim is ASCII, and None is nobody's."""
        place = self._rooms.get(room, {}).get(role)
        if place is None or place.claim is None or claim is None:
            return False
        return hmac.compare_digest(place.claim, claim)

    def join(
        self, room: Room, role: Role, seat: S, claim: str | None = None, *, still_waiting: bool = False
    ) -> Decision[S]:
        """Take the seat of `role` if it is free or one's own from before, and say what that means.

        One who is `still_waiting` in its own seat, as far as it knows, does not give up a partner who came meanwhile.
        """
        places = self._rooms.setdefault(room, {})
        former = places.get(role)
        if former is None:
            self._remember(claim, room)
            others = list(places.values())
            places[role] = _Place(seat, claim)
            return Matched(others[0].seat) if others else Waiting()
        if not self.knows(room, role, claim) or (still_waiting and len(places) > 1):
            return Taken()
        # Whoever else is there was paired with the old seat. That is over, so the new one waits for it to come again.
        self._forget(room)
        self._rooms[room] = {role: _Place(seat, claim)}
        self._remember(claim, room)
        return Returned(former.seat)

    def left_behind(self, room: Room, claim: str | None) -> S | None:
        """Free the place in another room that was taken under this claim, if there is one; return who sits there.

        Two sides that have met go on in a room of their own. If one of them was lost without our knowledge, the other
        one still believes it in the first room, and would come only when that is over.
        """
        other = self._claims.get(claim or "")
        if other is None or other == room:
            return None
        for place in self._rooms.get(other, {}).values():
            if place.claim == claim:
                self.leave(other, place.seat)
                return place.seat
        return None

    def leave(self, room: Room, seat: S) -> None:
        """Free the room of the one who sat there; nothing happens if `seat` sits there no more.

        When one of two leaves, both have: their pairing is over, and the room is for the next ones.
        """
        places = self._rooms.get(room, {})
        if any(place.seat is seat for place in places.values()):
            self._forget(room)
            del self._rooms[room]

    def _remember(self, claim: str | None, room: Room) -> None:
        if claim is not None:
            self._claims[claim] = room

    def _forget(self, room: Room) -> None:
        for place in self._rooms[room].values():
            if place.claim is not None and self._claims.get(place.claim) == room:
                del self._claims[place.claim]
