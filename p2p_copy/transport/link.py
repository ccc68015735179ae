"""A link: one WebSocket connection that is alive or broken, and says which.

Rules:
1. Whatever the other end sends, it ends at most this link. The library's reader raises many exceptions on hostile
   input; `Link.read` raises none of them, it ends, and with it the link.
2. A cancelled or failed send ends the link at once, because it is unknown how much of the message is out. The other end
   sees an abnormal close and never a wrong message.
3. Silence is filled with pings. A peer that answers none is gone, unless this side has stopped reading from it.
4. Closing is polite for a bounded time, then forceful.
5. Exceptions of the libraries, and groups of exceptions, stop here.
6. Nothing is read before all that came was received from this link, but for what `read_ahead` allows. So a receiver
   that takes nothing slows the sender down, and needs memory for that and one read.
"""

from __future__ import annotations

import contextlib
import math
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

import anyio
import trio

from p2p_copy.transport import limits
from p2p_copy.transport.codec import NotOpen, Piece
from p2p_copy.transport.link_io import Reader
from p2p_copy.transport.splicer import Splicer
from p2p_copy.transport.timeouts import within
from p2p_copy.transport.websocket import WebSocket

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence

    from p2p_copy.transport.codec import Codec
    from p2p_copy.transport.link_io import LinkStream, ReadWindow
    from p2p_copy.transport.pacer import Pacer
    from p2p_copy.transport.splice import SplicePipe
    from p2p_copy.transport.tcp import Buffer

T = TypeVar("T")

ABNORMAL: Final = 1006
"""Close code of a connection that ended without a close frame (RFC 6455 section 7.4.1)."""

VIOLATIONS: Final = frozenset({1002, 1003, 1007, 1009})
"""Close codes of links on which the rules of WebSocket, or a limit, were broken."""

POLITE: Final = frozenset({1000, 1001, 1005})
"""Close codes of a proper end: done, going away, and none at all, as browsers send it."""


class LinkBroken(anyio.BrokenResourceError):
    """The link ended before its work was done.

    Attributes:
        close_code: from the peer's close frame, or `ABNORMAL`. A `POLITE` code means that the peer closed
            properly while this side still wanted to send.
        reason: from the peer's close frame, as it came: not fit for printing.

    """

    def __init__(
        self, sentence: str = "The connection broke.", close_code: int = ABNORMAL, reason: str = ""
    ) -> None:
        super().__init__(sentence)
        self.close_code = close_code
        self.reason = reason


LINK_ERRORS: Final = (anyio.EndOfStream, LinkBroken)
"""How the other end can end a link."""


class Link:
    """Messages both ways. `connect` and `accept` make it. Any number of tasks may send, one may receive.

    Attributes:
        sets_aside: returns whether a text goes to `aside` instead of to `receive`; if it is None, no text does.
        aside: the last text that was put aside.
        is_plain: whether it is a connection without TLS.
        silent_for, acked_bytes, limit_unsent: those of the stream below, see `GatheringStream`.

    """

    def __init__(
        self,
        stream: LinkStream,
        codec: Codec,
        *,
        host: str | None = None,
        path: str | None = None,
        pace: Callable[[int], float] | None = None,
    ) -> None:
        """Prepare a link over `stream`.

        Args:
            stream: carries the bytes; the link closes it.
            codec: the codec of this end.
            host: the host in the request; only for clients.
            path: the path in the request; only for clients.
            pace: see `endpoints.accept`.

        """
        self._stream = stream
        self._codec = codec
        self._reader = Reader(stream, codec, pace)
        self._inbox = self._reader.inbox
        self._websocket = WebSocket(codec, self._reader.next_bytes, self._reader.answer, host=host, path=path)
        self._reading = trio.CancelScope(shield=True)  # what is said at the end must be read, too
        self._over = False  # the reader has ended, so nothing more will come
        self._waits: set[trio.CancelScope] = set()
        self.sets_aside: Callable[[str], bool] | None = None
        self.aside = ""
        self.is_plain = stream.is_plain
        self.silent_for, self.acked_bytes = stream.below.silent_for, stream.below.acked_bytes
        self.limit_unsent = stream.below.limit_unsent
        self._failure: LinkBroken | None = None
        self._closed = False  # from this side

    async def wait_open(self) -> None:
        """Wait until a server has accepted this client's request.

        Raises:
            LinkBroken: the link ended before that.

        """
        await self._until_over(self._websocket.wait_open)

    async def accept_request(self) -> str:
        """Wait for a client's request, accept it, and return its path.

        Raises:
            LinkBroken: there was no proper request, or the client has gone.

        """
        try:
            return await self._until_over(self._websocket.accept_request)
        except LinkBroken:
            raise
        except Exception:
            raise LinkBroken("The client went away while it was answered.") from None

    def limit_sends(self, seconds: float) -> None:
        """End the link when a send, from now on, takes longer than `seconds`."""
        self._stream.patience = seconds

    def lift_early_limit(self) -> None:
        """Lift the limit on early messages that was given to `accept`."""
        self._codec.lift_early_limit()

    def limit_reading(self, window: ReadWindow) -> None:
        """Let `window` decide from now on when a read may begin, and how much it may bring."""
        self._reader.limit(window)

    def read_ahead(self, size: int, messages: int) -> None:
        """Let reads begin while up to `size` bytes of messages wait to be received; at first none may.

        `messages` is how many long ones there are at once, with those that were received and are in use. Their memory
        is used again as soon as nobody has them. Only for clients.
        """
        self._inbox.room = size
        self._codec.use_memory(messages)

    def limit_rate(self, pacer: Pacer, *, sends: bool) -> None:
        """Keep what is sent from now on, or else what is received, to the rate of `pacer`, which other links may share.

        The rate of what is sent may change later, that of what is received may not.
        """
        if sends:
            self._stream.send_pacer = pacer
        else:
            self._stream.receive_pacer = pacer
            # TLS reads as much as has come, whatever it is asked for.
            self._stream.below.limit_reads(partial(min, pacer.piece))

    @contextmanager
    def splicing(self, target: Link) -> Iterator[None]:
        """Splice what is received here and sent on over `target`, where that is possible.

        It is possible between plain links, for long messages that need no decoding. Whenever `receive_pieces` returns
        nothing, such a message comes next: call `splice` until that returns 0. When the body ends, spliced bytes that
        were not sent yet are thrown away.
        """
        if self.is_plain and target.is_plain:
            self._reader.splicer = Splicer(self._stream, self._codec, self._reader.pace)
        try:
            yield
        finally:
            self.drop_spliced()

    def release_pipe(self, *, idle: bool) -> None:
        """Give back the pipe for spliced bytes if the link is idle, and try again to get one if there was none.

        To be called now and then while the link splices.
        """
        if self._reader.splicer is not None:
            self._reader.splicer.pipe.release(idle=idle)

    def drop_spliced(self) -> None:
        """Throw away spliced bytes that were not sent yet, and splice no more."""
        if self._reader.splicer is not None:
            self._reader.splicer.close()

    def stop_splicing(self) -> None:
        """Have a call of `splice` that waits return, and splice no more; what was taken can still be sent."""
        if self._reader.splicer is not None:
            self._reader.splicer.withdraw()

    async def splice(self) -> int:
        """Take the next part of a long message, to be sent by `send_spliced` of the other link; return its bytes.

        0 means that what comes next is to be received. Cancelling loses what was taken.
        """
        return 0 if self._reader.splicer is None else await self._reader.splicer.take()

    @property
    def spliced(self) -> int:
        """Bytes that have been taken by `splice` so far, and by `send_spliced` of the other link."""
        return 0 if self._reader.splicer is None else self._reader.splicer.taken

    @property
    def splice_ends_message(self) -> bool:
        """Whether the part that was spliced last is the last one of its message."""
        return self._reader.splicer is not None and self._reader.splicer.ends_message

    async def receive(self) -> bytes | str:
        """Return the next message; wait only if there is none. Cancelling loses nothing.

        Raises:
            EndOfStream: the peer closed properly, and everything that it sent before was received.
            LinkBroken: the link ended in any other way.
            ClosedResourceError: this side closed the link.

        """
        (message,) = await self.receive_some(1)
        return message

    async def receive_some(self, most: int) -> list[bytes | str]:
        """Return up to `most` messages that have come, at least one. In all other respects this is `receive`."""
        await self.wait_for_message()
        messages: list[bytes | str] = []
        while len(messages) < most and self._has_message():
            data, _, is_text = self._inbox.pop()
            messages.append(bytes(data).decode() if is_text else bytes(data))  # no copy, unless it is a view
        return messages

    async def wait_for_message(self) -> None:
        """Wait until `receive` need not wait. In all other respects this is `receive`."""
        await self._wait_for_piece()
        while not self._has_message():
            await self._wait_for_piece()

    def _has_message(self) -> bool:
        """Return whether a message can be received, after putting aside what comes before it."""
        while self._inbox:
            if self.sets_aside is None or not self._inbox.first.is_text:
                return True
            text = bytes(self._inbox.first.data).decode()
            if not self.sets_aside(text):
                return True
            self._inbox.pop()
            self.aside = text
        return False

    async def receive_pieces(self) -> list[Piece]:
        """Return all pieces that have come; none only while `splicing`. In all other respects this is `receive`."""
        await self._wait_for_piece()
        return self._inbox.pop_all()

    async def _wait_for_piece(self) -> None:
        self._check()
        if not await self._inbox.wait_for_piece():
            self._check()
            raise self._end()

    async def send(self, item: bytes | str) -> None:
        """Send one message. Cancelling ends the link, and the peer learns of it.

        Raises:
            LinkBroken: the link has ended. What the peer sent before can still be received.
            ClosedResourceError: this side closed the link.

        """
        await self.send_all((item,))

    async def send_all(self, items: Iterable[bytes | str]) -> None:
        """Send messages, one after the other. In all other respects this is `send`."""
        await self.send_pieces(map(Piece.whole, items))

    async def send_pieces(self, pieces: Iterable[Piece]) -> None:
        """Send messages, the last of which may go on in the next call. In all other respects this is `send`."""
        await self._send(lambda: self._codec.encode(pieces))

    async def send_spliced(self, source: Link, until: float) -> None:
        """Send the part of a message that `source` has taken by `splice`. In all other respects this is `send`.

        Until Trio's time `until`, send all further parts, too, for which neither link has to wait.
        """
        splicer = source._reader.splicer
        assert splicer is not None, "it has spliced"
        pipe = splicer.pipe

        def part() -> Sequence[Buffer | SplicePipe]:
            return [self._codec.piece_header(pipe.size, last=splicer.ends_message), pipe]

        def next_part() -> Sequence[Buffer | SplicePipe]:
            return part() if trio.current_time() < until and splicer.take_now() else ()

        await self._send(part, next_part)

    async def _send(
        self,
        encode: Callable[[], Sequence[Buffer | SplicePipe]],
        more: Callable[[], Sequence[Buffer | SplicePipe]] | None = None,
    ) -> None:
        self._check()
        try:
            await self._stream.send_buffers(encode(), more)
        except (trio.BrokenResourceError, trio.ClosedResourceError, NotOpen):
            self._check()
            raise self._lost() from None
        except BaseException as error:
            self.abort()
            if isinstance(error, Exception):
                raise self._lost() from error
            raise

    async def ping(self) -> None:
        """Send a ping and wait for its pong, which can be read only while this side keeps receiving.

        Raises:
            LinkBroken: the link has ended.
            ClosedResourceError: this side closed the link.

        """
        self._check()
        try:
            await self._until_over(self._websocket.ping)
        except trio.BrokenResourceError:
            self._check()
            raise self._lost() from None
        finally:
            if self._stream.broken:
                self.abort()

    @property
    def heard_at(self) -> float:
        """Trio's time when bytes last came."""
        return self._stream.received_at

    @property
    def under_way(self) -> int:
        """Bytes that have come of a message whose rest has to come before it can be received."""
        return self._reader.under_way

    @property
    def buffered(self) -> int:
        """Bytes of memory for all that has come and was not received from this link."""
        # A relay asks for this many times for each read.
        buffered = self._codec.decoder.here + self._codec.kept + self._inbox.weight
        return buffered if self.is_plain else buffered + self._stream.below.unread

    async def aclose(self) -> None:
        """Close with code 1000."""
        await self.close(1000)

    async def close(self, code: int, reason: str = "", *, patience: float = limits.GOODBYE_TIMEOUT) -> None:
        """Send a close frame, wait until the peer has received everything, then close the connection. Never fails.

        The peer has `patience` seconds. A client waits longer for its relay, as long as bytes move in either direction
        and at most `limits.PARTING_LIMIT` seconds: a relay that limits the rate reaches the close frame late.
        """

        def moves() -> object:
            return (self.acked_bytes(), self.heard_at) if self._codec.is_client else None

        if self._closed or self._failure is not None:
            self._closed = True  # from now on this side has closed it, even if it was lost before
            await trio.lowlevel.checkpoint()
            return
        self._closed = True
        self._reader.lift_limits()
        try:
            with (
                within(patience, moves=moves, most=limits.PARTING_LIMIT),
                contextlib.suppress(Exception),
            ):
                await self._until_over(partial(self._websocket.close, code, reason))
                await self._until_over(trio.sleep_forever)
        finally:
            self.abort()

    def abort(self) -> None:
        """End the link at once, without a close frame. Every use from now on raises."""
        self._failure = self._failure or LinkBroken()
        self._reading.cancel()

    def _check(self) -> None:
        if self._closed:
            raise anyio.ClosedResourceError
        if self._failure is not None:
            raise self._lost()

    def _end(self) -> anyio.EndOfStream | LinkBroken:
        lost = self._lost()
        return anyio.EndOfStream() if lost.close_code in POLITE else lost

    def _lost(self) -> LinkBroken:
        if self._failure is not None:
            return LinkBroken(str(self._failure), self._failure.close_code)
        if self._codec.closed is None:
            return LinkBroken()
        code, reason = self._codec.closed
        return LinkBroken(close_code=code, reason=reason)

    async def _until_over(self, wait: Callable[[], Awaitable[T]]) -> T:
        """Wait for something that only the reader can cause; raise LinkBroken if the reader ends first."""
        if not self._over:
            with trio.CancelScope() as scope:
                self._waits.add(scope)
                try:
                    return await wait()
                finally:
                    self._waits.discard(scope)
        raise self._lost()

    async def read(self) -> None:
        """Read until the link ends, whatever ends it. This task must run as long as the link is used."""
        try:
            with self._reading:
                await self._websocket.run()
                if (closed := self._codec.closed) is not None:
                    self._reader.put_rest()
                    await self._inbox.wait_empty()  # the end tells the peer that all was received
                    if closed[0] in VIOLATIONS:  # the peer is likely to be in the middle of a message
                        await self._stream.hang_up(limits.HTTP_LINGER)
        except Exception:  # a peer can provoke any; see rule 1
            self._failure = self._failure or LinkBroken("The other end broke the WebSocket protocol.")
        finally:
            self._over = True
            self._reader.put_rest()
            self._inbox.end()
            for scope in self._waits:
                scope.cancel()
            await self._stream.hang_up(0)

    async def keep_alive(self) -> None:
        """Ping when nothing moves; end the link when it is certain that the other end is gone."""
        stream = self._stream
        with contextlib.suppress(LinkBroken, anyio.ClosedResourceError):
            while not self._over:
                if limits.VANISHED <= self.silent_for() < math.inf:
                    self.abort()  # the kernel would go on trying for `limits.TCP_USER_TIMEOUT`
                    return
                rest = (
                    max(stream.received_at, stream.sent_at) + limits.KEEPALIVE_INTERVAL - trio.current_time()
                )
                if stream.sending or rest > 0:
                    await trio.sleep(min(rest, limits.VANISHED_CHECK) if rest > 0 else limits.VANISHED_CHECK)
                    continue
                with within(limits.KEEPALIVE_TIMEOUT) as patience:
                    await self.ping()
                # A pong may have come behind messages that were not received yet: then the peer is not silent.
                deaf_until = max(stream.received_at, self._reader.listening_since)
                if patience.is_over and deaf_until + limits.KEEPALIVE_TIMEOUT <= trio.current_time():
                    self.abort()
