"""The contract of sending: what is handed over goes out, in order, also if its sender is cancelled."""

from __future__ import annotations

import struct
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, cast

import anyio
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from p2p_copy.errors import PeerLost
from p2p_copy.peer import limits as peer_limits
from p2p_copy.peer.channel import Channel, open_channel
from p2p_copy.protocol import limits as protocol_limits
from p2p_copy.protocol.rendezvous import CloseCode, Role
from p2p_copy.transport import limits as transport_limits
from p2p_copy.transport.link import LinkBroken
from p2p_copy.units import MIB
from tests.peer.memory_links import RECORDS, MemoryLink, Pairs
from tests.support.links import linked

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from p2p_copy.transport.link import Link


@pytest.fixture(autouse=True)
def little_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few records are more than may be under way over several links."""
    monkeypatch.setattr(protocol_limits, "MULTIPATH_RECORDS", 20)


LINKS = pytest.mark.parametrize("links", [1, 2])


@asynccontextmanager
async def channels(links: int = 1) -> AsyncIterator[tuple[Channel, Channel, Pairs]]:
    """Yield both ends of a channel with up to `links`. The receiver's is closed with the sender's."""
    pairs = Pairs()
    first = pairs.pair(0)
    async with (
        opened(first, pairs, Role.RECEIVER, links) as receiver,
        opened(first, pairs, Role.SENDER, links) as sender,
    ):
        for end in (sender, receiver):
            end.spread(links)
        yield sender, receiver, pairs


def opened(
    first: dict[Role, MemoryLink], pairs: Pairs, role: Role, links: int = 1
) -> AbstractAsyncContextManager[Channel]:
    return open_channel(cast("Link", first[role]), pairs.plan(role, links))


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        with trio.fail_after(1000):
            await test()

    trio.run(bounded, clock=MockClock(autojump_threshold=0))


async def fill(sender: Channel) -> int:
    """Send until there is no room; return how many records were handed over, the last one in a cancelled send."""
    for count, each in enumerate(RECORDS, 1):
        with trio.move_on_after(5) as scope:
            await sender.send(each)
        if scope.cancelled_caught:
            return count
    raise AssertionError("there was room for all")


@LINKS
def test_a_send_that_is_cancelled_while_it_waits_for_room_loses_and_breaks_nothing(links: int) -> None:
    async def test() -> None:
        async with channels(links) as (sender, receiver, _):
            count = await fill(sender)
            for each in RECORDS[count : count + 5]:
                with trio.move_on_after(1):
                    await sender.send(each)
            assert [await receiver.receive() for _ in range(count + 5)] == RECORDS[: count + 5]
            await sender.send(RECORDS[count + 5])
            assert await receiver.receive() == RECORDS[count + 5]

    run(test)


@LINKS
def test_a_send_that_is_cancelled_before_it_begins_goes_out_too(links: int) -> None:
    """A session has sealed the record by then: without it the other side could open none of those that follow."""

    async def test() -> None:
        async with channels(links) as (sender, receiver, _):
            with trio.CancelScope() as scope:
                scope.cancel()
                await sender.send(RECORDS[0])
            assert scope.cancelled_caught
            await sender.send(RECORDS[1])
            assert [await receiver.receive() for _ in range(2)] == RECORDS[:2]

    run(test)


@LINKS
def test_what_is_handed_over_together_goes_out_together(links: int) -> None:
    async def test() -> None:
        async with channels(links) as (sender, receiver, _):
            with trio.move_on_after(1):
                await sender.send(*RECORDS[:50])
            assert [await receiver.receive() for _ in range(50)] == RECORDS[:50]

    run(test)


def test_records_that_wait_go_to_the_link_together_but_none_that_another_link_may_carry() -> None:
    async def test() -> None:
        pairs = Pairs()
        first = pairs.pair(0)
        async with (
            opened(first, pairs, Role.RECEIVER, 2) as receiver,
            opened(first, pairs, Role.SENDER, 2) as sender,
        ):
            many = 2 * peer_limits.PIPELINE + 2
            with trio.move_on_after(1):
                await sender.send(*RECORDS[:many])
            for end in (sender, receiver):
                end.spread(2)
            with trio.move_on_after(1):
                await sender.send(*RECORDS[many : many + 5])
            assert [await receiver.receive() for _ in range(many + 5)] == RECORDS[: many + 5]
            assert first[Role.SENDER].together == [peer_limits.PIPELINE, peer_limits.PIPELINE, 2]

    run(test)


@LINKS
def test_records_of_many_tasks_go_out_in_the_order_of_their_sends(links: int) -> None:
    async def test() -> None:
        async with channels(links) as (sender, receiver, _), trio.open_nursery() as nursery:
            for each in RECORDS[:30]:
                nursery.start_soon(sender.send, each)
                await wait_all_tasks_blocked()
            assert [await receiver.receive() for _ in range(30)] == RECORDS[:30]

    run(test)


def test_a_sender_waits_for_room_and_goes_on_as_soon_as_there_is_some() -> None:
    async def test() -> None:
        async with channels() as (sender, receiver, _):
            count = await fill(sender)
            assert count == peer_limits.PIPELINE + 1, "those under way count until all of them are out"
            went_on = trio.Event()

            async def send() -> None:
                await sender.send(RECORDS[count])
                went_on.set()

            async with trio.open_nursery() as nursery:
                nursery.start_soon(send)
                await wait_all_tasks_blocked()
                for number in range(2):
                    assert not went_on.is_set()
                    assert await receiver.receive() == RECORDS[number]
                    await wait_all_tasks_blocked()
                assert went_on.is_set()
            for each in RECORDS[2 : count + 1]:
                assert await receiver.receive() == each

    run(test)


def test_a_send_with_room_does_not_let_other_tasks_run() -> None:
    """A turn of the event loop for each record would show in the rate."""

    async def test() -> None:
        async with channels() as (sender, receiver, _):
            others: list[int] = []

            async def other() -> None:
                others.append(len(others))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(other)
                await sender.send(RECORDS[0])
                await sender.send(RECORDS[1])
                assert not others
            assert [await receiver.receive() for _ in range(2)] == RECORDS[:2]

    run(test)


# The end


@LINKS
def test_closing_waits_until_all_is_out(links: int) -> None:
    async def test() -> None:
        received: list[bytes | str] = []

        async def receive(receiver: Channel) -> None:
            await trio.sleep(2)
            while len(received) < 7:
                received.append(await receiver.receive())
                await trio.sleep(0.5)

        async with trio.open_nursery() as nursery:
            async with channels(links) as (sender, receiver, pairs):
                nursery.start_soon(receive, receiver)
                await sender.send(*RECORDS[:7])
            assert pairs.ends[0][Role.SENDER].code == 1000
        assert received == RECORDS[:7]

    run(test)


def test_closing_waits_no_longer_than_a_goodbye_for_a_link_that_takes_nothing_and_then_cuts_it() -> None:
    """All may be delivered by then, so this is no error."""

    async def test() -> None:
        pairs = Pairs()
        link = pairs.pair(0)[Role.SENDER]
        async with opened(pairs.ends[0], pairs, Role.SENDER) as sender:
            await fill(sender)
            began = trio.current_time()
        assert trio.current_time() - began < transport_limits.GOODBYE_TIMEOUT + 2 * transport_limits.TICK
        assert link.broken
        with pytest.raises(anyio.ClosedResourceError):
            await sender.send(RECORDS[0])

    run(test)


@LINKS
def test_a_side_that_gives_up_sends_all_that_was_handed_over_even_if_it_is_stopped(links: int) -> None:
    async def test() -> None:
        async with trio.open_nursery() as nursery:

            async def give_up() -> None:
                async with channels(links) as (sender, receiver, pairs):
                    ends.append(receiver)
                    nursery.start_soon(receive, receiver)
                    with trio.CancelScope() as stopped:
                        stopped.cancel()
                        try:
                            await sender.send(*RECORDS[:9])
                        finally:
                            assert await sender.give_up()
                    assert pairs.ends[0][Role.SENDER].code == CloseCode.GIVEN_UP

            async def receive(receiver: Channel) -> None:
                assert [await receiver.receive() for _ in range(9)] == RECORDS[:9]
                done.set()

            ends: list[Channel] = []
            done = trio.Event()
            nursery.start_soon(give_up)
            await done.wait()

    run(test)


def test_a_side_that_gives_up_knows_if_its_last_words_did_not_go_out() -> None:
    """It keeps its ticket then: the other side may still wait for it."""

    async def test() -> None:
        pairs = Pairs()
        async with opened(pairs.pair(0), pairs, Role.SENDER) as sender:
            await fill(sender)
            assert not await sender.give_up()
        with pytest.raises(PeerLost):  # noqa: PT012
            async with channels() as (sender, _, pairs):
                pairs.ends[0][Role.SENDER].cut()
                await sender.send(RECORDS[0])
                assert not await sender.give_up()
                raise PeerLost

    run(test)


def test_an_error_for_people_leaves_as_it_is_and_what_was_handed_over_goes_out_first() -> None:
    async def test() -> None:
        async with trio.open_nursery() as nursery:

            async def receive(receiver: Channel) -> None:
                for each in RECORDS[:9]:
                    assert await receiver.receive() == each

            with pytest.raises(PeerLost):  # noqa: PT012
                async with channels() as (sender, receiver, _):
                    nursery.start_soon(receive, receiver)
                    with trio.move_on_after(0):
                        await sender.send(*RECORDS[:9])
                    raise PeerLost

    run(test)


# The loss of the link


def test_the_loss_of_the_link_reaches_senders_that_wait_and_those_that_come_later() -> None:
    async def test() -> None:
        with pytest.RaisesGroup(LinkBroken, flatten_subgroups=True, allow_unwrapped=True):
            async with channels() as (sender, _, pairs):
                await fill(sender)
                async with trio.open_nursery() as nursery:

                    async def send() -> None:
                        with pytest.raises(LinkBroken):
                            await sender.send(RECORDS[20])

                    nursery.start_soon(send)
                    await wait_all_tasks_blocked()
                    pairs.ends[0][Role.SENDER].cut()
                with pytest.raises(LinkBroken):
                    await sender.send(RECORDS[21])

    run(test)


def test_what_was_handed_over_and_did_not_go_out_is_an_error_at_the_end() -> None:
    """The sender would take its goodbye for said otherwise."""

    async def test() -> None:
        with pytest.raises(LinkBroken):  # noqa: PT012
            async with channels() as (sender, _, pairs):
                pairs.ends[0][Role.SENDER].cut()
                await sender.send(RECORDS[0])

    run(test)


def test_a_last_word_that_is_lost_with_all_links_is_an_error_of_flush() -> None:
    """It was sent, but the other side has neither acknowledged it nor closed: a sender has to say it again."""

    async def test() -> None:
        async with channels(2) as (sender, receiver, pairs):
            await sender.send(RECORDS[0])
            assert await receiver.receive() == RECORDS[0]
            await sender.flush()
            await sender.send(RECORDS[1])
            for each in pairs.ends.values():
                each[Role.SENDER].cut()
            with pytest.raises(LinkBroken):
                await sender.flush()

    run(test)


def test_a_link_that_ends_when_all_is_out_is_no_error() -> None:
    async def test() -> None:
        async with channels() as (sender, receiver, pairs):
            await sender.send(RECORDS[0])
            assert await receiver.receive() == RECORDS[0]
            pairs.ends[0][Role.SENDER].cut()

    run(test)


def test_when_the_other_side_has_closed_nothing_can_be_sent() -> None:
    async def test() -> None:
        async with channels() as (sender, _, pairs):
            await pairs.ends[0][Role.RECEIVER].close()
            with pytest.raises(anyio.EndOfStream):
                await sender.receive()
            with pytest.raises(LinkBroken):
                await sender.send(RECORDS[0])

    run(test)


# More links


def test_what_is_handed_over_before_there_are_more_links_goes_over_the_first_one_and_before_any_ack() -> None:
    """The other side does not know of more links until it has these records."""

    async def test() -> None:
        pairs = Pairs()
        first = pairs.pair(0)
        async with opened(first, pairs, Role.SENDER, 2) as sender:
            with trio.move_on_after(1):
                await sender.send(*RECORDS[:20])
            sender.spread(2)
            with trio.move_on_after(1):
                await sender.send(RECORDS[20])
            other = first[Role.RECEIVER]
            assert [await other.receive() for _ in range(20)] == RECORDS[:20]
            await trio.sleep(1)
            ack = await other.receive()
            assert ack[:1] == b"\x02"
            assert isinstance(ack, bytes)
            assert await other.receive() == RECORDS[20]
            other.cut()
            with pytest.raises((LinkBroken, anyio.EndOfStream)):
                await sender.receive()

    run(test)


def test_the_loss_of_the_only_link_before_there_are_more_ends_the_channel() -> None:
    async def test() -> None:
        pairs = Pairs()
        first = pairs.pair(0)
        async with opened(first, pairs, Role.SENDER, 2) as sender:
            with trio.move_on_after(1):
                await sender.send(*RECORDS[:20])
            sender.spread(2)
            first[Role.SENDER].cut()
            with pytest.raises(LinkBroken):
                await sender.receive()
            with pytest.raises(LinkBroken):
                await sender.send(RECORDS[20])

    run(test)


# A link of the system


async def test_a_real_link_survives_a_send_that_is_cancelled_in_the_middle_of_a_message() -> None:
    def large(number: int) -> bytes:
        header = struct.pack(">BBHIQ", 1, 0, 0, MIB // 2, number)
        return header + bytes(MIB // 2 + protocol_limits.RECORD_TAG)

    pairs = Pairs()
    records = [large(number) for number in range(32)]
    async with (
        linked(protocol_limits.MAX_RECORD) as (link, other),
        open_channel(link, pairs.plan(Role.SENDER, 1)) as sender,
    ):
        for each in records:
            with trio.move_on_after(0.01):
                await sender.send(each)
        with trio.fail_after(20):
            assert [await other.receive() for _ in records] == records
