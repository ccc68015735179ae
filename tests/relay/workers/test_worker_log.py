"""A worker's log on its way to the first process: it never fills the channel that orders and clients need."""

from __future__ import annotations

import socket
from typing import Any

import trio

from p2p_copy.relay import limits
from p2p_copy.relay.log import events
from p2p_copy.relay.workers.channel import Channel
from p2p_copy.relay.workers.worker import ToSupervisor
from p2p_copy.units import KIB


async def test_lines_that_the_first_process_does_not_read_are_counted_and_the_channel_stays() -> None:
    one, other = socket.socketpair()
    worker, supervisor = Channel(one), Channel(other)
    log = ToSupervisor(worker)
    heard: list[tuple[str, dict[str, Any]]] = []
    left: list[int] = []
    last = trio.Event()

    def hear(event: str, facts: dict[str, Any], addresses: list[str]) -> None:
        heard.append((event, facts))
        if facts.get("error") == "last":
            last.set()

    supervisor.hear({"log": hear, "left": lambda number: left.append(number)}, {})
    many = 60_000  # more than the channel may hold
    for _ in range(many):
        log.emit(events.GONE_EARLY.record((), error="x" * 100))
    assert worker.unsent < limits.WORKER_LOG_UNSENT + KIB
    worker.tell("left", number=7)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(worker.run)
        nursery.start_soon(supervisor.run)
        await worker.flush()
        log.emit(events.GONE_EARLY.record((), error="last"))
        with trio.fail_after(5):
            await last.wait()
        nursery.cancel_scope.cancel()
    assert left == [7]
    (dropped,) = (facts["count"] for event, facts in heard if event == events.DROPPED.name)
    assert dropped + len(heard) - 2 == many
