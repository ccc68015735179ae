"""What a sender does with a stream: it reads ahead, sends, keeps what is not acknowledged, and sends that again.

1. A task of the whole transfer reads from the source into a window, as long as that has room.
2. For each link the receiver says how far it is, which must lie in the window, and the stream goes on from there.
3. What the receiver acknowledges is hashed and let go. So the digest is always that of what is gone, and can be
   continued to any place in the window.

A source is not opened twice, so whoever is started anew can not go on.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final, Protocol

import trio

from p2p_copy.errors import P2PCopyError, PeerMisbehaved, PipeFailed
from p2p_copy.files import limits as files_limits
from p2p_copy.protocol import limits as protocol_limits, names
from p2p_copy.protocol.digest import RootDigest, StreamDigest
from p2p_copy.protocol.messages import Data, FileEnd, Finish, Held, Holds, Page, Progress, Receipt
from p2p_copy.transfer import limits
from p2p_copy.transfer.chunk_size import ChunkSize
from p2p_copy.transfer.delivery import Delivery
from p2p_copy.transfer.farewell import restarted_error
from p2p_copy.transfer.stalls import slow_way
from p2p_copy.transfer.stream.window import Window
from p2p_copy.transport.link import LinkBroken

if TYPE_CHECKING:
    from collections.abc import Sequence

    from p2p_copy.observer import Observer
    from p2p_copy.protocol.messages import Accept, Entry, Message
    from p2p_copy.protocol.session import Session
    from p2p_copy.transfer.conversation import Conversation
    from p2p_copy.transfer.stalls import Stalls


class Source(Protocol):
    """Where a stream comes from: see `files.standard.StandardInput` and `files.streams.OneFile`."""

    entry: Entry
    waits: bool
    dry: str

    def read(self) -> bytes:
        """Return the next bytes, none at the end."""

    def close(self) -> None:
        """Let go of it."""


class StreamSender:
    """A stream on its way, link after link.

    Attributes:
        entry: how it is named; with its size at the end.
        digest: its file digest, at the end.
        root: the root digest of the transfer, at the end.
        broken: why nothing more can be read, if that is so.

    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._window = Window()
        self._pace = ChunkSize()
        self._ended = False
        self._moved = trio.lowlevel.ParkingLot()
        self._acknowledged = 0
        self._held: Held | None = None
        self._said = 0  # bytes, from the first on, that some link was given
        self._reached = 0  # the same of this link, or of what the receiver had before it
        self._gone: list[bytes | memoryview] = []  # let go of, and not hashed yet
        self._digest = StreamDigest()  # of what was
        self.entry = source.entry
        self.digest = b""
        self.root = b""
        self.broken: P2PCopyError | None = None

    @property
    def kept(self) -> int:
        """Bytes in memory."""
        return self._window.size

    async def read(self) -> None:
        """Read all of the source, as long as there is room; the task of the whole transfer.

        Raises:
            PipeFailed: the source cannot be read to its end.

        """
        while not self._ended:
            while self._is_full:
                await self._moved.park()
            try:
                data = await trio.to_thread.run_sync(self._source.read, abandon_on_cancel=self._source.waits)
            except P2PCopyError as error:
                self.broken = error
                raise
            self._window.put(data)
            self._ended = not data
            self._moved.unpark_all()

    def close(self) -> None:
        """Let go of the source."""
        self._source.close()

    # One link

    async def tell(self, conversation: Conversation, accept: Accept, observer: Observer) -> Receipt:
        """Send all that the receiver does not have; return its receipt, checked.

        Raises:
            PipeFailed: the receiver has not what the window begins with, or gave up.
            P2PCopyError: the link is lost, or the receiver breaks the protocol.

        """
        refusal = names.refusal(self.entry.name, portable=accept.portable_names)
        if refusal is not None:
            raise PipeFailed(
                f"The receiver cannot take the name of what is sent: {refusal}.", "its name is not taken."
            )
        self._held = None
        self._reached = 0
        delivery = Delivery(conversation, observer, slow_output=self._slow_output)
        stalls = delivery.stalls
        await conversation.tell(Page((self._source.entry,)))

        async def transmit(records: trio.MemoryReceiveChannel[bytes]) -> None:
            with records:
                try:
                    async for record in records:
                        with stalls.waiting_for(lambda: slow_way(stalls), lambda: stalls.gone):
                            await conversation.send(record)
                except LinkBroken:
                    return  # the listener learns why, perhaps from the receiver's own last words
            await delivery.wait_for_receipt()

        to_wire, made = trio.open_memory_channel[bytes](protocol_limits.PIPELINE)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stalls.watch)
            nursery.start_soon(self._produce, to_wire, conversation.session, stalls)
            nursery.start_soon(transmit, made)
            receipt = await self._listen(conversation, delivery, observer)
            nursery.cancel_scope.cancel()
        size = self.entry.size
        if receipt != Receipt(1, size, 0, 0, self.root):
            raise PeerMisbehaved("The receiver confirmed something else than what was sent.")
        return receipt

    async def _produce(
        self, records: trio.MemorySendChannel[bytes], session: Session, stalls: Stalls
    ) -> None:
        """Make records of what is in the window; the last one once all of it is."""
        with records:
            with stalls.waiting_for(_SILENT_RECEIVER):
                while self._held is None:
                    await self._moved.park()
            at = await self._begin(self._held)
            began = trio.current_time()
            while not (self._ended and self._window.end == at):
                self._gone += self._window.release(self._acknowledged)
                pieces = self._next(at)
                if not self._gone and not pieces:
                    await self._wait_for_more(stalls)
                    began = trio.current_time()
                    continue
                self._moved.unpark_all()  # there may be room now
                sealed = await trio.to_thread.run_sync(self._seal, session, at, pieces)
                at += sum(map(len, pieces))
                self._reached = at
                self._said = max(self._said, at)
                for record in sealed:
                    try:
                        await records.send(record)
                    except trio.BrokenResourceError:
                        return  # nothing is transmitted any more; the listener learns why
                now = trio.current_time()
                if sealed:
                    self._pace.keep(sum(map(len, sealed)), now - began)
                began = now
            last = await trio.to_thread.run_sync(self._end, session, self._between(at))
            with suppress(trio.BrokenResourceError):
                await records.send(last)

    def _next(self, at: int) -> list[memoryview]:
        """Return what is to be said next: some records full at most."""
        pieces: list[memoryview] = []
        for piece in self._window.look(at, self._pace.chunk):
            pieces.append(piece)
            if len(pieces) == protocol_limits.PIPELINE:
                break
        return pieces

    async def _wait_for_more(self, stalls: Stalls) -> None:
        """Wait until there is something to do: that the receiver says that it is there brings nothing."""
        state = self._acknowledged, self._window.end, self._ended
        with stalls.waiting_for(_SLOW_READER if self._is_full else self._source.dry):
            while (self._acknowledged, self._window.end, self._ended) == state:
                await self._moved.park()

    @property
    def _is_full(self) -> bool:
        return self._window.size + files_limits.STREAM_READ > protocol_limits.STREAM_WINDOW

    async def _begin(self, held: Held) -> int:
        """Return the place from which the receiver wants the stream.

        Raises:
            PipeFailed: it has not what the window begins with.
            PeerMisbehaved: it has what was never sent.

        """
        if held.size < self._acknowledged:
            raise restarted_error("receiver")
        if held.size and not self._said:
            raise restarted_error("sender")
        if held.index or held.size > self._said:
            raise PeerMisbehaved("The receiver says that it has what was never sent.")
        between = self._between(held.size)
        if await trio.to_thread.run_sync(self._digest_behind, between) != held.digest:
            raise PeerMisbehaved("The receiver does not hold what was sent.")
        return held.size

    def _between(self, place: int) -> list[memoryview]:
        """Return what is in the window before a place."""
        left = place - self._window.start
        pieces = []
        for piece in self._window.look(self._window.start, files_limits.STREAM_READ):
            if left <= 0:
                break
            pieces.append(piece[:left])
            left -= len(piece)
        return pieces

    def _digest_behind(self, pieces: Sequence[memoryview]) -> bytes:
        """Return the digest of all that is gone and these pieces; in a worker thread."""
        self._hash_gone()
        digest = self._digest.copy()
        for piece in pieces:
            digest.update(piece)
        return digest.digest()

    def _hash_gone(self) -> None:
        gone, self._gone = self._gone, []
        for piece in gone:
            self._digest.update(piece)

    def _seal(self, session: Session, at: int, pieces: Sequence[memoryview]) -> list[bytes]:
        """Hash what is gone, and say the pieces from the place `at` on; in a worker thread."""
        self._hash_gone()
        records = []
        for piece in pieces:
            if session.pending and session.pending + len(piece) > self._pace.chunk + limits.RECORD_SPARE:
                records.append(session.record())
            session.say(Data(0, at, piece))
            at += len(piece)
        if session.pending:
            records.append(session.record())
        return records

    def _end(self, session: Session, rest: Sequence[memoryview]) -> bytes:
        """Say that all was said, with the digests; in a worker thread."""
        self.digest = self._digest_behind(rest)
        self.entry = self._source.entry._replace(size=self._window.end)
        root = RootDigest()
        root.add(self.entry, self.digest)
        self.root = root.digest()
        session.say(FileEnd(0, self.digest))
        session.say(Finish(1, 1, self.entry.size, 0, self.root))
        return session.record()

    async def _listen(self, conversation: Conversation, delivery: Delivery, observer: Observer) -> Receipt:
        with delivery.patience(beats=True):  # its output may stand still for hours
            while True:
                message = await conversation.hear()
                if isinstance(message, Receipt):
                    return message
                self._hear(message, observer)
                delivery.hear(message)
                self._moved.unpark_all()

    def _slow_output(self) -> str:
        return "" if self._acknowledged == self._window.end else _SLOW_READER

    def _hear(self, message: Message, observer: Observer) -> None:
        match message:
            case Progress(files=files, size=size) if size <= self._reached:
                self._acknowledged = max(self._acknowledged, size)
                observer.progress(files, size)
            case Holds(end=1, files=(held,)) if self._held is None:
                self._held = held
                self._reached = min(held.size, self._said)
                observer.spared(held.size)
            case _:
                raise PeerMisbehaved("The receiver says what makes no sense for a pipe.")


_SLOW_READER: Final = "Nothing moves: the receiver is there, but what it writes to takes nothing"
_SILENT_RECEIVER: Final = "Nothing moves: the receiver has not said where to go on"
