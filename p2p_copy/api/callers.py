"""The program that asks for a transfer, in its event loop or its thread, and the ways between it and Trio.

A program runs a function of ours under Trio with `enter` or `run`. A transfer runs a function of the program's where
the program is with `call`, so a callback never meets another thread than the program's.

1. `enter` and `run` return when all that they began has ended, also if they are cancelled or interrupted.
2. An exception of either side comes out at the other one, unchanged.
3. For a program under Trio there is nothing to cross. Otherwise Trio runs in a thread, which ends with the object
   here, or with the program's event loop if that is closed before.
"""

from __future__ import annotations

import queue
from contextlib import asynccontextmanager, suppress
from inspect import isawaitable, iscoroutine
from typing import TYPE_CHECKING, Final, Protocol, TypeVar, TypeVarTuple, cast

import anyio
import sniffio
import trio

from p2p_copy.api.transfer_thread import WAKE, ClientClosed, Result, TransferThread

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    from anyio.abc import TaskGroup

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_CALLBACK_END: Final = 1.0
"""Seconds that a cancelled callback has to end."""


class Caller(Protocol):
    """Runs functions of the program, for a transfer."""

    async def call(self, function: Callable[[*Ts], Awaitable[T] | T], *args: *Ts) -> T:
        """Run a function of the program where the program is, and return what it returns, or its awaitable."""


class AsyncCaller(Caller, Protocol):
    """Made by `open_caller`. `call` is used under Trio, all else by the program."""

    async def enter(self, function: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> T:
        """Run a function under Trio, and return what it returns."""

    def post(self, function: Callable[[], object]) -> None:
        """Run a function in Trio's thread soon, which neither waits nor fails."""

    def open_group(self) -> AbstractAsyncContextManager[trio.Nursery | TaskGroup]:
        """Run tasks of the program's event loop beside a block."""


@asynccontextmanager
async def open_caller() -> AsyncIterator[AsyncCaller]:
    """Make ways between the event loop that runs here and Trio.

    Raises:
        NotImplementedError: it is neither Trio's nor asyncio's.

    """
    library = sniffio.current_async_library()
    if library == "trio":
        yield TrioCaller()
    elif library == "asyncio":
        caller = AsyncioCaller()
        loop_runs = True
        try:
            yield caller
        except GeneratorExit:
            loop_runs = False
            raise
        finally:
            caller.stop()
            if loop_runs:
                await caller.wait_until_ended()
    else:
        raise NotImplementedError(f"p2p-copy runs under trio and asyncio, and not under {library}")


class TrioCaller:
    """For a program under Trio: transfers run in its own tasks."""

    async def enter(self, function: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> T:
        """Run it here."""
        return await function(*args)

    async def call(self, function: Callable[[*Ts], Awaitable[T] | T], *args: *Ts) -> T:
        """Run it here."""
        value = function(*args)
        return await value if isawaitable(value) else value

    def post(self, function: Callable[[], object]) -> None:
        """Run it here."""
        function()

    def open_group(self) -> AbstractAsyncContextManager[trio.Nursery]:
        """Use Trio's own, since loading anyio's would take longer than a small transfer."""
        return trio.open_nursery()


class AsyncioCaller:
    """For a program under asyncio: transfers run in a thread, and callbacks as tasks of the program's event loop."""

    def __init__(self) -> None:
        """Start the thread."""
        import asyncio

        self._loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()
        self._thread = TransferThread(
            is_needed=lambda: not self._loop.is_closed(), ended=lambda: self._soon(self._ended.set)
        )

    def stop(self) -> None:
        """End the thread, and what runs in it. Returns at once."""
        self._thread.stop()

    async def wait_until_ended(self) -> None:
        """Wait for the end of the thread, also while this is cancelled."""
        await _settled(self._ended)
        self._thread.join()

    async def enter(self, function: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> T:
        """Run it in Trio's thread. If this is cancelled, so is the function, and its end is waited for."""
        import asyncio

        results: list[Result] = []
        ended = asyncio.Event()

        def end(result: Result) -> None:
            results.append(result)
            self._soon(ended.set)

        cancel = self._thread.start(function, args, end)
        try:
            await ended.wait()
        except asyncio.CancelledError:
            with suppress(ClientClosed):
                cancel()
            await _settled(ended)
            raise
        return cast("T", results[0].get())

    async def call(self, function: Callable[[*Ts], Awaitable[T] | T], *args: *Ts) -> T:
        """Run it as a task of the program's event loop, in the context of the task that has entered."""
        token = trio.lowlevel.current_trio_token()
        result, ended = Result(), trio.Event()
        tasks: list[asyncio.Task[None]] = []

        async def run() -> None:
            result.error = RuntimeError("The callback was cancelled.")
            try:
                value = function(*args)
                result.value = await value if isawaitable(value) else value
                result.error = None
            except Exception as error:
                result.error = error
            finally:
                with suppress(trio.RunFinishedError):
                    token.run_sync_soon(ended.set)

        self._soon(lambda: tasks.append(self._loop.create_task(run())))
        try:
            await ended.wait()
        except trio.Cancelled:
            self._soon(lambda: [task.cancel() for task in tasks])
            with trio.move_on_after(_CALLBACK_END, shield=True):
                await ended.wait()
            raise
        return cast("T", result.get())

    def post(self, function: Callable[[], object]) -> None:
        """Run it in Trio's thread."""
        with suppress(ClientClosed):
            self._thread.post(function)

    def open_group(self) -> AbstractAsyncContextManager[TaskGroup]:
        """Use anyio's, whose errors and cancellation are those of a nursery."""
        return anyio.create_task_group()

    def _soon(self, function: Callable[[], object]) -> None:
        with suppress(RuntimeError):  # the loop is closed: the thread is about to end, too
            self._loop.call_soon_threadsafe(function)


async def _settled(event: asyncio.Event) -> None:
    """Wait for an end of ours that comes in a bounded time, also while this task is cancelled."""
    import asyncio

    with anyio.CancelScope(shield=True):
        while not event.is_set():
            with suppress(asyncio.CancelledError):  # the caller raises it, or has raised it
                await event.wait()


class BlockingCaller:
    """For one call of a program without an event loop: callbacks run in its own thread, which waits meanwhile."""

    def __init__(self, thread: TransferThread) -> None:
        self._thread = thread
        self._inbox: queue.SimpleQueue[Result | Callable[[], None]] = queue.SimpleQueue()

    def run(self, function: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> T:
        """Run a function in Trio's thread, and callbacks here, until it ends.

        An exception here, as KeyboardInterrupt, cancels it; its end is waited for.
        """
        cancel = self._thread.start(function, args, self._inbox.put)
        try:
            while not isinstance(item := self._next(), Result):
                item()
        except BaseException:
            with suppress(ClientClosed):
                cancel()
            while not isinstance(self._next(), Result):
                pass  # a callback: its transfer has ended
            raise
        return cast("T", item.get())

    def _next(self) -> Result | Callable[[], None]:
        while True:
            with suppress(queue.Empty):
                return self._inbox.get(timeout=WAKE)

    async def call(self, function: Callable[[*Ts], Awaitable[T] | T], *args: *Ts) -> T:
        """Run it in the program's thread."""
        token = trio.lowlevel.current_trio_token()
        result, ended = Result(), trio.Event()

        def run() -> None:
            try:
                result.value = function(*args)
                if isawaitable(result.value):
                    if iscoroutine(result.value):
                        result.value.close()
                    raise TypeError("a callback of a client that blocks may not be asynchronous")
            except Exception as error:
                result.error = error
            finally:
                token.run_sync_soon(ended.set)

        self._inbox.put(run)
        await ended.wait()
        return cast("T", result.get())
