from __future__ import annotations

import math
from functools import partial

import pytest
import trio
import trio.testing

from p2p_copy.transport.inbox import Inbox, Piece
from tests.support.websocket import virtual_time


async def test_pieces_come_out_in_order_and_then_comes_the_end() -> None:
    inbox = Inbox()
    for number in (b"a", b"b", b"c"):
        inbox.put(Piece(number))
    inbox.end()
    inbox.show()
    assert await inbox.filled()
    assert inbox.take() == Piece(b"a")
    assert await inbox.filled()
    assert inbox.take_all() == [Piece(b"b"), Piece(b"c")]
    assert not await inbox.filled()


@virtual_time()
async def test_who_waits_is_woken_by_a_piece_and_by_the_end() -> None:
    inbox = Inbox()
    heard: list[bool] = []

    async def wait() -> None:
        heard.append(await inbox.filled())

    for say in (partial(inbox.put, Piece(b"x")), inbox.end):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            assert inbox.listening_since == trio.current_time()
            say()
            await trio.testing.wait_all_tasks_blocked()
            assert nursery.child_tasks, "nobody sees it yet"
            inbox.show()
        assert inbox.listening_since == math.inf
        if heard[-1]:
            inbox.take()
    assert heard == [True, False]


@pytest.mark.parametrize("how", ["one by one", "all", "discard"])
async def test_who_brings_more_waits_until_all_is_taken(how: str) -> None:
    inbox = Inbox()
    inbox.put(Piece(b"1"))
    inbox.put(Piece(b"2"))
    inbox.show()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(inbox.empty)
        await trio.testing.wait_all_tasks_blocked()
        if how == "one by one":
            inbox.take()
            await trio.testing.wait_all_tasks_blocked()
            assert nursery.child_tasks
            inbox.take()
        elif how == "all":
            inbox.take_all()
        else:
            inbox.discard()


async def test_what_nobody_wants_is_not_kept() -> None:
    inbox = Inbox()
    inbox.put(Piece(b"before"))
    inbox.show()
    inbox.put(Piece(b"not shown"))
    inbox.discard()
    inbox.put(Piece(b"after"))
    inbox.end()
    inbox.show()
    await inbox.empty()
    assert not await inbox.filled()


async def test_a_wait_that_is_cancelled_takes_nothing() -> None:
    inbox = Inbox()
    with trio.CancelScope() as scope:
        scope.cancel()
        await inbox.filled()
    assert scope.cancelled_caught
    inbox.put(Piece(b"still here"))
    inbox.show()
    assert await inbox.filled()
