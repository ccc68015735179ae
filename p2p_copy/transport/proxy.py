"""The way to a relay through a proxy: from a stream to the proxy to a stream to the relay.

HTTP proxies are asked with CONNECT (RFC 9110 section 9.3.6), and get a login as `Basic` (RFC 7617). SOCKS proxies speak
version 5 (RFC 1928), with a user and a password if they want them (RFC 1929); the relay's name is resolved there. What
comes afterwards is the relay's.

A proxy is trusted with nothing but the login in its address. Its answers are bounded, and no text of it is shown.
"""

from __future__ import annotations

import base64
import ipaddress
from typing import TYPE_CHECKING, Final

import h11
import trio

from p2p_copy.errors import NotAProxy, ProxyForbids, ProxyUnreachable, ProxyWantsLogin, RelayUnreachable
from p2p_copy.transport import limits
from p2p_copy.transport.timeouts import within
from p2p_copy.version import PROGRAM

if TYPE_CHECKING:
    from p2p_copy.errors import P2PCopyError
    from p2p_copy.transport.address import RelayAddress
    from p2p_copy.transport.proxy_address import ProxyAddress
    from p2p_copy.transport.tcp import GatheringStream

_READ: Final = 4096

_VERSION: Final = 5
_NO_LOGIN, _LOGIN, _NO_WAY = 0, 2, 0xFF
"""Methods of a login (RFC 1928 section 3)."""

_CONNECT: Final = 1
_IPV4, _NAME, _IPV6 = 1, 3, 4
"""Types of an address (RFC 1928 section 5)."""

_DONE, _FAILED, _NOT_ALLOWED, _NO_SUCH_COMMAND, _NO_SUCH_ADDRESS = 0, 1, 2, 7, 8
_CAUSES: Final = {
    _FAILED: "it does not say why",
    3: "the network there is unreachable",
    4: "the relay's name or machine cannot be found",
    5: "the connection was refused",
    6: "it took too many hops",
}
"""Answers to a request (RFC 1928 section 6)."""


async def connect_through(stream: GatheringStream, proxy: ProxyAddress, address: RelayAddress) -> bytes:
    """Ask the proxy at the other end of `stream` for a connection to the relay. The deadline is the caller's.

    Return what the relay has said already, which a relay does not do before it is asked.

    Raises:
        ProxyUnreachable: the proxy closed the connection without an answer.
        ProxyWantsLogin, ProxyForbids, NotAProxy: there is no way through it.
        RelayUnreachable: the proxy has no connection to the relay.

    """
    try:
        if proxy.scheme == "socks5":
            await _ask_socks(stream, proxy, address)
            return b""
        return await _ask_http(stream, proxy, address)
    except trio.BrokenResourceError:
        raise _no_answer(proxy) from None


# HTTP


async def _ask_http(stream: GatheringStream, proxy: ProxyAddress, address: RelayAddress) -> bytes:
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=limits.PROXY_ANSWER)
    headers = [("Host", address.where), ("User-Agent", PROGRAM)]
    if proxy.user is not None:
        login = base64.b64encode(f"{proxy.user}:{proxy.password}".encode()).decode()
        headers.append(("Proxy-Authorization", f"Basic {login}"))
    request = h11.Request(method="CONNECT", target=address.where, headers=headers)
    await stream.send_all(connection.send(request) + connection.send(h11.EndOfMessage()))
    heard = False
    try:
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                data = await stream.receive_some(_READ)
                if not data and not heard:
                    raise _no_answer(proxy)
                heard = True
                connection.receive_data(bytes(data))
            elif isinstance(event, h11.Response):
                if 200 <= event.status_code < 300:
                    return connection.trailing_data[0]
                raise _refused(proxy, address, event)
    except h11.RemoteProtocolError:
        pass
    raise NotAProxy(
        f"What answers at {proxy} is no HTTP proxy. Check {proxy.source}: host and port, and whether it is "
        "socks5:// or https://."
    )


def _refused(proxy: ProxyAddress, address: RelayAddress, answer: h11.Response) -> P2PCopyError:
    """Return the error for an HTTP proxy's answer that is no success."""
    number = answer.status_code
    status = f"(HTTP status {number})"
    if number in (401, 407):  # tinyproxy says 401
        return _login_wanted(proxy, status, _ways_of_login(answer))
    if number >= 500 and number != 501:  # tinyproxy says 500, squid 503, others 502 or 504
        return RelayUnreachable(
            f"The proxy {proxy} cannot reach {address.where} {status}. Check host and port, and whether the relay runs."
        )
    if number in (403, 429, 451):
        return ProxyForbids(
            f"The proxy {proxy} does not allow connections to {address.where} {status}. Its operator can allow it; "
            "most proxies allow port 443."
        )
    return NotAProxy(
        f"What answers at {proxy} is a web server that does not connect to other hosts {status}. Check {proxy.source}."
    )


def _ways_of_login(answer: h11.Response) -> frozenset[str]:
    """Return the ways of a login that an HTTP proxy offers, in lower case."""
    names = (b"proxy-authenticate", b"www-authenticate")
    values = [value.decode("ascii", "replace") for name, value in answer.headers if name in names]
    return frozenset(words[0].lower() for value in values if (words := value.replace(",", " ").split()))


def _login_wanted(proxy: ProxyAddress, status: str, ways: frozenset[str] = frozenset()) -> ProxyWantsLogin:
    if ways and "basic" not in ways:
        known = [
            name for name in ("Negotiate", "NTLM", "Kerberos", "Digest", "Bearer") if name.lower() in ways
        ]
        return ProxyWantsLogin(
            f"The proxy {proxy} wants a login by {' or '.join(known) or 'a way of its own'} {status}, and "
            "p2p-copy knows only a user with a password (Basic). A small proxy on this machine that knows it, such as "
            "px or cntlm, can be named in its place."
        )
    if proxy.user is None:
        return ProxyWantsLogin(
            f"The proxy {proxy} wants a user and a password {status}. Give them in its address, best in the "
            "environment: HTTPS_PROXY=http://user:password@host:port"
        )
    return ProxyWantsLogin(
        f"The proxy {proxy} refuses the user or the password in {proxy.source} {status}. A special "
        "character in them must be written as %XX: @ as %40, for example."
    )


# SOCKS 5


async def _ask_socks(stream: GatheringStream, proxy: ProxyAddress, address: RelayAddress) -> None:
    methods = bytes((_NO_LOGIN,) if proxy.user is None else (_NO_LOGIN, _LOGIN))
    with within(limits.DIAL_TIMEOUT) as deadline:
        await stream.send_all(bytes((_VERSION, len(methods))) + methods)
        version, method = await _exactly(stream, 2, proxy)
    if deadline.is_over:  # an HTTP proxy waits for the end of what it takes for a line
        raise ProxyUnreachable(
            f"The proxy {proxy} accepts connections, but does not answer as SOCKS 5. Check {proxy.source}: host and "
            "port, and whether it is http:// or https://."
        )
    if version != _VERSION or method not in (*methods, _NO_WAY):
        raise _no_socks(proxy)
    if method == _NO_WAY:
        raise _login_wanted(proxy, "(SOCKS)")
    if method == _LOGIN:
        user, password = (proxy.user or "").encode(), proxy.password.encode()
        await stream.send_all(bytes((1, len(user))) + user + bytes((len(password),)) + password)
        if (await _exactly(stream, 2, proxy))[1] != _DONE:
            raise _login_wanted(proxy, "(SOCKS)")
    place = _place(address.host) + address.port.to_bytes(2, "big")
    await stream.send_all(bytes((_VERSION, _CONNECT, 0)) + place)
    version, answer, _, kind = await _exactly(stream, 4, proxy)
    if version != _VERSION:
        raise _no_socks(proxy)
    if answer != _DONE:  # some proxies send nothing more then
        raise _socks_refused(proxy, address, answer)
    sizes = {_IPV4: 4, _IPV6: 16}
    if kind == _NAME:
        size = (await _exactly(stream, 1, proxy))[0]
    elif kind in sizes:
        size = sizes[kind]
    else:
        raise _no_socks(proxy)
    await _exactly(stream, size + 2, proxy)  # where the proxy connects from, which it need not say


def _place(host: str) -> bytes:
    """Return a host as SOCKS 5 writes it."""
    try:
        number = ipaddress.ip_address(host)
    except ValueError:
        return bytes((_NAME, len(host))) + host.encode()
    return bytes((_IPV4 if number.version == 4 else _IPV6,)) + number.packed


async def _exactly(stream: GatheringStream, size: int, proxy: ProxyAddress) -> bytes:
    """Receive `size` bytes, and leave what comes behind them."""
    received = b""
    while len(received) < size:
        data = await stream.receive_some(size - len(received))
        if not data:
            raise _no_answer(proxy)
        received += data
    return received


def _socks_refused(proxy: ProxyAddress, address: RelayAddress, answer: int) -> P2PCopyError:
    if cause := _CAUSES.get(answer):
        return RelayUnreachable(
            f"The proxy {proxy} cannot reach {address.where}: {cause}. Check host and port, and whether the relay "
            "runs."
        )
    if answer == _NOT_ALLOWED:
        return ProxyForbids(
            f"The proxy {proxy} does not allow connections to {address.where}. Its operator can allow it."
        )
    if answer in (_NO_SUCH_COMMAND, _NO_SUCH_ADDRESS):
        return ProxyForbids(
            f"The proxy {proxy} cannot connect to hosts such as {address.where}. Another proxy is needed."
        )
    return _no_socks(proxy)


def _no_socks(proxy: ProxyAddress) -> NotAProxy:
    return NotAProxy(
        f"What answers at {proxy} is no SOCKS 5 proxy. Check {proxy.source}: host and port, and whether it is "
        "http:// or https://."
    )


# Both


def _no_answer(proxy: ProxyAddress) -> ProxyUnreachable:
    return ProxyUnreachable(
        f"The proxy {proxy} closed the connection without an answer. It may be too busy, or is a proxy of another "
        f"kind. Check {proxy.source}."
    )
