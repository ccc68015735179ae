"""A WebSocket connection without I/O (RFC 6455): wsproto makes the handshake, the frames are our own.

Bytes of the network go in at `Codec.receive_data`. Messages come out at `Codec.put`; all else comes out of `events`,
and goes in at `send`, as wsproto's events. The frames are our own because they take most of the time, and because
strangers may send any frames; the handshake happens once for each connection.

A message comes out whole, its fragments joined; or, for a relay, in pieces as they come. A frame is refused by its
header, before any of its payload is kept: a message costs its receiver no more than the bytes that were sent of it, and
a frame that would go over the limit costs nothing. Only a client that has set memory aside for whole messages uses it
as soon as a long one is announced (`Codec.use_memory`). Text is checked as it comes and stays bytes: as a `str` it
would be four times as large if it has one character beyond the BMP.
"""

from __future__ import annotations

import codecs
import math
import os
import struct
from enum import IntEnum
from io import SEEK_END, BytesIO
from itertools import cycle
from typing import TYPE_CHECKING, Final

from wsproto.connection import ConnectionState, ConnectionType
from wsproto.events import CloseConnection, Ping, Pong
from wsproto.handshake import H11Handshake
from wsproto.utilities import RemoteProtocolError

from p2p_copy.transport import limits
from p2p_copy.transport.lazy_metadata import lazy_metadata
from p2p_copy.units import KIB
from p2p_copy.value import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from wsproto.events import Event

    from p2p_copy.transport.tcp import Buffer

try:
    with lazy_metadata():
        from websockets.speedups import apply_mask as apply_mask
except ImportError:  # no wheel for this platform: as correct, and slower

    def apply_mask(data: bytes | bytearray | memoryview, mask: bytes | bytearray) -> bytes:
        """Return `data` combined by exclusive or with the four bytes of `mask`, repeated (section 5.3)."""
        size = len(data)
        key = int.from_bytes((bytes(mask) * (size // 4 + 1))[:size], "little")
        return (int.from_bytes(data, "little") ^ key).to_bytes(size, "little")


class Opcode(IntEnum):
    """The kind of a frame (section 5.2)."""

    CONTINUATION = 0
    TEXT = 1
    BINARY = 2
    CLOSE = 8
    PING = 9
    PONG = 10


PROTOCOL_ERROR: Final = 1002
NOT_UTF8: Final = 1007
TOO_BIG: Final = 1009
"""Close codes (section 7.4.1)."""

NO_MASK: Final = bytes(4)
"""The mask that changes nothing."""

LONGEST_HEADER: Final = 14
"""Bytes of the longest header, which a client's frame of 64 KiB and more has."""

_NO_CODE: Final = 1005
_OPCODES: Final = {int(opcode): opcode for opcode in Opcode}
_LENGTH_BYTES: Final = {126: 2, 127: 8}
_MOST_LENGTH: Final = 2**63 - 1
_LONG: Final = bytes((0x80 | Opcode.BINARY, 127))
_LONG_MASKED: Final = bytes((0x80 | Opcode.BINARY, 0x80 | 127))
_MAX_CONTROL: Final = 125
_HTTP: Final = b"HTTP/1."
_HEAD_END: Final = b"\r\n\r\n"
_PIECES: Final = 64
"""Pieces that are kept before they are joined: a message that comes byte by byte must not cost an object for each."""

_CHECKED: Final = 16 * KIB
"""Bytes of text that are checked at once: Python checks them by decoding, into up to four times as many bytes."""

_CODE: Final = struct.Struct(">H")
_DEFINED_CODES: Final = frozenset({*range(1000, 1004), *range(1007, 1015)})


class FrameError(Exception):
    """The other end broke a rule; `code` is what to close with."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class NotOpen(Exception):
    """Nothing of this kind can be sent in the state of the connection."""


class Piece(NamedTuple):
    """A message, or a part of one.

    Attributes:
        data: its bytes; a view of what was read, if they are a part of a binary message that was not copied.
        last: whether the message ends with it.
        is_text: whether the message is text; its bytes are UTF-8, and a piece may end inside a character.

    """

    data: bytes | memoryview
    last: bool = True
    is_text: bool = False

    @classmethod
    def whole(cls, message: bytes | str) -> Piece:
        """Return a message as one piece."""
        return cls(message.encode(), is_text=True) if isinstance(message, str) else cls(message)

    @property
    def weight(self) -> int:
        """Bytes of memory that this piece takes, even if it is empty; a view takes all that was read."""
        size = memoryview(self.data.obj).nbytes if isinstance(self.data, memoryview) else len(self.data)
        return size + limits.PIECE_COST


class Message(NamedTuple):
    """A message, a piece of one, or a control frame. Text was checked to be UTF-8; a piece may end inside a character.

    Attributes:
        opcode: its kind; a piece has that of its message.
        payload: its bytes, unmasked; a view if they need not be copied, and only of a decoder that yields pieces.
        last: whether the message ends with it.

    """

    opcode: Opcode
    payload: bytes | memoryview
    last: bool = True


def encode(opcode: Opcode, payload: bytes, mask: bytes | None) -> bytes:
    """Return one unfragmented frame; a client's has a `mask`."""
    return b"".join(frame_buffers(opcode, payload, mask))


def frame_buffers(
    opcode: Opcode, payload: bytes | memoryview, mask: bytes | None, *, last: bool = True
) -> list[bytes | memoryview]:
    """Return one frame in buffers to be sent one after the other.

    Args:
        opcode: its kind.
        payload: its content; without a mask it is not copied.
        mask: four unpredictable bytes, for a client's frame; or `NO_MASK`, with which the payload is not copied.
        last: whether its message ends with it.

    """
    masked = payload if mask is None or mask == NO_MASK else apply_mask(payload, mask)
    return [header(opcode, len(payload), mask, last=last), masked]


def header(opcode: Opcode, size: int, mask: bytes | None, *, last: bool = True) -> bytes:
    """Return the header of a frame with a payload of `size` bytes; the other arguments are those of `frame_buffers`."""
    first = (0x80 if last else 0) | opcode
    bit = 0x80 if mask else 0
    if size < 126:
        head = bytes((first, bit | size))
    elif size < 2**16:
        head = struct.pack(">BBH", first, bit | 126, size)
    else:
        head = struct.pack(">BBQ", first, bit | 127, size)
    return head + (mask or b"")


class Decoder:
    """Turns the bytes of one direction into messages.

    Args:
        masked: whether frames must be masked: true at a server, false at a client.
        max_message: bytes of the longest message; may be changed between messages.
        piece: bytes from which a part of a message is yielded without its rest.

    Attributes:
        frames: how many frames have begun; it may be set back.
        consumed: bytes of what it was fed last that belong to the messages yielded so far.
        here: bytes of the message under way that have come and were not yielded yet.
        memory: where long binary messages are put together; None if they are joined from what was fed.

    """

    def __init__(self, *, masked: bool, max_message: float, piece: float = math.inf) -> None:
        self.max_message = max_message
        self.frames = 0
        self.consumed = 0
        self._piece = piece
        self._masked = masked
        self._head = b""
        self._left = -1  # bytes of the frame under way that are not here; -1 between frames
        self._long = False  # whether the frame whose header came last is long
        self._final = True
        self._opcode = Opcode.CONTINUATION
        self._mask = b""  # rotated, so that it begins at the next byte
        # Payload of a control frame, which may come inside a message:
        self._control: list[bytes | memoryview] = []
        self._message: list[bytes | memoryview] = []  # payload of the message under way, so far
        self.memory: Iterator[BytesIO] | None = None
        self._whole: BytesIO | None = None  # has the message under way in place of `_message`, if it is long
        self.here = 0
        self._size = 0  # bytes of the message under way that the headers received so far announce
        self._kind: Opcode | None = None  # text or binary: of the message under way; None between messages
        self._cut = b""  # the first bytes of a character of a text, while the others have not come
        self._fragments = 0

    def feed(self, data: bytes | bytearray) -> Iterator[Message]:
        """Yield the messages and pieces that are complete with `data`. Feed it again what was not `consumed`.

        Raises:
            FrameError: the rules were broken. Nothing that follows can be decoded.

        """
        at = 0
        while True:
            if self._left < 0:
                read = self._begin(data, at)
                if read < 0:
                    return
                at += read
            if size := min(self._left, len(data) - at):
                self._keep(memoryview(data)[at : at + size], len(data))
                at += size
            message = None
            if not self._left:
                self._left = -1
                message = self._end()
            if message is None and self.here >= self._piece:
                assert self._kind is not None, "set by the header"
                message = Message(self._kind, self._pop_joined(), last=False)
            if message is not None:
                self.consumed = at
                yield message
            if self._left > 0:
                return

    @property
    def ahead(self) -> int:
        """Bytes until a long payload begins or ends; 0 if no such place is known."""
        if not self._long:
            return 0
        return self._left if self._left > 0 else LONGEST_HEADER - (0 if self._masked else 4) - len(self._head)

    def space(self) -> memoryview | None:
        """Return where to put the rest of the payload that comes next, with `fill`; None if it has to be fed.

        Release it before anything else is called.
        """
        if self._whole is None or self._left <= 0 or self._opcode >= Opcode.CLOSE:
            return None
        with self._whole.getbuffer() as whole:
            return whole[self.here : self.here + self._left]

    def fill(self, size: int) -> Message | None:
        """Count `size` bytes that were put into `space`; return the message that is complete with them, if it is."""
        self.here += size
        self._left -= size
        if self._left:
            return None
        self._left = -1
        return self._end()

    @property
    def raw_ahead(self) -> int:
        """Bytes of payload that come next and need no decoding: unmasked, of the last frame of a binary message."""
        if self._left <= 0 or self._message or self._opcode >= Opcode.CLOSE or self._kind is Opcode.TEXT:
            return 0
        return self._left if self._final and (not self._masked or self._mask == NO_MASK) else 0

    @property
    def header_ahead(self) -> int:
        """Bytes of the header of a long frame, as they come in this direction."""
        return LONGEST_HEADER if self._masked else LONGEST_HEADER - len(NO_MASK)

    def begin_raw(self, head: bytes | bytearray) -> int:
        """Begin a frame by its header; return its length, or 0, and begin nothing, unless it is a long binary message.

        It must be of one frame, short enough, and not masked, in effect; and none of its payload may be in `head`.
        """
        if self._left >= 0 or self._head or self._kind is not None:
            return 0
        begins, mask = (_LONG_MASKED, NO_MASK) if self._masked else (_LONG, b"")
        if head[:2] != begins or head[10:] != mask:
            return 0
        length = int.from_bytes(head[2:10], "big")
        if not limits.LONG_FRAME <= length <= min(self.max_message, _MOST_LENGTH):
            return 0
        self.frames += 1
        self._left = self._size = length
        self._kind = self._opcode = Opcode.BINARY
        self._mask = mask
        self._final = self._long = True
        return length

    def skip(self, size: int) -> bool:
        """Skip `size` raw bytes, which the caller handles; return whether they end their message."""
        self._left -= size
        if self._left:
            return False
        self._left = -1
        self._kind = None
        self._size = self._fragments = 0
        return True

    def _keep(self, piece: memoryview, came: int) -> None:
        """Keep a piece of a payload. It is copied if it is masked, or if it is the smaller part of the `came` bytes."""
        parts = self._message
        if self._opcode >= Opcode.CLOSE:
            parts = self._control
        elif self._whole is not None:
            with self._whole.getbuffer() as whole:
                whole[self.here : self.here + len(piece)] = piece
            self.here += len(piece)
            self._left -= len(piece)
            return
        else:
            self.here += len(piece)
        if self._masked and self._mask != NO_MASK:
            parts.append(apply_mask(piece, self._mask))
        else:
            # A view keeps the whole read in memory, so it must be at least half of it.
            parts.append(piece if 2 * len(piece) >= came else bytes(piece))
        if parts is self._message and self._kind is Opcode.TEXT:
            self._check_text(parts[-1])
        if len(parts) == _PIECES:
            parts[:] = [b"".join(parts)]
        self._left -= len(piece)
        turn = len(piece) % 4
        self._mask = self._mask[turn:] + self._mask[:turn]

    def _begin(self, data: bytes | bytearray, at: int) -> int:
        """Read a header; return of how many bytes of `data` it consists, -1 if it is not complete."""
        head = self._head + data[at : at + LONGEST_HEADER - len(self._head)]
        size = LONGEST_HEADER
        if len(head) >= 2:
            self._check_first_two(head)  # at once: a wrong frame is refused before its length has come
            size = 2 + _LENGTH_BYTES.get(head[1] & 0x7F, 0) + (4 if self._masked else 0)
        if len(head) < size:
            self._head = head
            return -1
        length = head[1] & 0x7F
        if length == 126:
            length = int.from_bytes(head[2:4], "big")
            shortest = 126
        elif length == 127:
            length = int.from_bytes(head[2:10], "big")
            shortest = 2**16
        else:
            shortest = 0
        if length < shortest or length > _MOST_LENGTH:
            raise FrameError(PROTOCOL_ERROR, "a frame's length is not in its shortest form")
        self._mask = head[size - 4 : size] if self._masked else b""
        self._accept(length)
        self.frames += 1
        self._left = length
        self._long = length >= limits.LONG_FRAME
        if self._whole is not None or (
            self._long and self.memory is not None and self._kind is Opcode.BINARY
        ):
            self._make_space()
        read = size - len(self._head)
        self._head = b""
        return read

    def _check_first_two(self, head: bytes) -> None:
        opcode = _OPCODES.get(head[0] & 0x0F)
        if opcode is None or head[0] & 0x70:
            raise FrameError(PROTOCOL_ERROR, "a frame has an unknown opcode or reserved bits")
        self._final = bool(head[0] & 0x80)
        self._opcode = opcode
        if bool(head[1] & 0x80) is not self._masked:
            raise FrameError(PROTOCOL_ERROR, "a frame is masked or not, the wrong way round")
        if opcode >= Opcode.CLOSE and (not self._final or head[1] & 0x7F > _MAX_CONTROL):
            raise FrameError(PROTOCOL_ERROR, "a control frame is fragmented or too long")

    def _accept(self, length: int) -> None:
        """Check the header of a frame against the message to which it belongs."""
        if self._opcode >= Opcode.CLOSE:
            return
        if (self._opcode is Opcode.CONTINUATION) is (self._kind is None):
            raise FrameError(
                PROTOCOL_ERROR, "a message begins inside another, or goes on without a beginning"
            )
        self._fragments += 1
        if self._size + length > self.max_message or self._fragments > limits.MAX_FRAGMENTS:
            raise FrameError(TOO_BIG, "the message is too long or in too many pieces")
        self._size += length
        self._kind = self._kind or self._opcode

    def _make_space(self) -> None:
        """Make space for all of the message under way that is announced by now."""
        if self._whole is None:
            assert self.memory is not None, "else no message is begun there"
            self._whole = next(self.memory)
            parts, self._message = self._message, []
        else:
            parts = []
        if self._whole.seek(0, SEEK_END) < self._size:
            self._whole.seek(self._size - 1)
            self._whole.write(b"\0")
        if parts:
            self._whole.seek(0)
            self._whole.writelines(parts)

    def _end(self) -> Message | None:
        """End a frame; return the message that is complete with it, if there is one."""
        if self._opcode >= Opcode.CLOSE:
            control, self._control = b"".join(self._control), []
            return Message(self._opcode, control)
        if not self._final:
            return None
        assert self._kind is not None, "set by the header"
        payload = self._pop_joined()
        opcode, self._kind = self._kind, None
        self._size = self._fragments = 0
        if self._cut:
            raise FrameError(NOT_UTF8, "text ends inside a character")
        return Message(opcode, payload)

    def _check_text(self, text: bytes | memoryview) -> None:
        """Check the next part of a text message (section 8.1). A part may end inside a character, a message may not."""
        for at in range(0, len(text), _CHECKED):
            part = self._cut + bytes(text[at : at + _CHECKED])
            try:
                _, checked = codecs.utf_8_decode(part, "strict", False)
            except UnicodeDecodeError:
                raise FrameError(NOT_UTF8, "text is not UTF-8") from None
            self._cut = part[checked:]

    def _pop_joined(self) -> bytes | memoryview:
        """Return what is here of the message, and forget it. What came in one piece is not copied."""
        parts, self._message = self._message, []
        size, self.here = self.here, 0
        if self._whole is not None:
            whole, self._whole = self._whole, None
            whole.truncate(size)
            return whole.getvalue()
        first = parts[0] if len(parts) == 1 else None
        if isinstance(first, memoryview):
            if isinstance(first.obj, bytes) and len(first) == len(first.obj):
                return first.obj
            if self._piece < math.inf and self._kind is Opcode.BINARY:
                return first
        return b"".join(parts)


def close_payload(code: int, reason: str) -> bytes:
    """Return the payload of a close frame; the reason is cut to what fits."""
    if code == _NO_CODE:
        return b""
    return _CODE.pack(code) + reason.encode()[: _MAX_CONTROL - 2].decode("utf-8", "ignore").encode()


def read_close(payload: bytes) -> tuple[int, str]:
    """Return code and reason of a close frame; 1005 if it has none (section 7.1.5).

    Raises:
        FrameError: it is not well formed.

    """
    if not payload:
        return _NO_CODE, ""
    if len(payload) == 1:
        raise FrameError(PROTOCOL_ERROR, "a close frame is cut")
    (code,) = _CODE.unpack_from(payload)
    if code not in _DEFINED_CODES and not 3000 <= code < 5000:
        raise FrameError(PROTOCOL_ERROR, "a close frame has a code that must not be sent")
    try:
        return code, payload[2:].decode()
    except UnicodeDecodeError:
        raise FrameError(NOT_UTF8, "the reason of a close frame is not UTF-8") from None


class Codec:
    """One end of a connection.

    Args:
        is_client: which end.
        max_message: bytes of the longest message; a longer one is refused by its header, with code 1009.
        early: a smaller limit that holds until `lift_early_limit` is called.
        piece: bytes from which a part of a message comes out without its rest.
        head: bytes that came before; `pop_rest` returns them.

    Attributes:
        put: is called with each message, or piece of one, that can be received now; set by the reader.
        decoder: decodes what comes once the handshake is over.
        closed: code and reason of the other end's close frame, or those that it is sent for breaking a rule.
        kept: bytes of memory for what has come and was not decoded, or waits behind a ping.

    """

    def __init__(
        self,
        *,
        is_client: bool,
        max_message: int,
        early: float = math.inf,
        piece: float = math.inf,
        head: bytes = b"",
    ) -> None:
        self.is_client = is_client
        self.put: Callable[[Piece], None]
        self.closed: tuple[int, str] | None = None
        self._handshake = H11Handshake(ConnectionType.CLIENT if is_client else ConnectionType.SERVER)
        self._max_message = max_message
        self.decoder = Decoder(masked=not is_client, max_message=min(early, max_message), piece=piece)
        self._state: ConnectionState | None = None  # None during the handshake, which has its own
        self._head = b""  # what came during the handshake: frames may follow in the same bytes
        self._rest: bytes | bytearray = head  # what came and was not decoded yet
        self.kept = len(head)
        self._events: list[Event] = []
        self._behind: list[Piece] = []  # what came behind a ping that is not answered yet
        self._unanswered = 0  # pings that were sent and may still be answered
        self._answers = 0  # to pings of this end, since the last `pop_work`
        self._is_inside = False  # a message is partly sent

    def use_memory(self, messages: int) -> None:
        """Put long binary messages together in memory that is used again, enough for so many at once; 0 for none.

        Only at an end whose peer does not mask. A message that is still in use is never overwritten: then memory is
        added in its place.
        """
        # A BytesIO returns its value without a copy, and copies before it changes a value that is still in use.
        self.decoder.memory = cycle([BytesIO() for _ in range(messages)]) if messages else None

    def fill(self, size: int) -> None:
        """Take `size` bytes that were put into `Decoder.space`."""
        message = self.decoder.fill(size)
        if message is not None:
            self.put(Piece(message.payload))

    def lift_early_limit(self) -> None:
        """Allow messages of full length."""
        self.decoder.max_message = self._max_message

    def pop_work(self, records: int) -> int:
        """Return how many frames have come since the last call, not counting the pongs that this end asked for.

        `records` is the number of nearly empty TLS records since then. The greater of both numbers counts, not their
        sum: most such records hold one frame, which should count once.
        """
        work = max(self.decoder.frames, records) - self._answers
        self.decoder.frames = self._answers = 0
        return work

    def put_back(self, data: bytes | bytearray) -> None:
        """Have bytes that were read elsewhere decoded as if they had just come: `pop_rest` returns them."""
        self._rest += data
        self.kept += len(data)

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
        self.kept = 0
        if self.closed is not None:
            return
        try:
            for count, message in enumerate(self.decoder.feed(data), 1):
                if message.opcode < Opcode.CLOSE:
                    piece = Piece(message.payload, message.last, message.opcode is Opcode.TEXT)
                    if self._events:
                        self._behind.append(piece)
                        self.kept += piece.weight
                    else:
                        self.put(piece)
                elif message.opcode is Opcode.CLOSE:
                    self.closed = read_close(bytes(message.payload))
                    break
                elif message.opcode is Opcode.PING:
                    self._events.append(Ping(payload=bytes(message.payload)))
                else:
                    self._events.append(Pong(payload=bytes(message.payload)))
                    if self._unanswered:
                        self._unanswered -= 1
                        self._answers += 1
                if count == limits.FRAMES_A_TRIP:
                    self._rest = data[self.decoder.consumed :]
                    self.kept += len(self._rest)
                    break
        except FrameError as error:
            self.closed = error.code, str(error)
        if self.closed is not None:
            self._events.append(CloseConnection(*self.closed))

    def put_behind(self) -> None:
        """Put out what came behind pings, because these are answered now: a peer may rely on that order."""
        behind, self._behind = self._behind, []
        for piece in behind:
            self.kept -= piece.weight
            self.put(piece)

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
                return encode(Opcode.PING, event.payload, self._mask())
            case Pong() if is_open:
                return encode(Opcode.PONG, event.payload, self._mask())
            case CloseConnection() if is_open or self._state is ConnectionState.REMOTE_CLOSING:
                self._state = ConnectionState.LOCAL_CLOSING if is_open else ConnectionState.CLOSED
                payload = close_payload(event.code, event.reason or "")
                return encode(Opcode.CLOSE, payload, self._mask())
        raise NotOpen(f"{type(event).__name__} while {self._state}")

    def piece_header(self, size: int, *, last: bool) -> bytes:
        """Return the header of a frame with a piece of a binary message, `size` bytes that a server sends as they are.

        Raises:
            NotOpen: the connection is closing.

        """
        if self._state is not ConnectionState.OPEN:
            raise NotOpen(f"a message while {self._state}")
        opcode = Opcode.CONTINUATION if self._is_inside else Opcode.BINARY
        self._is_inside = not last
        return header(opcode, size, None, last=last)

    def encode(self, pieces: Iterable[Piece]) -> list[Buffer]:
        """Return buffers with frames for `pieces`. Pieces of one message must follow each other, over several calls.

        Raises:
            NotOpen: the connection is closing.

        """
        if self._state is not ConnectionState.OPEN:
            raise NotOpen(f"a message while {self._state}")
        buffers: list[Buffer] = []
        for data, last, is_text in pieces:
            opcode = Opcode.TEXT if is_text else Opcode.BINARY
            if self._is_inside:
                opcode = Opcode.CONTINUATION
            self._is_inside = not last
            unmasked = self.is_client and not is_text and len(data) >= limits.UNMASKED
            buffers += frame_buffers(opcode, data, NO_MASK if unmasked else self._mask(), last=last)
        return buffers

    def _mask(self) -> bytes | None:
        return os.urandom(4) if self.is_client else None
