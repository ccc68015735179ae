from __future__ import annotations

import os
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

import anyio
import pytest
import trio
import trio.lowlevel
from trio.testing import lockstep_stream_pair, memory_stream_pair
from wsproto.events import BytesMessage, CloseConnection

from p2p_copy.protocol import rendezvous
from p2p_copy.protocol.rendezvous import CloseCode, Paired, Role
from p2p_copy.relay import limits
from p2p_copy.relay.pairing import Outcome, Pairing, Usage
from p2p_copy.transport import codec, limits as transport_limits
from p2p_copy.transport.codec import Opcode
from p2p_copy.transport.endpoints import accept
from p2p_copy.transport.link import Link, LinkBroken
from p2p_copy.transport.splice import CAN_SPLICE
from p2p_copy.transport.tcp import TCPStream
from tests.support.links import connect, serving
from tests.support.websocket import BINARY, TEXT, RawClient, frame, virtual_time

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from p2p_copy.transport.codec import Piece
    from p2p_copy.transport.splice import SplicedBytes, SplicePipe

PAIRED = rendezvous.encode(Paired())
BIG = 1_000_000


class Pair:
    """A pairing that runs between two real sockets, and the clients' ends of them."""

    def __init__(self) -> None:
        self.clients: list[Link] = []
        self.pairing: Pairing | None = None
        self.usage: Usage | None = None
        self.ended_early = trio.Event()
        self.over = trio.Event()

    @property
    def sender(self) -> Link:
        return self.clients[0]

    @property
    def receiver(self) -> Link:
        return self.clients[1]

    @property
    def outcome(self) -> Outcome:
        assert self.usage is not None
        return self.usage.outcome


@asynccontextmanager
async def paired(
    *, legacy: bool = False, greeted: bool = True, stop_first: bool = False
) -> AsyncIterator[Pair]:
    pair = Pair()
    to_pair, arrived = trio.open_memory_channel[Link](2)

    async def handle(stream: TCPStream) -> None:
        async with accept(stream, max_message=BIG, piece=transport_limits.RELAY_PIECE) as (_, link):
            await to_pair.send(link)
            await pair.over.wait()

    async def run(pairing: Pairing) -> None:
        pair.usage = await pairing.run()
        pair.over.set()

    with trio.fail_after(30):
        async with serving(handle) as address, connect(address, "/") as sender:
            at_sender = await arrived.receive()
            async with connect(address, "/") as receiver:
                at_receiver = await arrived.receive()
                pair.clients = [sender, receiver]
                pair.pairing = Pairing(at_sender, at_receiver, legacy=legacy, on_end=pair.ended_early.set)
                if stop_first:
                    pair.pairing.stop()
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(run, pair.pairing)
                    if greeted:
                        assert await sender.receive() == PAIRED
                        assert await receiver.receive() == PAIRED
                    yield pair
                    for client in pair.clients:
                        client.abort()


async def broken(link: Link) -> int:
    """Receive until the link breaks; return the close code."""
    with pytest.raises(LinkBroken) as caught:
        await drain(link)
    return caught.value.close_code


async def drain(link: Link) -> None:
    while True:
        await link.receive()


async def ended(link: Link) -> list[bytes | str]:
    """Return all messages until the proper end."""
    messages = []
    while True:
        try:
            messages.append(await link.receive())
        except anyio.EndOfStream:
            return messages


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


# Backpressure


@asynccontextmanager
async def raw_clients(
    streams: Callable[[], tuple[trio.abc.Stream, trio.abc.Stream]] = lockstep_stream_pair,
    made: Callable[[Pairing], None] = lambda pairing: None,
    reports: tuple[bool, bool] = (False, False),
) -> AsyncIterator[tuple[RawClient, RawClient, list[Usage]]]:
    """Yield a sender and a receiver, paired, over streams that hold no byte in between unless told otherwise."""
    sender_stream, at_sender_stream = streams()
    receiver_stream, at_receiver_stream = streams()
    sender, receiver = RawClient(sender_stream), RawClient(receiver_stream)
    usage: list[Usage] = []

    async def run() -> None:
        async with (
            accept(at_sender_stream, max_message=BIG, piece=transport_limits.RELAY_PIECE) as (_, at_sender),
            accept(at_receiver_stream, max_message=BIG) as (_, at_receiver),
        ):
            pairing = Pairing(at_sender, at_receiver, legacy=False, on_end=lambda: None, reports=reports)
            made(pairing)
            usage.append(await pairing.run())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        await sender.upgrade()
        await receiver.upgrade()
        assert await sender.message() == PAIRED
        assert await receiver.message() == PAIRED
        yield sender, receiver, usage


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


# Ducts


@pytest.fixture
def passed_by(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Collect the sizes of the parcels that pairings make."""
    sizes: list[int] = []
    receive = TCPStream.receive_spliced

    async def watched(stream: TCPStream, duct: SplicePipe, most: int, least: int) -> SplicedBytes | None:
        parcel = await receive(stream, duct, most, least)
        if parcel is not None:
            sizes.append(len(parcel))
        return parcel

    monkeypatch.setattr(TCPStream, "receive_spliced", watched)
    return sizes


@pytest.mark.skipif(not CAN_SPLICE, reason="this system has no splicing")
async def test_long_messages_pass_by_unchanged_between_others(passed_by: list[int]) -> None:
    messages = [os.urandom(size) for size in (10, BIG, 70_000, 20_000, 1, BIG, BIG, 65_536, 300)] * 5
    async with paired() as pair:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(say_all, pair.sender, messages)
            assert await ended(pair.receiver) == messages
        await pair.over.wait()
    assert pair.usage is not None
    assert pair.usage.from_sender == sum(map(len, messages))
    assert pair.outcome is Outcome.COMPLETE
    assert sum(passed_by) > BIG


async def say_all(link: Link, messages: list[bytes]) -> None:
    for message in messages:
        await link.send(message)
    await link.aclose()


def loopback_pair() -> tuple[TCPStream, TCPStream]:
    """Return both ends of a connection over loopback."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        ours = socket.create_connection(server.getsockname())
        theirs, _ = server.accept()
    ours_, theirs_ = (
        TCPStream(trio.SocketStream(trio.socket.from_stdlib_socket(one))) for one in (ours, theirs)
    )
    return ours_, theirs_


@pytest.mark.skipif(not CAN_SPLICE, reason="this system has no splicing")
async def test_a_message_that_trickles_in_is_not_cut_into_too_many_fragments(passed_by: list[int]) -> None:
    whole = frame(BINARY, bytes(BIG))
    async with raw_clients(loopback_pair) as (sender, receiver, usage):
        for at in range(0, len(whole), 10_000):
            await sender.raw(whole[at : at + 10_000])
            await trio.testing.wait_all_tasks_blocked()
        assert await receiver.message() == bytes(BIG)
        await sender.stream.aclose()
        await receiver.ending()
        await receiver.stream.aclose()
    assert sum(passed_by) > BIG / 2
    assert all(part >= transport_limits.RELAY_PIECE for part in passed_by)
    assert usage[0].from_sender == BIG


@pytest.mark.skipif(not CAN_SPLICE, reason="this system has no splicing")
async def test_masked_messages_are_unmasked_and_do_not_pass_by(passed_by: list[int]) -> None:
    message = os.urandom(BIG)
    async with raw_clients(loopback_pair) as (sender, receiver, _):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sender.raw, codec.encode(Opcode.BINARY, message, b"mask"))
            assert await receiver.message() == message
        await sender.stream.aclose()
        await receiver.ending()
        await receiver.stream.aclose()
    assert passed_by == []


@pytest.mark.skipif(not CAN_SPLICE, reason="this system cannot splice")
async def test_a_sender_to_a_receiver_that_is_gone_goes_on_until_it_meets_the_goodbye(
    passed_by: list[int],
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
    assert passed_by
    assert pair.outcome is Outcome.COMPLETE
    assert len(os.listdir("/proc/self/fd")) <= before


@pytest.mark.skipif(not CAN_SPLICE, reason="this system has no splicing")
async def test_a_sender_that_the_relay_does_not_read_is_not_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The receiver's disk stalls, say: the sender's pong lies behind a parcel that has nowhere to go."""
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


# Pieces


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
async def test_a_side_lost_in_the_middle_of_a_message_is_reported() -> None:
    async with raw_clients(memory_stream_pair) as (sender, receiver, usage):
        await sender.raw(frame(BINARY, bytes(BIG))[: BIG // 2])
        await receiver.expect(BytesMessage)
        await sender.stream.aclose()
        assert await receiver.ending() == CloseCode.PEER_LOST
    assert usage[0].outcome is Outcome.SENDER_LOST


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


# The legacy form


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
