"""Links that splice share the event loop: in one turn of it only as many begin as take a moment."""

from __future__ import annotations

from collections import Counter
from contextlib import AsyncExitStack, closing
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from p2p_copy.transport import limits
from p2p_copy.transport.short_turn import short_turn
from p2p_copy.transport.splice import CAN_SPLICE, SplicePipe
from tests.support.links import tcp_pair

if TYPE_CHECKING:
    import socket

    from p2p_copy.transport.tcp import TCPStream

CLOCK = trio.testing.MockClock()
"""Stands still, unless work is said to take time."""

pytestmark = pytest.mark.parametrize("anyio_backend", [pytest.param(("trio", {"clock": CLOCK}), id="still")])

TASKS = 12
SIZE = limits.RELAY_PIECE


class Turns(trio.abc.Instrument):
    """Counts the turns of the event loop."""

    def __init__(self) -> None:
        self.number = 0

    def after_io_wait(self, timeout: float) -> None:
        self.number += 1


@pytest.fixture
def turns() -> Turns:
    return Turns()


async def test_a_turn_that_has_lasted_gives_way_to_the_next(turns: Turns) -> None:
    trio.lowlevel.add_instrument(turns)
    began: Counter[int] = Counter()

    async def work() -> None:
        await short_turn()
        began[turns.number] += 1
        CLOCK.jump(0.7 * limits.SHORT_TURN)

    async with trio.open_nursery() as nursery:
        for _ in range(TASKS):
            nursery.start_soon(work)
    assert began.total() == TASKS
    assert max(began.values()) == 2, "the third would begin after more than the limit"


async def test_what_is_short_does_not_wait(turns: Turns) -> None:
    trio.lowlevel.add_instrument(turns)
    await trio.lowlevel.checkpoint()
    before = turns.number
    for _ in range(TASKS):
        await short_turn()
        CLOCK.jump(limits.SHORT_TURN / TASKS)
    assert turns.number == before


@pytest.mark.skipif(not CAN_SPLICE, reason="this system cannot splice")
async def test_a_newcomer_waits_for_few_of_those_that_splice(
    turns: Turns, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill = SplicePipe.fill_from
    spliced: Counter[int] = Counter()

    def slow_fill(pipe: SplicePipe, source: socket.socket, most: int) -> int:
        taken = fill(pipe, source, most)
        spliced[turns.number] += 1
        CLOCK.jump(2 * limits.SHORT_TURN)
        return taken

    async def take(source: TCPStream) -> None:
        with closing(SplicePipe()) as pipe:
            assert await source.receive_spliced(pipe, SIZE, SIZE) == SIZE

    async with AsyncExitStack() as stack, trio.open_nursery() as nursery:
        pairs = [await tcp_pair() for _ in range(TASKS)]
        for ours, source in pairs:
            await stack.enter_async_context(ours)
            await stack.enter_async_context(source)
            nursery.start_soon(take, source)
        await trio.testing.wait_all_tasks_blocked()
        monkeypatch.setattr(SplicePipe, "fill_from", slow_fill)
        trio.lowlevel.add_instrument(turns)
        for ours, _ in pairs:
            ours.socket.setblocking(True)
            ours.socket.sendall(bytes(SIZE))
    assert spliced.total() == TASKS
    assert max(spliced.values()) == 1
