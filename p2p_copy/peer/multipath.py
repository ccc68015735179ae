"""Several links of one channel, and the workers that carry its records over them.

Each link has a worker that takes the next record as soon as its link has taken the last one, so a fast link carries
more than a slow one. All links are equal. When one is lost, its records go over the others and it is opened again; the
channel ends when the last one is lost.

`protocol.multipath` decides which record goes over which link; this module sends and receives them.
"""

from __future__ import annotations

import math
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

import anyio
import trio

from p2p_copy.errors import P2PCopyError, PeerMisbehaved
from p2p_copy.peer import limits
from p2p_copy.peer.backoff import backoff
from p2p_copy.protocol import limits as protocol_limits, rendezvous
from p2p_copy.protocol.multipath import Ack, ReorderBuffer, SendQueue, is_ack
from p2p_copy.protocol.rendezvous import FlowReport, FlowState
from p2p_copy.transport import limits as transport_limits
from p2p_copy.transport.link import LINK_ERRORS, LinkBroken
from p2p_copy.transport.timeouts import within
from p2p_copy.value import NamedTuple

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable
    from contextlib import AbstractAsyncContextManager, AbstractContextManager

    from p2p_copy.observer import Observer
    from p2p_copy.protocol.multipath import AckCodec
    from p2p_copy.transport.link import Link
    from p2p_copy.transport.pacer import Pacer
    from p2p_copy.transport.timeouts import Deadline

End: TypeAlias = "LinkBroken | anyio.EndOfStream | anyio.ClosedResourceError | PeerMisbehaved"
"""Why a link, or the channel, has ended."""

DONE: Final = 1000
"""Close code of a proper end."""


class LinkPlan(NamedTuple):
    """How many links this side wants, and how those after the first are opened.

    Attributes:
        number: of links that the user wants; 0 for as many as make the transfer faster.
        far: the round trip to the other side is so long that several links may be faster.
        open: opens a link, given its number, and calls the given function once only the other side is missing. Raises
            P2PCopyError and what links raise.
        codec: writes and reads acks.
        observer: hears how many links there are.
        pacer: keeps what all links carry to a rate; None for no limit.

    """

    number: int
    far: bool
    open: Callable[[int, Callable[[], None]], AbstractAsyncContextManager[Link]]
    codec: AckCodec
    observer: Observer
    pacer: Pacer | None

    def agree(self, theirs: int) -> int:
        """Return the most links that there will be. `theirs`: how many the other side asks for, 0 for no number."""
        if self.number and theirs:
            return min(self.number, theirs)
        return self.number or theirs or (limits.LINKS_AUTO if self.far else 1)


class _Backlog(Protocol):
    """The records of the channel that no link has taken: see `channel.Backlog`."""

    @property
    def first(self) -> bytes: ...
    def __len__(self) -> int: ...
    def pop(self) -> bytes: ...
    def fail(self, error: Exception) -> None: ...


def while_moving(moves: Callable[[], object], *, shield: bool = False) -> AbstractContextManager[Deadline]:
    """Give the body, which ends links, time as long as what `moves` returns changes, and a bounded time in all."""
    return within(
        transport_limits.GOODBYE_TIMEOUT, moves=moves, most=transport_limits.PARTING_LIMIT, shield=shield
    )


class _Turns:
    """Lets `limits.LINKS_AT_ONCE` links connect at a time, the lowest number first.

    A relay may have room for fewer links than either side wants. Both sides come to the rooms in the same order, so
    they have the same links, and neither waits in a room for which the other side was refused.
    """

    def __init__(self) -> None:
        self._queue: dict[int, trio.Event] = {}
        self._on_the_way: set[int] = set()

    @asynccontextmanager
    async def turn(self, number: int) -> AsyncIterator[Callable[[], None]]:
        """Wait for a turn, and yield a function that ends it; the end of the block ends it, too."""
        mine = self._queue[number] = trio.Event()

        def end() -> None:
            self._on_the_way.discard(number)
            self._next()

        try:
            await trio.lowlevel.checkpoint()  # so that all that come at the same moment are queued
            self._next()
            await mine.wait()
            yield end
        finally:
            self._queue.pop(number, None)
            end()

    def _next(self) -> None:
        while self._queue and len(self._on_the_way) < limits.LINKS_AT_ONCE:
            number = min(self._queue)
            self._on_the_way.add(number)
            self._queue.pop(number).set()


class _Links:
    """Which links there are, by number; 0 is the one over which the two sides have met.

    Attributes:
        wanted: how many links either side would like to have by now.
        open: those that are not closed yet.
        proved: those on which the other side has shown that they are its own: only they carry records.
        violated: those on which it broke the rules: nothing more is received there.

    """

    def __init__(self, wanted: int) -> None:
        self.wanted = wanted
        self.open: dict[int, Link] = {}
        self.proved = {0}
        self.violated: set[int] = set()
        self._changed = trio.lowlevel.ParkingLot()

    def changed(self) -> None:
        """Wake all tasks in `wait_until`, to look again."""
        self._changed.unpark_all()

    async def wait_until(self, is_so: Callable[[], bool]) -> None:
        """Wait until `is_so` returns True; it is called again after each change of the links."""
        while not is_so():
            await self._changed.park()


class _Sending:
    """The outgoing side: acks, and records from the backlog, as many as the other side has room for.

    Attributes:
        records: those in the window.
        acks_due: links that carry an ack next.
        idle: links whose workers have nothing to send.

    """

    def __init__(self, backlog: _Backlog, records: SendQueue) -> None:
        self.records = records
        self.acks_due: set[int] = set()
        self.idle: set[int] = set()
        self._backlog = backlog
        self._work = trio.lowlevel.ParkingLot()  # for idle workers
        self._progress = trio.lowlevel.ParkingLot()  # for `wait_until`

    @property
    def waits(self) -> bool:
        """Whether records wait for a link."""
        return bool(self._backlog) or self.records.waiting > 0

    def fill(self, width: int) -> None:
        """Move up to `width` records, one for each link, from the backlog into the window, as long as it has room."""
        backlog, records = self._backlog, self.records
        while backlog and records.waiting < width and records.has_room(len(backlog.first)):
            records.add(backlog.pop())
            self._work.unpark()

    def take(self, number: int, width: int) -> bytes | None:
        """Return the record that a link carries next, if there is one."""
        record = self.records.take(number)
        if record is not None:
            self.fill(width)
            self.progressed()
        return record

    def progressed(self) -> None:
        """Wake all tasks in `wait_until`, to look again."""
        self._progress.unpark_all()

    def wake(self) -> None:
        """Wake all idle workers and all tasks in `wait_until`, to look again."""
        self._work.unpark_all()
        self._progress.unpark_all()

    async def wait_for_work(self, number: int) -> None:
        """Wait in the worker of a link until there may be something to send."""
        self.idle.add(number)
        try:
            await self._work.park()
        finally:
            self.idle.discard(number)

    async def wait_until(self, is_so: Callable[[], bool]) -> None:
        """Wait until `is_so` returns True; it is called again after each progress of the records."""
        while not is_so():
            await self._progress.park()


class _Receiving:
    """The incoming side: puts records in order, and knows whether any wait for an ack.

    Attributes:
        records: those in order, and those that have come too early.
        latest: the number of the link that has brought the last record or ack.
        end: why nothing more comes; None before.

    """

    def __init__(self, records: ReorderBuffer) -> None:
        self.records = records
        self.latest = 0
        self.end: End | None = None
        self._came = trio.lowlevel.ParkingLot()  # for the receiving task
        self._unacknowledged = trio.Event()

    def put(self, record: bytes) -> None:
        """Take a record from any link.

        Raises:
            PeerMisbehaved: see `ReorderBuffer.put`.

        """
        before = self.records.received
        self.records.put(record)
        if self.records.received > before:
            self._came.unpark_all()
        self._unacknowledged.set()

    async def receive_some(self, most: int) -> list[bytes | str]:
        """Return the next records, up to `most` and at least one; raise `end` after the last one."""
        await trio.lowlevel.checkpoint_if_cancelled()
        while (record := self.records.take()) is None:
            if self.end is not None:
                raise self.end
            await self._came.park()
        self._unacknowledged.set()
        records: list[bytes | str] = [record]
        while len(records) < most and (record := self.records.take()) is not None:
            records.append(record)
        return records

    def stop(self, end: End) -> None:
        """Record that nothing more comes. Only the first reason counts."""
        self.end = self.end or end
        self._came.unpark_all()

    async def wait_for_ack(self) -> None:
        """Wait until there is something to acknowledge, and a moment longer: one ack is enough for many records."""
        await self._unacknowledged.wait()
        await trio.sleep(limits.ACK_AFTER)
        self._unacknowledged = trio.Event()


class MultipathWorkers:
    """The links of one conversation and their workers. `run` it in a task of its own."""

    def __init__(self, plan: LinkPlan, most: int, backlog: _Backlog, sent: int, received: int) -> None:
        """Begin with one link, which has carried `sent` and `received` records. There will be `most` links at most."""
        self._plan = plan
        self._most = most
        self._backlog = backlog
        self._links = _Links(most if plan.number else 1)
        self._sending = _Sending(backlog, SendQueue(sent))
        self._receiving = _Receiving(ReorderBuffer(received))
        self._turns = _Turns()
        self._is_closing = False
        self._code = DONE  # with which links are closed

    @property
    def width(self) -> int:
        """How many links there are now."""
        return max(len(self._links.proved), 1)

    @property
    def aside(self) -> str:
        """The last flow report of one link.

        If the other side has all that it has room for, this is the report that its consumer does not keep up: the
        relay cannot see that.
        """
        records = self._sending.records
        if records.settled and not records.has_room(protocol_limits.MAX_RECORD):
            return rendezvous.encode(FlowReport(there=FlowState.UNTAKEN))
        return next((link.aside for link in self._links.open.values()), "")

    def acked_bytes(self) -> tuple[int, bool]:
        """Return what `Link.acked_bytes` does, for all links together and with the records that wait for one."""
        each = [link.acked_bytes() for link in self._links.open.values()]
        waits = any(waiting for _, waiting in each) or self._sending.waits
        return sum(acked for acked, _ in each), waits

    @property
    def heard_at(self) -> float:
        """Trio's time when anything came last over any of them."""
        return max((link.heard_at for link in self._links.open.values()), default=0)

    @property
    def under_way(self) -> int:
        """Bytes received of messages that are not complete yet."""
        return sum(link.under_way for link in self._links.open.values())

    def fill(self) -> None:
        """Take records from the backlog, if links have room for them."""
        self._sending.fill(self.width)

    async def receive_some(self, most: int) -> list[bytes | str]:
        """Return the next records, up to `most` and at least one."""
        return await self._receiving.receive_some(most)

    def end(self, end: End) -> None:
        """End receiving, and sending too unless the other side can still be told why."""
        self._receiving.stop(end)
        end = self._receiving.end or end
        if not (isinstance(end, PeerMisbehaved) and self._links.proved):
            self._backlog.fail(LinkBroken(close_code=DONE) if isinstance(end, anyio.EndOfStream) else end)
        self._sending.wake()

    @property
    def _is_open(self) -> bool:
        end = self._receiving.end
        return end is None or (isinstance(end, PeerMisbehaved) and bool(self._links.proved))

    @property
    def _is_settled(self) -> bool:
        """Whether all has arrived; or was sent, if no link is left over which an ack could come."""
        if self._links.proved - self._links.violated:
            return self._sending.records.settled and not self._sending.waits
        return not self._sending.waits

    def _movement(self) -> object:
        return self.acked_bytes(), self.heard_at

    async def wait_until_settled(self) -> None:
        """Wait until all has arrived.

        Raises:
            LinkBroken: the last link was lost before the other side has acknowledged all.

        """
        await self._sending.wait_until(lambda: not self._is_open or self._is_settled)
        end = self._receiving.end
        if isinstance(end, LinkBroken) and not self._sending.records.settled:
            raise end

    async def close(self, code: int) -> None:
        """Wait, for a bounded time, until all has arrived; then stop using the links, and close all but the first.

        The relay sees `code` on each of them. Only the first call does anything.
        """
        if self._is_closing:
            return
        self._code = code
        self._sending.acks_due.add(self._receiving.latest)
        self._sending.wake()
        with while_moving(self._movement):
            await self._sending.wait_until(lambda: not self._is_open or self._is_settled)
        self._is_closing = True
        self._sending.wake()
        with while_moving(self._movement):
            await self._links.wait_until(lambda: not self._links.open)

    # --- The tasks ---

    async def run(self, first: Link) -> None:
        """Keep the links open and their workers at work, until this is cancelled."""
        async with trio.open_nursery() as nursery:
            for number in range(self._most):
                nursery.start_soon(self._keep_open, number, None if number else first)
            nursery.start_soon(self._acknowledge)
            nursery.start_soon(self._watch_for_stuck_links)
            nursery.start_soon(self._open_more)

    async def _keep_open(self, number: int, link: Link | None) -> None:
        """Keep one link open as long as it is wanted."""
        links, pauses = self._links, backoff()
        while not self._is_closing:
            ours = link is None  # whether to close it here; the caller closes the first link
            try:
                async with AsyncExitStack() as stack:
                    if link is None:
                        await links.wait_until(lambda: links.wanted > number)
                        async with self._turns.turn(number) as connected:
                            link = await stack.enter_async_context(self._plan.open(number, connected))
                    links.open[number] = link
                    if await self._serve(number, link):
                        pauses = backoff()
                    if self._is_closing and ours:
                        await link.close(self._code)
            except (P2PCopyError, *LINK_ERRORS):
                pass  # one link less, for now
            link = None
            links.open.pop(number, None)
            links.changed()
            await trio.sleep(next(pauses))

    async def _serve(self, number: int, link: Link) -> bool:
        """Use a link until its end; return whether the other side has proved that it is its own."""
        links, sending = self._links, self._sending
        end: End = LinkBroken()
        transmitted = trio.Event()
        sending.acks_due.add(number)
        async with trio.open_nursery() as nursery:

            async def transmit() -> None:
                try:
                    await self._transmit(number, link)
                except (LinkBroken, anyio.ClosedResourceError):
                    return  # `_listen` sees why, and first receives what the other side sent last
                finally:
                    transmitted.set()
                nursery.cancel_scope.cancel()

            nursery.start_soon(transmit)
            end = await self._listen(number, link)
            if number in links.proved and isinstance(end, PeerMisbehaved):
                links.violated.add(number)
                self.end(end)
                await transmitted.wait()  # the link can still carry why this side ends
            nursery.cancel_scope.cancel()
        sending.acks_due.discard(number)
        if number not in links.proved:
            return False
        links.proved.discard(number)
        sending.records.lose(number)
        if not links.proved:
            self.end(end)
        self._links_changed(acks_over=links.proved)  # an ack may be lost with the link
        return True

    async def _transmit(self, number: int, link: Link) -> None:
        """Send over one link what is next, until this side closes."""
        while True:
            message = self._next(number)
            if message is not None:
                await link.send(message)
            elif self._is_closing:
                return
            else:
                await self._sending.wait_for_work(number)

    def _next(self, number: int) -> bytes | None:
        """Return what a link carries next: an ack that is due, else a record."""
        sending, records = self._sending, self._receiving.records
        if number in sending.acks_due:
            sending.acks_due.discard(number)
            return self._plan.codec.write(Ack(number, self._links.wanted, records.received, records.consumed))
        return sending.take(number, self.width) if number in self._links.proved else None

    async def _listen(self, number: int, link: Link) -> End:
        """Act on the messages of one link until it ends; return why it ended. The first message has to be an ack."""
        with within(limits.HANDSHAKE_TIMEOUT if number not in self._links.proved else math.inf) as patience:
            try:
                while True:
                    self._act_on(number, await link.receive())
                    patience.restart(math.inf)
            except (PeerMisbehaved, *LINK_ERRORS) as error:
                return error
            except anyio.ClosedResourceError:
                pass  # this side closes it, and has waited long enough for what is under way
        return LinkBroken()

    def _act_on(self, number: int, message: bytes | str) -> None:
        if isinstance(message, str):
            raise PeerMisbehaved("The other side sent text where only sealed records are allowed.")
        if is_ack(message):
            self._act_on_ack(self._plan.codec.read(message, number))
        elif number in self._links.proved:
            self._receiving.put(message)
        else:
            raise PeerMisbehaved("The other side has not shown that this link is its own.")
        self._receiving.latest = number

    def _act_on_ack(self, ack: Ack) -> None:
        links, sending = self._links, self._sending
        sending.records.acknowledge(ack.received, ack.consumed)
        self.fill()
        sending.progressed()
        wanted = max(links.wanted, min(ack.links, self._most))
        if ack.link not in links.proved or wanted > links.wanted:
            links.wanted = wanted
            links.proved.add(ack.link)
            self._links_changed()

    def _links_changed(self, acks_over: Iterable[int] = ()) -> None:
        """Apply a change of the usable links or of their wanted number; send an ack over each of `acks_over`."""
        self._sending.acks_due.update(acks_over)
        if self._links.proved:
            self._plan.observer.links(len(self._links.proved))
        self.fill()
        self._sending.wake()
        self._links.changed()

    async def _acknowledge(self) -> None:
        """Acknowledge what has come and was acted upon, over the link on which something came last."""
        links, receiving = self._links, self._receiving
        while True:
            await receiving.wait_for_ack()
            self._sending.acks_due.update((links.proved & {receiving.latest}) or links.proved)
            self._sending.wake()

    async def _watch_for_stuck_links(self) -> None:
        """Notice a stuck link while others are idle, and send its records over them. Repeat acks: one may be lost."""
        sending = self._sending
        while True:
            before = sending.records.received
            await trio.sleep(limits.RETRANSMIT_AFTER)
            if sending.idle and sending.records.received == before:
                sending.records.retransmit_elsewhere()
            sending.acks_due |= self._links.proved
            sending.wake()

    @property
    def _turns_waited_for(self) -> int:
        return self._plan.pacer.waits if self._plan.pacer else 0

    async def _open_more(self) -> None:
        """Open twice as many links, again and again, as long as that makes the transfer faster."""
        links, sending, last = self._links, self._sending, 0.0
        while links.wanted < self._most:
            before, turns = sending.records.delivered, self._turns_waited_for
            await trio.sleep(limits.LINKS_TRIAL)
            rate = sending.records.delivered - before
            if not sending.waits or self._turns_waited_for != turns:
                continue  # something else, or the limit of the rate, is slower than the links
            if rate < limits.LINKS_GAIN * last:
                return
            last = rate
            links.wanted = min(2 * links.wanted, self._most)
            self._links_changed(acks_over=links.proved)
            with trio.move_on_after(limits.LINKS_TRIAL):
                await links.wait_until(lambda: len(links.proved) >= links.wanted)
