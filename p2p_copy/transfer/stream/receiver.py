"""Receives a stream: checks and hashes it, writes it, and acknowledges what is written.

1. Each record is checked and hashed, and its bytes wait in a window until a task that outlives the conversation has
   written them. So a slow output never keeps records from being read. The sender's window bounds this one.
2. Written bytes are acknowledged, often enough that the sender need not wait for an acknowledgement.
3. A later conversation goes on where the bytes received so far end. A restarted process has none of them, so it cannot
   go on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from p2p_copy.errors import Declined, PeerMisbehaved, PipeFailed, TooMuch
from p2p_copy.files import limits as files_limits
from p2p_copy.files.stdio import STANDARD
from p2p_copy.files.target.growing_file import GrowingFile
from p2p_copy.observer import Report
from p2p_copy.protocol import limits as protocol_limits, names
from p2p_copy.protocol.digest import RootDigest, StreamDigest
from p2p_copy.protocol.escape import escape
from p2p_copy.protocol.messages import (
    Abort,
    Accept,
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
from p2p_copy.transfer.conversation import receive_until_goodbye
from p2p_copy.transfer.lifecycle import writing
from p2p_copy.transfer.reasons import end_of_stream, farewell, given_up, restarted_error
from p2p_copy.transfer.stalls import Stalls, nothing_comes_from_pipe
from p2p_copy.transfer.stream.window import Window
from p2p_copy.transport.link import LinkBroken
from p2p_copy.version import PROGRAM

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from p2p_copy.files.selection import Selection
    from p2p_copy.files.stdio import Sink
    from p2p_copy.files.target.target import Target
    from p2p_copy.observer import Observer
    from p2p_copy.options import ReceiveOptions
    from p2p_copy.protocol.messages import Entry, Message
    from p2p_copy.transfer.conversation import Conversation
    from p2p_copy.transfer.lifecycle import ReceiveJob


class StreamReceiver:
    """A stream as it arrives and is written, in one conversation after another.

    Attributes:
        window: what has come, and is not written.
        moved: where tasks wait for a change.
        size: bytes that have come.
        digest: its file digest, at the end.
        root: the root digest of the transfer, at the end.

    """

    def __init__(self, sink: Sink, options: ReceiveOptions, selection: Selection) -> None:
        """Begin. The options say which names and how many bytes are accepted, the selection which names are wanted."""
        self._sink = sink
        self._options = options
        self._selection = selection
        self._named: Entry | None = None
        self._came: list[bytes] = []  # hashed, and not in the window yet
        self._digest = StreamDigest()  # of what has come
        self._complete = False
        self.window = Window()
        self.moved = trio.lowlevel.ParkingLot()
        self.digest = b""
        self.root = b""

    @property
    def size(self) -> int:
        """How many bytes have come."""
        return self._digest.size

    @property
    def entry(self) -> Entry:
        """How the manifest names it, with its size."""
        assert self._named is not None, "the sender has named it"
        return self._named._replace(size=self.size)

    async def write(self) -> None:
        """Write all bytes of the stream, in a task that lasts for the whole transfer.

        Raises:
            PipeFailed, NoSpace, OutputNotWritable: nothing more can be written.

        """
        while True:
            while not self.window.size:
                await self.moved.park()
            piece = next(self.window.look(self.window.start, files_limits.STREAM_READ))
            await trio.to_thread.run_sync(
                self._sink.write, piece, abandon_on_cancel=self._sink.may_wait_forever
            )
            self.window.release(self.window.start + len(piece))
            self.moved.unpark_all()

    def close(self) -> None:
        """Throw away what is not complete."""
        self._sink.close()

    async def receive(
        self, conversation: Conversation, observer: Observer, confirm: Callable[[], Awaitable[None]]
    ) -> None:
        """Take what is missing, `confirm` here that all has arrived, and tell the sender.

        Raises:
            P2PCopyError: nothing more comes, or nothing more can be written.

        """
        stalls = Stalls(observer, conversation.channel)
        consumer = _StreamConsumer(self, conversation, observer, stalls, confirm)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch_output, stalls)
            nursery.start_soon(consumer.acknowledge)
            await receive_until_goodbye(conversation, consumer, stalls)
            nursery.cancel_scope.cancel()

    async def _watch_output(self, stalls: Stalls) -> None:
        """Tell `stalls` when this side waits for the output."""
        while True:
            while not self.window.size:
                await self.moved.park()
            start = self.window.start
            with stalls.waiting_for(self._sink.stalled):
                while self.window.start == start:
                    await self.moved.park()

    # What the consumer of a conversation uses

    async def held(self) -> Held:
        """Return what has come so far."""
        return Held(0, self.size, await trio.to_thread.run_sync(self._digest.digest))

    def put_in_window(self) -> None:
        """Hand what has come over to `write`."""
        for data in self._came:
            self.window.put(data)
        self._came.clear()

    async def complete(self) -> None:
        """End the output, now that all is written."""
        if not self._complete:
            await trio.to_thread.run_sync(self._sink.finish, self.entry, self.digest)
            self._complete = True

    def begin(self, entry: Entry) -> None:
        """Check the entry of the stream, and begin the output; in a worker thread.

        Raises:
            PipeFailed: this side does not want a stream of that name, or the stream was another one before.
            PeerMisbehaved: a stream cannot have such an entry.

        """
        if self._named is not None:
            if entry != self._named:
                raise restarted_error("sender")
            return
        if entry.kind is not Kind.FILE or entry.depth or entry.size or entry.target:
            raise PeerMisbehaved("The sender names an entry that cannot be a stream.")
        if refusal := names.refusal(entry.name, portable=self._options.portable_names):
            raise PeerMisbehaved(f"The sender names '{escape(entry.name)}', which is refused: {refusal}.")
        if not self._selection.takes(entry.name):
            what = f"'{escape(entry.name)}' is left out by `only` or `exclude`"
            raise PipeFailed(f"What the sender has is not wanted here: {what}.", f"{what} there.")
        self._sink.begin(entry)
        self._named = entry

    def add(self, index: int, offset: int, data: bytes | memoryview) -> None:
        """Take the next bytes; in a worker thread.

        Raises:
            TooMuch: they are more than this side takes.
            PeerMisbehaved: they are not the next ones, or more than the window has room for.

        """
        size = self.size + len(data)
        if index or offset != self.size or self.digest or size > protocol_limits.MAX_FILE_SIZE:
            raise PeerMisbehaved("The sender sent bytes that do not fit into their stream.")
        max_size = self._options.max_size
        if max_size is not None and size > max_size:
            raise TooMuch(limit=max_size)
        self._digest.update(data)
        self._came.append(bytes(data))

    def check_window(self) -> None:
        """Check that the sender keeps to the window.

        Raises:
            PeerMisbehaved: it does not.

        """
        if self.window.size + sum(map(len, self._came)) > protocol_limits.STREAM_WINDOW:
            raise PeerMisbehaved("The sender sent more than it may before what it sent is acknowledged.")

    def end(self, index: int, digest: bytes) -> None:
        """Compare the digest of all bytes; in a worker thread.

        Raises:
            PeerMisbehaved: the sender has computed another one.

        """
        if index or digest != self._digest.digest():
            raise PeerMisbehaved("What came through the pipe has another digest than the sender computed.")
        self.digest = digest

    def finish(self, message: Finish) -> None:
        """Compare the sums.

        Raises:
            PeerMisbehaved: they do not add up.

        """
        root = RootDigest()
        root.add(self.entry, self.digest)
        if not self.digest or message != Finish(1, 1, self.size, 0, root.digest()):
            raise PeerMisbehaved("The other side says it is done, but what it sent does not add up.")
        self.root = message.root


class _StreamConsumer:
    """Acts on what comes in one conversation; see `conversation.Consumer`. Run `acknowledge` beside it.

    Attributes:
        confirmed: the receipt is given.
        goodbye: the sender has the receipt.

    """

    def __init__(
        self,
        stream: StreamReceiver,
        conversation: Conversation,
        observer: Observer,
        stalls: Stalls,
        confirm: Callable[[], Awaitable[None]],
    ) -> None:
        self._stream = stream
        self._conversation = conversation
        self._observer = observer
        self._stalls = stalls
        self._confirm = confirm
        self._named = False  # the manifest page with the stream has come
        self._holds_told = False
        self._ending = False  # the sender has sent the end of the stream
        self._finished = False  # all of the stream is in the window
        self._acknowledged = False  # all of it is written, and the sender was told so
        self.confirmed = False
        self.goodbye = False

    def nothing_comes(self) -> str:
        """Name the party because of which no record comes."""
        return nothing_comes_from_pipe(self._stalls.flow)

    async def heartbeat(self) -> None:
        """Do nothing: `acknowledge` tells the sender that this side is there, also while records come."""

    async def consume(self, records: list[bytes | str]) -> None:
        """Act on the next records; give the receipt when all that was sent is written."""
        stream = self._stream
        try:
            await trio.to_thread.run_sync(self._act, records)
        finally:  # bytes that were hashed have to be written, even if a later record is bad
            stream.put_in_window()
        self._finished = self._ending
        stream.moved.unpark_all()
        if self._named and not self._holds_told:
            self._observer.spared(stream.window.start)
            await self._conversation.tell(Holds(1, (await stream.held(),)))
            self._holds_told = True
            stream.moved.unpark_all()
        if self._finished and not self.confirmed:
            while not self._acknowledged:
                await stream.moved.park()
            await stream.complete()
            await self._confirm()
            await self._conversation.tell(Receipt(1, stream.size, 0, 0, stream.root))
            self.confirmed = True

    def _act(self, records: Sequence[bytes | str]) -> None:
        """Act on records; in a worker thread."""
        for record in records:
            for message in self._conversation.session.hear(record):
                self._act_on(message)
            self._stream.check_window()

    def _act_on(self, message: Message) -> None:
        stream = self._stream
        match message:
            case Page(entries=(entry,)) if not self._named:
                stream.begin(entry)
                self._named = True
            case Data() if self._named:
                stream.add(message.index, message.offset, message.data)
            case WholeFile() if self._named:
                stream.add(message.index, 0, message.data)
                stream.end(message.index, message.digest)
            case FileEnd() if self._named:
                stream.end(message.index, message.digest)
            case Finish():
                stream.finish(message)
                self._ending = True
            case Goodbye():
                self.goodbye = True
            case Abort():
                raise given_up(message, "sender")
            case _:
                raise PeerMisbehaved("The sender sent a message that has no meaning in a stream.")

    async def acknowledge(self) -> None:
        """Tell the sender, until the whole stream is written, how much is, and that this side is still there."""
        stream = self._stream
        while not self._holds_told:
            await stream.moved.park()
        told, told_at = -1, 0.0
        done = False
        while not done:
            with trio.move_on_after(limits.PROGRESS_INTERVAL):
                while not self._is_written and stream.window.start - told < limits.STREAM_ACKNOWLEDGE:
                    await stream.moved.park()
            self._observer.progress(0, stream.window.start)
            now = trio.current_time()
            done = self._is_written
            if done or stream.window.start > told or now - told_at >= limits.HEARTBEAT:
                told, told_at = stream.window.start, now
                try:
                    await self._conversation.tell(Progress(0, told, self._conversation.session.heard))
                except LinkBroken:
                    while not self._finished:  # records that came before the loss are handled first
                        await stream.moved.park()
                    raise
        self._acknowledged = True
        stream.moved.unpark_all()

    @property
    def _is_written(self) -> bool:
        return self._finished and not self._stream.window.size


class PipeOut:
    """A receiver's stream: for standard output, or for a file if the sender has nothing else, or none.

    Attributes:
        is_asked_for: the user wants it on standard output.

    Raises:
        UsageError: there is no standard output.

    """

    def __init__(self, job: ReceiveJob) -> None:
        self._job = job
        self._stream: StreamReceiver | None = None
        self._begun = trio.Event()
        self.is_asked_for = job.out == STANDARD
        if self.is_asked_for:
            self._begin(job.sink())

    def _begin(self, sink: Sink) -> StreamReceiver:
        self._stream = StreamReceiver(sink, self._job.options, self._job.selection)
        self._begun.set()
        return self._stream

    async def write(self) -> None:
        """Write what comes, once a stream has begun. Run this beside the whole transfer."""
        await self._begun.wait()
        assert self._stream is not None, "set before"
        await self._stream.write()

    def last_words(self, error: BaseException) -> Abort:
        """Return what to tell the sender when this side ends early because of `error`."""
        if self._stream is None or isinstance(error, Declined):
            return farewell(error)
        return end_of_stream(error)

    async def receive(
        self,
        conversation: Conversation,
        target: Callable[[], Target],
        accept: Callable[[Accept], Awaitable[None]],
        confirm: Callable[[Report], Awaitable[None]],
    ) -> None:
        """Receive what this side does not have yet.

        Args:
            conversation: the conversation with the sender.
            target: opens the output directory, if the stream goes into a file there.
            accept: sends this answer to the sender's offer.
            confirm: is called with the report when this side has everything, before the sender gets the receipt.

        Raises:
            P2PCopyError, LinkBroken, EndOfStream: see `StreamReceiver.receive`.

        """
        job = self._job

        async def all_is_here() -> None:
            if job.receipt is not None:
                job.receipt.add(stream.entry.name, stream.entry, stream.digest, delivered=True)
            await confirm(Report(1, stream.size, 0, 0, stream.root.hex(), job.resumption.seconds))

        async with writing(job.receipt):
            await accept(Accept(PROGRAM, job.options.portable_names, pipe=True))
            await job.resumption.mark_stream()
            stream = self._stream or self._begin(GrowingFile(await trio.to_thread.run_sync(target)))
            await stream.receive(conversation, job.observer, all_is_here)

    def close(self) -> None:
        """Throw away what is not complete."""
        if self._stream is not None:
            self._stream.close()
