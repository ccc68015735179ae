"""A conversation that outlasts its links: whatever is lost on the way, both sides come back and go on.

The code is for the first meeting only. From it both sides have a ticket, 32 secret bytes; with it they meet again, in
a room that only they know, and agree on fresh keys. Each meeting is told its story from the beginning; what was done
in earlier ones is in the journals, so it is named again and not sent again.

The ticket is agreed on in an instant, but kept by one side after the other, and a link can be lost in between. So the
sender keeps it first, and the receiver when it hears the sender's offer. Until the sender hears the answer, it does not
know where the receiver is, and looks into both rooms in turn.
"""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, TypeVar

import trio
from blake3 import blake3

from p2p_copy import limits
from p2p_copy.errors import (
    CertificateNotTrusted,
    Declined,
    IncompatiblePeer,
    NobodyCame,
    NoSpace,
    NotARelay,
    OutputNotWritable,
    P2PCopyError,
    PeerFailed,
    PeerLost,
    PeerMisbehaved,
    RelayExpectsTLS,
    RelayLost,
    RelayRefused,
    RelayUnreachable,
    RelayWithoutTLS,
    TooMuch,
    WrongCode,
)
from p2p_copy.files.journal import Journal
from p2p_copy.files.states import known_directories
from p2p_copy.meet import Appointment, meet, plain_errors
from p2p_copy.observe import Discreet, Report
from p2p_copy.pauses import Pauses
from p2p_copy.protocol import keys
from p2p_copy.protocol.rendezvous import Role
from p2p_copy.units import duration

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from p2p_copy.bundle import Bundle
    from p2p_copy.files.receipt_file import ReceiptFile
    from p2p_copy.files.states import State
    from p2p_copy.meet import Partner
    from p2p_copy.observe import Observer
    from p2p_copy.protocol.session import Session

T = TypeVar("T")

TICKET = "ticket"
CLAIM = "claim"
SURE = "sure"
OVER = "over"
CODE = "code"
BEGAN = "began"
"""Facts of a state: ticket and claim in hexadecimal digits; whether both sides have the ticket; the report when all is
done; the code until both met; when it began, in seconds since 1970."""

_CLAIM_BYTES, _TAG_BYTES = 16, 4


class Memory:
    """What one side remembers of one transfer, on disk if it has a `state`.

    Attributes:
        journal: what was done.
        ticket: what both sides have from their first meeting; None before it.
        sure: the other side has the ticket, too.
        patience: seconds for which to come back after a loss.
        claim: what tells the relay that a second connection of ours takes the place of the first.
        restarted: an earlier process was at it, which may have been killed before its last deeds were noted.
        began: when the first process began, in seconds since 1970; 0 if that is not known.
        streams: what is transferred cannot be gone on with by another process.

    """

    def __init__(self, state: State | None, patience: float, observer: Observer | None = None) -> None:
        """Begin, or go on with what `state` says. The observer is told, once, if that cannot be written any more."""
        self._state = state
        self._observer = observer
        self._unsaved = False  # the facts on the disk are older than those here
        self.journal = Journal(None) if state is None else state.journal
        facts = {} if state is None else state.facts
        self.ticket = bytes.fromhex(facts[TICKET]) if TICKET in facts else None
        self.sure: bool = SURE in facts
        self._by_code = True  # when they met last
        self.streams = False
        self.patience = patience
        self.claim: str = facts.get(CLAIM) or os.urandom(_CLAIM_BYTES).hex()
        self.restarted = CLAIM in facts
        self.began: float = facts.get(BEGAN, 0.0)

    @property
    def report(self) -> Report | None:
        """How the transfer ended, if it did, and only the other side may not know it yet."""
        facts = self._state.facts.get(OVER) if self._state is not None else None
        try:
            return Report(**facts) if facts else None
        except TypeError:  # another version has written it
            return None

    @property
    def state_directories(self) -> tuple[str, ...]:
        """Where this and other transfers may be remembered."""
        return known_directories(self._state)

    @property
    def tag(self) -> str:
        """What the names of this transfer's temporary files have in common; it tells nothing of the claim."""
        return blake3(self.claim.encode()).hexdigest(length=_TAG_BYTES)

    @property
    def receipt_tag(self) -> str:
        """The same for a receipt, which may lie among parts that are to stay."""
        return blake3(f"receipt {self.claim}".encode()).hexdigest(length=_TAG_BYTES)

    @property
    def resumable(self) -> bool:
        """Whether there is anything with which another process could go on: a ticket, or what was done."""
        met = self._state is not None and TICKET in self._state.facts
        return met or self.report is not None or not self.journal.empty

    @property
    def lasts(self) -> bool:
        """Whether there may be another meeting after this one."""
        return self._state is not None or self.patience > 0

    def appointment(self, partner: Partner) -> Appointment:
        """Return where to meet: where the code says for the first time, where the ticket says from then on.

        In between, in turn, and so with streams: whoever is started anew is where the code says, and must be told.
        """
        self._by_code = self.ticket is None or (self._takes_turns and not self._by_code)
        if self.ticket is None or self._by_code:
            return Appointment(keys.room_id(partner.code.room), partner.code.secret, self.claim)
        return Appointment(keys.resume_room(self.ticket), self.ticket.hex(), self.claim)

    @property
    def _takes_turns(self) -> bool:
        return self.ticket is not None and (self.streams or not self.sure)

    def turn(self, left: float) -> float:
        """Return for how long to look into the room of the appointment, of the seconds `left`."""
        if not self._takes_turns:
            return left
        turns = 1 if self._by_code or not self.streams else limits.ROOM_TURNS
        return min(left, turns * limits.ROOM_TURN)

    def seconds_left(self, lost_at: float | None, wait: float) -> float:
        """Return for how long to try to meet; `wait` is for the first time."""
        since = 0.0 if lost_at is None else trio.current_time() - lost_at
        return max((wait if self.ticket is None else self.patience) - since, 0.0)

    async def keep(self, ticket: bytes, *, sure: bool) -> None:
        """Remember that both sides have met, if they have not met by an earlier ticket, and whether that is `sure`.

        Nothing is sent or written before it is; then the code is spent.
        """
        facts: dict[str, object] = {}
        if self._by_code and ticket != self.ticket:
            self.ticket = ticket
            facts |= {TICKET: ticket.hex(), CLAIM: self.claim}
        if sure and not self.sure:
            self.sure = True
            facts[SURE] = True
            if self._state is not None:
                self._state.facts.pop(CODE, None)
        if facts and not self.streams:
            await self._save(facts)

    async def finish(self, report: Report, linger: float) -> None:
        """Remember that all was done; what is left is to let the other side know, `linger` seconds at most."""
        self.patience = min(self.patience, linger)
        if self.report is None:
            await self._save({OVER: asdict(report)})

    def linger(self, seconds: float, observer: Observer, sentence: str) -> None:
        """If an earlier process has done all, come back for so many seconds only, and say why."""
        if self.report is not None:
            self.patience = min(self.patience, seconds)
            observer.notice(f"{sentence} This lasts {duration(self.patience)} at most, and may be stopped.")

    async def unmeet(self, declined: Declined) -> None:
        """Forget a meeting in which the receiver kept nothing: the two sides meet by the code once more."""
        await self.part(declined)
        self.ticket, self.sure = None, False

    async def stream(self) -> None:
        """Remember that only these two processes can go on: nothing of it outlives them."""
        if not self.streams:
            self.streams = True
            await self._unlearn(TICKET, SURE)

    async def part(self, error: P2PCopyError) -> None:
        """Remember that the two sides have parted for good: who tries again needs a code, and has what is here.

        They have not if only one of them knows: the other one still is where both meet again, so nothing changes. A
        code on which somebody has guessed wrongly is never used again.
        """
        if isinstance(error, _BETWEEN_BOTH):
            await self._unlearn(TICKET, SURE, *([CODE] if isinstance(error, WrongCode) else []))

    async def _unlearn(self, *names: str) -> None:
        if self._state is not None:
            gone = [name for name in names if name in self._state.facts]
            for name in gone:
                del self._state.facts[name]
            if gone:
                await self._save({})

    async def close(self, *, done: bool) -> None:
        """Forget everything if all is `done`, else make it durable. Bounded, and never cut short."""
        with trio.CancelScope(shield=True):
            if self._state is None:
                self.journal.close()
                return
            if self._unsaved and not done:
                await self._save({})  # there may be room again
            await trio.to_thread.run_sync(self._state.remove if done else self._state.close)
            if not done and self.journal.failed is not None:
                self._cannot_save(self.journal.failed)

    async def _save(self, facts: dict[str, object]) -> None:
        """Write down all facts, with these. If that is not possible the transfer goes on, without being remembered."""
        if self._state is None:
            return
        self._state.facts.update(facts)
        try:
            await trio.to_thread.run_sync(self._state.save)
        except OSError as error:
            self._unsaved = True
            self._cannot_save(f"{error.strerror or type(error).__name__}.")
        else:
            self._unsaved = False

    def _cannot_save(self, why: str) -> None:
        """Say so, once."""
        observer, self._observer = self._observer, None
        if observer is not None:
            observer.notice(f"What is done cannot be remembered beyond this run: {why}")


async def converse(partner: Partner, memory: Memory, story: Callable[[Bundle, Session], Awaitable[T]]) -> T:
    """Meet and tell `story`, again after each loss, until it was told to its end; return what it returns.

    Args:
        partner: whom to meet, and where.
        memory: what is known from before; for how long to come back.
        story: is told to each link from its beginning; it lets `memory` keep the session's ticket.

    Raises:
        P2PCopyError: what does not pass, or did not pass in time; see `meet`.

    """
    until = trio.current_time() + partner.wait
    lost_at = trio.current_time() if memory.report is not None else None
    reached = memory.ticket is not None  # a relay that was never there is not waited for
    was_there = False  # the relay, as this process has seen
    wait = partner.wait
    pauses = Pauses()
    looking = partner
    while True:
        met = False
        began = trio.current_time()
        at = memory.appointment(partner)
        by_code = at.secret == partner.code.secret
        left = memory.seconds_left(lost_at, wait)
        once = memory.turn(left)
        try:
            with plain_errors():
                async with meet(looking, at, once) as (link, session):
                    met = True
                    return await story(link, session)
        except WrongCode:
            if by_code:
                raise
            error: P2PCopyError = PeerLost("Somebody else is where the two sides meet again.")
        except Declined as declined:
            wait = until - trio.current_time()
            if partner.role is Role.RECEIVER or wait <= 0:
                raise
            await memory.unmeet(declined)
            lost_at = None
            reached = was_there = True
            partner.observer.declined(wait)
            continue
        except P2PCopyError as its:
            error = its
        was_there = was_there or met
        reached = reached or met or isinstance(error, RelayLost)
        known = met or memory.ticket is not None
        passes = error.passes or (was_there and isinstance(error, _ON_THE_WAY))
        if not passes or not reached or not (known or isinstance(error, _OF_RELAYS)):
            raise error
        if met:
            wait = memory.patience  # also if the link was lost before we had a ticket
        if met or lost_at is None:
            lost_at = trio.current_time()
            pauses = Pauses()
            partner.observer.lost(str(error), memory.seconds_left(lost_at, wait))
        waited = trio.current_time() - began >= once  # a relay may say so at once, again and again
        if isinstance(error, NobodyCame) and once < left and waited:
            looking = partner._replace(observer=Discreet(partner.observer))
            continue  # now the other room
        looking = partner
        left = memory.seconds_left(lost_at, wait)
        if left <= 0:
            raise error
        await trio.sleep(min(pauses.next(), left))


async def alongside(helper: Callable[[], Awaitable[None]], story: Callable[[], Awaitable[T]]) -> T:
    """Run `helper` beside `story`, which it ends if it fails; return what the story returns."""

    async def help_out() -> None:
        await helper()

    with plain_errors():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(help_out)
            result = await story()
            nursery.cancel_scope.cancel()
    return result


@asynccontextmanager
async def writing(file: ReceiptFile | None) -> AsyncIterator[None]:
    """Write one conversation's receipt, if one is asked for; what is not published then is gone at the end."""
    if file is None:
        yield
        return
    try:
        await trio.to_thread.run_sync(file.begin)
        yield
    finally:
        with trio.CancelScope(shield=True):  # bounded: it removes one file
            await trio.to_thread.run_sync(file.discard)


_OF_RELAYS = (RelayLost, RelayUnreachable, RelayRefused)

_ON_THE_WAY = (CertificateNotTrusted, NotARelay, RelayExpectsTLS, RelayWithoutTLS)
"""Where the relay was, somebody else answers: a network that wants a login first, say. That passes."""

_BETWEEN_BOTH = (
    Declined,
    IncompatiblePeer,
    NoSpace,
    OutputNotWritable,
    PeerFailed,
    PeerMisbehaved,
    TooMuch,
    WrongCode,
)
"""What one side ends for and tells the other one."""
