"""What stands behind a link's connection: wsproto for the handshake, frames of our own for the rest.

trio-websocket drives any object with wsproto's methods. Frames are where the time goes, and where strangers send
what they like, so they are ours (`protocol.frames`); the handshake happens once and stays wsproto's.
"""

from __future__ import annotations

import math
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from wsproto import ConnectionType, WSConnection
from wsproto.connection import ConnectionState
from wsproto.events import (
    BytesMessage,
    CloseConnection,
    Ping,
    Pong,
    RejectConnection,
    RejectData,
    TextMessage,
)
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

from p2p_copy import limits
from p2p_copy.protocol import frames
from p2p_copy.protocol.frames import Decoder, FrameError, Opcode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wsproto.events import Event

_CLOSING: Final = (ConnectionState.LOCAL_CLOSING, ConnectionState.CLOSED)
_HTTP: Final = b"HTTP/1."
_HEAD_END: Final = b"\r\n\r\n"


class Codec(WSConnection):
    """wsproto's machine with our frames in it.

    Args:
        kind: client or server.
        max_message: bytes of the longest message; a longer one is refused by its header, with code 1009.
        early: a smaller limit that holds until `trust` is called.

    """

    def __init__(self, kind: ConnectionType, *, max_message: int, early: float = math.inf) -> None:
        super().__init__(kind)
        self._max_message = max_message
        self._decoder = Decoder(masked=not self.client, max_message=min(early, max_message))
        self._state: ConnectionState | None = None  # ours once the handshake is over
        self._head = b""  # what came during the handshake: the other end may have gone on at once
        self._unread: list[bytes] = []
        self._body = 0

    def trust(self) -> None:
        """Allow messages of full length."""
        self._decoder.max_message = self._max_message

    def take_frames(self) -> int:
        """Return how many frames have come since the last call."""
        count, self._decoder.frames = self._decoder.frames, 0
        return count

    @property
    def state(self) -> ConnectionState:
        """Where the connection stands."""
        return self._state or self.handshake.state

    def receive_data(self, data: bytes | None) -> None:
        """Take bytes from the network; `events` tells what they mean."""
        if data is None:
            super().receive_data(data)
        elif self._state is not None:
            self._unread.append(data)
        else:
            self._head += data
            if self.client and not self._head.startswith(_HTTP[: len(self._head)]):
                raise RemoteProtocolError("this is not HTTP, and never will be")
            super().receive_data(data)
            self._begin_frames()

    def _begin_frames(self) -> None:
        if self.handshake.connection is not None:
            self._state = ConnectionState.OPEN
            _, _, rest = self._head.partition(_HEAD_END)
            self._head = b""
            self._unread.append(rest)

    def events(self) -> Iterator[Event]:  # type: ignore[override]
        """Yield what has happened."""
        for event in self.handshake.events():
            if isinstance(event, RejectConnection) and event.status_code != 400:
                # The status says enough; the body may be endless. A 400 may say that TLS is wanted.
                yield replace(event, has_body=False)
            elif isinstance(event, RejectData):
                self._body += len(event.data)
                yield replace(event, body_finished=event.body_finished or self._body > limits.HTTP_PEEK)
            else:
                yield event
        unread, self._unread = self._unread, []
        try:
            for data in unread:
                for message in self._decoder.feed(data):
                    if self._state not in (ConnectionState.OPEN, ConnectionState.LOCAL_CLOSING):
                        return
                    yield self._event(message)
        except FrameError as error:
            self._remote_closes()
            yield CloseConnection(code=error.code, reason=str(error))

    def _event(self, message: frames.Message) -> Event:
        match message.opcode:
            case Opcode.BINARY:
                return BytesMessage(data=message.payload)
            case Opcode.TEXT:
                return TextMessage(data=message.payload.decode())
            case Opcode.PING:
                return Ping(payload=message.payload)
            case Opcode.PONG:
                return Pong(payload=message.payload)
            case Opcode.CLOSE:
                code, reason = frames.read_close(message.payload)
                self._remote_closes()
                return CloseConnection(code=code, reason=reason)
            case Opcode.CONTINUATION:
                raise AssertionError("the decoder joins fragments")

    def _remote_closes(self) -> None:
        ours_is_out = self._state is ConnectionState.LOCAL_CLOSING
        self._state = ConnectionState.CLOSED if ours_is_out else ConnectionState.REMOTE_CLOSING

    def send(self, event: Event) -> bytes:
        """Return the bytes that say `event`."""
        if self._state is None:
            data = super().send(event)
            self._begin_frames()
            return data
        if isinstance(event, Pong | CloseConnection) and self._state in _CLOSING:
            # After our own close frame nothing may follow (RFC 6455 section 5.5.1). The library would answer pings
            # and mistakes all the same.
            return b""
        match event:
            case BytesMessage() if self._state is ConnectionState.OPEN:
                return self._frame(Opcode.BINARY, event.data)
            case TextMessage() if self._state is ConnectionState.OPEN:
                return self._frame(Opcode.TEXT, event.data.encode())
            case Ping() if self._state is ConnectionState.OPEN:
                return self._frame(Opcode.PING, event.payload)
            case Pong() if self._state is ConnectionState.OPEN:
                return self._frame(Opcode.PONG, event.payload)
            case CloseConnection():
                is_answer = self._state is ConnectionState.REMOTE_CLOSING
                self._state = ConnectionState.CLOSED if is_answer else ConnectionState.LOCAL_CLOSING
                return self._frame(Opcode.CLOSE, frames.close_payload(event.code, event.reason or ""))
        raise LocalProtocolError(f"{type(event).__name__} while {self._state}")

    def _frame(self, opcode: Opcode, payload: bytes | bytearray) -> bytes:
        return frames.encode(opcode, payload, os.urandom(4) if self.client else None)
