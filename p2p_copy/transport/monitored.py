"""Streams that are monitored: when they last moved, whether a send was cut off, how long a send may take."""

from __future__ import annotations

import contextlib
import math
from typing import TYPE_CHECKING, cast

import trio

from p2p_copy.transport.tcp import GatheringStream, TCPStream, send_buffers
from p2p_copy.transport.timeouts import within
from p2p_copy.transport.tls import TLSStream, drop_some

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from p2p_copy.transport.splice import SplicedBytes, SplicePipe
    from p2p_copy.transport.tcp import Buffer


class MonitoredStream(GatheringStream):
    """A stream that remembers when it last moved, whether a send was cut off, and the first bytes that came.

    Attributes:
        first: up to `remember` of the first bytes received.
        received_at, sent_at: Trio's time when something was last received, and when a send was last completed.
        sending: a send is under way.
        broken: a send was cancelled or failed, so it is unknown how much of it is out.

    """

    def __init__(self, stream: trio.abc.Stream, *, head: bytes = b"", remember: int = 0) -> None:
        """Wrap `stream`; `head` is received before anything that comes from it."""
        self._stream = stream
        self._head = head
        self._remember = remember
        self.first = b""
        self.received_at = self.sent_at = trio.current_time()
        self.sending = False
        self.broken = False

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """Receive as the inner stream does."""
        if self._head:
            head, self._head = self._head, b""
            await trio.lowlevel.checkpoint()
            return head
        data = await self._stream.receive_some(max_bytes)
        if data:
            self.received_at = trio.current_time()
            if len(self.first) < self._remember:
                self.first += data[: self._remember - len(self.first)]
        return data

    @property
    def is_plain(self) -> bool:
        """Whether it is a socket without TLS, which can send and receive spliced bytes."""
        return isinstance(self._stream, TCPStream)

    async def receive_spliced(self, pipe: SplicePipe, most: int, least: int) -> SplicedBytes | None:
        """Receive as the inner stream does, which must be plain."""
        assert isinstance(self._stream, TCPStream)
        spliced = await self._stream.receive_spliced(pipe, most, least)
        if spliced is not None:
            self.received_at = trio.current_time()
        return spliced

    @property
    def unread(self) -> int:
        """Bytes that the inner stream has received and not handed on."""
        return len(self._head) + (self._stream.unread if isinstance(self._stream, GatheringStream) else 0)

    def limit_reads(self, allow: Callable[[int], int] | None) -> None:
        """Limit the reads of the inner stream."""
        if isinstance(self._stream, GatheringStream):
            self._stream.limit_reads(allow)

    def limit_unsent(self, most: int) -> None:
        """Limit the bytes of the inner stream that wait in the kernel."""
        if isinstance(self._stream, GatheringStream):
            self._stream.limit_unsent(most)

    async def send_buffers(self, buffers: Sequence[Buffer | SplicedBytes]) -> None:
        """Send as the inner stream does."""
        await trio.lowlevel.checkpoint_if_cancelled()  # a send that has not begun breaks nothing
        self.sending = True
        try:
            if isinstance(self._stream, TCPStream):
                await self._stream.send_buffers(buffers)
            else:
                # Spliced bytes come only to plain streams.
                await send_buffers(self._stream, cast("Sequence[Buffer]", buffers))
        except BaseException:
            self.broken = True
            raise
        finally:
            self.sending = False
        self.sent_at = trio.current_time()

    async def wait_send_all_might_not_block(self) -> None:
        """Wait as the inner stream does."""
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        """Close the inner stream."""
        await self._stream.aclose()


def never_silent() -> float:
    """Return 0: the system cannot tell for how long the other machine has not answered."""
    return 0.0


def nothing_acked() -> tuple[int, bool]:
    """Return that nothing was acknowledged and nothing waits: the system cannot tell."""
    return 0, False


class LinkStream(MonitoredStream):
    """The stream of a link: sends wait for each other, and each takes a bounded time.

    Attributes:
        patience: seconds that one send may take; one that takes longer cuts the connection. Without such a limit the
            system's own holds, if it has one (`limits.TCP_USER_TIMEOUT`).
        on_unread: called when a send took longer and the connection was cut.
        silent_for: tells for how many seconds the other machine has not answered (`tcp_info.silent_for`).
        acked_bytes: tells how much of what was sent the other machine has acknowledged (`tcp_info.acked_bytes`).

    """

    patience = math.inf
    on_unread: Callable[[], None] | None = None

    def __init__(
        self,
        stream: trio.abc.Stream,
        *,
        head: bytes = b"",
        remember: int = 0,
        silent_for: Callable[[], float] = never_silent,
        acked_bytes: Callable[[], tuple[int, bool]] = nothing_acked,
    ) -> None:
        """Wrap `stream`; the first arguments are those of `MonitoredStream`."""
        super().__init__(stream, head=head, remember=remember)
        self.silent_for, self.acked_bytes = silent_for, acked_bytes
        self._sends = trio.Lock()

    def pop_work(self) -> int:
        """Return how many TLS records with next to no content have come since the last call."""
        return self._stream.pop_work() if isinstance(self._stream, TLSStream) else 0

    async def send_buffers(self, buffers: Sequence[Buffer | SplicedBytes]) -> None:
        """Send as the inner stream does, after the sends that began before."""
        try:
            self._sends.acquire_nowait()
        except trio.WouldBlock:
            await self._sends.acquire()
        try:
            if self.broken:
                raise trio.BrokenResourceError
            if self.patience == math.inf:
                await super().send_buffers(buffers)
                return
            with within(self.patience) as deadline:
                await super().send_buffers(buffers)
            if deadline.is_over:
                if self.on_unread is not None:
                    self.on_unread()
                await trio.aclose_forcefully(self._stream)  # a read that waits ends, too
                raise trio.BrokenResourceError
        finally:
            self._sends.release()

    async def hang_up(self, linger: float) -> None:
        """Close the inner stream by force, after `linger` seconds at most in which the other end may close it."""
        try:
            with (
                trio.move_on_after(linger),
                contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError),
            ):
                while linger and await drop_some(self._stream):
                    pass
        finally:
            await trio.aclose_forcefully(self._stream)
