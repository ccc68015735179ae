"""Streams that are watched: when they last moved, whether a send was cut off, who may use them next."""

from __future__ import annotations

import contextlib
import math
from typing import TYPE_CHECKING, cast

import trio

from p2p_copy.transport import limits
from p2p_copy.transport.tcp import GatheringStream, TCPStream, send_buffers
from p2p_copy.transport.timeouts import within
from p2p_copy.transport.tls import TLSStream, drop_some

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from p2p_copy.transport.bypass import ReadWindow
    from p2p_copy.transport.splice import SplicedBytes, SplicePipe
    from p2p_copy.transport.tcp import Buffer


class MonitoredStream(GatheringStream):
    """A stream that knows when it last moved, whether a send was cut off, and the first bytes that came.

    Attributes:
        first: up to `remember` of the first bytes received.
        heard, sent: Trio's time when something was last received, and when a send was last completed.
        sending: a send is under way.
        broken: a send was cancelled or failed, so nobody knows how much of it is out.

    """

    def __init__(self, stream: trio.abc.Stream, *, head: bytes = b"", remember: int = 0) -> None:
        """Wrap `stream`; `head` is received before anything that comes from it."""
        self._stream = stream
        self._head = head
        self._remember = remember
        self.first = b""
        self.heard = self.sent = trio.current_time()
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
            self.heard = trio.current_time()
            if len(self.first) < self._remember:
                self.first += data[: self._remember - len(self.first)]
        return data

    @property
    def is_plain(self) -> bool:
        """Whether it is a connection of the system itself, on which parcels can be sent and received."""
        return isinstance(self._stream, TCPStream)

    async def receive_parcel(self, duct: SplicePipe, most: int, least: int) -> SplicedBytes | None:
        """Receive as the inner stream does, which must be plain."""
        assert isinstance(self._stream, TCPStream)
        parcel = await self._stream.receive_parcel(duct, most, least)
        if parcel is not None:
            self.heard = trio.current_time()
        return parcel

    @property
    def unread(self) -> int:
        """Bytes that the inner stream has received and not handed on."""
        return len(self._head) + (self._stream.unread if isinstance(self._stream, GatheringStream) else 0)

    def limit_reads(self, allow: Callable[[int], int] | None) -> None:
        """Limit those of the inner stream."""
        if isinstance(self._stream, GatheringStream):
            self._stream.limit_reads(allow)

    def limit_unsent(self, most: int) -> None:
        """Limit what is not on its way of the inner stream."""
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
                await send_buffers(
                    self._stream, cast("Sequence[Buffer]", buffers)
                )  # nobody else is sent parcels
        except BaseException:
            self.broken = True
            raise
        finally:
            self.sending = False
        self.sent = trio.current_time()

    async def wait_send_all_might_not_block(self) -> None:
        """Wait as the inner stream does."""
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        """Close the inner stream."""
        await self._stream.aclose()


def nothing_owed() -> float:
    """Say that nobody can tell."""
    return 0.0


def nothing_acked() -> tuple[int, bool]:
    """Say that nobody can tell."""
    return 0, False


class LinkStream(MonitoredStream):
    """A tap for the WebSocket library, which closes what it is given as soon as its last frame is out.

    A close with bytes unread becomes a reset, and that can overtake the frame. So `aclose` only ends the use of
    this stream; whoever holds it closes it with `hang_up`.

    Attributes:
        before_reading: waited for before every read; what it returns, if anything, comes instead of bytes from the
            stream.
        pause: told before every read how much work there was since the last one (`TLSStream.take_work`), and asked for
            how many seconds to put it off; None for none.
        patience: seconds that one send may take; one that takes longer cuts the connection. Without such a limit the
            system's own holds, if it has one (`limits.TCP_USER_TIMEOUT`).
        on_unread: is called when that has happened.
        silent_for: tells for how many seconds the other machine has not answered (`tcp_info.silent_for`).
        most: the most bytes that the next read may bring, 0 for any number.
        window: what limits reading besides, if anything does.
        acked_bytes: tells what of what was sent the other machine has acknowledged (`tcp_info.acked_bytes`).

    """

    _done = False
    most = 0
    patience = math.inf
    on_unread: Callable[[], None] | None = None
    before_reading: Callable[[LinkStream], Awaitable[bytes]] | None = None
    pause: Callable[[int], float] | None = None
    window: ReadWindow | None = None

    def __init__(self, stream: trio.abc.Stream, *, head: bytes = b"", remember: int = 0) -> None:
        """Wrap `stream` as a tap does."""
        super().__init__(stream, head=head, remember=remember)
        self.silent_for: Callable[[], float] = nothing_owed
        self.acked_bytes: Callable[[], tuple[int, bool]] = nothing_acked
        self._sends = trio.Lock()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """Receive as the inner stream does."""
        rest = await self.before_reading(self) if self.before_reading is not None else b""
        if self.pause is not None and (seconds := self.pause(self._take_work())) > 0:
            await self._put_off(seconds)
        if rest:
            await trio.lowlevel.checkpoint()
            return rest
        if self._done:
            raise trio.ClosedResourceError
        if self.most and (max_bytes is None or max_bytes > self.most):
            max_bytes = self.most
        self.most = 0
        return await super().receive_some(max_bytes)

    def _take_work(self) -> int:
        return self._stream.take_work() if isinstance(self._stream, TLSStream) else 0

    async def _put_off(self, seconds: float) -> None:
        """Wait, unless there was a reset, which would be noticed only behind all that was sent before it."""
        until = trio.current_time() + seconds
        while (rest := until - trio.current_time()) > 0:
            await trio.sleep(min(rest, limits.PACE_CHECK))
            if self.silent_for() == math.inf:
                raise trio.BrokenResourceError

    async def send_buffers(self, buffers: Sequence[Buffer | SplicedBytes]) -> None:
        """Send as the inner stream does, after those who came before."""
        try:
            self._sends.acquire_nowait()
        except trio.WouldBlock:
            await self._sends.acquire()
        try:
            if self._done:
                raise trio.ClosedResourceError
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
                await trio.aclose_forcefully(self._stream)  # whoever reads from it learns of it as well
                raise trio.BrokenResourceError
        finally:
            self._sends.release()

    async def aclose(self) -> None:
        """Send and receive no more."""
        self._done = True
        await trio.lowlevel.checkpoint()

    async def hang_up(self, linger: float) -> None:
        """Close the inner stream by force, after `linger` seconds at most in which the other end may do so."""
        self._done = True
        try:
            with (
                trio.move_on_after(linger),
                contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError),
            ):
                while linger and await drop_some(self._stream):
                    pass
        finally:
            await trio.aclose_forcefully(self._stream)
