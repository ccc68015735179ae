"""Reconnects after each loss: both sides meet again and begin a new conversation of the same transfer.

`retry` decides where to look for the other side, for how long, and when to stop; this module does it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

import trio

from p2p_copy.errors import Declined, NotVerified, P2PCopyError, PeerLost, WrongCode
from p2p_copy.observer import ConnectObserver
from p2p_copy.peer.backoff import backoff
from p2p_copy.peer.connect import meet
from p2p_copy.peer.failures import plain_errors
from p2p_copy.peer.retry import GiveUp, OtherRoom, Reconnect, Remembered, Retry
from p2p_copy.protocol.rendezvous import Role

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from p2p_copy.peer.channel import Channel
    from p2p_copy.peer.meeting import ConnectOptions, Meeting
    from p2p_copy.peer.retry import Room, Turn
    from p2p_copy.protocol.session import Session

T = TypeVar("T")


class MeetingMemory(Remembered, Protocol):
    """What one side remembers from one meeting to the next."""

    def without_code(self) -> None:
        """Meet by tickets alone: this process does not know the code."""

    def meeting(self, options: ConnectOptions, room: Room) -> Meeting:
        """Return how to meet in a room: that of a ticket, or None for that of the code."""

    async def spend(self) -> None:
        """Remember that a key exchange with the code has begun."""

    async def met(self, options: ConnectOptions, channel: Channel, session: Session) -> None:
        """Remember that both sides have met. If this fails, the other side is told."""

    async def forget_meeting(self, session: Session) -> None:
        """Forget the ticket of a meeting in which the receiver declined."""


async def run_with_reconnect(
    options: ConnectOptions, memory: MeetingMemory, story: Callable[[Channel, Session], Awaitable[T]]
) -> T:
    """Meet the other side and run `story`, again after each loss, until it returns; return its result.

    Args:
        options: how to reach the other side.
        memory: what is known from earlier meetings, and for how long to try to reconnect.
        story: is called with each new channel and session; it lets `memory` save the session's ticket.

    Raises:
        P2PCopyError: the error is permanent, or did not pass in time; see `meet`.

    """
    if options.code is None:
        memory.without_code()
    search = Reconnect(memory, wait=options.wait, now=trio.current_time(), pauses=backoff)
    connecting = ConnectObserver(options.observer)
    looking = options._replace(observer=connecting)
    while True:
        turn = search.next_turn(trio.current_time())
        connecting.left = turn.left
        met = False
        try:
            with plain_errors():
                meeting = memory.meeting(options, turn.room)
                async with meet(looking, meeting, turn.seconds) as (channel, session):
                    met = True
                    await memory.met(options, channel, session)
                    return await story(channel, session)
        except NotVerified:
            raise
        except Declined:
            wait = search.after_decline(trio.current_time())
            if options.role is Role.RECEIVER or wait <= 0:
                raise
            await memory.forget_meeting(session)
            options.observer.declined(wait)
            continue
        except P2PCopyError as caught:
            error = caught
        if isinstance(error, WrongCode):
            error = await _wrong_code(error, turn, memory, options)
        match search.after(error, met=met, now=trio.current_time()):
            case GiveUp(error=final):
                raise final
            case OtherRoom():
                connecting.silent = True
            case Retry(after=pause, left=left):
                connecting.silent = False
                options.observer.lost(str(error), left, pause)
                await trio.sleep(pause)


async def _wrong_code(
    error: WrongCode, turn: Turn, memory: MeetingMemory, options: ConnectOptions
) -> P2PCopyError:
    """Return the error for a failed key exchange, which uses up the code if it was by the code; a ticket stays good."""
    if turn.room is not None:
        return PeerLost("Another client is in the room in which the two sides meet again.")
    await memory.spend()
    if memory.knowledge.tickets:
        options.observer.notice(_GUESSED)
    return error


_GUESSED = (
    "Another client came with a wrong code, so this code is used up. The transfer goes on: both sides reconnect by the "
    "ticket of their first meeting."
)
