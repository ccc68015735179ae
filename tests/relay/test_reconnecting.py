"""Clients that reconnect while the relay still holds their old connection, and strangers that pretend to."""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import anyio
import pytest
import trio
import trio.testing

from p2p_copy.protocol import limits as protocol_limits, rendezvous
from p2p_copy.protocol.rendezvous import (
    STILL_WAITING,
    CloseCode,
    Hello,
    Paired,
    Refusal,
    Refused,
    Role,
    Welcome,
    room_path,
)
from p2p_copy.relay import limits
from p2p_copy.relay.access.admission import Client
from p2p_copy.relay.access.gatekeeper import Gatekeeper
from p2p_copy.relay.config import RelayConfig
from p2p_copy.relay.log.abuse import AbuseCounter
from p2p_copy.relay.seats import Seats
from p2p_copy.relay.server import Relay as Server
from p2p_copy.transport.link import Link, LinkBroken
from p2p_copy.units import MIB
from tests.relay.access.test_proxies import proxy_header
from tests.relay.clients import Relay, answer, exchange, hello, relay_running, room
from tests.support.websocket import RawClient

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

CLAIMS = {Role.SENDER: "5e" * 16, Role.RECEIVER: "ec" * 32}
OTHER = {Role.SENDER: Role.RECEIVER, Role.RECEIVER: Role.SENDER}
BOTH_ROLES = pytest.mark.parametrize("role", Role)

AT_ONCE = 4.0
"""Seconds: less than any patience of the relay, and enough for a busy machine."""


async def close_code(link: Link) -> int:
    """Receive until the link breaks, which must be soon; return the close code."""
    with trio.fail_after(AT_ONCE):
        while True:
            try:
                await link.receive()
            except LinkBroken as error:
                return error.close_code


async def is_refused(relay: Relay, role: Role, claim: str | None) -> None:
    async with relay.waiting(role, "a", claim) as link:
        refused = await answer(link)
        assert isinstance(refused, Refused)
        assert refused.code == Refusal.ROOM_TAKEN
        assert await close_code(link) == 1013


async def say(link: Link) -> None:
    """Send until the link ends."""
    with suppress(LinkBroken):
        while True:
            await link.send(bytes(MIB))


@asynccontextmanager
async def paired(relay: Relay) -> AsyncIterator[dict[Role, Link]]:
    """Yield two clients that are paired and have claims."""
    async with (
        relay.waiting(Role.SENDER, "a", CLAIMS[Role.SENDER]) as sender,
        relay.waiting(Role.RECEIVER, "a", CLAIMS[Role.RECEIVER]) as receiver,
    ):
        assert await answer(sender) == await answer(receiver) == Paired()
        yield {Role.SENDER: sender, Role.RECEIVER: receiver}


async def meet(one: Link, other: Link, role: Role) -> None:
    """Check that two are paired with each other; `role` is the first one's."""
    with trio.fail_after(AT_ONCE):
        assert await answer(one) == await answer(other) == Paired()
        await exchange(*((one, other) if role is Role.SENDER else (other, one)))


# Another room


async def test_a_client_that_reconnects_in_another_room_frees_its_seat_in_the_first_one() -> None:
    async with (
        relay_running() as relay,
        paired(relay) as links,
        relay.waiting(Role.SENDER, "b", CLAIMS[Role.SENDER]) as again,
    ):
        assert await close_code(links[Role.RECEIVER]) == CloseCode.PEER_LOST
        assert await close_code(links[Role.SENDER]) == CloseCode.REPLACED
        async with relay.waiting(Role.RECEIVER, "b", CLAIMS[Role.RECEIVER]) as other:
            await meet(again, other, Role.SENDER)


# Waiting clients


@BOTH_ROLES
async def test_a_waiting_client_that_reconnects_waits_in_its_own_seat(
    settings: dict[str, Any], role: Role
) -> None:
    async with (
        relay_running(**settings) as relay,
        relay.waiting(role, "a", CLAIMS[role]) as old,
        relay.waiting(role, "a", CLAIMS[role]) as new,
    ):
        assert await close_code(old) == CloseCode.REPLACED
        async with relay.waiting(OTHER[role], "a", CLAIMS[OTHER[role]]) as partner:
            await meet(new, partner, role)


@BOTH_ROLES
async def test_a_reconnecting_client_need_not_wait_for_a_silent_old_connection(role: Role) -> None:
    async with relay_running() as relay, relay.raw(room_path(room("a"))) as dead:
        await dead.send(hello(role, CLAIMS[role]))
        await dead.message()
        with trio.fail_after(AT_ONCE):
            async with (
                relay.waiting(role, "a", CLAIMS[role]) as new,
                relay.waiting(OTHER[role], "a") as partner,
            ):
                await meet(new, partner, role)


@BOTH_ROLES
@pytest.mark.parametrize(
    ("known", "said"),
    [
        pytest.param("a" * 32, "b" * 32, id="another claim"),
        pytest.param("a" * 32, "a" * 33, id="a longer one"),
        pytest.param("a" * 32, None, id="none"),
        pytest.param(None, "a" * 32, id="one where there was none"),
    ],
)
async def test_a_stranger_does_not_take_a_waiting_clients_seat(
    role: Role, known: str | None, said: str | None
) -> None:
    async with relay_running() as relay, relay.waiting(role, "a", known) as first:
        await is_refused(relay, role, said)
        async with relay.waiting(OTHER[role], "a") as partner:
            await meet(first, partner, role)


async def test_two_with_the_same_claim_and_other_roles_are_a_pair() -> None:
    async with (
        relay_running() as relay,
        relay.waiting(Role.SENDER, "a", "a" * 32) as sender,
        relay.waiting(Role.RECEIVER, "a", "a" * 32) as receiver,
    ):
        await meet(sender, receiver, Role.SENDER)


# Waiting clients that dial again


@asynccontextmanager
async def dialled_again(relay: Relay, role: Role) -> AsyncIterator[Link]:
    """Yield a client that was welcomed, and believes that an older connection of its own still waits."""
    async with relay.client(room_path(room("a"))) as link:
        said = Hello(role, program="tests", claim=CLAIMS[role], features=(STILL_WAITING,))
        await link.send(rendezvous.encode(said))
        assert isinstance(await answer(link), Welcome)
        yield link
        link.abort()


@BOTH_ROLES
async def test_a_client_that_dials_again_waits_in_its_own_seat(role: Role) -> None:
    async with (
        relay_running() as relay,
        relay.waiting(role, "a", CLAIMS[role]) as old,
        dialled_again(relay, role) as new,
    ):
        assert await close_code(old) == CloseCode.REPLACED
        async with relay.waiting(OTHER[role], "a", CLAIMS[OTHER[role]]) as partner:
            await meet(new, partner, role)


@BOTH_ROLES
async def test_a_client_that_dials_again_too_late_leaves_its_pairing_alone(role: Role) -> None:
    async with relay_running() as relay, paired(relay) as pair:
        async with dialled_again(relay, role) as late:
            refused = await answer(late)
            assert isinstance(refused, Refused)
            assert refused.code == Refusal.ROOM_TAKEN
        await exchange(pair[Role.SENDER], pair[Role.RECEIVER])


@BOTH_ROLES
async def test_a_stranger_that_says_it_waits_gets_nothing(role: Role) -> None:
    async with relay_running() as relay, relay.waiting(role, "a", "d" * 32) as first:
        async with dialled_again(relay, role) as stranger:
            assert isinstance(await answer(stranger), Refused)
        async with relay.waiting(OTHER[role], "a") as partner:
            await meet(first, partner, role)


async def test_dialling_again_is_no_way_to_wait_longer() -> None:
    with trio.fail_after(20):
        async with relay_running(wait=1) as relay, AsyncExitStack() as stack:
            while True:
                link = await stack.enter_async_context(dialled_again(relay, Role.SENDER))
                with trio.move_on_after(0.2):
                    refused = await answer(link)
                    assert isinstance(refused, Refused)
                    assert refused.code == Refusal.WAIT_OVER
                    break


@pytest.mark.parametrize("is_soon", [True, False])
async def test_dialling_again_counts_neither_as_a_join_nor_as_an_arrival(
    monkeypatch: pytest.MonkeyPatch, is_soon: bool
) -> None:
    """But only in the client's own seat, and not too soon; elsewhere the same hello counts like any other."""
    monkeypatch.setattr(protocol_limits, "LEAST_REDIAL", 600.0 if is_soon else 0.0)
    settings: dict[str, Any] = {"joins_per_minute": 2, "arrivals_per_minute": 6}
    async with relay_running(trusted_proxies=("127.0.0.1",), **settings) as relay, AsyncExitStack() as stack:

        async def come(name: str, *features: str) -> Welcome | Paired | Refused:
            stream = await stack.enter_async_context(await relay.tcp())
            await stream.send_all(proxy_header("192.0.2.1"))
            client = RawClient(stream)
            await client.upgrade(room_path(room(name)))
            claim = CLAIMS[Role.SENDER]
            await client.send(
                rendezvous.encode(Hello(Role.SENDER, program="tests", claim=claim, features=features))
            )
            return rendezvous.decode_answer(await client.message())

        assert isinstance(await come("a"), Welcome)
        if is_soon:
            assert isinstance(await come("a", STILL_WAITING), Welcome)
            assert isinstance(await come("a", STILL_WAITING), Refused)
            return
        for _ in range(20):
            assert isinstance(await come("a", STILL_WAITING), Welcome)
        assert isinstance(await come("b", STILL_WAITING), Welcome)
        assert isinstance(await come("c", STILL_WAITING), Refused)


async def test_the_more_clients_wait_the_less_often_they_dial_again() -> None:
    gatekeeper = Gatekeeper(RelayConfig("127.0.0.1", 0), AbuseCounter())

    async def again(waiting: int) -> int | None:
        client = gatekeeper.admission.arrive((), 0, gatekeeper.arrivals.evict)
        assert isinstance(client, Client)
        said = Hello(Role.SENDER, "0" * 64)
        welcome = await gatekeeper.answer_hello(
            client, said, waiting=waiting, is_first=True, dials_again=False
        )
        assert isinstance(welcome, Welcome)
        return welcome.again

    assert await again(0) == protocol_limits.REDIAL_AFTER
    assert await again(3000) == 3000 / limits.REDIALS_PER_SECOND


# Paired clients


@BOTH_ROLES
async def test_one_of_a_pair_that_reconnects_meets_the_other_one_again(
    settings: dict[str, Any], role: Role
) -> None:
    async with (
        relay_running(**settings) as relay,
        paired(relay) as pair,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(say, pair[Role.SENDER])
        await pair[Role.RECEIVER].receive()
        async with relay.waiting(role, "a", CLAIMS[role]) as new:
            assert await close_code(pair[OTHER[role]]) == CloseCode.PEER_LOST
            assert await close_code(pair[role]) == CloseCode.REPLACED
            async with relay.waiting(OTHER[role], "a", CLAIMS[OTHER[role]]) as partner:
                await meet(new, partner, role)
                assert await answer_or_silence(new) is None
        nursery.cancel_scope.cancel()


async def answer_or_silence(link: Link) -> bytes | str | None:
    """Return what comes next, None if nothing does."""
    with trio.move_on_after(0.1):
        return await link.receive()
    return None


@BOTH_ROLES
async def test_what_the_old_connection_still_holds_does_not_delay_the_new_one(role: Role) -> None:
    """The old connection is on a network that is gone: it takes nothing, says nothing, and answers no goodbye."""
    async with (
        relay_running() as relay,
        relay.raw(room_path(room("a"))) as dead,
        relay.waiting(OTHER[role], "a", CLAIMS[OTHER[role]]) as survivor,
        trio.open_nursery() as nursery,
    ):
        await dead.send(hello(role, CLAIMS[role]))
        assert await answer(survivor) == Paired()
        nursery.start_soon(say, survivor)
        await trio.testing.wait_all_tasks_blocked(0.2)  # until it is stuck
        async with relay.waiting(role, "a", CLAIMS[role]) as new:
            assert await close_code(survivor) == CloseCode.PEER_LOST
            async with relay.waiting(OTHER[role], "a", CLAIMS[OTHER[role]]) as partner:
                await meet(new, partner, role)
        nursery.cancel_scope.cancel()


async def test_when_both_reconnect_they_meet_in_either_order() -> None:
    async with relay_running() as relay:
        for role in Role:
            async with paired(relay) as pair, AsyncExitStack() as stack:
                new = {
                    each: await stack.enter_async_context(relay.waiting(each, "a", CLAIMS[each]))
                    for each in (role, OTHER[role])
                }
                await meet(new[role], new[OTHER[role]], role)
                assert await close_code(pair[role]) == CloseCode.REPLACED
                assert await close_code(pair[OTHER[role]]) == CloseCode.PEER_LOST


@BOTH_ROLES
@pytest.mark.parametrize("claim", ["f" * 32, None, "the other one's"], ids=str)
async def test_a_stranger_disturbs_no_pair(role: Role, claim: str | None) -> None:
    said = CLAIMS[OTHER[role]] if claim and not claim.startswith("f") else claim
    async with relay_running() as relay, paired(relay) as pair:
        await pair[Role.SENDER].send(b"before")
        await is_refused(relay, role, said)
        await is_refused(relay, role, None)
        assert await pair[Role.RECEIVER].receive() == b"before"
        await exchange(pair[Role.SENDER], pair[Role.RECEIVER])


async def test_a_pair_without_claims_is_disturbed_by_none() -> None:
    async with relay_running() as relay, relay.pair("a") as pair:
        for role in Role:
            for claim in (None, CLAIMS[role]):
                await is_refused(relay, role, claim)
        await exchange(*pair)


async def test_a_claim_is_worth_nothing_after_its_pair() -> None:
    async with relay_running() as relay, paired(relay) as pair:
        await pair[Role.SENDER].aclose()
        with pytest.raises(anyio.EndOfStream):
            await pair[Role.RECEIVER].receive()
        async with relay.pair("a") as others:
            for role in Role:
                await is_refused(relay, role, CLAIMS[role])
            await exchange(*others)


async def replies(link: Link) -> None:
    assert await answer(link) == Paired()
    assert await link.receive() == b"hello?"
    await link.send(b"hello!")


async def asks(link: Link) -> None:
    assert await answer(link) == Paired()
    await link.send(b"hello?")
    assert await link.receive() == b"hello!"


async def test_a_client_that_reconnects_at_the_moment_of_pairing_is_paired_over_its_new_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In any order of events the partner meets the new connection, at once or after it was told of the loss."""

    async def is_dead(*_: object) -> bool:
        return False

    # A probe takes time, and the partner would always be the later one.
    monkeypatch.setattr(Seats, "_is_dead", is_dead)
    async with relay_running() as relay:
        for _ in range(20):
            async with (
                relay.waiting(Role.SENDER, "a", CLAIMS[Role.SENDER]) as old,
                relay.client(room_path(room("a"))) as new,
                relay.client(room_path(room("a"))) as partner,
                trio.open_nursery() as nursery,
            ):
                await partner.send(hello(Role.RECEIVER))
                await new.send(hello(Role.SENDER, CLAIMS[Role.SENDER]))
                await answer(partner)
                await answer(new)
                nursery.start_soon(replies, new)
                try:
                    await asks(partner)
                except LinkBroken:
                    async with relay.waiting(Role.RECEIVER, "a") as partner_again:
                        await asks(partner_again)
                    assert await close_code(partner) == CloseCode.PEER_LOST
                assert await close_code(old) == CloseCode.REPLACED


# What is left, and what is told


@pytest.mark.parametrize("in_pairs", [False, True], ids=["waiting", "paired"])
async def test_a_hundred_returns_leave_nothing_behind(in_pairs: bool) -> None:
    """On this machine no limit keeps a client from doing so; elsewhere a source has so many joins a minute."""
    server = Server(RelayConfig("127.0.0.1", 0))
    async with trio.open_nursery() as nursery:
        bound = await nursery.start(server.run)
        relay = Relay(bound[0][1], None)
        await relay.works("warm")
        await until_alone(server)
        tasks, lost = trio.lowlevel.current_statistics().tasks_living, pairs_lost(server)
        async with AsyncExitStack() as stack:
            for number in range(100):
                role = list(Role)[number % 2] if in_pairs else Role.SENDER
                link = await stack.enter_async_context(relay.waiting(role, "a", CLAIMS[role]))
                if in_pairs:
                    partner = await stack.enter_async_context(
                        relay.waiting(OTHER[role], "a", CLAIMS[OTHER[role]])
                    )
                    assert await answer(link) == await answer(partner) == Paired()
                assert server.rooms == 1
            await until(lambda: server.connections <= 1 + in_pairs)
            assert server.connections == 1 + in_pairs
            assert server.counts[:2] == ((0, 1) if in_pairs else (1, 0))
            assert len(server._seats._hosts) == 1
        await until_alone(server)
        assert server.counts[:2] == (0, 0)
        assert pairs_lost(server) - lost == 100 * in_pairs, "the last one when its two left"
        # The ticker of `timeouts` comes and goes.
        await until(lambda: trio.lowlevel.current_statistics().tasks_living <= tasks + 1)
        nursery.cancel_scope.cancel()


def pairs_lost(server: Server) -> int:
    return server.tally.outcomes["sender lost"] + server.tally.outcomes["receiver lost"]


async def until_alone(server: Server) -> None:
    await until(lambda: not (server.connections or server.rooms or server._seats._hosts))
    await trio.testing.wait_all_tasks_blocked(0.05)  # until their tasks have ended as well


async def until(is_so: Callable[[], object]) -> None:
    with trio.fail_after(AT_ONCE):
        while not is_so():  # noqa: ASYNC110
            await trio.sleep(0.01)


async def test_reconnecting_counts_for_the_limits() -> None:
    """A flood of returns is a flood of joins."""
    async with relay_running(joins_per_minute=2, trusted_proxies=("127.0.0.1",)) as relay:
        for joins in range(3):
            async with await relay.tcp() as stream:
                await stream.send_all(proxy_header("192.0.2.1"))
                client = RawClient(stream)
                await client.upgrade(room_path(room("a")))
                await client.send(hello(Role.SENDER, CLAIMS[Role.SENDER]))
                said = rendezvous.decode_answer(await client.message())
                assert isinstance(said, Welcome if joins < 2 else Refused)


@BOTH_ROLES
async def test_the_log_tells_that_a_side_was_lost_and_no_claim(
    caplog: pytest.LogCaptureFixture, role: Role
) -> None:
    caplog.set_level(logging.DEBUG, logger="p2p_copy.relay")
    async with (
        relay_running() as relay,
        paired(relay) as pair,
        relay.waiting(role, "a", CLAIMS[role]),
    ):
        assert await close_code(pair[OTHER[role]]) == CloseCode.PEER_LOST
        assert await close_code(pair[role]) == CloseCode.REPLACED
        await until(lambda: [said for said in caplog.messages if " ended: " in said])
    (end,) = (said for said in caplog.messages if " ended: " in said)
    assert f" ended: {role.value} lost" in end
    assert f"a {role.value} reconnected" in caplog.messages
    for claim in CLAIMS.values():
        assert claim not in caplog.text
