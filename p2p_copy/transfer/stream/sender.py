"""Sends a stream: reads ahead, keeps what is not acknowledged, and sends that again after a loss.

1. A task of the whole transfer reads from the source into a window, as long as that has room.
2. In each conversation the receiver says how much it has. That must end in the window, and the stream goes on there.
3. What the receiver acknowledges is hashed and dropped. So the digest is always that of what was dropped, and can be
   continued to any offset in the window.

A source cannot be opened twice, so a process that is started again cannot go on with a stream.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

from p2p_copy.errors import PeerMisbehaved, PipeFailed, UsageError
from p2p_copy.files import limits as files_limits
from p2p_copy.files.source.one_file import OneFile
from p2p_copy.files.stdio import STANDARD
from p2p_copy.observer import Report
from p2p_copy.peer import limits as peer_limits
from p2p_copy.protocol import limits as protocol_limits, names
from p2p_copy.protocol.digest import RootDigest, StreamDigest
from p2p_copy.protocol.escape import escape
from p2p_copy.protocol.messages import Ask, Data, FileEnd, Finish, Held, Holds, Page, Progress, Receipt
from p2p_copy.transfer import limits
from p2p_copy.transfer.chunk_size import ChunkSize
from p2p_copy.transfer.confirm import show_stream
from p2p_copy.transfer.conversation import send_until_receipt
from p2p_copy.transfer.reasons import end_of_stream, farewell, restarted_error
from p2p_copy.transfer.receipt_wait import ReceiptWait
from p2p_copy.transfer.stream.window import Window

if TYPE_CHECKING:
    from collections.abc import Sequence

    from p2p_copy.files.stdio import Source
    from p2p_copy.observer import Observer
    from p2p_copy.protocol.messages import Abort, Accept, Message
    from p2p_copy.protocol.session import Session
    from p2p_copy.transfer.conversation import Conversation
    from p2p_copy.transfer.lifecycle import SendJob
    from p2p_copy.transfer.stalls import Stalls


class StreamSender:
    """A stream as it is read and sent, in one conversation after another.

    Attributes:
        entry: the stream's entry in the manifest; its size is known at the end only.
        window: bytes that were read and are not acknowledged yet.
        ended: the source is at its end.
        moved: where tasks wait for a change of any of these attributes.
        sent: how many bytes were sent so far, in all conversations.
        acknowledged: how many bytes the receiver has written so far.
        digest: the stream's file digest, once all was sent.
        root: the root digest of the transfer, once all was sent.

    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._dropped: list[bytes | memoryview] = []  # out of the window, and not hashed yet
        self._digest = StreamDigest()  # of what was dropped and hashed
        self.entry = source.entry
        self.window = Window()
        self.ended = False
        self.moved = trio.lowlevel.ParkingLot()
        self.sent = 0
        self.acknowledged = 0
        self.digest = b""
        self.root = b""

    async def read(self) -> None:
        """Read all of the source, whenever there is room, in a task that lasts for the whole transfer.

        Raises:
            PipeFailed: the source cannot be read to its end.

        """
        while not self.ended:
            while self.is_full:
                await self.moved.park()
            data = await trio.to_thread.run_sync(
                self._source.read, abandon_on_cancel=self._source.may_wait_forever
            )
            self.window.put(data)
            self.ended = not data
            self.moved.unpark_all()

    def close(self) -> None:
        """Close the source."""
        self._source.close()

    async def send(self, conversation: Conversation, accept: Accept, observer: Observer) -> Receipt:
        """Send all that the receiver does not have; return its receipt, checked.

        Raises:
            PipeFailed: the receiver lacks bytes that this side no longer keeps, or gave up.
            P2PCopyError: the channel is lost, or the receiver breaks the protocol.

        """
        refusal = names.refusal(self.entry.name, portable=accept.portable_names)
        if refusal is not None:
            raise PipeFailed(
                f"The receiver cannot take the name of what is sent: {refusal}.", "its name is not taken."
            )
        await conversation.tell(Page((self._source.entry,)))
        producer = _StreamProducer(self, conversation.session, observer, accept.rate)
        wait = ReceiptWait(conversation.channel, conversation.session, observer, self._slow_output)
        receipt = await send_until_receipt(conversation, producer, wait)
        if receipt != Receipt(1, self.entry.size, 0, 0, self.root):
            raise PeerMisbehaved("The receiver confirmed something else than what was sent.")
        return receipt

    def _slow_output(self) -> str:
        return "" if self.acknowledged == self.window.end else _SLOW_READER

    # What the producer of a conversation uses

    @property
    def is_full(self) -> bool:
        """Whether the window has no room for another read."""
        return self.window.size + files_limits.STREAM_READ > protocol_limits.STREAM_WINDOW

    @property
    def nothing_to_send(self) -> str:
        """A sentence that names the party because of which there is nothing to send."""
        return _SLOW_READER if self.is_full else self._source.stalled

    def acknowledge(self, size: int) -> None:
        """Record how much the receiver has written."""
        self.acknowledged = max(self.acknowledged, size)
        self.moved.unpark_all()

    def drop_acknowledged(self) -> bool:
        """Take acknowledged pieces out of the window; return whether there is anything to hash."""
        self._dropped += self.window.release(self.acknowledged)
        return bool(self._dropped)

    def hash_dropped(self) -> None:
        """Hash what was taken out of the window; in a worker thread."""
        dropped, self._dropped = self._dropped, []
        for piece in dropped:
            self._digest.update(piece)

    async def start(self, held: Held) -> int:
        """Return the offset from which to send, after what the receiver holds.

        Raises:
            PipeFailed: the receiver lacks bytes that this side no longer keeps.
            PeerMisbehaved: the receiver claims bytes that were never sent.

        """
        if held.size < self.acknowledged:
            raise restarted_error("receiver")
        if held.size and not self.sent:
            raise restarted_error("sender")
        if held.index or held.size > self.sent:
            raise PeerMisbehaved("The receiver says that it has bytes that were never sent.")
        if await trio.to_thread.run_sync(self._digest_with, self._before(held.size)) != held.digest:
            raise PeerMisbehaved("The receiver has other bytes than were sent.")
        return held.size

    async def finish(self) -> None:
        """Compute the digests and the size, once all was sent."""
        self.digest = await trio.to_thread.run_sync(self._digest_with, self._before(self.window.end))
        self.entry = self._source.entry._replace(size=self.window.end)
        root = RootDigest()
        root.add(self.entry, self.digest)
        self.root = root.digest()

    def _before(self, end: int) -> list[memoryview]:
        """Return the pieces of the window before the offset `end`."""
        left = end - self.window.start
        pieces = []
        for piece in self.window.look(self.window.start, files_limits.STREAM_READ):
            if left <= 0:
                break
            pieces.append(piece[:left])
            left -= len(piece)
        return pieces

    def _digest_with(self, pieces: Sequence[memoryview]) -> bytes:
        """Return the digest of all that was dropped and these pieces; in a worker thread."""
        self.hash_dropped()
        digest = self._digest.copy()
        for piece in pieces:
            digest.update(piece)
        return digest.digest()


class _StreamProducer:
    """Makes the records of one conversation; see `conversation.Producer`."""

    def __init__(self, stream: StreamSender, session: Session, observer: Observer, rate: int) -> None:
        self._stream = stream
        self._session = session
        self._observer = observer
        self._chunk_size = ChunkSize(rate)
        self._held: Held | None = None  # what the receiver says that it has
        self._offset: int | None = None  # all before it is in records, or was at the receiver
        self._reached = 0  # the same, for what the receiver may acknowledge
        self._began = 0.0
        self._finished = False

    async def next_records(self, stalls: Stalls) -> list[bytes]:
        """Return the next records; the last one once all of the stream is in records."""
        stream = self._stream
        if self._offset is None:
            with stalls.waiting_for(_SILENT_RECEIVER):
                while self._held is None:
                    await stream.moved.park()
            self._offset = await stream.start(self._held)
        while not self._finished:
            self._began = trio.current_time()
            if stream.ended and stream.window.end == self._offset:
                self._finished = True
                return [await self._last_record()]
            dropped, pieces = stream.drop_acknowledged(), self._pieces(self._offset)
            if not dropped and not pieces:
                await self._wait_for_more(stalls)
                continue
            stream.moved.unpark_all()  # there may be room in the window now
            records = await trio.to_thread.run_sync(self._seal, self._offset, pieces)
            self._offset += sum(map(len, pieces))
            self._reached = self._offset
            stream.sent = max(stream.sent, self._offset)
            if records:
                return records
        return []

    def keep_pace(self, size: int) -> None:
        """Choose the length of the next chunks by the time that the last `size` bytes took."""
        self._chunk_size.keep(size, trio.current_time() - self._began)

    async def hear(self, message: Message) -> None:
        """Record what the receiver has."""
        match message:
            case Progress(files=files, size=size) if size <= self._reached:
                self._stream.acknowledge(size)
                self._observer.progress(files, size)
            case Holds(end=1, files=(held,)) if self._held is None:
                self._held = held
                self._reached = min(held.size, self._stream.sent)
                self._observer.spared(held.size)
                self._stream.moved.unpark_all()
            case _:
                raise PeerMisbehaved("The receiver sent a message that has no meaning in a stream.")

    def _pieces(self, start: int) -> list[memoryview]:
        """Return what comes next: enough for a few records."""
        pieces: list[memoryview] = []
        for piece in self._stream.window.look(start, self._chunk_size.chunk):
            pieces.append(piece)
            if len(pieces) == peer_limits.PIPELINE:
                break
        return pieces

    async def _wait_for_more(self, stalls: Stalls) -> None:
        """Wait until there is something to do. A mere heartbeat of the receiver does not end the wait."""
        stream = self._stream
        state = stream.acknowledged, stream.window.end, stream.ended
        with stalls.waiting_for(stream.nothing_to_send):
            while (stream.acknowledged, stream.window.end, stream.ended) == state:
                await stream.moved.park()

    def _seal(self, offset: int, pieces: Sequence[memoryview]) -> list[bytes]:
        """Hash what was dropped; return the pieces, which begin at `offset`, in records. Runs in a worker thread."""
        self._stream.hash_dropped()
        session, records = self._session, []
        for piece in pieces:
            if (
                session.pending
                and session.pending + len(piece) > self._chunk_size.chunk + limits.RECORD_SPARE
            ):
                records.append(session.record())
            session.say(Data(0, offset, piece))
            offset += len(piece)
        if session.pending:
            records.append(session.record())
        return records

    async def _last_record(self) -> bytes:
        """Return the record with which the sums are said."""
        stream = self._stream
        await stream.finish()
        self._session.say(FileEnd(0, stream.digest))
        self._session.say(Finish(1, 1, stream.entry.size, 0, stream.root))
        return self._session.record()


_SLOW_READER: Final = "Nothing moves: the receiver is there, but its output is not accepting data"
_SILENT_RECEIVER: Final = "Nothing moves: the receiver has not said where to go on"


class PipeIn:
    """A sender's stream: standard input, or one file for a receiver that takes nothing else, or none.

    Attributes:
        is_asked_for: the user wants to send standard input.

    Raises:
        UsageError: standard input cannot be sent like this.

    """

    def __init__(self, job: SendJob) -> None:
        self._job = job
        self._stream: StreamSender | None = None
        self._begun = trio.Event()
        self.is_asked_for = STANDARD in job.trees.paths
        if self.is_asked_for:
            if len(job.trees.paths) > 1:
                raise UsageError(
                    "'-' is standard input, and is sent alone. A file of that name is written as ./-"
                )
            name = job.options.name
            if refusal := names.refusal(name, portable=True):
                raise UsageError(f"'{escape(name)}' cannot be the name of a file everywhere: {refusal}.")
            self._begin(job.source(name))

    def _begin(self, source: Source) -> StreamSender:
        self._stream = StreamSender(source)
        self._begun.set()
        return self._stream

    async def show(self, conversation: Conversation, ask: Ask) -> Accept:
        """Show the receiver's user the name of the stream, all that is known of it; return the answer.

        Raises:
            Declined: the user declined.
            PeerLost, PeerFailed, PeerMisbehaved: no answer came.

        """
        assert self._stream is not None, "it was offered"
        return await show_stream(conversation, self._stream.entry, self._job.observer)

    async def read(self) -> None:
        """Read the stream, if there is one, in a task that lasts for the whole transfer."""
        await self._begun.wait()
        assert self._stream is not None, "set before"
        await self._stream.read()

    @property
    def is_used(self) -> bool:
        """Whether there is a stream, now or in an earlier conversation."""
        return self._stream is not None or self._job.resumption.is_stream

    def last_words(self, error: BaseException) -> Abort:
        """Return what to tell the receiver when this side ends early because of `error`."""
        if not self.is_used:
            return farewell(error)
        return end_of_stream(error)

    async def send(self, conversation: Conversation, accept: Accept) -> Report:
        """Send what the receiver does not have yet; return how the transfer ended.

        Raises:
            PipeFailed: there is more than one file to send, or the sender or the receiver was restarted.
            P2PCopyError: see `StreamSender.send`.

        """
        await self._job.resumption.mark_stream()
        stream = self._stream or self._begin(self._one_file(accept))
        receipt = await stream.send(conversation, accept, self._job.observer)
        if self._job.receipt is not None:
            self._job.receipt.add(stream.entry.name, stream.entry, stream.digest, delivered=True)
        return Report(1, receipt.size, 0, 0, receipt.root.hex(), self._job.resumption.seconds)

    def _one_file(self, accept: Accept) -> OneFile:
        return OneFile(self._job.trees._replace(portable_names=accept.portable_names))

    def close(self) -> None:
        """Close the source."""
        if self._stream is not None:
            self._stream.close()
