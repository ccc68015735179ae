"""What a pairing forwards, and with which outcome it ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.lowlevel
from trio.testing import memory_stream_pair
from wsproto.events import BytesMessage, CloseConnection

from p2p_copy.protocol import rendezvous
from p2p_copy.protocol.rendezvous import CloseCode, Role
from p2p_copy.relay import limits
from p2p_copy.relay.pairing import Outcome, Pairing
from p2p_copy.transport.endpoints import accept
from p2p_copy.transport.link import Link, LinkBroken
from tests.support.links import connect, serving
from tests.support.pairings import BIG, PAIRED, broken, ended, paired, raw_clients
from tests.support.websocket import BINARY, TEXT, frame, virtual_time

if TYPE_CHECKING:
    from p2p_copy.transport.tcp import TCPStream


async def test_messages_pass_both_ways_unchanged_and_in_order() -> None:
    async with paired() as pair:
        for source, target in (pair.clients, pair.clients[::-1]):
            for size in (0, 1, 125, 126, 65535, 65536, BIG):
                message = bytes([size % 256]) * size
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(source.send, message)
                    assert await target.receive() == message


async def test_a_sender_that_closes_completes_the_pair_and_its_tail_arrives() -> None:
    messages = [b"%d" % number for number in range(100)]
    async with paired() as pair:

        async def send() -> None:
            for message in messages:
                await pair.sender.send(message)
            await pair.sender.aclose()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            assert await ended(pair.receiver) == messages
        await pair.over.wait()
        assert pair.outcome is Outcome.COMPLETE


async def talk(link: Link) -> None:
    """Send until the link ends."""
    try:
        while True:
            await link.send(bytes(BIG))
    except LinkBroken:
        return


async def test_a_receiver_that_closes_completes_the_pair_while_the_sender_talks() -> None:
    async with paired() as pair:
        await pair.receiver.send(b"enough")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(talk, pair.sender)
            await pair.receiver.receive()
            nursery.start_soon(pair.receiver.aclose)
            assert await ended(pair.sender) == [b"enough"]
        await pair.over.wait()
        assert pair.outcome is Outcome.COMPLETE


async def test_the_room_is_free_as_soon_as_the_outcome_is_known() -> None:
    async with paired() as pair:
        await pair.sender.send(b"tail")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pair.sender.aclose)
            await pair.ended_early.wait()
            assert not pair.over.is_set()
            assert await ended(pair.receiver) == [b"tail"]


@pytest.mark.parametrize("side", [0, 1])
async def test_a_lost_side_ends_the_pair_at_once_and_the_other_one_is_told(side: int) -> None:
    async with paired() as pair:
        pair.clients[side].abort()
        assert await broken(pair.clients[1 - side]) == CloseCode.PEER_LOST
        await pair.over.wait()
        assert pair.outcome is (Outcome.SENDER_LOST, Outcome.RECEIVER_LOST)[side]


async def test_a_lost_receiver_is_noticed_in_the_middle_of_a_message() -> None:
    async with paired() as pair:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(talk, pair.sender)
            await pair.receiver.receive()
            pair.receiver.abort()
            assert await broken(pair.sender) == CloseCode.PEER_LOST
        await pair.over.wait()
        assert pair.outcome is Outcome.RECEIVER_LOST


@pytest.mark.parametrize("side", [0, 1])
async def test_a_side_that_says_text_misbehaves(side: int) -> None:
    async with paired() as pair:
        await pair.clients[side].send("text")
        assert await broken(pair.clients[side]) == 1003
        assert await broken(pair.clients[1 - side]) == CloseCode.PEER_LOST
        await pair.over.wait()
        assert pair.outcome is (Outcome.SENDER_MISBEHAVED, Outcome.RECEIVER_MISBEHAVED)[side]


@pytest.mark.parametrize("side", [0, 1])
async def test_a_side_whose_message_is_too_long_misbehaves_and_is_told_so(side: int) -> None:
    async with paired() as pair:
        await pair.clients[side].send(bytes(BIG + 1))
        assert await broken(pair.clients[side]) == 1009
        assert await broken(pair.clients[1 - side]) == CloseCode.PEER_LOST
        await pair.over.wait()
        assert pair.outcome is (Outcome.SENDER_MISBEHAVED, Outcome.RECEIVER_MISBEHAVED)[side]


async def test_broken_frames_are_misbehaviour() -> None:
    async with paired() as pair:
        await pair.sender._stream.send_all(frame(BINARY, b"x", masked=False))
        assert await broken(pair.receiver) == CloseCode.PEER_LOST
        await pair.over.wait()
        assert pair.outcome is Outcome.SENDER_MISBEHAVED


async def test_a_stop_tells_both_after_what_was_in_flight() -> None:
    async with paired() as pair:
        await pair.sender.send(b"in flight")
        assert await pair.receiver.receive() == b"in flight"
        assert pair.pairing is not None
        pair.pairing.stop()
        async with trio.open_nursery() as nursery:
            for client in pair.clients:
                nursery.start_soon(_assert_broken_with, client, CloseCode.STOPPING)
        await pair.over.wait()
        assert pair.outcome is Outcome.STOPPED


async def _assert_broken_with(link: Link, code: int) -> None:
    assert await broken(link) == code


async def test_a_stop_before_the_start_is_a_stop() -> None:
    async with paired(greeted=False, stop_first=True) as pair:
        async with trio.open_nursery() as nursery:
            for client in pair.clients:
                nursery.start_soon(_assert_broken_with, client, CloseCode.STOPPING)
        await pair.over.wait()
        assert pair.outcome is Outcome.STOPPED


@pytest.mark.parametrize(("side", "role"), [(0, Role.SENDER), (1, Role.RECEIVER)])
async def test_a_side_that_reconnects_ends_the_pair_as_if_it_were_lost(side: int, role: Role) -> None:
    async with paired() as pair:
        assert pair.pairing is not None
        pair.pairing.lose(role)
        assert pair.ended_early.is_set()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_assert_broken_with, pair.clients[side], CloseCode.REPLACED)
            nursery.start_soon(_assert_broken_with, pair.clients[1 - side], CloseCode.PEER_LOST)
        await pair.over.wait()
        assert pair.outcome is (Outcome.SENDER_LOST, Outcome.RECEIVER_LOST)[side]


@virtual_time()
async def test_a_tail_that_is_not_taken_is_not_complete() -> None:
    async with raw_clients() as (sender, _, usage):
        began = trio.current_time()
        await sender.send(b"tail")
        await sender.send(CloseConnection(code=1000))
        assert await sender.ending() == 1000
    assert trio.current_time() - began == pytest.approx(limits.TAIL_TIMEOUT)
    assert usage[0].outcome is Outcome.RECEIVER_LOST


SAID = pytest.mark.parametrize(
    ("code", "outcome"),
    [(CloseCode.GIVEN_UP, Outcome.GIVEN_UP), (CloseCode.WRONG_CODE, Outcome.WRONG_CODE)],
)


@SAID
@pytest.mark.parametrize("side", [0, 1])
async def test_a_side_that_says_why_it_closes_is_believed_and_its_last_words_arrive(
    side: int, code: int, outcome: Outcome
) -> None:
    async with paired() as pair:
        await pair.clients[side].send(b"last words")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pair.clients[side].close, code)
            assert await ended(pair.clients[1 - side]) == [b"last words"]
        await pair.over.wait()
        assert pair.outcome is outcome


@SAID
@virtual_time()
async def test_what_one_side_calls_complete_the_other_one_may_deny(code: int, outcome: Outcome) -> None:
    async with raw_clients() as (sender, receiver, usage):
        await sender.send(b"tail")
        await sender.send(CloseConnection(code=1000))
        await trio.testing.wait_all_tasks_blocked()
        await receiver.send(CloseConnection(code=code))
        assert await receiver.ending() == code
    assert usage[0].outcome is outcome


@virtual_time()
async def test_a_pair_that_was_given_up_is_that_even_if_the_last_words_are_not_heard() -> None:
    async with raw_clients() as (sender, _, usage):
        await sender.send(b"last words")
        await sender.send(CloseConnection(code=CloseCode.GIVEN_UP))
        assert await sender.ending() == CloseCode.GIVEN_UP
    assert usage[0].outcome is Outcome.GIVEN_UP


async def test_usage_tells_what_passed() -> None:
    async with paired() as pair:
        await pair.sender.send(b"12345")
        await pair.receiver.receive()
        await pair.receiver.send(b"123")
        await pair.sender.receive()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pair.receiver.aclose)
            assert await ended(pair.sender) == []
        await pair.over.wait()
        assert pair.usage is not None
        assert (pair.usage.from_sender, pair.usage.from_receiver) == (5, 3)
        assert pair.usage.seconds >= 0


@virtual_time()
async def test_a_side_lost_in_the_middle_of_a_message_is_reported() -> None:
    async with raw_clients(memory_stream_pair) as (sender, receiver, usage):
        await sender.raw(frame(BINARY, bytes(BIG))[: BIG // 2])
        await receiver.expect(BytesMessage)
        await sender.stream.aclose()
        assert await receiver.ending() == CloseCode.PEER_LOST
    assert usage[0].outcome is Outcome.SENDER_LOST


async def test_legacy_greets_the_sender_alone_and_passes_text() -> None:
    async with paired(legacy=True, greeted=False) as pair:
        assert await pair.sender.receive() == rendezvous.READY
        messages: list[bytes | str] = ["manifest", b"chunk", "x😀" * 190_000, "", "eof"]
        for message in messages:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(pair.sender.send, message)
                assert await pair.receiver.receive() == message
        size = sum(len(one.encode()) if isinstance(one, str) else len(one) for one in messages)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pair.sender.aclose)
            assert await ended(pair.receiver) == []
        await pair.over.wait()
        assert pair.outcome is Outcome.COMPLETE
        assert pair.usage is not None
        assert pair.usage.from_sender == size, "bytes, not characters"


async def test_invalid_text_is_misbehaviour_however_late_that_shows() -> None:
    async with paired(legacy=True, greeted=False) as pair:
        assert await pair.sender.receive() == rendezvous.READY
        wrong = b"x" * 300_000 + b"\xff"
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pair.sender._stream.send_all, frame(TEXT, wrong))
            assert await broken(pair.receiver) == CloseCode.PEER_LOST
            assert await broken(pair.sender) == 1007
        await pair.over.wait()
        assert pair.outcome is Outcome.SENDER_MISBEHAVED


async def test_a_pairing_that_is_cancelled_cuts_both(monkeypatch: pytest.MonkeyPatch) -> None:
    cancelled: dict[str, Any] = {}

    async def handle(stream: TCPStream) -> None:
        async with accept(stream, max_message=BIG) as (_, link):
            cancelled.setdefault("links", []).append(link)
            if len(cancelled["links"]) == 2:
                with trio.CancelScope() as scope:
                    cancelled["scope"] = scope
                    pairing = Pairing(*cancelled["links"], legacy=False, on_end=lambda: None)
                    await pairing.run()
                for each in cancelled["links"]:
                    each.abort()
            await trio.sleep_forever()

    async with serving(handle) as address, connect(address, "/") as sender:
        await trio.testing.wait_all_tasks_blocked()
        async with connect(address, "/") as receiver:
            assert await sender.receive() == PAIRED
            assert await receiver.receive() == PAIRED
            cancelled["scope"].cancel()
            assert await broken(sender) == 1006
            assert await broken(receiver) == 1006
