"""The adapter for trio-websocket. No other module knows the library.

The library makes the handshake, answers pings and close frames, and matches pongs with pings. Messages never reach it:
the codec puts them into its inbox, and a link writes them to the stream. That takes a third of the turns of the event
loop, and fewer copies.

What this module relies on, beyond the public API (tests/transport/test_websocket.py checks it for each version):
1. `_reader_task` asks its stream for bytes only when it has handled all events of those before.
2. Of its stream it uses `receive_some`, `send_all` and `aclose`; of what it takes for wsproto it uses `client`,
   `state`, `send`, `receive_data` and `events`.
3. `_open_handshake` is set when a client is connected; `_get_request` waits for the request to a server.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import trio
from wsproto.events import CloseConnection, Pong, RejectConnection, RejectData

from p2p_copy.transport import limits
from p2p_copy.transport.codec import NotOpen
from p2p_copy.transport.lazy_metadata import lazy_metadata

with lazy_metadata():
    from trio_websocket import ConnectionClosed, WebSocketConnection

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from wsproto import WSConnection
    from wsproto.connection import ConnectionState
    from wsproto.events import Event

    from p2p_copy.transport.codec import Codec


class WebSocket:
    """The library's connection on top of a codec. Nothing moves unless a task is in `run`."""

    def __init__(
        self,
        codec: Codec,
        read: Callable[[], Awaitable[bytes | bytearray]],
        write: Callable[[bytes | bytearray | memoryview], Awaitable[None]],
        *,
        host: str | None = None,
        path: str | None = None,
    ) -> None:
        """Prepare a connection.

        Args:
            codec: what the connection drives.
            read: returns the next bytes for the codec, none at the end. It is called when all that came before is
                answered.
            write: sends bytes.
            host: the host in the request; only for clients.
            path: the path in the request; only for clients.

        """
        stream, protocol = (
            cast("trio.abc.Stream", _Stream(read, write)),
            cast("WSConnection", _Protocol(codec)),
        )
        self._connection = WebSocketConnection(stream, protocol, host=host, path=path)

    async def run(self) -> None:
        """Read until the end. Hostile input can raise any exception here."""
        await self._connection._reader_task()

    async def wait_open(self) -> None:
        """Wait until a server has accepted this client's request."""
        await self._connection._open_handshake.wait()

    async def accept_request(self) -> str:
        """Wait for a client's request, accept it, and return its path."""
        request = await self._connection._get_request()
        await request.accept()
        return request.path

    async def ping(self) -> None:
        """Send a ping and wait for its pong.

        Raises:
            BrokenResourceError: nothing can be sent any more.

        """
        try:
            await self._connection.ping(os.urandom(8))
        except (ConnectionClosed, NotOpen):
            raise trio.BrokenResourceError from None

    async def close(self, code: int, reason: str) -> None:
        """Send a close frame and wait for the other end's."""
        await self._connection.aclose(code, reason or None)


class _Stream:
    """What the library takes for a stream."""

    def __init__(
        self,
        read: Callable[[], Awaitable[bytes | bytearray]],
        write: Callable[[bytes | bytearray | memoryview], Awaitable[None]],
    ) -> None:
        self._read = read
        self._write = write
        self._is_closed = False

    async def receive_some(self, _max_bytes: int) -> list[bytes | bytearray]:
        if self._is_closed:
            raise trio.ClosedResourceError
        # The library keeps what it was given until there is more: a mebibyte for each connection. So it gets the bytes
        # in a list, out of which they are taken. An empty one is the end.
        data = await self._read()
        return [data] if data else []

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        if data:
            await self._write(data)

    async def aclose(self) -> None:
        # The library closes as soon as its last frame is out. With bytes unread that would become a reset, which may
        # overtake the frame; so the link closes the stream itself. After closing, the library still reads once.
        self._is_closed = True
        await trio.lowlevel.checkpoint()


class _Protocol:
    """What the library takes for wsproto."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self._body = 0  # bytes of a refusal that have come
        self.client = codec.is_client

    @property
    def state(self) -> ConnectionState:
        return self._codec.state

    def receive_data(self, data: list[bytes | bytearray]) -> None:
        self._codec.receive_data(data.pop())

    def events(self) -> Iterator[Event]:
        for event in self._codec.events():
            if isinstance(event, RejectConnection) and event.status_code != 400:
                # The library waits for the whole body, which may be endless. The status says enough; but the body of
                # a 400 may say that the port speaks TLS.
                yield replace(event, has_body=False)
            elif isinstance(event, RejectData):
                self._body += len(event.data)
                yield replace(event, body_finished=event.body_finished or self._body > limits.HTTP_PEEK)
            else:
                yield event

    def send(self, event: Event) -> bytes:
        try:
            return self._codec.send(event)
        except NotOpen:
            if isinstance(event, Pong | CloseConnection):
                return b""  # the library answers pings and mistakes after its own close frame, too (RFC 6455, 5.5.1)
            raise
