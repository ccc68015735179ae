"""Links between both ends, and with a peer that does what it likes: messages, ends, cancelling, silence."""

from __future__ import annotations

import math
import struct
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import anyio
import pytest
import trio
from trio.testing import lockstep_stream_pair, memory_stream_pair, wait_all_tasks_blocked
from wsproto.events import BytesMessage, CloseConnection, Ping, Pong

from p2p_copy.transport import limits
from p2p_copy.transport.address import RelayAddress
from p2p_copy.transport.codec import Piece
from p2p_copy.transport.endpoints import accept
from p2p_copy.transport.link import Link, LinkBroken
from p2p_copy.units import KIB, MIB
from tests.support.links import MAX, accepted, connect, linked, serving
from tests.support.websocket import BINARY, CLOSE, PING, PONG, TEXT, RawClient, frame, pause, virtual_time

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from p2p_copy.transport.tcp import TCPStream

# Messages


async def test_messages_go_both_ways_and_keep_their_kind() -> None:
    async with linked() as (client, server):
        for message in ("text ä", "", b"binary", b"", b"x" * MAX):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(client.send, message)
                assert await server.receive() == message
                nursery.start_soon(server.send, message)
                assert await client.receive() == message


@virtual_time()
async def test_a_long_message_can_be_received_in_pieces() -> None:
    async with accepted(max_message=10_000, piece=100) as (link, client):
        whole = frame(BINARY, bytes(1000))
        for start, end in ((0, 108), (108, 600), (600, None)):
            await client.raw(whole[start:end])
            (piece,) = await link.receive_pieces()
            assert piece == Piece(bytes((end or len(whole)) - max(start, 8)), end is None)
        await client.send("text")
        await client.send(b"short")
        heard: list[Piece] = []
        while len(heard) < 2:
            heard += await link.receive_pieces()
        assert heard == [Piece(b"text", is_text=True), Piece(b"short")]


@virtual_time()
async def test_pieces_make_one_message_at_the_other_end_and_a_ping_may_come_between_them() -> None:
    async with accepted() as (link, client):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(link.send_pieces, [Piece(b"one "), Piece(b"two ", last=False)])
            assert await client.message() == b"one "
        async with trio.open_nursery() as nursery:
            nursery.start_soon(link.ping)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(link.send_pieces, [Piece(b"three"), Piece.whole("four")])
            assert await client.message() == b"two three"
            assert await client.message() == "four"


@virtual_time()
async def test_a_close_frame_may_come_in_the_middle_of_a_message() -> None:
    async with accepted() as (link, client):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(link.send_pieces, [Piece(b"begun", last=False)])
            await client.expect(BytesMessage)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(link.close, 4001, "gone")
            assert await client.ending() == 4001


@virtual_time()
async def test_the_pace_holds_for_what_one_read_brought() -> None:
    count = 4 * limits.FRAMES_A_TRIP
    async with accepted(pace=lambda frames: frames / limits.FRAMES_A_TRIP) as (link, client):
        began = trio.current_time()
        await client.raw(frame(BINARY, b"x") * count)
        taken = 0
        while taken < count:
            taken += len(await link.receive_pieces())
        assert trio.current_time() - began == pytest.approx(count / limits.FRAMES_A_TRIP - 1)


@virtual_time()
async def test_a_buffer_full_of_tiny_messages_leaves_other_tasks_their_turn() -> None:
    count = 10 * limits.FRAMES_A_TRIP
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with accepted() as (link, client), trio.open_nursery() as nursery:
        await client.raw(frame(BINARY, b"x") * count)
        nursery.start_soon(others)
        handfuls: list[int] = []
        while sum(handfuls) < count:
            handfuls.append(len(await link.receive_pieces()))
        nursery.cancel_scope.cancel()
    assert max(handfuls) == limits.FRAMES_A_TRIP
    assert turns >= len(handfuls) - 1


async def test_the_server_learns_the_path_below_the_prefix() -> None:
    async def handle(stream: TCPStream) -> None:
        async with accept(stream, max_message=MAX) as (path, link):
            await link.send(path)

    async with serving(handle) as address:
        below = RelayAddress(False, address.host, address.port, "/relay")
        async with connect(below, "/v1/room") as link:
            assert await link.receive() == "/relay/v1/room"


@pytest.mark.fault(52, "length bomb")
@virtual_time()
async def test_a_message_that_is_too_long_ends_the_link_with_code_1009() -> None:
    async with accepted() as (link, client):
        await client.send(bytes(MAX + 1))
        with pytest.raises(LinkBroken) as caught:
            await link.receive()
        assert caught.value.close_code == 1009
        assert await client.ending() == 1009


async def test_early_messages_have_a_smaller_limit_until_the_peer_is_trusted() -> None:
    async with accepted(early=10) as (link, client):
        await client.send(bytes(10))
        assert await link.receive() == bytes(10)
        link.lift_early_limit()
        await client.send(bytes(11))
        assert await link.receive() == bytes(11)
    async with accepted(early=10) as (link, client):
        await client.send(bytes(11))
        with pytest.raises(LinkBroken):
            await link.receive()
        assert await client.ending() == 1009


async def test_fragments_are_joined() -> None:
    async with accepted() as (link, client):
        pieces = [frame(BINARY, b"a", final=False), *[frame(0, b"b", final=False)] * 60, frame(0, b"c")]
        await client.raw(b"".join(pieces))
        assert await link.receive() == b"a" + b"b" * 60 + b"c"


@pytest.mark.parametrize("piece", [b"", b"x"])
async def test_endless_fragments_end_the_link(piece: bytes) -> None:
    async with accepted() as (link, client):
        await client.raw(frame(BINARY, piece, final=False) + frame(0, piece, final=False) * 100)
        with pytest.raises(LinkBroken):
            await link.receive()


# Backpressure


@asynccontextmanager
async def in_lockstep() -> AsyncIterator[tuple[Link, RawClient]]:
    """Yield a link and its client over streams that hold nothing: a send ends when the other end has read all of it."""
    ours, theirs = lockstep_stream_pair()
    client = RawClient(theirs)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.upgrade)
        async with accept(ours, max_message=MAX) as (_, link):
            await trio.testing.wait_all_tasks_blocked()
            yield link, client
            link.abort()


@virtual_time()
async def test_a_message_can_be_received_as_soon_as_it_is_whole() -> None:
    """Here the peer does not take the answer to its ping, so the reader is busy with that."""
    async with in_lockstep() as (link, client):
        await client.raw(frame(BINARY, b"first") + frame(BINARY, b"second") + frame(PING, b"?"))
        with trio.fail_after(1):
            assert await link.receive() == b"first"
            assert await link.receive() == b"second"


@virtual_time()
async def test_a_ping_is_answered_before_a_message_that_came_behind_it() -> None:
    """Autobahn's cases 5.6 to 5.8 and 5.19 want that."""
    async with accepted() as (link, client), trio.open_nursery() as nursery:

        async def echo() -> None:
            await link.send(await link.receive())

        nursery.start_soon(echo)
        await trio.testing.wait_all_tasks_blocked()
        await client.raw(frame(BINARY, b"one ", final=False) + frame(PING, b"?") + frame(0, b"message"))
        await client.expect(Pong)
        assert await client.message() == b"one message"


async def test_a_message_behind_a_ping_is_received_although_the_peer_has_gone() -> None:
    """Its ping can no longer be answered, and the message came before the peer went."""
    async with accepted() as (link, client):
        await client.raw(frame(PING, b"?") + frame(BINARY, b"last words"))
        await client.stream.aclose()
        with trio.fail_after(5):
            assert await link.receive() == b"last words"
            with pytest.raises((LinkBroken, anyio.EndOfStream)):
                await link.receive()


@virtual_time()
async def test_nothing_is_read_until_all_that_came_was_received() -> None:
    async with in_lockstep() as (link, client), trio.open_nursery() as nursery:
        read: list[int] = []

        async def send() -> None:
            for number in range(3):
                await client.raw(frame(BINARY, b"x") * 2)
                read.append(number)

        nursery.start_soon(send)
        for number in range(3):
            for _ in range(2):
                await trio.testing.wait_all_tasks_blocked()
                assert read == list(range(number + 1))
                assert await link.receive() == b"x"


async def test_with_room_a_client_reads_ahead_within_bounds() -> None:
    size, count = 300 * KIB, 30
    room = 3 * size
    messages = [bytes((number,)) * size for number in range(count)]
    async with linked() as (client, server), trio.open_nursery() as nursery:
        client.read_ahead(room, 8)

        async def send() -> None:
            for number, message in enumerate(messages):
                await server.send_pieces([Piece(message[:70_000], last=False), Piece(message[70_000:])])
                await server.ping()  # it comes with the payload before it
                await server.send(f"{number}")

        nursery.start_soon(send)
        while client._inbox.weight <= room:
            await wait_all_tasks_blocked(0.01)
        assert room < client._inbox.weight <= room + limits.RECEIVE_BUFFER
        heard: list[bytes | str] = []
        while len(heard) < 2 * count:
            some = await client.receive_some(3)
            assert 0 < len(some) <= 3
            heard += some
        assert heard[::2] == messages
        assert heard[1::2] == [str(number) for number in range(count)]


async def test_the_end_may_come_with_a_long_message() -> None:
    async with linked() as (client, server), trio.open_nursery() as nursery:
        client.read_ahead(MIB, 2)
        for last in (Piece(bytes(500 * KIB)), Piece(bytes(500 * KIB), last=False)):
            await server.send_pieces([last])
        nursery.start_soon(server.close, 1001)
        assert await client.receive() == bytes(500 * KIB)
        with pytest.raises(anyio.EndOfStream):
            await client.receive()


async def test_a_receiver_that_takes_nothing_stops_its_sender_within_bounds() -> None:
    async with linked(max_message=limits.RECEIVE_BUFFER) as (client, server), trio.open_nursery() as nursery:
        nursery.start_soon(flood, client)
        before = math.inf
        while client._stream.sent_at != before:
            before = client._stream.sent_at
            await wait_all_tasks_blocked(0.2)
        assert client._stream.sending
        assert 0 < server.buffered <= 2 * limits.RECEIVE_BUFFER
        nursery.cancel_scope.cancel()


async def test_two_ends_that_flood_each_other_do_not_wait_for_each_other_for_ever() -> None:
    async with linked(max_message=limits.RECEIVE_BUFFER) as both, trio.open_nursery() as nursery:
        for link in both:
            nursery.start_soon(flood, link)
        with trio.fail_after(20):
            async with trio.open_nursery() as receiving:
                for link in both:
                    receiving.start_soon(receive_many, link)
        nursery.cancel_scope.cancel()


async def flood(link: Link) -> None:
    while True:
        await link.send(bytes(64 * KIB))


async def receive_many(link: Link) -> None:
    for _ in range(300):
        assert len(await link.receive()) == 64 * KIB


# Ends


@pytest.mark.parametrize("code", [1000, 1001, None])
async def test_a_proper_end_comes_after_everything_that_was_sent(code: int | None) -> None:
    async with accepted() as (link, client):
        await client.send("one")
        await client.send(b"two")
        await client.send(CloseConnection(code=code or 1005))
        assert [await link.receive(), await link.receive()] == ["one", b"two"]
        for _ in range(2):
            with pytest.raises(anyio.EndOfStream):
                await link.receive()
        with pytest.raises(LinkBroken):
            await link.send("more")


@pytest.mark.parametrize("code", [1002, 1011, 1012, 4001])
async def test_any_other_close_code_breaks_the_link_and_is_known(code: int) -> None:
    async with accepted() as (link, client):
        await client.send(CloseConnection(code=code, reason="because"))
        for use in (link.receive, partial(link.send, "x"), link.receive, link.ping):
            with pytest.raises(LinkBroken) as caught:
                await use()
            assert (caught.value.close_code, caught.value.reason) == (code, "because")
            assert "because" not in str(caught.value)


async def test_an_end_without_a_close_frame_breaks_the_link() -> None:
    async with accepted() as (link, client):
        await client.send("last")
        await client.stream.aclose()
        assert await link.receive() == "last"
        for use in (link.receive, partial(link.send, "x"), link.receive, link.ping):
            with pytest.raises(LinkBroken) as caught:
                await use()
            assert caught.value.close_code == 1006


async def test_what_was_sent_before_a_close_can_be_received_although_nothing_can_be_sent() -> None:
    async with accepted() as (link, client):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.send, "last words")
            assert await link.receive() == "last words"
            await client.send(CloseConnection(code=1000))
            await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(LinkBroken) as caught:
            await link.send("x")
        assert caught.value.close_code == 1000
        with pytest.raises(anyio.EndOfStream):
            await link.receive()


@virtual_time()
async def test_a_peer_that_closes_and_reads_nothing_is_known_at_once_although_a_send_waits() -> None:
    ours, theirs = lockstep_stream_pair()
    client = RawClient(theirs)

    async def send() -> None:
        with pytest.raises((LinkBroken, anyio.ClosedResourceError)):
            await link.send(b"x")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.upgrade)
        async with accept(ours, max_message=MAX) as (_, link):
            await wait_all_tasks_blocked()
            nursery.start_soon(send)
            await wait_all_tasks_blocked()
            nursery.start_soon(client.raw, frame(TEXT, b"last words") + frame(CLOSE, struct.pack(">H", 4001)))
            with trio.fail_after(limits.GOODBYE_TIMEOUT):
                assert await link.receive() == "last words"
                with pytest.raises(LinkBroken) as caught:
                    await link.receive()
            assert caught.value.close_code == 4001
            link.abort()


async def test_closing_sends_a_close_frame_and_ends_every_use() -> None:
    async with linked() as (client, server):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.aclose)
            with pytest.raises(anyio.EndOfStream):
                await server.receive()
        await client.aclose()
        for use in (client.receive, partial(client.send, "x"), client.ping):
            with pytest.raises(anyio.ClosedResourceError):
                await use()


async def test_closing_ends_a_receive_that_waits() -> None:
    async with linked() as (client, server):

        async def receive() -> None:
            with pytest.raises(anyio.ClosedResourceError):
                await client.receive()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(client.close, 4000, "so")
            with pytest.raises(LinkBroken) as caught:
                await server.receive()
            assert (caught.value.close_code, caught.value.reason) == (4000, "so")


async def test_leaving_accept_closes_properly() -> None:
    ours, theirs = memory_stream_pair()
    client = RawClient(theirs)

    async def use() -> None:
        async with accept(ours, max_message=MAX) as (_, link):
            await link.send("bye")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(use)
        await client.upgrade()
        assert await client.message() == "bye"
        assert await client.ending() == 1000


@virtual_time()
async def test_what_was_sent_before_a_close_arrives_although_the_peer_keeps_sending() -> None:
    async with accepted() as (link, client), trio.open_nursery() as nursery:
        await link.send("tail")
        nursery.start_soon(link.close, 1000)
        await trio.testing.wait_all_tasks_blocked()
        for _ in range(3):
            await client.raw(frame(PING, b"p") + frame(BINARY, bytes(MAX + 1)) + frame(PONG, b"q"))
        assert await client.message() == "tail"
        assert await client.ending() == 1000


@virtual_time()
async def test_a_peer_that_sends_no_close_frame_is_cut() -> None:
    async with accepted() as (link, client):
        began = trio.current_time()
        await link.aclose()
        assert trio.current_time() - began == pytest.approx(limits.GOODBYE_TIMEOUT)
        assert await client.ending() == 1000


@virtual_time()
async def test_a_peer_that_reads_nothing_is_cut() -> None:
    ours, theirs = lockstep_stream_pair()
    client = RawClient(theirs)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.upgrade)
        async with accept(ours, max_message=MAX) as (_, link):
            await trio.testing.wait_all_tasks_blocked()
            began = trio.current_time()
            await link.close(1012, patience=3)
            assert trio.current_time() - began == pytest.approx(3)


async def test_abort_ends_every_use_at_once_and_without_a_close_frame() -> None:
    async with accepted() as (link, client):
        link.abort()
        for use in (link.receive, partial(link.send, "x"), link.ping):
            with pytest.raises(LinkBroken):
                await use()
        assert await client.ending() == 1006


# Cancelling and failing


async def test_a_cancelled_send_ends_the_link_and_the_peer_sees_nothing_of_the_message() -> None:
    size = 30_000_000
    async with linked(max_message=size) as (client, server):
        await client.send("unread, so that the rest gets stuck")
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(client.send, bytes(size))
                while not client._stream.sending:
                    await trio.lowlevel.checkpoint()
                scope.cancel()
        for use in (partial(client.send, "x"), client.receive, client.ping):
            with pytest.raises(LinkBroken):
                await use()
        assert await server.receive() == "unread, so that the rest gets stuck"
        with pytest.raises(LinkBroken) as caught:
            await server.receive()
        assert caught.value.close_code == 1006


async def test_cancelling_receive_loses_nothing() -> None:
    async with accepted() as (link, client):
        with trio.CancelScope() as scope:
            scope.cancel()
            await link.receive()
        await client.send("kept")
        assert await link.receive() == "kept"


async def test_giving_up_on_a_pong_leaves_the_link_alone() -> None:
    async with accepted() as (link, client):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(link.ping)
            await client.expect(Ping)
            nursery.cancel_scope.cancel()
        await client.send("still here")
        assert await link.receive() == "still here"


async def test_a_ping_is_answered_and_holds_eight_random_bytes() -> None:
    payloads = set()
    async with accepted() as (link, client):
        for _ in range(3):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(link.ping)
                ping = await client.expect(Ping)
                await client.send(ping.response())
                payloads.add(bytes(ping.payload))
    assert [len(payload) for payload in payloads] == [8, 8, 8]


async def test_a_ping_fails_when_the_peer_leaves() -> None:
    async with accepted() as (link, client):

        async def leave() -> None:
            await client.expect(Ping)
            await client.stream.aclose()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(leave)
            with pytest.raises(LinkBroken):
                await link.ping()


class Trouble(Exception):
    pass


async def test_an_exception_of_the_body_is_raised_unchanged_and_the_peer_sees_no_proper_end() -> None:
    ours, theirs = memory_stream_pair()
    client = RawClient(theirs)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.upgrade)
        with pytest.raises(Trouble) as caught:
            async with accept(ours, max_message=MAX):
                raise Trouble("mine")
    assert str(caught.value) == "mine"
    assert await client.ending() == 1006

    async def handle(stream: TCPStream) -> None:
        async with accept(stream, max_message=MAX) as (_, link):
            with pytest.raises(LinkBroken):
                await link.receive()

    async with serving(handle) as address:
        with pytest.raises(Trouble):
            async with connect(address, "/"):
                raise Trouble


async def test_cancelling_the_body_cuts_the_link() -> None:
    ours, theirs = memory_stream_pair()
    client = RawClient(theirs)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.upgrade)
        with trio.CancelScope() as scope:
            async with accept(ours, max_message=MAX):
                await trio.testing.wait_all_tasks_blocked()
                scope.cancel()
                await trio.sleep_forever()
    assert scope.cancelled_caught
    assert await client.ending() == 1006


# Silence


async def test_closing_an_aborted_link_sends_no_close_frame() -> None:
    async with accepted() as (link, client):
        link.abort()
        await link.close(1000)
        assert await client.ending() == 1006


@virtual_time()
async def test_silence_is_filled_with_pings_and_a_peer_that_answers_stays() -> None:
    async with accepted() as (link, client):

        async def answer(times: int) -> None:
            for _ in range(times):
                ping = await client.expect(Ping)
                await client.send(ping.response())
            await client.send("enough")

        async with trio.open_nursery() as nursery:
            began = trio.current_time()
            nursery.start_soon(answer, 5)
            assert await link.receive() == "enough"
            assert trio.current_time() - began == pytest.approx(5 * limits.KEEPALIVE_INTERVAL)


@virtual_time()
async def test_a_peer_that_answers_no_ping_is_gone() -> None:
    async with accepted() as (link, client):
        began = trio.current_time()
        with pytest.raises(LinkBroken):
            await link.receive()
        silence = limits.KEEPALIVE_INTERVAL + limits.KEEPALIVE_TIMEOUT
        assert trio.current_time() - began == pytest.approx(silence)
        assert await client.ending() == 1006


@virtual_time()
async def test_a_peer_that_answered_while_this_process_did_not_run_is_not_gone() -> None:
    async with accepted() as (link, client):
        await trio.sleep(limits.KEEPALIVE_INTERVAL + 1)
        await pause(10 * limits.KEEPALIVE_TIMEOUT)  # the ping is out, and its answer comes behind this
        await trio.sleep(limits.KEEPALIVE_TIMEOUT / 2)
        await client.send("there")
        assert await link.receive() == "there"


@virtual_time()
async def test_a_peer_whose_machine_has_vanished_is_gone_although_we_do_not_read() -> None:
    began = trio.current_time()
    async with accepted() as (link, client):
        link.silent_for = lambda: trio.current_time() - began
        for number in range(5):
            await client.send(f"unread {number}")
        for _ in range(2):
            await trio.sleep(limits.VANISHED / 2 - 0.5)
            await link.send("x")
        await trio.sleep(limits.VANISHED_CHECK + 2)
        with pytest.raises(LinkBroken):
            await link.send("x")


@virtual_time()
async def test_traffic_in_either_direction_makes_pings_needless() -> None:
    async with accepted() as (link, client):
        for number in range(20):
            await trio.sleep(limits.KEEPALIVE_INTERVAL * 0.9)
            if number % 2:
                await link.send("x")
                assert await client.message() == "x"
            else:
                await client.send("y")
                assert await link.receive() == "y"


@virtual_time()
async def test_a_peer_that_we_do_not_read_is_not_gone() -> None:
    async with accepted() as (link, client):
        for number in range(5):
            await client.send(f"unread {number}")
        await trio.sleep(20 * limits.KEEPALIVE_TIMEOUT)
        for number in range(5):
            assert await link.receive() == f"unread {number}"
