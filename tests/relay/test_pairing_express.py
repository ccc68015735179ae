"""Long messages take the express way through a pairing, and all that holds for others holds for them."""

from __future__ import annotations

import math
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, cast

import pytest
import trio
import trio.lowlevel
import trio.testing
from hypothesis import given, settings, strategies as st
from wsproto.events import CloseConnection, Ping, Pong

from p2p_copy.protocol.rendezvous import CloseCode, FlowReport, FlowState, decode_flow_report
from p2p_copy.relay import limits
from p2p_copy.relay.access.rates import Account, FairQueue, PairingLimits
from p2p_copy.relay.pairing import Outcome
from p2p_copy.transport import codec, limits as transport_limits
from p2p_copy.transport.codec import Opcode
from p2p_copy.transport.splice import CAN_SPLICE
from p2p_copy.transport.splicer import Splicer
from tests.support.pairings import BIG, loopback_pair, raw_clients, watch_splicers
from tests.support.websocket import BINARY, PING, TEXT, RawClient, frame, let_pass, movable_time

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from p2p_copy.relay.pairing import Pairing, Usage

pytestmark = pytest.mark.skipif(not CAN_SPLICE, reason="this system cannot splice")

LONG: Final = transport_limits.LONG_FRAME
PATIENCE: Final = 20
"""Seconds after which a test fails that waits for something."""


@asynccontextmanager
async def clients(
    made: Callable[[Pairing], None] = lambda pairing: None,
    reports: tuple[bool, bool] = (False, False),
    pairing_limits: PairingLimits | None = None,
) -> AsyncIterator[tuple[RawClient, RawClient, list[Usage]]]:
    """Yield a sender and a receiver that are paired over loopback; cut both at the end."""
    with trio.fail_after(PATIENCE):
        async with (
            raw_clients(loopback_pair, made, reports, pairing_limits) as (sender, receiver, usage),
            sender.stream,
            receiver.stream,
        ):
            yield sender, receiver, usage


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Collect the sizes of what was taken on the express way."""
    return watch_splicers(monkeypatch)


async def express(sender: RawClient, receiver: RawClient) -> None:
    """Send messages until the pairing waits on the express way for the next one."""
    for _ in range(2):
        message = os.urandom(BIG)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sender.raw, frame(BINARY, message))
            assert await receiver.message() == message
    await trio.testing.wait_all_tasks_blocked(0.01)


async def until(is_so: Callable[[], bool]) -> None:
    while not is_so():  # noqa: ASYNC110 - there is no event
        await trio.sleep(0.01)


async def flood(client: RawClient) -> None:
    """Send long messages until the connection breaks."""
    message = frame(BINARY, bytes(BIG))
    while True:
        try:
            await client.raw(message)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return


async def goodbye(client: RawClient) -> int:
    """Read until the relay closes, and disconnect; return the code, or 1006 if there was none."""
    code = 1006
    while (event := await client.next()) is not None:
        if isinstance(event, CloseConnection):
            code = int(event.code)
            break
    await client.stream.aclose()
    return code


async def both_ended(sender: RawClient, receiver: RawClient) -> list[int]:
    """Read both to their ends; return the close codes."""
    codes = [0, 0]

    async def read(number: int, client: RawClient) -> None:
        codes[number] = await goodbye(client)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read, 0, sender)
        nursery.start_soon(read, 1, receiver)
    return codes


async def test_messages_that_follow_each_other_need_no_task_but_one(taken: list[int]) -> None:
    async with clients() as (sender, receiver, usage):
        await express(sender, receiver)
        before = len(taken)
        for size in (LONG, BIG, LONG + 1):
            message = os.urandom(size)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(sender.raw, frame(BINARY, message))
                assert await receiver.message() == message
        assert sum(taken[before:]) == 2 * LONG + 1 + BIG
        assert 0 not in taken[before:], "it did not leave the express way in between"
        await sender.raw(frame(BINARY, b"short"))
        assert await receiver.message() == b"short"
        assert taken[-1] == 0
        await sender.stream.aclose()
        await goodbye(receiver)
    assert usage[0].from_sender == 2 * BIG + 2 * LONG + 1 + BIG + 5


class Turns(trio.abc.Instrument):
    """Counts the turns of the event loop."""

    def __init__(self) -> None:
        self.count = 0

    def before_io_wait(self, timeout: float) -> None:
        self.count += 1


@pytest.mark.parametrize("seconds", [math.inf, 0])
async def test_what_is_there_moves_in_one_turn_if_that_may_take_so_long(
    seconds: float, taken: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SPLICE_TURN", seconds)
    turns, when = Turns(), []
    take_now = Splicer.take_now

    def watched(splicer: Splicer) -> int:
        when.append(turns.count)
        return take_now(splicer)

    async with clients() as (sender, receiver, _):
        await express(sender, receiver)
        del taken[:]
        monkeypatch.setattr(Splicer, "take_now", watched)
        trio.lowlevel.add_instrument(turns)
        try:
            messages = [os.urandom(LONG) for _ in range(3)]
            await sender.raw(b"".join(frame(BINARY, message) for message in messages))
            assert [await receiver.message() for _ in messages] == messages
        finally:
            trio.lowlevel.remove_instrument(turns)
        await sender.stream.aclose()
        await goodbye(receiver)
    assert sum(taken) == 3 * LONG
    assert (len(when) > len(set(when))) == (seconds > 0)


def masked(message: bytes) -> bytes:
    return codec.encode(Opcode.BINARY, message, b"mask")


def in_two_frames(message: bytes) -> bytes:
    half = len(message) // 2
    return frame(BINARY, message[:half], final=False) + frame(0, message[half:])


def with_a_ping_inside(message: bytes) -> bytes:
    half = len(message) // 2
    return frame(BINARY, message[:half], final=False) + frame(PING, b"?") + frame(0, message[half:])


FORMS: Final = (lambda message: frame(BINARY, message), masked, in_two_frames, with_a_ping_inside)

SIZES: Final = st.one_of(
    st.integers(0, 300),
    st.sampled_from([65_535, LONG - 1, LONG, LONG + 1, 2 * LONG - 1, BIG]),
    st.integers(LONG, BIG),
)


@pytest.mark.slow  # each example has connections of its own
@settings(max_examples=15)
@given(
    st.lists(st.tuples(SIZES, st.sampled_from(FORMS[:1] * 4 + FORMS)), min_size=1, max_size=6),
    st.lists(st.integers(1, 200_000), max_size=40),
)
def test_all_messages_arrive_in_order_whatever_they_are_and_however_they_come(
    messages: list[tuple[int, Callable[[bytes], bytes]]], cuts: list[int]
) -> None:
    whole = [os.urandom(size) for size, _ in messages]
    wire = b"".join(form(message) for message, (_, form) in zip(whole, messages, strict=True))

    async def send(client: RawClient) -> None:
        rest = wire
        for size in (*cuts, len(wire)):
            if rest:
                await client.raw(rest[:size])
                rest = rest[size:]
                await trio.lowlevel.checkpoint()

    async def run() -> None:
        async with clients() as (sender, receiver, usage):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(send, sender)
                for message in whole:
                    assert await receiver.message() == message
            await sender.stream.aclose()
            await goodbye(receiver)
        assert usage[0].from_sender == sum(map(len, whole))

    trio.run(run)


async def test_pings_of_either_side_are_answered_in_between() -> None:
    async with clients() as (sender, receiver, _):
        await express(sender, receiver)
        await receiver.send(Ping(payload=b"from the receiver"))
        assert (await receiver.expect(Pong)).payload == b"from the receiver"
        await sender.raw(frame(PING, b"from the sender") + frame(BINARY, bytes(LONG)))
        assert (await sender.expect(Pong)).payload == b"from the sender"
        assert await receiver.message() == bytes(LONG)
        await express(sender, receiver)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(flood, sender)
            await receiver.send(Ping(payload=b"while it flows"))
            while not isinstance(event := await receiver.next(), Pong):
                assert event is not None
            nursery.cancel_scope.cancel()
        await sender.stream.aclose()
        await goodbye(receiver)


@movable_time()
async def test_the_relay_pings_a_sender_that_is_silent_on_the_express_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(transport_limits, "KEEPALIVE_INTERVAL", 2.0)
    monkeypatch.setattr(transport_limits, "KEEPALIVE_TIMEOUT", 5.0)
    async with clients() as (sender, receiver, usage), trio.open_nursery() as nursery:
        await express(sender, receiver)
        nursery.start_soon(let_pass, 2.0 + 5.0 + 2.0)
        while not isinstance(event := await receiver.next(), CloseConnection):  # the sender answers no ping
            assert isinstance(event, Ping)
            await receiver.send(event.response())
        assert event.code == CloseCode.PEER_LOST
    assert usage[0].outcome is Outcome.SENDER_LOST


async def test_a_quota_ends_it_and_nothing_beyond_is_passed_on() -> None:
    account = Account()
    account.set_terms(None, 4 * BIG)
    async with clients(pairing_limits=PairingLimits([], [account])) as (
        sender,
        receiver,
        usage,
    ):
        got = 0

        async def read() -> None:
            nonlocal got
            while not isinstance(event := await receiver.next(), CloseConnection):
                assert event is not None
                got += len(cast("bytes", getattr(event, "data", b"")))
            assert event.code == CloseCode.QUOTA_USED

        async with trio.open_nursery() as nursery:
            nursery.start_soon(flood, sender)
            await read()
            await receiver.stream.aclose()
            assert await goodbye(sender) == CloseCode.QUOTA_USED
            await sender.stream.aclose()
    assert usage[0].outcome is Outcome.QUOTA_USED
    assert account.used == usage[0].from_sender == got
    assert 3 * BIG < got <= 4 * BIG


async def test_a_rate_holds_the_next_message_back_and_a_stop_waits_for_no_payment() -> None:
    pairings: list[Pairing] = []
    async with clients(pairings.append, pairing_limits=PairingLimits([FairQueue(1000.0)])) as (
        sender,
        receiver,
        usage,
    ):
        for _ in range(2):  # the first one is paid by the burst, and its debt is not
            await sender.raw(frame(BINARY, bytes(LONG)))
        assert await receiver.message() == bytes(LONG)
        await until(lambda: pairings[0]._sender.is_limited)
        sent = pairings[0].sent
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert pairings[0].sent == sent
        pairings[0].stop()
        assert await both_ended(sender, receiver) == [CloseCode.STOPPING] * 2
    assert usage[0].outcome is Outcome.STOPPED


async def test_what_is_paid_for_is_what_has_moved() -> None:
    paying = PairingLimits([FairQueue(1e12)])
    async with clients(pairing_limits=paying) as (sender, receiver, usage):
        await express(sender, receiver)
        await express(sender, receiver)
        await sender.stream.aclose()
        await goodbye(receiver)
    (flow,) = paying._flows
    assert flow.tag + paying._owed == usage[0].from_sender == 4 * BIG


async def test_a_receiver_that_stops_reading_is_seen_and_bounds_what_is_held(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "REPORT_STALL_AFTER", 0.1)
    pairings: list[Pairing] = []
    async with clients(pairings.append) as (sender, receiver, usage):
        (pairing,) = pairings
        await express(sender, receiver)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(flood, sender)

            def is_seen() -> bool:
                pairing.check()
                return pairing._sender.state is FlowState.UNTAKEN

            await until(is_seen)
            assert pairing.is_stalled
            assert pairing.undelivered_since < math.inf
            assert 0 < pairing.held <= 2 * transport_limits.PIPE_SIZE
            pairing.free_memory()
            assert await goodbye(sender) == CloseCode.MEMORY_NEEDED
            await sender.stream.aclose()
        await goodbye(receiver)
        await receiver.stream.aclose()
    assert usage[0].outcome is Outcome.MEMORY_NEEDED


@pytest.mark.parametrize("where", ["between messages", "inside a frame", "while it flows"])
async def test_a_stop_tells_both_and_leaves_no_frame_half_sent(where: str) -> None:
    pairings: list[Pairing] = []
    async with clients(pairings.append) as (sender, receiver, usage):
        await express(sender, receiver)
        async with trio.open_nursery() as nursery:
            if where == "inside a frame":
                await sender.raw(frame(BINARY, bytes(BIG))[: LONG + 1000])
                await trio.testing.wait_all_tasks_blocked(0.01)
            elif where == "while it flows":
                nursery.start_soon(flood, sender)
                await trio.testing.wait_all_tasks_blocked(0.01)
            pairings[0].stop()
            assert await both_ended(sender, receiver) == [CloseCode.STOPPING] * 2
    assert usage[0].outcome is Outcome.STOPPED


@pytest.mark.parametrize("cut", [1, LONG // 2, LONG + 1000, BIG])
async def test_a_sender_that_is_lost_inside_a_frame_leaves_whole_frames(cut: int) -> None:
    async with clients() as (sender, receiver, usage):
        await express(sender, receiver)
        await sender.raw(frame(BINARY, bytes(BIG))[:cut])
        await sender.stream.aclose()
        assert await goodbye(receiver) == CloseCode.PEER_LOST
        await receiver.stream.aclose()
    assert usage[0].outcome is Outcome.SENDER_LOST
    assert 2 * BIG <= usage[0].from_sender < 3 * BIG


async def test_a_receiver_that_is_lost_is_told_to_the_sender() -> None:
    async with clients() as (sender, receiver, usage):
        await express(sender, receiver)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(flood, sender)
            await receiver.next()
            await receiver.stream.aclose()
            assert await goodbye(sender) in (CloseCode.PEER_LOST, 1006)  # a reset may overtake it
            await sender.stream.aclose()
    assert usage[0].outcome is Outcome.RECEIVER_LOST


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(frame(TEXT, b"x" * 20), id="text"),
        pytest.param(frame(TEXT, b"x" * LONG), id="long text"),
    ],
)
async def test_text_ends_it_as_ever(bad: bytes) -> None:
    async with clients() as (sender, receiver, usage):
        await express(sender, receiver)
        await sender.raw(frame(BINARY, bytes(LONG)) + bad)
        assert await receiver.message() == bytes(LONG)
        codes = await both_ended(sender, receiver)
    assert codes == [1003, CloseCode.PEER_LOST]
    assert usage[0].outcome is Outcome.SENDER_MISBEHAVED


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        pytest.param(frame(BINARY, bytes(BIG + 1))[:14], 1009, id="too long"),
        pytest.param(frame(BINARY, bytes(LONG), masked=False)[:14], 1002, id="not masked"),
        pytest.param(frame(0, bytes(LONG))[:14], 1002, id="goes on without a beginning"),
        pytest.param(b"\xc2" + frame(BINARY, bytes(LONG))[1:14], 1002, id="reserved bit"),
        pytest.param(b"\x82\xff" + (5).to_bytes(8, "big") + bytes(4), 1002, id="length is not shortest"),
        pytest.param(frame(BINARY, bytes(LONG), final=False) + frame(BINARY, bytes(LONG)), 1002, id="inside"),
    ],
)
async def test_a_frame_that_breaks_the_rules_ends_it_with_its_code(bad: bytes, code: int) -> None:
    async with clients() as (sender, receiver, usage):
        await express(sender, receiver)
        await sender.raw(bad)
        assert (await both_ended(sender, receiver)) == [code, CloseCode.PEER_LOST]
    assert usage[0].outcome is Outcome.SENDER_MISBEHAVED
    assert usage[0].from_sender <= 2 * BIG + LONG


async def test_a_report_goes_out_between_messages_while_the_next_one_is_awaited(
    monkeypatch: pytest.MonkeyPatch, taken: list[int]
) -> None:
    monkeypatch.setattr(limits, "REPORT_STALL_AFTER", 0.1)
    pairings: list[Pairing] = []
    async with clients(pairings.append, reports=(False, True)) as (sender, receiver, _):
        await express(sender, receiver)
        left = taken.count(0)
        while pairings[0]._receiver.reported == FlowReport():
            pairings[0].check()
            await trio.sleep(0.01)
        report = decode_flow_report(cast("str", await receiver.message()))
        assert report is not None
        assert report.back is FlowState.SILENT
        message = os.urandom(BIG)
        await sender.raw(frame(BINARY, message))
        assert await receiver.message() == message
        assert taken.count(0) == left, "the message did not leave the express way for that"
        await sender.stream.aclose()
        await goodbye(receiver)


async def test_no_report_goes_out_inside_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REPORT_STALL_AFTER", 0.1)
    pairings: list[Pairing] = []
    async with clients(pairings.append, reports=(False, True)) as (sender, receiver, _):
        (pairing,) = pairings
        await express(sender, receiver)
        message = os.urandom(BIG)
        whole = frame(BINARY, message)
        await sender.raw(whole[: 2 * LONG])

        def is_still() -> bool:
            pairing.check()
            return pairing._sender.state is FlowState.SILENT

        await until(is_still)
        pairing.check()
        assert pairing._receiver.reported == FlowReport()
        await sender.raw(whole[2 * LONG :])
        assert await receiver.message() == message
        await sender.stream.aclose()
        await goodbye(receiver)


@pytest.mark.parametrize("who", ["sender", "receiver"])
async def test_a_side_that_closes_properly_ends_it_properly(who: str) -> None:
    async with clients() as (sender, receiver, usage):
        await express(sender, receiver)
        closing, other = (sender, receiver) if who == "sender" else (receiver, sender)
        await closing.send(CloseConnection(code=1000))
        codes = await both_ended(closing, other)
    assert codes == [1000, 1000]
    assert usage[0].outcome is Outcome.COMPLETE
    assert usage[0].from_sender == 2 * BIG
