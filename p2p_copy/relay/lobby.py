"""Decides which clients are paired, wait or are refused. It never awaits, so no two decisions overlap.

A room holds one sender and one receiver. The first one waits, the second one, of the other role, is matched with it,
and a third one changes nothing. No client loses its seat to a stranger, however slow it is: a seat becomes free when
its client leaves, or when the relay has found it dead and calls `leave`. A reconnecting client is no stranger: it knows
the claim under which its seat was taken, and takes the seat over, whatever became of the old connection.
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
    """The newcomer is the first."""


@dataclass(frozen=True, slots=True)
class Matched(Generic[S]):
    """The newcomer's partner is `first`, which waited for it."""

    first: S


@dataclass(frozen=True, slots=True)
class Returned(Generic[S]):
    """The newcomer has replaced its own old seat `former`, and waits, even if the old seat was paired."""

    former: S


@dataclass(frozen=True, slots=True)
class Taken:
    """The newcomer's role is taken, by a client that waits or is paired."""


Decision: TypeAlias = Waiting | Matched[S] | Returned[S] | Taken


class _Occupied(NamedTuple, Generic[S]):
    """A taken seat, and the secret by which its client proves that it is its own when it reconnects."""

    seat: S
    claim: str | None


class Lobby(Generic[S]):
    """All rooms of one relay. A seat may be any object; it is compared by identity."""

    def __init__(self) -> None:
        self._rooms: dict[Room, dict[Role, _Occupied[S]]] = {}
        self._claims: dict[str, Room] = {}  # where each claim was last used

    def __len__(self) -> int:
        return len(self._rooms)

    def waiting(self, room: Room) -> S | None:
        """Return the seat of a client that waits alone in a room; None if none does."""
        places = list(self._rooms.get(room, {}).values())
        return places[0].seat if len(places) == 1 else None

    def owns(self, room: Room, role: Role, claim: str | None) -> bool:
        """Tell whether the seat of `role` was taken under this claim, which is ASCII; False for None."""
        place = self._rooms.get(room, {}).get(role)
        if place is None or place.claim is None or claim is None:
            return False
        return hmac.compare_digest(place.claim, claim)

    def join(
        self, room: Room, role: Role, seat: S, claim: str | None = None, *, still_waiting: bool = False
    ) -> Decision[S]:
        """Take the seat of `role` if it is free or this client had it before; return what follows.

        `still_waiting`: the client believes that its old connection still waits in its seat. If it has been paired
        there meanwhile, that pairing goes on, and the seat counts as taken.
        """
        places = self._rooms.setdefault(room, {})
        former = places.get(role)
        if former is None:
            self._remember(claim, room)
            others = list(places.values())
            places[role] = _Occupied(seat, claim)
            return Matched(others[0].seat) if others else Waiting()
        if not self.owns(room, role, claim) or (still_waiting and len(places) > 1):
            return Taken()
        # A partner was paired with the old seat. That pairing is over, so the new seat waits for the partner to return.
        self._forget_claims(room)
        self._rooms[room] = {role: _Occupied(seat, claim)}
        self._remember(claim, room)
        return Returned(former.seat)

    def vacate_elsewhere(self, room: Room, claim: str | None) -> S | None:
        """Free the seat in another room that was taken under this claim, and return it; None if there is none.

        Two sides that have met reconnect in another room. If the relay has not noticed the loss of the first one, its
        partner is still paired in the old room, and would come to the new room only after that pairing.
        """
        if claim is None or self._claims.get(claim) == room:
            return None
        return self.vacate(claim)

    def vacate(self, claim: str) -> S | None:
        """Free the seat that was taken under this claim, and return it; None if there is none."""
        other = self._claims.get(claim)
        if other is None:
            return None
        for place in self._rooms.get(other, {}).values():
            if place.claim == claim:
                self.leave(other, place.seat)
                return place.seat
        return None

    def leave(self, room: Room, seat: S) -> None:
        """Free the room if this seat is in it, with the partner's seat: their pairing is over."""
        places = self._rooms.get(room, {})
        if any(place.seat is seat for place in places.values()):
            self._forget_claims(room)
            del self._rooms[room]

    def _remember(self, claim: str | None, room: Room) -> None:
        if claim is not None:
            self._claims[claim] = room

    def _forget_claims(self, room: Room) -> None:
        for place in self._rooms[room].values():
            if place.claim is not None and self._claims.get(place.claim) == room:
                del self._claims[place.claim]
