"""Holds a context manager of Trio open for a block of a program that does not run Trio: under asyncio, or plain.

A thread of its own runs Trio for the block. Rules:
1. The block is left when the context is, whose clean-up is bounded, and the thread has ended; a second Ctrl-C does not
   wait for that.
2. An exception of the block is raised inside the context, and leaves unchanged. A block that is cancelled or
   interrupted cancels the context.
3. If the context fails while the block runs, the block goes on, and the failure is raised at its end.
4. If the caller's event loop is closed, the context is cancelled.
"""

from __future__ import annotations

import asyncio
from concurrent import futures
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import sniffio
import trio

from p2p_copy.api.transfer_thread import WAKE, ClientClosed, TransferThread

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType

    from p2p_copy.api.transfer_thread import Result

T = TypeVar("T")


async def done(future: futures.Future[Any]) -> None:
    """Wait, under Trio or asyncio, until a future of another thread is done. Cancelling ends only the wait."""
    event: trio.Event | asyncio.Event
    wake: Callable[[], object]
    if sniffio.current_async_library() == "trio":
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


class InThread(Generic[T]):
    """An asynchronous context manager that runs under Trio in a thread; `with`, or `async with` under asyncio."""

    def __init__(self, context: AbstractAsyncContextManager[T]) -> None:
        """Prepare to enter `context`."""
        self._context = context
        self._entered: futures.Future[T] = futures.Future()
        self._left: futures.Future[None] = futures.Future()
        self._leave = trio.Event()
        self._error: Exception | None = None

    async def _hold(self) -> None:
        async with self._context as value:
            self._entered.set_result(value)
            await self._leave.wait()
            if self._error is not None:
                raise self._error

    def _begin(self, is_needed: Callable[[], bool] = lambda: True) -> None:
        def end(result: Result) -> None:
            self._thread.stop()
            if not self._entered.done():
                self._entered.set_exception(result.error)
            if result.error is not None:
                self._left.set_exception(result.error)
            else:
                self._left.set_result(None)

        self._thread = TransferThread(is_needed)
        self._cancel = self._thread.start(self._hold, (), end)

    def _end(self, error: BaseException | None) -> None:
        """Leave the context, and do not wait for its end."""
        with suppress(ClientClosed):  # it has ended by itself
            if error is None or isinstance(error, Exception):
                self._error = error
                self._thread.post(self._leave.set)
            else:
                self._cancel()

    def soon(self, order: Callable[[], object]) -> None:
        """Call a function where the context is held, and do not wait; do nothing once it was left."""
        with suppress(ClientClosed):
            self._thread.post(order)

    def __enter__(self) -> T:
        self._begin()
        try:
            _wait(self._entered)
        except BaseException as error:  # Ctrl-C
            self.__exit__(type(error), error, None)
            raise
        if self._left.done():
            self.__exit__(None, None, None)
        return self._entered.result()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end(error)
        try:
            _wait(self._left)
        except BaseException:  # Ctrl-C
            self._cancel()
            _wait(self._left)
            raise
        self._thread.join()
        self._raise_unless(error)

    async def __aenter__(self) -> T:
        loop = asyncio.get_running_loop()
        self._begin(lambda: not loop.is_closed())
        try:
            await done(self._entered)
        except BaseException as error:
            await self.__aexit__(type(error), error, None)
            raise
        if self._left.done():
            await self.__aexit__(None, None, None)
        return self._entered.result()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end(error)
        if isinstance(error, GeneratorExit):  # the event loop is closed, and nothing can be awaited
            return
        cancelled: asyncio.CancelledError | None = None
        while not self._left.done():
            try:
                await done(self._left)
            except asyncio.CancelledError as also:
                cancelled = also
                self._end(also)
        self._thread.join()
        if cancelled is not None:
            raise cancelled
        self._raise_unless(error)

    def _raise_unless(self, error: BaseException | None) -> None:
        """Raise how the context ended, unless that is the block's own exception, or what it has caused."""
        try:
            self._left.result()
        except ClientClosed:
            if error is None:
                raise
        except Exception as other:
            if other is not error:
                raise


def _wait(future: futures.Future[Any]) -> None:
    """Wait in a plain program until a future is done. Ctrl-C ends only the wait."""
    while futures.wait([future], WAKE).not_done:
        pass
