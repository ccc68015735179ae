"""Runs Trio for programs that do not: under asyncio, or without an event loop.

Each function, and each context manager, gets a thread with a Trio event loop of its own, and the thread ends with it.
So an object that does nothing holds no thread, and any number of them run at once. Rules:
1. The caller waits until the thread has ended. Cancelling or interrupting the caller cancels the function first, whose
   clean-up is bounded; a second Ctrl-C does not wait for it.
2. Neither event loop waits for the other one: orders and results are handed over.
3. The thread never keeps a process from ending. If the caller's event loop is closed, the function is cancelled.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from concurrent import futures
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, TypeVarTuple

import trio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_INTERRUPT_LOOK: Final = 0.5
"""Seconds between two looks for Ctrl-C in a plain program that waits: Windows does not interrupt a wait for a lock."""

_CLOSED_LOOK: Final = 0.5
"""Seconds between two looks whether the caller's event loop was closed: nothing else tells."""


def under_trio() -> bool:
    """Tell whether the caller is a task of Trio. If not, it is under asyncio or has no event loop."""
    return trio.lowlevel.in_trio_task()


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


async def done(future: futures.Future[Any]) -> None:
    """Wait, under Trio or asyncio, until a future of a thread is done. Cancelling ends only the wait."""
    event: trio.Event | asyncio.Event
    wake: Callable[[], object]
    if under_trio():
        event = trio.Event()
        wake = partial(trio.lowlevel.current_trio_token().run_sync_soon, event.set)
    else:
        event = asyncio.Event()
        wake = partial(asyncio.get_running_loop().call_soon_threadsafe, event.set)

    def tell(_: futures.Future[Any]) -> None:
        with suppress(RuntimeError):  # the event loop has ended
            wake()

    future.add_done_callback(tell)
    await event.wait()


class TrioThread(Generic[T]):
    """An asynchronous function that runs under Trio in a thread of its own, from now on."""

    def __init__(self, function: Callable[[*Ts], Awaitable[T]], *arguments: *Ts) -> None:
        """Begin to run the function, with the caller's context variables.

        Raises:
            RuntimeError: the system has no more threads.

        """
        self.outcome: futures.Future[T] = futures.Future()
        self._token: futures.Future[trio.lowlevel.TrioToken] = futures.Future()
        self._scope = trio.CancelScope()
        self._caller = None if under_trio() else _running_loop()
        context = contextvars.copy_context()
        self._thread = threading.Thread(
            target=context.run, args=(self._run, function, *arguments), name="p2p-copy", daemon=True
        )
        self._thread.start()

    def _run(self, function: Callable[[*Ts], Awaitable[T]], *arguments: *Ts) -> None:
        async def main() -> T:
            self._token.set_result(trio.lowlevel.current_trio_token())
            if self._caller is not None:
                trio.lowlevel.spawn_system_task(self._watch, self._caller)
            with self._scope:
                return await function(*arguments)
            raise futures.CancelledError

        try:
            result = trio.run(main)
        except BaseException as error:
            self.outcome.set_exception(error)
            del error, self  # or the error would be part of its own traceback, a cycle
        else:
            self.outcome.set_result(result)

    async def _watch(self, caller: asyncio.AbstractEventLoop) -> None:
        while not caller.is_closed():  # noqa: ASYNC110 - no event tells it
            await trio.sleep(_CLOSED_LOOK)
        self._scope.cancel()

    def soon(self, order: Callable[[*Ts], object], *arguments: *Ts) -> None:
        """Call a function in the thread's event loop, and do not wait; if the thread has ended, do nothing."""

        def give(token: futures.Future[trio.lowlevel.TrioToken]) -> None:
            with suppress(trio.RunFinishedError):
                token.result().run_sync_soon(order, *arguments)

        self._token.add_done_callback(give)

    def cancel(self) -> None:
        """Cancel the function, and do not wait for its end. Its outcome is `concurrent.futures.CancelledError` then."""
        self.soon(self._scope.cancel)

    def wait(self) -> T:
        """Wait in a plain program until the thread has ended; return the function's result.

        Raises:
            BaseException: what the function raised.

        """
        try:
            self.wait_for(self.outcome)
        except BaseException:  # Ctrl-C
            self.cancel()
            self.wait_for(self.outcome)
            raise
        finally:
            if self.outcome.done():
                self._thread.join()
        return self.outcome.result()

    @staticmethod
    def wait_for(future: futures.Future[Any]) -> None:
        """Wait in a plain program until a future is done. Ctrl-C ends only the wait."""
        while futures.wait([future], _INTERRUPT_LOOK).not_done:
            pass

    async def wait_async(self) -> T:
        """Wait under asyncio until the thread has ended; return the function's result.

        Raises:
            BaseException: what the function raised.

        """
        cancelled: asyncio.CancelledError | None = None
        while not self.outcome.done():
            try:
                await done(self.outcome)
            except asyncio.CancelledError as error:
                cancelled = error
                self.cancel()
            except GeneratorExit:  # the caller's event loop was closed, so nothing can be awaited any more
                self.cancel()
                raise
        self._thread.join()
        if cancelled is not None:
            raise cancelled
        return self.outcome.result()


class InThread(Generic[T]):
    """An asynchronous context manager of Trio, held open in a thread for a block of a program without Trio.

    Both `with` and, under asyncio, `async with` return what it returns. An exception of the block is raised inside it
    as well, where a cancelled or interrupted block is a cancellation. If the context fails while the block runs, the
    block goes on, and the failure is raised at its end.
    """

    def __init__(self, context: AbstractAsyncContextManager[T]) -> None:
        """Prepare to enter `context`."""
        self._context = context
        self._entered: futures.Future[T] = futures.Future()
        self._leave = trio.Event()
        self._error: BaseException | None = None

    async def _hold(self) -> None:
        async with self._context as value:
            self._entered.set_result(value)
            await self._leave.wait()
            if self._error is not None:
                raise self._error

    def _start(self) -> None:
        def failed(outcome: futures.Future[None]) -> None:
            if not self._entered.done():
                self._entered.set_exception(outcome.exception())

        self._thread = TrioThread(self._hold)
        self._thread.outcome.add_done_callback(failed)

    def _end(self, error: BaseException | None) -> None:
        """Leave the context, and do not wait for its end."""
        if error is None or isinstance(error, Exception):
            self._error = error
            self._thread.soon(self._leave.set)
        else:
            self._thread.cancel()

    def soon(self, order: Callable[[*Ts], object], *arguments: *Ts) -> None:
        """Call a function in the event loop that holds the context, and do not wait; do nothing once it was left."""
        self._thread.soon(order, *arguments)

    def __enter__(self) -> T:
        self._start()
        try:
            self._thread.wait_for(self._entered)
        except BaseException:  # Ctrl-C
            self._thread.cancel()
            self._thread.wait_for(self._thread.outcome)
            raise
        if self._thread.outcome.done():
            self._thread.wait()
        return self._entered.result()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end(error)
        with _but_not(error):
            self._thread.wait()

    async def __aenter__(self) -> T:
        self._start()
        try:
            await done(self._entered)
        except BaseException as error:
            self._thread.cancel()
            await self._ended(error)
            raise
        if self._thread.outcome.done():
            await self._thread.wait_async()
        return self._entered.result()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end(error)
        await self._ended(error)

    async def _ended(self, error: BaseException | None) -> None:
        if not isinstance(error, GeneratorExit):  # else the event loop is closed, and nothing can be awaited
            with _but_not(error):
                await self._thread.wait_async()


@contextmanager
def _but_not(error: BaseException | None) -> Iterator[None]:
    """Let no exception out that the block has raised itself, nor what became of it in the thread."""
    try:
        yield
    except futures.CancelledError:
        if error is None:
            raise
    except Exception as other:
        if other is not error:
            raise
