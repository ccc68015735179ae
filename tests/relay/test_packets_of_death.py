"""Attacks that end or cripple the library's own server must cost ours one connection.

After every attack an unrelated pair, which was there before, still talks; a new pair is served; and nothing
of the attack is left.
"""

from __future__ import annotations

import itertools
import ssl
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import trio
from wsproto.events import CloseConnection

from p2p_copy.protocol import limits
from p2p_copy.protocol.rendezvous import Role, room_path
from tests.relay.clients import Relay, exchange, hello, relay_running, reset, room
from tests.support.other_protocols import HTTP_2, RDP, SSH, TLS_HELLO
from tests.support.processes import QUICK
from tests.support.websocket import BINARY, CLOSE, PING, UPGRADE, RawClient, frame

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

BUDGET = 1.5
"""Seconds from accept to hello, where these have to end: too few for a proper client on a busy machine."""

MAX = 100_000
"""Bytes of its longest message."""

PATH = room_path(room("attacked"))


@asynccontextmanager
async def surviving(budget: float = QUICK, **settings: Any) -> AsyncIterator[Relay]:
    """Yield a relay to be attacked, and hold it to its promise afterwards. Attackers have this `budget` of time."""
    with trio.fail_after(2 * QUICK):
        async with (
            relay_running(accept_budget=QUICK, max_message=MAX, **settings) as relay,
            relay.pair("unrelated") as (sender, receiver),
        ):
            before = trio.lowlevel.current_statistics().tasks_living
            relay.server.change(replace(relay.server.config, accept_budget=budget))
            yield relay
            relay.server.change(replace(relay.server.config, accept_budget=QUICK))
            await exchange(sender, receiver)
            await relay.works("new")
            while trio.lowlevel.current_statistics().tasks_living > before:  # noqa: ASYNC110 - there is no event
                await trio.sleep(0.01)


async def until_closed(stream: trio.abc.Stream) -> bytes:
    """Return all that comes before the end, be it proper or not."""
    heard = b""
    with suppress(trio.BrokenResourceError):
        while data := await stream.receive_some(10_000):
            heard += data
    return heard


async def say(stream: trio.abc.Stream, data: bytes) -> None:
    """Send; the relay may have closed already."""
    with suppress(trio.BrokenResourceError):
        await stream.send_all(data)


@asynccontextmanager
async def half_a_pair(relay: Relay) -> AsyncIterator[RawClient]:
    """Yield a client that is paired with a proper one, and so may send long messages."""
    async with relay.raw(PATH) as client:
        await client.send(hello(Role.SENDER))
        await client.message()
        async with relay.waiting(Role.RECEIVER, "attacked"):
            await client.message()
            yield client


# The rows of what is known to kill a stock server


async def test_a_ping_while_the_relay_says_goodbye() -> None:
    async with surviving(BUDGET) as relay, relay.raw(PATH) as client:
        await client.send("no hello")
        while not isinstance(await client.next(), CloseConnection):
            pass
        await say(client.stream, frame(PING, b"x") * 3)
        await until_closed(client.stream)


@pytest.mark.parametrize(
    "tail", [frame(PING, b"x"), frame(BINARY, bytes(MAX + 1)), frame(CLOSE, b"\x03\xe8")]
)
async def test_a_message_that_is_too_long_and_more_in_one_go(tail: bytes) -> None:
    async with surviving() as relay:
        async with half_a_pair(relay) as client:
            await say(client.stream, frame(BINARY, bytes(MAX + 1)) + tail)
            assert await client.ending() == 1009
        async with relay.raw(PATH) as client:
            await say(client.stream, frame(BINARY, bytes(limits.MAX_HELLO + 1)) + tail)
            await until_closed(client.stream)


async def test_garbage_and_a_reset_before_the_upgrade() -> None:
    async with surviving() as relay:
        for data in (b"GARBAGE\r\n\r\n", UPGRADE[:40], UPGRADE, b""):
            stream = await relay.tcp()
            await say(stream, data)
            reset(stream)


async def test_a_reset_after_the_upgrade_and_after_hello() -> None:
    async with surviving() as relay:
        for text in ("", hello(Role.SENDER)):
            stream = await relay.tcp()
            client = RawClient(stream)
            await client.upgrade(PATH)
            if text:
                await client.send(text)
                await client.message()
            reset(stream)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"Host: x", b"Host: \xff"),
        (b"Connection: Upgrade", b"Connection: \xe9, Upgrade"),
        (b"Host: x", b"Host: x\r\nSec-WebSocket-Protocol: \xff"),
        (b"Host: x", b"Host: x\r\nSec-WebSocket-Extensions: \xff"),
        (b"Host: x", b"Host: x\r\nX-Any: \xff"),
    ],
)
async def test_headers_that_are_not_ascii(old: bytes, new: bytes) -> None:
    async with surviving() as relay, await relay.tcp() as stream:
        await say(stream, UPGRADE.replace(old, new))
        assert (await until_closed(stream)).startswith(b"HTTP/1.1 400 ")


async def test_a_host_that_is_no_name_at_all() -> None:
    async with surviving() as relay, await relay.tcp() as stream:
        await say(stream, UPGRADE.replace(b"Host: x", b"Host: xn--0"))
        answer = await stream.receive_some(1000)
        assert answer.startswith(b"HTTP/1.1 101 "), "what we do not use cannot hurt"


@pytest.mark.parametrize(
    "data",
    [
        (TLS_HELLO + b"garbage") * 20,
        b"\x16",
        b"\x80\x2e\x01\x00\x02",
        b"GET / HTTP/1.1\r\n",
    ],
)
@pytest.mark.parametrize("end", ["reset", "close", "wait"])
async def test_tls_that_never_begins(data: bytes, end: str, tls_settings: dict[str, Any]) -> None:
    async with surviving(BUDGET, **tls_settings) as relay:
        stream = await relay.tcp()
        await say(stream, data)
        if end == "reset":
            reset(stream)
        else:
            if end == "close":
                await stream.send_eof()
            await until_closed(stream)
            await stream.aclose()


@asynccontextmanager
async def over_tls(relay: Relay) -> AsyncIterator[tuple[trio.SocketStream, trio.abc.Stream]]:
    """Yield a connection with TLS on it, and what is below."""
    async with await relay.tcp() as below:
        context = ssl.create_default_context(cafile=relay.ca_file)
        stream = trio.SSLStream(below, context, server_hostname="127.0.0.1", https_compatible=True)
        await stream.do_handshake()
        yield below, stream


async def test_garbage_and_a_reset_inside_tls(tls_settings: dict[str, Any]) -> None:
    async with surviving(**tls_settings) as relay:
        for data in (b"GARBAGE\r\n\r\n", UPGRADE[:40], UPGRADE):
            async with over_tls(relay) as (below, stream):
                await stream.send_all(data)
                reset(below)


async def test_tls_that_is_fine_and_then_garbage(tls_settings: dict[str, Any]) -> None:
    async with surviving(**tls_settings) as relay, over_tls(relay) as (below, stream):
        await stream.send_all(UPGRADE)
        assert await stream.receive_some(1000)
        await below.send_all(b"\x17\x03\x03\x00\x10" + bytes(16))
        await until_closed(below)


@pytest.mark.parametrize("piece", [b"", b"x"])
async def test_a_message_in_endless_pieces(piece: bytes) -> None:
    async with surviving() as relay, half_a_pair(relay) as client:
        await say(client.stream, frame(BINARY, piece, final=False) + frame(0, piece, final=False) * 10_000)
        assert await client.ending() in (1002, 1008, 1009)


async def test_a_flood_of_pings_whose_answers_are_not_read() -> None:
    async with surviving() as relay, relay.raw(PATH) as client:
        await client.send(hello(Role.SENDER))
        with trio.move_on_after(0.3):
            while True:
                await client.raw(frame(PING, bytes(125)) * 1000)


# Slow clients, and connections that are no clients


@pytest.mark.parametrize("secure", [False, True])
async def test_silence_ends_with_the_budget(secure: bool, tls_settings: dict[str, Any]) -> None:
    async with surviving(BUDGET, **tls_settings if secure else {}) as relay, await relay.tcp() as stream:
        assert await until_closed(stream) == b""


async def test_a_request_that_comes_drop_by_drop_ends_with_the_budget() -> None:
    async with surviving(BUDGET) as relay, await relay.tcp() as stream:
        with pytest.raises(trio.BrokenResourceError):
            await trickle(stream)


async def trickle(stream: trio.abc.Stream) -> None:
    """Send a head that has no end, drop by drop, until the connection ends; `surviving` has less patience."""
    for number in itertools.count():
        await stream.send_all(UPGRADE[:-2][number : number + 1] or b"x")
        await trio.sleep(0.02)


async def test_no_hello_ends_with_the_budget() -> None:
    async with surviving(BUDGET) as relay, await relay.tcp() as stream:
        await stream.send_all(UPGRADE.replace(b"GET / ", f"GET {PATH} ".encode()))
        assert (await until_closed(stream)).startswith(b"HTTP/1.1 101 ")


@pytest.mark.parametrize(
    ("request_head", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"426"),
        (b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n", b"426"),
        (b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello", b"426"),
        (b"GET /.env HTTP/1.0\r\n\r\n", b"426"),
        (HTTP_2, b"426"),
        (b"CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n", b"426"),
        (SSH + b"\r\n", b"400"),
        (RDP, b"400"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 100 + b"\r\n", b"431"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 40_000 + b"\r\n\r\n", b"431"),
        (UPGRADE.replace(b"GET / ", b"GET /index.html "), b"404"),
        (UPGRADE.replace(b"13", b"8"), b"426"),
    ],
)
@pytest.mark.parametrize("secure", [False, True])
async def test_plain_http_gets_a_short_answer(
    request_head: bytes, status: bytes, secure: bool, tls_settings: dict[str, Any]
) -> None:
    async with surviving(**tls_settings if secure else {}) as relay, await relay.tcp() as stream:
        await say(stream, request_head)
        answer = await stream.receive_some(10_000)
        assert answer.startswith(b"HTTP/1.1 " + (b"400" if secure else status))
        assert not secure or b"speaks TLS" in answer
        assert len(answer) < 1000
