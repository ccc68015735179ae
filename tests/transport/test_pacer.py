"""A client's own limit of its rate, by a clock that jumps."""

from __future__ import annotations

import pytest
import trio
from trio.testing import memory_stream_pair

from p2p_copy.transport import limits
from p2p_copy.transport.link_io import LinkStream
from p2p_copy.transport.pacer import Pacer
from tests.support.websocket import virtual_time

RATE = 100_000

pytestmark = virtual_time()


async def record(stream: LinkStream | trio.abc.ReceiveStream, came: list[tuple[float, int]]) -> None:
    """Receive to the end, and record when something came."""
    while data := await stream.receive_some(1_000_000):
        came.append((trio.current_time(), len(data)))


async def send(stream: LinkStream, size: int) -> None:
    await stream.send_buffers([b"head", bytes(size - 4)])
    await stream.hang_up(0)


def steady(came: list[tuple[float, int]], began: float) -> None:
    """Check that in no stretch more passed than the rate and the burst allow, and that no second was empty."""
    for first in range(0, len(came), 7):
        total = 0
        for now, size in came[first:]:
            total += size
            assert total <= RATE * (now - came[first][0] + limits.PACE_BURST + limits.PACE_PIECE) + 1
    seconds = {int(now - began) for now, _ in came}
    assert seconds >= set(range(int(came[-1][0] - began)))


@pytest.mark.parametrize("links", [1, 3])
async def test_what_links_send_together_keeps_to_the_rate(links: int) -> None:
    pacer, began = Pacer(RATE), trio.current_time()
    came: list[tuple[float, int]] = []
    async with trio.open_nursery() as nursery:
        for _ in range(links):
            ours, theirs = memory_stream_pair()
            stream = LinkStream(ours)
            stream.send_pacer = pacer
            nursery.start_soon(record, theirs, came)
            nursery.start_soon(send, stream, RATE * 10 // links)
    assert sum(size for _, size in came) == pytest.approx(RATE * 10, abs=links)
    assert trio.current_time() - began == pytest.approx(10, rel=0.02)
    steady(came, began)


@pytest.mark.parametrize("links", [1, 3])
async def test_what_links_receive_together_keeps_to_the_rate(links: int) -> None:
    pacer, began = Pacer(RATE), trio.current_time()
    came: list[tuple[float, int]] = []
    async with trio.open_nursery() as nursery:
        for _ in range(links):
            ours, theirs = memory_stream_pair()
            stream = LinkStream(ours)
            stream.receive_pacer = pacer
            nursery.start_soon(record, stream, came)
            await theirs.send_all(bytes(RATE * 10 // links))
            await theirs.send_eof()
    assert sum(size for _, size in came) == pytest.approx(RATE * 10, abs=links)
    assert trio.current_time() - began == pytest.approx(10, rel=0.02)
    steady(came, began)


async def test_a_pause_is_made_up_for_by_a_burst_at_most() -> None:
    pacer = Pacer(RATE)
    await trio.sleep(3600)
    began, passed = trio.current_time(), 0
    while True:
        await pacer.turn()
        if trio.current_time() > began:
            break
        pacer.passed(pacer.piece)
        passed += pacer.piece
    assert passed == pytest.approx(RATE * (limits.PACE_BURST + limits.PACE_PIECE), abs=pacer.piece)


async def test_a_cancelled_turn_counts_nothing() -> None:
    pacer, began = Pacer(RATE), trio.current_time()
    pacer.passed(RATE)
    with trio.move_on_after(0.5):
        await pacer.turn()
    await pacer.turn()
    assert trio.current_time() - began == pytest.approx(1, abs=0.01)
