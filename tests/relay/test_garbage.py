"""A connection leaves nothing that only a full garbage collection could free.

With thousands of clients a full collection stops a relay for as long as half a second. It may be rare only if
nothing waits for it, and exceptions that hold their own frames are such things.
"""

from __future__ import annotations

import gc
import socket
import struct
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from p2p_copy.protocol.rendezvous import Paired, Refused, Role, Welcome, room_path
from p2p_copy.transport.link import LinkBroken
from tests.relay.clients import LocalRelay, Relay, answer, hello, relay_running, room
from tests.support.websocket import BINARY, UPGRADE, frame

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


async def complete(relay: Relay) -> None:
    await relay.works("a")


async def lost(relay: Relay) -> None:
    async with relay.pair("b") as (sender, receiver):
        sender.abort()
        with pytest.raises(LinkBroken):
            await receiver.receive()


async def left(relay: Relay) -> None:
    async with relay.waiting(Role.SENDER, "c"):
        pass


async def refused(relay: Relay) -> None:
    async with relay.waiting(Role.SENDER, "d"), relay.client(room_path(room("d"))) as link:
        await link.send(hello(Role.SENDER))
        assert isinstance(await answer(link), Welcome)
        assert isinstance(await answer(link), Refused)
        link.abort()


async def reconnected(relay: Relay) -> None:
    """A client reconnects while it waits, and again while it is paired."""
    async with (
        relay.waiting(Role.SENDER, "e", "a" * 32) as first,
        relay.waiting(Role.SENDER, "e", "a" * 32),
        relay.waiting(Role.RECEIVER, "e") as survivor,
        relay.waiting(Role.SENDER, "e", "a" * 32),
    ):
        assert await answer(survivor) == Paired()
        for link in (first, survivor):
            with pytest.raises(LinkBroken):
                await link.receive()


async def nonsense(relay: Relay) -> None:
    for data in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01 nonsense", UPGRADE + frame(BINARY, b"x"), b""):
        async with await relay.tcp() as stream:
            if data:
                await stream.send_all(data)
            await stream.send_eof()
            while await stream.receive_some():
                pass


async def reset(relay: Relay) -> None:
    async with await relay.tcp() as stream:
        await stream.send_all(UPGRADE)
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def until_alone(relay: LocalRelay) -> None:
    while relay.server.connections:  # noqa: ASYNC110 - there is no event
        await trio.sleep(0.01)
    await trio.testing.wait_all_tasks_blocked(0.05)  # until their tasks have ended as well


@pytest.mark.skipif(
    sys.version_info[:2] != (3, 11),
    reason="on newer versions of Python the libraries leave cycles of their own",
)
@pytest.mark.parametrize("visit", [complete, lost, left, refused, reconnected, nonsense, reset])
async def test_no_connection_leaves_work_for_the_garbage_collector(
    settings: dict[str, Any], visit: Callable[[Relay], Awaitable[None]]
) -> None:
    async with relay_running(**settings) as relay:
        await visit(relay)  # what is made once and kept is no garbage
        await until_alone(relay)
        gc.collect()
        gc.disable()
        gc.set_debug(gc.DEBUG_SAVEALL)
        try:
            for _ in range(3):
                await visit(relay)
            await until_alone(relay)
            gc.collect()
            found = Counter(type(one).__qualname__ for one in gc.garbage)
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
            gc.enable()
        assert not found
