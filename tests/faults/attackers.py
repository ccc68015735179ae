"""Those who attack a relay: connections in the test's own hands, with TLS where the relay has it."""

from __future__ import annotations

import ssl
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import pytest
import trio

from p2p_copy.protocol.rendezvous import CloseCode, Role, room_path
from p2p_copy.transport.link import LinkBroken
from tests.faults.arena import CANARY
from tests.faults.server import BUDGET
from tests.relay.clients import Relay, answer, hello, room
from tests.relay.test_packets_of_death import until_closed
from tests.support.websocket import RawClient

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from p2p_copy.transport.link import Link

over_both = pytest.mark.parametrize("arena", ["ws", "wss"], indirect=True, scope="module")
"""For faults without TLS, and with it."""

over_tls = pytest.mark.parametrize("arena", ["wss"], indirect=True, scope="module")
"""For faults of TLS, and for those to which TLS makes no difference."""

over_tcp = pytest.mark.parametrize("arena", ["ws"], indirect=True, scope="module")
"""For faults to which TLS makes no difference."""

LATER = BUDGET + 3.0
"""Seconds after which a connection without a hello is closed, however busy this machine is."""

SLOW = 0.25
"""Seconds that one of a hundred messages of others may take while an attacker floods the relay."""

ATTACKED = room_path(room(f"{CANARY} attacked"))


@asynccontextmanager
async def connected(
    relay: Relay, first: bytes = b""
) -> AsyncIterator[tuple[trio.SocketStream, trio.abc.Stream]]:
    """Yield a TCP connection, and what is above it: TLS where the relay has it. `first` is said before TLS."""
    async with await relay.tcp() as below:
        await below.send_all(first)
        if relay.ca_file is None:
            yield below, below
            return
        context = ssl.create_default_context(cafile=relay.ca_file)
        stream = trio.SSLStream(below, context, server_hostname=relay.address.host, https_compatible=True)
        await stream.do_handshake()
        yield below, stream


@asynccontextmanager
async def upgraded(relay: Relay, path: str = ATTACKED) -> AsyncIterator[RawClient]:
    """Yield a client that has said nothing yet."""
    async with connected(relay) as (_, stream):
        client = RawClient(stream)
        await client.upgrade(path)
        yield client


@asynccontextmanager
async def waiting(
    relay: Relay, name: str = f"{CANARY} attacked", role: Role = Role.SENDER
) -> AsyncIterator[RawClient]:
    """Yield a client that was welcomed to a room."""
    async with upgraded(relay, room_path(room(name))) as client:
        await client.send(hello(role))
        await client.message()
        yield client


@asynccontextmanager
async def half_a_pair(
    relay: Relay, name: str = f"{CANARY} attacked", role: Role = Role.SENDER
) -> AsyncIterator[tuple[RawClient, Link]]:
    """Yield a client that is paired with a proper one, and the proper one."""
    other = Role.RECEIVER if role is Role.SENDER else Role.SENDER
    async with waiting(relay, name, role) as client, relay.waiting(other, name) as link:
        await client.message()
        await answer(link)
        yield client, link


def tcp_below(stream: trio.abc.Stream) -> trio.SocketStream:
    """Return what is below TLS, or the stream itself."""
    below = stream.transport_stream if isinstance(stream, trio.SSLStream) else stream
    assert isinstance(below, trio.SocketStream)
    return below


async def closed_within(stream: trio.abc.Stream, seconds: float, *, not_before: float = 0) -> bytes:
    """Return what comes until the relay closes, which must be in this time."""
    began = trio.current_time()
    with trio.fail_after(seconds):
        heard = await until_closed(stream)
    assert trio.current_time() - began >= not_before, heard
    return heard


async def is_told_of_the_loss(link: Link) -> None:
    """Check that the survivor of a pair hears of it, in two seconds."""
    code = 0
    with trio.fail_after(2):
        while not code:
            try:
                await link.receive()
            except LinkBroken as error:
                code = error.close_code
    assert code == CloseCode.PEER_LOST


async def slowest_of(pair: tuple[Link, Link], seconds: float) -> float:
    """Let a pair exchange messages, and return the time of the slowest of a hundred."""
    one, other = pair
    times, end = [], trio.current_time() + seconds
    while trio.current_time() < end:
        began = trio.current_time()
        await one.send(b"x")
        await other.receive()
        times.append(trio.current_time() - began)
        await trio.sleep(0.01)
    return sorted(times)[len(times) * 99 // 100]


async def crowd(count: int, one: Callable[[int], Awaitable[None]], *, at_once: int = 50) -> None:
    """Call `one` for each number below `count`, up to `at_once` at the same time."""
    numbers = iter(range(count))

    async def some() -> None:
        for number in numbers:
            with suppress(trio.BrokenResourceError, OSError):
                await one(number)

    async with trio.open_nursery() as nursery:
        for _ in range(min(count, at_once)):
            nursery.start_soon(some)
