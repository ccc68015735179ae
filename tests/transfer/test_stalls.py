"""When a side says that nothing moves, and which party it names."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest
import trio

from p2p_copy.protocol import rendezvous
from p2p_copy.protocol.messages import Progress
from p2p_copy.protocol.rendezvous import FlowReport, FlowState
from p2p_copy.transfer import limits
from p2p_copy.transfer.stalls import Stalls, no_receipt, nothing_comes_from_pipe
from p2p_copy.units import KIB
from tests.support.transfers import Told
from tests.support.websocket import pause, virtual_time

if TYPE_CHECKING:
    from p2p_copy.peer.channel import Channel


class Wire:
    """A channel, as far as `stalls` uses it."""

    def __init__(self) -> None:
        self.aside = ""
        self.under_way = 0
        self.acked = (0, False)

    def acked_bytes(self) -> tuple[int, bool]:
        return self.acked


def watched(wire: Wire) -> tuple[Stalls, Told]:
    told = Told()
    return Stalls(told, cast("Channel", wire)), told


@virtual_time()
async def test_what_lasts_is_told_once_and_when_it_is_over() -> None:
    stalls, told = watched(Wire())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stalls.watch)
        with stalls.waiting_for("the disk"):
            await trio.sleep(limits.STALL - 1)
            assert told.stalls == []
            await trio.sleep(5 * limits.STALL)
            assert told.stalls == ["the disk"]
        assert told.stalls == ["the disk", "moving"]
        nursery.cancel_scope.cancel()


@virtual_time()
async def test_a_question_to_the_user_is_no_stall_however_long_the_answer_takes() -> None:
    stalls, told = watched(Wire())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stalls.watch)
        with stalls.waiting_for("the disk"):
            with stalls.asking():
                await trio.sleep(5 * limits.STALL)
            await trio.sleep(limits.STALL - 1)
            assert told.stalls == [], "it counts from the answer on"
            await trio.sleep(limits.STALL)
            assert told.stalls == ["the disk"]
        nursery.cancel_scope.cancel()


@virtual_time()
async def test_a_pause_of_this_process_is_no_stall() -> None:
    stalls, told = watched(Wire())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stalls.watch)
        with stalls.waiting_for("the disk"):
            await trio.sleep(1)
            await pause(1000)
            await trio.sleep(limits.STALL - 1)
        assert told.stalls == []
        nursery.cancel_scope.cancel()


@virtual_time()
async def test_a_long_record_on_a_slow_way_is_no_stall_while_it_moves() -> None:
    wire = Wire()
    stalls, told = watched(wire)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stalls.watch)
        with (
            stalls.waiting_for("in", lambda: stalls.incoming),
            stalls.waiting_for("out", lambda: stalls.outgoing),
        ):
            for number in range(20):
                await trio.sleep(limits.STALL / 2)
                wire.under_way += 1000
                wire.acked = (number * KIB, True)
            assert told.stalls == []
            await trio.sleep(limits.STALL + 1)
            assert told.stalls in (["in"], ["out"])
            wire.under_way += 1000
            wire.acked = (0, True)
            await trio.sleep(1)
            assert told.stalls[1:] == ["moving"]
        nursery.cancel_scope.cancel()


@virtual_time()
async def test_a_heartbeat_is_no_movement_and_what_the_receiver_has_is() -> None:
    stalls, _ = watched(Wire())
    stalls.heard(Progress(1, 2, 3))
    before = stalls.outgoing
    stalls.heard(Progress(1, 2, 3))
    assert stalls.outgoing == before
    stalls.heard(Progress(1, 2, 4))
    assert stalls.outgoing != before


@virtual_time()
async def test_a_side_that_says_the_same_again_is_heard_all_the_same() -> None:
    stalls, _ = watched(Wire())
    await trio.sleep(limits.STALL + 1)
    assert not stalls.heard_lately
    stalls.heard(Progress(1, 2, 3))
    assert stalls.heard_lately


@pytest.mark.parametrize(
    ("flow", "unsent", "heard", "has_all", "expected"),
    [
        (FlowReport(there=FlowState.UNTAKEN), False, False, False, "the receiver's disk, or its network"),
        (FlowReport(there=FlowState.LIMITED), False, True, False, "a limit of the relay"),
        (
            FlowReport(there=FlowState.SILENT),
            True,
            False,
            False,
            "the connection to the relay is not accepting data",
        ),
        (
            FlowReport(there=FlowState.SILENT, answers=False),
            False,
            False,
            False,
            "does not answer the relay",
        ),
        (FlowReport(there=FlowState.SILENT), False, True, False, "has not reached it"),
        (
            FlowReport(there=FlowState.SILENT),
            False,
            False,
            False,
            "the receiver's disk, or the connection to it",
        ),
        (FlowReport(there=FlowState.SILENT), False, False, True, "the receiver has everything"),
    ],
)
async def test_the_reason_why_no_receipt_comes(
    flow: FlowReport, unsent: bool, heard: bool, has_all: bool, expected: str
) -> None:
    wire = Wire()
    wire.aside, wire.acked = rendezvous.encode(flow), (0, unsent)
    stalls, _ = watched(wire)
    if not heard:
        stalls.heard_at -= 2 * limits.STALL
    assert expected in no_receipt(stalls, has_all=has_all)


@pytest.mark.parametrize(
    ("flow", "expected"),
    [
        (FlowReport(), "the sender's standard input, or the connection from it"),
        (FlowReport(back=FlowState.SILENT), "the sender's standard input, or the connection from it"),
        (FlowReport(back=FlowState.SILENT, answers=False), "the sender's machine, or its network"),
        (FlowReport(back=FlowState.LIMITED), "a limit of the relay"),
    ],
)
def test_the_reason_why_nothing_comes_from_a_pipe(flow: FlowReport, expected: str) -> None:
    assert expected in nothing_comes_from_pipe(flow)
