"""Decides when a link reads, and how much. All that holds it back stands in `Reader.next_bytes`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Protocol

import trio

from p2p_copy.transport import limits
from p2p_copy.transport.inbox import Piece

if TYPE_CHECKING:
    from collections.abc import Callable

    from p2p_copy.transport.codec import Codec
    from p2p_copy.transport.monitored import LinkStream
    from p2p_copy.transport.splice import SplicePipe


class ReadWindow(Protocol):
    """Decides when a link reads, and how much; see `relay.budget.Window`."""

    listening_since: float

    async def room(self) -> None:
        """Wait until a read may begin."""

    def allow(self, most: int) -> int:
        """Return how many of up to `most` bytes that are there may be read."""

    def lift(self) -> None:
        """Let reads begin at any time."""


class Reader:
    """Reads for one link, from `stream` into the inbox of `codec`.

    The link knows its reader, but not the other way round: a cycle would leave each link to the garbage collector.

    Attributes:
        pipe: the way of spliced bytes; None if nothing is to be spliced.

    """

    def __init__(self, stream: LinkStream, codec: Codec, pace: Callable[[int], float] | None) -> None:
        """Prepare to read; `pace` is that of `endpoints.accept`."""
        self._stream = stream
        self._codec = codec
        self._inbox = codec.inbox
        self._pace = pace
        self._window: ReadWindow | None = None
        self.pipe: SplicePipe | None = None

    async def next_bytes(self) -> bytes | bytearray:
        """Return what the codec is to be given next; nothing at the end. All that came before is answered by now.

        This waits until all that came is received from the link, and until window and pace allow a read.
        """
        self._codec.put_behind()
        if self._codec.closed is not None:
            self._inbox.end()
        while True:
            await self._inbox.wait_empty()
            if rest := self._codec.pop_rest():
                break
            if self._window is not None:
                await self._window.room()
            if self.pipe is None or not await self._splice(self.pipe):
                break
        if self._pace is not None:
            seconds = self._pace(self._codec.pop_work(self._stream.pop_work()))
            if seconds > 0:
                await self._put_off(seconds)
        if rest:
            await trio.lowlevel.checkpoint()  # it is the turn of other tasks
            return rest
        # A plain read ends where a long payload begins or ends: a payload that fills its read need not be copied.
        most = self._codec.ahead if self._stream.is_plain else 0
        return await self._stream.receive_some(min(most or limits.RECEIVE_BUFFER, limits.RECEIVE_BUFFER))

    async def _splice(self, pipe: SplicePipe) -> bool:
        """Receive spliced bytes if that is possible and worth it; return whether any came."""
        size = min(self._codec.raw_ahead, limits.PIPE_SIZE)
        if pipe.stopped or size < limits.RELAY_PIECE:
            return False
        spliced = await self._stream.receive_spliced(pipe, size, limits.RELAY_PIECE)
        if spliced is None:
            return False
        self._inbox.put(Piece(spliced, self._codec.skip(len(spliced))))
        return True

    async def _put_off(self, seconds: float) -> None:
        """Wait before the next read, or until the connection is reset.

        A read would report the reset only after all bytes that came before it.
        """
        until = trio.current_time() + seconds
        while (rest := until - trio.current_time()) > 0:
            await trio.sleep(min(rest, limits.PACE_CHECK))
            if self._stream.silent_for() == math.inf:
                raise trio.BrokenResourceError

    def limit(self, window: ReadWindow) -> None:
        """Let `window` decide from now on when a read may begin, and how much it may bring."""
        self._window = window
        self._stream.limit_reads(window.allow)

    def lift_limits(self) -> None:
        """Throw away what came and what comes, so that nothing holds reads back any more."""
        self._inbox.discard()
        if self._window is not None:
            self._window.lift()
        if self.pipe is not None:
            self.pipe.stop()

    @property
    def under_way(self) -> int:
        """Bytes of a message that have come and cannot be received before its rest."""
        return self._codec.under_way + (self.pipe.size if self.pipe is not None else 0)

    @property
    def listening_since(self) -> float:
        """Trio's time since when a read has been possible; infinite while this side holds it back."""
        since = self._inbox.listening_since
        for each in (self.pipe, self._window):
            if each is not None:
                since = max(since, each.listening_since)
        return since
