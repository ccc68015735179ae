"""How a link reads and sends: what has come and was not received yet, when more is read, how long a send may take.

All that holds a read back stands in `Reader.next_bytes`.
"""

from __future__ import annotations

import contextlib
import math
from collections import deque
from typing import TYPE_CHECKING, Protocol, cast

import trio

from p2p_copy.transport import limits
from p2p_copy.transport.codec import LONGEST_HEADER, NO_MASK
from p2p_copy.transport.tcp import TCPStream, gathering
from p2p_copy.transport.timeouts import within
from p2p_copy.transport.tls import TLSStream, drop_some

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from p2p_copy.transport.codec import Codec, Piece
    from p2p_copy.transport.pacer import Pacer
    from p2p_copy.transport.splice import SplicePipe
    from p2p_copy.transport.splicer import Splicer
    from p2p_copy.transport.tcp import Buffer


class LinkStream:
    """The stream below a link, and when it last moved. Sends wait for each other, and each takes a bounded time.

    Attributes:
        below: the stream itself.
        is_plain: whether it is a socket without TLS, which can send and receive spliced bytes.
        first: up to `remember` of the first bytes received.
        received_at, sent_at: Trio's time when something was last received, and when a send was last completed.
        sending: a send is under way.
        broken: a send was cancelled or failed, so it is unknown how much of it is out.
        patience: seconds that one send may take; one that takes longer cuts the connection. Without such a limit the
            system's own holds, if it has one (`limits.TCP_USER_TIMEOUT`).
        on_unread: is called when a send took longer and the connection was cut.
        send_pacer, receive_pacer: keep what is sent, and what is received, to a rate; None for no limit. That of the
            receiver has a rate; the sender's may get one later.
        pop_work: returns how many TLS records with next to no content have come since the last call.

    """

    def __init__(self, stream: trio.abc.Stream, *, remember: int = 0) -> None:
        """Wrap `stream`."""
        self.below = gathering(stream)
        self.is_plain = isinstance(stream, TCPStream)
        self._remember = remember
        self.first = b""
        self.received_at = self.sent_at = trio.current_time()
        self.sending = self.broken = False
        self.patience = math.inf
        self.on_unread: Callable[[], None] | None = None
        self.send_pacer: Pacer | None = None
        self.receive_pacer: Pacer | None = None
        self.pop_work: Callable[[], int] = stream.pop_work if isinstance(stream, TLSStream) else int
        self._sends = trio.Lock()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """Receive as the stream below does."""
        pacer = self.receive_pacer
        if pacer is not None:
            await pacer.turn()
            max_bytes = min(pacer.piece, max_bytes or pacer.piece)
        data = await self.below.receive_some(max_bytes)
        if data:
            self.received_at = trio.current_time()
            if pacer is not None:
                pacer.passed(len(data))
            if len(self.first) < self._remember:
                self.first += data[: self._remember - len(self.first)]
        return data

    async def receive_into(self, *buffers: memoryview) -> int:
        """Receive into these buffers as the stream below does, at any rate."""
        size = await self.below.receive_into(*buffers)
        if size:
            self.received_at = trio.current_time()
        return size

    def receive_header_now(self, size: int) -> bytes | None:
        """Receive as the stream below does, which must be plain."""
        assert isinstance(self.below, TCPStream)
        data = self.below.receive_header_now(size)
        if data:
            self.received_at = trio.current_time()
        return data

    async def receive_header(self, size: int) -> bytes:
        """Receive as the stream below does, which must be plain."""
        assert isinstance(self.below, TCPStream)
        data = await self.below.receive_header(size)
        if data:
            self.received_at = trio.current_time()
        return data

    async def receive_spliced(self, pipe: SplicePipe, most: int, least: int) -> None:
        """Receive as the stream below does, which must be plain."""
        assert isinstance(self.below, TCPStream)
        if await self.below.receive_spliced(pipe, most, least):
            self.received_at = trio.current_time()

    def splice_now(self, pipe: SplicePipe, most: int, least: int) -> int:
        """Receive as the stream below does, which must be plain."""
        assert isinstance(self.below, TCPStream)
        taken = self.below.splice_now(pipe, most, least)
        if taken:
            self.received_at = trio.current_time()
        return taken

    async def put_off(self, seconds: float) -> None:
        """Wait before the next read, or until the connection is reset.

        A read would report the reset only after all bytes that came before it.

        Raises:
            BrokenResourceError: the connection was reset.

        """
        until = trio.current_time() + seconds
        while (rest := until - trio.current_time()) > 0:
            await trio.sleep(min(rest, limits.PACE_CHECK))
            if self.below.silent_for() == math.inf:
                raise trio.BrokenResourceError

    async def send_all(self, data: Buffer) -> None:
        """Send all of `data`."""
        await self.send_buffers([data])

    async def send_buffers(
        self,
        buffers: Sequence[Buffer | SplicePipe],
        more: Callable[[], Sequence[Buffer | SplicePipe]] | None = None,
    ) -> None:
        """Send as the stream below does, after the sends that began before. Only a plain one sends spliced bytes.

        Whenever the stream has taken all without a wait, it is given what `more` returns, until that is nothing.
        """
        try:
            self._sends.acquire_nowait()
        except trio.WouldBlock:
            await self._sends.acquire()
        try:
            if self.broken:
                raise trio.BrokenResourceError
            await trio.lowlevel.checkpoint_if_cancelled()  # a send that has not begun breaks nothing
            self.sending = True
            try:
                if self.send_pacer is not None and self.send_pacer.rate is not None:
                    await self._send_paced(cast("Sequence[Buffer]", buffers), self.send_pacer)
                elif self.patience == math.inf:
                    await self.below.send_buffers(cast("Sequence[Buffer]", buffers))
                else:
                    await self._send_in_time(cast("Sequence[Buffer]", buffers), more)
            except BaseException:
                self.broken = True
                raise
            finally:
                self.sending = False
            self.sent_at = trio.current_time()
        finally:
            self._sends.release()

    async def _send_paced(self, buffers: Sequence[Buffer], pacer: Pacer) -> None:
        rest = memoryview(b"".join(buffers))
        while rest:
            await pacer.turn()
            piece, rest = rest[: pacer.piece], rest[pacer.piece :]
            await self.below.send_buffers([piece])
            pacer.passed(len(piece))

    async def _send_in_time(
        self, buffers: Sequence[Buffer], more: Callable[[], Sequence[Buffer | SplicePipe]] | None
    ) -> None:
        if isinstance(self.below, TCPStream):
            # Most sends are over at once, and need no deadline.
            buffers = cast("Sequence[Buffer]", self.below.send_now(buffers))
            while not buffers and more is not None and (following := more()):
                buffers = cast("Sequence[Buffer]", self.below.send_now(following))
            if not buffers:
                await trio.lowlevel.cancel_shielded_checkpoint()
                return
        with within(self.patience) as deadline:
            await self.below.send_buffers(buffers)
        if deadline.is_over:
            if self.on_unread is not None:
                self.on_unread()
            await trio.aclose_forcefully(self.below)  # a read that waits ends, too
            raise trio.BrokenResourceError

    async def hang_up(self, linger: float) -> None:
        """Close the stream below by force, after `linger` seconds at most in which the other end may close it."""
        try:
            with (
                trio.move_on_after(linger),
                contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError),
            ):
                while linger and await drop_some(self.below):
                    pass
        finally:
            await trio.aclose_forcefully(self.below)


class ReadWindow(Protocol):
    """Decides when a link reads, and how much; see `relay.budget.Window`."""

    listening_since: float

    async def room(self) -> None:
        """Wait until a read may begin."""

    def allow(self, most: int) -> int:
        """Return how many of up to `most` bytes that are there may be read."""

    def lift(self) -> None:
        """Let reads begin at any time."""


class Inbox:
    """Pieces of messages that were read, and not yet received from the link; and then the end.

    Attributes:
        room: bytes that may be here when a read begins. So the inbox never holds more than these and what one read
            brings.
        weight: bytes of memory that the pieces take.
        listening_since: Trio's time since when there has been room for a read; infinite while there is none.

    """

    def __init__(self) -> None:
        self._pieces: deque[Piece] = deque()
        self._receivers = trio.lowlevel.ParkingLot()
        self._readers = trio.lowlevel.ParkingLot()
        self._has_ended = self._is_unwanted = self._is_called = False
        self.room = 0
        self.weight = 0
        self.listening_since = 0.0

    def put(self, piece: Piece) -> None:
        """Add a piece. Call `wait_for_room` before the next read."""
        if not self._is_unwanted:
            self._pieces.append(piece)
            self.weight += piece.weight
            if self._receivers:
                self._receivers.unpark_all()

    def call(self) -> None:
        """Wake the receiver, or the next one, without a piece."""
        self._is_called = True
        self._receivers.unpark_all()

    def end(self) -> None:
        """Wake all receivers: nothing more will come."""
        self._has_ended = True
        self._receivers.unpark_all()

    def discard(self) -> None:
        """Throw away all pieces, and from now on each new one."""
        self._is_unwanted = True
        self.pop_all()

    async def wait_empty(self) -> None:
        """Wait until every piece is taken."""
        while self._pieces:
            await self._readers.park()

    async def wait_for_room(self) -> None:
        """Wait until a read may begin."""
        if self.weight > self.room:
            self.listening_since = math.inf
            while self.weight > self.room:
                await self._readers.park()
            self.listening_since = trio.current_time()

    async def wait_for_piece(self) -> bool:
        """Wait until there is a piece, or a call; return False if there is none and there will be none."""
        await trio.lowlevel.checkpoint_if_cancelled()
        while not self._pieces and not self._is_called and not self._has_ended:
            await self._receivers.park()
        return bool(self._pieces) or self._is_called

    def __bool__(self) -> bool:
        """Whether there is a piece."""
        return bool(self._pieces)

    @property
    def first(self) -> Piece:
        """The piece that is taken next."""
        return self._pieces[0]

    def pop(self) -> Piece:
        """Take the first piece."""
        piece = self._pieces.popleft()
        self.weight -= piece.weight
        if self._readers and self.weight <= self.room:
            self._readers.unpark_all()
        return piece

    def pop_all(self) -> list[Piece]:
        """Take all pieces, and a call."""
        self._is_called = False
        pieces = list(self._pieces)
        self._pieces.clear()
        self.weight = 0
        self._readers.unpark_all()
        return pieces


class Reader:
    """Reads for one link, from `stream` through `codec` into an inbox.

    The link knows its reader, but not the other way round: a cycle would leave each link to the garbage collector.

    Attributes:
        inbox: where messages go.
        splicer: moves long messages past the inbox; None if nothing is to be spliced.

    """

    def __init__(self, stream: LinkStream, codec: Codec, pace: Callable[[int], float] | None) -> None:
        """Prepare to read; `pace` is that of `endpoints.accept`."""
        self._stream = stream
        self._codec = codec
        self.inbox = Inbox()
        codec.put = self.inbox.put
        self.pace = pace
        self._window: ReadWindow | None = None
        self.splicer: Splicer | None = None
        self._header = memoryview(bytearray(LONGEST_HEADER - len(NO_MASK)))

    async def next_bytes(self) -> bytes | bytearray:
        """Return the next bytes for the codec, none at the end. The caller has answered everything before them.

        First this waits until the inbox has room, and until window and pace allow a read.
        """
        self.put_rest()
        while True:
            await self.inbox.wait_for_room()
            if self._stream.receive_pacer is not None or (space := self._codec.decoder.space()) is None:
                break
            header = await self._receive_payload(space)
            if header is not None:
                return header
        rest = self._codec.pop_rest()
        if not rest and self._window is not None:
            await self._window.room()
        if not rest and self.splicer is not None and self.splicer.is_worth_it:
            self.inbox.call()
            await self.splicer.take_turn()
            rest = self._codec.pop_rest()
        if self.pace is not None:
            seconds = self.pace(self._codec.pop_work(self._stream.pop_work()))
            if seconds > 0:
                await self._stream.put_off(seconds)
        if rest:
            await trio.lowlevel.checkpoint()  # so that other tasks have their turn
            return rest
        # A plain read ends where a long payload begins or ends: a payload that fills its read need not be copied.
        ends = self._stream.is_plain or self._codec.decoder.memory is not None
        most = self._codec.decoder.ahead if ends else 0
        return await self._stream.receive_some(min(most or limits.RECEIVE_BUFFER, limits.RECEIVE_BUFFER))

    async def _receive_payload(self, space: memoryview) -> bytes | None:
        """Receive what comes of a long payload into `space`, and what comes of the header behind it.

        Return what came of the header, or None; nothing at the end.
        """
        with space:
            size, most = await self._stream.receive_into(space, self._header), len(space)
        if not size:
            return b""
        self._codec.fill(min(size, most))
        return bytes(self._header[: size - most]) if size > most else None

    async def answer(self, data: Buffer) -> None:
        """Send what the library says by itself.

        A close frame is answered only after the send that is under way, which may never be over because the other end
        reads nothing any more. So the receiver learns of the end before that.
        """
        if self._codec.closed is not None and self._stream.sending:
            self.put_rest()
        await self._stream.send_all(data)

    def put_rest(self) -> None:
        """Put into the inbox what came behind pings, and the end if the other end has closed."""
        self._codec.put_behind()
        if self._codec.closed is not None:
            self.inbox.end()

    def limit(self, window: ReadWindow) -> None:
        """Let `window` decide from now on when a read may begin, and how much it may bring."""
        self._window = window
        self._stream.below.limit_reads(window.allow)

    def lift_limits(self) -> None:
        """Throw away what came and what comes, so that nothing holds reads back any more."""
        self.inbox.discard()
        self._stream.receive_pacer = None
        if self._window is not None:
            self._window.lift()
        if self.splicer is not None:
            self.splicer.withdraw()

    @property
    def under_way(self) -> int:
        """Bytes of a message that have come and cannot be received before its rest."""
        return self._codec.decoder.here + (self.splicer.pipe.size if self.splicer is not None else 0)

    @property
    def listening_since(self) -> float:
        """Trio's time since when a read has been possible; infinite while this side holds it back."""
        if self.splicer is not None and self.splicer.has_turn:
            return self.splicer.listening_since
        since = self.inbox.listening_since
        return since if self._window is None else max(since, self._window.listening_since)
