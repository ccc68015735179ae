"""What is around a transfer: a task that runs beside it, and the receipt that it writes."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

import trio

from p2p_copy.peer.failures import plain_errors

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from p2p_copy.files.receipts.receipt_file import ReceiptFile

T = TypeVar("T")


async def run_beside(helper: Callable[[], Awaitable[None]], story: Callable[[], Awaitable[T]]) -> T:
    """Run `helper` beside `story`, which it ends if it fails; return what the story returns."""

    async def help_out() -> None:
        await helper()

    with plain_errors():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(help_out)
            result = await story()
            nursery.cancel_scope.cancel()
    return result


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
