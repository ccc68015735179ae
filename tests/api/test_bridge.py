"""A context manager of Trio that is held open in a thread: errors, cancellation, interrupts, what is left."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio

from p2p_copy.api.bridge import InThread
from tests.api.support import nothing_stays

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

SOON = 20.0
"""Seconds within which something that was cancelled has ended."""


@pytest.fixture(autouse=True)
def leaks() -> Iterator[None]:
    with nothing_stays():
        yield


class Log:
    """What happens in the other thread."""

    def __init__(self) -> None:
        self.words: list[str] = []

    @asynccontextmanager
    async def context(self, begin: float = 0) -> AsyncIterator[str]:
        self.words.append("enters")
        try:
            await trio.sleep(begin)
            yield "value"
        except BaseException as error:
            self.words.append(type(error).__name__)
            raise
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(0.05)
            self.words.append("leaves")

    @asynccontextmanager
    async def broken(self) -> AsyncIterator[str]:
        await trio.lowlevel.checkpoint()
        raise ValueError("of the context")
        yield "never"


@pytest.fixture
def log() -> Log:
    return Log()


def until(is_true: Callable[[], object]) -> None:
    deadline = time.monotonic() + SOON
    while not is_true() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert is_true()


def test_a_context_is_open_during_the_block(log: Log) -> None:
    async def main() -> None:
        async with InThread(log.context()) as value:
            assert value == "value"
            assert log.words == ["enters"]

    with InThread(log.context()) as value:
        assert value == "value"
        assert log.words == ["enters"]
    assert log.words == ["enters", "leaves"]
    log.words.clear()
    asyncio.run(main())
    assert log.words == ["enters", "leaves"]


def test_an_exception_of_the_block_is_raised_inside_and_leaves_unchanged(log: Log) -> None:
    mine = KeyError("of the block")

    async def main() -> None:
        async with InThread(log.context()):
            raise mine

    with pytest.raises(KeyError) as caught, InThread(log.context()):
        raise mine
    assert caught.value is mine
    with pytest.raises(KeyError) as caught:
        asyncio.run(main())
    assert caught.value is mine
    assert log.words == 2 * ["enters", "KeyError", "leaves"]


def test_what_cannot_be_entered_raises_why(log: Log) -> None:
    async def main() -> None:
        async with InThread(log.broken()):
            raise AssertionError("it was entered")

    with pytest.raises(ValueError, match="of the context"), InThread(log.broken()):
        raise AssertionError("it was entered")
    with pytest.raises(ValueError, match="of the context"):
        asyncio.run(main())


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interrupted_block_is_a_cancellation_inside(log: Log, error: type[BaseException]) -> None:
    with pytest.raises(error), InThread(log.context()):
        raise error
    assert log.words == ["enters", "Cancelled", "leaves"]


def test_ctrl_c_while_it_is_entered(log: Log) -> None:
    def interrupt() -> None:
        until(lambda: log.words)
        time.sleep(0.05)  # the other thread has begun to wait by then
        os.kill(os.getpid(), signal.SIGINT)

    interrupting = threading.Thread(target=interrupt)
    interrupting.start()
    with pytest.raises(KeyboardInterrupt), InThread(log.context(60)):
        raise AssertionError("it was entered")
    interrupting.join()
    assert log.words == ["enters", "Cancelled", "leaves"]


def test_a_timeout_while_it_is_entered(log: Log) -> None:
    async def end_when_it_begins(patience: asyncio.Timeout) -> None:
        while not log.words:  # noqa: ASYNC110 - another thread's doing
            await asyncio.sleep(0.01)
        patience.reschedule(0)

    async def main() -> None:
        patience = asyncio.timeout(None)
        ending = asyncio.create_task(end_when_it_begins(patience))
        with pytest.raises(TimeoutError):
            async with patience, InThread(log.context(60)):
                raise AssertionError("it was entered")
        await ending

    asyncio.run(main())
    assert log.words == ["enters", "Cancelled", "leaves"]


def test_a_cancelled_block_is_a_cancellation_inside(log: Log) -> None:
    async def block(entered: asyncio.Event) -> None:
        async with InThread(log.context()):
            entered.set()
            await asyncio.sleep(60)

    async def main() -> None:
        entered = asyncio.Event()
        task = asyncio.create_task(block(entered))
        await entered.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert log.words == ["enters", "Cancelled", "leaves"]

    asyncio.run(main())


def test_a_block_whose_event_loop_is_closed_is_left(log: Log) -> None:
    entered = asyncio.Event()

    async def block() -> None:
        async with InThread(log.context()):
            entered.set()
            await asyncio.sleep(60)

    loop = asyncio.new_event_loop()
    task = loop.create_task(block())
    loop.run_until_complete(entered.wait())
    task._log_destroy_pending = False  # type: ignore[attr-defined]  # the program's mistake is this test's purpose
    loop.close()
    until(lambda: log.words == ["enters", "Cancelled", "leaves"])


def test_orders_after_the_end_do_nothing(log: Log) -> None:
    held = InThread(log.context())
    with held:
        held.soon(partial(log.words.append, "order"))
        until(lambda: "order" in log.words)
    held.soon(partial(log.words.append, "late"))
    assert log.words == ["enters", "order", "leaves"]
