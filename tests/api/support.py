"""What the tests of the public API share: a relay for programs of every kind, and what a program may leave behind."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import trio

from p2p_copy.relay.config import RelayConfig
from p2p_copy.relay.server import serve

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

BACKENDS: tuple[Literal["trio", "asyncio"], ...] = ("trio", "asyncio")


@contextmanager
def relay_thread() -> Iterator[str]:
    """Run a relay in a thread of its own, so that programs of every kind can use it; yield its address."""
    started = threading.Event()
    urls: list[str] = []
    scope = trio.CancelScope()
    tokens: list[trio.lowlevel.TrioToken] = []

    async def main() -> None:
        with scope:
            async with trio.open_nursery() as nursery:
                bound = await nursery.start(serve, RelayConfig("127.0.0.1", 0))
                urls.append(f"ws://127.0.0.1:{bound[0][1]}")
                tokens.append(trio.lowlevel.current_trio_token())
                started.set()

    thread = threading.Thread(target=trio.run, args=(main,), name="relay")
    thread.start()
    assert started.wait(10)
    try:
        yield urls[0]
    finally:
        tokens[0].run_sync_soon(scope.cancel)
        thread.join(10)


def run(backend: str, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a program under one of the backends."""

    async def checked() -> None:
        await main()
        assert asyncio.all_tasks() == {asyncio.current_task()}, "asyncio.run would end them silently"

    if backend == "trio":
        trio.run(main)
    else:
        asyncio.run(checked())


@contextmanager
def nothing_stays() -> Iterator[None]:
    """Check that no thread and no descriptor of the block is there after it, and no task, which would hold a thread.

    Trio keeps idle workers for ten seconds for all of the process; they hold nothing.
    """
    before = _here()
    yield
    deadline = time.monotonic() + 2
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
