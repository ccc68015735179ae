"""One conversation with the other side: saying and hearing messages, moving records, the receipt and the goodbye.

Records move from a producer to a consumer, for trees and streams alike. The sender makes records while earlier ones are
on their way, and hears the receiver all the while. The receiver takes records from the channel while earlier ones are
being written. Memory is bounded on both sides: a few records are made ahead, and as many are taken ahead.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn, Protocol, TypeVar

import anyio
import trio

from p2p_copy.errors import Declined, PeerLost, PeerMisbehaved
from p2p_copy.peer import limits as peer_limits
from p2p_copy.peer.channel import while_parting
from p2p_copy.protocol.messages import Abort, Message, Reason, Receipt
from p2p_copy.protocol.rendezvous import Role
from p2p_copy.transfer import limits
from p2p_copy.transfer.reasons import given_up
from p2p_copy.transfer.stalls import slow_way
from p2p_copy.transport import timeouts
from p2p_copy.transport.link import LINK_ERRORS, LinkBroken

if TYPE_CHECKING:
    from p2p_copy.peer.channel import Channel
    from p2p_copy.protocol.session import Session
    from p2p_copy.transfer.receipt_wait import ReceiptWait
    from p2p_copy.transfer.stalls import Stalls

M = TypeVar("M", bound=Message)


class Conversation:
    """One side's end of a conversation. One task may `tell`, and one may `hear`.

    A worker thread that has records to seal or to open uses the `session` itself.

    Attributes:
        channel: carries the records.
        session: seals and opens them, and holds both sides to the table of who may say what.

    """

    def __init__(self, channel: Channel, session: Session, role: Role) -> None:
        """Begin; `role` is which side this is."""
        self.channel = channel
        self.session = session
        self._role = role
        self._messages: deque[Message] = deque()  # heard, and not returned yet
        self._turn = 0  # messages since other tasks had their turn

    async def tell(self, *messages: Message) -> None:
        """Send a message in one record; see `send`."""
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

    async def listen_for_end(self) -> NoReturn:
        """Raise what `hear` raises as soon as the other side gives up; keep for `hear` all that it says before.

        Use it where the table of who may say what allows only a few messages, since all are kept.
        """
        while True:
            for message in self._messages:
                if isinstance(message, Abort):
                    raise given_up(message, self._other)
            self._messages.extend(self.session.hear(await self.channel.receive()))

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
        """Tell the other side why this side ends, if that is still possible; return whether it was told.

        The message goes out behind what is queued already, which may be megabytes over a slow connection. So it has
        time as long as that queue moves, and a bounded time in all. Nothing is raised that would hide the error for
        which this side ends.
        """
        if self.session.abandoned:
            return True  # the other side has said so itself
        if not self.session.may_say(last):
            return False
        with while_parting(self.channel):
            try:
                await self.tell(last)
            except (PeerMisbehaved, anyio.ClosedResourceError, *LINK_ERRORS):
                return False
            return await self.channel.give_up()
        return False

    async def _next(self) -> Message:
        while not self._messages:
            self._messages.extend(self.session.hear(await self.channel.receive()))
        self._turn = (self._turn + 1) % limits.MESSAGES_A_TURN
        if not self._turn:
            await trio.lowlevel.checkpoint()
        return self._messages.popleft()

    @property
    def _other(self) -> str:
        return "receiver" if self._role is Role.SENDER else "sender"


class Producer(Protocol):
    """Makes the records that one conversation is to send."""

    async def next_records(self, stalls: Stalls) -> list[bytes]:
        """Seal the next records, as soon as there are some, and return them; none at the end.

        While this waits, it tells `stalls` for what.
        """

    def keep_pace(self, size: int) -> None:
        """Learn that each link has taken `size` bytes since the last call of `next_records` began its work."""

    async def hear(self, message: Message) -> None:
        """Act on what the receiver says, other than an Abort or its Receipt.

        Raises:
            PeerMisbehaved: it may not say that.

        """


class Consumer(Protocol):
    """Acts on the records that one conversation brings."""

    @property
    def confirmed(self) -> bool:
        """Whether this side has sent the receipt, so that only the sender's goodbye is missing."""

    @property
    def goodbye(self) -> bool:
        """Whether the sender has said goodbye, which shows that it has the receipt."""

    def nothing_comes(self) -> str:
        """Return the sentence that names the party because of which no record comes: see `Stalls.waiting_for`."""

    async def consume(self, records: list[bytes | str]) -> None:
        """Act on the next records, and answer them."""

    async def heartbeat(self) -> None:
        """Let the sender know that this side is there: no record has come for `limits.HEARTBEAT` seconds."""


async def send_until_receipt(conversation: Conversation, producer: Producer, wait: ReceiptWait) -> Receipt:
    """Send all that a producer makes, hear the receiver, and return its receipt, which the caller checks.

    Raises:
        PeerLost: no receipt came for too long.
        P2PCopyError, LinkBroken, EndOfStream: see `Conversation.hear` and the producer.

    """
    stalls = wait.stalls

    async def send() -> None:
        with suppress(LinkBroken):  # the next `hear` says why, or returns what the receiver said last
            while records := await producer.next_records(stalls):
                size = sum(map(len, records))
                records.clear()  # the channel has them, and their buffers are used again once they are out
                with stalls.waiting_for(lambda: slow_way(stalls), lambda: stalls.outgoing):
                    await conversation.send()
                producer.keep_pace(size // conversation.channel.width)
            await wait.after_all_is_sent()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(stalls.watch)
        nursery.start_soon(send)
        with wait.patience():
            while not isinstance(message := await conversation.hear(), Receipt):
                await producer.hear(message)
                wait.heard(message)
        nursery.cancel_scope.cancel()
    return message


async def receive_until_goodbye(conversation: Conversation, consumer: Consumer, stalls: Stalls) -> None:
    """Give all records to a consumer until it has confirmed the transfer; then wait for the goodbye, but not for ever.

    The consumer also gets the records that came before the channel ended: the last one may be the sender's goodbye.

    Raises:
        PeerLost: the sender went away without a goodbye.
        P2PCopyError, LinkBroken, EndOfStream: the channel ended early, or the consumer cannot go on.

    """

    async def next_records() -> list[bytes | str]:
        try:
            with stalls.waiting_for(consumer.nothing_comes, lambda: stalls.incoming):
                while True:
                    with trio.move_on_after(limits.HEARTBEAT):
                        return await conversation.channel.receive_some(peer_limits.PIPELINE)
                    await consumer.heartbeat()
        except LINK_ERRORS:
            if consumer.confirmed:
                raise PeerLost("The sender disconnected before it said that it has the receipt.") from None
            raise

    async with trio.open_nursery() as nursery:
        nursery.start_soon(stalls.watch)
        while not consumer.confirmed:
            await consumer.consume(await next_records())
        with trio.move_on_after(limits.RECEIPT_LINGER):
            while not consumer.goodbye:
                await consumer.consume(await next_records())
        nursery.cancel_scope.cancel()
