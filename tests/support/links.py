"""Links for tests, with the other end in the test's hands."""

from __future__ import annotations

import struct
import sys
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import trio
from trio.testing import memory_stream_pair, wait_all_tasks_blocked

from p2p_copy.protocol import limits as protocol_limits
from p2p_copy.transport import dial
from p2p_copy.transport.address import RelayAddress
from p2p_copy.transport.endpoints import accept
from p2p_copy.transport.link import Link
from p2p_copy.transport.tcp import TCPStream
from tests.support.websocket import RawClient

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

MAX = 1000
"""Bytes of the longest message in these tests."""


connect = partial(dial.connect, max_message=protocol_limits.MAX_RECORD)
"""Connect as clients do."""


async def tcp_pair() -> tuple[TCPStream, TCPStream]:
    """Return both ends of a TCP connection over loopback."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        ours = await trio.open_tcp_stream("127.0.0.1", listener.socket.getsockname()[1])
        return TCPStream(ours), TCPStream(await listener.accept())


async def taken(stream: TCPStream) -> None:
    """Wait until tasks of this process, at the other end, have taken what was sent, as far as they want it.

    `wait_all_tasks_blocked` alone knows nothing of bytes that are under way in a busy kernel.
    """
    if sys.platform == "linux":
        import fcntl
        import termios

        while any(fcntl.ioctl(stream.socket.fileno(), termios.TIOCOUTQ, bytes(struct.calcsize("i")))):  # noqa: ASYNC110
            await trio.sleep(0.001)  # the other kernel end has not acknowledged all of it
    await wait_all_tasks_blocked(0.01)


@asynccontextmanager
async def accepted(*, max_message: int = MAX, **options: Any) -> AsyncIterator[tuple[Link, RawClient]]:
    """Yield a link and the client at its other end, over memory streams; cut it at the end."""
    ours, theirs = memory_stream_pair()
    client = RawClient(theirs)
    open_at_client = trio.Event()

    async def upgrade() -> None:
        await client.upgrade()
        open_at_client.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(upgrade)
        async with accept(ours, max_message=max_message, **options) as (_, link):
            await open_at_client.wait()
            yield link, client
            link.abort()


@asynccontextmanager
async def serving(handler: Callable[[TCPStream], Awaitable[None]]) -> AsyncIterator[RelayAddress]:
    """Run a server of the test's own at a loopback port."""

    async def handle(plain: trio.SocketStream) -> None:
        stream = TCPStream(plain)
        try:
            await handler(stream)
        finally:
            await trio.aclose_forcefully(stream)

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, handle, 0, host="127.0.0.1"))
        yield RelayAddress(False, "127.0.0.1", listeners[0].socket.getsockname()[1])
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def linked(max_message: int = MAX) -> AsyncIterator[tuple[Link, Link]]:
    """Yield both ends of a link over a loopback socket: the client's and the server's."""
    send, receive = trio.open_memory_channel[Link](0)
    done = trio.Event()

    async def handle(stream: TCPStream) -> None:
        async with accept(stream, max_message=max_message) as (_, link):
            await send.send(link)
            await done.wait()

    async with serving(handle) as address, connect(address, "/") as link:
        yield link, await receive.receive()
        done.set()
