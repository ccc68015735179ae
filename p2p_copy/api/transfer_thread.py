"""Trio in a thread of its own, for programs that do not run under Trio."""

from __future__ import annotations

import threading
from contextlib import suppress
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Final

import trio

from p2p_copy.errors import exhausted

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

WAKE: Final = 0.2
"""Seconds after which a waiting thread looks whether it was interrupted: Ctrl-C ends no wait that begins in the same
instant, and none on Windows."""

_LOOK: Final = 0.5
"""Seconds between two looks whether the thread is still needed: a closed event loop does not say so."""


class ClientClosed(RuntimeError):
    """The client was closed, or its event loop, while it was used."""

    def __init__(self) -> None:
        super().__init__(self.__doc__)


class Result:
    """What a call in another thread has come to: a value or an error."""

    def __init__(self) -> None:
        self.value: Any = None
        self.error: BaseException | None = None

    def get(self) -> Any:
        """Return the value, or raise the error."""
        if self.error is not None:
            raise self.error
        return self.value


class TransferThread:
    """A thread in which Trio runs until `stop`, or until `is_needed` is false. May be used from any thread.

    It is a daemon, so that a program that ends without closing its client does end.
    """

    def __init__(
        self, is_needed: Callable[[], bool] = lambda: True, ended: Callable[[], None] = lambda: None
    ) -> None:
        """Start it, which takes a few milliseconds; `ended` is called there when Trio has ended.

        Raises:
            SystemFailed: the system has no more threads, or open files.

        """
        self._is_needed = is_needed
        self._ended = ended
        self._running = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="p2p-copy", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as error:
            raise exhausted(error) or error from None
        self._running.wait()
        if self._failure is not None:
            raise exhausted(self._failure) or self._failure

    def _run(self) -> None:
        try:
            trio.run(self._main)
        except BaseException as error:
            if self._running.is_set():
                raise
            self._failure = error
        finally:
            self._running.set()
            self._ended()

    async def _main(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        async with trio.open_nursery() as self._nursery:
            self._running.set()
            while self._is_needed():  # noqa: ASYNC110 - what ends it can tell nothing
                await trio.sleep(_LOOK)
            self._nursery.cancel_scope.cancel()

    def start(
        self, function: Callable[..., Awaitable[Any]], args: tuple[Any, ...], done: Callable[[Result], None]
    ) -> Callable[[], None]:
        """Run a function there, in this context, and return what cancels it.

        `done` is called there, once, with what has become of it: ClientClosed if it was cancelled.

        Raises:
            ClientClosed: Trio has ended.

        """
        scope = trio.CancelScope()

        async def run() -> None:
            result = Result()
            result.error = ClientClosed()
            try:
                with scope:
                    result.value = await function(*args)
                    result.error = None
            except Exception as error:
                result.error = error
            finally:
                done(result)

        def begin() -> None:
            try:
                context.run(self._nursery.start_soon, run)
            except RuntimeError as error:  # it is ending
                result = Result()
                result.error = error
                done(result)

        context = copy_context()
        self.post(begin)
        return lambda: self.post(scope.cancel)

    def post(self, function: Callable[[], object]) -> None:
        """Run a function there soon, which neither waits nor fails.

        Raises:
            ClientClosed: Trio has ended.

        """
        try:
            self._token.run_sync_soon(function)
        except trio.RunFinishedError:
            raise ClientClosed from None

    def stop(self) -> None:
        """Cancel all that runs there, and end it. Returns at once."""
        with suppress(ClientClosed):
            self.post(self._nursery.cancel_scope.cancel)

    def join(self) -> None:
        """Wait until the thread has ended."""
        self._thread.join()
