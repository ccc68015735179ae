"""The relay: takes connections, hears what they want, and brings those together who belong together.

    accept -> TLS -> HTTP -> hello      one absolute budget for all of it
           -> lobby                     wait, be matched, or be refused
           -> pairing                   until one of the two ends

Rules:
1. Whatever one connection does ends that connection. Nothing but a signal or a bug in the runtime passes `_handle`.
2. Limits come before work: a connection over a limit is closed before its first byte is read.
3. The first comer owns the pairing. Nobody hands a nursery to anybody; the second comer hands over its link.
4. When the relay stops, whoever is there is told, within `limits.RELAY_STOP_TIMEOUT`.
"""

from __future__ import annotations

import errno
import math
import socket
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

import anyio
import trio

from p2p_copy import limits
from p2p_copy.dial import TLS_HANDSHAKE, tune
from p2p_copy.errors import CannotListen
from p2p_copy.link import Link, LinkBroken, accept
from p2p_copy.protocol import rendezvous
from p2p_copy.protocol.rendezvous import Hello, Refusal, Refused, Role, Welcome
from p2p_copy.relay.greeting import greet, refuse_plain
from p2p_copy.relay.lobby import Lobby, Matched, Room, Taken, Waiting
from p2p_copy.relay.log import LOGGER, place, size
from p2p_copy.relay.pairing import STOPPING, Pairing
from p2p_copy.relay.tls import server_context
from p2p_copy.version import PROGRAM

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator

    from p2p_copy.relay.config import RelayConfig

PROTOCOL_ERROR: Final = 1002
TRY_AGAIN_LATER: Final = 1013

_CLOSE_CODES: Final = {
    Refusal.BAD_HELLO: PROTOCOL_ERROR,
    Refusal.VERSION: PROTOCOL_ERROR,
    Refusal.BUSY: TRY_AGAIN_LATER,
    Refusal.ROOM_TAKEN: TRY_AGAIN_LATER,
    Refusal.WAIT_OVER: TRY_AGAIN_LATER,
    Refusal.STOPPING: STOPPING,
}

_GONE: Final = (anyio.EndOfStream, LinkBroken, trio.BrokenResourceError, OSError)
"""What the end of a connection looks like; no reason for alarm."""


async def serve(
    config: RelayConfig, *, task_status: trio.TaskStatus[list[tuple[str, int]]] = trio.TASK_STATUS_IGNORED
) -> None:
    """Run a relay until it is cancelled. Reports the addresses and ports where it listens.

    Raises:
        CannotListen: the address cannot be had, or certificate and key cannot be used.

    """
    context = server_context(config.certfile, config.keyfile) if config.certfile else None
    listeners = await _listen(config.host, config.port)
    task_status.started([listener.socket.getsockname()[:2] for listener in listeners])
    await _Relay(config, context).run(listeners)


async def _listen(host: str, port: int) -> list[trio.SocketListener]:
    """Listen at every address that `host` has here: a name often has one that this machine cannot use."""
    listeners: list[trio.SocketListener] = []
    failure: OSError | None = None
    try:
        found = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        for address in dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found):
            try:
                listeners += await trio.open_tcp_listeners(port, host=address)
            except OSError as error:
                failure = error
                if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                    break
    except (OSError, ValueError) as error:
        raise CannotListen(
            f"The name {host} has no address here. Use a local address, or 0.0.0.0."
        ) from error
    if failure is not None and (not listeners or failure.errno == errno.EADDRINUSE):
        for listener in listeners:
            await listener.aclose()
        raise CannotListen(_why_not(host, port, failure)) from None
    return listeners


def _why_not(host: str, port: int, error: OSError) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return f"Port {port} of {host} is in use by another program. Stop it, or choose another port."
        case errno.EACCES:
            return (
                f"Port {port} is not for every user. Choose a port from 1024 on, or give the relay the right "
                "to listen below (CAP_NET_BIND_SERVICE)."
            )
        case errno.EADDRNOTAVAIL | errno.EAFNOSUPPORT:
            return f"This machine has no address {host}. Use one that it has, or 0.0.0.0 for all."
    return f"Cannot listen at {host}, port {port}: {error.strerror}."


class _Seat:
    """A client in the lobby. Its handler sleeps in `wake` until it is cancelled, by its partner or by a stop."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.wake = trio.CancelScope()
        self.partner: Link | None = None
        self.done = trio.Event()


class _Relay:
    def __init__(self, config: RelayConfig, context: ssl.SSLContext | None) -> None:
        self._config = config
        self._context = context
        self._lobby: Lobby[_Seat] = Lobby()
        self._most = min(config.max_connections + config.max_pending, _descriptors_allow())
        self._stopping = False
        self._connections: set[trio.CancelScope] = set()
        self._arrivals: set[trio.CancelScope] = set()
        self._waiting: set[_Seat] = set()
        self._pairings: set[Pairing] = set()

    async def run(self, listeners: list[trio.SocketListener]) -> None:
        async with trio.open_nursery() as connections:
            try:
                await trio.serve_listeners(self._handle, listeners, handler_nursery=connections)
            finally:
                self._stop()

    def _stop(self) -> None:
        """Wake everybody who is here. They see `_stopping`, say goodbye, and have a deadline for it."""
        self._stopping = True
        for connection in self._connections:
            connection.deadline = trio.current_time() + limits.RELAY_STOP_TIMEOUT
        for arrival in self._arrivals:
            arrival.cancel()
        for seat in self._waiting:
            seat.wake.cancel()
        for pairing in self._pairings:
            pairing.stop()

    async def _handle(self, stream: trio.SocketStream) -> None:
        """Contain one connection. Trio closes the stream by force when this returns."""
        if len(self._connections) >= self._most or len(self._arrivals) >= self._config.max_pending:
            LOGGER.debug("! full: a connection was closed")
            return
        # A cancelled relay lets its connections say goodbye, so it must not reach them directly.
        with trio.CancelScope(shield=True) as scope:
            self._connections.add(scope)
            try:
                tune(stream)
                await self._arrive(stream)
            except _GONE as error:
                LOGGER.debug("< gone early: %s", type(error).__name__)
            except Exception as error:
                LOGGER.error("! a bug ended one connection: %s", place(error))
            finally:
                self._connections.discard(scope)

    async def _arrive(self, stream: trio.SocketStream) -> None:
        with self._budget() as arrived:
            secure = await self._secure(stream)
            head = await greet(secure) if secure else None
            if secure is None or head is None:
                LOGGER.debug("! no relay client")
                return
            max_message = self._config.max_message
            async with accept(secure, max_message=max_message, early=limits.MAX_HELLO, head=head) as (
                path,
                link,
            ):
                hello = await self._hear_hello(link, path)
                arrived()
                if hello is not None:
                    await self._admit(link, hello)

    @contextmanager
    def _budget(self) -> Iterator[Callable[[], None]]:
        """Limit the time until the function that is yielded gets called."""
        with trio.move_on_after(self._config.accept_budget) as scope:

            def arrived() -> None:
                scope.deadline = math.inf
                self._arrivals.discard(scope)

            self._arrivals.add(scope)
            try:
                yield arrived
            finally:
                self._arrivals.discard(scope)
        if scope.cancelled_caught:
            LOGGER.debug("! too slow")

    async def _secure(self, stream: trio.SocketStream) -> trio.abc.Stream | None:
        """Return the stream with TLS on it, if this relay has TLS; None if the client knows nothing of it."""
        if self._context is None:
            return stream
        first = await stream.socket.recv(1, socket.MSG_PEEK)
        if first and first[0] != TLS_HANDSHAKE:
            await refuse_plain(stream)
            return None
        secure = trio.SSLStream(stream, self._context, server_side=True, https_compatible=True)
        await secure.do_handshake()
        return secure

    async def _hear_hello(self, link: Link, path: str) -> Hello | None:
        hello = rendezvous.decode_hello(await link.receive(), path)
        if len(self._connections) - len(self._arrivals) >= self._config.max_connections:
            hello = Refused(Refusal.BUSY, "The relay has as many clients as it can serve.", 60)
        if isinstance(hello, Refused):
            await self._refuse(link, hello, legacy=path == rendezvous.LEGACY_PATH)
            return None
        if not hello.legacy:
            welcome = Welcome(PROGRAM, max_message=self._config.max_message, wait=int(self._config.wait))
            await link.send(rendezvous.encode(welcome))
        return hello

    async def _refuse(self, link: Link, refused: Refused, *, legacy: bool) -> None:
        """Say no. A 0.1.x client understands only the close code, and that it is not 1000."""
        LOGGER.debug("! refused: %s", refused.code)
        if not legacy:
            await link.send(rendezvous.encode(refused))
        await link.close(_CLOSE_CODES[Refusal(refused.code)], refused.reason)

    async def _admit(self, link: Link, hello: Hello) -> None:
        seat = _Seat(link)
        room = Room(hello.legacy, hello.room)
        # Whoever waits here may be dead without our knowledge. It must block neither its own retry nor its partner.
        incumbent = self._lobby.waiting(room)
        if incumbent is not None and await self._is_dead(incumbent):
            self._lobby.leave(room, incumbent)
        match self._lobby.join(room, hello.role, seat):
            case Waiting():
                await self._host(room, hello.role, seat)
            case Matched(first):
                first.partner = link
                first.wake.cancel()
                await first.done.wait()
                link.abort()  # does nothing if the pairing has closed it
            case Taken():
                reason = (
                    f"There is a {hello.role.value} with this code already. Wait for it, or use another code."
                )
                await self._refuse(link, Refused(Refusal.ROOM_TAKEN, reason), legacy=hello.legacy)

    async def _is_dead(self, incumbent: _Seat) -> bool:
        with trio.move_on_after(self._config.probe_timeout):
            try:
                await incumbent.link.ping()
            except (LinkBroken, anyio.ClosedResourceError):
                return True
            return False
        incumbent.link.abort()
        return True

    async def _host(self, room: Room, role: Role, seat: _Seat) -> None:
        """Wait for the other one, then run the pairing."""
        LOGGER.debug("> a %s waits", role.value)
        self._waiting.add(seat)
        if self._stopping:
            seat.wake.cancel()
        try:
            refused = await self._wait(seat)
            self._waiting.discard(seat)
            if seat.partner is not None:
                await self._pair(room, role, seat, seat.partner)
            elif refused is not None:
                await self._refuse(seat.link, refused, legacy=room.legacy)
        finally:
            self._waiting.discard(seat)
            self._lobby.leave(room, seat)
            seat.done.set()

    async def _wait(self, seat: _Seat) -> Refused | None:
        """Watch a client's link until something happens; say how it is to be refused, if it is."""
        seat.wake.deadline = trio.current_time() + self._config.wait
        with seat.wake:
            try:
                await seat.link.receive()
            except (anyio.EndOfStream, LinkBroken):
                LOGGER.debug("< left while waiting")
                return None
            if seat.partner is not None:
                seat.link.abort()  # too late for a refusal: the pairing finds it gone, and tells the other one
            return Refused(Refusal.BAD_HELLO, "Clients say nothing between hello and paired.")
        if self._stopping:
            return Refused(Refusal.STOPPING, "The relay is being stopped or restarted. Try again.", 5)
        return Refused(Refusal.WAIT_OVER, "The other side did not come in the time that this relay allows.")

    async def _pair(self, room: Room, role: Role, seat: _Seat, partner: Link) -> None:
        sender, receiver = (seat.link, partner) if role is Role.SENDER else (partner, seat.link)
        for link in (sender, receiver):
            link.trust()
        pairing = Pairing(sender, receiver, legacy=room.legacy, on_end=partial(self._lobby.leave, room, seat))
        self._pairings.add(pairing)
        if self._stopping:
            pairing.stop()
        LOGGER.debug("= paired")
        try:
            usage = await pairing.run()
        finally:
            self._pairings.discard(pairing)
        LOGGER.info(
            "< pair ended: %s, %s from the sender, %s from the receiver, %.0f s",
            usage.outcome.value,
            size(usage.from_sender),
            size(usage.from_receiver),
            usage.seconds,
        )


def _descriptors_allow() -> int:
    """Return how many connections the operating system lets us have, with some files to spare."""
    try:
        import resource  # only on POSIX
    except ImportError:
        return limits.RELAY_MAX_CONNECTIONS
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return limits.RELAY_MAX_CONNECTIONS if soft == resource.RLIM_INFINITY else soft * 4 // 5
