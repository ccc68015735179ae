"""Waits for the other side in a room at one relay or several, until both can begin a conversation.

With several relays, a side has a place at each that answers. Rules:

1. It comes to them in the order of `protocol.ranking`, which is the same for both sides: to the next one when the one
   before has failed, or has not accepted it for `NEXT_RELAY_AFTER`, or the other side has not come there by then.
2. A relay that has failed is tried again for as long as another one has this side: soon, then less often.
3. Of the places to which the other side has come, the receiver takes the first, leaves all others and begins the key
   exchange. The sender has none that is taken before the receiver speaks there. So both take the same one, whatever
   each has heard of pairings before, and a code is tried at one relay at a time.
4. A place that led to nothing is put off, so that another relay comes first the next time.

So two sides with a relay in common meet in bounded time, even if all others are out of reach of one side, or let them
wait in vain: docs/architecture.md has the proof.
"""

from __future__ import annotations

import math
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio

from p2p_copy.errors import NotTheRelay, PeerTimeout, RelayError, RelayLost
from p2p_copy.peer import limits
from p2p_copy.peer.failures import lost
from p2p_copy.peer.retry import HINT
from p2p_copy.protocol.ranking import ranked
from p2p_copy.protocol.rendezvous import Role
from p2p_copy.transport.link import LINK_ERRORS
from p2p_copy.transport.service_nursery import service_nursery
from p2p_copy.units import amount, duration

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from p2p_copy.errors import P2PCopyError
    from p2p_copy.observer import Observer
    from p2p_copy.peer.place import End, Place
    from p2p_copy.protocol.rendezvous import Welcome
    from p2p_copy.transport.link import Link


class Wait:
    """One side's wait for the other: `seconds` from the first welcome on, however often this side connects.

    Attributes:
        has_choice: there are several relays.

    """

    def __init__(self, places: Sequence[Place], seconds: float, observer: Observer) -> None:
        """Prepare to wait at `places`, one at each relay, all for the same room."""
        hello = places[0].hello
        by_address = {place.address.canonical: place for place in reversed(places)}
        self._places = [by_address[address] for address in ranked(hello.room, by_address)]
        self._listed = [place for place in places if place in self._places]  # in the order of the user
        self._seconds = seconds
        self._observer = observer
        self._until = math.inf
        self._connecting: set[Place] = set()  # the observer knows that this side connects there,
        self._announced: set[Place] = set()  # or that it waits there
        self._lost: dict[Place, End] = {}  # those that are not taken now, with the error of the last try
        self._last: Place | None = None  # where the other side has come last
        self._changed = trio.lowlevel.ParkingLot()
        self.has_choice = len(self._places) > 1

    @asynccontextmanager
    async def joined(self) -> AsyncIterator[tuple[Link, Welcome]]:
        """Connect to the relays and wait for the other side; yield the link, and its relay's terms.

        On a normal exit the link is closed politely. After an exception, which is raised unchanged, the link is cut.

        Raises:
            RelayUnreachable, CertificateNotTrusted, RelayExpectsTLS, RelayWithoutTLS, NotARelay, RelayRefused:
                this side cannot wait at any relay.
            ProxyUnreachable, ProxyWantsLogin, ProxyForbids, NotAProxy: nor get there.
            PeerTimeout: the time is over.
            RelayLost, LinkBroken, EndOfStream: the last connection was lost.

        """
        async with service_nursery() as nursery:
            try:
                self._last = place = await self._first_ready(nursery)
                assert place.ready is not None, "that is how it was chosen"
                assert place.ready.link is not None, "it is paired"
                assert place.welcome is not None, "it is paired"
                self._observer.met_at(str(place.address))
                yield place.ready.link, place.welcome
                await place.ready.link.aclose()
            finally:
                for each in self._places:
                    each.leave()

    def put_off_last(self) -> None:
        """Try other relays first the next time, and this one after a pause: its pairing has led to nothing."""
        if self._last is not None:
            self._last.put_off()
            self._last.in_vain += self.has_choice

    async def _first_ready(self, nursery: trio.Nursery) -> Place:
        """Return the place where the other side is first; leave all others."""
        self._plan()
        while True:
            if ready := next((place for place in self._places if place.ready is not None), None):
                for other in self._places:
                    if other is not ready:
                        other.leave()
                if (
                    ready not in self._announced and ready.welcome is not None
                ):  # the other side was there before
                    self._announce(ready, ready.welcome)
                return ready
            self._take_stock()
            now = trio.current_time()
            if now >= self._until:
                where = " or ".join(str(place.address) for place in self._listed)
                raise PeerTimeout(
                    f"The other side did not connect to {where} within {duration(self._seconds)}. {HINT}"
                )
            for place in self._places:
                if place.due <= now:
                    self._take(place, nursery)
            with trio.move_on_at(min(self._until, *(place.due for place in self._places))):
                await self._changed.park()

    def _plan(self) -> None:
        """Decide when to come to each place if none fails: in their order; to one that was put off, when it is due.

        After a pairing that has led to nothing, to all others at once: the other side looks for this one there, too. So
        if it is at one of them, this side is paired there before it comes to a relay that passes nothing on.
        """
        now = trio.current_time()
        self._lost.clear()
        for number, place in enumerate(self._places):
            place.clear()
            place.is_put_off = now < place.due < math.inf
            turn = number if self._last is None else place.in_vain
            soonest = now + turn * limits.NEXT_RELAY_AFTER
            place.due = max(place.due, soonest) if place.is_put_off else soonest

    def _take(self, place: Place, nursery: trio.Nursery) -> None:
        self._lost.pop(place, None)
        if place not in self._connecting:
            self._connecting.add(place)
            self._observer.connecting(str(place.address), None if place.proxy is None else str(place.proxy))
        hears_first = self.has_choice and place.hello.role is Role.SENDER
        place.take(nursery, self._changed.unpark_all, hears_first=hears_first)

    def _take_stock(self) -> None:
        """Announce new places, and decide what to do about those that were lost.

        Raises:
            P2PCopyError, LinkBroken, EndOfStream: none is left.

        """
        for place in self._places:
            if place.end is not None and place not in self._lost:
                self._lose(place, place.end)
            elif place.welcome is not None and place not in self._announced:
                self._announce(place, place.welcome)

    def _announce(self, place: Place, welcome: Welcome) -> None:
        """Tell the observer, once for each place, and begin to count the seconds with the first one."""
        self._announced.add(place)
        self._until = min(self._until, trio.current_time() + self._seconds)
        name = f" {place.address}" if self.has_choice else ""
        if welcome.notice:
            self._observer.notice(f"The relay{name} says: {welcome.notice}")
        if terms := binding_terms(welcome, self._seconds, name):
            self._observer.notice(terms)
        self._observer.waiting(str(place.address), min(self._seconds, welcome.wait))

    def _lose(self, place: Place, end: End) -> None:
        """Decide when to try a place again that was lost, and let the next one be tried now.

        Raises:
            P2PCopyError, LinkBroken, EndOfStream: none is left.

        """
        self._lost[place] = end
        error = lost(end) if isinstance(end, LINK_ERRORS) else end
        # A place at which the relay's own limit is over stays lost, and so does one where a login or a token is wrong.
        if isinstance(error, NotTheRelay) or (error.transient and not isinstance(error, PeerTimeout)):
            place.put_off()
        if len(self._lost) == len(self._places):
            raise self._failure() if self.has_choice else end
        if isinstance(error, RelayError) and not place.replaced:
            self._observer.notice(f"{place.address} is left out for now: {error}")
        for following in self._places:
            if following.is_untried:
                following.due = -math.inf
                break

    def _failure(self) -> P2PCopyError:
        """Return one error for all relays, of the kind that says most, or else of that of the first in the user's list.

        It may pass if one of them may.
        """
        ends = [self._lost[place] for place in self._listed]
        errors = [lost(end) if isinstance(end, LINK_ERRORS) else end for end in ends]
        telling = [
            next((error for error in errors if isinstance(error, kind)), None)
            for kind in (PeerTimeout, RelayLost)
        ]
        chosen = next((error for error in telling if error is not None), errors[0])
        named = zip(self._listed, errors, strict=True)
        each = (f" ({number}) {place.address}: {error}" for number, (place, error) in enumerate(named, 1))
        failure = type(chosen)(f"None of the {len(errors)} relays can be used.{''.join(each)}")
        failure.transient = any(error.transient for error in errors)
        return failure


def binding_terms(welcome: Welcome, wait: float, name: str = "") -> str | None:
    """Return a sentence with the relay's terms that limit a client which waits `wait` seconds; None without any.

    The `name` of the relay, behind a blank, says which of several it is.
    """
    terms = []
    if welcome.rate is not None:
        terms.append(f"at most {amount(welcome.rate)}/s")
    if welcome.quota is not None:
        terms.append(f"{amount(welcome.quota)} more with this token")
    if welcome.wait < wait:
        terms.append(f"waits at most {duration(welcome.wait)}")
    return f"Relay{name} {'limit' if len(terms) == 1 else 'limits'}: {', '.join(terms)}." if terms else None
