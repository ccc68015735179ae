"""One transfer of a program: runs it under Trio, and lets the program follow it.

1. A callback of the program runs in a task of its own. If it fails, the transfer ends and the other side is told that
   this side failed; the program gets its own exception.
2. Cancelled, a transfer ends as after a loss of its link: the other side waits for a while for this one to return.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import trio

from p2p_copy.api.publisher import Publisher
from p2p_copy.api.report import report_with
from p2p_copy.errors import leaves

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from typing import Self

    from p2p_copy import observer
    from p2p_copy.api.callers import AsyncCaller, Caller
    from p2p_copy.api.events import Event
    from p2p_copy.api.publisher import EventQueue
    from p2p_copy.api.report import Report
    from p2p_copy.observer import Observer
    from p2p_copy.transfer.lifecycle import Helpers

    Work = Callable[[Observer, Helpers], Awaitable[observer.Report]]
    """Sends or receives, given an observer and what is to run beside it."""

    OnEvent = Callable[[Event], object]
    """Is called with each event; may be asynchronous."""

X = TypeVar("X", bound="Transfer")


class TransferTask:
    """One transfer under Trio: run it once.

    Attributes:
        publisher: has the events.
        is_over: set at the end.
        report: how it ended; None if it failed, or before.
        error: why it failed; None if it has not.

    """

    def __init__(self, work: Work, caller: Caller, on_event: OnEvent | None = None) -> None:
        self._work = work
        self._caller = caller
        self._on_event = on_event
        self._failed = trio.Event()
        self._failure: Exception | None = None
        self.publisher = Publisher()
        self.is_over = trio.Event()
        self.report: Report | None = None
        self.error: Exception | None = None

    async def run(self) -> Report:
        """Run it to its end, and call back with all events.

        Raises:
            Exception: why it failed, or what a callback raised.

        """
        try:
            async with trio.open_nursery() as nursery:
                if self._on_event is not None:
                    nursery.start_soon(self._call_back, self._on_event, self.publisher.reader())
                plain = await self._transfer()
            if plain is not None and self._failure is None:
                self.report = report_with(plain, self.publisher.failures)
                return self.report
            assert self._failure is not None, "else there is a report"
            raise self._failure
        except BaseException as error:
            cause = _cause(error)
            self.error = cause if isinstance(cause, Exception) else None
            raise cause from cause.__cause__
        finally:
            self.is_over.set()

    async def _transfer(self) -> observer.Report | None:
        """Return the report; None if it failed, which is noted: callbacks hear first what came before."""
        try:
            return await self._work(self.publisher, (self._watch,))
        except Exception as error:
            self._failure = self._failure or error
            return None
        finally:
            self.publisher.close()

    def fail(self, error: Exception) -> None:
        """End the transfer because the program has failed with this error; the other side is told so.

        After an earlier failure this changes nothing.
        """
        self._failure = self._failure or error
        self._failed.set()

    async def _watch(self) -> None:
        await self._failed.wait()
        assert self._failure is not None, "set before"
        raise self._failure

    async def _call_back(self, on_event: OnEvent, queue: EventQueue) -> None:
        """Call back with each event until the transfer is over. An exception ends the transfer."""
        try:
            while (event := await queue.get()) is not None:
                await self._caller.call(on_event, event)
        except Exception as error:
            self.fail(error)


def _cause(error: BaseException) -> BaseException:
    """Return the first exception in a group, if possible one that is no cancellation."""
    found = leaves(error)
    return next((leaf for leaf in found if not isinstance(leaf, trio.Cancelled)), found[0])


class Transfer:
    """A transfer that runs while the program follows it; from `open_send` and the like.

    Leaving its block before it is over cancels it. An exception in the block ends it, and the other side is told that
    this side failed. An error of the transfer is raised by `events`, `wait` and `report`, and at the latest when the
    block is left.
    """

    def __init__(self, caller: AsyncCaller, task: TransferTask) -> None:
        self._caller = caller
        self._task = task
        self._told = False  # the program knows the error

    def events(self) -> Events:
        """Return an async iterator over the events of the transfer, to its end; raises the transfer's error there.

        The first call returns all events, a later one those from then on. A slow reader slows nothing: see `Progress`
        and `Missed`.
        """
        return Events(self)

    async def wait(self) -> Report:
        """Wait until the transfer is over, and return its report.

        Raises:
            P2PCopyError: it has failed.

        """
        await self._caller.enter(self._task.is_over.wait)
        return self.report

    @property
    def report(self) -> Report:
        """How the transfer ended.

        Raises:
            P2PCopyError: it has failed.
            RuntimeError: it is not over.

        """
        self._told = True
        if self._task.error is not None:
            raise self._task.error
        if self._task.report is None:
            raise RuntimeError("The transfer is not over, or was cancelled.")
        return self._task.report

    async def _run(self) -> None:
        """Run it in a task of the block; the error is kept for the program."""
        try:
            await self._caller.enter(self._task.run)
        except Exception as error:
            if self._task.error is None:
                self._task.error = error

    def _leave(self) -> None:
        """Raise an error that the program does not know."""
        if self._task.error is not None and not self._told:
            raise self._task.error


class Events:
    """An async iterator over the events of a transfer. A cancelled wait for the next one loses none."""

    def __init__(self, transfer: Transfer) -> None:
        self._transfer = transfer
        self._queue: EventQueue | None = None
        self._taken: Event | None = (
            None  # out of the queue, and not handed over if the wait was cancelled then
        )

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        event = await self._transfer._caller.enter(self._get)
        self._taken = None
        if event is None:
            if self._transfer._task.error is not None:
                _ = self._transfer.report
            raise StopAsyncIteration
        return event

    async def _get(self) -> Event | None:
        if self._queue is None:
            self._queue = self._transfer._task.publisher.reader()
        if self._taken is None:
            self._taken = await self._queue.get()
        if self._taken is None:
            await self._transfer._task.is_over.wait()  # then there is a report, or an error
        return self._taken


@asynccontextmanager
async def running(transfer: X) -> AsyncIterator[X]:
    """Run a transfer beside the body of this block; see `Transfer`."""
    failure: Exception | None = None
    try:
        async with transfer._caller.open_group() as group:
            group.start_soon(transfer._run)
            try:
                yield transfer
            except Exception as error:
                failure = error
                transfer._caller.post(partial(transfer._task.fail, error))
            else:
                group.cancel_scope.cancel()
    except BaseExceptionGroup as errors:  # of the body, and no Exception: KeyboardInterrupt, say
        raise leaves(errors)[0] from None
    if failure is not None:
        raise failure
    transfer._leave()
