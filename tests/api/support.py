"""What the tests of the public API share: event loops, and what a program may leave behind."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import trio

import p2p_copy as p2p
from tests.support.processes import QUICK

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

BACKENDS: tuple[Literal["trio", "asyncio"], ...] = ("trio", "asyncio")


def run(backend: str, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a program under one of the backends."""

    async def checked() -> None:
        await main()
        assert asyncio.all_tasks() == {asyncio.current_task()}, "asyncio.run would end them silently"

    if backend == "trio":
        trio.run(main)
    else:
        asyncio.run(checked())


def press_ctrl_c() -> None:
    """Interrupt this process as a terminal does."""
    os.kill(os.getpid(), signal.SIGINT)


@contextmanager
def ctrl_c_while_it_waits(press: Callable[[], None] = press_ctrl_c) -> Iterator[Callable[[object], None]]:
    """Interrupt this process once a transfer waits for the other side; yield its `on_event`, which tells of that."""
    waits = threading.Event()

    def interrupt() -> None:
        assert waits.wait(QUICK), "the transfer does not wait"
        press()

    def on_event(event: object) -> None:
        if isinstance(event, p2p.Waiting):
            waits.set()

    interrupting = threading.Thread(target=interrupt)
    interrupting.start()
    try:
        yield on_event
    finally:
        interrupting.join()


@contextmanager
def nothing_stays() -> Iterator[None]:
    """Check that no thread and no descriptor of the block is there after it, and no task, which would hold a thread.

    Trio keeps idle workers for ten seconds for all of the process; they hold nothing.
    """
    before = _here()
    yield
    deadline = time.monotonic() + QUICK
    while (left := _here() - before) and time.monotonic() < deadline:
        gc.collect()
        time.sleep(0.01)
    assert not left


def _here() -> set[object]:
    threads = {thread for thread in threading.enumerate() if not thread.name.startswith("Trio thread")}
    return threads | set(_descriptors())


def _descriptors() -> Iterator[tuple[str, str]]:
    if not os.path.isdir("/proc/self/fd"):
        return
    for name in os.listdir("/proc/self/fd"):
        try:
            yield name, os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue  # of the listing itself
