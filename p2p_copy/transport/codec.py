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
    CloseConnection,
    Ping,
    Pong,
    RejectConnection,
    RejectData,
)
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

from p2p_copy.transport import frames, limits
from p2p_copy.transport.frames import Decoder, FrameError, Opcode
from p2p_copy.transport.inbox import Inbox, Piece
from p2p_copy.transport.splice import SplicedBytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from wsproto.events import Event

    from p2p_copy.transport.tcp import Buffer

_CLOSING: Final = (ConnectionState.LOCAL_CLOSING, ConnectionState.CLOSED)
_HTTP: Final = b"HTTP/1."
_HEAD_END: Final = b"\r\n\r\n"


class Received:
    """Bytes on their way to `Codec.receive_data` through trio-websocket.

    That keeps the last ones until there are others, a mebibyte for each connection; so they are taken out of this.
    """

    __slots__ = ("_data", "_size")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._size = len(data)

    def __len__(self) -> int:
        return self._size

    def take(self) -> bytes:
        """Take them out."""
        data, self._data = self._data, b""
        return data


class Codec(WSConnection):
    """wsproto's machine with our frames in it.

    Messages go into `inbox`, past trio-websocket, which would make three trips through the event loop for each. It
    hears of everything else.

    Args:
        kind: client or server.
        max_message: bytes of the longest message; a longer one is refused by its header, with code 1009.
        early: a smaller limit that holds until `trust` is called.
        piece: bytes from which a part of a message is handed over without its rest.

    Attributes:
        inbox: where messages go.
        closed: code and reason of the other end's close frame, or those that it will get for breaking a rule.

    """

    def __init__(
        self, kind: ConnectionType, *, max_message: int, early: float = math.inf, piece: float = math.inf
    ) -> None:
        super().__init__(kind)
        self.inbox = Inbox()
        self.closed: tuple[int, str] | None = None
        self._max_message = max_message
        self._decoder = Decoder(masked=not self.client, max_message=min(early, max_message), piece=piece)
        self._state: ConnectionState | None = None  # ours once the handshake is over
        self._head = b""  # what came during the handshake: the other end may have gone on at once
        self._rest = b""
        self._left = 0  # bytes of that, until they are here again
        self._heard: list[Event] = []  # other than messages
        self._asked = 0  # pings of this side that may still be answered
        self._answers = 0  # since the last `take_work`
        self._begun = False  # a message whose last piece is not out
        self._body = 0

    def trust(self) -> None:
        """Allow messages of full length."""
        self._decoder.max_message = self._max_message

    @property
    def under_way(self) -> int:
        """Bytes of a message that are here, and not in the inbox because the rest is not."""
        return self._decoder.here

    @property
    def held(self) -> int:
        """Bytes of memory for what is here and was not taken."""
        return self._decoder.here + self._left + self.inbox.weight

    @property
    def ahead(self) -> int:
        """Bytes that the next read should not go beyond; 0 for any number."""
        return self._decoder.ahead

    @property
    def straight(self) -> int:
        """Bytes that come next and need not be given to `receive_data` if they are told of by `pass_by`."""
        return 0 if self.closed is not None else self._decoder.straight

    def pass_by(self, parcel: SplicedBytes) -> None:
        """Put into the inbox what has come `straight`."""
        self.inbox.put(Piece(parcel, self._decoder.pass_by(parcel.size)))

    def take_work(self, records: int) -> int:
        """Return how many frames have come since the last call, less the answers to pings of this side.

        `records` is how many TLS records with next to nothing in them have come; if they are more, they count instead.
        Most hold one frame, which counts once then.
        """
        work = max(self._decoder.frames, records) - self._answers
        self._decoder.frames = self._answers = 0
        return work

    def take_rest(self) -> bytes:
        """Return what `receive_data` has not looked at yet: it has to be given to it once more."""
        rest, self._rest = self._rest, b""
        return rest

    @property
    def state(self) -> ConnectionState:
        """Where the connection stands."""
        return self._state or self.handshake.state

    def receive_data(self, data: bytes | Received | None) -> None:
        """Take bytes from the network; `events` and the inbox tell what they mean."""
        if isinstance(data, Received):
            data = data.take()
        if data is None:
            super().receive_data(data)
        elif self._state is not None:
            self._feed(data)
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
            self._feed(rest)

    def _feed(self, data: bytes) -> None:
        """Take frames out of `data`, so many at most that nobody else has to wait for long."""
        self._left = 0
        if self.closed is not None:
            return
        try:
            for count, message in enumerate(self._decoder.feed(data), 1):
                if message.opcode is Opcode.BINARY:
                    self.inbox.put(Piece(message.payload, message.last))
                elif message.opcode is Opcode.TEXT:
                    self.inbox.put(Piece(message.payload, message.last, is_text=True))
                elif message.opcode is Opcode.CLOSE:
                    self.closed = frames.read_close(message.payload)
                    break
                elif message.opcode is Opcode.PING:
                    self._heard.append(Ping(payload=message.payload))
                else:
                    self._heard.append(Pong(payload=message.payload))
                    if self._asked:
                        self._asked -= 1
                        self._answers += 1
                if count == limits.FRAMES_A_TRIP:
                    self._rest = data[self._decoder.taken :]
                    self._left = len(self._rest)
                    break
        except FrameError as error:
            self.closed = error.code, str(error)
        if self.closed is not None:
            self._heard.append(CloseConnection(*self.closed))
            self.inbox.end()

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
        heard, self._heard = self._heard, []
        for event in heard:
            if self._state not in (ConnectionState.OPEN, ConnectionState.LOCAL_CLOSING):
                return
            if isinstance(event, CloseConnection):
                self._remote_closes()
            yield event

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
            case Ping() if self._state is ConnectionState.OPEN:
                self._asked += 1
                return self._frame(Opcode.PING, event.payload)
            case Pong() if self._state is ConnectionState.OPEN:
                return self._frame(Opcode.PONG, event.payload)
            case CloseConnection():
                is_answer = self._state is ConnectionState.REMOTE_CLOSING
                self._state = ConnectionState.CLOSED if is_answer else ConnectionState.LOCAL_CLOSING
                return self._frame(Opcode.CLOSE, frames.close_payload(event.code, event.reason or ""))
        raise LocalProtocolError(f"{type(event).__name__} while {self._state}")

    def _frame(self, opcode: Opcode, payload: bytes) -> bytes:
        return frames.encode(opcode, payload, self._mask())

    def say(self, pieces: Iterable[Piece]) -> list[Buffer | SplicedBytes]:
        """Return the buffers that say `pieces`; no other pieces may come between those of one message.

        Raises:
            LocalProtocolError: the connection is closing.

        """
        if self._state is not ConnectionState.OPEN:
            raise LocalProtocolError(f"a message while {self._state}")
        buffers: list[Buffer | SplicedBytes] = []
        for data, last, is_text in pieces:
            opcode = Opcode.TEXT if is_text else Opcode.BINARY
            if self._begun:
                opcode = Opcode.CONTINUATION
            self._begun = not last
            if isinstance(data, SplicedBytes):
                buffers += [frames.header(opcode, data.size, None, last=last), data]
                continue
            unmasked = self.client and not is_text and len(data) >= limits.UNMASKED
            buffers += frames.buffers(opcode, data, frames.NO_MASK if unmasked else self._mask(), last=last)
        return buffers

    def _mask(self) -> bytes | None:
        return os.urandom(4) if self.client else None
