"""Several links that are used like one: whoever sends and receives need not know how many there are.

A bundle begins with the one link over which the two sides have met, and costs nothing as long as there is no other.
From `spread` on it is `MultipathWorkers`, and lost only when the last of its links is.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

import trio

from p2p_copy.errors import P2PCopyError, PeerMisbehaved
from p2p_copy.peer import limits
from p2p_copy.peer.multipath import DONE, MultipathWorkers
from p2p_copy.protocol import limits as protocol_limits
from p2p_copy.protocol.multipath import ReorderBuffer, SendQueue
from p2p_copy.protocol.rendezvous import CloseCode
from p2p_copy.transport import limits as transport_limits
from p2p_copy.transport.timeouts import within

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractContextManager

    from p2p_copy.observer import Observer
    from p2p_copy.peer.multipath import Further
    from p2p_copy.protocol.multipath import AckCodec
    from p2p_copy.transport.link import Link
    from p2p_copy.transport.timeouts import Deadline


class WishedLinks(NamedTuple):
    """How many links this side wants.

    Attributes:
        number: as the user has said; 0 for as many as are worth it.
        far: whether the way to the other side is so long that several may be worth it.

    """

    number: int
    far: bool

    def agree(self, theirs: int) -> int:
        """Return the most links that there will be if the other side asks for so many; 0 if for no number."""
        if self.number and theirs:
            return min(self.number, theirs)
        return self.number or theirs or (limits.STREAMS_AUTO if self.far else 1)


@asynccontextmanager
async def bundled(
    first: Link, further: Further, notes: AckCodec, wish: WishedLinks, observer: Observer
) -> AsyncIterator[Channel]:
    """Yield a bundle of one link, which may become more. On a normal exit all has arrived, and it is closed politely.

    Whatever leaves the body leaves here as it is. After an error for people the links are closed politely, too, with
    another code; after anything else all links but the first, which is the caller's, are cut.
    """
    failure: BaseException | None = None
    async with trio.open_nursery() as nursery:
        bundle = Channel(first, further, notes, wish, observer)
        nursery.start_soon(bundle._run)
        try:
            yield bundle
            await bundle.aclose()
        except BaseException as error:
            failure = error
            if isinstance(error, P2PCopyError):
                await bundle.give_up()
        bundle._life.cancel()
        nursery.cancel_scope.cancel()
    if failure is not None:
        try:
            raise failure
        finally:
            del failure  # or it would be part of its own traceback, a cycle


class Channel:
    """Records both ways, in order, each exactly once. One task may receive.

    Attributes:
        wish: how many links this side wants.
        sent: is called with each record that a link has taken, or will.

    """

    def __init__(
        self, first: Link, further: Further, notes: AckCodec, wish: WishedLinks, observer: Observer
    ) -> None:
        self.wish = wish
        self.sent: Callable[[bytes], None] = lambda record: None
        self._first = first
        self._further = further
        self._notes = notes
        self._observer = observer
        self._life = trio.CancelScope(shield=True)  # last words need workers, too
        self._sent = self._received = 0  # records over the first link, while it was the only one
        self._several: MultipathWorkers | None = None
        self._spread = trio.Event()

    @property
    def width(self) -> int:
        """How many links there are now."""
        return self._several.width if self._several else 1

    @property
    def aside(self) -> str:
        """What the relay has said last, on a link that may tell why nothing moves."""
        return (self._several or self._first).aside

    @property
    def taken(self) -> tuple[int, bool]:
        """How many bytes the relay's machine has acknowledged, and whether more wait in our kernel."""
        return self._several.taken if self._several else self._first.acked_bytes()

    @property
    def heard_at(self) -> float:
        """Trio's time when anything came last."""
        return (self._several or self._first).heard_at

    @property
    def under_way(self) -> int:
        """Bytes that have come of what can be received when more is here."""
        return (self._several or self._first).under_way

    def spread(self, most: int) -> None:
        """Use up to `most` links from now on; the other side does the same after the same records.

        Raises:
            PeerMisbehaved: they are more than this side wants.

        """
        if most > (self.wish.number or protocol_limits.MAX_STREAMS):
            raise PeerMisbehaved("The other side wants more links than it was offered.")
        if most > 1:
            outbox, sorter = SendQueue(self._sent), ReorderBuffer(self._received)
            wanted = most if self.wish.number else 1
            self._several = MultipathWorkers(
                self._further, self._notes, self._observer, outbox, sorter, most, wanted
            )
            self._spread.set()

    async def send(self, record: bytes) -> None:
        """Send a record, or leave it to the link that is free next: then cancelling loses nothing.

        Raises:
            LinkBroken: the last link was lost. Whoever is receiving still hears what the other side said before.
            PeerMisbehaved: the other side broke the rules of bundles.

        """
        if self._several:
            await self._several.send(record)
        else:
            await self._first.send(record)
            self._sent += 1
        self.sent(record)

    async def receive(self) -> bytes | str:
        """Return the next record. Cancelling loses nothing.

        Raises:
            EndOfStream: the other side closed properly, and everything that it sent before was received.
            LinkBroken: the last link was lost.
            PeerMisbehaved: the other side broke the rules of bundles.

        """
        if self._several:
            return await self._several.receive()
        record = await self._first.receive()
        self._received += 1
        return record

    async def aclose(self) -> None:
        """Wait, for a bounded time, until all has arrived; then close every link politely. Never fails."""
        await self.close(DONE)

    async def give_up(self) -> None:
        """Do the same for a conversation that is not complete, so that the relay does not count it as one."""
        with last_words(self):
            await self.close(CloseCode.GIVEN_UP)

    async def close(self, code: int) -> None:
        """Wait as `aclose` does; then close every link with this code. Never fails."""
        if self._several:
            await self._several.close(code)
        await self._first.close(code)

    async def _run(self) -> None:
        with self._life:
            await self._spread.wait()
            assert self._several, "it was spread"
            await self._several.run(self._first)


def last_words(link: Channel) -> AbstractContextManager[Deadline]:
    """Shield the body, which sends what is said last, while the other end takes something or says that it did."""
    return within(
        transport_limits.GOODBYE_TIMEOUT,
        moves=lambda: (link.taken, link.heard_at),
        most=transport_limits.PARTING_LIMIT,
        shield=True,
    )
