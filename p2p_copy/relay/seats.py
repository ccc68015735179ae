"""Keeps waiting clients, each in its seat, until they are paired, refused or replaced, or leave.

Rules:
1. The task of the client that came first runs the pairing. The task of the second one hands over its link and waits
   until the pairing is over. So no nursery is passed on.
2. A reconnecting client replaces its old connection at once; the old connection's task closes it.
3. No client loses its seat to a stranger while it lives. If a client waits in the room already (the incumbent), the
   newcomer waits until the incumbent has answered a ping or its link has ended.
4. When the relay drains, all waiting clients are refused at once.
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
    from p2p_copy.relay.access.gatekeeper import Gate
    from p2p_copy.relay.pairings import Pairings
    from p2p_copy.relay.tally import Tally
    from p2p_copy.transport.link import Link


class Seat:
    """A welcomed client in its room. While it waits, its task is in the scope `wake`; to end the wait, cancel that."""

    def __init__(self, role: Role, link: Link, client: Client) -> None:
        self.role = role
        self.link = link
        self.client = client
        self.wake = trio.CancelScope()
        self.since = trio.current_time()
        self.until = math.inf  # when its wait ends at the latest; set when it begins
        self.stopped_waiting = trio.Event()
        self.partner: Seat | None = None
        self.pairing: Pairing | None = None  # while the pairing runs
        self.replaced = False
        self.done = trio.Event()  # its pairing is over, or it will never have one

    def replace(self) -> None:
        """End this connection, and its pairing if it has one, because its client has connected again."""
        self.replaced = True
        self.wake.cancel()
        if self.pairing is not None:
            self.pairing.lose(self.role)


def _room(hello: Hello) -> Room:
    return Room(hello.legacy, hello.room)


class Seats:
    """The waiting clients of one relay, and their way into pairings."""

    def __init__(
        self, gatekeeper: Gate, pairings: Pairings, tally: Tally, draining: Callable[[], bool]
    ) -> None:
        """Begin with no client.

        Args:
            gatekeeper: knows the limits of a pairing, and how long a client may wait.
            pairings: where pairings run.
            tally: counts what happens.
            draining: returns whether the relay takes no more clients.

        """
        self._gatekeeper = gatekeeper
        self._pairings = pairings
        self._tally = tally
        self._draining = draining
        self._lobby: Lobby[Seat] = Lobby()
        self._hosts: set[Seat] = set()  # seats that were first in their rooms: they wait, or run a pairing
        self._waiting: set[Seat] = set()

    @property
    def waiting(self) -> int:
        """How many clients wait."""
        return len(self._waiting)

    @property
    def rooms(self) -> int:
        """How many rooms have clients, waiting or paired."""
        return len(self._lobby)

    @property
    def memory_is_short(self) -> bool:
        """Whether there is too little memory for a further pairing."""
        return self._pairings.budget.is_nearly_used

    def is_first(self, hello: Hello) -> bool:
        """Tell whether no client waits alone in the room of this hello."""
        return self._lobby.waiting(_room(hello)) is None

    def dials_again(self, hello: Hello) -> bool:
        """Tell whether this client waits in its room already, and dials again no sooner than it should.

        If it dials again sooner, it counts like any other client, for each TLS handshake costs some milliseconds.
        """
        room = _room(hello)
        incumbent = self._lobby.waiting(room)
        return (
            STILL_WAITING in hello.features
            and incumbent is not None
            and incumbent.since + protocol_limits.LEAST_REDIAL / 2 <= trio.current_time()
            and self._lobby.owns(room, hello.role, hello.claim)
        )

    def vacate(self, claim: str) -> None:
        """Free the place of the client with this claim, which has come to another process, whatever the room."""
        if (stale := self._lobby.vacate(claim)) is not None:
            events.RETURNED.log(role=stale.role.value)
            stale.replace()

    def drain(self) -> None:
        """Refuse all clients that wait."""
        for seat in self._waiting:
            seat.wake.cancel()

    async def wait_until_empty(self) -> None:
        """Return when no client that is here now waits any more, and the pairings of all are over."""
        for seat in tuple(self._hosts):
            await seat.done.wait()

    async def join(self, link: Link, hello: Hello, client: Client) -> None:
        """Give a welcomed client a seat in its room; return when it has left or was refused, or its pairing is over."""
        seat = Seat(hello.role, link, client)
        room = _room(hello)
        still_waiting = STILL_WAITING in hello.features
        if (stale := self._lobby.vacate_elsewhere(room, hello.claim)) is not None:
            events.RETURNED.log(role=hello.role.value)
            stale.replace()
        # The incumbent may have died unnoticed. It must block neither its own reconnecting nor its partner.
        incumbent = self._lobby.waiting(room)
        if incumbent is not None and not self._lobby.owns(room, hello.role, hello.claim):
            # A newcomer that still waits elsewhere gives that place up if it is not refused here soon.
            is_refused_soon = still_waiting and incumbent.role is hello.role
            seconds = limits.PROBE_TIMEOUT if is_refused_soon else math.inf
            if not await self._wait_for_probe(room, seat, incumbent, seconds):
                return
        match self._lobby.join(room, hello.role, seat, hello.claim, still_waiting=still_waiting):
            case Waiting():
                await self._host(room, seat)
            case Returned(former):
                events.RETURNED.log(role=hello.role.value)
                if still_waiting:
                    seat.until = former.until  # or a client could wait for ever by dialling again
                former.replace()
                await self._host(room, seat)
            case Matched(first):
                first.partner = seat
                first.wake.cancel()
                await first.done.wait()
                link.abort()  # if no pairing has closed it
            case Taken():
                reason = (
                    f"There is a {hello.role.value} with this code already. Wait for it, or use another code."
                )
                await self._refuse(seat, room, Refused(Refusal.ROOM_TAKEN, reason))

    async def _wait_for_probe(self, room: Room, seat: Seat, incumbent: Seat, seconds: float) -> bool:
        """Let a newcomer wait until it is known whether the incumbent lives, or for `seconds`.

        Return whether the newcomer is still connected, and may join. By then the seat of a dead incumbent is free.
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
        """Ping the incumbent; return whether it is dead: its machine or its program did not answer for long.

        A slow client is not dead: a phone on a train may need half a minute for its answer.
        """
        link, dead = incumbent.link, False

        async def stop_when_it_stops_waiting() -> None:
            await incumbent.stopped_waiting.wait()
            nursery.cancel_scope.cancel()

        async def cut_a_vanished_machine() -> None:
            await trio.sleep(limits.PROBE_TIMEOUT)
            self._tally.abuse.count(Abuse.CONTESTED)
            while True:
                if link.silent_for() >= transport_limits.VANISHED:
                    link.abort()
                await trio.sleep(transport_limits.VANISHED_CHECK)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(stop_when_it_stops_waiting)
            nursery.start_soon(cut_a_vanished_machine)
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
        """Wait for the other side, then run the pairing; or refuse the client, or tell it that it was replaced."""
        events.WAITS.log(role=seat.role.value)
        self._hosts.add(seat)
        try:
            try:
                refused = await self._wait(seat)
            finally:
                seat.stopped_waiting.set()
            if seat.partner is not None:
                await self._pair(room, seat, seat.partner)
                return
        finally:
            self._hosts.discard(seat)
            self._lobby.leave(room, seat)  # before anything awaits: a newcomer must not be matched with it
            seat.done.set()  # a drain need not wait for a client that may not even read the refusal
        if seat.replaced:
            await seat.link.close(CloseCode.REPLACED, "replaced by a newer connection")
        elif refused is not None:
            await self._refuse(seat, room, refused)

    async def _wait(self, seat: Seat) -> Refused | None:
        """Wait until `wake` or the link ends; return the refusal to send if there is no partner."""
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
                    seat.link.abort()  # no refusal to a paired client; the pairing finds this link cut
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
            addresses = sender.client.address, receiver.client.address
            await self._pairings.run(pairing, addresses, seat.client.number)
        finally:
            seat.pairing = partner.pairing = None  # a pairing refers to its seats: break the cycle

    async def _refuse(self, seat: Seat, room: Room, refused: Refused) -> None:
        await refuse(seat.link, refused, self._tally, legacy=room.legacy)
