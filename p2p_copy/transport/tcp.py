"""TCP with few trips through the event loop, sends that copy nothing, and what the kernel knows of the other end.

`TCPStream` keeps the promises of trio's own `SocketStream`, and passes trio's conformance checks. That stream makes a
trip for every system call; this one makes none after it has waited. And it sends several buffers as if they were one.
"""

from __future__ import annotations

import math
import socket
import struct
import sys
from abc import abstractmethod
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar, cast

import trio

from p2p_copy.transport import limits
from p2p_copy.transport.short_turn import short_turn
from p2p_copy.transport.splice import MORE_FOLLOWS, SplicePipe

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Buffer: TypeAlias = bytes | bytearray | memoryview
T = TypeVar("T")

_MOST_BUFFERS: Final = 512
"""Buffers of one system call. Linux takes 1024; POSIX promises 16, but no system takes fewer than this."""

_NOTSENT_LOWAT: Final[int | None] = getattr(socket, "TCP_NOTSENT_LOWAT", None)  # not on Windows

_TCP_INFO: Final = struct.Struct("Bx2B52xI")
"""Of Linux' struct tcp_info: state, retransmissions and probes in a row, milliseconds since the last ACK."""

_TCP_INFO_BYTES: Final = struct.Struct("120xQ16xI")
"""Of the same, since Linux 4.6: bytes that were acknowledged, and bytes that were never sent yet."""

_TCP_CLOSE: Final = 7
"""State of a connection that was reset (Linux' net/tcp_states.h). Bytes that came before may still be unread."""


class GatheringStream(trio.abc.Stream):
    """A stream that sends several buffers as if they were one."""

    @abstractmethod
    async def send_buffers(self, buffers: Sequence[Buffer]) -> None:
        """Send all bytes of all buffers, in order. In all other respects this is `send_all`."""

    async def send_all(self, data: Buffer) -> None:
        """Send all of `data`."""
        await self.send_buffers([data])

    async def receive_into(self, *buffers: memoryview) -> int:
        """Receive into these buffers, one after the other; return how many bytes. In all other respects this is
        `receive_some`.
        """
        data = memoryview(await self.receive_some(sum(map(len, buffers))))
        size = len(data)
        for buffer in buffers:
            part, data = data[: len(buffer)], data[len(buffer) :]
            buffer[: len(part)] = part
        return size

    @property
    def unread(self) -> int:
        """Bytes that were received from the system and not from this stream yet."""
        return 0

    def limit_reads(self, allow: Callable[[int], int] | None) -> None:
        """Let `allow` decide how many bytes a read may bring, as soon as some are there.

        It is called with the most that the read could bring, and with 0 when none were there after all. None takes the
        limit away. A stream that is not on a socket has no such limit.
        """

    def limit_unsent(self, most: int) -> None:
        """Let the system hold about `most` bytes that it has not put on the network yet, if it can be told so."""

    def silent_for(self) -> float:
        """Return for how many seconds the other machine has not answered although it should have.

        It is 0 if no answer is due, and on streams and systems that cannot tell; infinite after a reset.

        An answer is due when our kernel has repeated a packet, or has asked whether a closed window is open again. A
        machine whose program stalls still answers; one that has vanished does not. This tells the two apart, for
        programs and disks may stall for as long as `limits.TCP_USER_TIMEOUT`.
        """
        return 0.0

    def acked_bytes(self) -> tuple[int, bool]:
        """Return how many bytes the other machine has acknowledged, and whether more wait in our kernel to be sent.

        On streams and systems that cannot tell it is `(0, False)`.
        """
        return 0, False


class Joining(GatheringStream):
    """Any other stream, as one that gathers: buffers are joined before they are sent."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """Receive as the stream does."""
        return await self._stream.receive_some(max_bytes)

    async def send_buffers(self, buffers: Sequence[Buffer]) -> None:
        """Send all bytes of all buffers."""
        await self._stream.send_all(b"".join(buffers))

    async def wait_send_all_might_not_block(self) -> None:
        """Wait as the stream does."""
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        """Close the stream."""
        await self._stream.aclose()


def gathering(stream: trio.abc.Stream) -> GatheringStream:
    """Return `stream` as a stream that sends several buffers at once. A stream of Trio has to join them before."""
    return stream if isinstance(stream, GatheringStream) else Joining(stream)


def at_most(max_bytes: int | None) -> int:
    """Return how many bytes a receive may bring that was called with `max_bytes`.

    Raises:
        ValueError: that is less than one byte.

    """
    if max_bytes is None:
        return limits.RECEIVE_BUFFER
    if max_bytes < 1:
        raise ValueError("max_bytes must be at least 1")
    return max_bytes


class UnsentLimit:
    """How many bytes the kernel may hold unsent on a connection: more while it is fast, which takes fewer trips."""

    def __init__(self, sent: int = 0) -> None:
        """Begin with `limits.UNSENT`; `sent` bytes have been sent before."""
        self.value: int = limits.UNSENT
        self._sent = sent
        self._since = trio.current_time()

    @property
    def is_due(self) -> bool:
        """Whether `limits.UNSENT_CHECK` has passed since the last measurement of the rate."""
        return trio.current_time() - self._since >= limits.UNSENT_CHECK

    def follow(self, sent: int) -> int:
        """Return the limit that fits the rate since the last call, now that `sent` bytes have been sent in all."""
        seconds = trio.current_time() - self._since
        suits = (sent - self._sent) / seconds * limits.UNSENT_SECONDS
        self._sent, self._since = sent, self._since + seconds
        self.value = int(min(max(suits, limits.UNSENT), limits.UNSENT_MOST))
        return self.value


class TCPStream(GatheringStream, trio.abc.HalfCloseableStream):
    """One end of a connection, TCP or of a unix socket.

    Attributes:
        socket: the socket, for its options and addresses.
        most: the most bytes that one read brings, whatever the caller asks for.
        pace: is called with the number of bytes of each read, and returns for how many seconds to put off the next one;
            None for no such limit.
        on_urgent: is called when an urgent byte keeps the system from splicing.

    """

    pace: Callable[[int], float] | None = None
    on_urgent: Callable[[], None] | None = None

    def __init__(self, stream: trio.SocketStream) -> None:
        """Take over the socket of `stream`, which cannot be used any more."""
        self.socket = socket.socket(fileno=stream.socket.detach())
        self.socket.setblocking(False)
        self.most = limits.RECEIVE_BUFFER
        self._not_before = 0.0  # Trio's time of the next read; 0 for any time
        # An urgent byte then stays among the others (RFC 6093); otherwise it would be taken out of the stream.
        with suppress(OSError):
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
        self.limit_unsent(limits.UNSENT)
        self._sending = False
        self._finished = False
        self._allow: Callable[[int], int] | None = None

    def limit_reads(self, allow: Callable[[int], int] | None) -> None:
        """Ask `allow` before each receive."""
        self._allow = allow

    def limit_unsent(self, most: int) -> None:
        """Let the kernel hold about `most` bytes that it has not put on the network yet."""
        if _NOTSENT_LOWAT is not None:
            with suppress(OSError):  # a unix socket, or one that is closed
                self.socket.setsockopt(socket.IPPROTO_TCP, _NOTSENT_LOWAT, most)

    def tune(self) -> None:
        """Make the kernel find out that the other end is gone, as far as the system can do that."""
        idle, interval, count = limits.TCP_KEEPALIVE
        options = [
            (socket.SOL_SOCKET, "SO_KEEPALIVE", 1),
            (socket.IPPROTO_TCP, "TCP_KEEPIDLE", idle),
            (socket.IPPROTO_TCP, "TCP_KEEPINTVL", interval),
            (socket.IPPROTO_TCP, "TCP_KEEPCNT", count),
            (socket.IPPROTO_TCP, "TCP_USER_TIMEOUT", int(limits.TCP_USER_TIMEOUT * 1000)),
        ]
        for level, name, value in options:
            if hasattr(socket, name):
                with suppress(OSError):  # the connection may be gone already; its next use says so
                    self.socket.setsockopt(level, getattr(socket, name), value)

    def silent_for(self) -> float:
        """See `GatheringStream`. Only Linux can tell."""
        return silence_in(self._tcp_info(_TCP_INFO.size))

    def acked_bytes(self) -> tuple[int, bool]:
        """See `GatheringStream`. Only Linux can tell."""
        info = self._tcp_info(_TCP_INFO_BYTES.size)
        if len(info) < _TCP_INFO_BYTES.size:
            return 0, False
        acked, unsent = _TCP_INFO_BYTES.unpack_from(info)
        return acked, unsent > 0

    def _tcp_info(self, size: int) -> bytes:
        """Return up to `size` bytes of Linux' struct tcp_info; none elsewhere."""
        if sys.platform != "linux":
            return b""
        try:
            info: object = self.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, size)
        except OSError:  # a unix socket, or closed
            return b""
        return info if isinstance(info, bytes) else b""

    async def peek(self, most: int = 1) -> bytes:
        """Wait for the next bytes and return up to `most`, but leave them to be received; nothing at the end."""
        return await self._received(most, socket.MSG_PEEK)

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Wait until something has come, and receive it.

        Raises:
            BrokenResourceError: the connection is broken.
            ClosedResourceError: this stream is closed.
            BusyResourceError: another task is receiving.

        """
        return await self._received(at_most(max_bytes))

    def receive_header_now(self, size: int) -> bytes | None:
        """Receive up to `size` bytes, so few that no limit of reads holds; None if none are there or no read is due.

        A whole header does not count for `pace`: the payload that it announces does. Otherwise as `receive_some`.
        """
        if self._not_before:
            return None
        try:
            data = self.socket.recv(size)
        except BlockingIOError:
            return None
        except OSError as error:
            raise self._end(error) from error
        if 0 < len(data) < size and self.pace is not None:
            self._apply_pace(self.pace(len(data)))
        return data

    async def receive_header(self, size: int) -> bytes:
        """Wait until something has come. In all other respects this is `receive_header_now`."""
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._not_before:
            await self._put_off()
        return await self._once_readable(partial(self.receive_header_now, size))

    async def receive_into(self, *buffers: memoryview) -> int:
        """See `GatheringStream`. No limit of reads holds here."""
        await trio.lowlevel.checkpoint_if_cancelled()
        return await self._once_readable(partial(self._receive_into, buffers))

    def _receive_into(self, buffers: Sequence[memoryview]) -> int | None:
        try:
            if sys.platform == "win32":  # Python scatters nothing there
                return self.socket.recv_into(buffers[0])
            return self.socket.recvmsg_into(buffers)[0]
        except BlockingIOError:
            return None
        except OSError as error:
            raise self._end(error) from error

    async def receive_spliced(self, pipe: SplicePipe, most: int, least: int) -> int:
        """Receive up to `most` bytes into `pipe`, and at least `least`; return how many.

        Fewer bytes come if the connection ends, or if the pipe is full, which many small packets do early. None come
        if nothing can be spliced: the pipe is stopped, the connection has ended, or the next bytes need a plain read
        (the kernel splices nothing across an urgent byte, although the socket is readable).

        Raises:
            BrokenResourceError, ClosedResourceError: as when receiving bytes.

        """
        await trio.lowlevel.checkpoint_if_cancelled()
        size = 0
        is_ready = False
        while size < least:
            if self._not_before:
                await self._put_off()
            taken = self._splice(pipe, most - size, least - size)
            if taken is None:
                if is_ready:
                    if not pipe.size and self.on_urgent is not None:
                        self.on_urgent()
                    break
                await trio.lowlevel.wait_readable(self.socket)
                await short_turn()
                is_ready = True
                continue
            if not taken:
                break
            size += taken
            is_ready = False
        return size

    def splice_now(self, pipe: SplicePipe, most: int, least: int) -> int:
        """Receive into `pipe` what is there, or nothing if the next read is not due. Otherwise as `receive_spliced`."""
        return 0 if self._not_before else self._splice(pipe, most, least) or 0

    def _splice(self, pipe: SplicePipe, most: int, least: int) -> int | None:
        """Receive into `pipe` what is there; None if nothing is, 0 if nothing can be."""
        try:
            taken = pipe.fill_from(
                self.socket, most if self._allow is None else max(least, self._allow(most))
            )
        except BlockingIOError:
            if self._allow is not None:
                self._allow(0)
            return None
        except OSError as error:
            raise self._end(error) from error
        if 0 < taken < limits.RELAY_PIECE and self.pace is not None:  # more pays for the work of taking it
            self._apply_pace(self.pace(taken))
        return taken

    async def _received(self, most: int, flags: int = 0) -> bytes:
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._not_before:
            await self._put_off()
        most = min(most, self.most)
        data = await self._once_readable(partial(self._receive, most, flags))
        if self.pace is not None and not flags:
            self._apply_pace(self.pace(len(data)))
        return data

    async def _once_readable(self, receive: Callable[[], T | None]) -> T:
        """Return what `receive` returns as soon as that is not None."""
        received = receive()
        if received is not None:
            await trio.lowlevel.cancel_shielded_checkpoint()
        while received is None:
            await trio.lowlevel.wait_readable(self.socket)
            received = receive()
            if received is None:
                await trio.sleep(limits.FRUITLESS_PAUSE)
        return received

    def _apply_pace(self, seconds: float) -> None:
        """Put off the next read by `seconds`."""
        if seconds > 0:
            self._not_before = trio.current_time() + seconds

    async def _put_off(self) -> None:
        """Wait until the next read is due. More bytes arrive meanwhile, so there are fewer and longer reads."""
        await trio.sleep_until(self._not_before)
        self._not_before = 0.0

    def _receive(self, most: int, flags: int) -> bytes | None:
        try:
            return self.socket.recv(most if self._allow is None else self._allow(most), flags)
        except BlockingIOError:
            if self._allow is not None:
                self._allow(0)
            return None
        except OSError as error:
            raise self._end(error) from error

    async def send_buffers(self, buffers: Sequence[Buffer | SplicePipe]) -> None:
        """Send all bytes of all buffers, in order. Only the last one may be a pipe.

        After a cancelled send it is unknown how many are out.

        Raises:
            BrokenResourceError: the connection is broken.
            ClosedResourceError: this stream is closed.
            BusyResourceError: another task is sending.

        """
        self._begin_sending()
        try:
            await trio.lowlevel.checkpoint_if_cancelled()
            if self._finished:
                raise trio.ClosedResourceError("the end was sent")
            rest = self.send_now(buffers)
            if not rest:
                await trio.lowlevel.cancel_shielded_checkpoint()
            while rest:
                await trio.lowlevel.wait_writable(self.socket)
                if isinstance(rest[-1], SplicePipe):
                    await short_turn()
                before = len(rest), len(rest[0])
                rest = self.send_now(rest)
                if rest and before == (len(rest), len(rest[0])):
                    await trio.sleep(limits.FRUITLESS_PAUSE)
        finally:
            self._sending = False

    def send_now(self, buffers: Sequence[Buffer | SplicePipe]) -> Sequence[Buffer | SplicePipe]:
        """Send what the socket takes now; return the rest. In all other respects this is `send_buffers`."""
        pipe = buffers[-1]
        if not isinstance(pipe, SplicePipe):
            return self._send_bytes(cast("Sequence[Buffer]", buffers))
        head = cast("Sequence[Buffer]", buffers[:-1])
        if head and (rest := self._send_bytes(head, MORE_FOLLOWS)):
            return [*rest, pipe]
        try:
            pipe.drain_to(self.socket)
        except BlockingIOError:
            pass
        except OSError as error:
            raise self._end(error) from error
        return [pipe] if pipe.size else ()

    def _send_bytes(self, buffers: Sequence[Buffer], flags: int = 0) -> Sequence[Buffer]:
        if len(buffers) > (1 if sys.platform == "win32" else _MOST_BUFFERS):
            buffers = [b"".join(buffers)]
        try:
            if sys.platform == "win32":  # Python gathers nothing there
                sent = self.socket.send(buffers[0])
            else:
                sent = self.socket.sendmsg(buffers, (), flags)
        except BlockingIOError:
            return buffers
        except OSError as error:
            raise self._end(error) from error
        for at, buffer in enumerate(buffers):
            if sent < len(buffer):
                return [memoryview(buffer)[sent:], *buffers[at + 1 :]]
            sent -= len(buffer)
        return ()

    def _end(self, error: OSError) -> Exception:
        if self.socket.fileno() < 0:
            return trio.ClosedResourceError("this stream is closed")
        return trio.BrokenResourceError(f"the connection broke: {error}")

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until the socket may take more."""
        self._begin_sending()
        try:
            await trio.lowlevel.checkpoint_if_cancelled()
            await trio.lowlevel.wait_writable(self.socket)
        finally:
            self._sending = False

    async def send_eof(self) -> None:
        """Tell the other end that nothing more will be sent."""
        self._begin_sending()
        try:
            await trio.lowlevel.checkpoint()
            if not self._finished:
                self._finished = True
                self.socket.shutdown(socket.SHUT_WR)
        except OSError as error:
            raise self._end(error) from error
        finally:
            self._sending = False

    def _begin_sending(self) -> None:
        if self._sending:
            raise trio.BusyResourceError("another task is sending")
        if self.socket.fileno() < 0:
            raise trio.ClosedResourceError("this stream is closed")
        self._sending = True

    async def aclose(self) -> None:
        """Close the connection. A call that is waiting raises ClosedResourceError."""
        if self.socket.fileno() >= 0:
            trio.lowlevel.notify_closing(self.socket)
            self.socket.close()
        await trio.lowlevel.checkpoint()


def silence_in(info: bytes) -> float:
    """Return what `TCPStream.silent_for` does, given Linux' struct tcp_info."""
    if len(info) < _TCP_INFO.size:
        return 0.0
    state, repeated, probes, silent = _TCP_INFO.unpack_from(info)
    if state == _TCP_CLOSE:
        return math.inf
    return silent / 1000 if max(repeated, probes) >= limits.TCP_UNANSWERED else 0.0
