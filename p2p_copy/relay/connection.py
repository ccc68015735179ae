"""One connection, from accept to hello: its place, TLS, HTTP, WebSocket, its hello and the answer.

    admit -> PROXY header -> TLS -> HTTP -> hello      `accept_budget` seconds for all of it
          -> seats                                     as long as the client waits or is paired

Rules:
1. Whatever one connection does ends that connection only: `handle` contains it. Only cancellation, and a bug in the
   runtime, pass it.
2. Limits come before work: a connection over a limit is closed before its first byte is read.
3. Cancelling the relay does not reach its connections, so they can say goodbye: they are shielded, and end by `stop`.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import anyio
import trio

from p2p_copy.protocol import limits as protocol_limits, rendezvous
from p2p_copy.protocol.rendezvous import Hello, Refused
from p2p_copy.relay import limits
from p2p_copy.relay.entry.certificates import secured
from p2p_copy.relay.entry.http_upgrade import NO_SITE, PageRequest, read_upgrade, refuse_busy, send_last
from p2p_copy.relay.log import events
from p2p_copy.relay.log.abuse import Abuse
from p2p_copy.relay.log.redact import where_raised
from p2p_copy.relay.refusal import FOREIGN_ROOM, NO_MEMORY, RELAY_STOPS, refuse
from p2p_copy.transport import limits as transport_limits
from p2p_copy.transport.endpoints import accept
from p2p_copy.transport.link import LinkBroken

if TYPE_CHECKING:
    from collections.abc import Callable

    from p2p_copy.protocol.rendezvous import Welcome
    from p2p_copy.relay.access.admission import Client
    from p2p_copy.relay.access.gatekeeper import Gate
    from p2p_copy.relay.entry.certificates import Certificates
    from p2p_copy.relay.entry.http_upgrade import Site
    from p2p_copy.relay.seats import Seats
    from p2p_copy.relay.tally import Tally
    from p2p_copy.transport.link import Link
    from p2p_copy.transport.tcp import TCPStream

_GONE: Final = (anyio.EndOfStream, LinkBroken, trio.BrokenResourceError, OSError)
"""Exceptions of connections that end, which is normal."""


class Connections:
    """All connections of one relay; `handle` each of them."""

    def __init__(
        self,
        gatekeeper: Gate,
        certificates: Certificates | None,
        seats: Seats,
        tally: Tally,
        draining: Callable[[], bool],
        site: Site = NO_SITE,
    ) -> None:
        """Begin with none.

        Args:
            gatekeeper: decides who may come in.
            certificates: the certificates for TLS; None without TLS.
            seats: where clients wait that were welcomed.
            tally: counts.
            draining: tells whether the relay takes no more clients.
            site: what it has for browsers.

        """
        self._gatekeeper = gatekeeper
        self._certificates = certificates
        self._seats = seats
        self._tally = tally
        self._draining = draining
        self._site = site
        self._scopes: set[trio.CancelScope] = set()
        self._stopping = False

    async def handle(self, stream: TCPStream) -> None:
        """Serve one connection until its end. Trio closes the stream by force when this returns."""
        if self._stopping:
            return
        client = self._gatekeeper.admit(stream)
        if client is None:
            return
        with trio.CancelScope(shield=True) as scope:
            self._scopes.add(scope)
            try:
                stream.tune()
                await self._serve(stream, client)
            except _GONE as error:
                events.GONE_EARLY.log(error=type(error).__name__)
            except Exception as error:
                events.BUG.log(where=where_raised(error))
            finally:
                self._scopes.discard(scope)
                self._gatekeeper.leave(client)
                self._tally.handshakes_failed += not client.has_spoken

    def stop(self, within: float) -> None:
        """End those without a hello now, and cut all others `within` seconds. Returns at once."""
        self._stopping = True
        deadline = trio.current_time() + within
        for scope in self._scopes:
            scope.deadline = min(scope.deadline, deadline)
        self._gatekeeper.arrivals.cancel_all()

    async def _serve(self, stream: TCPStream, client: Client) -> None:
        config = self._gatekeeper.config
        with self._gatekeeper.arrivals.limit(client.budget, client) as arrived:
            if not await self._gatekeeper.read_proxy(client, stream):
                return
            abuse = self._tally.abuse
            certificates = None if client.is_decrypted else self._certificates
            opened = await secured(stream, certificates, abuse)
            request = (
                await read_upgrade(opened.stream, abuse, opened.certificate, self._site) if opened else None
            )
            if opened is None or request is None:
                events.NO_CLIENT.log()
                return
            if not await self._gatekeeper.read_forwarded(client, request.forwarded):
                await refuse_busy(opened.stream)
                return
            if isinstance(request, PageRequest):
                client.has_spoken = True
                await send_last(opened.stream, *request.answer)
                events.PAGE_SERVED.log()
                return
            if await self._gatekeeper.pass_on(client, opened.stream, request, arrived):
                return
            async with accept(
                opened.stream,
                max_message=config.max_message,
                early=protocol_limits.MAX_HELLO,
                piece=max(transport_limits.RELAY_PIECE, config.max_message // limits.PIECES_PER_MESSAGE),
                head=request.head,
                patience=limits.CONTROL_TIMEOUT,
                on_unread=partial(abuse.count, Abuse.UNREAD),
                pace=client.throttle.frames,
            ) as (path, link):
                hello = await self._hear_hello(link, path, client)
                arrived()
                if hello is not None:
                    await self._seats.join(link, hello, client)

    async def _hear_hello(self, link: Link, path: str, client: Client) -> Hello | None:
        """Hear and answer the client's first message; return it if the client is welcome."""
        said = rendezvous.decode_hello(await link.receive(), path)
        client.has_spoken = True
        answer = await self._answer(said, client)
        if isinstance(answer, Refused):
            await refuse(link, answer, self._tally, legacy=path == rendezvous.LEGACY_PATH)
            return None
        assert isinstance(said, Hello), "anything but a hello is refused"
        if not said.legacy:
            await link.send(rendezvous.encode(answer))
        return said

    async def _answer(self, said: Hello | Refused, client: Client) -> Welcome | Refused:
        if self._draining():
            return RELAY_STOPS
        if isinstance(said, Refused):
            return said
        rooms = self._gatekeeper.config.rooms
        if rooms is not None and (said.legacy or said.room not in rooms):
            self._tally.abuse.count(Abuse.FOREIGN_ROOM)
            return FOREIGN_ROOM
        if self._seats.memory_is_short:
            return NO_MEMORY
        return await self._gatekeeper.answer_hello(
            client,
            said,
            waiting=self._seats.waiting,
            is_first=self._seats.is_first(said),
            dials_again=self._seats.dials_again(said),
        )
