"""Which proxies are believed about a client's address, and how it is read."""

from __future__ import annotations

import ipaddress
import socket
import struct
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trio
from hypothesis import given, strategies as st

from p2p_copy.errors import UsageError
from p2p_copy.relay import limits
from p2p_copy.relay.access.proxies import ProxyHeaderBroken, Trust, peer_address, read_proxy_header
from p2p_copy.transport.tcp import TCPStream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"


def proxy_header(client: str, *, command: int = 0x21, family: int = 0, more: bytes = b"") -> bytes:
    """Return a PROXY protocol header, version 2, as a proxy sends it."""
    ip = ipaddress.ip_address(client)
    addresses = ip.packed + bytes(len(ip.packed)) + struct.pack("!HH", 50000, 443) + more
    family = family or (0x11 if ip.version == 4 else 0x21)
    return SIGNATURE + struct.pack("!BBH", command, family, len(addresses)) + addresses


def proxy_line(client: str, family: str = "TCP4") -> bytes:
    """Return a PROXY protocol header, version 1, as nginx sends it."""
    return f"PROXY {family} {client} 192.0.2.99 50000 443\r\n".encode()


@asynccontextmanager
async def streams() -> AsyncIterator[tuple[TCPStream, TCPStream]]:
    """Yield the two ends of a TCP connection: the proxy's and the relay's."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        port = listener.socket.getsockname()[1]
        async with (
            TCPStream(await trio.open_tcp_stream("127.0.0.1", port)) as proxy,
            TCPStream(await listener.accept()) as relay,
        ):
            yield proxy, relay


# The PROXY protocol


@pytest.mark.parametrize("client", ["192.0.2.1", "2001:db8::1"])
@pytest.mark.parametrize("more", [b"", b"\x04\x00\x03abc"])
async def test_a_header_tells_the_client_and_what_follows_is_left(client: str, more: bytes) -> None:
    async with streams() as (proxy, relay):
        await proxy.send_all(proxy_header(client, more=more) + b"\x16hello")
        assert await read_proxy_header(relay) == client
        assert await relay.receive_some() == b"\x16hello"


@pytest.mark.parametrize(("client", "family"), [("192.0.2.1", "TCP4"), ("2001:db8::1", "TCP6")])
async def test_a_line_tells_the_client_and_what_follows_is_left(client: str, family: str) -> None:
    async with streams() as (proxy, relay):
        await proxy.send_all(proxy_line(client, family) + b"\x16hello\n")
        assert await read_proxy_header(relay) == client
        assert await relay.receive_some() == b"\x16hello\n"


@pytest.mark.parametrize("header", [proxy_header("192.0.2.1"), proxy_line("192.0.2.1")])
async def test_a_header_may_come_in_pieces(header: bytes) -> None:
    async with streams() as (proxy, relay), trio.open_nursery() as nursery:

        async def send() -> None:
            for byte in header + b"GET":
                await proxy.send_all(bytes((byte,)))
                await trio.lowlevel.checkpoint()
            await proxy.send_eof()

        nursery.start_soon(send)
        assert await read_proxy_header(relay) == "192.0.2.1"
        assert b"".join([data async for data in relay]) == b"GET"


@pytest.mark.parametrize(
    "first", [b"\x16\x03\x01", b"GET / HTTP/1.1\r\n", b"PROPFIND /", b"PUT / HTTP/1.1\r\n", b""]
)
async def test_a_connection_without_a_header_is_left_as_it_is(first: bytes) -> None:
    async with streams() as (proxy, relay):
        await proxy.send_all(first)
        await proxy.send_eof()
        assert await read_proxy_header(relay) is None
        assert await relay.receive_some() == first


@pytest.mark.parametrize(
    "header",
    [
        proxy_header("192.0.2.1", command=0x20),
        proxy_header("192.0.2.1", family=0x31),
        SIGNATURE + b"\x20\x00\x00\x00",
        SIGNATURE + b"\x21\x00\x00\x00",
        b"PROXY UNKNOWN\r\n",
        b"PROXY UNKNOWN ffff::1 ffff::2 1 65535\r\n",
    ],
)
async def test_a_proxy_that_speaks_for_itself_names_no_client(header: bytes) -> None:
    async with streams() as (proxy, relay):
        await proxy.send_all(header + b"x")
        assert await read_proxy_header(relay) is None
        assert await relay.receive_some() == b"x"


@pytest.mark.parametrize(
    "header",
    [
        b"\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        proxy_header("192.0.2.1", command=0x11),
        proxy_header("192.0.2.1", command=0x22),
        proxy_header("192.0.2.1", more=bytes(limits.MAX_PROXY_HEADER)),
        proxy_header("192.0.2.1")[:-1],
        proxy_header("192.0.2.1")[:5],
        proxy_header("192.0.2.1", family=0x21),
        SIGNATURE + b"\x21\x11\x00\x00",
        proxy_line("192.0.2.1")[:-1],
        proxy_line("192.0.2.1")[:3],
        proxy_line("192.0.2.1").replace(b"\r", b""),
        proxy_line("192.0.2.1", "UDP4"),
        proxy_line("relay.example"),
        proxy_line(""),
        b"PROXY TCP4\r\n",
        b"PROXY \xff\r\n",
        b"PROXY TCP4 " + b"1" * limits.MAX_PROXY_LINE + b"\r\n",
    ],
)
async def test_a_broken_header_ends_the_connection(header: bytes) -> None:
    async with streams() as (proxy, relay):
        await proxy.send_all(header)
        await proxy.send_eof()
        with pytest.raises(ProxyHeaderBroken):
            await read_proxy_header(relay)


async def test_the_other_end_has_an_address_or_is_a_unix_socket() -> None:
    async with streams() as (proxy, relay):
        assert peer_address(proxy) == peer_address(relay) == "127.0.0.1"
    if hasattr(socket, "AF_UNIX"):
        for end in trio.socket.socketpair(socket.AF_UNIX):
            async with TCPStream(trio.SocketStream(end)) as stream:
                assert peer_address(stream) is None


# Trust


def test_named_proxies_and_unix_sockets_are_trusted() -> None:
    trust = Trust(["10.0.0.0/8", "2001:db8::/32", "192.0.2.7"])
    for address in ("10.1.2.3", "::ffff:10.1.2.3", "2001:db8::1%eth0", "192.0.2.7", None):
        assert trust.includes(address)
    for address in ("11.0.0.1", "2001:db9::1", "192.0.2.8", "127.0.0.1", "::1", "", "name"):
        assert not trust.includes(address)
    assert not Trust([]).includes("127.0.0.1")


@pytest.mark.parametrize("network", ["", "proxy.example", "10.0.0.1/8", "10.0.0.0/33", "1.2.3"])
def test_an_invalid_network_is_refused(network: str) -> None:
    with pytest.raises(UsageError, match="no network"):
        Trust([network])


# X-Forwarded-For


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        ([], None),
        (["192.0.2.1"], "192.0.2.1"),
        (["203.0.113.9, 192.0.2.1"], "192.0.2.1"),
        (["192.0.2.1, 10.0.0.1"], "192.0.2.1"),
        (["203.0.113.9", "192.0.2.1, 10.0.0.1", "10.0.0.2"], "192.0.2.1"),
        (["10.0.0.1, 10.0.0.2"], "10.0.0.1"),
        (["192.0.2.1:50000"], "192.0.2.1"),
        (["[2001:db8::1]:50000"], "2001:db8::1"),
        (["2001:db8::1"], "2001:db8::1"),
        (["::ffff:192.0.2.1"], "192.0.2.1"),
        (["203.0.113.9, unknown"], None),
        (["203.0.113.9, unknown, 10.0.0.1"], "10.0.0.1"),
        (["203.0.113.9,"], None),
        ([","], None),
        (["[192.0.2.1, 10.0.0.1"], "10.0.0.1"),
        (["[2001:db8::1]2, 10.0.0.1"], "10.0.0.1"),
        (["[2001:db8::1]:x, 10.0.0.1"], "10.0.0.1"),
        (["192.0.2.1:x, 10.0.0.1"], "10.0.0.1"),
        (["[fe80::1%eth0]:1"], "fe80::1"),
    ],
)
def test_the_client_is_the_rightmost_hop_that_is_no_trusted_proxy(
    forwarded: list[str], client: str | None
) -> None:
    assert Trust(["10.0.0.0/8"]).client(forwarded) == client


@given(st.lists(st.text()))
def test_reading_a_made_up_header_never_fails(forwarded: list[str]) -> None:
    Trust(["10.0.0.0/8"]).client(forwarded)
