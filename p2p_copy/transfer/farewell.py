"""Ending a conversation in good order, for a bounded time, and never in the way of why it ends.

Last words come behind what is queued already, which may be megabytes on a slow way. So they have time while that moves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from p2p_copy.errors import P2PCopyError, PeerMisbehaved, PipeFailed, SystemFailed
from p2p_copy.peer.channel import last_words
from p2p_copy.peer.multipath import LINK_ERRORS
from p2p_copy.protocol.messages import Abort, Reason
from p2p_copy.transfer.reasons import farewell
from p2p_copy.transport.link import LinkBroken

if TYPE_CHECKING:
    from p2p_copy.peer.channel import Channel
    from p2p_copy.protocol.session import Session


async def send_whole(link: Channel, record: bytes) -> None:
    """Send a record to its end even if this side is stopped meanwhile, as long as it moves and for a bounded time.

    A send that is cut ends the link, and then nobody could tell the other side why this one ends.
    """
    failures: list[LinkBroken] = []  # out of the nursery's groups
    async with trio.open_nursery() as nursery:
        sending, sent = trio.CancelScope(shield=True), trio.Event()

        async def send() -> None:
            with sending:
                try:
                    await link.send(record)
                except LinkBroken as error:
                    failures.append(error)
            sent.set()
            nursery.cancel_scope.cancel()

        nursery.start_soon(send)
        try:
            await trio.sleep_forever()
        finally:
            if not sent.is_set():
                with last_words(link):
                    await sent.wait()
                sending.cancel()
    if failures:
        raise failures.pop()


async def part_ways(link: Channel, session: Session, last: Abort) -> bool:
    """Tell the other side why this one ends, if it can still be told; never in the way of the error itself.

    Return whether it knows that the conversation is over, as far as this side can tell.
    """
    if session.abandoned:
        return True  # it has said so itself
    with last_words(link):
        try:
            session.say(last)
            for record in tuple(session.unsent):  # it takes no record that is not the next one
                await link.send(record)
            await link.send(session.record())
            await link.give_up()
        except (AssertionError, PeerMisbehaved, *LINK_ERRORS):
            return False  # the conversation is over already
        return True
    return False


def end_of_stream(error: BaseException, broken: P2PCopyError | None) -> Abort:
    """Return what to say when a stream stops for this error; `broken` is what became of its pipe, if that is why.

    Only a loss of the link is transient: a side that is stopped cannot resume a stream later.
    """
    if isinstance(error, P2PCopyError) and error.transient:
        return farewell(error)
    if broken is None and (isinstance(error, SystemFailed) or not isinstance(error, Exception)):
        return Abort(
            Reason.PIPE, "it was stopped, and what goes through a pipe cannot be gone on with later."
        )
    return farewell(broken or error)


def restarted_error(who: str) -> PipeFailed:
    """Return what it means that `who`, "sender" or "receiver", was started anew in the middle of a stream."""
    what = f"he {who} was started anew in the middle of a pipe, which cannot be gone on with then."
    return PipeFailed(f"T{what} Start both sides again.", f"t{what} Start both sides again.")
