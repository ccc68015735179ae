"""One or more links to the other side, used as one channel with one contract, however many they are.

1. `send` hands records over at once and then waits for room. Cancelling it loses nothing and breaks nothing: what was
   handed over goes out, in order.
2. One task writes to a link. So a link is never in the middle of a message because its sender was cancelled, and a last
   message can follow.
3. When no link is left, senders get the error of the last one. The receiving task first gets what came before.
4. Closing waits, for a bounded time, until all that was handed over is out.

A channel begins with the link over which the two sides have met. From `spread` on there may be more, which
`MultipathWorkers` serves: then the channel is lost only when the last of its links is.
"""

from __future__ import annotations

from collections import deque
from contextlib import asynccontextmanager
from itertools import islice
from typing import TYPE_CHECKING

import anyio
import trio

from p2p_copy.errors import P2PCopyError, PeerMisbehaved
from p2p_copy.peer import limits
from p2p_copy.peer.multipath import DONE, MultipathWorkers, while_moving
from p2p_copy.protocol import limits as protocol_limits
from p2p_copy.protocol.rendezvous import CloseCode
from p2p_copy.transport.link import LinkBroken
from p2p_copy.transport.service_nursery import service_nursery
from p2p_copy.transport.tcp import UnsentLimit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractContextManager

    from p2p_copy.peer.multipath import LinkPlan
    from p2p_copy.transport.link import Link
    from p2p_copy.transport.timeouts import Deadline


@asynccontextmanager
async def open_channel(first: Link, plan: LinkPlan) -> AsyncIterator[Channel]:
    """Yield a channel of one link, which may become more. On a normal exit all is sent, and links are closed politely.

    An exception of the body is raised unchanged. After a P2PCopyError the links are closed politely as well, with
    another code; after anything else all links are cut but the first, which is the caller's.

    Raises:
        LinkBroken: on a normal exit, if the only link broke before all was sent.

    """
    async with service_nursery() as nursery:
        channel = Channel(first, plan)
        nursery.start_soon(channel._run)
        try:
            yield channel
            await channel.aclose()
        except P2PCopyError:
            await channel.give_up()
            raise
        finally:
            channel._life.cancel()


class Channel:
    """Records both ways, in order, each exactly once. Any number of tasks may send, one may receive.

    Attributes:
        plan: how many links this side wants, and how they are opened.

    """

    def __init__(self, first: Link, plan: LinkPlan) -> None:
        self.plan = plan
        self._first = first
        self._life = trio.CancelScope(shield=True)  # the last message needs the writer, too
        self._backlog = Backlog()
        self._sent = self._received = 0  # records for the first link, and from it, while it was the only one
        self._written = 0  # records that the first link has taken
        self._workers: MultipathWorkers | None = None
        first.read_ahead(limits.PIPELINE * protocol_limits.MAX_RECORD, limits.RECORDS_RECEIVED)

    @property
    def width(self) -> int:
        """How many links there are now."""
        return self._workers.width if self._workers else 1

    @property
    def aside(self) -> str:
        """The relay's last flow report, from a link on which it may tell why nothing moves."""
        return (self._workers or self._first).aside

    def acked_bytes(self) -> tuple[int, bool]:
        """Return how many bytes the relay's machine has acknowledged, and whether more wait here."""
        acked, waiting = self._workers.acked_bytes() if self._workers else self._first.acked_bytes()
        return acked, waiting or bool(self._backlog)

    @property
    def heard_at(self) -> float:
        """Trio's time when anything came last."""
        return (self._workers or self._first).heard_at

    @property
    def under_way(self) -> int:
        """Bytes that have come of a message whose rest has not."""
        return (self._workers or self._first).under_way

    def spread(self, most: int) -> None:
        """Use up to `most` links from now on; the other side does the same after the same records.

        Raises:
            PeerMisbehaved: they are more than this side wants.

        """
        if most > (self.plan.number or protocol_limits.MAX_LINKS):
            raise PeerMisbehaved("The other side wants more links than it was offered.")
        if most > 1:
            self._workers = MultipathWorkers(self.plan, most, self._backlog, self._sent, self._received)
            self._first.read_ahead(0, 0)  # with several links the window bounds what one side keeps
            self._backlog.wake()

    async def send(self, *records: bytes) -> None:
        """Hand records over for sending, then wait until there is room for more.

        They are handed over before the first await, so they go out in the order of the calls even if this is
        cancelled.

        Raises:
            LinkBroken: the last link is lost. What the other side said before can still be received.
            ClosedResourceError: the channel was closed from this side.
            PeerMisbehaved: the other side broke the rules of several links.

        """
        self._backlog.add(*records)
        if self._workers is None:
            self._sent += len(records)
        elif self._is_spread:
            self._workers.fill()
        await self._backlog.wait_for_room()

    @property
    def _is_spread(self) -> bool:
        """Whether the first link has taken all records that only it may carry, so that it is one of several now."""
        return self._workers is not None and self._written == self._sent

    async def receive(self) -> bytes | str:
        """Return the next record. In all other respects this is `receive_some`."""
        (record,) = await self.receive_some(1)
        return record

    async def receive_some(self, most: int) -> list[bytes | str]:
        """Return the next records, up to `most` and at least one. Cancelling loses nothing.

        Raises:
            EndOfStream: the other side closed properly, and everything that it sent before was received.
            LinkBroken: the last link was lost.
            PeerMisbehaved: the other side broke the rules of several links.

        """
        if self._workers:
            return await self._workers.receive_some(most)
        try:
            records = await self._first.receive_some(most)
        except anyio.EndOfStream:
            self._backlog.fail(LinkBroken(close_code=DONE))
            raise
        except LinkBroken as error:
            self._backlog.fail(error)
            raise
        self._received += len(records)
        return records

    async def flush(self) -> None:
        """Wait until all that was handed over is out and, with several links, has arrived. The caller bounds that.

        Raises:
            LinkBroken: the last link was lost before. A proper close by the other side is no error: it has received
                what it waited for.

        """
        await self._backlog.wait_until_empty()
        if self._backlog.dropped:
            self._backlog.check()
        if self._workers:
            await self._workers.wait_until_settled()

    async def aclose(self) -> None:
        """Wait, for a bounded time, until all is out and, with several links, has arrived; then close politely.

        Raises:
            LinkBroken: the only link broke before all was out. One that no longer takes bytes is cut without an
                error: the other side may have all by then.

        """
        await self._close(DONE)
        if self._backlog.dropped and self._workers is None:
            self._backlog.check()

    async def give_up(self) -> bool:
        """Close a conversation that is not complete, so that the relay does not count it as one.

        All that was handed over goes out first, in bounded time, even if this side is cancelled. Return whether it did.
        Never fails.
        """
        with while_parting(self):
            return await self._close(CloseCode.GIVEN_UP)
        return False

    async def _close(self, code: int) -> bool:
        """Try to send all records, then close all links with `code`; return whether all were sent. Never fails."""
        with while_moving(lambda: (self.acked_bytes(), self.heard_at)):
            await self._backlog.wait_until_empty()
        if self._workers:
            await self._workers.close(code)
        elif self._backlog:
            self._first.abort()  # it takes no bytes, not even a close frame
        is_out = not self._backlog and not self._backlog.dropped
        self._backlog.close()
        await self._first.close(code)
        return is_out

    async def _run(self) -> None:
        """Write to the links, until this is cancelled."""
        with self._life:
            if await self._write_to_first():
                assert self._workers, "it was spread"
                self._workers.fill()
                await self._workers.run(self._first)

    async def _write_to_first(self) -> bool:
        """Write records to the first link until further links are to be used; return False if that link is lost."""
        unsent = UnsentLimit(self._first.acked_bytes()[0])
        while not self._is_spread:
            await self._backlog.wait_for_records()
            if not self._backlog:
                continue
            # Together, since a turn of the event loop costs more than a frame; but none that other links may carry.
            records = self._backlog.next(min(limits.PIPELINE, self._sent - self._written))
            try:
                await self._first.send_all(records)
            except (LinkBroken, anyio.ClosedResourceError) as error:
                self._backlog.fail(error)
                if self._workers:
                    self._workers.end(error)
                return False
            self._backlog.remove(len(records))
            self._written += len(records)
            if unsent.is_due:
                self._first.limit_unsent(unsent.follow(self._first.acked_bytes()[0]))
            del records  # their buffers can be used again
        return True


def while_parting(channel: Channel) -> AbstractContextManager[Deadline]:
    """Shield the body, which sends the last message, as long as bytes move, but for a bounded time."""
    return while_moving(lambda: (channel.acked_bytes(), channel.heard_at), shield=True)


class Backlog:
    """The queue of records that wait for a link, with room for `limits.PIPELINE`.

    A sender adds its records first and then waits for room (rule 1), so at most one batch of each sender is in the
    queue beyond its room.

    Attributes:
        dropped: records were dropped, because no link is left.

    """

    def __init__(self) -> None:
        self._records: deque[bytes] = deque()
        self._changed = trio.lowlevel.ParkingLot()  # for senders: there is room, or no link
        self._filled = trio.lowlevel.ParkingLot()  # for the writer
        self._failure: Exception | None = None
        self.dropped = False

    def __len__(self) -> int:
        return len(self._records)

    @property
    def first(self) -> bytes:
        """The record that goes out next."""
        return self._records[0]

    def add(self, *records: bytes) -> None:
        """Add records behind all others; or raise what has ended the backlog, and add nothing."""
        self.check()
        self._records.extend(records)
        self._filled.unpark()

    def next(self, most: int) -> list[bytes]:
        """Return the records that go out next, up to `most`; they stay here until they are out."""
        return list(islice(self._records, most))

    def remove(self, count: int) -> None:
        """Take the first records out, unless they were dropped meanwhile."""
        for _ in range(min(count, len(self._records))):
            self._records.popleft()
        self._changed.unpark_all()

    def pop(self) -> bytes:
        """Take the first record out."""
        record = self._records.popleft()
        self._changed.unpark_all()
        return record

    def fail(self, error: Exception) -> None:
        """Drop all records, because no link is left. Every sender is told `error`; only the first one counts."""
        self._failure = self._failure or error
        self.dropped = self.dropped or bool(self._records)
        self._records.clear()
        self._changed.unpark_all()

    def close(self) -> None:
        """End the backlog from this side, without an error for what is left."""
        self._records.clear()
        self.fail(anyio.ClosedResourceError())

    def check(self) -> None:
        """Raise what has ended the backlog, if it has ended."""
        if self._failure is not None:
            raise self._failure

    async def wait_for_room(self) -> None:
        """Wait until no more records are here than there is room for, or raise what ended the backlog meanwhile."""
        await trio.lowlevel.checkpoint_if_cancelled()
        while len(self._records) > limits.PIPELINE:
            await self._changed.park()
            self.check()

    async def wait_until_empty(self) -> None:
        """Wait until a link has taken all records, or they were dropped."""
        while self._records:
            await self._changed.park()

    async def wait_for_records(self) -> None:
        """Wait until there are records, or until `wake`; for one writer."""
        if not self._records:
            await self._filled.park()

    def wake(self) -> None:
        """Wake the writer: something has changed."""
        self._filled.unpark_all()
