"""Moves records from a producer to a consumer, for trees and streams alike, until the receipt and the goodbye.

The sender makes records while earlier ones are on their way, and hears the receiver all the while. The receiver takes
records from the channel while earlier ones are being written. Memory is bounded on both sides: a few records are made
ahead, and as many are taken ahead.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

import trio

from p2p_copy.errors import PeerLost
from p2p_copy.peer import limits as peer_limits
from p2p_copy.protocol.messages import Receipt
from p2p_copy.transfer import limits
from p2p_copy.transfer.stalls import slow_way
from p2p_copy.transport.link import LINK_ERRORS, LinkBroken

if TYPE_CHECKING:
    from p2p_copy.protocol.messages import Message
    from p2p_copy.transfer.conversation import Conversation
    from p2p_copy.transfer.receipt_wait import ReceiptWait
    from p2p_copy.transfer.stalls import Stalls


class Producer(Protocol):
    """Makes the records that one conversation is to send."""

    async def next_records(self, stalls: Stalls) -> list[bytes]:
        """Seal the next records, as soon as there are some, and return them; none at the end.

        While this waits, it tells `stalls` for what.
        """

    def keep_pace(self, size: int) -> None:
        """Learn that each link has taken so many bytes since the last call of `next_records` began its work."""

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
    """Give a consumer all that comes until it has confirmed all; then wait for the sender's goodbye for a bounded time.

    The consumer gets all records that came before the channel ended: the last ones may be the sender's goodbye.

    Raises:
        PeerLost: the sender went away without a goodbye.
        P2PCopyError, LinkBroken, EndOfStream: the channel ended early, or the consumer cannot go on.

    """
    end: Exception | None = None

    async def fetch(records: trio.MemorySendChannel[bytes | str]) -> None:
        nonlocal end
        with records:
            try:
                while True:
                    await records.send(await conversation.channel.receive())
            except LINK_ERRORS as error:
                end = error

    async def first_record() -> bytes | str:
        while True:
            with trio.move_on_after(limits.HEARTBEAT):
                return await from_channel.receive()
            await consumer.heartbeat()

    async def next_records() -> list[bytes | str]:
        try:
            with stalls.waiting_for(consumer.nothing_comes, lambda: stalls.incoming):
                records = [await first_record()]
        except trio.EndOfChannel:
            if consumer.confirmed:
                raise PeerLost("The sender disconnected before it said that it has the receipt.") from None
            assert end is not None, "else the channel is open"
            raise end from None
        with suppress(trio.WouldBlock, trio.EndOfChannel):
            while len(records) < peer_limits.PIPELINE:
                records.append(from_channel.receive_nowait())
        return records

    to_consumer, from_channel = trio.open_memory_channel[bytes | str](peer_limits.PIPELINE)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stalls.watch)
        nursery.start_soon(fetch, to_consumer)
        while not consumer.confirmed:
            await consumer.consume(await next_records())
        with trio.move_on_after(limits.RECEIPT_LINGER):
            while not consumer.goodbye:
                await consumer.consume(await next_records())
        nursery.cancel_scope.cancel()
