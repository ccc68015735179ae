"""How records move from any producer to any consumer, until the receipt and the goodbye."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from p2p_copy.errors import PeerFailed, PeerLost, PeerMisbehaved
from p2p_copy.observer import Observer
from p2p_copy.peer import limits as peer_limits
from p2p_copy.peer.failures import plain_errors
from p2p_copy.protocol.messages import (
    Abort,
    Accept,
    Finish,
    Goodbye,
    Message,
    Offer,
    Omitted,
    Progress,
    Reason,
    Receipt,
)
from p2p_copy.transfer import limits
from p2p_copy.transfer.conversation import receive_until_goodbye, send_until_receipt
from p2p_copy.transfer.receipt_wait import ReceiptWait
from p2p_copy.transfer.stalls import Stalls
from tests.support.memory_channel import channel, conversations
from tests.support.transfers import Told
from tests.support.websocket import virtual_time

if TYPE_CHECKING:
    from collections.abc import Iterator

    from p2p_copy.transfer.conversation import Conversation

RECEIPT = Receipt(0, 0, 0, 0, bytes(32))
FINISH = Finish(0, 0, 0, 0, bytes(32))
BATCHES = 20


def agreed() -> tuple[Conversation, Conversation]:
    """Return both ends of a conversation in which the sender may send entries."""
    sender, receiver = conversations()
    sender.session.say(Offer("test/1"))
    receiver.session.hear(sender.session.record())
    receiver.session.say(Accept("test/1", True))
    sender.session.hear(receiver.session.record())
    for session in (sender.session, receiver.session):
        session.take_sealed()
    return sender, receiver


def omitted(number: int) -> Omitted:
    return Omitted(f"path {number}", Reason.UNREADABLE)


class Making:
    """A producer of batches of two records.

    Attributes:
        made: how many batches there were.
        heard: what the receiver has said.
        sizes: what each link has taken, by batch.

    """

    def __init__(self, conversation: Conversation, batches: int = BATCHES) -> None:
        self._session = conversation.session
        self._batches = batches
        self.made = 0
        self.heard: list[Message] = []
        self.sizes: list[int] = []

    async def next_records(self, stalls: Stalls) -> list[bytes]:
        await trio.lowlevel.checkpoint()
        if self.made > self._batches:
            return []
        self.made += 1
        if self.made > self._batches:
            self._session.say(FINISH)
            return [self._session.record()]
        records = []
        for number in (0, 1):
            self._session.say(omitted(2 * self.made - 2 + number))
            records.append(self._session.record())
        return records

    def keep_pace(self, size: int) -> None:
        self.sizes.append(size)

    async def hear(self, message: Message) -> None:
        self.heard.append(message)


class Taking:
    """A consumer that remembers what it is given.

    Attributes:
        taken: all messages.
        most: records in one batch.
        beats: how often nothing came for a while.

    """

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation
        self.taken: list[Message] = []
        self.most = 0
        self.beats = 0
        self.confirmed = False
        self.goodbye = False

    def nothing_comes(self) -> str:
        return "Nothing moves: nothing comes"

    async def consume(self, records: list[bytes | str]) -> None:
        await trio.lowlevel.checkpoint()
        self.most = max(self.most, len(records))
        for record in records:
            for message in self._conversation.session.hear(record):
                if isinstance(message, Abort):
                    raise PeerFailed(message.sentence)
                self.taken.append(message)
                self.goodbye = self.goodbye or isinstance(message, Goodbye)
                if isinstance(message, Finish):
                    await self._conversation.tell(RECEIPT)
                    self.confirmed = True

    async def heartbeat(self) -> None:
        self.beats += 1


async def send(conversation: Conversation, producer: Making) -> Receipt:
    wait = ReceiptWait(conversation.channel, conversation.session, Observer())
    return await send_until_receipt(conversation, producer, wait)


async def receive(conversation: Conversation, consumer: Taking, told: Observer | None = None) -> None:
    await receive_until_goodbye(conversation, consumer, Stalls(told or Observer(), conversation.channel))


@contextmanager
def plain(kind: type[Exception], sentence: str) -> Iterator[None]:
    """Expect an error as `send` and `receive` raise it."""
    with pytest.raises(kind, match=sentence), plain_errors():
        yield


async def test_all_that_is_made_is_taken_in_order() -> None:
    sender, receiver = agreed()
    producer, consumer = Making(sender), Taking(receiver)
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive, receiver, consumer)
            assert await send(sender, producer) == RECEIPT
            await sender.tell(Goodbye())
    assert consumer.taken == [*map(omitted, range(2 * BATCHES)), FINISH, Goodbye()]
    assert consumer.most <= peer_limits.PIPELINE
    assert len(producer.sizes) == BATCHES + 1
    assert min(producer.sizes) > 0


async def test_records_are_made_only_a_little_ahead_of_what_the_channel_takes() -> None:
    """What is made ahead takes memory."""
    sender, _ = agreed()
    channel(sender).may_send = trio.Event()
    producer = Making(sender)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(send, sender, producer)
        await wait_all_tasks_blocked()
        assert producer.made == 1
        nursery.cancel_scope.cancel()
        channel(sender).may_send.set()


async def test_records_are_taken_only_a_little_ahead_of_what_the_consumer_takes() -> None:
    sender, receiver = agreed()
    for number in range(5 * peer_limits.PIPELINE):
        await sender.tell(omitted(number))
    stuck = trio.Event()

    class Stuck(Taking):
        async def consume(self, records: list[bytes | str]) -> None:
            await stuck.wait()
            await super().consume(records)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive, receiver, Stuck(receiver))
        await wait_all_tasks_blocked()
        waiting = channel(receiver)._incoming.statistics().current_buffer_used
        assert waiting >= 5 * peer_limits.PIPELINE - 2 * peer_limits.PIPELINE - 1
        nursery.cancel_scope.cancel()


async def test_the_receiver_is_heard_while_nothing_can_be_sent() -> None:
    sender, receiver = agreed()
    channel(sender).may_send = trio.Event()
    await receiver.tell(Progress(0, 0, 0))
    producer = Making(sender)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(send, sender, producer)
        await wait_all_tasks_blocked()
        assert producer.heard == [Progress(0, 0, 0)]
        nursery.cancel_scope.cancel()
        channel(sender).may_send.set()


async def test_a_sender_that_cannot_send_hears_the_last_words_of_the_receiver() -> None:
    sender, receiver = agreed()
    channel(sender)._outgoing.close()
    producer = Making(sender)
    with plain(PeerFailed, "last words"):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send, sender, producer)
            await wait_all_tasks_blocked()
            await receiver.tell(Abort(Reason.OTHER, "last words"))


async def test_a_receiver_takes_what_has_come_before_it_learns_of_the_end() -> None:
    sender, receiver = agreed()
    for number in range(3 * peer_limits.PIPELINE):
        await sender.tell(omitted(number))
    await sender.tell(Abort(Reason.OTHER, "last words"))
    channel(sender).close()
    consumer = Taking(receiver)
    with plain(PeerFailed, "last words"):
        await receive(receiver, consumer)
    assert consumer.taken == list(map(omitted, range(3 * peer_limits.PIPELINE)))


async def test_a_producer_that_fails_ends_the_sending() -> None:
    sender, _ = agreed()

    class Failing(Making):
        async def next_records(self, stalls: Stalls) -> list[bytes]:
            if self.made == 2:
                raise PeerMisbehaved("enough")
            return await super().next_records(stalls)

    with (
        trio.fail_after(10),
        plain(PeerMisbehaved, "enough"),
    ):
        await send(sender, Failing(sender))


@virtual_time()
async def test_nothing_that_comes_is_a_beat_and_a_stall() -> None:
    sender, receiver = agreed()
    consumer, told = Taking(receiver), Told()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive, receiver, consumer, told)
        await trio.sleep(limits.STALL + limits.HEARTBEAT)
        assert consumer.beats == 4
        assert told.stalls == ["Nothing moves: nothing comes"]
        await sender.tell(omitted(0))
        await trio.sleep(limits.HEARTBEAT / 2)
        assert told.stalls[1:] == ["moving"]
        assert consumer.beats == 4
        nursery.cancel_scope.cancel()


@virtual_time()
async def test_a_goodbye_that_does_not_come_is_waited_for_for_a_bounded_time() -> None:
    sender, receiver = agreed()
    await sender.tell(FINISH)
    consumer = Taking(receiver)
    began = trio.current_time()
    await receive(receiver, consumer)
    assert not consumer.goodbye
    assert trio.current_time() - began == pytest.approx(limits.RECEIPT_LINGER)


async def test_a_sender_that_goes_away_without_a_goodbye_may_not_have_the_receipt() -> None:
    sender, receiver = agreed()
    await sender.tell(FINISH)
    channel(sender).close()
    with plain(PeerLost, "before it said that it has the receipt"):
        await receive(receiver, Taking(receiver))


@virtual_time()
async def test_a_receipt_that_does_not_come_is_waited_for_for_a_bounded_time() -> None:
    sender, receiver = agreed()
    began = trio.current_time()

    async def say_nothing_but_that_all_is_there() -> None:
        while trio.current_time() - began < 100:
            record = await receiver.channel.receive()
            receiver.session.hear(record)
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(say_nothing_but_that_all_is_there)
        with plain(PeerLost, "Everything was sent"):
            await send(sender, Making(sender))
        nursery.cancel_scope.cancel()
    assert trio.current_time() - began == pytest.approx(limits.RECEIPT_TIMEOUT, abs=2)
