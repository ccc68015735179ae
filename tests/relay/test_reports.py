"""What a relay sees move, which clients it tells, and what it logs."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import memory_stream_pair
from wsproto.events import BytesMessage

from p2p_copy.protocol import rendezvous
from p2p_copy.protocol.rendezvous import MOVEMENT, FlowReport, FlowState, Hello, Role, decode_flow_report
from p2p_copy.relay import limits
from p2p_copy.relay.access.rates import PairingLimits
from p2p_copy.relay.log.redact import LOGGER
from p2p_copy.transfer import limits as transfer_limits
from p2p_copy.units import KIB
from tests.relay.clients import answer, exchange, relay_running, room
from tests.support.pairings import BIG, raw_clients
from tests.support.websocket import BINARY, RawClient, frame, pause, virtual_time

if TYPE_CHECKING:
    from collections.abc import Iterator

    from p2p_copy.relay.pairing import Pairing
    from p2p_copy.transport.link import Link

BOTH = (True, True)


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """What the relay's log says."""
    said: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())

    handler, level = Handler(), LOGGER.level
    LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.INFO)
    yield said
    LOGGER.removeHandler(handler)
    LOGGER.setLevel(level)


async def checked_for(pairing: Pairing, seconds: float) -> None:
    """Let so much time pass, with a check now and then."""
    await trio.testing.wait_all_tasks_blocked()
    until = trio.current_time() + seconds
    pairing.check()
    while trio.current_time() < until:
        await trio.sleep(limits.PAIRING_CHECK_INTERVAL)
        pairing.check()
    await trio.testing.wait_all_tasks_blocked()


async def heard(client: RawClient) -> FlowReport | None:
    text = await client.message()
    assert isinstance(text, str)
    return decode_flow_report(text)


async def hears_nothing(client: RawClient) -> None:
    with trio.move_on_after(1):
        while True:
            assert isinstance(await client.next(), BytesMessage)


@virtual_time()
async def test_both_are_told_once_when_nothing_comes_and_once_more_when_it_does() -> None:
    pairings: list[Pairing] = []
    async with raw_clients(memory_stream_pair, pairings.append, reports=BOTH) as (sender, receiver, _):
        (pairing,) = pairings
        await checked_for(pairing, 2 * limits.REPORT_STALL_AFTER)
        assert pairing.is_stalled
        for client in (sender, receiver):
            assert await heard(client) == FlowReport(FlowState.SILENT, FlowState.SILENT)
            await hears_nothing(client)
        await sender.send(b"data")
        await trio.testing.wait_all_tasks_blocked()
        await checked_for(pairing, 0)
        assert not pairing.is_stalled
        assert await heard(sender) == FlowReport(FlowState.MOVES, FlowState.SILENT)
        assert await receiver.message() == b"data"
        assert await heard(receiver) == FlowReport(FlowState.SILENT, FlowState.MOVES)
        await sender.stream.aclose()


@virtual_time()
async def test_a_sender_is_told_that_the_receiver_takes_nothing(lines: list[str]) -> None:
    pairings: list[Pairing] = []
    async with raw_clients(made=pairings.append, reports=BOTH) as (sender, receiver, _):
        (pairing,) = pairings
        await sender.send(b"one")
        await checked_for(pairing, limits.REPORT_STALL_AFTER)
        assert await heard(sender) == FlowReport(FlowState.UNTAKEN, FlowState.SILENT)
        assert await receiver.message() == b"one", "and nothing else stood in the way of it"
        await checked_for(pairing, 0)
        assert await heard(sender) == FlowReport(FlowState.MOVES, FlowState.SILENT)
        await sender.send(b"two")
        await checked_for(pairing, 3 * limits.LOG_STALL_AFTER)
        assert lines == ["pairing 0 stalls: the receiver takes nothing for 60 s"]
        await receiver.stream.aclose()
        await sender.stream.aclose()


@virtual_time()
async def test_a_pause_of_the_relay_is_no_stall() -> None:
    pairings: list[Pairing] = []
    async with raw_clients(memory_stream_pair, pairings.append, reports=BOTH) as (sender, receiver, _):
        (pairing,) = pairings
        await checked_for(pairing, limits.PAIRING_CHECK_INTERVAL)
        await pause(1000)
        await checked_for(pairing, limits.PAIRING_CHECK_INTERVAL)
        assert not pairing.is_stalled
        await sender.stream.aclose()
        await receiver.stream.aclose()


@virtual_time()
async def test_the_log_names_the_sender_only_if_the_receiver_waits_for_it(lines: list[str]) -> None:
    pairings: list[Pairing] = []
    async with raw_clients(memory_stream_pair, pairings.append) as (sender, receiver, _):
        (pairing,) = pairings
        await checked_for(pairing, limits.LOG_STALL_AFTER)
        assert lines == ["pairing 0 stalls: neither side sends anything for 60 s"]
        lines.clear()
        await sender.send(b"data")
        assert await receiver.message() == b"data"
        for _ in range(25):
            await receiver.send(b"I wait")
            assert await sender.message() == b"I wait"
            await checked_for(pairing, transfer_limits.HEARTBEAT)
        assert lines == ["pairing 0 stalls: the sender sends nothing for 60 s"]
        await sender.stream.aclose()
        await receiver.stream.aclose()


@virtual_time()
async def test_a_machine_that_does_not_answer_is_named(lines: list[str]) -> None:
    pairings: list[Pairing] = []
    async with raw_clients(made=pairings.append, reports=BOTH) as (sender, receiver, _):
        (pairing,) = pairings
        pairing._receiver.link.silent_for = lambda: limits.REPORT_STALL_AFTER
        await sender.send(b"one")
        await checked_for(pairing, limits.LOG_STALL_AFTER)
        assert await heard(sender) == FlowReport(FlowState.UNTAKEN, FlowState.SILENT, answers=False)
        assert lines == ["pairing 0 stalls: the receiver's machine does not answer for 60 s"]
        await receiver.stream.aclose()
        await sender.stream.aclose()


@virtual_time()
async def test_a_link_that_takes_a_little_now_and_then_is_slow_and_not_stalled() -> None:
    """The kernel tells, long before a batch is through."""
    pairings: list[Pairing] = []
    async with raw_clients(made=pairings.append, reports=BOTH) as (sender, receiver, _):
        (pairing,) = pairings
        pairing._receiver.link.acked_bytes = lambda: (int(trio.current_time()) * KIB, True)
        await sender.send(b"one")
        await checked_for(pairing, 4 * limits.REPORT_STALL_AFTER)
        assert not pairing.is_stalled
        assert await heard(sender) == FlowReport(FlowState.MOVES, FlowState.SILENT)
        await receiver.stream.aclose()
        await sender.stream.aclose()


@virtual_time()
async def test_nothing_is_said_in_the_middle_of_a_message() -> None:
    pairings: list[Pairing] = []
    whole = frame(BINARY, bytes(BIG))
    async with raw_clients(memory_stream_pair, pairings.append, reports=BOTH) as (sender, receiver, _):
        (pairing,) = pairings
        await sender.raw(whole[: BIG // 2])
        await receiver.expect(BytesMessage)
        await checked_for(pairing, limits.REPORT_STALL_AFTER)
        assert await heard(sender) == FlowReport(FlowState.SILENT, FlowState.SILENT)
        await hears_nothing(receiver)
        await sender.raw(whole[BIG // 2 :])
        rest = await receiver.message()
        assert isinstance(rest, bytes)
        await checked_for(pairing, limits.REPORT_STALL_AFTER)
        assert await heard(receiver) == FlowReport(FlowState.SILENT, FlowState.MOVES)
        assert await heard(receiver) == FlowReport(FlowState.SILENT, FlowState.SILENT)
        await sender.stream.aclose()


@virtual_time()
async def test_a_side_that_waits_at_a_limit_is_told_so() -> None:
    class Slow(PairingLimits):
        async def pay(self, size: int) -> None:
            await trio.sleep(100)

    pairings: list[Pairing] = []
    async with raw_clients(memory_stream_pair, pairings.append, reports=BOTH) as (sender, receiver, _):
        (pairing,) = pairings
        pairing._limits = Slow([])
        await sender.send(b"one")
        assert await receiver.message() == b"one"
        await checked_for(pairing, limits.REPORT_STALL_AFTER)
        assert not pairing.is_stalled
        assert await heard(sender) == FlowReport(FlowState.LIMITED, FlowState.SILENT)
        assert await heard(receiver) == FlowReport(FlowState.SILENT, FlowState.LIMITED)
        await sender.stream.aclose()
        await receiver.stream.aclose()


@pytest.mark.parametrize("listens", [Role.SENDER, Role.RECEIVER])
async def test_only_a_client_that_asked_is_told(monkeypatch: pytest.MonkeyPatch, listens: Role) -> None:
    monkeypatch.setattr(limits, "REPORT_STALL_AFTER", 0.1)
    monkeypatch.setattr(limits, "PAIRING_CHECK_INTERVAL", 0.05)

    async def join(link: Link, role: Role) -> None:
        features = (MOVEMENT,) if role is listens else ()
        await link.send(rendezvous.encode(Hello(role=role, program="tests", features=features)))

    path = "/v1/" + room("watched")
    with trio.fail_after(20):
        async with relay_running() as relay, relay.client(path) as sender, relay.client(path) as receiver:
            await join(sender, Role.SENDER)
            await join(receiver, Role.RECEIVER)
            for link in (sender, receiver):
                await answer(link)
                await answer(link)
            asked, other = (sender, receiver) if listens is Role.SENDER else (receiver, sender)
            text = await asked.receive()
            assert isinstance(text, str)
            assert decode_flow_report(text) == FlowReport(FlowState.SILENT, FlowState.SILENT)
            asked.sets_aside = lambda text: decode_flow_report(text) is not None
            await exchange(asked, other)
            sender.abort()
            receiver.abort()
