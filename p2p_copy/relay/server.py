"""The relay: takes connections, hears what they want, and brings those together who belong together.

    accept -> TLS -> HTTP -> hello      one absolute budget for all of it
           -> lobby                     wait, be matched, or be refused
           -> pairing                   until one of the two ends

Rules:
1. Whatever one connection does ends that connection. Nothing but a signal or a bug in the runtime passes `_handle`.
2. Limits come before work: a connection over a limit is closed before its first byte is read.
3. The first comer owns the pairing. Nobody hands a nursery to anybody; the second comer hands over its link.
4. Who comes again under its own claim waits for nobody: what it left behind ends beside it, in tasks that are there.
5. When the relay stops, whoever is there is told, within `limits.STOP_TIMEOUT`. When it drains, those who
   wait are told at once, and pairings go on for a while.
"""

from __future__ import annotations

import itertools
import math
import os
from functools import partial
from typing import TYPE_CHECKING, Final

import anyio
import trio

from p2p_copy.protocol import limits as protocol_limits, rendezvous
from p2p_copy.protocol.rendezvous import (
    STILL_WAITING,
    CloseCode,
    Hello,
    Refusal,
    Refused,
    Role,
    Welcome,
)
from p2p_copy.relay import limits
from p2p_copy.relay.access.gatekeeper import Gatekeeper, Visitor
from p2p_copy.relay.budget import Budget
from p2p_copy.relay.entry.certificates import Certificates, secured
from p2p_copy.relay.entry.http_upgrade import greet, refuse_busy
from p2p_copy.relay.entry.listeners import listen
from p2p_copy.relay.file_thread import FileThread
from p2p_copy.relay.lobby import Lobby, Matched, Returned, Room, Taken, Waiting
from p2p_copy.relay.log import abuse, events
from p2p_copy.relay.log.abuse import Abuse
from p2p_copy.relay.log.redact import place
from p2p_copy.relay.pairing import Pairing
from p2p_copy.relay.refusal import refuse
from p2p_copy.relay.tally import Counts, Tally
from p2p_copy.relay.watch import watch
from p2p_copy.transport import limits as transport_limits
from p2p_copy.transport.endpoints import accept
from p2p_copy.transport.link import Link, LinkBroken
from p2p_copy.transport.tcp_info import acked_bytes, silent_for, tune
from p2p_copy.transport.timeouts import within

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from p2p_copy.relay.config import RelayConfig
    from p2p_copy.relay.entry.listeners import Listener
    from p2p_copy.transport.tcp import TCPStream

_GONE: Final = (anyio.EndOfStream, LinkBroken, trio.BrokenResourceError, OSError)
"""What the end of a connection looks like; no reason for alarm."""

_FULL: Final = Refused(
    Refusal.BUSY, "The memory of the relay is used up by other transfers.", limits.BUSY_RETRY_AFTER
)

_GOING: Final = Refused(Refusal.STOPPING, "The relay is being stopped or restarted.", 5)

_OTHERS: Final = Refused(
    Refusal.UNKNOWN_ROOM,
    "This relay serves one transfer only, and its code is another. Check code and address.",
)


def _certificates(config: RelayConfig) -> Certificates | None:
    if not config.certfile:
        return None
    return Certificates(os.fspath(config.certfile), os.fspath(config.keyfile) if config.keyfile else None)


async def serve(
    config: RelayConfig, *, task_status: trio.TaskStatus[list[tuple[str, int]]] = trio.TASK_STATUS_IGNORED
) -> None:
    """Run a relay until it is cancelled. Reports the addresses and ports where it listens.

    Raises:
        CannotListen: the address cannot be had, or certificate and key cannot be used.

    """
    relay = await prepared(config)
    await relay.run(task_status=task_status)


async def prepared(config: RelayConfig) -> Relay:
    """Return a relay that has read its files, and did not keep the event loop waiting for them.

    Raises:
        CannotListen: they cannot be used, or their disk does not answer.
        UsageError: a trusted proxy is no network.

    """
    return await FileThread().run("Certificate, key or tokens", Relay, config)


class _Seat:
    """A client in the lobby. Its handler sleeps in `wake` until its partner, its return or a stop cancels it."""

    def __init__(self, role: Role, link: Link, visitor: Visitor) -> None:
        self.role = role
        self.link = link
        self.visitor = visitor
        self.wake = trio.CancelScope()
        self.since = trio.current_time()
        self.until = math.inf  # it may wait, once it does
        self.waited = trio.Event()  # it waits no more
        self.partner: _Seat | None = None
        self.pairing: Pairing | None = None  # while it runs
        self.replaced = False
        self.done = trio.Event()  # it is in no pairing, and will be in none

    def give_way(self) -> None:
        """End this connection, and the pairing that it is in, because its client has come again."""
        self.replaced = True
        self.wake.cancel()
        if self.pairing is not None:
            self.pairing.lose(self.role)


class Relay:
    """One relay: `run` it once. It ends when it is cancelled, or some time after `drain` or `stop`.

    Attributes:
        certificates: what its clients are shown; None without TLS.
        door: who may come in.
        urls: where it listens, as soon as it does.
        config: what the operator wants; see `change`.
        tally: what it has done.
        budget: of the memory that all pairings share.
        pairings: those that run, by numbers that nobody but the operator knows.

    """

    def __init__(self, config: RelayConfig) -> None:
        """Prepare a relay, and read its files; `prepared` does not wait for a disk without end.

        Raises:
            CannotListen: certificate and key, or the file of tokens, cannot be used.
            UsageError: a trusted proxy is no network.

        """
        self.certificates = _certificates(config)
        self.door = Gatekeeper(config)
        self.urls: list[str] = []
        self.config = config
        self.tally = Tally()
        self.budget = Budget(config.max_memory)
        self.pairings: dict[int, Pairing] = {}
        self._lobby: Lobby[_Seat] = Lobby()
        self._open = trio.CancelScope()  # connections are taken
        self._patience = trio.CancelScope()  # pairings are waited for
        self._stopping = False
        self._connections: set[trio.CancelScope] = set()
        self._arrivals = self.door.arrivals
        self._seats: set[_Seat] = set()
        self._waiting: set[_Seat] = set()
        self._numbers = itertools.count(1)

    async def run(
        self, *, task_status: trio.TaskStatus[list[tuple[str, int]]] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Serve. Reports the addresses and ports where the relay listens.

        Raises:
            CannotListen: an address cannot be had.

        """
        listeners = await listen(self.config.places)
        self.urls = list(dict.fromkeys(one.url(tls=self.certificates is not None) for one in listeners))
        self.tally.begin()
        try:
            task_status.started([one.sockname for one in listeners if one.sockname])
            await self._serve(listeners)
        finally:
            for listener in listeners:
                await trio.aclose_forcefully(listener)  # does nothing if it is closed
            self.tally.close()

    def drain(self, seconds: float) -> None:
        """Take no more clients, tell those who wait, and stop when the last pairing is over.

        Returns at once. Pairings that are not over after `seconds` are ended; the first order's time may be
        made shorter by another one.
        """
        if self.pairings and not self.draining:
            events.STOPPING.log((), seconds=round(seconds), pairings=len(self.pairings))
        self._open.cancel()
        for seat in self._waiting:
            seat.wake.cancel()
        self._patience.deadline = min(self._patience.deadline, trio.current_time() + seconds)

    def stop(self, within: float) -> None:
        """End everything now: all are told, and whoever has not left `within` seconds is cut. Returns at once."""
        self.drain(0)
        self._stopping = True
        deadline = trio.current_time() + within
        for connection in self._connections:
            connection.deadline = min(connection.deadline, deadline)
        self._arrivals.cancel()
        for pairing in tuple(self.pairings.values()):
            pairing.stop()

    async def reload(self) -> bool:
        """Read again from the disk what may change. What cannot be used changes nothing, and False tells of it."""
        good: list[bool] = []

        async def note(reload: Callable[[], Awaitable[bool]]) -> None:
            good.append(await reload())

        async with trio.open_nursery() as nursery:  # neither waits for the other one's disk
            nursery.start_soon(note, self.door.reload)
            if self.certificates is not None:
                nursery.start_soon(note, self.certificates.reload)
        return all(good)

    def change(self, config: RelayConfig) -> None:
        """Keep to the limits of another configuration from now on. Places and files stay what they are."""
        self.config = config
        self.budget.limit = config.max_memory
        self.door.change(config)

    @property
    def draining(self) -> bool:
        """Whether it takes no more clients."""
        return self._open.cancel_called

    @property
    def counts(self) -> Counts:
        """What it has done and is doing."""
        return Counts(len(self._waiting), len(self.pairings), self.tally.served, self.tally.copied)

    @property
    def connections(self) -> int:
        """Connections that are here, those without a hello included."""
        return self.door.admission.places

    @property
    def rooms(self) -> int:
        """Rooms where somebody is: each has one who waits, or a pairing."""
        return len(self._lobby)

    @property
    def copied(self) -> dict[str, int]:
        """Bytes received so far, of all pairings that were and are, by the side that they came from."""
        running = zip(*(pairing.sent for pairing in self.pairings.values()), strict=True)
        sums = [sum(side) for side in running] or [0, 0]
        return {
            side: ended + more for (side, ended), more in zip(self.tally.received.items(), sums, strict=True)
        }

    async def _serve(self, listeners: list[Listener]) -> None:
        async with trio.open_nursery() as own:
            own.start_soon(watch, self.pairings, self.budget)
            if self.certificates is not None:
                own.start_soon(partial(self.certificates.watch, files=self.config.watch_certificates))
            async with trio.open_nursery() as connections:
                try:
                    with self._open:
                        await trio.serve_listeners(self._handle, listeners, handler_nursery=connections)
                    with self._patience:
                        for seat in tuple(self._seats):
                            await seat.done.wait()
                finally:
                    self.stop(limits.STOP_TIMEOUT)
            own.cancel_scope.cancel()

    async def _handle(self, stream: TCPStream) -> None:
        """Contain one connection. Trio closes the stream by force when this returns."""
        if self._stopping:
            return
        visitor = self.door.knock(stream)
        if visitor is None:
            return
        # A cancelled relay lets its connections say goodbye, so it must not reach them directly.
        with trio.CancelScope(shield=True) as scope:
            self._connections.add(scope)
            try:
                tune(stream)
                await self._arrive(stream, visitor)
            except _GONE as error:
                events.GONE_EARLY.log(error=type(error).__name__)
            except Exception as error:
                events.BUG.log(where=place(error))
            finally:
                self._connections.discard(scope)
                self.door.leave(visitor)
                self.tally.handshakes_failed += not visitor.heard

    async def _arrive(self, stream: TCPStream, visitor: Visitor) -> None:
        with self._arrivals.budget(self.config.accept_budget, visitor.guest) as arrived:
            if not await self.door.unveil(visitor, stream):
                return
            secure = await secured(stream, self.certificates)
            request = await greet(secure) if secure else None
            if secure is None or request is None:
                events.NO_CLIENT.log()
                return
            if not self.door.forwarded(visitor, request.forwarded):
                await refuse_busy(secure)
                return
            async with accept(
                secure,
                max_message=self.config.max_message,
                early=protocol_limits.MAX_HELLO,
                piece=max(transport_limits.RELAY_PIECE, self.config.max_message // limits.PIECES_PER_MESSAGE),
                head=request.head,
                patience=limits.CONTROL_TIMEOUT,
                on_unread=partial(abuse.note, Abuse.UNREAD),
                pace=visitor.throttle.frames,
                silent_for=partial(silent_for, stream),
                acked_bytes=partial(acked_bytes, stream),
            ) as (path, link):
                hello = await self._hear_hello(link, path, visitor)
                arrived()
                if hello is not None:
                    await self._admit(link, hello, visitor)

    async def _hear_hello(self, link: Link, path: str, visitor: Visitor) -> Hello | None:
        hello = rendezvous.decode_hello(await link.receive(), path)
        visitor.heard = True
        answer = self._answer(hello, visitor)
        if isinstance(hello, Refused) or isinstance(answer, Refused):
            assert isinstance(answer, Refused)
            await self._refuse(link, answer, legacy=path == rendezvous.LEGACY_PATH)
            return None
        if not hello.legacy:
            await link.send(rendezvous.encode(answer))
        return hello

    def _answer(self, hello: Hello | Refused, visitor: Visitor) -> Welcome | Refused:
        if self.draining:
            return _GOING
        if isinstance(hello, Refused):
            return hello
        rooms = self.config.rooms
        if rooms is not None and (hello.legacy or hello.room not in rooms):
            abuse.note(Abuse.FOREIGN_ROOM)
            return _OTHERS
        if self.budget.is_nearly_used:
            return _FULL
        room = Room(hello.legacy, hello.room)
        incumbent = self._lobby.waiting(room)
        return self.door.greet(
            visitor,
            hello,
            waiting=len(self._waiting),
            is_first=incumbent is None,
            # Who dials again sooner counts like everybody, for each TLS handshake costs the relay some milliseconds.
            looks_again=STILL_WAITING in hello.features
            and incumbent is not None
            and incumbent.since + protocol_limits.LEAST_LOOK_AGAIN / 2 <= trio.current_time()
            and self._lobby.knows(room, hello.role, hello.claim),
        )

    async def _admit(self, link: Link, hello: Hello, visitor: Visitor) -> None:
        seat = _Seat(hello.role, link, visitor)
        room = Room(hello.legacy, hello.room)
        still_waiting = STILL_WAITING in hello.features
        if (stale := self._lobby.left_behind(room, hello.claim)) is not None:
            events.RETURNED.log(role=hello.role.value)
            stale.give_way()
        # Whoever waits here may be dead without our knowledge. It must block neither its own retry nor its partner.
        incumbent = self._lobby.waiting(room)
        if incumbent is not None and not self._lobby.knows(room, hello.role, hello.claim):
            # A client that waits elsewhere as well gives up that place when nobody has refused it for a while.
            in_a_hurry = still_waiting and incumbent.role is hello.role
            seconds = limits.PROBE_TIMEOUT if in_a_hurry else math.inf
            if not await self._hold(room, seat, incumbent, seconds):
                return
        match self._lobby.join(room, hello.role, seat, hello.claim, still_waiting=still_waiting):
            case Waiting():
                await self._host(room, seat)
            case Returned(former):
                events.RETURNED.log(role=hello.role.value)
                if still_waiting:
                    seat.until = former.until  # or dialling again would be a way to wait for ever
                former.give_way()
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
                await self._refuse(link, Refused(Refusal.ROOM_TAKEN, reason), legacy=hello.legacy)

    async def _refuse(self, link: Link, refused: Refused, *, legacy: bool) -> None:
        self.tally.refused[str(refused.code)] += 1
        await refuse(link, refused, legacy=legacy)

    async def _hold(self, room: Room, seat: _Seat, incumbent: _Seat, seconds: float) -> bool:
        """Let a newcomer wait until it is known whether the one who waits in this room lives; not for longer than that.

        Return whether the newcomer is still there, and may join. If the other one is dead, its place is free then.
        """
        known = False

        async def ask() -> None:
            nonlocal known
            with within(seconds):
                if await self._is_dead(room, incumbent):
                    self._lobby.leave(room, incumbent)
            known = True
            seat.wake.cancel()

        self._waiting.add(seat)
        seat.until = trio.current_time() + self.config.wait
        if self.draining:
            seat.wake.cancel()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask)
                refused = await self._wait(seat)
                nursery.cancel_scope.cancel()
        finally:
            self._waiting.discard(seat)
        if known and seat.wake.cancelled_caught:
            seat.wake = trio.CancelScope()
            return True
        if refused is not None:
            await self._refuse(seat.link, refused, legacy=room.legacy)
        return False

    async def _is_dead(self, room: Room, incumbent: _Seat) -> bool:
        """Find out whether one who waits is dead: its machine, or its program, has answered nothing for long.

        Slow is not dead: a phone on a train may need half a minute.
        """
        link, dead = incumbent.link, False

        async def until_it_waits_no_more() -> None:
            await incumbent.waited.wait()
            nursery.cancel_scope.cancel()

        async def look() -> None:
            await trio.sleep(limits.PROBE_TIMEOUT)
            abuse.note(Abuse.CONTESTED)
            while True:
                if link.silent_for() >= transport_limits.VANISHED:
                    link.abort()
                await trio.sleep(transport_limits.VANISHED_LOOK)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(until_it_waits_no_more)
            nursery.start_soon(look)
            with within(transport_limits.KEEPALIVE_TIMEOUT, moves=lambda: link.heard_at) as patience:
                try:
                    await link.ping()
                except (LinkBroken, anyio.ClosedResourceError):
                    dead = True
            nursery.cancel_scope.cancel()
        if patience.is_over:
            link.abort()
        return dead or patience.is_over

    async def _host(self, room: Room, seat: _Seat) -> None:
        """Wait for the other one, then run the pairing."""
        events.WAITS.log(role=seat.role.value)
        self._seats.add(seat)
        self._waiting.add(seat)
        seat.until = min(seat.until, trio.current_time() + self.config.wait)
        if self.draining:
            seat.wake.cancel()
        try:
            refused = await self._wait(seat)
            self._waiting.discard(seat)
            seat.waited.set()
            if seat.partner is not None:
                await self._pair(room, seat, seat.partner)
                return
            self._lobby.leave(room, seat)  # or a newcomer would be matched with one who is on the way out
            seat.done.set()  # nobody waits for somebody who may not even read the refusal
            if seat.replaced:
                await seat.link.close(CloseCode.REPLACED, "you came again")
            elif refused is not None:
                await self._refuse(seat.link, refused, legacy=room.legacy)
        finally:
            self._waiting.discard(seat)
            self._seats.discard(seat)
            self._lobby.leave(room, seat)
            seat.waited.set()
            seat.done.set()

    async def _wait(self, seat: _Seat) -> Refused | None:
        """Watch a client's link until something happens; say how it is to be refused, if it is."""
        seat.wake.deadline = seat.until
        with seat.wake:
            try:
                await seat.link.receive()
            except (anyio.EndOfStream, LinkBroken):
                events.LEFT.log()
                return None
            if seat.partner is not None:
                seat.link.abort()  # too late for a refusal: the pairing finds it gone, and tells the other one
            return Refused(Refusal.BAD_HELLO, "Clients say nothing between hello and paired.")
        if self.draining:
            return _GOING
        return Refused(Refusal.WAIT_OVER, "The other side did not come in the time that this relay allows.")

    async def _pair(self, room: Room, seat: _Seat, partner: _Seat) -> None:
        sender, receiver = (seat, partner) if seat.role is Role.SENDER else (partner, seat)
        pairing = Pairing(
            sender.link,
            receiver.link,
            legacy=room.legacy,
            on_end=partial(self._lobby.leave, room, seat),
            pairing_limits=self.door.pairing_limits(sender.visitor, receiver.visitor),
            budget=self.budget,
            listen=(sender.visitor.listens, receiver.visitor.listens),
        )
        for each in (sender, receiver):
            each.link.trust()
            each.visitor.throttle.pair()
            each.pairing = pairing
            if each.replaced:  # since the two were matched
                pairing.lose(each.role)
        number = next(self._numbers)
        self.pairings[number] = pairing
        if self._stopping:
            pairing.stop()
        events.PAIRED.log()
        try:
            usage = await pairing.run()
        finally:
            del self.pairings[number]
            seat.pairing = partner.pairing = None  # it keeps them, too: a cycle
        self.tally.add(usage, (sender.visitor.address, receiver.visitor.address))
