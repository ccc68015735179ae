"""How a link reads and sends: what has come and was not received yet, and sends that take too long."""

from __future__ import annotations

import math
from functools import partial

import pytest
import trio
import trio.testing
from trio.testing import memory_stream_pair

from p2p_copy.transport.codec import Piece
from p2p_copy.transport.link_io import Inbox, LinkStream
from tests.support.links import tcp_pair
from tests.support.websocket import virtual_time


async def test_pieces_come_out_in_order_and_then_comes_the_end() -> None:
    inbox = Inbox()
    for data in (b"a", b"b", b"c"):
        inbox.put(Piece(data))
    inbox.end()
    assert await inbox.wait_for_piece()
    assert inbox.pop() == Piece(b"a")
    assert await inbox.wait_for_piece()
    assert inbox.pop_all() == [Piece(b"b"), Piece(b"c")]
    assert not await inbox.wait_for_piece()


@virtual_time()
async def test_a_receiver_is_woken_by_a_piece_and_by_the_end() -> None:
    inbox = Inbox()
    heard: list[bool] = []

    async def wait() -> None:
        heard.append(await inbox.wait_for_piece())

    for wake in (partial(inbox.put, Piece(b"x")), inbox.end):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            wake()
        if heard[-1]:
            inbox.pop()
    assert heard == [True, False]


@pytest.mark.parametrize("how", ["one by one", "all", "discard"])
async def test_there_is_room_when_every_piece_is_taken(how: str) -> None:
    inbox = Inbox()
    inbox.put(Piece(b"1"))
    inbox.put(Piece(b"2"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(inbox.wait_empty)
        await trio.testing.wait_all_tasks_blocked()
        if how == "one by one":
            inbox.pop()
            await trio.testing.wait_all_tasks_blocked()
            assert nursery.child_tasks
            inbox.pop()
        elif how == "all":
            inbox.pop_all()
        else:
            inbox.discard()
    assert inbox.weight == 0


@virtual_time()
async def test_a_read_may_begin_while_no_more_is_here_than_there_is_room_for() -> None:
    inbox = Inbox()
    inbox.room = Piece(b"1234").weight
    inbox.put(Piece(b"1234"))
    await inbox.wait_for_room()
    inbox.put(Piece(b"5"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(inbox.wait_for_room)
        await trio.sleep(10)
        assert inbox.listening_since == math.inf
        assert nursery.child_tasks
        inbox.pop()
    assert inbox.listening_since == trio.current_time()


async def test_after_discarding_nothing_is_kept() -> None:
    inbox = Inbox()
    inbox.put(Piece(b"before"))
    inbox.discard()
    inbox.put(Piece(b"after"))
    inbox.end()
    await inbox.wait_empty()
    assert inbox.weight == 0
    assert not await inbox.wait_for_piece()


async def test_a_cancelled_wait_takes_nothing() -> None:
    inbox = Inbox()
    inbox.put(Piece(b"still here"))
    with trio.CancelScope() as scope:
        scope.cancel()
        await inbox.wait_for_piece()
    assert scope.cancelled_caught
    assert inbox.pop() == Piece(b"still here")


async def test_a_send_that_a_socket_does_not_take_in_time_cuts_the_connection() -> None:
    ours, theirs = await tcp_pair()
    stream = LinkStream(ours)
    unread: list[None] = []
    stream.patience, stream.on_unread = 0.2, lambda: unread.append(None)
    async with ours, theirs:
        await stream.send_buffers([b"fits ", b"at once"])
        assert await theirs.receive_some() == b"fits at once"
        assert not unread
        with trio.fail_after(5), pytest.raises(trio.BrokenResourceError):
            await stream.send_buffers([bytes(100_000_000)])
        assert len(unread) == 1
        with pytest.raises(trio.BrokenResourceError):
            await stream.send_buffers([b"more"])


async def test_a_send_that_was_cancelled_before_it_began_breaks_nothing() -> None:
    ours, theirs = memory_stream_pair()
    stream = LinkStream(ours)
    with trio.CancelScope() as scope:
        scope.cancel()
        await stream.send_all(b"never sent")
    assert scope.cancelled_caught
    await stream.send_all(b"sent")
    assert await theirs.receive_some() == b"sent"
