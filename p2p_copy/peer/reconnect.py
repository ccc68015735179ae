"""A conversation that outlasts its links: whatever is lost on the way, both sides come back and go on.

The code is for the first meeting, and for one in which a side has forgotten the others. From the first one both sides
have a ticket, 32 secret bytes; with it they meet again, in a room that only they know, and agree on fresh keys. Each
meeting is told its story from the beginning; what was done in earlier ones is in the journals, so it is named again and
not sent again.

Where to look, and who forgets what when, is decided in `reconnect`; here it is done, and kept on disk.
"""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, TypeVar

import trio
from blake3 import blake3

from p2p_copy.errors import Declined, NobodyCame, P2PCopyError, PeerLost, UsageError, WrongCode
from p2p_copy.files.state.journal import Journal
from p2p_copy.files.state.store import known_directories
from p2p_copy.observer import Discreet, Report
from p2p_copy.peer import limits
from p2p_copy.peer.backoff import Backoff
from p2p_copy.peer.connect import Meeting, meet, plain_errors
from p2p_copy.peer.retry import GiveUp, Knowledge, OtherRoom, Outcome, Reconnect, Turns
from p2p_copy.peer.waiting import HINT
from p2p_copy.protocol import keys
from p2p_copy.protocol.rendezvous import Role
from p2p_copy.transfer.farewell import part_ways
from p2p_copy.transfer.reasons import farewell
from p2p_copy.units import duration

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from p2p_copy.files.receipts.receipt_file import ReceiptFile
    from p2p_copy.files.state.store import State
    from p2p_copy.observer import Observer
    from p2p_copy.peer.channel import Channel
    from p2p_copy.peer.connect import ConnectOptions
    from p2p_copy.peer.retry import Room, Turn
    from p2p_copy.protocol.session import Session

T = TypeVar("T")

TICKET = "ticket"
EARLIER = "earlier"
CLAIM = "claim"
SURE = "sure"
SPENT = "spent"
OVER = "over"
CODE = "code"
"""Facts of a state: the ticket, an earlier one, and the claim, in hexadecimal digits; whether both sides have the
ticket; whether the code is used up; the report when all is done; the code, if it was generated."""

_CLAIM_BYTES, _TAG_BYTES = 16, 4


class Resumption:
    """What one side remembers of one transfer, on disk if it has a `state`.

    Attributes:
        journal: what was done.
        patience: seconds for which to come back after a loss.
        claim: what tells the relay that a second connection of ours takes the place of the first.
        restarted: an earlier process was at it, which may have been killed before its last deeds were noted.
        streams: what is transferred cannot be gone on with by another process.
        told: the other side knows why the conversation at hand is over.

    """

    def __init__(self, state: State | None, patience: float, observer: Observer | None = None) -> None:
        """Begin, or go on with what `state` says. The observer is told, once, if that cannot be written any more."""
        self._state = state
        self._observer = observer
        self._unsaved = False  # the facts on the disk are older than those here
        self.journal = Journal(None) if state is None else state.journal
        facts = {} if state is None else state.facts
        tickets = tuple(bytes.fromhex(facts[name]) for name in (TICKET, EARLIER) if name in facts)
        self._knowledge = Knowledge(tickets, sure=SURE in facts, spent=SPENT in facts)
        self._room: Room = None  # where they met last
        self.streams = False
        self.told = False
        self.patience = patience
        self.claim: str = facts.get(CLAIM) or os.urandom(_CLAIM_BYTES).hex()
        self.restarted = CLAIM in facts

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
    def is_of_use(self) -> bool:
        """Whether another process needs to know of this: of a ticket, of what was done, or that the code is used up."""
        return self.has_ticket or self.is_used_up or self.report is not None or not self.journal.empty

    @property
    def lasts(self) -> bool:
        """Whether there may be another meeting after this one."""
        return self._state is not None or self.patience > 0

    @property
    def knowledge(self) -> Knowledge:
        """By what this side can meet the other one."""
        return self._knowledge

    @property
    def has_ticket(self) -> bool:
        """Whether both sides have met, and not parted since."""
        return bool(self._knowledge.tickets)

    @property
    def is_used_up(self) -> bool:
        """Whether the code may not be used any more."""
        return self._knowledge.spent

    async def begin(self) -> None:
        """Write down by what this transfer knows its own files again, before there is any: a kill may come any time."""
        if self._state is not None and CLAIM not in self._state.facts:
            self._state.facts[CLAIM] = self.claim
            await self._write()

    def without_code(self) -> None:
        """Go by tickets alone: nobody has told this process the code."""
        self._knowledge = replace(self._knowledge, has_code=False)

    def appointment(self, partner: ConnectOptions, room: Room = None) -> Meeting:
        """Return how to meet in a room: that of a ticket, or None for that of the code."""
        self._room = room
        self.told = False
        if room is not None:
            return Meeting(keys.resume_room(room), room.hex(), self.claim)
        assert partner.code is not None, "else this room is not looked into"
        secret = None if self._knowledge.spent else partner.code.secret
        tickets = self._knowledge.tickets
        return Meeting(keys.room_id(partner.code.room), secret, self.claim, tickets, self.spend)

    def seconds_left(self, since: float, wait: float) -> float:
        """Return for how long to try to meet, `since` so long ago; `wait` is for the first time in this process.

        With a ticket the longer of both counts: an earlier process may have met the other side, and been stopped since.
        """
        patience = max(self.patience, wait) if self.has_ticket else wait
        if self.report is not None:  # only the other side may not know that all is done
            patience = self.patience
        if self._knowledge.is_in_doubt:
            patience = min(patience, limits.DOUBT_PATIENCE)
        return max(patience - (trio.current_time() - since), 0.0)

    async def spend(self) -> None:
        """Remember that the code was put to the test, and is not used again unless that ends well."""
        await self._learn(self._knowledge.tried())

    async def met(self, session: Session) -> bool:
        """Remember that both sides have met; return whether the other one has forgotten an earlier meeting."""
        if self._room is not None:
            return False
        await self._learn(self._knowledge.proved())
        return self.has_ticket and not session.held_there(self._knowledge.tickets)

    async def keep(self, session: Session, *, sure: bool) -> None:
        """Remember the ticket of this meeting, and whether it is `sure` that the other side does, too.

        Nothing is sent or written before it is.
        """
        ticket = self._ticket(session)
        await self._learn(self._knowledge.agreed(ticket) if sure else self._knowledge.offered(ticket))

    def _ticket(self, session: Session) -> bytes:
        return self._knowledge.in_common(
            self._room, session.ticket, session.held_there(self._knowledge.tickets)
        )

    async def finish(self, report: Report, linger: float) -> None:
        """Remember that all was done; what is left is to let the other side know, `linger` seconds at most."""
        self.patience = min(self.patience, linger)
        if self.report is None and self._state is not None:
            self._state.facts[OVER] = asdict(report)
            await self._write()

    def linger(self, seconds: float, observer: Observer, sentence: str) -> None:
        """If an earlier process has done all, come back for so many seconds only, and say why."""
        if self.report is not None:
            self.patience = min(self.patience, seconds)
            observer.notice(f"{sentence} This lasts {duration(self.patience)} at most, and may be stopped.")

    async def unmeet(self, session: Session) -> None:
        """Forget a meeting in which the receiver kept nothing: the two sides meet by the code once more."""
        await self._learn(self._knowledge.declined(self._ticket(session)))

    async def stream(self) -> None:
        """Remember that only these two processes can go on: nothing of it outlives them."""
        self.streams = True
        await self._learn(self._knowledge)

    async def part(self, error: BaseException) -> None:
        """Remember how the two sides have parted: for good, if both know, and no later try can go on from there."""
        if not getattr(error, "passes", False):
            await self._learn(self._knowledge.parted(told=self.told))

    async def close(self, *, done: bool) -> None:
        """Forget everything if all is `done`, else make it durable. Bounded, and never cut short."""
        with trio.CancelScope(shield=True):
            if self._state is None:
                self.journal.close()
                return
            if self._unsaved and not done:
                await self._write()  # there may be room again
            await trio.to_thread.run_sync(self._state.remove if done else self._state.close)
            if not done and self.journal.failed is not None:
                self._cannot_save(self.journal.failed)

    async def _learn(self, knowledge: Knowledge) -> None:
        self._knowledge = knowledge
        if self._state is None:
            return
        tickets = () if self.streams else knowledge.tickets
        new: dict[str, object] = dict(zip((TICKET, EARLIER), map(bytes.hex, tickets), strict=False))
        if tickets and knowledge.sure:
            new[SURE] = True
        if knowledge.spent:
            new[SPENT] = True
        facts = self._state.facts
        if new != {name: facts[name] for name in (TICKET, EARLIER, SURE, SPENT) if name in facts}:
            for name in (TICKET, EARLIER, SURE, SPENT):
                facts.pop(name, None)
            facts.update(new)
            if tickets:
                facts[CLAIM] = self.claim
            await self._write()

    async def _write(self) -> None:
        """Write down all facts. If that is not possible the transfer goes on, without being remembered."""
        if self._state is None:
            return
        try:
            await trio.to_thread.run_sync(self._state.save)
        except (OSError, ValueError) as error:  # a state has a limit, too
            self._unsaved = True
            reason = error.strerror if isinstance(error, OSError) else None
            self._cannot_save(f"{reason or type(error).__name__}.")
        else:
            self._unsaved = False

    def _cannot_save(self, why: str) -> None:
        """Say so, once."""
        observer, self._observer = self._observer, None
        if observer is not None:
            observer.notice(f"What is done cannot be remembered beyond this run: {why}")


async def run_with_reconnect(
    partner: ConnectOptions, memory: Resumption, story: Callable[[Channel, Session], Awaitable[T]]
) -> T:
    """Meet and tell `story`, again after each loss, until it was told to its end; return what it returns.

    Args:
        partner: whom to meet, and where.
        memory: what is known from before; for how long to come back.
        story: is told to each link from its beginning; it lets `memory` keep the session's ticket.

    Raises:
        P2PCopyError: what does not pass, or did not pass in time; see `meet`.

    """
    if partner.code is None:
        memory.without_code()
    until = trio.current_time() + partner.wait
    since = trio.current_time()  # so long this side looks for the other one
    lost = memory.report is not None  # and its user knows
    wait = partner.wait
    pauses, turns, reconnect = Backoff(), Turns(), Reconnect(has_ticket=memory.has_ticket)
    discreet = Discreet(partner.observer)
    looking = partner._replace(observer=discreet)
    while True:
        if memory.knowledge.is_lost:
            raise WrongCode(_USED_UP) if partner.code else UsageError(_NO_CODE)
        met = False
        left = memory.seconds_left(since, wait)
        turn = turns.next(memory.knowledge, left)
        once = min(turn.seconds, left)
        began = trio.current_time()
        try:
            with plain_errors():
                async with meet(looking, memory.appointment(partner, turn.room), once) as (link, session):
                    met = True
                    await _begin(partner, memory, link, session)
                    return await story(link, session)
        except Declined:
            wait = until - trio.current_time()
            if partner.role is Role.RECEIVER or wait <= 0:
                raise
            await memory.unmeet(session)
            lost, since = False, trio.current_time()
            reconnect.declined()
            partner.observer.declined(wait)
            continue
        except P2PCopyError as its:
            error = its
        if isinstance(error, WrongCode):
            error = await _guessed(memory, turn, error, partner)
        others = len(memory.knowledge.rooms) > 1
        waited = trio.current_time() - began >= once  # a relay may say so at once, again and again
        decision = reconnect.after(
            Outcome(error, met, turn.room, others, waited), has_ticket=memory.has_ticket
        )
        if isinstance(decision, GiveUp):
            raise decision.error
        if met:
            wait = memory.patience  # also if the link was lost before we had a ticket
        silent = isinstance(decision, OtherRoom)
        # The other side may take its time to come; a relay that is gone is waited for as after any loss.
        longest = wait if isinstance(error, NobodyCame) or not memory.has_ticket else memory.patience
        if not met and memory.seconds_left(since, longest) <= 0:
            if memory.knowledge.is_in_doubt:
                raise WrongCode(_USED_UP)
            if isinstance(error, NobodyCame) and others:
                searched = trio.current_time() - since
                raise NobodyCame(f"The other side did not come within {searched:.0f} s. {HINT}")
            raise error
        if met or not (lost or silent):
            lost, since = True, trio.current_time()
            pauses = Backoff()
            turns.restart()
            partner.observer.lost(str(error), memory.seconds_left(since, longest))
        discreet.silent = silent
        left = memory.seconds_left(since, longest)
        if left <= 0:
            raise error
        if not silent:
            await trio.sleep(min(pauses.next(), left))


async def _begin(partner: ConnectOptions, memory: Resumption, link: Channel, session: Session) -> None:
    """Note that both sides have met. A failure of this side is told to the other one, which would wait for it."""
    try:
        partner.observer.paired()
        if await memory.met(session):
            partner.observer.notice(_FORGOTTEN[partner.role])
    except Exception as error:
        memory.told = await part_ways(link, session, farewell(error))
        raise


async def _guessed(memory: Resumption, turn: Turn, error: WrongCode, partner: ConnectOptions) -> P2PCopyError:
    """Return what a failed exchange means: the end of the code, if that was used, and of no ticket."""
    if turn.room is not None:
        return PeerLost("Somebody else is where the two sides meet again.")
    await memory.spend()
    if memory.has_ticket:
        partner.observer.notice(_GUESSED)
    return error


_USED_UP = (
    "This code is used up: an exchange by it has failed, or somebody has tried to guess it. "
    "Take a new code on both sides."
)
_NO_CODE = (
    "The two sides of that transfer have parted, and its code is not known here. Start its command again."
)
_GUESSED = (
    "Somebody came with a wrong code, so the code is not used any more. This transfer goes on as it is: both sides "
    "meet by what they have agreed on before."
)
_FORGOTTEN = {
    Role.SENDER: "The receiver knows nothing of what was done before. It starts over with what is on its disk.",
    Role.RECEIVER: "The sender knows nothing of what was done before. It starts over; what is here is not sent again.",
}
"""What it means that the other side came with the code and without the ticket, by the role of this side."""


async def run_beside(helper: Callable[[], Awaitable[None]], story: Callable[[], Awaitable[T]]) -> T:
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
