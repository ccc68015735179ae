"""How events wait for their readers, and what a report keeps of problems."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

import p2p_copy as p2p
from p2p_copy import observer
from p2p_copy.api import publisher, report
from p2p_copy.api.publisher import EventQueue, Publisher

if TYPE_CHECKING:
    from pathlib import Path

PLAIN = observer.Report(1, 2, 0, 4, "ab", 0.5, 6, 3, 7)

PAIRED = ("acid", "zoom"), False


async def all_of(queue: EventQueue) -> list[p2p.Event]:
    """Return what waits in a queue that is closed."""
    events = []
    while (event := await queue.get()) is not None:
        events.append(event)
    return events


async def test_only_progress_that_follows_progress_is_dropped() -> None:
    source = Publisher()
    source.progress(1, 10)
    source.progress(2, 20)
    source.problem("a", "cannot be read")
    source.skipped("b")
    source.progress(3, 30)
    source.verifying()
    source.close()
    assert await all_of(source.reader()) == [
        p2p.Progress(2, 20),
        p2p.Problem("a", "cannot be read"),
        p2p.Skipped("b"),
        p2p.Progress(3, 30),
        p2p.Verifying(),
    ]


async def test_more_bytes_that_were_there_are_progress() -> None:
    source = Publisher()
    source.spared(5)
    source.progress(1, 10)
    source.verifying()
    source.spared(10)
    source.progress(1, 10)
    source.close()
    told = await all_of(source.reader())
    assert told[1:] == [p2p.Progress(1, 10, 5), p2p.Verifying(), p2p.Progress(1, 10, 10)]


async def test_a_reader_of_many_events_leaves_other_tasks_their_turn() -> None:
    source = Publisher()
    for number in range(2 * publisher.EVENTS_A_TURN):
        source.skipped(str(number))
    source.close()
    with trio.CancelScope() as scope:
        scope.cancel()
        await all_of(source.reader())
    assert scope.cancelled_caught


async def test_a_later_reader_gets_what_comes_later() -> None:
    source = Publisher()
    source.waiting("ws://relay", 60)
    first, second = source.reader(), source.reader()
    source.paired(*PAIRED)
    source.close()
    assert await all_of(first) == [p2p.Waiting("ws://relay", 60), p2p.Paired(*PAIRED)]
    assert await all_of(second) == [p2p.Paired(*PAIRED)]
    assert await all_of(source.reader()) == []


async def test_a_full_queue_counts_what_it_drops() -> None:
    queue = EventQueue()
    for number in range(publisher.MOST_WAITING + 5):
        queue.put(p2p.Skipped(str(number)))
    assert await queue.get() == p2p.Skipped("0")
    queue.put(p2p.Verifying())
    queue.close()
    rest = await all_of(queue)
    assert rest[-3:] == [p2p.Skipped(str(publisher.MOST_WAITING - 2)), p2p.Missed(6), p2p.Verifying()]


async def test_a_reader_waits_for_the_next_event() -> None:
    source, got = Publisher(), list[p2p.Event | None]()
    async with trio.open_nursery() as nursery:

        async def read() -> None:
            got.append(await source.reader().get())

        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        source.notice("Something.")
    assert got == [p2p.Notice("Something.")]


async def test_each_connection_counts_from_its_beginning() -> None:
    source = Publisher()
    source.total(7, 700)
    source.spared(0)
    source.spared(5)
    source.spared(9)
    source.links(3)
    source.progress(1, 10)
    source.lost("The relay was lost.", 60, 2)
    source.paired(*PAIRED)
    source.progress(1, 20)
    source.close()
    assert await all_of(source.reader()) == [
        p2p.Progress(total_files=7, total_size=700),
        p2p.Resumed(5),
        p2p.Progress(1, 10, 9, 7, 700, 3),
        p2p.Reconnecting("The relay was lost.", 60, 2),
        p2p.Paired(*PAIRED),
        p2p.Progress(1, 20, 0, 7, 700, 1),
    ]


def test_a_report_lists_each_failure_once_and_not_without_end() -> None:
    source = Publisher()
    source.problem("only then", "changed")
    source.paired(*PAIRED)  # everything is told again
    for number in range(report.MOST_FAILURES + 5):
        source.problem(str(number), "is a socket")
        source.problem("0", "is a socket")
    assert len(source.failures) == report.MOST_FAILURES
    assert source.failures[:2] == (p2p.Failure("0", "is a socket"), p2p.Failure("1", "is a socket"))
    source.paired(*PAIRED)  # only to say goodbye
    assert len(source.failures) == report.MOST_FAILURES
    assert report.report_with(PLAIN, source.failures).failures == ()


def test_a_report_has_all_that_the_transfer_reports() -> None:
    made = report.report_with(PLAIN, ())
    assert made == p2p.Report(
        files=1,
        size=2,
        failed=0,
        failures=(),
        skipped=4,
        excluded=6,
        up_to_date=3,
        deleted=7,
        root="ab",
        seconds=0.5,
    )
    made.raise_for_failures()


def test_under_asyncio_a_cancelled_wait_loses_no_event_either(
    relay: str, tree: Path, tmp_path: Path, code: p2p.Code
) -> None:
    """Each wait is cancelled just after Trio's thread took the event, and before the program has it."""

    async def main() -> None:
        async with p2p.AsyncClient(relay) as client, client.open_send(tree, code=code) as sending:
            await client.receive(tmp_path / "out", code=code)
            await sending.wait()
            events = sending.events()
            queue = sending._task.publisher.reader()
            events._queue = queue
            expected = list(queue._events)
            for number, event in enumerate(expected):
                wait = asyncio.ensure_future(anext(events))
                await asyncio.sleep(0)
                while len(queue._events) == len(expected) - number:
                    time.sleep(0.001)  # noqa: ASYNC251 - the event loop must not turn
                wait.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await wait
                assert await anext(events) == event
            assert [event async for event in events] == []

    asyncio.run(main())
