"""What a pairing splices inside the kernel arrives unchanged, in fragments of a good size, and hides no lost client."""

from __future__ import annotations

import os

import pytest
import trio
import trio.lowlevel

from p2p_copy.relay.pairing import Outcome
from p2p_copy.transport import codec, limits as transport_limits
from p2p_copy.transport.codec import Opcode
from p2p_copy.transport.link import Link, LinkBroken
from p2p_copy.transport.splice import CAN_SPLICE
from tests.support.pairings import BIG, ended, loopback_pair, paired, raw_clients, watch_splicers
from tests.support.websocket import BINARY, frame

SPLICES = pytest.mark.skipif(not CAN_SPLICE, reason="this system cannot splice")


@pytest.fixture
def spliced(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Collect the sizes of what pairings splice."""
    return watch_splicers(monkeypatch)


@SPLICES
async def test_long_messages_are_spliced_and_arrive_unchanged_between_others(spliced: list[int]) -> None:
    messages = [os.urandom(size) for size in (10, BIG, 70_000, 20_000, 1, BIG, BIG, 65_536, 300)] * 5
    async with paired() as pair:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(say_all, pair.sender, messages)
            assert await ended(pair.receiver) == messages
        await pair.over.wait()
    assert pair.usage is not None
    assert pair.usage.from_sender == sum(map(len, messages))
    assert pair.outcome is Outcome.COMPLETE
    assert sum(spliced) > BIG


async def say_all(link: Link, messages: list[bytes]) -> None:
    for message in messages:
        await link.send(message)
    await link.aclose()


@SPLICES
async def test_a_message_that_trickles_in_is_not_cut_into_too_many_fragments(spliced: list[int]) -> None:
    whole = frame(BINARY, bytes(BIG))
    async with raw_clients(loopback_pair) as (sender, receiver, usage):
        for at in range(0, len(whole), 10_000):
            await sender.raw(whole[at : at + 10_000])
            await trio.testing.wait_all_tasks_blocked()
        assert await receiver.message() == bytes(BIG)
        await sender.stream.aclose()
        await receiver.ending()
        await receiver.stream.aclose()
    assert sum(spliced) > BIG / 2
    *parts, _ = filter(None, spliced)
    assert all(part >= transport_limits.RELAY_PIECE for part in parts), "and the rest of the message"
    assert usage[0].from_sender == BIG


@SPLICES
async def test_masked_messages_are_unmasked_and_not_spliced(spliced: list[int]) -> None:
    message = os.urandom(BIG)
    async with raw_clients(loopback_pair) as (sender, receiver, _):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sender.raw, codec.encode(Opcode.BINARY, message, b"mask"))
            assert await receiver.message() == message
        await sender.stream.aclose()
        await receiver.ending()
        await receiver.stream.aclose()
    assert not any(spliced)


@SPLICES
async def test_a_sender_to_a_receiver_that_is_gone_goes_on_until_it_meets_the_goodbye(
    spliced: list[int],
) -> None:
    before = len(os.listdir("/proc/self/fd"))
    async with paired() as pair:
        async with trio.open_nursery() as nursery:
            await pair.sender.send(bytes(BIG))
            assert await pair.receiver.receive() == bytes(BIG)
            nursery.start_soon(pair.receiver.aclose)
            with pytest.raises(LinkBroken) as caught:
                await say_all(pair.sender, [bytes(BIG)] * 1000)
        assert caught.value.close_code == 1000
        await pair.over.wait()
    assert any(spliced)
    assert pair.outcome is Outcome.COMPLETE
    assert len(os.listdir("/proc/self/fd")) <= before


@SPLICES
async def test_a_sender_that_the_relay_does_not_read_is_not_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The receiver's disk stalls, say: the sender's pong lies behind a piece that has nowhere to go."""
    monkeypatch.setattr(transport_limits, "KEEPALIVE_INTERVAL", 0.1)
    monkeypatch.setattr(transport_limits, "KEEPALIVE_TIMEOUT", 0.3)
    async with raw_clients(loopback_pair) as (sender, receiver, usage):
        async with trio.open_nursery() as nursery:
            with trio.move_on_after(1.5):  # many times what a silent one is given
                while True:
                    await sender.raw(frame(BINARY, bytes(BIG)))
            assert not usage, "it took the sender for dead"
            nursery.cancel_scope.cancel()
        await sender.stream.aclose()
        await receiver.stream.aclose()
    assert usage
