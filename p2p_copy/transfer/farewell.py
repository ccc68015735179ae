"""Ends a conversation: what this side says last, and which error the end of a stream means.

The last message goes out behind what is queued already, which may be megabytes over a slow connection. So it has time
as long as that queue moves, and a bounded time in all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from p2p_copy.errors import P2PCopyError, PeerMisbehaved, PipeFailed, SystemFailed
from p2p_copy.peer.channel import last_words
from p2p_copy.protocol.messages import Abort, Reason
from p2p_copy.transfer.reasons import farewell
from p2p_copy.transport.link import LINK_ERRORS

if TYPE_CHECKING:
    from p2p_copy.peer.channel import Channel
    from p2p_copy.protocol.session import Session


async def part_ways(channel: Channel, session: Session, last: Abort) -> bool:
    """Tell the other side why this one ends, if that is still possible.

    Return whether the other side knows that the conversation is over, as far as this side can tell. Takes a bounded
    time, and raises nothing that would hide the error for which this side ends.
    """
    if session.abandoned:
        return True  # it has said so itself
    if not session.may_say(last):
        return False
    with last_words(channel):
        session.say(last)
        session.record()
        try:
            await channel.send(*session.take_sealed())
        except (PeerMisbehaved, anyio.ClosedResourceError, *LINK_ERRORS):
            return False
        return await channel.give_up()
    return False


def end_of_stream(error: BaseException, broken: P2PCopyError | None) -> Abort:
    """Return what to say when a stream stops for this error, or for `broken`, the error of its pipe, if there is one.

    Only a loss of the link is transient: a side that is stopped cannot resume a stream later.
    """
    if isinstance(error, P2PCopyError) and error.transient:
        return farewell(error)
    if broken is None and (isinstance(error, SystemFailed) or not isinstance(error, Exception)):
        return Abort(Reason.PIPE, "it was stopped, and what goes through a pipe cannot be resumed later.")
    return farewell(broken or error)


def restarted_error(who: str) -> PipeFailed:
    """Return the error that means that `who`, "sender" or "receiver", was started again in the middle of a stream."""
    what = f"he {who} was started again in the middle of a pipe, which cannot be resumed."
    return PipeFailed(f"T{what} Start both sides again.", f"t{what} Start both sides again.")
