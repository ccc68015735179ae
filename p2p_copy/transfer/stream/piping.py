"""The stream that a transfer may consist of, beside all links: whether there is one, and how it ends.

What a stream does with a link is in `feeding` and `pouring`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

import trio

from p2p_copy.errors import Declined, PeerMisbehaved, UsageError
from p2p_copy.files.source.one_file import OneFile
from p2p_copy.files.stdio import STANDARD, StandardInput, StandardOutput
from p2p_copy.files.target.growing_file import GrowingFile
from p2p_copy.protocol import names
from p2p_copy.protocol.escape import escape
from p2p_copy.protocol.messages import Ask
from p2p_copy.transfer.confirm import show_stream
from p2p_copy.transfer.farewell import end_of_stream
from p2p_copy.transfer.reasons import farewell
from p2p_copy.transfer.stream.receiver import StreamReceiver
from p2p_copy.transfer.stream.sender import StreamSender

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from p2p_copy.files.receipts.receipt_file import ReceiptFile
    from p2p_copy.files.selection import Selection
    from p2p_copy.files.target.target import Target
    from p2p_copy.observer import Observer
    from p2p_copy.options import ReceiveOptions, SendOptions
    from p2p_copy.protocol.messages import Abort, Accept, Receipt
    from p2p_copy.transfer.conversation import Conversation
    from p2p_copy.transfer.resumption import Resumption


class PipeIn:
    """A sender's stream: standard input, or one file for a receiver that takes nothing else, or none.

    Attributes:
        is_asked_for: the user wants it.

    Raises:
        UsageError: standard input cannot be sent so.

    """

    def __init__(
        self,
        paths: Sequence[str],
        options: SendOptions,
        selection: Selection,
        memory: Resumption,
        observer: Observer,
    ) -> None:
        self._paths = paths
        self._symlinks = options.symlinks
        self._selection = selection
        self._memory = memory
        self._observer = observer
        self._feed: StreamSender | None = None
        self._fed = trio.Event()
        self.is_asked_for = STANDARD in paths
        if self.is_asked_for:
            if len(paths) > 1:
                raise UsageError(
                    "'-' is standard input, and is sent alone. A file of that name is written as ./-"
                )
            name = options.name
            if refusal := names.refusal(name, portable=True):
                raise UsageError(f"'{escape(name)}' cannot be the name of a file everywhere: {refusal}.")
            self._begin(StreamSender(StandardInput(name)))

    def _begin(self, feed: StreamSender) -> StreamSender:
        self._feed = feed
        self._fed.set()
        return feed

    async def accepted(self, conversation: Conversation, answer: Accept | Ask) -> Accept:
        """Return how the receiver accepts the stream that was offered, once its user has been shown what there is.

        Raises:
            Declined: it does not.
            PeerMisbehaved: it accepts something else.

        """
        assert self._feed is not None, "it was offered"
        accept = answer
        if isinstance(accept, Ask):
            accept = await show_stream(conversation, self._feed.entry, self._observer)
        if not accept.pipe:
            raise PeerMisbehaved("The receiver answers a pipe as if it were something else.")
        return accept

    async def read(self) -> None:
        """Read what is to be sent, if there is a stream."""
        await self._fed.wait()
        assert self._feed is not None, "set before"
        await self._feed.read()

    @property
    def is_used(self) -> bool:
        """Whether there is a stream, here or in an earlier meeting."""
        return self._feed is not None or self._memory.streams

    def last_words(self, error: BaseException) -> Abort:
        """Return what to tell the receiver when this side ends early for this error."""
        if not self.is_used:
            return farewell(error)
        return end_of_stream(error, self._feed.broken if self._feed is not None else None)

    async def send(self, conversation: Conversation, accept: Accept, file: ReceiptFile | None) -> Receipt:
        """Send what the receiver does not have yet; return its receipt, checked.

        Raises:
            PipeFailed: there is more than one file to send, or the stream cannot be gone on with.
            P2PCopyError: see `StreamSender.tell`.

        """
        await self._memory.stream()
        feed = self._feed or self._begin(StreamSender(self._one_file(accept)))
        receipt = await feed.tell(conversation, accept, self._observer)
        if file is not None:
            file.add(feed.entry.name, feed.entry, feed.digest, delivered=True)
        return receipt

    def _one_file(self, accept: Accept) -> OneFile:
        return OneFile(
            self._paths,
            links=self._symlinks,
            selection=self._selection,
            portable_names=accept.portable_names,
        )

    def close(self) -> None:
        """Let go of what was read."""
        if self._feed is not None:
            self._feed.close()


class _Rules(TypedDict):
    selection: Selection
    portable_names: bool
    max_size: int | None


class PipeOut:
    """A receiver's stream: for standard output, or for a file if the sender has nothing else, or none.

    Attributes:
        is_asked_for: the user wants it.

    Raises:
        UsageError: there is no standard output.

    """

    def __init__(
        self,
        out: str,
        options: ReceiveOptions,
        selection: Selection,
        memory: Resumption,
        observer: Observer,
    ) -> None:
        self._memory = memory
        self._observer = observer
        self._rules: _Rules = {
            "selection": selection,
            "portable_names": options.portable_names,
            "max_size": options.max_size,
        }
        self._pour: StreamReceiver | None = None
        self._poured = trio.Event()
        self.is_asked_for = out == STANDARD
        if self.is_asked_for:
            self._begin(StreamReceiver(StandardOutput(), **self._rules))

    def _begin(self, pour: StreamReceiver) -> StreamReceiver:
        self._pour = pour
        self._poured.set()
        return pour

    async def write(self) -> None:
        """Write what comes, if there is a stream."""
        await self._poured.wait()
        assert self._pour is not None, "set before"
        await self._pour.write()

    def last_words(self, error: BaseException) -> Abort:
        """Return what to tell the sender when this side ends early for this error."""
        pour = self._pour
        if pour is None or isinstance(error, Declined):
            return farewell(error)
        return end_of_stream(error, pour.broken)

    async def take(
        self,
        conversation: Conversation,
        target: Callable[[], Target],
        file: ReceiptFile | None,
        confirm: Callable[[int, bytes], Awaitable[None]],
    ) -> None:
        """Take what is not here yet.

        Args:
            conversation: with the sender.
            target: makes what a file is put into, if that is where the stream goes.
            file: the receipt.
            confirm: is called with size and root digest when all is here.

        Raises:
            P2PCopyError: see `StreamReceiver.take`.

        """
        await self._memory.stream()
        pour = self._pour
        if pour is None:
            sink = GrowingFile(await trio.to_thread.run_sync(target))
            pour = self._begin(StreamReceiver(sink, **self._rules))

        async def all_here() -> None:
            if file is not None:
                file.add(pour.entry.name, pour.entry, pour.digest, delivered=True)
            await confirm(pour.entry.size, pour.root)

        await pour.take(conversation, self._observer, all_here)

    def close(self) -> None:
        """Throw away what is not complete."""
        if self._pour is not None:
            self._pour.close()
