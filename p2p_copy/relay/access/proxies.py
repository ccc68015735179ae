"""Reads a client's address from what a proxy says, if the operator trusts that proxy.

There are two ways: the PROXY protocol, version 1 (a line, as nginx sends it) or 2 (binary), before everything else on
the connection, and `X-Forwarded-For` in the request. Both are believed only from those proxies, and from unix sockets,
which only the operator can open to other programs. From any other client a PROXY header is neither TLS nor HTTP and
ends the connection, and `X-Forwarded-For` is ignored. A proxy that tells no address is served all the same.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from typing import TYPE_CHECKING, Final

from p2p_copy.errors import UsageError
from p2p_copy.relay import limits

if TYPE_CHECKING:
    from collections.abc import Iterable

    from p2p_copy.transport.tcp import TCPStream

_SIGNATURE: Final = b"\r\n\r\n\x00\r\nQUIT\n"
"""PROXY protocol, section 2.2. Neither TLS nor a request begins like this."""

_WORD: Final = b"PROXY "
_LINE: Final = re.compile(
    r"PROXY (?:UNKNOWN(?: [^\r\n]*)?|TCP[46] (?P<client>[0-9a-fA-F:.]+)(?: [^ \r\n]+){3})\r\n", re.ASCII
)
"""PROXY protocol, section 2.1. No request that a relay answers begins like this."""

_IPV6: Final = r"[0-9a-fA-F:.]+(?:%[\w.~-]+)?"
_HOP: Final = re.compile(
    rf"\[(?P<ipv6>{_IPV6})\](?::[0-9]+)?|(?P<ipv4>[0-9.]+)(?::[0-9]+)?|(?P<bare>{_IPV6})", re.ASCII
)
"""One value of `X-Forwarded-For`."""

_FIXED: Final = len(_SIGNATURE) + 4
_LOCAL, _PROXY = 0x20, 0x21
_ADDRESS_BYTES: Final = {0x1: (4, 12), 0x2: (16, 36)}
"""By address family: bytes of one address, and of both with their ports."""


class ProxyHeaderBroken(Exception):
    """A trusted proxy sent something that begins like a PROXY header and is none."""


class Trust:
    """The proxies that are believed."""

    def __init__(self, networks: Iterable[str]) -> None:
        """Trust these networks, in CIDR form or single addresses.

        Raises:
            UsageError: one of them is no network.

        """
        self._networks = []
        for network in networks:
            try:
                self._networks.append(ipaddress.ip_network(network))
            except ValueError:
                raise UsageError(
                    f"{network!r} is no network of proxies. It looks like 192.0.2.7, 10.0.0.0/8 or 2001:db8::/32."
                ) from None

    def includes(self, address: str | None) -> bool:
        """Tell whether a proxy with this address is believed. None is the other end of a unix socket."""
        if address is None:
            return True
        ip = _parse(address)
        return ip is not None and any(ip in network for network in self._networks)

    def client(self, forwarded: Iterable[str]) -> str | None:
        """Return the client's address from the values of `X-Forwarded-For` that a trusted proxy passed on.

        Each proxy appends the address that called it. So the last address that is no trusted proxy is the client's;
        the client may have made up those before it. None if there is none.
        """
        client = None
        for hop in reversed([hop for value in forwarded for hop in value.split(",")]):
            ip = _parse(_without_port(hop.strip()))
            if ip is None:
                return client
            client = str(ip)
            if not self.includes(client):
                return client
        return client


def _parse(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return None
    return (ip.ipv4_mapped or ip) if isinstance(ip, ipaddress.IPv6Address) else ip


def _without_port(hop: str) -> str:
    """Return the address of `ADDRESS`, `IPV4:PORT` or `[IPV6]:PORT`; an empty text for anything else."""
    parts = _HOP.fullmatch(hop)
    return (parts["ipv6"] or parts["ipv4"] or parts["bare"]) if parts else ""


def peer_address(stream: TCPStream) -> str | None:
    """Return the address at the other end; None for a unix socket.

    Raises:
        OSError: it has left already.

    """
    if stream.socket.family not in (socket.AF_INET, socket.AF_INET6):
        return None
    return str(stream.socket.getpeername()[0])


async def read_proxy_header(stream: TCPStream) -> str | None:
    """Read a PROXY header from the stream, if there is one; return the client's address, if it tells one.

    Nothing behind the header is read. The deadline is the caller's.

    Raises:
        ProxyHeaderBroken: what began like a header is none.

    """
    begin = await stream.peek(len(_WORD))
    if begin.startswith(_SIGNATURE[:1]):
        return await _read_binary(stream)
    if begin and _WORD.startswith(begin):
        return await _read_line(stream)
    return None


async def _read_line(stream: TCPStream) -> str | None:
    """Read a header of version 1: `PROXY TCP4 CLIENT PROXY PORT PORT`."""
    line = b""
    while not line.endswith(b"\n"):
        seen = await stream.peek(limits.MAX_PROXY_LINE - len(line))
        line += await _exactly(stream, seen.find(b"\n") + 1 or len(seen))
        if not seen or len(line) == limits.MAX_PROXY_LINE:
            break
    told = _LINE.fullmatch(line.decode("ascii", "replace"))
    if told is None:
        raise ProxyHeaderBroken
    if told["client"] is None:
        return None
    client = _parse(told["client"])
    if client is None:
        raise ProxyHeaderBroken
    return str(client)


async def _read_binary(stream: TCPStream) -> str | None:
    """Read a header of version 2."""
    fixed = await _exactly(stream, _FIXED)
    command, family = fixed[12], fixed[13] >> 4
    length = int.from_bytes(fixed[14:16], "big")
    if (
        not fixed.startswith(_SIGNATURE)
        or command not in (_LOCAL, _PROXY)
        or length > limits.MAX_PROXY_HEADER
    ):
        raise ProxyHeaderBroken
    rest = await _exactly(stream, length)
    if command == _LOCAL or family not in _ADDRESS_BYTES:
        return None  # a health check of the proxy itself, or an address that is no IP address
    size, both = _ADDRESS_BYTES[family]
    if length < both:
        raise ProxyHeaderBroken
    return str(ipaddress.ip_address(rest[:size]))


async def _exactly(stream: TCPStream, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = await stream.receive_some(count - len(data))
        if not more:
            raise ProxyHeaderBroken
        data += more
    return data
