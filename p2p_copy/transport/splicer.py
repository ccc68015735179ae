"""The relay's express way: long messages that need no decoding move one after the other inside the kernel.

Each part of a message takes one call of `Splicer.take` or `take_now` and one send. It passes neither inbox nor channel,
and no other task has to run for it. `take_now` does not block: a part that has arrived is spliced in the same turn of
the event loop. The link's own reader hands its turn over to the splicer when the payload of such a message comes next,
and has it back when something else does. `Link.splice` and `Link.send_spliced` are all that is seen of this above
`transport`.
"""

from __future__ import annotations

import math
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

import trio

from p2p_copy.transport import limits
from p2p_copy.transport.short_turn import short_turn
from p2p_copy.transport.splice import SplicePipe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from p2p_copy.transport.codec import Codec


class PlainStream(Protocol):
    """A stream below a link without TLS; see `link_io.LinkStream`."""

    def receive_header_now(self, size: int) -> bytes | None:
        """Receive up to `size` bytes of a header without a wait; None if none have come."""

    async def receive_header(self, size: int) -> bytes:
        """Wait until something of a header has come, and receive it; nothing at the end."""

    async def receive_spliced(self, pipe: SplicePipe, most: int, least: int) -> None:
        """Receive into `pipe`, and wait until it has `least` bytes more."""

    def splice_now(self, pipe: SplicePipe, most: int, least: int) -> int:
        """Receive into `pipe` what is there; return how many bytes."""

    async def put_off(self, seconds: float) -> None:
        """Wait before the next read, or until the connection is reset."""


class Splicer:
    """Takes the long messages of a link into a pipe, part by part, while it has the reader's turn.

    It knows the stream and the codec, and not the link: a cycle would leave each link to the garbage collector.

    Attributes:
        pipe: where the bytes are.
        taken: bytes of all parts so far.
        ends_message: whether the part in the pipe is the last one of its message.
        has_turn: whether this reads from the stream, in place of the reader.
        listening_since: Trio's time since when a read has been possible; infinite while there is none.

    """

    def __init__(self, stream: PlainStream, codec: Codec, pace: Callable[[int], float] | None) -> None:
        """Prepare to splice what comes over `stream`, a plain one; `pace` is that of `endpoints.accept`."""
        self.pipe = SplicePipe()
        self.taken = 0
        self.ends_message = False
        self.listening_since = math.inf
        self._stream = stream
        self._codec = codec
        self._decoder = codec.decoder
        self._ahead = 0  # bytes of payload that come next, as long as this has the turn
        self._pace = pace
        self._pause = 0.0  # seconds before the rest of the part that has begun
        self.has_turn = False
        self._reader = trio.lowlevel.ParkingLot()
        self._wait: trio.CancelScope | None = None
        self._is_closed = False

    @property
    def is_worth_it(self) -> bool:
        """Whether what comes next can be spliced, and is long enough for that."""
        return not self.pipe.stopped and self._codec.decoder.raw_ahead >= limits.RELAY_PIECE

    async def take_turn(self) -> None:
        """Let `take` read from now on; wait until what comes next is for the reader again, which calls this."""
        self.has_turn = True
        self._ahead = self._decoder.raw_ahead
        try:
            while self.has_turn:
                await self._reader.park()
        finally:
            self.has_turn = False

    async def take(self) -> int:
        """Take the next part of a message into the pipe; return how many bytes it has. The last one must be sent.

        None are taken if it is not this splicer's turn, or not any more: because something else comes next, there is no
        pipe to be had, or the connection has ended. A part has at least `limits.RELAY_PIECE` bytes, or its frame's last
        ones, or all that came before the end. Cancelling loses what was taken.
        """
        await short_turn()
        if not self.has_turn:
            await trio.lowlevel.checkpoint()
            return 0
        self.listening_since = trio.current_time()
        try:
            if not self._take_what_is_there():
                await self._wait_for_rest()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the reader will meet it, too
        except BaseException:
            self._give_turn_back()
            raise
        finally:
            self.listening_since = math.inf
            if self._is_closed:
                self.pipe.close()
        if not self.pipe.size:
            self._give_turn_back()
        self.taken += self.pipe.size
        return self.pipe.size

    def take_now(self) -> int:
        """Take the next part without blocking; return how many bytes it has, or 0 if not all of it has arrived.

        What has arrived of it stays in the pipe, and the next call continues with it.
        """
        try:
            if not self.has_turn or not self._take_what_is_there():
                return 0
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return 0  # `take` will meet it, too
        self.taken += self.pipe.size
        return self.pipe.size

    def _take_what_is_there(self) -> bool:
        """Take what came of the next part; return whether that is all of it."""
        if not self._ahead and not self.pipe.size:
            head = self._stream.receive_header_now(self._decoder.header_ahead)
            if head is None or not self._begin_message(head):
                return False
        if self._pause:
            return False
        least = self._least
        if size := self._stream.splice_now(self.pipe, self._most, least):
            self._count(size)
        return size >= least

    async def _wait_for_rest(self) -> None:
        """Wait until all of the next part is there."""
        if not self._ahead and not self.pipe.size and self.has_turn:
            with self._waiting():
                self._begin_message(await self._stream.receive_header(self._decoder.header_ahead))
        if self._pause:
            with self._waiting():
                await self._stream.put_off(self._pause)
            self._pause = 0.0
        if not self._ahead or self.pipe.stopped:
            return
        before = self.pipe.size
        try:
            with self._waiting():
                await self._stream.receive_spliced(self.pipe, self._most, self._least)
        finally:
            self._count(self.pipe.size - before)

    def _begin_message(self, head: bytes | bytearray) -> bool:
        """Begin a frame by its header; if it is one for the reader, give the turn back, and return False.

        The reader finds it in the codec.
        """
        self._ahead = self._decoder.begin_raw(head)
        if not self._ahead:
            self._codec.put_back(head)
            self._give_turn_back()
            return False
        if self._pace is not None:
            self._pause = max(0.0, self._pace(self._codec.pop_work(0)))
        return True

    @property
    def _most(self) -> int:
        return min(self._ahead, limits.PIPE_SIZE - self.pipe.size)

    @property
    def _least(self) -> int:
        """Bytes that the part in the pipe lacks; none or fewer if it can be passed on."""
        return min(self._ahead, limits.RELAY_PIECE - self.pipe.size)

    def _count(self, size: int) -> None:
        if size:
            self._ahead -= size
            self.ends_message = self._decoder.skip(size)

    @contextmanager
    def _waiting(self) -> Iterator[None]:
        """Cancel the body when this is withdrawn."""
        with trio.CancelScope() as self._wait:
            try:
                yield
            finally:
                self._wait = None

    def withdraw(self) -> None:
        """Stop, and give the reader its turn back."""
        self.pipe.stop()
        if self._wait is None:
            self._give_turn_back()
        else:
            self._wait.cancel()

    def close(self) -> None:
        """Stop, and throw away what is in the pipe: while `take` fills it, once the codec knows how much that is."""
        self._is_closed = True
        is_filling = self._wait is not None
        self.withdraw()
        if not is_filling:
            self.pipe.close()

    def _give_turn_back(self) -> None:
        self.has_turn = False
        self._reader.unpark_all()
