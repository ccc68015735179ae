"""One conversation with the other side: a channel and the session over it, used as one object."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, TypeVar

import trio

from p2p_copy.errors import Declined, PeerLost
from p2p_copy.protocol.messages import Abort, Message, Reason
from p2p_copy.protocol.rendezvous import Role
from p2p_copy.transfer import farewell, limits
from p2p_copy.transfer.reasons import given_up
from p2p_copy.transport import timeouts

if TYPE_CHECKING:
    from p2p_copy.peer.channel import Channel
    from p2p_copy.protocol.session import Session

M = TypeVar("M", bound=Message)


class Conversation:
    """One side's end of a conversation. One task may `tell`, and one may `hear`.

    A worker thread that has records to seal or to open uses the `session` itself.

    Attributes:
        channel: carries the records.
        session: seals and opens them, and holds both sides to the table of who may say what.
        heard_at: Trio's time when the other side last said something.

    """

    def __init__(self, channel: Channel, session: Session, role: Role) -> None:
        """Begin; `role` is which side this is."""
        self.channel = channel
        self.session = session
        self.heard_at = trio.current_time()
        self._role = role
        self._messages: deque[Message] = deque()  # heard, and not returned yet
        self._turn = 0  # messages since other tasks had their turn

    async def tell(self, *messages: Message) -> None:
        """Say this in one record, and send it; see `send`."""
        for message in messages:
            self.session.say(message)
        self.session.record()
        await self.send()

    async def send(self) -> None:
        """Send all that the session has sealed, in order, and wait until there is room for more.

        All of it goes out even if this is cancelled: see `Channel.send`.

        Raises:
            LinkBroken: the channel is lost.

        """
        await self.channel.send(*self.session.take_sealed())

    async def hear(self) -> Message:
        """Return the next message. Cancelling loses nothing.

        Raises:
            PeerLost, PeerFailed, PipeFailed: the other side gave up.
            PeerMisbehaved: it broke the protocol.
            LinkBroken, EndOfStream: the channel is at its end.

        """
        message = await self._next()
        if isinstance(message, Abort):
            raise given_up(message, self._other)
        return message

    async def expect(self, *kinds: type[M], within: float, silence: str) -> M:
        """Return the next message, which is of one of these kinds: the table of who may say what allows no other.

        Args:
            kinds: what the other side may say.
            within: seconds to wait for it.
            silence: the sentence for the user if nothing comes in that time.

        Raises:
            PeerLost: nothing came.
            Declined: the receiver declined.
            PeerFailed, PeerMisbehaved, LinkBroken, EndOfStream: see `hear`.

        """
        with timeouts.within(within):
            message = await self._next()
            if isinstance(message, kinds):
                return message
            if not isinstance(message, Abort):
                raise AssertionError(f"no {self._other} may say {type(message).__name__} here")
            if message.reason is Reason.DECLINED and self._role is Role.SENDER:
                raise Declined("The receiver declined.")
            raise given_up(message, self._other)
        raise PeerLost(silence)

    async def part_ways(self, last: Abort) -> bool:
        """Tell the other side why this one ends; return whether it knows then that the conversation is over.

        This takes a bounded time. If it fails, the error for which this side ends is raised all the same.
        """
        return await farewell.part_ways(self.channel, self.session, last)

    async def _next(self) -> Message:
        while not self._messages:
            record = await self.channel.receive()
            self.heard_at = trio.current_time()
            self._messages.extend(self.session.hear(record))
        self._turn = (self._turn + 1) % limits.MESSAGES_A_TURN
        if not self._turn:
            await trio.lowlevel.checkpoint()
        return self._messages.popleft()

    @property
    def _other(self) -> str:
        return "receiver" if self._role is Role.SENDER else "sender"
