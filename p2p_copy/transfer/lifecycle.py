"""What is around a transfer: its job, its conversations, a task that runs beside them, and the receipt it writes."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import trio

from p2p_copy.errors import P2PCopyError
from p2p_copy.peer.failures import plain_errors
from p2p_copy.peer.reconnect import run_with_reconnect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from p2p_copy.files.receipts.receipt_file import ReceiptFile
    from p2p_copy.files.selection import Selection
    from p2p_copy.files.source.entry import SourceTrees
    from p2p_copy.observer import Observer, Report
    from p2p_copy.options import ReceiveOptions, SendOptions
    from p2p_copy.peer.channel import Channel
    from p2p_copy.peer.meeting import ConnectOptions
    from p2p_copy.protocol.messages import Preserved
    from p2p_copy.protocol.session import Session
    from p2p_copy.transfer.resumption import Resumption


@dataclass(frozen=True)
class Job:
    """What one side has to do, as its caller wants it: made once, and passed whole.

    Attributes:
        resumption: what this side remembers from one meeting to the next.
        receipt: the receipt that it writes; None if none was asked for.
        observer: is told how it goes.

    """

    resumption: Resumption
    receipt: ReceiptFile | None
    observer: Observer


@dataclass(frozen=True)
class SendJob(Job):
    """What a sender has to do.

    Attributes:
        trees: what to send.
        options: how.

    """

    trees: SourceTrees
    options: SendOptions


@dataclass(frozen=True)
class ReceiveJob(Job):
    """What a receiver has to do.

    Attributes:
        out: where everything goes; see `receive`.
        options: how.
        selection: which part of what the sender has.
        preserve: what to preserve.
        allowed: the permissions that entries may get.

    """

    out: str
    options: ReceiveOptions
    selection: Selection
    preserve: Preserved
    allowed: int


class Story(Protocol):
    """What one side says and hears in each conversation.

    Attributes:
        report: how the transfer ended, once this side has done all.

    """

    report: Report | None

    async def run(self, channel: Channel, session: Session) -> Report:
        """Tell the story in one conversation, from its beginning."""


async def run_story(
    helper: Callable[[], Awaitable[None]], options: ConnectOptions, resumption: Resumption, story: Story
) -> Report:
    """Run a story until it is told, in as many conversations as it takes, with `helper` beside it.

    The helper ends with the story, and ends it if it fails. An error after this side has done all is none: only the
    other side may not know that. Any other error ends the transfer for good, unless it can be resumed.
    """
    try:
        with plain_errors():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(helper)
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
