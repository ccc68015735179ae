"""What is in flight in a pairing: how much, how soon it moves on, and what is waited for at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest
import trio
import trio.lowlevel
from trio.testing import memory_stream_pair
from wsproto.events import BytesMessage, CloseConnection

from p2p_copy.protocol.rendezvous import CloseCode, Role
from p2p_copy.relay.pairing import Outcome, Pairing
from p2p_copy.transport import limits as transport_limits
from tests.support.pairings import BIG, raw_clients
from tests.support.websocket import BINARY, TEXT, frame, virtual_time

if TYPE_CHECKING:
    from p2p_copy.transport.codec import Piece


@virtual_time()
async def test_behind_a_receiver_that_does_not_read_two_messages_are_in_flight_and_no_more() -> None:
    async with raw_clients() as (sender, receiver, usage):
        taken = 0
        with trio.move_on_after(1):
            while True:
                await sender.send(bytes(1000))
                taken += 1
        await receiver.stream.aclose()
        assert (await sender.expect(CloseConnection)).code == CloseCode.PEER_LOST
        await sender.stream.aclose()
    assert taken == 2 + 1, "two in the pairing, and one that the sender's link has put together"
    assert usage[0].outcome is Outcome.RECEIVER_LOST


@virtual_time()
async def test_a_message_is_on_its_way_before_its_end_has_come() -> None:
    message = bytes(range(250)) * (BIG // 250)
    whole = frame(BINARY, message)
    async with raw_clients(memory_stream_pair) as (sender, receiver, usage):
        await sender.raw(whole[: BIG // 2])
        part = (await receiver.expect(BytesMessage)).data
        assert 0 < len(part) < BIG // 2
        assert part == message[: len(part)]
        await sender.raw(whole[BIG // 2 :])
        assert part + cast("bytes", await receiver.message()) == message
        await sender.stream.aclose()
        await receiver.ending()
    assert usage[0].from_sender == BIG


@virtual_time()
async def test_many_small_messages_move_as_one_batch_and_arrive_one_by_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    messages = [b"%d" % number for number in range(transport_limits.FRAMES_A_TRIP)]
    batches: list[int] = []

    def watch(pairing: Pairing) -> None:
        link = pairing._receiver.link
        send_pieces = link.send_pieces

        async def send(batch: list[Piece]) -> None:
            batches.append(len(batch))
            await send_pieces(batch)

        monkeypatch.setattr(link, "send_pieces", send)

    async with raw_clients(memory_stream_pair, watch) as (sender, receiver, _):
        await sender.raw(b"".join(frame(BINARY, message) for message in messages))
        assert [await receiver.message() for _ in messages] == messages
        await sender.stream.aclose()
        await receiver.ending()
    assert batches == [1, len(messages)], "the greeting, and one read"


@pytest.mark.parametrize("role", Role)
@virtual_time()
async def test_the_survivor_need_not_wait_for_the_lost_link(role: Role) -> None:
    """A reconnecting client's old connection takes nothing and says nothing, as on a network that is gone."""
    pairings: list[Pairing] = []
    async with raw_clients(made=pairings.append) as (sender, receiver, usage):
        survivor, stuck = (receiver, sender) if role is Role.SENDER else (sender, receiver)
        await survivor.send(b"under way")
        await trio.testing.wait_all_tasks_blocked()
        began = trio.current_time()
        pairings[0].lose(role)
        assert await survivor.ending() == CloseCode.PEER_LOST
        assert trio.current_time() == began
        await trio.sleep(transport_limits.GOODBYE_TIMEOUT + 1)
        assert await stuck.ending() == 1006
    assert usage[0].outcome is (Outcome.SENDER_LOST if role is Role.SENDER else Outcome.RECEIVER_LOST)
    assert usage[0].seconds == pytest.approx(transport_limits.GOODBYE_TIMEOUT)


@virtual_time()
async def test_a_side_that_does_not_read_is_cut_when_the_pair_ends() -> None:
    async with raw_clients() as (sender, _, usage):
        await sender.send(b"stuck")
        await trio.testing.wait_all_tasks_blocked()
        await sender.raw(frame(TEXT, b"forbidden"))
        began = trio.current_time()
        assert await sender.ending() == 1003
    assert trio.current_time() - began == pytest.approx(transport_limits.GOODBYE_TIMEOUT)
    assert usage[0].outcome is Outcome.SENDER_MISBEHAVED
