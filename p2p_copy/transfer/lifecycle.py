"""What surrounds a transfer: its job, the tasks that run beside its conversations, and its receipt."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Protocol, TypeAlias

import trio

from p2p_copy.errors import P2PCopyError
from p2p_copy.peer.failures import plain_errors
from p2p_copy.peer.reconnect import run_with_reconnect
from p2p_copy.value import NamedTuple

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

    from p2p_copy.files.receipts.receipt_file import ReceiptFile
    from p2p_copy.files.selection import Selection
    from p2p_copy.files.source.entry import SourceTrees
    from p2p_copy.files.stdio import Sink, Source
    from p2p_copy.observer import AskDelete, AskReplace, Observer, Report
    from p2p_copy.options import ReceiveOptions, SendOptions
    from p2p_copy.peer.channel import Channel
    from p2p_copy.peer.meeting import ConnectOptions
    from p2p_copy.protocol.messages import Preserved
    from p2p_copy.protocol.session import Session
    from p2p_copy.transfer.resumption import Resumption


Helpers: TypeAlias = "Iterable[Callable[[], Awaitable[None]]]"
"""Functions that run beside a transfer."""


class SendJob(NamedTuple):
    """What a sender has to do.

    Attributes:
        resumption: what this side remembers from one meeting to the next.
        receipt: the receipt that it writes; None if none was asked for.
        observer: hears of each step.
        beside: functions of the caller that run beside the transfer and end with it. If one of them fails, the
            transfer fails, and the other side is told so.
        trees: what to send.
        options: how to send it.
        source: opens standard input for "-"; gets the name of the stream.

    """

    resumption: Resumption
    receipt: ReceiptFile | None
    observer: Observer
    beside: Helpers
    trees: SourceTrees
    options: SendOptions
    source: Callable[[str], Source]


class ReceiveJob(NamedTuple):
    """What a receiver has to do. The first four are as in `SendJob`.

    Attributes:
        out: where to write; see `receive`.
        options: how to receive.
        selection: which entries of the sender to take.
        preserve: the attributes to preserve.
        allowed: the permissions that entries may get.
        sink: opens standard output for "-".
        ask_delete: is asked before anything is deleted; None to delete without asking.
        ask_replace: is asked before a file is replaced, with `Conflict.ASK`.

    """

    resumption: Resumption
    receipt: ReceiptFile | None
    observer: Observer
    beside: Helpers
    out: str
    options: ReceiveOptions
    selection: Selection
    preserve: Preserved
    allowed: int
    sink: Callable[[], Sink]
    ask_delete: AskDelete | None
    ask_replace: AskReplace | None


class Story(Protocol):
    """What one side says and hears in each conversation.

    Attributes:
        report: the result, once this side has done all.
        broken: the error of a function that runs beside the transfer: the other side is told this one, and not that
            the story was cancelled.

    """

    report: Report | None
    broken: Exception | None

    async def run(self, channel: Channel, session: Session) -> Report:
        """Tell the story in one conversation, from its beginning."""


async def run_story(
    helpers: Helpers, options: ConnectOptions, resumption: Resumption, story: Story
) -> Report:
    """Run a story to its end, in as many conversations as it takes, with `helpers` beside it.

    Helpers end with the story; if one fails, the story ends. An error after this side has done all is ignored: it only
    means that the other side may not know that. Any other permanent error ends the transfer for good.
    """

    async def help_out(helper: Callable[[], Awaitable[None]]) -> None:
        try:
            with plain_errors():
                await helper()
        except Exception as error:
            story.broken = error
            raise

    try:
        with plain_errors():
            async with trio.open_nursery() as nursery:
                for helper in helpers:
                    nursery.start_soon(help_out, helper)
                report = await run_with_reconnect(options, resumption, story.run)
                nursery.cancel_scope.cancel()
    except Exception as error:
        if story.report is None or not isinstance(error, P2PCopyError):
            await resumption.end_for_good(error)
            raise
        return story.report
    return report


@asynccontextmanager
async def writing(file: ReceiptFile | None) -> AsyncIterator[None]:
    """Write one conversation's receipt, if one is asked for; what is not published then is gone at the end."""
    if file is None:
        yield
        return
    try:
        await trio.to_thread.run_sync(file.begin)
        yield
    finally:
        with trio.CancelScope(shield=True):  # bounded: it removes one file
            await trio.to_thread.run_sync(file.discard)
