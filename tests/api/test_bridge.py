"""Trio in a thread, for programs under asyncio and for plain ones: results, errors, cancellation, what is left."""

from __future__ import annotations

import asyncio
import contextvars
import signal
import threading
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trio

from p2p_copy.api.bridge import InThread, TrioThread
from tests.api.leaks import nothing_left

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

SOON = 2.0
"""Seconds within which something that was cancelled has ended."""


@pytest.fixture(autouse=True)
def leaks() -> Iterator[None]:
    with nothing_left():
        yield


class Log:
    """What happens in the other thread."""

    def __init__(self) -> None:
        self.words: list[str] = []

    async def sleep(self, seconds: float = 60) -> str:
        try:
            self.words.append("begins")
            await trio.sleep(seconds)
        except trio.Cancelled:
            with trio.CancelScope(shield=True):
                await trio.sleep(0.05)
            self.words.append("cleaned up")
            raise
        return "slept"

    async def fail(self) -> None:
        await trio.lowlevel.checkpoint()
        raise ValueError("of the function")

    @asynccontextmanager
    async def context(self) -> AsyncIterator[str]:
        self.words.append("enters")
        try:
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
        await self.fail()
        yield "never"


@pytest.fixture
def log() -> Log:
    return Log()


# A function


def test_a_result_comes_back(log: Log) -> None:
    assert TrioThread(log.sleep, 0).wait() == "slept"
    assert asyncio.run(TrioThread(log.sleep, 0).wait_async()) == "slept"


def test_an_exception_comes_back(log: Log) -> None:
    with pytest.raises(ValueError, match="of the function"):
        TrioThread(log.fail).wait()
    with pytest.raises(ValueError, match="of the function"):
        asyncio.run(TrioThread(log.fail).wait_async())


def test_context_variables_are_the_callers() -> None:
    variable = contextvars.ContextVar("variable", default="unset")

    async def read() -> str:
        await trio.lowlevel.checkpoint()
        return variable.get()

    variable.set("set")
    assert TrioThread(read).wait() == "set"


def test_a_cancelled_caller_waits_for_the_clean_up(log: Log) -> None:
    async def main() -> None:
        task = asyncio.create_task(TrioThread(log.sleep).wait_async())
        await asyncio.sleep(0.05)
        task.cancel()
        began = time.monotonic()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert time.monotonic() - began < SOON
        assert log.words == ["begins", "cleaned up"]
        assert threading.active_count() == count

    count = threading.active_count()
    asyncio.run(main())


def test_a_timeout_of_asyncio_is_one(log: Log) -> None:
    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await TrioThread(log.sleep).wait_async()

    asyncio.run(main())


def test_one_of_several_is_cancelled_alone(log: Log) -> None:
    async def main() -> list[object]:
        tasks = [asyncio.create_task(TrioThread(log.sleep, 0.2).wait_async()) for _ in range(3)]
        await asyncio.sleep(0.05)
        tasks[1].cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    results = asyncio.run(main())
    assert [results[0], results[2]] == ["slept", "slept"]
    assert isinstance(results[1], asyncio.CancelledError)


def test_ctrl_c_in_a_plain_program_cancels_and_waits(log: Log) -> None:
    timer = threading.Timer(0.2, signal.raise_signal, [signal.SIGINT])
    timer.start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        TrioThread(log.sleep).wait()
    timer.join()
    assert time.monotonic() - began < SOON + 0.2
    assert log.words == ["begins", "cleaned up"]


def test_a_closed_event_loop_ends_the_thread(log: Log) -> None:
    async def main() -> None:
        await TrioThread(log.sleep).wait_async()

    loop = asyncio.new_event_loop()
    task = loop.create_task(main())
    loop.run_until_complete(asyncio.sleep(0.05))
    task._log_destroy_pending = False  # type: ignore[attr-defined]  # the program's mistake is this test's purpose
    loop.close()
    _until(lambda: log.words == ["begins", "cleaned up"])


def _until(is_true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SOON
    while not is_true() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert is_true()


# A context manager


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

    with pytest.raises(ValueError, match="of the function"), InThread(log.broken()):
        raise AssertionError("it was entered")
    with pytest.raises(ValueError, match="of the function"):
        asyncio.run(main())


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interrupted_block_is_a_cancellation_inside(log: Log, error: type[BaseException]) -> None:
    with pytest.raises(error), InThread(log.context()):
        raise error
    assert log.words == ["enters", "Cancelled", "leaves"]


def test_a_cancelled_block_is_a_cancellation_inside(log: Log) -> None:
    async def block() -> None:
        async with InThread(log.context()):
            await asyncio.sleep(60)

    async def main() -> None:
        task = asyncio.create_task(block())
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert log.words == ["enters", "Cancelled", "leaves"]

    asyncio.run(main())


def test_a_block_whose_event_loop_is_closed_is_left(log: Log) -> None:
    async def block() -> None:
        async with InThread(log.context()):
            await asyncio.sleep(60)

    loop = asyncio.new_event_loop()
    task = loop.create_task(block())
    loop.run_until_complete(asyncio.sleep(0.1))
    task._log_destroy_pending = False  # type: ignore[attr-defined]  # the program's mistake is this test's purpose
    loop.close()
    _until(lambda: log.words == ["enters", "Cancelled", "leaves"])


def test_orders_after_the_end_do_nothing(log: Log) -> None:
    held = InThread(log.context())
    with held:
        held.soon(log.words.append, "order")
        _until(lambda: "order" in log.words)
    held.soon(log.words.append, "late")
    assert log.words == ["enters", "order", "leaves"]
