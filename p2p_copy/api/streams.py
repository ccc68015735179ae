"""The two ends of a stream in a program: an async iterable that is sent, and an async iterator of what is received.

Both take part in the flow: what is not read here is not sent there, beyond the window of a stream.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Final, TypeAlias

import trio

from p2p_copy.api.transfer import Transfer
from p2p_copy.files import limits
from p2p_copy.protocol.messages import Entry, Kind

if TYPE_CHECKING:
    from collections.abc import AsyncIterable
    from typing import Self

    from p2p_copy.api.callers import AsyncCaller, Caller
    from p2p_copy.api.transfer import TransferTask

    Chunk: TypeAlias = bytes | bytearray | memoryview

_MODE: Final = 0o600
"""Of the file that a receiver may make of it: only its owner may read it."""


class ChunkSource:
    """Chunks of a program, as `files.stdio.Source`."""

    may_wait_forever = False  # but in Trio, where it is cancelled, and not in the thread that reads
    stalled = "Nothing moves: the program here gives nothing to send"

    def __init__(self, chunks: AsyncIterable[Chunk], caller: Caller, name: str) -> None:
        self.entry = Entry(Kind.FILE, 0, name, _MODE, time.time_ns())
        self._chunks = aiter(chunks)
        self._caller = caller
        self._pieces: deque[bytes] = deque()

    def read(self) -> bytes:
        """Return the next bytes, at most `limits.STREAM_READ`, none at the end; in a worker thread.

        Raises:
            TypeError: a chunk is not bytes.
            Exception: what the program raises instead of a chunk.

        """
        while not self._pieces:
            chunk = trio.from_thread.run(self._next)
            if chunk is None:
                return b""
            view = memoryview(chunk).cast("B")
            for begin in range(0, len(view), limits.STREAM_READ):
                self._pieces.append(bytes(view[begin : begin + limits.STREAM_READ]))
        return self._pieces.popleft()

    async def _next(self) -> Chunk | None:
        return await self._caller.call(self._ask)

    async def _ask(self) -> Chunk | None:
        return await anext(self._chunks, None)

    def close(self) -> None:
        """Do nothing: the iterable belongs to the program."""


class ChunkSink:
    """What is received, for the program to read, as `files.stdio.Sink`."""

    may_wait_forever = False  # as `ChunkSource`
    stalled = "Nothing moves: the program here takes nothing"

    def __init__(self) -> None:
        self._put, self._get = trio.open_memory_channel[bytes](0)
        self._taken: bytes | None = (
            None  # out of the channel, and not handed over if the wait was cancelled then
        )

    def begin(self, entry: Entry) -> None:
        """Do nothing: a stream has no name here."""

    def write(self, data: bytes | memoryview) -> None:
        """Wait until the program reads it; in a worker thread."""
        trio.from_thread.run(self._put.send, bytes(data))

    def finish(self, entry: Entry, digest: bytes) -> None:
        """Do nothing: that all was verified is known when the transfer is over."""

    def close(self) -> None:
        """Do nothing."""

    async def get(self, is_over: trio.Event) -> bytes | None:
        """Return the next chunk, the same one until `handed_over`; None when the transfer is over."""

        async def receive() -> None:
            self._taken = await self._get.receive()
            nursery.cancel_scope.cancel()

        if self._taken is None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(receive)
                await is_over.wait()
                nursery.cancel_scope.cancel()
        return self._taken

    def handed_over(self) -> None:
        """Let `get` return the chunk after this one: the program has it."""
        self._taken = None


class IncomingStream(Transfer):
    """A stream as it is received: an async iterator of its chunks, bytes of at most a mebibyte.

    A cancelled wait for the next one loses none. It ends when all of it has come and is verified, and raises the
    transfer's error otherwise: what was read before is then only a part.
    """

    def __init__(self, caller: AsyncCaller, task: TransferTask, sink: ChunkSink) -> None:
        super().__init__(caller, task)
        self._sink = sink

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        chunk = await self._caller.enter(self._sink.get, self._task.is_over)
        self._sink.handed_over()
        if chunk is None:
            _ = self.report
            raise StopAsyncIteration
        return chunk
