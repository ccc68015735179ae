"""TLS over a stream, with many records for each trip through the event loop.

A TLS record has at most 16 KiB (RFC 8446 section 5.1), and a trip through the event loop costs more than a record's
cryptography. So one trip here decrypts all the records that have come, and one sends all those of a piece. It keeps the
promises of trio's own `SSLStream`, and passes trio's conformance checks; two things are simpler:

1. The caller asks for the handshake, before anything else and under its own deadline.
2. TLS is not closed with close_notify: the WebSocket above has a close frame, and an end without that is no proper end.
   The end of the stream below is the end of this one.
"""

from __future__ import annotations

import contextlib
import itertools
import ssl
import sys
from typing import TYPE_CHECKING, Any, Final, TypeVar

import trio

from p2p_copy.transport import limits
from p2p_copy.transport.tcp import GatheringStream, at_most, gathering

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from p2p_copy.transport.tcp import Buffer

T = TypeVar("T", bytearray, int)

TLS_ALERT: Final = 0x15
TLS_HANDSHAKE: Final = 0x16
"""First bytes of TLS records (RFC 8446 section 5.1); no HTTP message begins with them."""

_RECORD: Final = 16 * 1024
"""Bytes that one read from the TLS library can bring at most."""

_HEADER: Final = 5
"""Bytes of the header of each record; the last two are the length of the rest (RFC 8446 section 5.1)."""

_SEALED: Final = 5 + _RECORD + 2048
"""Bytes of the longest encrypted record (RFC 5246 section 6.2.3; those of TLS 1.3 are shorter)."""

_NOTHING: Final = memoryview(b"")


class TLSStream(GatheringStream):
    """One end of a TLS connection: `handshake` first, then it is a stream like any other.

    Attributes:
        first: the first byte of the handshake that came, or nothing.
        on_waste: is called when the connection is ended because its records bring too little.

    """

    first = b""
    on_waste: Callable[[], None] | None = None

    def __init__(
        self,
        transport: trio.abc.Stream,
        context: ssl.SSLContext,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
    ) -> None:
        """Prepare TLS on `transport`, which is closed with this stream.

        Args:
            transport: carries the records.
            context: certificates, and what may be agreed on. It must not allow renegotiation.
            server_side: whether to be the server.
            server_hostname: the name that the server's certificate must have; only for clients.

        """
        self._transport = gathering(transport)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side, server_hostname)
        self._left = 0  # bytes of the record under way that the library has not got yet
        self._turn = 0  # records that the library may still get before other tasks have their turn
        self._given = 0  # records that the library has got since the last `pop_work`
        self._content = 0  # bytes of content since the last `pop_work`
        self._barren = 0  # records since the handshake that had no content
        self._received = 0  # bytes of content since the handshake; they pay for some barren records
        self._unread = _NOTHING  # kept here until the library needs it, for its buffers never shrink again
        self._sending = trio.Lock()  # records go out in the order in which they were made
        self._busy: set[str] = set()
        self._broken = self._closed = False

    async def handshake(self) -> None:
        """Agree on keys with the other end. The deadline is the caller's.

        Raises:
            BrokenResourceError: it failed; the cause is an `ssl.SSLError` that says why, as far as that is known.

        """
        done, records = False, 0
        while not done:
            self._turn = 1  # records behind the handshake stay unread, to be counted later
            try:
                self._tls.do_handshake()
                done = True
            except ssl.SSLWantReadError:
                pass
            except (ssl.SSLError, ssl.CertificateError) as error:
                with contextlib.suppress(trio.BrokenResourceError):
                    await self._send_records()  # the alert that tells the other end
                raise self._break() from error
            await self._send_records()
            if not done and not self._feed():
                await self._receive_records()
                self.first = self.first or bytes(self._unread[:1])
            records += 1 - self._turn
            if records > limits.TLS_HANDSHAKE:
                raise self._end_waste()
        self._barren = self._given = 0

    @property
    def certificate(self) -> bytes:
        """The other end's certificate (DER), after the handshake; empty if it has none."""
        return self._tls.getpeercert(binary_form=True) or b""

    @property
    def protocol(self) -> str | None:
        """The protocol that both ends have agreed on (ALPN, RFC 7301), after the handshake; None for none."""
        return self._tls.selected_alpn_protocol()

    @property
    def version(self) -> str:
        """The version of TLS, after the handshake."""
        return (self._tls.version() or "TLS").replace("v", " ")

    @property
    def chain(self) -> list[bytes]:
        """The certificates (DER) that the other end has sent, its own one first, after the handshake."""
        import _ssl

        # Before Python 3.13 only the object inside has this, and returns objects.
        source: Any = self._tls
        if sys.version_info < (3, 13):
            source = source._sslobj
        return [
            each if isinstance(each, bytes) else each.public_bytes(_ssl.ENCODING_DER)
            for each in source.get_unverified_chain() or ()
        ]

    async def receive_some(self, max_bytes: int | None = None) -> bytearray:
        """Wait until something has come, and receive it.

        Raises:
            BrokenResourceError: the other end broke TLS or the connection.
            ClosedResourceError: this stream is closed.
            BusyResourceError: another task is receiving.

        """
        most = at_most(max_bytes)
        return await self._receive(lambda: self._decrypt(most))

    async def receive_into(self, *buffers: memoryview) -> int:
        """See `GatheringStream`."""
        return await self._receive(lambda: self._decrypt_into(buffers))

    async def _receive(self, decrypt: Callable[[], T | None]) -> T:
        """Return what `decrypt` returns, as soon as that is not None."""
        with self._alone("receive"):
            await trio.lowlevel.checkpoint_if_cancelled()
            waited = False
            while (data := decrypt()) is None:
                if self._turn:
                    await self._receive_records()
                else:
                    await trio.lowlevel.checkpoint()
                waited = True
            if data and self._outgoing.pending and not self._sending.locked():
                # The answer to a change of keys; a send under way takes it along.
                with contextlib.suppress(trio.BrokenResourceError):  # the data is good all the same
                    await self._send_records()
                waited = True
            if not waited:
                await trio.lowlevel.cancel_shielded_checkpoint()
            return data

    async def send_buffers(self, buffers: Sequence[Buffer]) -> None:
        """Send all bytes of all buffers, in order. After a cancelled send it is unknown how many are out.

        Raises:
            BrokenResourceError: the other end is gone, or an earlier send was cancelled.
            ClosedResourceError: this stream is closed.
            BusyResourceError: another task is sending.

        """
        with self._alone("send"):
            await trio.lowlevel.checkpoint_if_cancelled()
            trip: list[Buffer] = []
            size = 0
            for piece in _full_records(buffers):
                if size + len(piece) > limits.TLS_TRIP:
                    await self._send_records(trip)
                    trip, size = [], 0
                trip.append(piece)
                size += len(piece)
            await self._send_records(trip)

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until the transport may take more."""
        with self._alone("send"):
            async with self._sending:
                await self._transport.wait_send_all_might_not_block()

    @property
    def unread(self) -> int:
        """Bytes of records that are not decrypted yet."""
        return len(self._unread) + self._incoming.pending

    def limit_reads(self, allow: Callable[[int], int] | None) -> None:
        """Ask `allow` before each receive of records."""
        self._transport.limit_reads(allow)

    def limit_unsent(self, most: int) -> None:
        """Limit the bytes that the transport holds and has not put on the network yet."""
        self._transport.limit_unsent(most)

    def silent_for(self) -> float:
        """Ask the transport."""
        return self._transport.silent_for()

    def acked_bytes(self) -> tuple[int, bool]:
        """Ask the transport: encrypted bytes are counted."""
        return self._transport.acked_bytes()

    async def drop_some(self) -> bool:
        """Receive something and throw it away undecrypted; False at the end. Afterwards nothing can be received."""
        with self._alone("receive"):
            self._unread = _NOTHING
            return bool(await self._transport.receive_some(limits.RECEIVE_BUFFER))

    async def aclose(self) -> None:
        """Close the transport."""
        self._closed = True
        await self._transport.aclose()

    @contextlib.contextmanager
    def _alone(self, direction: str) -> Iterator[None]:
        self._check()
        if direction in self._busy:
            raise trio.BusyResourceError(f"another task is in the middle of this: {direction}")
        self._busy.add(direction)
        try:
            yield
        finally:
            self._busy.discard(direction)

    def _check(self) -> None:
        if self._closed:
            raise trio.ClosedResourceError
        if self._broken:
            raise trio.BrokenResourceError

    def _break(self) -> trio.BrokenResourceError:
        self._broken = True
        return trio.BrokenResourceError()

    def _end_waste(self) -> trio.BrokenResourceError:
        if self.on_waste is not None:
            self.on_waste()
        return self._break()

    def _decrypt(self, most: int) -> bytearray | None:
        """Return what can be read without waiting: nothing at the end, None if there is nothing yet."""
        data = bytearray(min(most, self._incoming.pending + len(self._unread) + _RECORD))
        with memoryview(data) as space:
            size = self._fill(space)
        if size is None:
            return None
        del data[size:]
        return data

    def _decrypt_into(self, buffers: Sequence[memoryview]) -> int | None:
        """Decrypt into buffers, as `_decrypt` does; return how many bytes."""
        size = self._fill(buffers[0])
        for before, buffer in itertools.pairwise(buffers):
            if size != len(before) or self._broken:
                break
            with contextlib.suppress(
                trio.BrokenResourceError
            ):  # the next call raises it; what came before is good
                size += self._fill(buffer) or 0
        return size

    def _fill(self, space: memoryview) -> int | None:
        """Decrypt into `space` without waiting; return how many bytes: 0 at the end, None if there is nothing yet."""
        size = reads = 0
        self._turn = limits.TLS_TURN
        try:
            while size < len(space):
                if self._incoming.pending < _SEALED:
                    self._feed()  # in time: to learn that there is too little costs as much as half a record
                try:
                    count: int = self._tls.read(_RECORD, space[size:])  # type: ignore[assignment]  # no bytes
                except ssl.SSLWantReadError:
                    if self._is_barren(reads, size):
                        broken = self._end_waste()
                        if not size:
                            raise broken from None
                        break
                    if self._feed():
                        continue
                    if not size:
                        return None
                    break
                if not count:
                    break
                size += count
                reads += 1
        except ssl.SSLEOFError:
            pass  # the end, see rule 2; the next call meets it again
        except ssl.SSLError as error:
            broken = self._break()
            if not size:
                raise broken from error
        if self._tls.pending():
            reads -= 1  # the next call brings the rest of that record
        self._barren -= reads
        self._content += size
        self._received += size
        return size

    def _feed(self) -> bool:
        """Give the library some of the records that have come; False if there are none, or too many for this turn.

        They are counted by their headers. The library would decrypt any number of them in one call, and not tell of
        those without content: a change of keys fits into 27 bytes and costs as much as a full record.
        """
        unread, left, turn = self._unread, self._left, self._turn
        most = min(len(unread), limits.TLS_PIECE)
        end = left  # of the record under way
        while end < most and turn and end + _HEADER <= len(unread):
            turn -= 1
            end += _HEADER + (unread[end + 3] << 8) + unread[end + 4]
        left, end = (end - most, most) if end > most else (0, end)
        if not end:
            return False
        count = self._turn - turn
        self._given += count
        self._barren += count  # until `receive_some` finds content in them
        self._left, self._turn = left, turn
        self._incoming.write(unread[:end])
        self._unread = unread[end:] or _NOTHING  # an empty slice would hold the whole
        return True

    def _is_barren(self, reads: int, size: int) -> bool:
        """Return whether too many records brought no content. The library has decrypted all that it was given.

        `size` bytes in `reads` reads, one for each record with content, are not counted yet.
        """
        under_way = 1 if self._left else 0
        paid = (self._received + size) // limits.TLS_PAYS
        return self._barren - reads - paid - under_way > limits.TLS_BARREN

    def pop_work(self) -> int:
        """Return how many records have come since the last call, less those for which their content pays."""
        work = self._given - self._content // limits.TLS_FREE_RECORD
        self._given = self._content = 0
        return max(work, 0)

    async def _receive_records(self) -> None:
        try:
            # With the rest of an older record it is no more than one receive may return: all of it is returned at once.
            records = await self._transport.receive_some(limits.RECEIVE_BUFFER - _SEALED)
        except trio.BrokenResourceError:
            self._break()
            raise
        rest = bytes(self._unread)  # of a header, at most
        self._unread = memoryview(rest + records if rest and records else records)
        if not records:
            self._incoming.write_eof()

    async def _send_records(self, pieces: Iterable[Buffer] = ()) -> None:
        """Send `pieces` as records, behind those that the library itself wants to send."""
        try:
            self._sending.acquire_nowait()
        except trio.WouldBlock:
            await self._sending.acquire()
        try:
            self._check()
            records = [self._outgoing.read()]
            for piece in pieces:
                records += self._encrypted(piece)
            await self._transport.send_buffers(records)
        except BaseException:
            self._break()
            raise
        finally:
            self._sending.release()

    def _encrypted(self, piece: Buffer) -> Iterator[bytes]:
        while piece:
            try:
                piece = memoryview(piece)[self._tls.write(piece) :]
            except ssl.SSLError as error:
                raise self._break() from error
            yield self._outgoing.read()


async def drop_some(stream: trio.abc.ReceiveStream) -> bool:
    """Receive something from a stream that is about to be closed, and throw it away; False at the end."""
    if isinstance(stream, TLSStream):
        return await stream.drop_some()
    return bool(await stream.receive_some(limits.RECEIVE_BUFFER))


def _full_records(buffers: Iterable[Buffer]) -> Iterator[Buffer]:
    """Yield all bytes in pieces that fill their records, except the last: short records cost as much as full ones."""
    rest = b""
    for buffer in buffers:
        view = memoryview(buffer).cast("B")
        if rest or len(view) < _RECORD:
            more = _RECORD - len(rest)
            rest += view[:more]
            view = view[more:]
            if len(rest) < _RECORD:
                continue
            yield rest
        rest = bytes(view[len(view) - len(view) % _RECORD :])
        view = view[: len(view) - len(rest)]
        for start in range(0, len(view), limits.TLS_PIECE):
            yield view[start : start + limits.TLS_PIECE]
    if rest:
        yield rest
