"""Makes links: `connect` to a relay, or `accept` a client."""

from __future__ import annotations

import math
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

from p2p_copy.transport import limits
from p2p_copy.transport.codec import Codec
from p2p_copy.transport.diagnosis import no_websocket, timed_out
from p2p_copy.transport.dial import dial
from p2p_copy.transport.link import Link, LinkBroken
from p2p_copy.transport.monitored import LinkStream, never_silent, nothing_acked
from p2p_copy.transport.service_nursery import service_nursery
from p2p_copy.transport.timeouts import within

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    import trio

    from p2p_copy.transport.address import RelayAddress

T = TypeVar("T")


@asynccontextmanager
async def connect(
    address: RelayAddress, path: str, *, max_message: int, ca_file: str | None = None
) -> AsyncIterator[Link]:
    """Connect to a relay and open a WebSocket at `path`, each within `limits.CONNECT_TIMEOUT`.

    When the body ends normally, the link is closed politely. After an exception it is cut, so that the other end does
    not take that for a proper end.

    Args:
        address: where the relay is.
        path: the request's path below the address' prefix.
        max_message: bytes of the longest message; a longer one ends the link with close code 1009.
        ca_file: PEM file with certificates to trust besides the system's.

    Raises:
        UsageError: `ca_file` cannot be used.
        RelayUnreachable, CertificateNotTrusted, RelayExpectsTLS, RelayWithoutTLS, NotARelay, RelayRefused: no link.

    """
    with within(limits.CONNECT_TIMEOUT) as deadline:
        stream = await dial(address, ca_file)
    if deadline.is_over:
        raise timed_out(address)
    link = Link(
        stream,
        Codec(is_client=True, max_message=max_message),
        host=address.host_header,
        path=address.prefix + path,
    )

    async def opened() -> Link:
        try:
            with within(limits.CONNECT_TIMEOUT) as deadline:
                await link.wait_open()
        except LinkBroken:
            raise no_websocket(address, stream.first) from None
        if deadline.is_over:
            raise no_websocket(address, stream.first) if stream.first else timed_out(address)
        return link

    async with _running(link, opened):
        yield link


@asynccontextmanager
async def accept(
    stream: trio.abc.Stream,
    *,
    max_message: int,
    early: float = math.inf,
    piece: float = math.inf,
    head: bytes = b"",
    patience: float = math.inf,
    on_unread: Callable[[], None] | None = None,
    pace: Callable[[int], float] | None = None,
    silent_for: Callable[[], float] = never_silent,
    acked_bytes: Callable[[], tuple[int, bool]] = nothing_acked,
) -> AsyncIterator[tuple[str, Link]]:
    """Take a client's WebSocket request; yield its path and the link. The deadline is the caller's.

    Args:
        stream: from the client; closed at the end.
        max_message: bytes of the longest message; a longer one ends the link with close code 1009.
        early: a smaller limit until `Link.lift_early_limit` is called.
        piece: bytes from which `Link.receive_pieces` returns a part of a message without its rest.
        head: bytes that were read from the stream before and belong to the request.
        patience: seconds that one send may take, a pong or a close frame included, until `Link.limit_sends` is called.
        on_unread: is called when a send has taken longer than that.
        pace: is called before each read with the work since the last one: the number of frames, control frames and
            fragments included, or that of TLS records with next to no content, whichever is larger. Pongs for pings of
            this side do not count, or the other side could slow the client down by making this side send pings. It
            returns for how many seconds to put the read off. None for no such limit.
        silent_for: tells for how many seconds the client's machine has not answered; too many end the link.
        acked_bytes: tells how many bytes it has acknowledged, and whether more wait in our kernel.

    Raises:
        LinkBroken: there was no proper request.

    """
    codec = Codec(is_client=False, max_message=max_message, early=early, piece=piece)
    monitored = LinkStream(stream, head=head, silent_for=silent_for, acked_bytes=acked_bytes)
    monitored.patience, monitored.on_unread = patience, on_unread
    link = Link(monitored, codec, pace=pace)

    async with _running(link, link.accept_request) as path:
        yield path, link


@asynccontextmanager
async def _running(link: Link, opened: Callable[[], Awaitable[T]]) -> AsyncIterator[T]:
    """Run a link's tasks around the body. An exception of the body cuts the link, and leaves as it is."""
    async with service_nursery() as nursery:
        nursery.start_soon(link.read)
        try:
            result = await opened()
            nursery.start_soon(link.keep_alive)
            yield result
            await link.aclose()
        finally:
            link.abort()
