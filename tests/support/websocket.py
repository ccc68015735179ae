"""A WebSocket client in the test's own hands: it knows the rules, and can break them."""

from __future__ import annotations

import struct
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

import pytest
import trio
from trio.testing import MockClock
from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Ping,
    Request,
    TextMessage,
)

from p2p_copy.transport import limits

if TYPE_CHECKING:
    from collections.abc import Sequence

E = TypeVar("E", bound=Event)

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10

UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


def virtual_time() -> pytest.MarkDecorator:
    """Mark a test that must not wait: the clock jumps whenever every task sleeps. For memory streams only."""
    clock = MockClock(autojump_threshold=0)
    return pytest.mark.parametrize("anyio_backend", [pytest.param(("trio", {"clock": clock}), id="virtual")])


def movable_time() -> pytest.MarkDecorator:
    """Mark a test that ends waits itself, with `let_pass`; else its time is the real one. For all streams."""
    clock = MockClock(rate=1.0)
    return pytest.mark.parametrize("anyio_backend", [pytest.param(("trio", {"clock": clock}), id="movable")])


async def pause(seconds: float) -> None:
    """Pretend that this process did not run for `seconds` of virtual time."""
    clock = trio.lowlevel.current_clock()
    assert isinstance(clock, MockClock)
    clock.jump(seconds)


async def let_pass(seconds: float) -> None:
    """Let so much movable time pass at once. All see it passing, so this process seems to run all the while."""
    clock = trio.lowlevel.current_clock()
    assert isinstance(clock, MockClock)
    while seconds > 0:
        clock.jump(min(seconds, limits.TICK))
        seconds -= limits.TICK
        await trio.testing.wait_all_tasks_blocked()


def frame(kind: int, payload: bytes = b"", *, final: bool = True, masked: bool = True) -> bytes:
    """Return one frame as a client sends it, with a mask of zeros."""
    first, mask = kind | final << 7, masked << 7
    size = len(payload)
    if size < 126:
        head = struct.pack("!BB", first, mask | size)
    elif size < 1 << 16:
        head = struct.pack("!BBH", first, mask | 126, size)
    else:
        head = struct.pack("!BBQ", first, mask | 127, size)
    return head + bytes(4 * masked) + payload


class RawClient:
    """A client over any stream, without tasks: it reads only when asked, and answers only what it is told to."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self._machine = WSConnection(ConnectionType.CLIENT)
        self._events: deque[Event] = deque()

    async def upgrade(self, path: str = "/", headers: Sequence[tuple[bytes, bytes]] = ()) -> None:
        await self.send(Request(host="localhost", target=path, extra_headers=[*headers]))
        await self.expect(AcceptConnection)

    async def send(self, event: Event | str | bytes) -> None:
        if isinstance(event, str):
            event = TextMessage(data=event)
        elif isinstance(event, bytes):
            event = BytesMessage(data=event)
        await self.stream.send_all(self._machine.send(event))

    async def raw(self, data: bytes) -> None:
        """Send bytes as they are."""
        await self.stream.send_all(data)

    async def next(self) -> Event | None:
        """Return the next event, or None at the end of the stream."""
        while not self._events:
            try:
                data = await self.stream.receive_some(65536)
            except trio.BrokenResourceError:
                return None
            if not data:
                return None
            self._machine.receive_data(bytes(data))
            self._events.extend(self._machine.events())
        return self._events.popleft()

    async def expect(self, kind: type[E]) -> E:
        """Return the next event, which must be of this kind."""
        event = await self.next()
        assert isinstance(event, kind), event
        return event

    async def message(self) -> str | bytes:
        """Return the next message, whatever the number of events it takes; pings are answered on the way."""
        text, binary = "", b""
        while True:
            event = await self.next()
            if isinstance(event, Ping):
                await self.send(event.response())
            elif isinstance(event, TextMessage):
                text += event.data
                if event.message_finished:
                    return text
            else:
                assert isinstance(event, BytesMessage), event
                binary += event.data
                if event.message_finished:
                    return binary

    async def ending(self) -> int:
        """Read until the end; return the close code, or 1006 if there was none."""
        code = 1006
        while (event := await self.next()) is not None:
            if isinstance(event, CloseConnection):
                code = int(event.code)
                if self._machine.state.name == "REMOTE_CLOSING":
                    with suppress(trio.BrokenResourceError):
                        await self.send(event.response())
        return code
