"""Remembers a transfer from one meeting to the next, on disk if it has a saved state.

The two sides meet by the code first, and whenever one of them has lost its memory of earlier meetings. In the first
meeting both get a ticket, 32 secret bytes. By the ticket they meet again, in a room that only they know, and agree on
fresh keys. A journal holds the files that were done, so that the next meeting names them again but does not send them.

`peer.retry` decides how these facts change at each event; this module stores them.
"""

from __future__ import annotations

import os
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import trio
from blake3 import blake3

from p2p_copy.errors import P2PCopyError
from p2p_copy.files.state.facts import Facts
from p2p_copy.files.state.journal import Journal
from p2p_copy.files.state.store import known_directories
from p2p_copy.peer.meeting import Meeting
from p2p_copy.peer.retry import Knowledge
from p2p_copy.protocol import keys
from p2p_copy.protocol.rendezvous import Role
from p2p_copy.transfer import limits
from p2p_copy.transfer.conversation import Conversation
from p2p_copy.transfer.reasons import farewell
from p2p_copy.units import duration

if TYPE_CHECKING:
    from p2p_copy.files.state.store import State
    from p2p_copy.observer import Observer, Report
    from p2p_copy.peer.channel import Channel
    from p2p_copy.peer.meeting import ConnectOptions
    from p2p_copy.peer.retry import Room
    from p2p_copy.protocol.session import Session

_CLAIM_BYTES, _TAG_BYTES = 16, 4


class Resumption:
    """What one side remembers of one transfer, on disk if it has a `state`.

    Attributes:
        journal: the files that were done.
        patience: seconds for which to try to reconnect after a loss.
        claim: a secret by which the relay recognises this side, so that its new connection replaces the old one.
        restarted: an earlier process worked on this transfer. If it was killed, the journal may lack what it did last.
        is_stream: the transfer is a stream, which no other process can resume.
        reason_known: the other side knows why this conversation is over.

    """

    def __init__(self, state: State | None, patience: float, observer: Observer | None = None) -> None:
        """Begin a transfer, or resume that of `state`. The observer is told, once, if the state cannot be written."""
        self._state = state
        self._observer = observer
        self._writing = trio.Lock()
        self._far = (0, None) if state is None else (state.facts.size, state.facts.total)
        self._moves = trio.Event()  # something was delivered in this process
        self._unsaved = False  # the facts on the disk are older than those in memory
        self.journal = Journal(None) if state is None else state.journal
        facts = Facts() if state is None else state.facts
        self._knowledge = Knowledge(facts.tickets, sure=facts.sure, spent=facts.spent)
        self._room: Room = None  # of the last meeting
        self._met_at: float | None = None  # the time of the first meeting in this process
        self.is_stream = False
        self.reason_known = False
        self.patience = patience
        self.claim = facts.claim or os.urandom(_CLAIM_BYTES).hex()
        self.restarted = bool(facts.claim)

    @property
    def report(self) -> Report | None:
        """The result, once this side has done all (the other side may not know that yet); None before."""
        return self._state.facts.over if self._state is not None else None

    @property
    def is_over(self) -> bool:
        """Whether this side has done all; the other side may not know that yet."""
        return self.report is not None

    @property
    def seconds(self) -> float:
        """Seconds since both sides first met in this process."""
        return time.monotonic() - self._met_at if self._met_at is not None else 0.0

    @property
    def state_directories(self) -> tuple[str, ...]:
        """Where the states of this and other transfers may lie."""
        return known_directories(self._state)

    @property
    def tag(self) -> str:
        """What the names of all temporary files of this transfer contain: a hash, which does not reveal the claim."""
        return blake3(self.claim.encode()).hexdigest(length=_TAG_BYTES)

    @property
    def receipt_tag(self) -> str:
        """The same for receipts: a receipt may lie beside parts, and its temporary file is removed without them."""
        return blake3(f"receipt {self.claim}".encode()).hexdigest(length=_TAG_BYTES)

    @property
    def is_of_use(self) -> bool:
        """Whether another process could use the state: a ticket, what was done, or that the code is used up."""
        return self.has_ticket or self.is_used_up or self.is_over or not self.journal.empty

    @property
    def is_saved(self) -> bool:
        """Whether another process can resume the transfer."""
        return self._state is not None

    @property
    def lasts(self) -> bool:
        """Whether there may be another meeting after this one."""
        return self.is_saved or self.patience > 0

    @property
    def knowledge(self) -> Knowledge:
        """By what this side can meet the other."""
        return self._knowledge

    @property
    def has_ticket(self) -> bool:
        """Whether this side can meet the other without the code."""
        return bool(self._knowledge.tickets)

    @property
    def is_used_up(self) -> bool:
        """Whether the code may not be used any more."""
        return self._knowledge.spent

    @property
    def met_by_code(self) -> bool:
        """Whether the two sides have met by the code this time, and not by a ticket."""
        return self._room is None

    async def begin(self) -> None:
        """Save the claim before the transfer makes any file: after a kill, these files are found by the claim's tag."""
        if self._state is not None:
            await self._save(replace(self._state.facts, claim=self.claim))

    def without_code(self) -> None:
        """Meet by tickets alone: this process does not know the code."""
        self._knowledge = self._knowledge._replace(has_code=False)

    def meeting(self, options: ConnectOptions, room: Room = None) -> Meeting:
        """Return how to meet in `room`, the room of a ticket or of the code."""
        self._room = room
        self.reason_known = False
        if room is not None:
            return Meeting(keys.resume_room(room), room.hex(), self.claim)
        assert options.code is not None, "without a code, `Knowledge.rooms` does not have its room"
        secret = None if self._knowledge.spent else options.code.secret
        tickets = self._knowledge.tickets
        return Meeting(keys.room_id(options.code.room), secret, self.claim, tickets, self.spend)

    async def spend(self) -> None:
        """Remember that a key exchange with the code has begun: unless it succeeds, the code is never used again."""
        await self._learn(self._knowledge.tried())

    async def met(self, options: ConnectOptions, channel: Channel, session: Session) -> None:
        """Remember that both sides have met, and tell the observer; also if the other side has lost its tickets.

        If this fails, the other side is told, so that it does not wait.
        """
        try:
            options.observer.paired(session.words, session.peer_verifies)
            if self._met_at is None:
                self._met_at = time.monotonic()
            if self._room is None:
                await self._learn(self._knowledge.proved())
                if self.has_ticket and not session.shared(self._knowledge.tickets):
                    options.observer.notice(_FORGOTTEN[options.role])
        except Exception as error:
            self.reason_known = await Conversation(channel, session, options.role).part_ways(farewell(error))
            raise

    async def save_ticket(self, session: Session, *, sure: bool) -> None:
        """Remember the ticket of this meeting. `sure`: the other side certainly has it, too.

        Call this before anything of the transfer is sent or written.
        """
        ticket = self._ticket(session)
        await self._learn(self._knowledge.agreed(ticket) if sure else self._knowledge.offered(ticket))

    def _ticket(self, session: Session) -> bytes:
        return self._knowledge.ticket_of_meeting(
            self._room, session.ticket, session.shared(self._knowledge.tickets)
        )

    async def finish(self, report: Report, linger: float) -> None:
        """Remember that all was done. After a loss, reconnect for `linger` seconds only, to tell the other side."""
        self.patience = min(self.patience, linger)
        if not self.is_over and self._state is not None:
            await self._save(replace(self._state.facts, over=report))

    def linger(self, seconds: float, observer: Observer, sentence: str) -> None:
        """If an earlier process has done all, reconnect for `seconds` only, and say why in a `sentence`."""
        if self.is_over:
            self.patience = min(self.patience, seconds)
            observer.notice(f"{sentence} This lasts {duration(self.patience)} at most, and may be stopped.")

    def delivered(self, size: int) -> None:
        """Note how many bytes the receiver has; they are saved now and then."""
        self._far = size, self._far[1]
        self._moves.set()

    def counted(self, total: int) -> None:
        """Note how many bytes the whole transfer has."""
        self._far = self._far[0], total

    async def save_progress(self) -> None:
        """Save how far the transfer is, now and then (`limits.PROGRESS_SAVED`), until cancelled."""
        await self._moves.wait()
        seconds, most = limits.PROGRESS_SAVED
        while self._state is not None:
            await trio.sleep(seconds)
            await self._save(self._with_progress(self._state.facts))
            seconds = min(2 * seconds, most)
        await trio.sleep_forever()

    def _with_progress(self, facts: Facts) -> Facts:
        size, total = self._far
        return replace(facts, size=size, total=total)

    async def forget_meeting(self, session: Session) -> None:
        """Forget the ticket of a meeting in which the receiver declined."""
        await self._learn(self._knowledge.declined(self._ticket(session)))

    async def mark_stream(self) -> None:
        """Remember that the transfer is a stream. Its tickets are not saved: no other process has its data."""
        self.is_stream = True
        await self._learn(self._knowledge)

    async def end_for_good(self, error: BaseException) -> None:
        """Forget all tickets if `error` is permanent and the other side knows why this conversation is over."""
        if not (isinstance(error, P2PCopyError) and error.transient):
            await self._learn(self._knowledge.parted(told=self.reason_known))

    async def close(self, *, done: bool) -> None:
        """Remove the state if all is `done`, else make it durable. Shielded from cancellation, and bounded."""
        with trio.CancelScope(shield=True):
            if self._state is None:
                self.journal.close()
                return
            if not done:
                facts, self._state.facts = self._state.facts, self._with_progress(self._state.facts)
                if self._unsaved or facts != self._state.facts:
                    await self._write()  # the disk may have space again
            await trio.to_thread.run_sync(self._state.remove if done else self._state.close)
            if not done and self.journal.failed is not None:
                self._cannot_save(self.journal.failed)

    async def _learn(self, knowledge: Knowledge) -> None:
        self._knowledge = knowledge
        if self._state is None:
            return
        tickets = () if self.is_stream else knowledge.tickets
        facts = self._state.facts
        sure = bool(tickets) and knowledge.sure
        claim = self.claim if tickets else facts.claim  # a saved claim says that a transfer has begun
        await self._save(replace(facts, tickets=tickets, sure=sure, spent=knowledge.spent, claim=claim))

    async def _save(self, facts: Facts) -> None:
        """Save facts, if they have changed."""
        if self._state is not None and facts != self._state.facts:
            self._state.facts = facts
            await self._write()

    async def _write(self) -> None:
        """Write all facts. If that fails, the transfer goes on, but no other process can resume it."""
        if self._state is None:
            return
        try:
            async with self._writing:
                await trio.to_thread.run_sync(self._state.save)
        except (OSError, ValueError) as error:  # ValueError: the facts are larger than a state may be
            self._unsaved = True
            reason = error.strerror if isinstance(error, OSError) else None
            self._cannot_save(f"{reason or type(error).__name__}.")
        else:
            self._unsaved = False

    def _cannot_save(self, why: str) -> None:
        """Tell the observer, once."""
        observer, self._observer = self._observer, None
        if observer is not None:
            observer.notice(f"Progress cannot be saved beyond this run: {why}")


_FORGOTTEN = {
    Role.SENDER: "The receiver knows nothing of what was done before. It starts over with what is on its disk.",
    Role.RECEIVER: "The sender knows nothing of what was done before. It starts over; what is here is not sent again.",
}
"""What to say, by the role of this side, when the other side has met it by the code and without a ticket."""
