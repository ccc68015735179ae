"""Connects a client to its relay: TCP, perhaps through a proxy, TLS, and a WebSocket.

connect -> dial -> TCP, directly or to a proxy (TLS to it, CONNECT or SOCKS 5) -> TLS to the relay -> its certificate
"""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import trio

from p2p_copy.errors import CertificateNotTrusted, P2PCopyError
from p2p_copy.transport import limits
from p2p_copy.transport.certificate import issuer_of, pin_of
from p2p_copy.transport.codec import Codec
from p2p_copy.transport.diagnosis import (
    no_tls,
    no_websocket,
    not_connected,
    other_key,
    proxy_has_not_connected,
    proxy_not_connected,
    proxy_silent_to_tls,
    proxy_timed_out,
    proxy_without_tls,
    timed_out,
    unknown_issuer,
)
from p2p_copy.transport.endpoints import running
from p2p_copy.transport.link import Link, LinkBroken
from p2p_copy.transport.link_io import LinkStream
from p2p_copy.transport.proxy import connect_through
from p2p_copy.transport.tcp import TCPStream
from p2p_copy.transport.timeouts import within
from p2p_copy.transport.tls import TLSStream
from p2p_copy.transport.trust import HTTP, client_context, has_unknown_issuer, unchecked_context

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
    from typing import TypeAlias

    from p2p_copy.transport.address import RelayAddress
    from p2p_copy.transport.proxy_address import ProxyAddress

    Passed = Callable[["Stage", TCPStream | TLSStream], None]
    """Is called when a stage is complete, with the connection as it is then."""

    Contexts: TypeAlias = Callable[[str | None, Sequence[str]], Awaitable[ssl.SSLContext]]

T = TypeVar("T")


class Stage(Enum):
    """What a connection has behind it before there is a WebSocket."""

    TUNNEL = "tunnel"
    """The proxy has connected to the relay."""
    TLS = "tls"
    """TLS with the relay, whose certificate is trusted."""


@asynccontextmanager
async def connect(
    address: RelayAddress,
    path: str,
    *,
    max_message: int,
    proxy: ProxyAddress | None = None,
    ca_file: str | None = None,
    pin: bytes | None = None,
    hint: str | None = None,
    passed: Passed | None = None,
    contexts: Contexts = client_context,
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
        pin: SHA-256 of the relay's public key. Then that key counts, and nothing else of the relay's certificate.
        hint: a name to offer to the relay behind `http/1.1` (ALPN). It is not encrypted, so that whatever passes TLS
            on to several processes can choose one by it. Proxies are not offered it.
        passed: is called when a stage is complete; a program that connects need not know.
        contexts: returns the TLS context for `ca_file` and the names to offer, for a program that makes many
            connections and wants to keep contexts.

    Raises:
        UsageError: `ca_file` cannot be used.
        RelayUnreachable, CertificateNotTrusted, RelayExpectsTLS, RelayWithoutTLS, NotARelay, RelayRefused: no link.
        ProxyUnreachable, ProxyWantsLogin, ProxyForbids, NotAProxy: no way through the proxy.

    """
    stream = LinkStream(
        await _dial(address, proxy, ca_file, pin, hint, passed or _ignore, contexts),
        remember=limits.HTTP_PEEK,
    )
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

    async with running(link, opened):
        yield link


async def _dial(
    address: RelayAddress,
    proxy: ProxyAddress | None,
    ca_file: str | None,
    pin: bytes | None,
    hint: str | None,
    passed: Passed,
    contexts: Contexts,
) -> TCPStream | TLSStream:
    """Open a connection to the relay, and check its key if there is a pin; for what is raised see `_open`."""
    try:
        stream = await _open(address, proxy, ca_file, hint, passed, contexts if pin is None else None)
    except CertificateNotTrusted as error:
        if not has_unknown_issuer(error.__cause__):
            raise
        # OpenSSL does not hand over a certificate that it refuses, so look at it in a connection of its own.
        seen = await _certificate(address, proxy, ca_file)
        issuer = await trio.to_thread.run_sync(issuer_of, seen)
        raise (unknown_issuer(address, issuer) if issuer else error) from None
    if pin is not None and isinstance(stream, TLSStream) and address.tls:
        try:
            found = await trio.to_thread.run_sync(
                pin_of, stream.certificate
            )  # a thread, since its imports are slow
            if found != pin:
                raise other_key(address, found)
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
    if isinstance(stream, TLSStream) and address.tls:
        passed(Stage.TLS, stream)
    return stream


async def open_unchecked(
    address: RelayAddress, proxy: ProxyAddress | None, ca_file: str | None
) -> TCPStream | TLSStream:
    """Open a connection to whatever answers in the relay's place, to look at it; its certificate is not checked.

    What comes over it is not to be believed, and no secret may be sent there. For what is raised see `connect`.
    """
    return await _open(address, proxy, ca_file, None, _ignore, None)


def _ignore(_stage: Stage, _stream: TCPStream | TLSStream) -> None:
    """Do nothing."""


async def _certificate(address: RelayAddress, proxy: ProxyAddress | None, ca_file: str | None) -> bytes:
    """Return the certificate that a server shows; empty if it shows none now."""
    with suppress(P2PCopyError):
        stream = await open_unchecked(address, proxy, ca_file)
        await trio.aclose_forcefully(stream)
        return stream.certificate if isinstance(stream, TLSStream) else b""
    return b""


async def _open(
    address: RelayAddress,
    proxy: ProxyAddress | None,
    ca_file: str | None,
    hint: str | None,
    passed: Passed,
    contexts: Contexts | None,
) -> TCPStream | TLSStream:
    """Open TCP, directly or through a proxy, and TLS if the address says so.

    The relay's certificate is checked with one of `contexts`, if there are any; that of a proxy always is.

    Raises:
        UsageError: `ca_file`, or the file in SSLKEYLOGFILE, cannot be used.
        SystemFailed: this process can open no more files.
        RelayUnreachable, CertificateNotTrusted, RelayWithoutTLS, NotARelay: no connection to the relay.
        ProxyUnreachable, ProxyWantsLogin, ProxyForbids, NotAProxy: no way through the proxy.

    """
    context = None
    if address.tls:
        offered = HTTP if hint is None else (*HTTP, hint)
        context = await contexts(ca_file, offered) if contexts else unchecked_context(offered)
    if proxy is None:
        return await _in_time(_dial_relay(address, context), timed_out(address))
    of_proxy = await client_context(ca_file) if proxy.tls else None
    # TCP has less time, and an error of its own.
    late = proxy_silent_to_tls(proxy) if proxy.tls else proxy_timed_out(proxy)
    stream = await _in_time(_dial_proxy(proxy, of_proxy), late)
    try:
        early = await _in_time(
            connect_through(stream, proxy, address), proxy_has_not_connected(proxy, address)
        )
        if early:  # a relay waits for the client's first word
            raise no_tls(address, early, None) if address.tls else no_websocket(address, early)
        passed(Stage.TUNNEL, stream)
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    if context is None:
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
    if context is None:
        return plain
    return await _start_tls(plain, context, address.host, partial(no_tls, address))


async def _dial_proxy(proxy: ProxyAddress, context: ssl.SSLContext | None) -> TCPStream | TLSStream:
    try:
        plain = await _open_tcp(proxy.host, proxy.port)
    except OSError as error:
        raise proxy_not_connected(proxy, error) from None
    if context is None:
        return plain
    return await _start_tls(plain, context, proxy.host, partial(proxy_without_tls, proxy))


async def _open_tcp(host: str, port: int) -> TCPStream:
    """Open TCP to the address of a host that answers first.

    Raises:
        OSError: none does. It is a TimeoutError if there is no answer within `limits.DIAL_TIMEOUT`.

    """
    with within(limits.DIAL_TIMEOUT):
        # Of a text Python would make IDNA first, and load all of that.
        name = host.encode() if host.isascii() else host
        stream = TCPStream(await trio.open_tcp_stream(name, port))
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
            raise failed(stream.first, error.__cause__) from error.__cause__
        return stream
    except BaseException:
        await trio.aclose_forcefully(transport)
        raise
