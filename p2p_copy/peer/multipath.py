"""The links of a bundle, and the workers that carry its records over them.

Every link has a worker that takes the next record as soon as its link has taken the last one, so a fast link carries
more than a slow one. All links are equal: when one is lost, what it carried takes the others, and it is opened again;
only when the last one is lost, nothing moves any more.

What goes where is decided in `protocol.bundle`; here it is carried.
"""

from __future__ import annotations

import math
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    AsyncExitStack,
    asynccontextmanager,
)
from typing import TYPE_CHECKING, Final, TypeAlias

import anyio
import trio

from p2p_copy.errors import P2PCopyError, PeerMisbehaved
from p2p_copy.peer import limits
from p2p_copy.peer.backoff import Backoff
from p2p_copy.protocol import limits as protocol_limits, rendezvous
from p2p_copy.protocol.multipath import Ack, AckCodec, ReorderBuffer, SendQueue, is_note
from p2p_copy.protocol.rendezvous import FlowReport, FlowState
from p2p_copy.transport import limits as transport_limits
from p2p_copy.transport.link import Link, LinkBroken
from p2p_copy.transport.timeouts import within

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from p2p_copy.observer import Observer
    from p2p_copy.transport.timeouts import Deadline

LINK_ERRORS: Final = (anyio.EndOfStream, LinkBroken)
"""What links raise that are at their end, be it one or several."""

Further: TypeAlias = "Callable[[int, Callable[[], None]], AbstractAsyncContextManager[Link]]"
"""Opens the link with a number, and calls back once it is at the relay and only waits for the other side. It raises
P2PCopyError and what links raise."""

_End: TypeAlias = "LinkBroken | anyio.EndOfStream | PeerMisbehaved"
"""Why a link, or all of them, are no more."""

DONE: Final = 1000
"""Close code of a proper end."""


class _Turns:
    """So many at a time, and the lowest number first.

    A relay may have room for fewer links than either side wants. Both sides come to the rooms in the same order, so
    they have the same ones, and neither waits in a room for which the other side found no place.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._queue: dict[int, trio.Event] = {}
        self._on_the_way: set[int] = set()

    @asynccontextmanager
    async def turn(self, number: int) -> AsyncIterator[Callable[[], None]]:
        """Wait for a turn and have it until the end of the block, or until what is yielded is called."""
        mine = self._queue[number] = trio.Event()

        def end() -> None:
            self._on_the_way.discard(number)
            self._next()

        try:
            await trio.lowlevel.checkpoint()  # all that come at the same moment stand in the queue then
            self._next()
            await mine.wait()
            yield end
        finally:
            self._queue.pop(number, None)
            end()

    def _next(self) -> None:
        while self._queue and len(self._on_the_way) < self._count:
            number = min(self._queue)
            self._on_the_way.add(number)
            self._queue.pop(number).set()


class MultipathWorkers:
    """The links of one conversation, by number. `run` it in a task of its own."""

    def __init__(
        self,
        further: Further,
        notes: AckCodec,
        observer: Observer,
        outbox: SendQueue,
        sorter: ReorderBuffer,
        most: int,
        wanted: int,
    ) -> None:
        """Begin with the link that is there, number 0. There will be `most` of them at most, `wanted` at once."""
        self._further = further
        self._notes = notes
        self._observer = observer
        self._outbox = outbox
        self._sorter = sorter
        self._most = most
        self._wanted = wanted  # links that either side would like to have by now
        self._open: dict[int, Link] = {}  # those that are not closed yet
        self._up = {0}  # those that are the other side's, too
        self._deaf: set[int] = set()  # links on which the rules were broken: nothing more is heard there
        self._idle: set[int] = set()
        self._due: set[int] = set()  # links that take a note next
        self._latest = 0  # the link that has brought something last
        self._noted = True  # nothing has changed since the last note
        self._closing = False
        self._code = DONE  # with which links are closed
        self._over: _End | None = None
        self._turns = _Turns(limits.STREAMS_AT_ONCE)
        self._work = trio.lowlevel.ParkingLot()  # where workers wait for something to send
        self._room = trio.lowlevel.ParkingLot()  # where others wait until something was sent, or has arrived
        self._came = trio.lowlevel.ParkingLot()  # for what the other side sends
        self._news = trio.lowlevel.ParkingLot()  # for something to note
        self._change = trio.lowlevel.ParkingLot()  # for another number of links

    @property
    def width(self) -> int:
        """How many links there are now."""
        return max(len(self._up), 1)

    @property
    def aside(self) -> str:
        """What the relay has said last on one link; or what it would say if the other side did not hold so much."""
        if self._outbox.settled and not self._outbox.has_room(protocol_limits.MAX_RECORD):
            return rendezvous.encode(FlowReport(there=FlowState.UNTAKEN))
        return next((link.aside for link in self._open.values()), "")

    @property
    def taken(self) -> tuple[int, bool]:
        """What a link says of itself, of all links together."""
        each = [link.acked_bytes() for link in self._open.values()]
        waits = any(waiting for _, waiting in each) or self._outbox.waiting > 0
        return sum(taken for taken, _ in each), waits

    @property
    def heard_at(self) -> float:
        """Trio's time when anything came last over any of them."""
        return max((link.heard_at for link in self._open.values()), default=0)

    @property
    def under_way(self) -> int:
        """Bytes that have come of what can be received when more is here."""
        return sum(link.under_way for link in self._open.values())

    async def send(self, record: bytes) -> None:
        """Leave a record to the link that is free next, once there is room.

        When the other side has broken the rules nothing more is heard, but what this side still says goes out.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        while self._is_open and not self._takes(len(record)):
            await self._room.park()
        if isinstance(self._over, anyio.EndOfStream):
            raise LinkBroken(close_code=DONE)
        if self._over is not None and not self._is_open:
            raise self._over
        self._outbox.add(record)
        self._work.unpark()

    @property
    def _is_settled(self) -> bool:
        """Whether all has arrived; or has gone out, if no link is left that could tell."""
        return self._outbox.settled if self._up - self._deaf else not self._outbox.waiting

    @property
    def _is_open(self) -> bool:
        return self._over is None or (isinstance(self._over, PeerMisbehaved) and bool(self._up))

    def _takes(self, size: int) -> bool:
        return self._outbox.waiting < self.width and self._outbox.has_room(size)

    async def receive(self) -> bytes:
        """Return the next record."""
        await trio.lowlevel.checkpoint_if_cancelled()
        while (record := self._sorter.take()) is None:
            if self._over is not None:
                raise self._over
            await self._came.park()
        self._note()
        return record

    async def close(self, code: int = DONE) -> None:
        """Wait, for a bounded time, until all has arrived; then close every link but the first, and use none.

        The relay sees `code` on each of them. Only the first call does anything.
        """
        if self._closing:
            return
        self._code = code
        self._due.add(self._latest)
        self._work.unpark_all()
        with self._moving():
            while self._is_open and not self._is_settled:
                await self._room.park()
        self._closing = True
        self._work.unpark_all()
        with self._moving():
            while self._open:
                await self._change.park()

    def _moving(self) -> AbstractContextManager[Deadline]:
        """Give the body time while something moves."""
        return within(
            transport_limits.GOODBYE_TIMEOUT,
            moves=lambda: (self.taken, self.heard_at),
            most=transport_limits.PARTING_LIMIT,
        )

    # --- What runs beside ---

    async def run(self, first: Link) -> None:
        """Keep the links open and their workers at work, until this is cancelled."""
        async with trio.open_nursery() as nursery:
            for number in range(self._most):
                nursery.start_soon(self._keep, number, None if number else first)
            nursery.start_soon(self._tell)
            nursery.start_soon(self._watch)
            nursery.start_soon(self._grow)

    async def _keep(self, number: int, link: Link | None) -> None:
        """Keep one link open as long as it is wanted."""
        pauses = Backoff()
        while not self._closing:
            ours = link is None  # to close: the first one is the caller's
            try:
                async with AsyncExitStack() as stack:
                    if link is None:
                        while self._wanted <= number:
                            await self._change.park()
                        async with self._turns.turn(number) as connected:
                            link = await stack.enter_async_context(self._further(number, connected))
                    self._open[number] = link
                    if await self._serve(number, link):
                        pauses = Backoff()
                    if self._closing and ours:
                        await link.close(self._code)
            except (P2PCopyError, *LINK_ERRORS):
                pass  # one link less, for now
            link = None
            self._open.pop(number, None)
            self._change.unpark_all()
            await trio.sleep(pauses.next())

    async def _serve(self, number: int, link: Link) -> bool:
        """Use a link until its end; return whether it was good for anything."""
        end: _End = LinkBroken()
        transmitted = trio.Event()
        self._due.add(number)
        async with trio.open_nursery() as nursery:

            async def transmit() -> None:
                try:
                    await self._transmit(number, link)
                except (LinkBroken, anyio.ClosedResourceError):
                    return  # the listener learns why, perhaps from last words
                finally:
                    transmitted.set()
                nursery.cancel_scope.cancel()

            nursery.start_soon(transmit)
            end = await self._listen(number, link)
            if number in self._up and isinstance(end, PeerMisbehaved):
                self._deaf.add(number)
                self._end(end)
                await (
                    transmitted.wait()
                )  # the link is still good for telling the other side why this one ends
            nursery.cancel_scope.cancel()
        self._due.discard(number)
        if number not in self._up:
            return False
        self._up.discard(number)
        self._outbox.lose(number)
        if not self._up:
            self._end(end)
        self._announce(self._up)  # a note may be lost with the link
        return True

    def _end(self, end: _End) -> None:
        """Let everybody know that nothing more comes."""
        self._over = self._over or end
        self._came.unpark_all()
        self._room.unpark_all()

    async def _transmit(self, number: int, link: Link) -> None:
        """Send over one link whatever is next, until this side closes."""
        while True:
            message = self._next(number)
            if message is not None:
                await link.send(message)
            elif self._closing:
                return
            else:
                self._idle.add(number)
                try:
                    await self._work.park()
                finally:
                    self._idle.discard(number)

    def _next(self, number: int) -> bytes | None:
        if number in self._due:
            self._due.discard(number)
            return self._notes.write(Ack(number, self._wanted, self._sorter.arrived, self._sorter.taken))
        record = self._outbox.take(number) if number in self._up else None
        if record is not None:
            self._room.unpark_all()
        return record

    async def _listen(self, number: int, link: Link) -> _End:
        """Take what comes over one link, from the other side's first note on; return why nothing more does."""
        with within(limits.HANDSHAKE_TIMEOUT if number not in self._up else math.inf) as patience:
            try:
                while True:
                    self._take(number, await link.receive())
                    patience.restart(math.inf)
            except (PeerMisbehaved, *LINK_ERRORS) as error:
                return error
            except anyio.ClosedResourceError:
                pass  # this side closes it, and has waited long enough for what is under way
        return LinkBroken()

    def _take(self, number: int, message: bytes | str) -> None:
        if isinstance(message, str):
            raise PeerMisbehaved("The other side sent text where only sealed records are allowed.")
        if is_note(message):
            self._hear(self._notes.read(message, number))
        elif number in self._up:
            before = self._sorter.arrived
            self._sorter.put(message)
            if self._sorter.arrived > before:
                self._came.unpark_all()
            self._note()
        else:
            raise PeerMisbehaved("The other side has not shown that this link is its own.")
        self._latest = number

    def _hear(self, note: Ack) -> None:
        self._outbox.hear(note.arrived, note.taken)
        self._room.unpark_all()
        wanted = max(self._wanted, min(note.links, self._most))
        if note.link not in self._up or wanted > self._wanted:
            self._wanted = wanted
            self._up.add(note.link)
            self._announce(())

    def _announce(self, over: Iterable[int]) -> None:
        """Let everybody know that there are more links, or fewer, or others wanted; send notes `over` some."""
        self._due.update(over)
        if self._up:
            self._observer.links(len(self._up))
        for lot in (self._work, self._room, self._change):
            lot.unpark_all()

    def _note(self) -> None:
        self._noted = False
        self._news.unpark()

    async def _tell(self) -> None:
        """Note now and then what has arrived and was taken, over a link that is certainly alive."""
        while True:
            while self._noted:
                await self._news.park()
            await trio.sleep(limits.NOTE_AFTER)
            self._noted = True
            self._due.update((self._up & {self._latest}) or self._up)
            self._work.unpark_all()

    async def _watch(self) -> None:
        """Find out that a link is stuck while others have nothing to do."""
        while True:
            before = self._outbox.arrived
            await trio.sleep(limits.DOUBT_AFTER)
            if self._idle and self._outbox.arrived == before:
                self._outbox.doubt()
            self._due |= self._up
            self._work.unpark_all()

    async def _grow(self) -> None:
        """Open twice as many links, again and again, as long as it pays."""
        last = 0.0
        while self._wanted < self._most:
            before = self._outbox.delivered
            await trio.sleep(limits.STREAMS_TRIAL)
            rate = self._outbox.delivered - before
            if not self._outbox.waiting:
                continue  # something else is slower than the links
            if rate < limits.STREAMS_GAIN * last:
                return
            last = rate
            self._wanted = min(2 * self._wanted, self._most)
            self._announce(self._up)
            with trio.move_on_after(limits.STREAMS_TRIAL):
                while len(self._up) < self._wanted:
                    await self._change.park()
