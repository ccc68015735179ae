"""The sender of a stream, over fake channels that end in the same moment in which a record comes."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, cast

import anyio
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from p2p_copy.errors import PeerMisbehaved
from p2p_copy.files import limits
from p2p_copy.observer import Observer
from p2p_copy.protocol.digest import StreamDigest
from p2p_copy.protocol.messages import (
    Abort,
    Accept,
    Data,
    Entry,
    Finish,
    Held,
    Holds,
    Kind,
    Message,
    Offer,
    Page,
    Progress,
    Receipt,
)
from p2p_copy.protocol.rendezvous import Role
from p2p_copy.transfer.conversation import Conversation
from p2p_copy.transfer.reasons import end_of_stream
from p2p_copy.transfer.stream.sender import StreamSender
from tests.support.keys import both_sessions

if TYPE_CHECKING:
    from p2p_copy.peer.channel import Channel

PIECES = [bytes([number]) * limits.STREAM_READ for number in range(4)]
ACCEPT = Accept("test/1", True, pipe=True)


class Given:
    """A source with some pieces, which ends when the test allows it."""

    may_wait_forever = True
    stalled = "dry"
    entry = Entry(Kind.FILE, 0, "stream", 0o600)

    def __init__(self) -> None:
        self._pieces = iter(PIECES)
        self.may_end = trio.Event()

    def read(self) -> bytes:
        piece = next(self._pieces, None)
        if piece is None:
            trio.from_thread.run(self.may_end.wait)
        return piece or b""

    def close(self) -> None:
        pass


class Receiving:
    """A receiver and the channel to it. Its records and the end come without a turn of the event loop between them."""

    aside = ""
    under_way = 0
    heard_at = 0.0
    width = 1

    def __init__(self) -> None:
        self.sender, self._session = both_sessions()
        self._waiting: deque[bytes | None] = deque()
        self._came = trio.lowlevel.ParkingLot()
        self.size = 0
        self.heard: list[Message] = []
        self.slow = False
        self.may_send = trio.Event()
        self.sender.say(Offer("test/1", pipe=True))
        self.sender.record()
        (offer,) = self.sender.take_sealed()
        self._session.hear(offer)
        self._session.say(ACCEPT)
        self.sender.hear(self._session.record())

    def say(self, *messages: Message) -> None:
        for message in messages:
            self._session.say(message)
        self._waiting.append(self._session.record())
        self._came.unpark_all()

    def end(self) -> None:
        self._waiting.append(None)
        self._came.unpark_all()

    def acked_bytes(self) -> tuple[int, bool]:
        return 0, False

    async def send(self, *records: bytes) -> None:
        for record in records:
            for message in self._session.hear(record):
                self.size += len(message.data) if isinstance(message, Data) else 0
                self.heard.append(message)
        await trio.lowlevel.checkpoint()
        if self.slow:
            await self.may_send.wait()

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()

    async def give_up(self) -> bool:
        await self.aclose()
        return True

    async def receive(self) -> bytes:
        await trio.lowlevel.checkpoint_if_cancelled()
        while not self._waiting:
            await self._came.park()
        record = self._waiting.popleft()
        if record is None:
            raise anyio.EndOfStream
        return record

    async def take(self, size: int) -> None:
        """Say that nothing is here, and wait until `size` bytes have come."""
        await self.until(Page)
        self.say(held(0))
        while self.size < size:  # noqa: ASYNC110
            await trio.sleep(0.001)

    async def until(self, kind: type[Message]) -> None:
        while not any(isinstance(message, kind) for message in self.heard):  # noqa: ASYNC110
            await trio.sleep(0.001)


def held(size: int) -> Holds:
    digest = StreamDigest()
    digest.update(b"".join(PIECES)[:size])
    return Holds(1, (Held(0, size, digest.digest()),))


@pytest.fixture
def given() -> Given:
    return Given()


async def send(stream: StreamSender, link: Receiving) -> Receipt:
    talk = Conversation(cast("Channel", link), link.sender, Role.SENDER)
    return await stream.send(talk, ACCEPT, Observer())


async def test_what_is_acknowledged_in_the_moment_of_a_loss_is_not_lost(given: Given) -> None:
    """It is no longer in the window then: only its digest is left."""
    stream = StreamSender(given)
    size = sum(map(len, PIECES))
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.read)
            first = Receiving()

            async def lose() -> None:
                await first.take(size)
                await wait_all_tasks_blocked(0.01)
                first.say(Progress(0, size // 2, 1))
                first.end()

            async with trio.open_nursery() as both:
                both.start_soon(lose)
                with pytest.RaisesGroup(anyio.EndOfStream, flatten_subgroups=True):
                    await send(stream, first)
            given.may_end.set()
            second = Receiving()

            async def confirm() -> None:
                await second.until(Page)
                second.say(held(size))
                await second.until(Finish)
                second.say(Receipt(1, size, 0, 0, stream.root))

            nursery.start_soon(confirm)
            receipt = await send(stream, second)
    assert receipt.size == size


async def test_last_words_come_behind_what_was_sealed_before(given: Given) -> None:
    """Records must be in order, or the other side refuses them."""
    stream = StreamSender(given)
    link = Receiving()
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.read)

            async def stop() -> None:
                await link.until(Page)
                await wait_all_tasks_blocked(0.01)
                link.slow = True
                link.say(held(0))
                await link.until(Data)  # it comes from a thread
                await wait_all_tasks_blocked(0.01)
                nursery.cancel_scope.cancel()
                link.slow = False
                link.may_send.set()

            nursery.start_soon(stop)
            try:
                await send(stream, link)
            except BaseException as error:
                last = end_of_stream(error)
                await Conversation(cast("Channel", link), link.sender, Role.SENDER).part_ways(last)
                raise
    assert isinstance(link.heard[-1], Abort)
    assert link.size


async def test_what_was_not_sent_over_this_link_cannot_be_acknowledged_over_it(given: Given) -> None:
    """With a receiver that counts wrong both sides would wait for ever."""
    stream = StreamSender(given)
    size = sum(map(len, PIECES))
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.read)
            first = Receiving()

            async def lose() -> None:
                await first.take(size)
                first.end()

            async with trio.open_nursery() as both:
                both.start_soon(lose)
                with pytest.RaisesGroup(anyio.EndOfStream, flatten_subgroups=True):
                    await send(stream, first)
            second = Receiving()

            async def lie() -> None:
                await second.until(Page)
                second.slow = True
                second.say(held(0))
                await wait_all_tasks_blocked(0.01)
                second.say(Progress(0, size, 1))
                await wait_all_tasks_blocked(0.01)
                second.slow = False
                second.may_send.set()
                given.may_end.set()

            nursery.start_soon(lie)
            with pytest.RaisesGroup(PeerMisbehaved, flatten_subgroups=True):
                await send(stream, second)
