"""Makes links: `connect` to a relay over TCP or TLS, perhaps through a proxy, or `accept` a client."""

from __future__ import annotations

import math
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import trio

from p2p_copy.transport import limits
from p2p_copy.transport.codec import Codec
from p2p_copy.transport.diagnosis import (
    no_tls,
    no_websocket,
    not_connected,
    proxy_has_not_connected,
    proxy_not_connected,
    proxy_timed_out,
    proxy_without_tls,
    timed_out,
)
from p2p_copy.transport.link import Link, LinkBroken
from p2p_copy.transport.link_io import LinkStream
from p2p_copy.transport.proxy import connect_through
from p2p_copy.transport.service_nursery import service_nursery
from p2p_copy.transport.tcp import TCPStream
from p2p_copy.transport.timeouts import within
from p2p_copy.transport.tls import TLSStream
from p2p_copy.transport.trust import client_context

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Awaitable, Callable

    from p2p_copy.errors import P2PCopyError
    from p2p_copy.transport.address import RelayAddress
    from p2p_copy.transport.proxy_address import ProxyAddress

T = TypeVar("T")


@asynccontextmanager
async def connect(
    address: RelayAddress,
    path: str,
    *,
    max_message: int,
    proxy: ProxyAddress | None = None,
    ca_file: str | None = None,
) -> AsyncIterator[Link]:
    """Connect to a relay and open a WebSocket at `path`, each within `limits.CONNECT_TIMEOUT`; so for a proxy.

    When the body ends normally, the link is closed politely. After an exception it is cut, so that the other end does
    not take that for a proper end.

    Args:
        address: where the relay is.
        path: the request's path below the address' prefix.
        max_message: bytes of the longest message; a longer one ends the link with close code 1009.
        proxy: the proxy by which to reach it; None to reach it directly.
        ca_file: PEM file with certificates to trust besides the system's, for the relay and the proxy.

    Raises:
        UsageError: `ca_file` cannot be used.
        RelayUnreachable, CertificateNotTrusted, RelayExpectsTLS, RelayWithoutTLS, NotARelay, RelayRefused: no link.
        ProxyUnreachable, ProxyWantsLogin, ProxyForbids, NotAProxy: no way through the proxy.

    """
    stream = LinkStream(await _dial(address, proxy, ca_file), remember=limits.HTTP_PEEK)
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


async def _dial(
    address: RelayAddress, proxy: ProxyAddress | None, ca_file: str | None
) -> TCPStream | TLSStream:
    """Open TCP, directly or through a proxy, and TLS if the address says so.

    Raises:
        UsageError: `ca_file`, or the file in SSLKEYLOGFILE, cannot be used.
        SystemFailed: this process can open no more files.
        RelayUnreachable, CertificateNotTrusted, RelayWithoutTLS, NotARelay: no connection to the relay.
        ProxyUnreachable, ProxyWantsLogin, ProxyForbids, NotAProxy: no way through the proxy.

    """
    needs_tls = address.tls or (proxy is not None and proxy.tls)
    context = await client_context(ca_file) if needs_tls else None
    if proxy is None:
        return await _in_time(_dial_relay(address, context), timed_out(address))
    stream = await _in_time(_dial_proxy(proxy, context), proxy_timed_out(proxy))
    try:
        early = await _in_time(
            connect_through(stream, proxy, address), proxy_has_not_connected(proxy, address)
        )
        if early:  # a relay waits for the client's first word
            raise no_tls(address, early, None) if address.tls else no_websocket(address, early)
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    if context is None or not address.tls:
        return stream
    tls = _start_tls(stream, context, address.host, partial(no_tls, address))
    return await _in_time(tls, timed_out(address))


async def _in_time(work: Awaitable[T], late: P2PCopyError) -> T:
    """Return what `work` returns; after `limits.CONNECT_TIMEOUT` cancel it and raise `late`."""
    with within(limits.CONNECT_TIMEOUT):
        return await work
    raise late


async def _dial_relay(address: RelayAddress, context: ssl.SSLContext | None) -> TCPStream | TLSStream:
    try:
        plain = await _open_tcp(address.host, address.port)
    except OSError as error:
        raise not_connected(address, error) from None
    if context is None or not address.tls:
        return plain
    return await _start_tls(plain, context, address.host, partial(no_tls, address))


async def _dial_proxy(proxy: ProxyAddress, context: ssl.SSLContext | None) -> TCPStream | TLSStream:
    try:
        plain = await _open_tcp(proxy.host, proxy.port)
    except OSError as error:
        raise proxy_not_connected(proxy, error) from None
    if context is None or not proxy.tls:
        return plain
    return await _start_tls(plain, context, proxy.host, partial(proxy_without_tls, proxy))


async def _open_tcp(host: str, port: int) -> TCPStream:
    """Open TCP to the address of a host that answers first.

    Raises:
        OSError: none does. It is a TimeoutError if there is no answer within `limits.DIAL_TIMEOUT`.

    """
    with within(limits.DIAL_TIMEOUT):
        stream = TCPStream(await trio.open_tcp_stream(host, port))
        stream.tune()
        return stream
    raise TimeoutError


async def _start_tls(
    transport: TCPStream | TLSStream,
    context: ssl.SSLContext,
    host: str,
    failed: Callable[[bytes, BaseException | None], P2PCopyError],
) -> TLSStream:
    """Start TLS with this host. If that fails, close `transport`, and raise what `failed` returns.

    `failed` is called with the first byte that came back, if one did, and OpenSSL's error.
    """
    try:
        stream = TLSStream(transport, context, server_hostname=host)
        try:
            await stream.handshake()
        except trio.BrokenResourceError as error:
            raise failed(stream.first, error.__cause__) from None
        return stream
    except BaseException:
        await trio.aclose_forcefully(transport)
        raise


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
