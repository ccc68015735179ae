"""Rates in virtual time, where a second is exactly a second."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from p2p_copy.relay.access.admission import Source
from p2p_copy.relay.access.rates import Account, FairQueue, Flow, PairingLimits, Rates
from p2p_copy.relay.config import RelayConfig
from p2p_copy.transport.token_bucket import TokenBucket
from tests.support.websocket import virtual_time

if TYPE_CHECKING:
    from collections.abc import Sequence

RATE = 1_000_000
A, B = Source(b"a"), Source(b"b")


def rates(**settings: int | None) -> Rates:
    return Rates(RelayConfig("127.0.0.1", 0, **settings))  # type: ignore[arg-type]


def account(rate: int | None = None, quota: int | None = None) -> Account:
    made = Account()
    made.set_terms(rate, quota)
    return made


def limits_in(relay: Rates, *parties: Any) -> PairingLimits:
    found = relay.pairing_limits(*parties)
    assert found is not None
    return found


async def moved(pairings: Sequence[PairingLimits], sizes: Sequence[int], seconds: float) -> list[int]:
    """Let every pairing move messages of its size for some time; return what each one moved."""
    moved: Counter[int] = Counter()

    async def move(index: int) -> None:
        while True:
            moved[index] += sizes[index]
            await pairings[index].pay(sizes[index])

    with trio.move_on_after(seconds):
        async with trio.open_nursery() as nursery:
            for index in range(len(pairings)):
                nursery.start_soon(move, index)
    return [moved[index] for index in range(len(pairings))]


# The bucket


def test_a_bucket_fills_at_its_rate_and_not_over_its_edge() -> None:
    bucket = TokenBucket(10, 20, now=0)
    bucket.take(25, 0)
    assert bucket.level(0) == -5
    assert bucket.seconds_until(0, 0) == 0.5
    assert bucket.level(1) == 5
    assert bucket.level(100) == 20


# One queue


@virtual_time()
@pytest.mark.parametrize("size", [20_000, 300_000, 5_000_000])
async def test_the_rate_is_kept_whatever_the_size_of_messages(size: int) -> None:
    (total,) = await moved([PairingLimits([FairQueue(RATE)])], [size], 40)
    assert total == pytest.approx(40 * RATE, abs=RATE + 2 * size)


@virtual_time()
async def test_a_queue_changes_its_rate_at_once() -> None:
    queue = FairQueue(RATE)
    queue.change(2 * RATE)
    (total,) = await moved([PairingLimits([queue])], [20_000], 40)
    assert total == pytest.approx(80 * RATE, rel=0.1)


@virtual_time()
async def test_a_big_pairing_cannot_starve_a_small_one() -> None:
    queue = FairQueue(RATE)
    big, small = await moved([PairingLimits([queue]), PairingLimits([queue])], [2_000_000, 20_000], 200)
    assert big == pytest.approx(100 * RATE, rel=0.1)
    assert small == pytest.approx(100 * RATE, rel=0.1)


@virtual_time()
async def test_a_pairing_that_wants_little_gets_it_while_others_want_all() -> None:
    queue = FairQueue(RATE)
    flow, waits = Flow(queue), []

    async def little() -> None:
        for _ in range(10):
            await trio.sleep(5)
            began = trio.current_time()
            for _ in range(20):
                await queue.pay(flow, 1000)
            waits.append(trio.current_time() - began)

    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(moved, [PairingLimits([queue])], [100_000], 70)
        nursery.start_soon(little)
    assert max(waits) <= 1.1, "twenty small ones wait for one big one of each, and not twenty times"


@virtual_time()
async def test_an_idle_pairing_gets_no_more_than_its_share_afterwards() -> None:
    queue = FairQueue(RATE)
    busy, idle = PairingLimits([queue]), PairingLimits([queue])
    await moved([busy], [20_000], 40)
    both = await moved([busy, idle], [20_000, 20_000], 40)
    assert both[0] == pytest.approx(both[1], rel=0.1)


@virtual_time()
async def test_a_payment_that_is_cancelled_delays_no_other() -> None:
    queue = FairQueue(RATE)
    other = PairingLimits([queue])
    await queue.pay(Flow(queue), 3 * RATE)
    async with trio.open_nursery() as nursery:
        for patience in (0.5, 1.5, 1.0):
            nursery.start_soon(moved, [PairingLimits([queue])], [RATE], patience)
        await trio.testing.wait_all_tasks_blocked()
        began = trio.current_time()
        await other.pay(RATE)
    assert trio.current_time() - began == pytest.approx(2)


# All rates of a relay


def test_without_rates_a_pairing_has_no_limits() -> None:
    assert rates().pairing_limits((A, B), (None, None)) is None
    assert rates(rate_per_source=RATE).pairing_limits((None, None), (None, None)) is None


@virtual_time()
async def test_a_pairing_has_a_rate_of_its_own() -> None:
    relay = rates(rate=RATE)
    pairings = [limits_in(relay, (A, B), (None, None)) for _ in range(3)]
    for total in await moved(pairings, [20_000] * 3, 40):
        assert total == pytest.approx(40 * RATE, rel=0.1)


@virtual_time()
async def test_the_pairings_of_a_source_share_its_rate_and_others_have_theirs() -> None:
    relay = rates(rate_per_source=RATE)
    pairings = [limits_in(relay, (source, None), (None, None)) for source in (A, A, B)]
    first, second, other = await moved(pairings, [20_000] * 3, 40)
    assert first == pytest.approx(20 * RATE, rel=0.1)
    assert second == pytest.approx(20 * RATE, rel=0.1)
    assert other == pytest.approx(40 * RATE, rel=0.1)


@virtual_time()
async def test_a_source_keeps_its_debts_in_a_new_pairing() -> None:
    relay = rates(rate_per_source=RATE)
    await limits_in(relay, (A, A), (None, None)).pay(10 * RATE)
    began = trio.current_time()
    await limits_in(relay, (A, None), (None, None)).pay(20_000)
    assert trio.current_time() - began == pytest.approx(9)


@virtual_time()
async def test_sources_that_owe_nothing_are_forgotten() -> None:
    relay = rates(rate_per_source=RATE)
    for number in range(100):
        limits_in(relay, (Source(b"%d" % number), None), (None, None))
        await trio.sleep(1)
    assert len(relay._sources) <= 3


@virtual_time()
async def test_all_pairings_share_the_total_and_what_one_cannot_use_goes_to_the_others() -> None:
    relay = rates(rate_total=RATE)
    slow = account(rate=RATE // 10)
    pairings = [limits_in(relay, (A, B), accounts) for accounts in ((slow, None), (None, None), (None, None))]
    totals = await moved(pairings, [20_000] * 3, 80)
    for total, share in zip(totals, (0.1, 0.45, 0.45), strict=True):
        assert total == pytest.approx(80 * RATE * share, rel=0.1)


@virtual_time()
async def test_the_pairings_of_a_token_share_its_rate_and_pay_once() -> None:
    relay, token = rates(), account(rate=RATE)
    pairings = [limits_in(relay, (A, B), (token, token)) for _ in range(2)]
    assert sum(await moved(pairings, [20_000] * 2, 40)) == pytest.approx(40 * RATE, rel=0.1)


@virtual_time()
async def test_the_offered_rate_is_the_least_of_all_limits() -> None:
    relay = rates(rate=400, rate_per_source=300, rate_total=500)
    assert relay.best(A, None) == 300
    assert relay.best(None, None) == 400
    assert relay.best(A, account(rate=200)) == 200
    assert rates().best(A, account()) is None


@virtual_time()
async def test_limits_may_change_while_pairings_run() -> None:
    relay = rates(rate_per_source=RATE, rate_total=4 * RATE)
    pairing = limits_in(relay, (A, None), (None, None))
    relay.change(RelayConfig("127.0.0.1", 0, rate=9 * RATE, rate_per_source=2 * RATE, rate_total=3 * RATE))
    assert (relay.best(A, None), relay.best(None, None)) == (2 * RATE, 3 * RATE)
    (total,) = await moved([pairing], [20_000], 40)
    assert total == pytest.approx(80 * RATE, rel=0.1)
    relay.change(RelayConfig("127.0.0.1", 0))
    assert relay.pairing_limits((A, B), (None, None)) is None
    relay.change(RelayConfig("127.0.0.1", 0, rate_total=RATE))
    assert relay.best(A, None) == RATE


# Quotas


@virtual_time()
async def test_a_quota_is_spent_by_both_ends_and_never_overdrawn() -> None:
    sender, receiver = account(quota=100), account(quota=1000)
    pairing = limits_in(rates(), (A, B), (sender, receiver))
    assert await pairing.spend(60)
    assert not await pairing.spend(60)
    assert (sender.left, receiver.left) == (40, 940)
    assert await pairing.spend(40)
    assert sender.left == 0


@virtual_time()
async def test_both_ends_with_one_token_pay_once() -> None:
    token = account(quota=100)
    assert await limits_in(rates(), (A, B), (token, token)).spend(100)
    assert token.left == 0


@virtual_time()
async def test_two_directions_of_a_pairing_get_the_share_of_one() -> None:
    queue = FairQueue(RATE)
    pairing, other = PairingLimits([queue]), PairingLimits([queue])
    there, back, rest = await moved([pairing, pairing, other], [20_000] * 3, 40)
    assert there + back == pytest.approx(rest, rel=0.1)


@virtual_time()
async def test_waiting_flows_pass_in_the_order_of_what_they_have_paid() -> None:
    queue = FairQueue(RATE)
    await queue.pay(Flow(queue), 2 * RATE)
    passed: list[int] = []
    flows = [Flow(queue) for _ in range(3)]

    async def wait(index: int) -> None:
        await queue.pay(flows[index], RATE)
        passed.append(index)

    async with trio.open_nursery() as nursery:
        for index, had in enumerate((3.0, 1.0, 2.0)):
            flows[index].tag = had * RATE
            nursery.start_soon(wait, index)
    assert passed == [1, 2, 0]
    assert all(early.tag < late.tag for early, late in pairwise(flows[index] for index in passed))
