"""Several links in memory used as one channel: links that are stuck, other clients, violations, and the end."""

from __future__ import annotations

import struct
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, cast

import anyio
import pytest
import trio
from trio.testing import MockClock

from p2p_copy.errors import PeerMisbehaved, RelayRefused
from p2p_copy.peer import limits
from p2p_copy.peer.channel import Channel, open_channel
from p2p_copy.protocol import limits as protocol_limits
from p2p_copy.protocol.multipath import Ack
from p2p_copy.protocol.rendezvous import Role
from p2p_copy.transport import limits as transport_limits
from p2p_copy.transport.link import Link, LinkBroken
from p2p_copy.transport.pacer import Pacer
from p2p_copy.units import MIB
from tests.peer.memory_links import CODECS, RECORDS, MemoryLink, Pairs, record
from tests.support.links import linked

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable


async def talk(
    pairs: Pairs,
    say: Callable[[Channel], Awaitable[None]],
    hear: Callable[[Channel], Awaitable[None]],
    *,
    links: int,
    asked: int | None = None,
    pacer: Pacer | None = None,
) -> None:
    first = pairs.pair(0)

    async def side(role: Role, story: Callable[[Channel], Awaitable[None]]) -> None:
        plan = pairs.plan(role, links if asked is None else asked, pacer=pacer)
        async with open_channel(cast("Link", first[role]), plan) as channel:
            channel.spread(links)
            await story(channel)

    with trio.fail_after(1000):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(side, Role.SENDER, say)
            await side(Role.RECEIVER, hear)


async def say_all(channel: Channel) -> None:
    for each in RECORDS:
        await channel.send(each)


async def hear_all(channel: Channel) -> None:
    assert [await channel.receive() for _ in RECORDS] == RECORDS


async def widths_at(pace: Callable[[], Awaitable[None]], pacer: Pacer | None = None) -> list[int]:
    """Send all records over links of which each waits for `pace`; return how many links there were at each record."""
    widths = []

    class Slow(Pairs):
        def pair(self, number: int) -> dict[Role, MemoryLink]:
            ends = super().pair(number)
            ends[Role.SENDER].pace = pace
            return ends

    async def hear(channel: Channel) -> None:
        for each in RECORDS:
            assert await channel.receive() == each
            widths.append(channel.width)

    await talk(Slow(), say_all, hear, links=4, asked=0, pacer=pacer)
    return widths


def run(test: Callable[[], Awaitable[None]]) -> None:
    trio.run(test, clock=MockClock(autojump_threshold=0))


def carried(end: MemoryLink) -> list[bytes]:
    return [message for message in end.sent if isinstance(message, bytes) and message[0] == 1]


def test_the_kernel_may_hold_more_of_a_link_while_that_is_fast() -> None:
    class AckingLink(MemoryLink):
        def acked_bytes(self) -> tuple[int, bool]:
            return sum(map(len, self.sent)), False

    async def test() -> None:
        pairs = Pairs()
        end, other = AckingLink(), MemoryLink()
        end.other, other.other = other, end
        async with open_channel(cast("Link", end), pairs.plan(Role.SENDER, 1)) as channel:
            for mibs_a_second, most in (100, transport_limits.UNSENT_MOST), (40, 2 * MIB), (1, MIB):
                end.pace = partial(trio.sleep, 1 / mibs_a_second)
                for _ in range(50):
                    await channel.send(bytes(MIB))
                    await other.receive()
                assert end.unsent[-1] == pytest.approx(most, rel=0.1)

    run(test)


@pytest.mark.parametrize("links", [2, 5, protocol_limits.MAX_LINKS])
def test_all_links_carry_and_all_comes_in_order(links: int) -> None:
    async def test() -> None:
        pairs = Pairs()
        await talk(pairs, say_all, hear_all, links=links)
        shares = [carried(ends[Role.SENDER]) for ends in pairs.ends.values()]
        assert len(shares) == links
        assert all(shares)
        assert sorted(each for share in shares for each in share) == RECORDS, "none twice"

    run(test)


@pytest.mark.parametrize(("together", "most"), [(1, 2), (2, 4), (4, 4)])
def test_there_are_twice_as_many_links_as_long_as_it_pays(together: int, most: int) -> None:
    """The network takes `together` records at once, in a tenth of a second; more records have to wait."""

    async def test() -> None:
        turns = trio.Semaphore(together)

        async def pace() -> None:
            async with turns:
                await trio.sleep(0.1)

        widths = await widths_at(pace)
        assert widths[0] == 1
        assert max(widths) == most

    run(test)


@pytest.mark.parametrize(("records_a_second", "most"), [(5, 1), (100, 4)])
def test_a_limit_of_the_rate_that_one_link_reaches_needs_no_more_links(
    records_a_second: int, most: int
) -> None:
    """Each link takes a record in a tenth of a second; a busy machine may have passed for a long way before."""
    size = len(RECORDS[0])

    async def test() -> None:
        pacer = Pacer(records_a_second * size)

        async def pace() -> None:
            await pacer.turn()
            pacer.passed(size)
            await trio.sleep(0.1)

        assert max(await widths_at(pace, pacer)) == most

    run(test)


def test_records_on_a_link_that_is_stuck_go_over_another_one() -> None:
    async def test() -> None:
        pairs = Pairs()

        async def say(channel: Channel) -> None:
            await channel.send(RECORDS[0])
            while channel.width < 2:  # noqa: ASYNC110
                await trio.sleep(0.01)
            pairs.ends[0][Role.SENDER].stuck = True
            for each in RECORDS[1:]:
                await channel.send(each)

        await talk(pairs, say, hear_all, links=2)
        again = set(carried(pairs.ends[0][Role.SENDER])[1:]) & set(carried(pairs.ends[1][Role.SENDER]))
        assert len(again) == 1, "the one that it was stuck with"

    run(test)


def test_another_client_in_the_room_of_a_further_link_gets_no_record() -> None:
    async def test() -> None:
        others: list[MemoryLink] = []

        class Misled(Pairs):
            @asynccontextmanager
            async def open(
                self, role: Role, number: int, connected: Callable[[], None]
            ) -> AsyncIterator[Link]:
                if role is Role.RECEIVER and not others:
                    ours, theirs = MemoryLink(), MemoryLink()
                    ours.other, theirs.other = theirs, ours
                    others.append(ours)
                    await theirs.send(RECORDS[0])
                    yield cast("Link", ours)
                    return
                async with super().open(role, number, connected) as link:
                    yield link

        await talk(Misled(), say_all, hear_all, links=2)
        (link,) = others
        assert not carried(link)
        assert len(link.sent) <= 1, "an ack, which only the other side can read"

    run(test)


@pytest.mark.parametrize("lie", [b"", b"\x02" + bytes(50), "text", record(5_000), b"\x07" * 60])
def test_a_violation_on_a_link_ends_the_conversation_but_for_the_last_word(lie: bytes | str) -> None:
    async def test() -> None:
        pairs = Pairs()

        async def say(channel: Channel) -> None:
            await pairs.ends[0][Role.SENDER].send(lie)
            assert await channel.receive() == RECORDS[0]

        async def hear(channel: Channel) -> None:
            with pytest.raises(PeerMisbehaved):
                await channel.receive()
            await channel.send(RECORDS[0])  # the last word
            await channel.aclose()
            with pytest.raises((anyio.ClosedResourceError, PeerMisbehaved)):
                await channel.send(RECORDS[1])

        await talk(pairs, say, hear, links=2)

    run(test)


def test_when_the_last_link_is_lost_what_came_is_received_and_then_the_loss() -> None:
    async def test() -> None:
        pairs = Pairs()

        async def say(channel: Channel) -> None:
            for each in RECORDS[:3]:
                await channel.send(each)
            await trio.sleep(1)
            for ends in pairs.ends.values():
                ends[Role.SENDER].cut()
            with pytest.raises((anyio.EndOfStream, LinkBroken)):
                await channel.receive()
            with pytest.raises(LinkBroken):
                await channel.send(RECORDS[3])

        async def hear(channel: Channel) -> None:
            await trio.sleep(2)
            assert [await channel.receive() for _ in range(3)] == RECORDS[:3]
            with pytest.raises((anyio.EndOfStream, LinkBroken)):
                await channel.receive()

        await talk(pairs, say, hear, links=3)

    run(test)


def test_a_side_that_takes_nothing_holds_no_more_than_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol_limits, "MULTIPATH_RECORDS", 50)

    async def test() -> None:
        sent = 0

        async def say(channel: Channel) -> None:
            nonlocal sent
            with trio.move_on_after(22):
                while True:
                    await channel.send(record(sent))
                    sent += 1

        async def hear(channel: Channel) -> None:
            await trio.sleep(20)
            assert sent <= protocol_limits.MULTIPATH_RECORDS + limits.PIPELINE + 1, "and what waits for room"
            before = sent
            for number in range(10):
                assert await channel.receive() == record(number)
            await trio.sleep(1)
            assert sent == before + 10
            with suppress(anyio.EndOfStream, LinkBroken):
                while True:
                    await channel.receive()

        await talk(Pairs(), say, hear, links=2)

    run(test)


def test_links_that_cannot_be_opened_are_tried_again_and_not_missed() -> None:
    async def test() -> None:
        tries: list[float] = []

        class Refusing(Pairs):
            @asynccontextmanager
            async def open(
                self, role: Role, number: int, connected: Callable[[], None]
            ) -> AsyncIterator[Link]:
                tries.append(trio.current_time())
                raise RelayRefused("no")
                yield

        async def say(channel: Channel) -> None:
            await say_all(channel)
            await trio.sleep(600)

        await talk(Refusing(), say, hear_all, links=2)
        assert 5 < len(tries) < 60

    run(test)


def test_links_are_opened_in_order_and_one_that_waits_for_the_other_side_keeps_no_other_from_it() -> None:
    async def test() -> None:
        came: dict[Role, list[int]] = {role: [] for role in Role}
        on_the_way: dict[Role, int] = dict.fromkeys(Role, 0)

        class Waiting(Pairs):
            @asynccontextmanager
            async def open(
                self, role: Role, number: int, connected: Callable[[], None]
            ) -> AsyncIterator[Link]:
                came[role].append(number)
                on_the_way[role] += 1
                assert on_the_way[role] <= limits.LINKS_AT_ONCE
                await trio.sleep(1)
                on_the_way[role] -= 1
                if number == 2:
                    raise RelayRefused("no")
                connected()
                await trio.sleep_forever()
                yield cast("Link", None)

        async def stay(channel: Channel) -> None:
            await trio.sleep(60)

        await talk(Waiting(), stay, stay, links=protocol_limits.MAX_LINKS)
        for numbers in came.values():
            first_tries = [number for number in dict.fromkeys(numbers) if number]  # 0 is lost at the end
            assert sorted(first_tries) == list(range(1, protocol_limits.MAX_LINKS))
            assert all(number <= place + limits.LINKS_AT_ONCE for place, number in enumerate(first_tries))
            assert numbers.count(2) > 1, "it is tried again"

    run(test)


@pytest.mark.parametrize(
    ("ours", "theirs", "far", "most"),
    [
        (0, 0, False, 1),
        (0, 0, True, limits.LINKS_AUTO),
        (3, 0, False, 3),
        (0, 3, False, 3),
        (3, 5, True, 3),
        (5, 1, True, 1),
    ],
)
def test_both_sides_agree_on_a_number(ours: int, theirs: int, far: bool, most: int) -> None:
    assert Pairs().plan(Role.SENDER, ours, far=far).agree(theirs) == most


def test_an_ack_is_read_as_it_was_written() -> None:
    ack = Ack(link=1, links=2, received=3, consumed=3)
    assert CODECS[Role.RECEIVER].read(CODECS[Role.SENDER].write(ack), 1) == ack


def test_a_link_that_takes_nothing_any_more_is_cut_at_the_end_and_that_is_no_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All may be delivered by then, so it must not look like a failure."""
    monkeypatch.setattr(transport_limits, "GOODBYE_TIMEOUT", 0.1)

    @asynccontextmanager
    async def closed(number: int, connected: Callable[[], None]) -> AsyncIterator[Link]:
        await trio.sleep_forever()
        yield cast("Link", number)

    async def test() -> None:
        plan = Pairs().plan(Role.SENDER, 2)._replace(open=closed)
        with trio.fail_after(30):
            async with linked(protocol_limits.MAX_RECORD) as (link, other), trio.open_nursery() as nursery:

                async def cut() -> None:
                    while not link._closed:  # noqa: ASYNC110
                        await trio.sleep(0.001)
                    other.abort()

                nursery.start_soon(cut)
                async with open_channel(link, plan) as channel:
                    channel.spread(2)
                    with trio.move_on_after(0.5):  # the other end does not read
                        for number in range(32):
                            header = struct.pack(">BBHIQ", 1, 0, 0, MIB, number)
                            await channel.send(header + bytes(MIB + protocol_limits.RECORD_TAG))

    trio.run(test)
