"""What pairings hold: windows of one budget, and which pairings are ended when it is short."""

from __future__ import annotations

import math
from contextlib import AsyncExitStack, closing, suppress
from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from p2p_copy.protocol.rendezvous import Refusal, Refused, Role
from p2p_copy.relay import limits
from p2p_copy.relay.budget import Budget, Window
from p2p_copy.relay.pairing import Outcome, Usage
from p2p_copy.relay.pairings import Pairings
from p2p_copy.relay.tally import Tally
from p2p_copy.transport import codec, limits as transport_limits
from p2p_copy.transport.codec import Opcode
from p2p_copy.units import KIB, MIB
from tests.relay.clients import answer, hello, relay_running
from tests.support.pairings import BIG, loopback_pair, raw_clients
from tests.support.websocket import BINARY, RawClient, frame, virtual_time

if TYPE_CHECKING:
    from collections.abc import Callable

    from p2p_copy.relay.pairing import Pairing

LEAST = limits.WINDOW_LEAST


class Source:
    """A link's side of a window: so many bytes are there, and not yet in flight."""

    def __init__(self, budget: Budget) -> None:
        self.unread = 0
        self.unsent: list[int] = []
        self.window = Window(budget, lambda: self.unread, self.unsent.append)

    def read(self, most: int = transport_limits.RECEIVE_BUFFER) -> int:
        size = self.window.allow(most)
        self.unread += size
        return size

    def pass_on(self) -> int:
        size, self.unread = self.unread, 0
        self.window.begin(size)
        return size

    def move(self, size: int) -> None:
        """Let so much pass at full speed."""
        while size > 0:
            self.read()
            taken = self.pass_on()
            self.window.widen(taken)
            self.window.end(taken)
            size -= taken

    def hoard(self) -> None:
        """Take as much as it may hold, and deliver nothing of it."""
        while not self.window._is_full():
            self.read()
            self.pass_on()


@virtual_time()
async def test_a_window_begins_small_and_opens_by_what_is_taken() -> None:
    source = Source(Budget(1024 * MIB))
    assert source.read() == LEAST
    source.pass_on()
    sizes = []
    for size in (0, MIB, 64 * MIB, 1024 * MIB):
        source.move(size)
        sizes.append(source.read(100 * MIB))
        source.unread = 0
    assert sizes == sorted(sizes)
    assert sizes[1] < LEAST + MIB
    assert sizes[2] >= transport_limits.RECEIVE_BUFFER
    assert sizes[3] <= limits.WINDOW_MOST
    source.window.narrow()
    assert source.read() <= LEAST
    assert source.unsent[0] == source.unsent[-1] == LEAST
    assert source.unsent[-2] == transport_limits.UNSENT
    assert len(source.unsent) < 8, "a system call for each time that it has doubled"


@virtual_time()
async def test_the_kernel_may_hold_more_for_a_fast_target_and_less_again_for_a_slow_one() -> None:
    source = Source(Budget(1024 * MIB))
    for mibs_a_second, most in (1000, transport_limits.UNSENT_MOST), (1, transport_limits.UNSENT):
        for _ in range(1000):
            source.move(MIB)
            await trio.sleep(1 / mibs_a_second)
        assert source.unsent[-1] == most
    assert len(source.unsent) < 12, "a system call when something changes"


@virtual_time()
async def test_what_is_set_aside_and_held_is_counted_and_given_back() -> None:
    budget = Budget(1024 * MIB)
    source = Source(budget)
    assert budget.held == LEAST
    with closing(source.window):
        source.move(200 * MIB)
        source.read()
        assert budget.held == transport_limits.RECEIVE_BUFFER
        size = source.pass_on()
        assert budget.held == transport_limits.RECEIVE_BUFFER
        source.window.end(size)
        assert budget.held == LEAST
        source.window.allow(MIB)
        assert budget.held == MIB, "from the moment at which the bytes may come"
        source.window.allow(0)
        assert budget.held == LEAST, "and they did not"
    assert budget.held == 0
    source.read()
    assert budget.held == 0


@virtual_time()
async def test_many_fast_directions_leave_some_memory_free() -> None:
    budget = Budget(256 * MIB)
    sources = [Source(budget) for _ in range(200)]
    for source in sources:
        source.move(1024 * MIB)
    for source in sources:
        source.hoard()
    assert budget.held < budget.limit
    assert budget.missing
    fresh = Source(budget)
    assert fresh.read() >= LEAST, "whatever others hold"
    fresh.unread = 0
    for source in sources[:50]:
        source.window.close()
    fresh.move(256 * MIB)
    assert fresh.read() == transport_limits.RECEIVE_BUFFER


async def test_a_direction_whose_message_is_not_complete_goes_on_reading() -> None:
    source = Source(Budget(limits.LEAST_MEMORY))
    source.unread = LEAST + KIB  # a piece needs more than the least window
    assert not source.window._is_full()
    assert source.read() == limits.LEAST_READ


@virtual_time()
async def test_a_read_waits_until_half_the_window_is_free_or_nothing_is_counted_any_more() -> None:
    source = Source(Budget(limits.LEAST_MEMORY))
    source.read()
    size = source.pass_on()
    ways: list[Callable[[], None]] = [partial(source.window.end, size), source.window.lift]
    for let in ways:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(source.window.room)
            await trio.testing.wait_all_tasks_blocked()
            assert nursery.child_tasks
            assert source.window.listening_since == math.inf
            let()
        assert source.window.listening_since == trio.current_time()
        source.window.begin(size)


# Pairings


async def test_behind_a_receiver_that_takes_nothing_a_pairing_holds_little() -> None:
    pairings: list[Pairing] = []
    masked = codec.encode(Opcode.BINARY, bytes(BIG), b"mask")

    async def push(client: RawClient) -> None:
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            while True:
                await client.raw(masked)

    async with (
        raw_clients(loopback_pair, made=pairings.append) as (sender, receiver, _),
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(push, sender)
        moved = -1
        while (before := moved) != (moved := pairings[0].sent[0]) or not moved:
            await trio.testing.wait_all_tasks_blocked(0.3)
        assert LEAST <= pairings[0].held <= 4 * LEAST + moved // limits.WINDOW_GROWTH
        for client in (sender, receiver):
            await client.stream.aclose()
    assert before == moved
    assert pairings[0]._sender.window._budget.held == 0


@virtual_time()
async def test_bytes_that_were_read_and_not_decoded_count() -> None:
    pairings: list[Pairing] = []
    async with raw_clients(made=pairings.append) as (sender, receiver, _):
        await sender.raw(frame(BINARY, b"") * 2000)
        await trio.testing.wait_all_tasks_blocked()
        link = pairings[0]._sender.link
        assert link._codec.kept > 0
        assert link.buffered >= link._codec.kept
        await receiver.stream.aclose()
        await sender.stream.aclose()


@pytest.mark.parametrize("enough", [True, False], ids=["enough", "short"])
@virtual_time()
async def test_when_memory_is_short_the_pair_that_stood_still_for_longest_is_ended(enough: bool) -> None:
    budget = Budget(math.inf)
    usages: dict[int, list[Usage]] = {}
    pairings = Pairings(budget, Tally())
    async with AsyncExitStack() as stack:
        clients: dict[int, tuple[RawClient, RawClient]] = {}
        for number in range(3):
            made: list[Pairing] = []
            sender, receiver, usage = await stack.enter_async_context(raw_clients(made=made.append))
            clients[number], usages[number], pairings.running[number] = (sender, receiver), usage, made[0]
        for number in (1, 2):
            sender, _ = clients[number]
            await sender.raw(frame(BINARY, bytes(1000)))
            await trio.sleep(1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pairings.watch)
            if not enough:
                budget.limit, budget.held = 1000, 900
            await trio.sleep(limits.MEMORY_STALL - 10)
            assert not any(usages.values()), "not yet"
            # The other one has stood still for a second less. It is not ended while the first one says goodbye.
            await trio.sleep(9 + limits.PAIRING_CHECK_INTERVAL)
            nursery.cancel_scope.cancel()
        for sender, receiver in clients.values():
            await sender.stream.aclose()
            await receiver.stream.aclose()
    outcomes = [usages[number][0].outcome for number in range(3)]
    ended = [outcome is Outcome.MEMORY_NEEDED for outcome in outcomes]
    assert ended == [False, not enough, False], "one was enough, and one does not stand still"


async def test_newcomers_are_told_that_the_relay_is_busy_and_pairs_go_on() -> None:
    async with relay_running(max_memory=9 * LEAST) as relay, AsyncExitStack() as stack:
        pairs = [await stack.enter_async_context(relay.pair(f"{number}")) for number in range(4)]
        async with relay.client("/v1/" + "0" * 64) as link:
            await link.send(hello(Role.SENDER))
            refused = await answer(link)
        assert isinstance(refused, Refused)
        assert refused.code == Refusal.BUSY
        assert refused.retry_after == limits.BUSY_RETRY_AFTER
        for sender, receiver in pairs:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(sender.send, bytes(900_000))
                assert await receiver.receive() == bytes(900_000)
