"""Clients that take nothing of what the relay says: each send has a deadline, and no stop waits for them."""

from __future__ import annotations

import socket
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import lockstep_stream_pair
from wsproto.events import Ping

from p2p_copy.protocol.rendezvous import Paired, Role, room_path
from p2p_copy.relay import limits
from p2p_copy.relay.pairing import Outcome, Pairing
from p2p_copy.transport import limits as transport_limits
from p2p_copy.transport.endpoints import accept
from p2p_copy.transport.link import Link, LinkBroken
from tests.relay.clients import Relay, answer, hello, relay_running, room
from tests.relay.test_stopping import LONG, running
from tests.support.numbers import home_of
from tests.support.processes import QUICK
from tests.support.websocket import PING, RawClient, frame, let_pass, movable_time, virtual_time

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SMALL = 4096
"""Bytes that the kernel holds for a client that does not read; it doubles them."""

STUFFED = 0.3
"""Seconds in which the relay takes nothing more, since it cannot get rid of a pong."""


@asynccontextmanager
async def unreading(
    relay: Relay, name: str, role: Role = Role.SENDER, stuffed: float = STUFFED
) -> AsyncIterator[RawClient]:
    """Yield a client that waits, has pinged until the relay could not answer any more, and reads nothing."""
    with trio.socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
        await sock.connect((relay.address.host, relay.address.port))
        client = RawClient(trio.SocketStream(sock))
        await client.upgrade(room_path(room(name)))
        await client.send(hello(role))
        await client.message()
        await stuff(client.stream, stuffed)
        yield client


async def stuff(stream: trio.abc.Stream, seconds: float) -> None:
    """Send pings until the other end has taken nothing for `seconds`."""
    pings = frame(PING, bytes(125)) * 100
    blocked = False
    while not blocked:
        with trio.move_on_after(seconds) as patience:
            await stream.send_all(pings)
        blocked = patience.cancelled_caught


UNTHROTTLED = {
    "EARLY_READ": transport_limits.RECEIVE_BUFFER,
    **dict.fromkeys(("EARLY_READS", "EARLY_READS_BURST", "EARLY_READS_TOTAL"), 10**9),
    **dict.fromkeys(("EARLY_FRAMES", "EARLY_FRAMES_BURST", "EARLY_FRAMES_TOTAL"), 10**9),
}
"""Limits of a relay that reads everything at once. Else its pongs would not fill a kernel in the time of a test."""


@pytest.fixture
def unthrottled(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in UNTHROTTLED.items():
        monkeypatch.setattr(home_of(name), name, value)


# One link, in virtual time


@asynccontextmanager
async def lockstep(patience: float) -> AsyncIterator[tuple[Link, RawClient]]:
    """Yield a relay's link to a client, over a stream that holds no byte."""
    ours, theirs = lockstep_stream_pair()
    client = RawClient(theirs)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.upgrade)
        async with accept(ours, max_message=1000, patience=patience) as (_, link):
            await trio.testing.wait_all_tasks_blocked()
            yield link, client
            link.abort()


@virtual_time()
async def test_a_message_that_is_not_taken_ends_the_link() -> None:
    async with lockstep(7) as (link, _):
        began = trio.current_time()
        with pytest.raises(LinkBroken):
            await link.send("a word")
        assert trio.current_time() - began == pytest.approx(7, abs=transport_limits.TICK)
        with pytest.raises(LinkBroken):
            await link.receive()


@virtual_time()
async def test_a_pong_that_is_not_taken_ends_the_link() -> None:
    async with lockstep(7) as (link, client):
        began = trio.current_time()
        await client.raw(frame(PING, b"flood"))
        with pytest.raises(LinkBroken):
            await link.receive()
        assert trio.current_time() - began == pytest.approx(7, abs=transport_limits.TICK)


@virtual_time()
async def test_a_ping_that_is_not_taken_ends_the_link() -> None:
    async with lockstep(7) as (link, _):
        began = trio.current_time()
        with pytest.raises(LinkBroken):
            await link.ping()
        assert trio.current_time() - began == pytest.approx(7, abs=transport_limits.TICK)


@virtual_time()
async def test_a_send_that_waits_for_its_turn_does_not_wait_for_longer() -> None:
    async with lockstep(7) as (link, client):
        began = trio.current_time()
        await client.raw(frame(PING, b"flood"))
        with pytest.raises(LinkBroken):
            await link.send("behind the pong")
        assert trio.current_time() - began == pytest.approx(7, abs=transport_limits.TICK)


@virtual_time()
async def test_a_message_that_is_taken_late_is_no_fault() -> None:
    async with lockstep(7) as (link, client), trio.open_nursery() as nursery:
        nursery.start_soon(link.send, "a word")
        await trio.sleep(6)
        assert await client.message() == "a word"
        link.limit_sends(100)
        nursery.start_soon(link.send, "another")
        await trio.sleep(90)
        while isinstance(event := await client.next(), Ping):
            await client.send(event.response())
        assert event is not None


@pytest.mark.parametrize("role", Role)
@virtual_time()
async def test_a_client_that_does_not_take_the_greeting_has_the_short_timeout(role: Role) -> None:
    (sender_stream, at_sender), (receiver_stream, at_receiver) = (
        lockstep_stream_pair(),
        lockstep_stream_pair(),
    )
    sender, receiver = RawClient(sender_stream), RawClient(receiver_stream)
    reads = receiver if role is Role.SENDER else sender
    outcomes: list[Outcome] = []

    async def run() -> None:
        async with (
            accept(at_sender, max_message=1000, patience=limits.CONTROL_TIMEOUT) as (_, one),
            accept(at_receiver, max_message=1000, patience=limits.CONTROL_TIMEOUT) as (_, other),
        ):
            outcomes.append((await Pairing(one, other, legacy=False, on_end=lambda: None).run()).outcome)

    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        for client in (sender, receiver):
            await client.upgrade()
        await reads.message()
        await reads.ending()
        await reads.stream.aclose()
    assert (
        trio.current_time() - began
        < limits.CONTROL_TIMEOUT + transport_limits.GOODBYE_TIMEOUT + 2 * transport_limits.TICK
    )
    assert outcomes == [Outcome.SENDER_LOST if role is Role.SENDER else Outcome.RECEIVER_LOST]


# A relay


@movable_time()
async def test_a_waiting_client_that_reads_nothing_is_cut_and_its_room_is_free(unthrottled: None) -> None:
    async with relay_running(frames_per_second=0) as relay, unreading(relay, "a"):
        await let_pass(limits.CONTROL_TIMEOUT)
        async with relay.waiting(Role.SENDER, "a") as sender, relay.waiting(Role.RECEIVER, "a") as receiver:
            assert [await answer(link) for link in (sender, receiver)] == [Paired(), Paired()]


@movable_time()
async def test_a_drain_without_pairs_does_not_wait_for_a_client_that_reads_nothing(unthrottled: None) -> None:
    async with running(frames_per_second=0) as server, unreading(server.clients, "a"):
        server.relay.drain(LONG)
        await let_pass(limits.CONTROL_TIMEOUT)
        await server.ends()


@movable_time()
async def test_a_drain_with_a_pair_ends_with_it_and_not_with_a_client_that_reads_nothing(
    unthrottled: None,
) -> None:
    async with (
        running(frames_per_second=0) as server,
        server.clients.pair("b") as (sender, receiver),
        unreading(server.clients, "a"),
    ):
        server.relay.drain(LONG)
        await sender.send(b"still")
        assert await receiver.receive() == b"still"
        await sender.aclose()
        await let_pass(limits.CONTROL_TIMEOUT)
        await server.ends()


@movable_time()
async def test_a_client_that_reads_nothing_does_not_outlive_its_wait(unthrottled: None) -> None:
    """The refusal at the end of its wait meets a connection that is full."""
    wait = limits.CONTROL_TIMEOUT / 2  # an unread pong does not end it before
    async with relay_running(wait=wait, frames_per_second=0) as relay, unreading(relay, "a") as client:
        await let_pass(wait + limits.CONTROL_TIMEOUT)
        with trio.fail_after(QUICK):
            await until_cut(client.stream)


async def until_cut(stream: trio.abc.Stream) -> None:
    """Wait for the relay to close, without reading."""
    with suppress(trio.BrokenResourceError):
        while True:
            await stream.send_all(b"x")
            await trio.sleep(0.1)
