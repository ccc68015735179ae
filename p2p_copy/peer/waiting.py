"""Waits for the other side in a room of the relay, also when the relay is restarted or its address changes.

A client that waits dials again now and then, under the same claim. Behind a balancer, after a relay was restarted or
after a change of DNS, the other side may come to another relay than the one where this side began to wait, and the two
would never meet.

Rules:
1. The new connection is open before the old one is closed, and either may be paired meanwhile: a relay that knows the
   old one replaces it, another relay may refuse the new one. So the other side never finds the room empty.
2. The connection that is paired first is used. The relay replaces no connection that is paired already.
3. A new connection that fails changes nothing, and the observer is not told.
"""

from __future__ import annotations

import math
import random
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, TypeAlias

import anyio
import trio

from p2p_copy.errors import NotARelay, P2PCopyError, PeerTimeout, RelayLost, RelayRefused
from p2p_copy.peer import limits
from p2p_copy.peer.failures import STOPPING
from p2p_copy.peer.retry import HINT
from p2p_copy.protocol import limits as protocol_limits, rendezvous
from p2p_copy.protocol.rendezvous import STILL_WAITING, CloseCode, Hello, Paired, Refusal, Refused, Welcome
from p2p_copy.transport import limits as transport_limits
from p2p_copy.transport.endpoints import connect
from p2p_copy.transport.link import LinkBroken
from p2p_copy.transport.service_nursery import service_nursery
from p2p_copy.transport.timeouts import within
from p2p_copy.units import amount, duration

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from p2p_copy.observer import Observer
    from p2p_copy.transport.address import RelayAddress
    from p2p_copy.transport.link import Link

_TRANSIENT: Final = frozenset({Refusal.ROOM_TAKEN, Refusal.BUSY, Refusal.UNKNOWN_ROOM})
"""Refusals that a later try may not meet. A room is unknown until its sender comes: one that was restarted may come."""

_End: TypeAlias = "P2PCopyError | LinkBroken | anyio.EndOfStream"


@dataclass(eq=False)
class _Place:
    """One connection that waits in the room, from its first packet to its last use.

    Attributes:
        scope: cancels it.
        link: set once it is connected.
        welcome: the relay's terms, set once the relay has accepted it.
        since: when that was.
        paired: the other side has come.
        end: why its wait is over.
        over: set when it is no longer used.

    """

    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    link: Link | None = None
    welcome: Welcome | None = None
    since: float = math.inf
    paired: bool = False
    end: _End | None = None
    over: trio.Event = field(default_factory=trio.Event)

    def leave(self) -> None:
        """Cut the connection in any state."""
        if self.link is not None:
            self.link.abort()  # does nothing if it was closed
        self.over.set()
        self.scope.cancel()

    @property
    def replaced(self) -> bool:
        """Whether the relay has replaced it by another connection of this client."""
        return isinstance(self.end, LinkBroken) and self.end.close_code == CloseCode.REPLACED


class Wait:
    """One side's wait for the other one: `seconds` in all from the first welcome on, however often it connects."""

    def __init__(
        self,
        address: RelayAddress,
        hello: Hello,
        seconds: float,
        observer: Observer,
        ca_file: str | None = None,
    ) -> None:
        """Prepare to wait in the room of `hello`, with its role and claim."""
        self._address = address
        self._hello = hello
        self._seconds = seconds
        self._observer = observer
        self._ca_file = ca_file
        self._until = math.inf
        self._is_announced = False  # the observer is told once, not for each connection
        self._places: list[_Place] = []  # the older one first
        self._changed = trio.lowlevel.ParkingLot()  # for a change of any place

    @asynccontextmanager
    async def joined(self) -> AsyncIterator[tuple[Link, Welcome]]:
        """Connect to the relay and wait for the other side; yield the link, and the relay's terms.

        On a normal exit the link is closed politely; after an exception, which leaves as it is, it is cut.

        Raises:
            RelayUnreachable, CertificateNotTrusted, RelayExpectsTLS, RelayWithoutTLS, NotARelay, RelayRefused:
                no place at the relay.
            PeerTimeout: the time is over.
            RelayLost, LinkBroken, EndOfStream: the place was lost.

        """
        self._places = []
        async with service_nursery() as nursery:
            try:
                place = await self._paired(nursery)
                assert place.link is not None, "it is paired"
                assert place.welcome is not None, "it is paired"
                place.link.sets_aside = _is_relays  # all other messages come from the other side from now on
                yield place.link, place.welcome
                await place.link.aclose()
            finally:
                for each in self._places:
                    each.leave()  # one may be paired, which shields it, and this task has not seen it yet

    async def _paired(self, nursery: trio.Nursery) -> _Place:
        """Return the place to which the other side has come; cut all others."""
        if not self._is_announced:
            self._observer.connecting(str(self._address))
        place = self._dial(nursery, self._hello)
        while place.welcome is None and place.end is None:
            await self._changed.park()
        if place.welcome is None:
            assert place.end is not None, "it is one or the other"
            raise place.end
        self._announce(place.welcome)
        again = _next_redial(place.welcome)
        while True:
            if paired := next((place for place in self._places if place.paired), None):
                for other in self._places:
                    if other is not paired:
                        other.leave()
                return paired
            now = trio.current_time()
            if now >= self._until:
                raise PeerTimeout(
                    f"The other side did not come to {self._address} within {round(self._seconds, 1):g} s. {HINT}"
                )
            place = self._settled(now)
            alone = len(self._places) == 1
            if alone and now >= again and place.welcome is not None:
                features = (*self._hello.features, STILL_WAITING)
                self._dial(nursery, replace(self._hello, features=features))
                again = _next_redial(place.welcome)
                continue
            redial = again if alone else self._places[-1].since + limits.REDIAL_SETTLED
            with trio.move_on_at(min(self._until, redial)):
                await self._changed.park()

    def _announce(self, welcome: Welcome) -> None:
        """Tell the observer, once, and begin to count the seconds."""
        if self._is_announced:
            return
        self._is_announced = True
        self._until = trio.current_time() + self._seconds
        if welcome.notice:
            self._observer.notice(f"The relay says: {welcome.notice}")
        if terms := binding_terms(welcome, self._seconds):
            self._observer.notice(terms)
        self._observer.waiting(str(self._address))

    def _settled(self, now: float) -> _Place:
        """Leave the old place or the new one, if it is clear which; return the older one that is left."""
        old, new = self._places[0], self._places[-1]
        if old.end is not None and new.end is not None:
            raise new.end if old.replaced else old.end
        if new.end is not None:
            self._places.remove(new)
        elif new is not old and (new.since if old.end else new.since + limits.REDIAL_SETTLED) <= now:
            old.leave()
            self._places.remove(old)
        return self._places[0]

    def _dial(self, nursery: trio.Nursery, hello: Hello) -> _Place:
        place = _Place()
        self._places.append(place)
        nursery.start_soon(self._occupy, place, hello)
        return place

    async def _occupy(self, place: _Place, hello: Hello) -> None:
        """Connect to the relay, wait in the room, and keep the connection until it is `over`."""
        path = rendezvous.room_path(hello.room)
        with place.scope:
            try:
                most = protocol_limits.MAX_RECORD
                async with connect(self._address, path, max_message=most, ca_file=self._ca_file) as link:
                    place.link = link
                    place.welcome = await self._introduce(link, hello)
                    place.since = trio.current_time()
                    self._changed.unpark()
                    if not isinstance(await _hear_relay(link), Paired):
                        raise NotARelay(f"{self._address} does not speak like a p2p-copy relay.")
                    place.paired = True
                    self._changed.unpark()
                    with trio.CancelScope(shield=True):  # the goodbye needs a link
                        await place.over.wait()
            except (P2PCopyError, LinkBroken, anyio.EndOfStream) as error:
                place.end = error
        self._changed.unpark()

    async def _introduce(self, link: Link, hello: Hello) -> Welcome:
        """Send the hello, and return the welcome. Both have the time of one connection attempt."""
        with within(transport_limits.CONNECT_TIMEOUT):
            await link.send(rendezvous.encode(hello))
            answer = await _hear_relay(link)
            if isinstance(answer, Welcome):
                return answer
        raise NotARelay(
            f"{self._address} accepts connections, but does not welcome us as a p2p-copy relay would."
        )


def _next_redial(welcome: Welcome) -> float:
    """Return when to dial again: at another time than other clients that came together with this one."""
    seconds = max(
        protocol_limits.REDIAL_AFTER if welcome.again is None else welcome.again,
        protocol_limits.LEAST_REDIAL,
    )
    return trio.current_time() + seconds * random.uniform(0.5, 1.5)  # noqa: S311 - nothing secret


def binding_terms(welcome: Welcome, wait: float) -> str | None:
    """Return a sentence with the relay's terms that limit a client which waits `wait` seconds; None without any."""
    terms = []
    if welcome.rate is not None:
        terms.append(f"{amount(welcome.rate)}/s at most")
    if welcome.quota is not None:
        terms.append(f"{amount(welcome.quota)} more with this token")
    if welcome.wait < wait:
        terms.append(f"waiting for {duration(welcome.wait)} at most")
    return f"The relay allows: {', '.join(terms)}." if terms else None


def _is_relays(text: str) -> bool:
    return rendezvous.decode_flow_report(text) is not None


async def _hear_relay(link: Link) -> Welcome | Paired:
    text = await link.receive()
    message = rendezvous.decode_answer(text)
    if isinstance(message, Refused):
        if message.code == Refusal.WAIT_OVER:
            raise PeerTimeout(f"The other side did not come in the time that the relay allows. {HINT}")
        if message.code == Refusal.STOPPING:
            raise RelayLost(STOPPING)
        later = f" Try again in {message.retry_after} s." if message.retry_after else ""
        transient = message.code in _TRANSIENT
        raise RelayRefused(f"The relay refused: {message.reason}{later}", transient=transient)
    return message
