"""A WebSocket connection without I/O: wsproto makes the handshake, `frames` does the rest.

Bytes of the network go in at `receive_data`. Messages come out into `inbox`; all else comes out of `events`, and goes
in at `send`, as wsproto's events. Frames are where time is spent and where strangers send what they like, so they are
our own; the handshake happens once for each connection.
"""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Final

from wsproto.connection import ConnectionState, ConnectionType
from wsproto.events import CloseConnection, Ping, Pong
from wsproto.handshake import H11Handshake
from wsproto.utilities import RemoteProtocolError

from p2p_copy.transport import frames, limits
from p2p_copy.transport.frames import Decoder, FrameError, Opcode
from p2p_copy.transport.inbox import Inbox, Piece
from p2p_copy.transport.splice import SplicedBytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from wsproto.events import Event

    from p2p_copy.transport.tcp import Buffer

_HTTP: Final = b"HTTP/1."
_HEAD_END: Final = b"\r\n\r\n"


class NotOpen(Exception):
    """Nothing of this kind can be sent in the state of the connection."""


class Codec:
    """One end of a connection.

    Args:
        is_client: which end.
        max_message: bytes of the longest message; a longer one is refused by its header, with code 1009.
        early: a smaller limit that holds until `lift_early_limit` is called.
        piece: bytes from which a part of a message is put into the inbox without its rest.

    Attributes:
        inbox: where messages go.
        closed: code and reason of the other end's close frame, or those that it is sent for breaking a rule.

    """

    def __init__(
        self, *, is_client: bool, max_message: int, early: float = math.inf, piece: float = math.inf
    ) -> None:
        self.is_client = is_client
        self.inbox = Inbox()
        self.closed: tuple[int, str] | None = None
        self._handshake = H11Handshake(ConnectionType.CLIENT if is_client else ConnectionType.SERVER)
        self._max_message = max_message
        self._decoder = Decoder(masked=not is_client, max_message=min(early, max_message), piece=piece)
        self._state: ConnectionState | None = None  # None during the handshake, which has its own
        self._head = b""  # what came during the handshake: frames may follow in the same bytes
        self._rest: bytes | bytearray = b""  # what came and was not decoded yet
        self._left = 0  # bytes of that, until they are given to `receive_data` again
        self._events: list[Event] = []
        self._behind: list[Piece] = []  # what came behind a ping that is not answered yet
        self._unanswered = 0  # pings that were sent and may still be answered
        self._answers = 0  # to pings of this end, since the last `pop_work`
        self._is_inside = False  # a message is partly sent

    def lift_early_limit(self) -> None:
        """Allow messages of full length."""
        self._decoder.max_message = self._max_message

    @property
    def under_way(self) -> int:
        """Bytes of a message that are here, and not in the inbox because the rest has not come."""
        return self._decoder.here

    @property
    def buffered(self) -> int:
        """Bytes of memory that hold what has come and was not received yet."""
        return (
            self._decoder.here + self._left + self.inbox.weight + sum(piece.weight for piece in self._behind)
        )

    @property
    def ahead(self) -> int:
        """Bytes until a long payload begins or ends, where the next read should end; 0 if no such place is known."""
        return self._decoder.ahead

    @property
    def raw_ahead(self) -> int:
        """Bytes of payload that come next and need no decoding: `skip` may be called for them, not `receive_data`."""
        return 0 if self.closed is not None else self._decoder.raw_ahead

    def skip(self, size: int) -> bool:
        """Skip so many raw bytes, which the caller handles; return whether they end their message."""
        return self._decoder.skip(size)

    def pop_work(self, records: int) -> int:
        """Return how many frames have come since the last call, not counting the pongs that this end asked for.

        `records` is the number of nearly empty TLS records since then. The greater of both numbers counts, not their
        sum: most such records hold one frame, which should count once.
        """
        work = max(self._decoder.frames, records) - self._answers
        self._decoder.frames = self._answers = 0
        return work

    def pop_rest(self) -> bytes | bytearray:
        """Return what was not decoded yet; it has to be given to `receive_data` once more."""
        rest, self._rest = self._rest, b""
        return rest

    @property
    def state(self) -> ConnectionState:
        """The state of the connection, in wsproto's words."""
        return self._state or self._handshake.state

    def receive_data(self, data: bytes | bytearray) -> None:
        """Take bytes of the network.

        Raises:
            RemoteProtocolError: the other end broke the rules of the handshake.

        """
        if self._state is not None:
            self._feed(data)
            return
        self._head += data
        if self.is_client and not self._head.startswith(_HTTP[: len(self._head)]):
            raise RemoteProtocolError("this is not HTTP, and never will be")
        self._handshake.receive_data(bytes(data))
        self._begin_frames()

    def _begin_frames(self) -> None:
        if self._handshake.connection is not None:
            self._state = ConnectionState.OPEN
            _, _, rest = self._head.partition(_HEAD_END)
            self._head = b""
            self._feed(rest)

    def _feed(self, data: bytes | bytearray) -> None:
        """Decode frames of `data`: at most as many as leave other tasks their turn."""
        self._left = 0
        if self.closed is not None:
            return
        try:
            for count, message in enumerate(self._decoder.feed(data), 1):
                if message.opcode < Opcode.CLOSE:
                    piece = Piece(message.payload, message.last, message.opcode is Opcode.TEXT)
                    if self._events:
                        self._behind.append(piece)
                    else:
                        self.inbox.put(piece)
                elif message.opcode is Opcode.CLOSE:
                    self.closed = frames.read_close(message.payload)
                    break
                elif message.opcode is Opcode.PING:
                    self._events.append(Ping(payload=message.payload))
                else:
                    self._events.append(Pong(payload=message.payload))
                    if self._unanswered:
                        self._unanswered -= 1
                        self._answers += 1
                if count == limits.FRAMES_A_TRIP:
                    self._rest = data[self._decoder.consumed :]
                    self._left = len(self._rest)
                    break
        except FrameError as error:
            self.closed = error.code, str(error)
        if self.closed is not None:
            self._events.append(CloseConnection(*self.closed))

    def put_behind(self) -> None:
        """Put into the inbox what came behind pings, because these are answered now: a peer may rely on that order."""
        behind, self._behind = self._behind, []
        for piece in behind:
            self.inbox.put(piece)

    def events(self) -> Iterator[Event]:
        """Yield what has happened besides messages."""
        yield from self._handshake.events()
        events, self._events = self._events, []
        for event in events:
            if self._state not in (ConnectionState.OPEN, ConnectionState.LOCAL_CLOSING):
                return
            if isinstance(event, CloseConnection):
                ours_is_out = self._state is ConnectionState.LOCAL_CLOSING
                self._state = ConnectionState.CLOSED if ours_is_out else ConnectionState.REMOTE_CLOSING
            yield event

    def send(self, event: Event) -> bytes:
        """Return the bytes for `event`: one of the handshake, a ping, a pong or a close frame.

        Raises:
            NotOpen: it cannot be sent any more.

        """
        if self._state is None:
            data = self._handshake.send(event)
            self._begin_frames()
            return data
        is_open = self._state is ConnectionState.OPEN
        match event:
            case Ping() if is_open:
                self._unanswered += 1
                return self._frame(Opcode.PING, event.payload)
            case Pong() if is_open:
                return self._frame(Opcode.PONG, event.payload)
            case CloseConnection() if is_open or self._state is ConnectionState.REMOTE_CLOSING:
                self._state = ConnectionState.LOCAL_CLOSING if is_open else ConnectionState.CLOSED
                return self._frame(Opcode.CLOSE, frames.close_payload(event.code, event.reason or ""))
        raise NotOpen(f"{type(event).__name__} while {self._state}")

    def _frame(self, opcode: Opcode, payload: bytes) -> bytes:
        return frames.encode(opcode, payload, self._mask())

    def encode(self, pieces: Iterable[Piece]) -> list[Buffer | SplicedBytes]:
        """Return buffers with frames for `pieces`. Pieces of one message must follow each other, over several calls.

        Raises:
            NotOpen: the connection is closing.

        """
        if self._state is not ConnectionState.OPEN:
            raise NotOpen(f"a message while {self._state}")
        buffers: list[Buffer | SplicedBytes] = []
        for data, last, is_text in pieces:
            opcode = Opcode.TEXT if is_text else Opcode.BINARY
            if self._is_inside:
                opcode = Opcode.CONTINUATION
            self._is_inside = not last
            if isinstance(data, SplicedBytes):
                buffers += [frames.header(opcode, data.size, None, last=last), data]
                continue
            unmasked = self.is_client and not is_text and len(data) >= limits.UNMASKED
            buffers += frames.buffers(opcode, data, frames.NO_MASK if unmasked else self._mask(), last=last)
        return buffers

    def _mask(self) -> bytes | None:
        return os.urandom(4) if self.is_client else None
