"""What a receiver does with a stream: it takes what comes, writes it, says how far it is, and where to go on.

1. What comes is checked and hashed, and waits in a window for a task of the whole transfer that writes it. So the link
   is read whatever the output does, and the sender's window is what bounds ours.
2. What is written is acknowledged, often enough that the sender need not wait for that.
3. A link that comes after another one goes on behind what has come. Who is started anew has nothing, and cannot.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import trio

from p2p_copy.errors import P2PCopyError, PeerMisbehaved, PipeFailed, TooMuch
from p2p_copy.files import limits as files_limits
from p2p_copy.files.selection import EVERYTHING
from p2p_copy.peer.multipath import LINK_ERRORS
from p2p_copy.protocol import limits as protocol_limits, names
from p2p_copy.protocol.digest import RootDigest, StreamDigest
from p2p_copy.protocol.escape import escape
from p2p_copy.protocol.messages import (
    Abort,
    Data,
    FileEnd,
    Finish,
    Goodbye,
    Held,
    Holds,
    Kind,
    Page,
    Progress,
    Receipt,
    WholeFile,
)
from p2p_copy.transfer import limits
from p2p_copy.transfer.farewell import restarted_error
from p2p_copy.transfer.reasons import given_up
from p2p_copy.transfer.stalls import Stalls, nothing_comes_from_pipe
from p2p_copy.transfer.stream.window import Window
from p2p_copy.transport.link import LinkBroken

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from p2p_copy.files.selection import Selection
    from p2p_copy.observer import Observer
    from p2p_copy.peer.channel import Channel
    from p2p_copy.protocol.messages import Entry
    from p2p_copy.protocol.session import Session
    from p2p_copy.transfer.conversation import Conversation


class Sink(Protocol):
    """Where a stream goes: see `files.standard.StandardOutput` and `files.streams.GrowingFile`."""

    waits: bool
    slow: str

    def begin(self, entry: Entry) -> None:
        """Be ready for its bytes."""

    def write(self, data: bytes | memoryview) -> None:
        """Take the next of them."""

    def finish(self, entry: Entry, digest: bytes) -> None:
        """Know that all are there."""

    def close(self) -> None:
        """Throw away what is not complete."""


class StreamReceiver:
    """A stream as it comes, link after link. `max_size` bounds its bytes, and its name must be one of a `selection`.

    Attributes:
        entry: how it is named; with its size at the end.
        digest: its file digest, at the end.
        root: the root digest of the transfer, at the end.
        broken: why nothing more can be written, if that is so.

    """

    def __init__(
        self,
        sink: Sink,
        *,
        portable_names: bool,
        max_size: int | None,
        selection: Selection = EVERYTHING,
    ) -> None:
        self._sink = sink
        self._selection = selection
        self._portable_names = portable_names
        self._max_size = max_size
        self._named: Entry | None = None
        self._window = Window()  # what has come and is not written
        self._moved = trio.lowlevel.ParkingLot()
        self._came: list[bytes] = []  # what was hashed, and is on its way into the window
        self._digest = StreamDigest()  # of what has come
        self._complete = False
        self.digest = b""
        self.root = b""
        self.broken: P2PCopyError | None = None

    @property
    def kept(self) -> int:
        """Bytes in memory."""
        return self._window.size

    @property
    def entry(self) -> Entry:
        """How it is named, with its size."""
        assert self._named is not None, "the sender has named it"
        return self._named._replace(size=self._digest.size)

    async def write(self) -> None:
        """Write all that comes; the task of the whole transfer.

        Raises:
            PipeFailed, NoSpace, OutputNotWritable: nothing more can be written.

        """
        while True:
            while not self._window.size:
                await self._moved.park()
            piece = next(self._window.look(self._window.start, files_limits.STREAM_READ))
            try:
                await trio.to_thread.run_sync(self._sink.write, piece, abandon_on_cancel=self._sink.waits)
            except P2PCopyError as error:
                self.broken = error
                raise
            self._window.release(self._window.start + len(piece))
            self._moved.unpark_all()

    def close(self) -> None:
        """Throw away what is not complete."""
        self._sink.close()

    # One link

    async def take(
        self, conversation: Conversation, observer: Observer, confirm: Callable[[], Awaitable[None]]
    ) -> bool:
        """Take what is missing, `confirm` here that all is there, and tell the sender; return whether it knows.

        Raises:
            P2PCopyError: nothing more comes, or nothing more can be written.

        """
        stalls = Stalls(observer, conversation)
        hearing = _Hearing(conversation.channel)
        session = conversation.session
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stalls.watch)
            nursery.start_soon(hearing.fetch)
            nursery.start_soon(self._watch, stalls)
            while self._named is None or not hearing.named:
                await self._hear(hearing, session, stalls)
            observer.spared(self._window.start)
            held = Held(0, self._digest.size, await trio.to_thread.run_sync(self._digest.digest))
            await conversation.tell(Holds(1, (held,)))
            async with trio.open_nursery() as both:
                both.start_soon(self._acknowledge, conversation, hearing, observer)
                while not hearing.finished:
                    await self._hear(hearing, session, stalls)
            if not self._complete:
                await trio.to_thread.run_sync(self._sink.finish, self.entry, self.digest)
                self._complete = True
            await confirm()
            await conversation.tell(Receipt(1, self._digest.size, 0, 0, self.root))
            with trio.move_on_after(limits.RECEIPT_LINGER):
                while not hearing.goodbye:
                    await self._hear(hearing, session, stalls)
            nursery.cancel_scope.cancel()
        return hearing.goodbye

    async def _hear(self, hearing: _Hearing, session: Session, stalls: Stalls) -> None:
        """Take the next records."""
        with stalls.waiting_for(lambda: nothing_comes_from_pipe(stalls.movement), lambda: stalls.coming):
            records = await hearing.records()
        try:
            await trio.to_thread.run_sync(self._act, hearing, session, records)
        finally:  # what was hashed is never lost, whatever ended the link behind it
            for data in self._came:
                self._window.put(data)
            self._came.clear()
        hearing.finished = hearing.ending
        self._moved.unpark_all()

    def _act(self, hearing: _Hearing, session: Session, records: Sequence[bytes | str]) -> None:
        """Act on records; in a worker thread."""
        for record in records:
            for message in session.hear(record):
                match message:
                    case Page(entries=(entry,)) if not hearing.named:
                        self._name(entry)
                        hearing.named = True
                    case Data() if hearing.named:
                        self._data(message.index, message.offset, message.data)
                    case WholeFile() if hearing.named:
                        self._data(message.index, 0, message.data)
                        self._end(message.index, message.digest)
                    case FileEnd() if hearing.named:
                        self._end(message.index, message.digest)
                    case Finish():
                        self._finish(message)
                        hearing.ending = True
                    case Goodbye():
                        hearing.goodbye = True
                    case Abort():
                        raise given_up(message, "sender")
                    case _:
                        raise PeerMisbehaved("The sender says what makes no sense for a pipe.")
            if self._window.size + sum(map(len, self._came)) > protocol_limits.STREAM_WINDOW:
                raise PeerMisbehaved("The sender sends more than it may before that is acknowledged.")

    def _name(self, entry: Entry) -> None:
        if self._named is not None:
            if entry != self._named:
                raise restarted_error("sender")
            return
        if entry.kind is not Kind.FILE or entry.depth or entry.size or entry.target:
            raise PeerMisbehaved("The sender names something that is no stream.")
        if refusal := names.refusal(entry.name, portable=self._portable_names):
            raise PeerMisbehaved(f"The sender names '{escape(entry.name)}', which is refused: {refusal}.")
        if not self._selection.takes(entry.name):
            what = f"'{escape(entry.name)}' is left out by --only or --exclude"
            raise PipeFailed(f"What the sender has is not wanted here: {what}.", f"{what} there.")
        self._sink.begin(entry)
        self._named = entry

    def _data(self, index: int, offset: int, data: bytes | memoryview) -> None:
        size = self._digest.size + len(data)
        if index or offset != self._digest.size or self.digest or size > protocol_limits.MAX_FILE_SIZE:
            raise PeerMisbehaved("The sender sent bytes that do not fit into their stream.")
        if self._max_size is not None and size > self._max_size:
            raise TooMuch(limit=self._max_size)
        self._digest.update(data)
        self._came.append(bytes(data))

    def _end(self, index: int, digest: bytes) -> None:
        if index or digest != self._digest.digest():
            raise PeerMisbehaved("What came through the pipe has another digest than the sender computed.")
        self.digest = digest

    def _finish(self, message: Finish) -> None:
        root = RootDigest()
        root.add(self.entry, self.digest)
        if not self.digest or message != Finish(1, 1, self._digest.size, 0, root.digest()):
            raise PeerMisbehaved("The other side says it is done, but what it sent does not add up.")
        self.root = message.root

    async def _acknowledge(self, conversation: Conversation, hearing: _Hearing, observer: Observer) -> None:
        """Tell the sender how much is written, and that this side is there, until all of it is."""
        said, beat = -1, 0.0

        def is_done() -> bool:
            return hearing.finished and not self._window.size

        done = False
        while not done:
            with trio.move_on_after(limits.PROGRESS_INTERVAL):
                while not is_done() and self._window.start - said < limits.STREAM_ACKNOWLEDGE:
                    await self._moved.park()
            observer.progress(0, self._window.start)
            now = trio.current_time()
            done = is_done()
            if done or self._window.start > said or now - beat >= limits.BEAT:
                said, beat = self._window.start, now
                try:
                    await conversation.tell(Progress(0, said, conversation.session.heard))
                except LinkBroken:
                    while not hearing.finished:  # what has come is heard first: it may end with last words
                        await self._moved.park()
                    raise

    async def _watch(self, stalls: Stalls) -> None:
        """Say on whom it is when nothing can be written."""
        while True:
            while not self._window.size:
                await self._moved.park()
            at = self._window.start
            with stalls.waiting_for(self._sink.slow):
                while self._window.start == at:
                    await self._moved.park()


class _Hearing:
    """What comes over one link, to its last record, and how far it is.

    Attributes:
        named: the stream was named.
        ending: all was said.
        finished: all that was said is in the window.
        goodbye: the sender has the receipt.

    """

    def __init__(self, link: Channel) -> None:
        self._link = link
        self._to_disk, self._from_link = trio.open_memory_channel[bytes | str](protocol_limits.PIPELINE)
        self._end: Exception | None = None
        self.named = False
        self.ending = False
        self.finished = False
        self.goodbye = False

    async def fetch(self) -> None:
        """Take records from the link while earlier ones are being opened."""
        with self._to_disk:
            try:
                while True:
                    await self._to_disk.send(await self._link.receive())
            except LINK_ERRORS as error:
                self._end = error

    async def records(self) -> list[bytes | str]:
        """Return the next records; what ended the link is raised behind the last one."""
        try:
            records = [await self._from_link.receive()]
        except trio.EndOfChannel:
            assert self._end is not None, "that is why"
            raise self._end from None
        while len(records) < protocol_limits.PIPELINE:
            try:
                records.append(self._from_link.receive_nowait())
            except (trio.WouldBlock, trio.EndOfChannel):
                break
        return records
