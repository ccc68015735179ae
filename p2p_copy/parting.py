"""What a receiver still says when it is stopped: a record that is begun goes out whole, and the sender is told why."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from p2p_copy import limits
from p2p_copy.reasons import farewell
from p2p_copy.several import LINK_ERRORS

if TYPE_CHECKING:
    from p2p_copy.bundle import Bundle
    from p2p_copy.protocol.session import Session


async def send_whole(link: Bundle, record: bytes) -> None:
    """Send a record to its end even if this side is stopped meanwhile, for a bounded time.

    A send that is cut ends the link, and then nobody could tell the sender why this side ends.
    """
    async with trio.open_nursery() as nursery:
        sending = trio.CancelScope(shield=True)

        async def send() -> None:
            with sending:
                await link.send(record)
            nursery.cancel_scope.cancel()

        nursery.start_soon(send)
        try:
            await trio.sleep_forever()
        finally:
            sending.deadline = trio.current_time() + limits.GOODBYE_TIMEOUT


async def part_ways(link: Bundle, session: Session, error: BaseException) -> None:
    """Tell the sender why this side ends, if it can still be told; never in the way of the error itself."""
    with trio.move_on_after(limits.GOODBYE_TIMEOUT, shield=True):
        try:
            session.say(farewell(error))
            await link.send(session.record())
            await link.aclose()
        except (AssertionError, *LINK_ERRORS):
            return  # the conversation is over already
