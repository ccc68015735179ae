"""Keeps waiting clients, each in its seat, until they are paired, refused or replaced.

Rules:
1. The client that came first runs the pairing in its own task; the second one hands over its link and waits for the
   end. No nursery is passed on.
2. A reconnecting client replaces its old connection at once; the task of the old one ends it.
3. A newcomer takes no living client's seat. If one waits in the room already, the newcomer waits until the other one
   has answered a ping, or its link has ended.
4. When the relay drains, clients that wait are refused at once.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

import anyio
import trio

from p2p_copy.protocol import limits as protocol_limits
from p2p_copy.protocol.rendezvous import STILL_WAITING, CloseCode, Refusal, Refused, Role
from p2p_copy.relay import limits
from p2p_copy.relay.lobby import Lobby, Matched, Returned, Room, Taken, Waiting
from p2p_copy.relay.log import events
from p2p_copy.relay.log.abuse import Abuse
from p2p_copy.relay.pairing import Pairing
from p2p_copy.relay.refusal import RELAY_STOPS, SPOKE_EARLY, WAIT_OVER, refuse
from p2p_copy.transport import limits as transport_limits
from p2p_copy.transport.link import LinkBroken
from p2p_copy.transport.timeouts import within

if TYPE_CHECKING:
    from collections.abc import Callable

    from p2p_copy.protocol.rendezvous import Hello
    from p2p_copy.relay.access.admission import Client
    from p2p_copy.relay.access.gatekeeper import Gatekeeper
    from p2p_copy.relay.pairings import Pairings
    from p2p_copy.relay.tally import Tally
    from p2p_copy.transport.link import Link


class Seat:
    """A welcomed client in its room. Its task sleeps in `wake` until its partner, its return or a drain cancels it."""

    def __init__(self, role: Role, link: Link, client: Client) -> None:
        self.role = role
        self.link = link
        self.client = client
        self.wake = trio.CancelScope()
        self.since = trio.current_time()
        self.until = math.inf  # when its wait is over, once it waits
        self.waited = trio.Event()  # it waits no more
        self.partner: Seat | None = None
        self.pairing: Pairing | None = None  # while it runs
        self.replaced = False
        self.done = trio.Event()  # it is in no pairing, and will be in none

    def replace(self) -> None:
        """End this connection, and its pairing if there is one, because its client has connected again."""
        self.replaced = True
        self.wake.cancel()
        if self.pairing is not None:
            self.pairing.lose(self.role)


def _room(hello: Hello) -> Room:
    return Room(hello.legacy, hello.room)


class Seats:
    """The waiting clients of one relay, and their way into pairings."""

    def __init__(
        self, gatekeeper: Gatekeeper, pairings: Pairings, tally: Tally, draining: Callable[[], bool]
    ) -> None:
        """Begin with no client.

        Args:
            gatekeeper: knows the limits of a pairing, and how long a client may wait.
            pairings: where pairings run.
            tally: counts what happens.
            draining: tells whether the relay takes no more clients.

        """
        self._gatekeeper = gatekeeper
        self._pairings = pairings
        self._tally = tally
        self._draining = draining
        self._lobby: Lobby[Seat] = Lobby()
        self._hosts: set[Seat] = set()  # of clients that wait, or have waited and are paired
        self._waiting: set[Seat] = set()

    @property
    def waiting(self) -> int:
        """Clients that wait."""
        return len(self._waiting)

    @property
    def rooms(self) -> int:
        """Rooms in which a client waits or two are paired."""
        return len(self._lobby)

    @property
    def memory_is_short(self) -> bool:
        """Whether there is too little memory for a further pairing."""
        return self._pairings.budget.is_nearly_used

    def is_first(self, hello: Hello) -> bool:
        """Tell whether no client waits in the room of this hello."""
        return self._lobby.waiting(_room(hello)) is None

    def dials_again(self, hello: Hello) -> bool:
        """Tell whether this client waits here already and dials again when it may.

        A client that dials again sooner counts like any other, for each TLS handshake costs some milliseconds.
        """
        room = _room(hello)
        incumbent = self._lobby.waiting(room)
        return (
            STILL_WAITING in hello.features
            and incumbent is not None
            and incumbent.since + protocol_limits.LEAST_LOOK_AGAIN / 2 <= trio.current_time()
            and self._lobby.owns(room, hello.role, hello.claim)
        )

    def drain(self) -> None:
        """Refuse all clients that wait."""
        for seat in self._waiting:
            seat.wake.cancel()

    async def wait_until_empty(self) -> None:
        """Return when those that are here now wait no more, and their pairings are over."""
        for seat in tuple(self._hosts):
            await seat.done.wait()

    async def join(self, link: Link, hello: Hello, client: Client) -> None:
        """Give a welcomed client a seat in its room; return when it waits no more and its pairing is over."""
        seat = Seat(hello.role, link, client)
        room = _room(hello)
        still_waiting = STILL_WAITING in hello.features
        if (stale := self._lobby.vacate_elsewhere(room, hello.claim)) is not None:
            events.RETURNED.log(role=hello.role.value)
            stale.replace()
        # The client that waits here may have died unnoticed. It must block neither its own retry nor its partner.
        incumbent = self._lobby.waiting(room)
        if incumbent is not None and not self._lobby.owns(room, hello.role, hello.claim):
            # A newcomer that waits at another relay as well is refused soon: else it would give up its place there.
            in_a_hurry = still_waiting and incumbent.role is hello.role
            seconds = limits.PROBE_TIMEOUT if in_a_hurry else math.inf
            if not await self._wait_for_probe(room, seat, incumbent, seconds):
                return
        match self._lobby.join(room, hello.role, seat, hello.claim, still_waiting=still_waiting):
            case Waiting():
                await self._host(room, seat)
            case Returned(former):
                events.RETURNED.log(role=hello.role.value)
                if still_waiting:
                    seat.until = former.until  # else a client could wait for ever by dialling again
                former.replace()
                await self._host(room, seat)
            case Matched(first):
                first.partner = seat
                first.wake.cancel()
                await first.done.wait()
                link.abort()  # does nothing if the pairing has closed it
            case Taken():
                reason = (
                    f"There is a {hello.role.value} with this code already. Wait for it, or use another code."
                )
                await self._refuse(seat, room, Refused(Refusal.ROOM_TAKEN, reason))

    async def _wait_for_probe(self, room: Room, seat: Seat, incumbent: Seat, seconds: float) -> bool:
        """Let a newcomer wait until it is known whether the client in this room lives, `seconds` at most.

        Return whether the newcomer is still there, and may join. A dead client's seat is free by then.
        """
        known = False

        async def probe() -> None:
            nonlocal known
            with within(seconds):
                if await self._is_dead(incumbent):
                    self._lobby.leave(room, incumbent)
            known = True
            seat.wake.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(probe)
            refused = await self._wait(seat)
            nursery.cancel_scope.cancel()
        if known and seat.wake.cancelled_caught:
            seat.wake = trio.CancelScope()
            return True
        if refused is not None:
            await self._refuse(seat, room, refused)
        return False

    async def _is_dead(self, incumbent: Seat) -> bool:
        """Ping a waiting client; return whether it is dead: its machine or its program has answered nothing for long.

        A slow client is not dead: a phone on a train may need half a minute.
        """
        link, dead = incumbent.link, False

        async def until_it_waits_no_more() -> None:
            await incumbent.waited.wait()
            nursery.cancel_scope.cancel()

        async def ask_the_kernel() -> None:
            await trio.sleep(limits.PROBE_TIMEOUT)
            self._tally.abuse.count(Abuse.CONTESTED)
            while True:
                if link.silent_for() >= transport_limits.VANISHED:
                    link.abort()
                await trio.sleep(transport_limits.VANISHED_LOOK)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(until_it_waits_no_more)
            nursery.start_soon(ask_the_kernel)
            with within(transport_limits.KEEPALIVE_TIMEOUT, moves=lambda: link.heard_at) as patience:
                try:
                    await link.ping()
                except (LinkBroken, anyio.ClosedResourceError):
                    dead = True
            nursery.cancel_scope.cancel()
        if patience.is_over:
            link.abort()
        return dead or patience.is_over

    async def _host(self, room: Room, seat: Seat) -> None:
        """Wait for the other side, then run the pairing."""
        events.WAITS.log(role=seat.role.value)
        self._hosts.add(seat)
        try:
            try:
                refused = await self._wait(seat)
            finally:
                seat.waited.set()
            if seat.partner is not None:
                await self._pair(room, seat, seat.partner)
                return
        finally:
            self._hosts.discard(seat)
            self._lobby.leave(room, seat)  # or a newcomer would be matched with a client that is leaving
            seat.done.set()  # a drain need not wait for a client that may not even read the refusal
        if seat.replaced:
            await seat.link.close(CloseCode.REPLACED, "you came again")
        elif refused is not None:
            await self._refuse(seat, room, refused)

    async def _wait(self, seat: Seat) -> Refused | None:
        """Watch a client's link until something happens; return the refusal that it should get, if any."""
        seat.until = min(seat.until, trio.current_time() + self._gatekeeper.config.wait)
        seat.wake.deadline = seat.until
        if self._draining():
            seat.wake.cancel()
        self._waiting.add(seat)
        try:
            with seat.wake:
                try:
                    await seat.link.receive()
                except (anyio.EndOfStream, LinkBroken):
                    events.LEFT.log()
                    return None
                if seat.partner is not None:
                    seat.link.abort()  # too late for a refusal: the pairing finds it cut, and tells the other side
                return SPOKE_EARLY
        finally:
            self._waiting.discard(seat)
        return RELAY_STOPS if self._draining() else WAIT_OVER

    async def _pair(self, room: Room, seat: Seat, partner: Seat) -> None:
        sender, receiver = (seat, partner) if seat.role is Role.SENDER else (partner, seat)
        pairing = Pairing(
            sender.link,
            receiver.link,
            legacy=room.legacy,
            on_end=partial(self._lobby.leave, room, seat),
            pairing_limits=self._gatekeeper.pairing_limits(sender.client, receiver.client),
            budget=self._pairings.budget,
            reports=(sender.client.wants_reports, receiver.client.wants_reports),
        )
        for each in (sender, receiver):
            each.link.lift_early_limit()
            each.client.throttle.pair()
            each.pairing = pairing
            if each.replaced:  # since the two were matched
                pairing.lose(each.role)
        try:
            await self._pairings.run(pairing, (sender.client.address, receiver.client.address))
        finally:
            seat.pairing = partner.pairing = None  # it keeps them, too: a cycle

    async def _refuse(self, seat: Seat, room: Room, refused: Refused) -> None:
        await refuse(seat.link, refused, self._tally, legacy=room.legacy)
