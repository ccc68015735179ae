"""Asks the receiver's user before anything is sent: the sender sends a preview, the user accepts or declines. Has both
sides.

Nothing is written or remembered before the user accepts. After a decline the receiver has no ticket of this meeting,
so the sender forgets its own, and waits for another receiver with the same code.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from p2p_copy.errors import Declined, PeerMisbehaved
from p2p_copy.files.source.preview import SourcePreview
from p2p_copy.files.target.probe import space_for
from p2p_copy.observer import PreviewEntry, TransferPreview
from p2p_copy.protocol import limits as protocol_limits
from p2p_copy.protocol.escape import escape
from p2p_copy.protocol.messages import Accept, Ask, Kind, Preview, Total
from p2p_copy.protocol.names import refusal
from p2p_copy.transfer import limits
from p2p_copy.transport.timeouts import within

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from p2p_copy.files.source.preview import FileCount
    from p2p_copy.observer import Observer
    from p2p_copy.protocol.messages import Entry
    from p2p_copy.transfer.conversation import Conversation
    from p2p_copy.transfer.lifecycle import ReceiveJob


async def show(
    conversation: Conversation, look: Callable[[], SourcePreview], counting: FileCount, observer: Observer
) -> Accept:
    """Show the receiver's user what would be sent, go on counting, and return the answer.

    Raises:
        Declined: the user declined.
        PeerLost, PeerFailed, PeerMisbehaved: no answer came.

    """
    observer.asked()
    counted = trio.Event()
    telling_total = trio.CancelScope()

    async def count() -> None:
        await trio.to_thread.run_sync(counting.run)
        counted.set()

    async def tell_total() -> None:
        with telling_total:
            await counted.wait()
        if not telling_total.cancelled_caught:
            await conversation.tell(Total(*counting.counted))

    async with trio.open_nursery() as nursery:
        try:
            nursery.start_soon(count)
            seen = SourcePreview(0, ())
            with trio.move_on_after(limits.PREVIEW_AFTER):
                seen = await trio.to_thread.run_sync(look, abandon_on_cancel=True)
                await counted.wait()
            done = counted.is_set()
            await conversation.tell(Preview(*counting.counted, done, *seen))
            if not done:
                nursery.start_soon(tell_total)
            accept = await _answer(conversation)
            telling_total.cancel()
        finally:
            counting.stop()
    observer.accepted()
    return accept


async def show_stream(conversation: Conversation, entry: Entry, observer: Observer) -> Accept:
    """Show the receiver's user that a stream of unknown length would be sent, and return the answer.

    Raises:
        Declined: the user declined.
        PeerLost, PeerFailed, PeerMisbehaved: no answer came.

    """
    observer.asked()
    await conversation.tell(Preview(1, 0, False, 1, (entry,)))
    accept = await _answer(conversation)
    observer.accepted()
    return accept


async def _answer(conversation: Conversation) -> Accept:
    return await conversation.expect(
        Accept,
        within=limits.ANSWER_TIMEOUT + limits.OFFER_TIMEOUT,
        silence="The receiver's user has not answered.",
    )


class Question:
    """Asks the receiver's user, with a preview from the sender."""

    def __init__(self, job: ReceiveJob, answer: Callable[[TransferPreview], Awaitable[bool]]) -> None:
        self._out = job.out
        self._portable = job.options.portable_names
        self._selection = job.selection
        self._observer = job.observer
        self._answer = answer

    async def put(self, conversation: Conversation, *, stream: bool) -> None:
        """Fetch the sender's preview, of a `stream` or a tree, and let the user answer.

        Raises:
            Declined: this user declined, or did not answer in time.
            PeerLost, PeerFailed, PeerMisbehaved: the sender is gone, or gave up, before there was an answer.

        """
        await conversation.tell(Ask(self._portable))
        preview = await conversation.expect(
            Preview, within=limits.OFFER_TIMEOUT, silence="The sender is connected but shows nothing."
        )
        shown = await trio.to_thread.run_sync(self._describe, preview, stream)
        yes: bool | None = None

        async def listen() -> None:
            while True:
                match await conversation.hear():
                    case Total(files=files, size=size):
                        self._report_total(files, size)
                    case _:
                        raise AssertionError("the table lets no sender say anything else here")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen)
            with within(limits.ANSWER_TIMEOUT):
                yes = await self._answer(shown)
            nursery.cancel_scope.cancel()
        if not yes:
            raise Declined(
                None if yes is False else "The question was not answered, so nothing was received."
            )
        if preview.counted:
            self._report_total(preview.files, preview.size)

    def _report_total(self, files: int, size: int) -> None:
        if self._selection.everything:  # a part has a smaller total, which is not known yet
            self._observer.total(files, size)

    def _describe(self, preview: Preview, stream: bool) -> TransferPreview:
        """Return what the user sees. All that the sender says is checked before it meets the disk or the screen."""
        tops = [entry.name for entry in preview.entries if not entry.depth]
        there = space_for(
            self._out, [name for name in tops if refusal(name, portable=self._portable) is None]
        )
        return TransferPreview(
            files=preview.files,
            size=preview.size,
            counted=preview.counted,
            names=preview.names,
            top=tuple(self._wanted(preview, there.taken)),
            taken=len(there.taken),
            free_size=there.size,
            free_files=there.files,
            filtered=not self._selection.everything,
            stream=stream,
        )

    def _wanted(self, preview: Preview, taken: frozenset[str]) -> Iterator[PreviewEntry]:
        """Yield the wanted entries at the top.

        Raises:
            PeerMisbehaved: an entry does not lie in the directory before it; or a path is longer than the protocol
                allows, so that matching patterns would take too long.

        """
        above: list[str] = []
        for entry in preview.entries:
            if entry.depth > len(above):
                raise PeerMisbehaved("The other side shows something in a directory that it does not show.")
            name = entry.name[: protocol_limits.MAX_NAME]
            path = "/".join((*above[: entry.depth], name))
            if len(path) > protocol_limits.MAX_PATH:
                raise PeerMisbehaved("The other side shows a path that is too long.")
            above[entry.depth :] = [name]
            directory = entry.kind is Kind.DIRECTORY
            if self._selection.leads(path) if directory else self._selection.takes(path):
                exists = not entry.depth and entry.name in taken
                yield PreviewEntry(entry.depth, escape(name), directory, entry.size, exists)
