"""Standard input and output of this process as pipes whose other ends a test holds, and copies through them."""

from __future__ import annotations

import os
import sys
import threading
from contextlib import contextmanager, suppress
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from p2p_copy.files import stdio
from p2p_copy.transfer.stream import receiver, sender
from p2p_copy.transfer.stream.receiver import StreamReceiver
from p2p_copy.transfer.stream.sender import StreamSender
from p2p_copy.units import KIB, MIB
from tests.support.transfers import Both, copy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pytest


WINDOW = 4 * MIB

READ = 256 * KIB


class Ends:
    """The test's ends of the pipes that are standard input and output of this process."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        read, self.into = os.pipe()
        self.out, write = os.pipe()
        self._theirs = os.fdopen(read), os.fdopen(write, "w")
        # Not those of `sys` itself, which pytest restores.
        self.streams = SimpleNamespace(platform=sys.platform, stdin=self._theirs[0], stdout=self._theirs[1])
        patch.setattr(stdio, "sys", self.streams)
        self.taken = bytearray()
        self._threads: list[threading.Thread] = []

    def give(self, data: bytes, *, end: bool = True) -> None:
        """Write all of `data` in a thread; at the `end`, close the pipe."""

        def work() -> None:
            view = memoryview(data)
            try:
                while view:
                    view = view[os.write(self.into, view) :]
                if end:
                    self.end()
            except OSError:
                return  # closed, perhaps with the test

        self._start(work)

    def end(self) -> None:
        into, self.into = self.into, -1
        os.close(into)

    def take(self) -> None:
        """Read standard output to its end in a thread."""

        def work() -> None:
            with suppress(OSError):  # closed, perhaps with the test
                while data := os.read(self.out, 65536):
                    self.taken += data

        self._start(work)

    def _start(self, work: Callable[[], None]) -> None:
        self._threads.append(threading.Thread(target=work, daemon=True))
        self._threads[-1].start()

    def all_taken(self) -> bytes:
        """Return all that was read, once the other side has closed."""
        self.close_theirs()
        for thread in self._threads:
            thread.join(20)
            assert not thread.is_alive()
        return bytes(self.taken)

    def close_theirs(self) -> None:
        for stream in self._theirs:
            stream.close()

    def stop_reading(self) -> None:
        out, self.out = self.out, -1
        os.close(out)

    def close(self) -> None:
        self.close_theirs()
        for thread in self._threads:  # it may be about to use a number that another file will have
            thread.join(1)
        fds = self.into, self.out
        self.into = self.out = -1
        for fd in fds:
            if fd >= 0:
                os.close(fd)


async def pipe(out: Any = "-", **more: Any) -> Both:
    return await copy(["-"], out, **more)


@contextmanager
def watched(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, int]]:
    """Measure the most bytes that either side ever has in memory."""
    most = {"sender": 0, "receiver": 0}

    class WatchedSender(StreamSender):
        async def read(self) -> None:
            put = self.window.put

            def noting(data: bytes) -> None:
                put(data)
                most["sender"] = max(most["sender"], self.window.size)

            self.window.put = noting  # type: ignore[method-assign]
            await super().read()

    class WatchedReceiver(StreamReceiver):
        async def write(self) -> None:
            put = self.window.put

            def noting(data: bytes) -> None:
                put(data)
                most["receiver"] = max(most["receiver"], self.window.size)

            self.window.put = noting  # type: ignore[method-assign]
            await super().write()

    with monkeypatch.context() as patch:
        patch.setattr(sender, "StreamSender", WatchedSender)
        patch.setattr(receiver, "StreamReceiver", WatchedReceiver)
        yield most
