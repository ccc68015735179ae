"""A link: one WebSocket connection that is alive or broken, and says which.

This is the only module that names trio-websocket, which keeps the connection: handshakes, pings, goodbyes. Messages go
past it, in through the inbox of `codec`, out through the stream: that takes a third of the trips through the event
loop, and fewer copies. Its rules:

1. Whatever the other end sends ends at most this link. The library's reader task raises many things on hostile
   input; here it never raises, it only ends, and with it the link.
2. A cancelled or failed send ends the link at once, because nobody knows how much of the message is out. The
   other end sees an abnormal close and never a wrong message.
3. Silence is filled with pings. A peer that answers none is gone; one that we do not read from is not.
4. Closing is polite for a bounded time, then forceful.
5. Exceptions of the libraries, and groups of exceptions, stop here.
"""

from __future__ import annotations

import contextlib
import math
import os
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar, cast

import anyio
import trio
from anyio.abc import ObjectStream
from trio_websocket import ConnectionClosed, WebSocketConnection
from wsproto.utilities import LocalProtocolError

from p2p_copy.transport import limits
from p2p_copy.transport.bypass import aligned, passing
from p2p_copy.transport.codec import Received
from p2p_copy.transport.inbox import Piece
from p2p_copy.transport.splice import SplicedBytes, SplicePipe
from p2p_copy.transport.timeouts import within

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from p2p_copy.transport.bypass import ReadWindow
    from p2p_copy.transport.codec import Codec
    from p2p_copy.transport.monitored import LinkStream

T = TypeVar("T")

ABNORMAL: Final = 1006
"""Close code of a connection that ended without a close frame (RFC 6455 section 7.4.1)."""

VIOLATIONS: Final = frozenset({1002, 1003, 1007, 1009})
"""Close codes of links on which the rules of WebSocket, or a limit, were broken."""

POLITE: Final = frozenset({1000, 1001, 1005})
"""Close codes of a proper end: done, going away, and none at all, as browsers send it."""


class LinkBroken(anyio.BrokenResourceError):
    """The link ended, and not because its work was done.

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


class _Stream(trio.abc.Stream):
    """What the library reads from and writes to: what it has received and passed on, it does not keep."""

    def __init__(self, tap: LinkStream) -> None:
        self._tap = tap

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return cast("bytes", Received(cast("bytes", await self._tap.receive_some(max_bytes))))

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._tap.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._tap.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self._tap.aclose()


class Link(ObjectStream[bytes | str]):
    """Messages both ways. Made by `connect` and `accept`; any number of tasks may send, one may receive.

    Text of which `parts` says so is not received among the rest but laid `aside`: the last one is there. `silent_for`,
    `acked_bytes`, `is_plain` and `limit_unsent` are those of `LinkStream`.
    """

    def __init__(
        self, tap: LinkStream, codec: Codec, *, host: str | None = None, path: str | None = None
    ) -> None:
        """Prepare a link over `tap`. Only a client names host and path of its request."""
        self._tap = tap
        self._codec = codec
        self._inbox = codec.inbox
        tap.before_reading = partial(aligned, codec)
        self._duct = SplicePipe()  # nothing goes through it unless there is a bypass
        self._connection = WebSocketConnection(
            _Stream(tap),
            codec,
            host=host,
            path=path,
            receive_buffer_size=limits.RECEIVE_BUFFER,
        )
        self._is_client = host is not None
        self._reading = trio.CancelScope(shield=True)  # ends with the link: last words need a reader, too
        self._over = False  # the reader has ended: nothing more will ever come
        self._waits: set[trio.CancelScope] = set()
        self.parts: Callable[[str], bool] | None = None
        self.aside = ""
        self.silent_for, self.acked_bytes, self.is_plain = tap.silent_for, tap.acked_bytes, tap.is_plain
        self.limit_unsent = tap.limit_unsent
        self._failure: LinkBroken | None = None
        self._closed = False  # from this side

    def allow(self, patience: float) -> None:
        """Let each send from now on take so many seconds. One that takes longer ends the link."""
        self._tap.patience = patience

    def trust(self) -> None:
        """Lift the limit that `accept` was given for early messages."""
        self._codec.trust()

    def limit_reading(self, window: ReadWindow) -> None:
        """Let `window` decide from now on when there is room for another read, and how much it may bring."""
        self._tap.window = window
        self._tap.limit_reads(window.allow)

    def bypass(self, duct: SplicePipe) -> None:
        """Receive in `duct` what need not be seen, as parcels, which only plain links send. This must be one, too."""
        self._duct = duct
        self._tap.before_reading = partial(passing, self._codec, duct)

    async def receive(self) -> bytes | str:
        """Return the next message. Cancelling loses nothing. It waits only if there is none.

        Raises:
            EndOfStream: the peer closed properly, and everything that it sent before was received.
            LinkBroken: anything else ended the link.
            ClosedResourceError: it was closed from this side.

        """
        while True:
            await self._filled()
            data, _, is_text = self._inbox.take()
            assert not isinstance(data, SplicedBytes), "parcels are pieces"
            if not is_text:
                return data
            text = data.decode()
            if self.parts is None or not self.parts(text):
                return text
            self.aside = text

    async def receive_pieces(self) -> list[Piece]:
        """Return all that has come; in every other respect it is `receive`."""
        await self._filled()
        return self._inbox.take_all()

    async def _filled(self) -> None:
        self._check()
        if not await self._inbox.filled():
            self._check()
            raise self._end()

    async def send(self, item: bytes | str) -> None:
        """Send one message. Cancelling ends the link, and the peer learns of it.

        Raises:
            LinkBroken: the link is at its end. Whoever is receiving still hears what the peer said before.
            ClosedResourceError: it was closed from this side.

        """
        await self.send_pieces((Piece.whole(item),))

    async def send_pieces(self, pieces: Iterable[Piece]) -> None:
        """Send messages, the last of which may go on with the next call; in every other respect it is `send`."""
        self._check()
        try:
            await self._tap.send_buffers(self._codec.say(pieces))
        except (trio.BrokenResourceError, trio.ClosedResourceError, LocalProtocolError):
            self._check()
            raise self._lost() from None
        except BaseException as error:
            self.abort()
            if isinstance(error, Exception):
                raise self._lost() from error
            raise

    async def ping(self) -> None:
        """Send a ping and wait for the answer, which comes only while this side keeps receiving.

        Raises:
            LinkBroken: the link is at its end.
            ClosedResourceError: it was closed from this side.

        """
        self._check()
        try:
            await self._until_over(partial(self._connection.ping, os.urandom(8)))
        except ConnectionClosed:
            self._check()
            raise self._lost() from None
        finally:
            if self._tap.broken:
                self.abort()

    @property
    def heard_at(self) -> float:
        """Trio's time when anything came last."""
        return self._tap.heard

    @property
    def under_way(self) -> int:
        """Bytes that have come of what can be received when more is here."""
        return self._codec.under_way + self._duct.held

    @property
    def held(self) -> int:
        """Bytes of memory for all that has come and was not received from here."""
        return self._codec.held + self._tap.unread

    async def send_eof(self) -> None:
        """Close: WebSocket knows no half-closed connection."""
        await self.aclose()

    async def aclose(self) -> None:
        """Close with code 1000."""
        await self.close(1000)

    async def close(self, code: int, reason: str = "", *, patience: float = limits.GOODBYE_TIMEOUT) -> None:
        """Say goodbye and wait for the peer to have read everything; then cut. Never fails.

        A peer has `patience` seconds. A client gives its relay more, as long as that takes something or passes on what
        the other side says, and `limits.PARTING_LIMIT` in all: a relay with a limit on the rate reads slowly what came
        before the goodbye.
        """

        def moves() -> object:
            return (self.acked_bytes(), self.heard_at) if self._is_client else None

        if self._closed or self._failure is not None:
            self._closed = True  # and if it was cut before, it must not seem to be a proper end now
            await trio.lowlevel.checkpoint()
            return
        self._closed = True
        self._inbox.discard()
        if self._tap.window is not None:
            self._tap.window.lift()
        self._duct.stop()  # what comes now need not wait there
        try:
            with (
                within(patience, moves=moves, most=limits.PARTING_LIMIT),
                contextlib.suppress(Exception),
            ):
                await self._until_over(partial(self._connection.aclose, code, reason or None))
                await self._until_over(trio.sleep_forever)
        finally:
            self.abort()

    def abort(self) -> None:
        """End the link at once. Every use from now on raises."""
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
        """Wait for what the reader will bring about; raise LinkBroken if it never will."""
        if not self._over:
            with trio.CancelScope() as scope:
                self._waits.add(scope)
                try:
                    return await wait()
                finally:
                    self._waits.discard(scope)
        raise self._lost()

    async def _read(self) -> None:
        """Run the library's reader until it ends, for whatever reason."""
        try:
            with self._reading:
                await self._connection._reader_task()
                # The peer of a refused link is likely to be in the middle of a message.
                closed = self._codec.closed
                refused = closed is not None and closed[0] in VIOLATIONS
                await self._tap.hang_up(limits.HTTP_LINGER if refused else 0)
        except LinkBroken as error:
            self._failure = self._failure or error
        except Exception:  # what one peer can provoke ends one link
            self._failure = self._failure or LinkBroken("The other end broke the WebSocket protocol.")
        finally:
            self._over = True
            self._inbox.end()
            self._inbox.show()
            for scope in self._waits:
                scope.cancel()
            await self._tap.hang_up(0)

    async def _keep_alive(self) -> None:
        """Ping when nothing moves; end the link when it is certain that nobody is there."""
        tap = self._tap
        with contextlib.suppress(LinkBroken, anyio.ClosedResourceError):
            while not self._over:
                if limits.VANISHED <= tap.silent_for() < math.inf:
                    self.abort()  # the kernel would go on trying for `limits.TCP_USER_TIMEOUT`
                    return
                rest = max(tap.heard, tap.sent) + limits.KEEPALIVE_INTERVAL - trio.current_time()
                if tap.sending or rest > 0:
                    await trio.sleep(min(rest, limits.VANISHED_LOOK) if rest > 0 else limits.VANISHED_LOOK)
                    continue
                with within(limits.KEEPALIVE_TIMEOUT) as patience:
                    await self.ping()
                # A pong may lie behind messages that we have not taken: then the silence is ours.
                deaf_until = max(tap.heard, self._inbox.listening_since, self._duct.listening_since)
                if tap.window is not None:
                    deaf_until = max(deaf_until, tap.window.listening_since)
                if patience.is_over and deaf_until + limits.KEEPALIVE_TIMEOUT <= trio.current_time():
                    self.abort()
