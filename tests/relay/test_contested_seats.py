"""A slow waiting client keeps its seat, and a dead one does not; in virtual time, over streams in memory."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import memory_stream_pair, wait_all_tasks_blocked
from wsproto.events import CloseConnection, Ping

from p2p_copy.peer import limits as peer_limits
from p2p_copy.protocol import rendezvous
from p2p_copy.protocol.rendezvous import STILL_WAITING, CloseCode, Hello, Paired, Refusal, Refused, Role
from p2p_copy.relay import limits
from p2p_copy.relay.access import admission
from p2p_copy.relay.access.throttle import Newcomers, Throttle
from p2p_copy.relay.config import RelayConfig
from p2p_copy.relay.server import Relay
from p2p_copy.transport import limits as transport_limits
from p2p_copy.transport.endpoints import accept
from tests.relay.clients import room
from tests.support.websocket import RawClient, virtual_time

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

OTHER = {Role.SENDER: Role.RECEIVER, Role.RECEIVER: Role.SENDER}

BOTH_ROLES = pytest.mark.parametrize("role", Role, ids=lambda role: role.value)
THE_SAME_OR_THE_OTHER = pytest.mark.parametrize("same", [True, False], ids=["same role", "other role"])

SLOW = 25.0
"""Seconds to an answer: a tunnel."""


class Client(RawClient):
    """A client whose hello the relay has heard. It answers pings when the test tells it to."""

    async def answers_after(self, seconds: float) -> None:
        """Answer each ping as late as that, until the connection ends."""
        while isinstance(event := await self.next(), Ping):
            await trio.sleep(seconds)
            await self.send(event.response())
        assert isinstance(event, CloseConnection) or event is None, event

    async def answer(self) -> Paired | Refused:
        said = rendezvous.decode_answer(await self.message())
        assert isinstance(said, Paired | Refused)
        return said


@pytest.fixture
def relay() -> Relay:
    return Relay(RelayConfig("127.0.0.1", 0))


@asynccontextmanager
async def coming(
    relay: Relay,
    role: Role,
    claim: str | None = None,
    *features: str,
    silent_for: Callable[[], float] = lambda: 0.0,
) -> AsyncIterator[Client]:
    """Yield a client that comes to the one room that there is, within the limits of a connection."""
    ours, theirs = memory_stream_pair()
    client = Client(ours)

    async def serve() -> None:
        admitted = admission.Client()
        admitted.throttle = Throttle(Newcomers(), 0)
        async with accept(theirs, max_message=1000, pace=admitted.throttle.frames) as (_, link):
            link.silent_for = silent_for
            said = Hello(role, room("a"), claim=claim, features=features)
            await relay._seats.join(link, said, admitted)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        await client.upgrade()
        yield client
        nursery.cancel_scope.cancel()


async def meet(one: Client, other: Client) -> None:
    assert await one.answer() == Paired()
    assert await other.answer() == Paired()
    await one.send(b"x")
    assert await other.message() == b"x"


async def paired_late(one: Client, other: Client) -> None:
    """Let `one` answer its ping late, and check that the two are paired then."""
    ping = await one.expect(Ping)
    await trio.sleep(SLOW)
    await one.send(ping.response())
    await meet(one, other)


@BOTH_ROLES
@virtual_time()
async def test_a_client_that_answers_late_is_paired_with_the_newcomer_that_waited_for_it(
    relay: Relay, role: Role
) -> None:
    async with coming(relay, role) as slow, coming(relay, OTHER[role]) as newcomer:
        await paired_late(slow, newcomer)
    assert relay.tally.abuse.counts["contested"] == 1


@BOTH_ROLES
@virtual_time()
async def test_a_client_that_answers_late_keeps_its_seat_from_one_of_its_own_role(
    relay: Relay, role: Role
) -> None:
    async with coming(relay, role) as slow, coming(relay, role) as newcomer:
        ping = await slow.expect(Ping)
        await trio.sleep(SLOW)
        await slow.send(ping.response())
        refused = await newcomer.answer()
        assert isinstance(refused, Refused)
        assert refused.code == Refusal.ROOM_TAKEN
        async with coming(relay, OTHER[role]) as partner:
            await slow.send((await slow.expect(Ping)).response())
            await meet(slow, partner)


@BOTH_ROLES
@THE_SAME_OR_THE_OTHER
@virtual_time()
async def test_a_client_that_never_answers_loses_its_seat_after_a_minute(
    relay: Relay, role: Role, same: bool
) -> None:
    async with coming(relay, role) as dead, coming(relay, role if same else OTHER[role]) as newcomer:
        await trio.sleep(transport_limits.KEEPALIVE_TIMEOUT - 2)
        assert relay.counts.waiting == 2
        assert isinstance(await dead.next(), Ping)
        await trio.sleep(4)
        assert await dead.ending() == 1006
        assert relay.counts.waiting == 1
        async with coming(relay, OTHER[role] if same else role) as partner:
            for _ in range(2):  # one of them was because nothing moved
                await newcomer.send((await newcomer.expect(Ping)).response())
            await meet(newcomer, partner)


@THE_SAME_OR_THE_OTHER
@virtual_time()
async def test_a_client_whose_machine_vanished_loses_its_seat_as_soon_as_the_kernel_knows(
    relay: Relay, same: bool
) -> None:
    began = trio.current_time()

    def silent_for() -> float:
        return trio.current_time() - began

    role = Role.SENDER if same else Role.RECEIVER
    async with coming(relay, Role.SENDER, silent_for=silent_for) as dead, coming(relay, role):
        await trio.sleep(transport_limits.VANISHED - 1)
        assert relay.counts.waiting == 2
        await trio.sleep(transport_limits.VANISHED_CHECK + 2)
        await dead.expect(Ping)
        assert await dead.ending() == 1006
        assert relay.counts.waiting == 1


@THE_SAME_OR_THE_OTHER
@virtual_time()
async def test_a_newcomer_that_leaves_before_the_answer_disturbs_no_client(relay: Relay, same: bool) -> None:
    async with coming(relay, Role.SENDER) as slow:
        async with coming(relay, Role.SENDER if same else Role.RECEIVER) as newcomer:
            await wait_all_tasks_blocked()
            await newcomer.stream.aclose()
            await wait_all_tasks_blocked()
            assert relay.counts.waiting == 1
        async with coming(relay, Role.RECEIVER) as partner:
            for _ in range(2):
                await slow.send((await slow.expect(Ping)).response())
            await meet(slow, partner)


@virtual_time()
async def test_answers_to_pings_for_many_newcomers_do_not_count_against_the_client(
    relay: Relay,
) -> None:
    async with coming(relay, Role.SENDER) as waiting:
        for _ in range(3 * limits.EARLY_FRAMES_BURST):
            async with coming(relay, Role.SENDER) as newcomer:
                await waiting.send((await waiting.expect(Ping)).response())
                refused = await newcomer.answer()
                assert isinstance(refused, Refused)
                assert refused.code == Refusal.ROOM_TAKEN
        began = trio.current_time()
        async with coming(relay, Role.RECEIVER) as partner:
            await waiting.send((await waiting.expect(Ping)).response())
            await meet(waiting, partner)
        assert trio.current_time() == began


@virtual_time()
async def test_a_newcomer_that_speaks_before_it_is_paired_is_refused(relay: Relay) -> None:
    async with coming(relay, Role.SENDER), coming(relay, Role.RECEIVER) as newcomer:
        await newcomer.send(b"impatient")
        refused = await newcomer.answer()
        assert isinstance(refused, Refused)
        assert refused.code == Refusal.BAD_HELLO


@virtual_time()
async def test_a_newcomer_that_waits_elsewhere_is_refused_before_it_gives_up_that_seat(relay: Relay) -> None:
    async with (
        coming(relay, Role.SENDER),
        coming(relay, Role.SENDER, "a" * 32, STILL_WAITING) as newcomer,
    ):
        began = trio.current_time()
        refused = await newcomer.answer()
        assert isinstance(refused, Refused)
        assert refused.code == Refusal.ROOM_TAKEN
        assert trio.current_time() - began < peer_limits.REDIAL_SETTLED


@virtual_time()
async def test_a_newcomer_is_told_when_the_relay_stops(relay: Relay) -> None:
    async with coming(relay, Role.SENDER), coming(relay, Role.RECEIVER) as newcomer:
        await wait_all_tasks_blocked()
        relay.drain(60)
        refused = await newcomer.answer()
        assert isinstance(refused, Refused)
        assert refused.code == Refusal.STOPPING


@virtual_time()
async def test_of_two_newcomers_of_the_other_role_one_is_paired_and_one_refused(relay: Relay) -> None:
    async with (
        coming(relay, Role.SENDER) as slow,
        coming(relay, Role.RECEIVER) as one,
        coming(relay, Role.RECEIVER) as other,
    ):
        pings = [await slow.expect(Ping), await slow.expect(Ping)]
        await trio.sleep(2 * limits.PROBE_TIMEOUT)
        await slow.send(pings[-1].response())
        assert await slow.answer() == Paired()
        answers = [await one.answer(), await other.answer()]
        assert Paired() in answers
        (refused,) = (each for each in answers if isinstance(each, Refused))
        assert refused.code == Refusal.ROOM_TAKEN


@virtual_time()
async def test_a_reconnecting_client_is_paired_at_once_with_a_newcomer_that_waits_for_its_old_connection(
    relay: Relay,
) -> None:
    claim = "a" * 32
    async with coming(relay, Role.SENDER, claim) as lost, coming(relay, Role.RECEIVER) as newcomer:
        await wait_all_tasks_blocked()
        began = trio.current_time()
        async with coming(relay, Role.SENDER, claim) as again:
            await meet(again, newcomer)
            assert trio.current_time() - began < limits.PROBE_TIMEOUT
            await lost.expect(Ping)
            assert await lost.ending() == CloseCode.REPLACED
