"""Makes links: `connect` to a relay over TCP or TLS, or `accept` a client."""

from __future__ import annotations

import math
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

import trio

from p2p_copy.transport import limits
from p2p_copy.transport.codec import Codec
from p2p_copy.transport.diagnosis import no_tls, no_websocket, not_connected, timed_out
from p2p_copy.transport.link import Link, LinkBroken
from p2p_copy.transport.link_io import LinkStream
from p2p_copy.transport.service_nursery import service_nursery
from p2p_copy.transport.tcp import TCPStream
from p2p_copy.transport.timeouts import within
from p2p_copy.transport.tls import TLSStream
from p2p_copy.transport.trust import client_context

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

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
        dialled = await _dial(address, ca_file)
    if deadline.is_over:
        raise timed_out(address)
    stream = LinkStream(dialled, remember=limits.HTTP_PEEK)
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


async def _dial(address: RelayAddress, ca_file: str | None) -> TCPStream | TLSStream:
    """Open TCP, and TLS if the address says so. The deadline is the caller's.

    Raises:
        UsageError: `ca_file`, or the file in SSLKEYLOGFILE, cannot be used.
        SystemFailed: this process can open no more files.
        RelayUnreachable, CertificateNotTrusted, RelayWithoutTLS: no connection.

    """
    context = await client_context(ca_file) if address.tls else None
    try:
        with within(limits.DIAL_TIMEOUT) as deadline:
            plain = TCPStream(await trio.open_tcp_stream(address.host, address.port))
    except OSError as error:
        raise not_connected(address, error) from None
    if deadline.is_over:
        raise timed_out(address)
    plain.tune()
    if context is None:
        return plain
    stream = TLSStream(plain, context, server_hostname=address.host)
    try:
        await stream.handshake()
    except BaseException as error:
        await trio.aclose_forcefully(plain)
        if isinstance(error, trio.BrokenResourceError):
            raise no_tls(address, stream.first, error.__cause__) from None
        raise
    return stream


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

    Raises:
        LinkBroken: there was no proper request.

    """
    codec = Codec(is_client=False, max_message=max_message, early=early, piece=piece, head=head)
    link_stream = LinkStream(stream)
    link_stream.patience, link_stream.on_unread = patience, on_unread
    link = Link(link_stream, codec, pace=pace)

    async with _running(link, link.accept_request) as path:
        yield path, link


@asynccontextmanager
async def _running(link: Link, opened: Callable[[], Awaitable[T]]) -> AsyncIterator[T]:
    """Run a link's tasks around the body. An exception of the body cuts the link, and is raised unchanged."""
    async with service_nursery() as nursery:
        nursery.start_soon(link.read)
        try:
            result = await opened()
            nursery.start_soon(link.keep_alive)
            yield result
            await link.aclose()
        finally:
            link.abort()
