"""Deadlines, which do not count the time in which this process did not run."""

from __future__ import annotations

import trio

from p2p_copy.transport import limits
from p2p_copy.transport.timeouts import Watch, within
from tests.support.websocket import pause, virtual_time


async def passed(watch: Watch, seconds: float, seen: object = None) -> float:
    """Look every tick for `seconds`; return what the last look returned."""
    lasted = 0.0
    for _ in range(round(seconds / limits.TICK)):
        await trio.sleep(limits.TICK)
        lasted = watch.look(seen)
    return lasted


@virtual_time()
async def test_a_watch_measures_how_long_nothing_moves() -> None:
    watch = Watch("a")
    assert await passed(watch, 10, "a") == 10
    assert watch.look("b") == 0
    assert await passed(watch, 5, "b") == 5


@virtual_time()
async def test_a_watch_starts_again_after_a_pause_of_this_process() -> None:
    watch = Watch()
    assert await passed(watch, 10) == 10
    await pause(1000)
    assert watch.look() == 0
    assert await passed(watch, 5) == 5


@virtual_time()
async def test_a_deadline_cancels_the_body() -> None:
    began = trio.current_time()
    with within(60) as deadline:
        await trio.sleep_forever()
    assert deadline.is_over
    assert trio.current_time() - began == 60
    with within(60) as deadline:
        await trio.sleep(59)
    assert not deadline.is_over


@virtual_time()
async def test_a_pause_of_this_process_counts_for_no_deadline() -> None:
    began = trio.current_time()
    with within(60) as deadline:
        await trio.sleep(50)
        await pause(1000)
        await trio.sleep(50)
        assert not deadline.is_over
        await trio.sleep_forever()
    assert deadline.is_over
    assert 1100 < trio.current_time() - began < 1120


@virtual_time()
async def test_a_pause_of_this_process_does_not_count_for_the_most_in_all() -> None:
    with within(10, most=60) as deadline:
        await pause(1000)
        await trio.sleep(5)
    assert not deadline.is_over


@virtual_time()
async def test_movement_extends_a_deadline_but_not_for_ever() -> None:
    moved = 0
    began = trio.current_time()

    async def move() -> None:
        nonlocal moved
        while True:
            await trio.sleep(4)
            moved += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(move)
        with within(5, moves=lambda: moved, most=80) as deadline:
            await trio.sleep_forever()
        nursery.cancel_scope.cancel()
    assert deadline.is_over
    assert trio.current_time() - began == 80


@virtual_time()
async def test_a_deadline_may_be_set_later_and_lifted() -> None:
    with within(float("inf")) as deadline:
        await trio.sleep(1000)
        deadline.restart(60)
        await trio.sleep(50)
        deadline.restart(float("inf"))
        await trio.sleep(1000)
        deadline.restart(60)
        began = trio.current_time()
        await trio.sleep_forever()
    assert deadline.is_over
    assert trio.current_time() - began == 60


@virtual_time()
async def test_a_shielded_deadline_gives_a_cancelled_body_its_time() -> None:
    began = trio.current_time()
    with trio.move_on_after(1), within(5, shield=True) as deadline:
        await trio.sleep_forever()
    assert deadline.is_over
    assert trio.current_time() - began == 5


@virtual_time()
async def test_no_task_runs_while_no_deadline_is_open() -> None:
    with within(60):
        await trio.sleep(1)
    began = trio.lowlevel.current_statistics()
    await trio.sleep(10)
    assert trio.lowlevel.current_statistics().tasks_living == began.tasks_living - 1
