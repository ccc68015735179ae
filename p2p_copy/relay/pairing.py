"""Copies two links to each other until one of them ends.

For each direction one task reads from the source's link and one writes to the target's, with a bounded channel between:
the reader waits when the writer does, so a slow receiver slows its sender and nothing piles up. What moves is a batch:
all the pieces of messages that one read brought. So a long message is on its way before its end has come, and many
short ones cost as much as one.

    sender's link -> read -> channel -> write -> receiver's link, and the same the other way

Long messages between two links without TLS take the express way: the reading task itself splices them part by part to
the target's link, while the writing task has nothing to do.

    sender's link -> splice -> receiver's link

Rules:
1. Every pairing ends with exactly one `Outcome`.
2. A proper end of one link ends its channel; the writer delivers the tail, then closes the other link properly. A
   proper end has one of four close codes: done, going away, given up, wrong code. What either side says counts.
3. Any other end stops both readers at once. What is in flight is delivered or cut within a bounded time, and the
   survivor's link is closed with a code that no client takes for a proper end.
4. Limits delay reading: the reader pays for a batch before it takes the next one, and each direction has a window of
   the relay's memory (`budget`) within which its link reads.
5. A frame is never half sent: cancelling a send cuts its link.
6. The relay's own reports, on what moves and what does not, go out only between two messages, and only over a link
   that is free: a report waits for nothing, and nothing waits for it.
"""

from __future__ import annotations

import math
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Final

import anyio
import trio

from p2p_copy.protocol import rendezvous
from p2p_copy.protocol.rendezvous import CloseCode, FlowReport, FlowState, Role
from p2p_copy.relay import limits
from p2p_copy.relay.budget import Budget, Window
from p2p_copy.relay.log import events
from p2p_copy.transport import limits as transport_limits
from p2p_copy.transport.codec import Piece
from p2p_copy.transport.link import POLITE, VIOLATIONS, LinkBroken
from p2p_copy.transport.timeouts import Watch
from p2p_copy.units import KIB

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from p2p_copy.relay.access.rates import Limits
    from p2p_copy.transport.link import Link

UNSUPPORTED: Final = 1003
"""Close code for a client that sends text where only binary messages belong."""


class Outcome(Enum):
    """How a pairing ended."""

    COMPLETE = "complete"
    GIVEN_UP = "given up"
    WRONG_CODE = "wrong code"
    SENDER_LOST = "sender lost"
    RECEIVER_LOST = "receiver lost"
    SENDER_MISBEHAVED = "sender misbehaved"
    RECEIVER_MISBEHAVED = "receiver misbehaved"
    QUOTA_USED = "quota used up"
    STOPPED = "stopped"
    DISMISSED = "ended by the operator"
    MEMORY_NEEDED = "stood still while memory was short"


_OUTCOMES: Final = {CloseCode.GIVEN_UP: Outcome.GIVEN_UP, CloseCode.WRONG_CODE: Outcome.WRONG_CODE}
"""What clients say by the code with which they close."""

_PROPER: Final = frozenset({Outcome.COMPLETE, *_OUTCOMES.values()})
"""Outcomes of pairings that one side has ended itself, so the other side is sent all that came before."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What one pairing was, in facts that identify no client.

    Attributes:
        outcome: how it ended.
        from_sender, from_receiver: bytes of messages received from each side.
        seconds: from pairing to the end of both links.

    """

    outcome: Outcome
    from_sender: int
    from_receiver: int
    seconds: float


class _Side:
    """One of the two clients, and where the bytes are that it sent."""

    def __init__(
        self,
        link: Link,
        greeting: str | None,
        lost: Outcome,
        misbehaved: Outcome,
        window: Window,
        *,
        wants_reports: bool,
    ) -> None:
        self.link = link
        self.greeting = greeting
        self.wants_reports = wants_reports
        self.reported = FlowReport()  # the last report that it was sent
        self.lost = lost
        self.misbehaved = misbehaved
        self.gone = False  # nothing more can be sent to it
        self.sent = 0
        self.in_flight = 0
        self.is_between_messages = True  # no message is partly delivered
        self.is_limited = False  # it waits because a rate limit holds it back
        self.window = window  # limits how much this client sends ahead of its delivery
        self.delivering_since = math.inf  # when the delivery of the current batch began
        self.channel: trio.MemorySendChannel[list[Piece]] | None = None
        self.state = FlowState.MOVES
        self.still_for = 0.0  # seconds without movement, at the last check
        self._watch = Watch()

    def check(self, target: _Side) -> None:
        """Find out whether what this side sends has moved since the last check."""
        taken, waits = target.link.acked_bytes()
        held = waits or self.in_flight > 0
        # An acknowledged ping is no movement: compare whole KiB, and only while bytes are to be delivered.
        seen = (self.sent, self.in_flight, self.link.under_way, taken // KIB if held else 0)
        self.still_for = self._watch.look(seen)
        if self.still_for < limits.REPORT_STALL_AFTER:
            self.state = FlowState.MOVES
        elif held:
            self.state = FlowState.UNTAKEN
        else:
            self.state = FlowState.LIMITED if self.is_limited else FlowState.SILENT
        is_idle = self.state is not FlowState.MOVES
        if is_idle:
            self.window.narrow()
        self.link.release_pipe(idle=is_idle)

    @property
    def answers(self) -> bool:
        """Whether its machine is there, as far as its kernel and ours can tell."""
        return self.state is FlowState.MOVES or self.link.silent_for() < limits.REPORT_STALL_AFTER

    def report(self, report: FlowReport, other: _Side) -> None:
        """Send this side a report that is new to it; if there is no room between two messages, leave it out."""
        if not self.wants_reports or report == self.reported:
            return
        if not other.is_between_messages or other.channel is None:
            return
        piece = Piece.whole(rendezvous.encode(report))
        with suppress(trio.WouldBlock, trio.BrokenResourceError, trio.ClosedResourceError):
            other.channel.send_nowait([piece])
            other.in_flight += 1
            other.window.begin(piece.weight)
            self.reported = report


class Pairing:
    """The copying between one sender and one receiver. `run` it once; both links are closed when it returns.

    Attributes:
        number: its number for the operator, once it runs.

    """

    number = 0

    def __init__(
        self,
        sender: Link,
        receiver: Link,
        *,
        legacy: bool,
        on_end: Callable[[], None],
        pairing_limits: Limits | None = None,
        budget: Budget | None = None,
        reports: tuple[bool, bool] = (False, False),
    ) -> None:
        """Prepare a pairing.

        Args:
            sender: the sender's link.
            receiver: the receiver's link.
            legacy: 0.1.x clients, which send text too and are greeted in their own way.
            on_end: is called once, as soon as the pairing has an outcome; the tail may still be under way.
            pairing_limits: the rates and quotas of this pairing; None for none.
            budget: the budget of memory that it shares with others; None for any number of bytes.
            reports: whether sender and receiver want flow reports; not in the legacy form.

        """
        ready = rendezvous.READY if legacy else rendezvous.encode(rendezvous.Paired())
        budget = budget or Budget(math.inf)
        self._sender = _Side(
            sender,
            ready,
            Outcome.SENDER_LOST,
            Outcome.SENDER_MISBEHAVED,
            Window(budget, lambda: sender.buffered, receiver.limit_unsent),
            wants_reports=reports[0],
        )
        self._receiver = _Side(
            receiver,
            None if legacy else ready,
            Outcome.RECEIVER_LOST,
            Outcome.RECEIVER_MISBEHAVED,
            Window(budget, lambda: receiver.buffered, sender.limit_unsent),
            wants_reports=reports[1],
        )
        self._text_allowed = legacy
        self._on_end = on_end
        self._limits = pairing_limits
        self._began = trio.current_time()
        self._outcome: Outcome | None = None
        self._offender: _Side | None = None
        self._stall_logged = False
        self._reads: set[trio.CancelScope] = set()  # all that waits for the sources
        self._reads_no_more = False
        self._writing = trio.CancelScope()

    async def run(self) -> Usage:
        """Tell both that they are paired, then copy until the end. Cancelling cuts both links."""
        sides = (self._sender, self._receiver)
        for side in sides:
            side.link.limit_reading(side.window)
        with (
            self._sender.link.splicing(self._receiver.link),
            self._receiver.link.splicing(self._sender.link),
            closing(self._sender.window),
            closing(self._receiver.window),
            self._writing,
        ):
            async with trio.open_nursery() as nursery:
                for source, target in (sides, sides[::-1]):
                    to_writer, from_reader = trio.open_memory_channel[list[Piece]](limits.BATCHES_QUEUED)
                    source.channel = to_writer
                    nursery.start_soon(self._write, source, target, from_reader)
                    nursery.start_soon(self._read, source, target, to_writer)
        for source, target in (sides, sides[::-1]):
            if source.in_flight and self._outcome is Outcome.COMPLETE:
                self._outcome = target.lost  # it did not take the tail in time
            target.link.abort()  # does nothing to a link that was closed
        assert self._outcome is not None, "readers end only by giving an outcome"
        return Usage(
            outcome=self._outcome,
            from_sender=self._sender.sent,
            from_receiver=self._receiver.sent,
            seconds=self.seconds,
        )

    @contextmanager
    def _reading(self) -> Iterator[trio.CancelScope]:
        """Cancel the body as soon as nothing more is to be read."""
        with trio.CancelScope() as scope:
            if self._reads_no_more:
                scope.cancel()
            self._reads.add(scope)
            try:
                yield scope
            finally:
                self._reads.discard(scope)

    async def _read(self, source: _Side, target: _Side, channel: trio.MemorySendChannel[list[Piece]]) -> None:
        async with channel:
            try:
                more = True
                while more:
                    more = False
                    with self._reading():
                        more = await self._read_batches(source, channel)
                    more = more and await self._splice(source, target, channel)
            except anyio.EndOfStream:
                self._end(Outcome.COMPLETE)
            except LinkBroken as error:
                if error.close_code in _OUTCOMES:
                    self._end(_OUTCOMES[CloseCode(error.close_code)])
                else:
                    self._end(source.misbehaved if error.close_code in VIOLATIONS else source.lost, source)
            except anyio.ClosedResourceError:
                pass  # the other direction has come to its end, and closed this link

    async def _read_batches(self, source: _Side, channel: trio.MemorySendChannel[list[Piece]]) -> bool:
        """Read until what comes next can be spliced; False at the end."""
        while batch := await source.link.receive_pieces():
            if not self._text_allowed and any(piece.is_text for piece in batch):
                self._end(source.misbehaved, source)
                return False
            size = sum(len(piece.data) for piece in batch)
            if not await self._spend(size):
                return False
            source.sent += size
            source.in_flight += 1
            source.window.begin(sum(piece.weight for piece in batch))
            source.is_between_messages = False
            await channel.send(batch)
            source.is_between_messages = batch[-1].last
            del batch  # or it would be kept until the next one is here
            await self._pay(source, size)
        await channel.send([])  # once the writer takes it, all that came before is delivered
        return True

    async def _splice(
        self, source: _Side, target: _Side, channel: trio.MemorySendChannel[list[Piece]]
    ) -> bool:
        """Splice long messages until what comes next has to be read; False at the end."""
        while size := await source.link.splice():
            if self._reads_no_more or not await self._let_pass(source, channel, size):
                return False
            before = source.link.spliced
            source.sent += size
            source.in_flight += 1
            source.window.begin(size)
            source.is_between_messages = False
            # Where rates or quotas hold, each part waits for its turn.
            until = 0 if self._limits is not None else trio.current_time() + limits.SPLICE_TURN
            with self._delivering(source, target, size):
                await self._deliver(source, target, partial(target.link.send_spliced, source.link, until))
            source.is_between_messages = source.link.splice_ends_message
            source.in_flight -= 1
            source.window.end(size)
            further = source.link.spliced - before
            source.sent += further
            source.window.widen(further)
            if self._limits is not None:
                with self._reading():
                    await self._pay(source, size)
        return not self._reads_no_more

    async def _let_pass(self, source: _Side, channel: trio.MemorySendChannel[list[Piece]], size: int) -> bool:
        """Wait until quotas allow spliced bytes and nothing is on its way before them; False at the end."""
        if self._limits is None and not source.in_flight:
            return True
        is_allowed = False
        with self._reading():
            is_allowed = await self._spend(size)
            while source.in_flight:  # a report of the relay's own
                await channel.send([])
        return is_allowed and not self._reads_no_more

    async def _spend(self, size: int) -> bool:
        """Take `size` bytes off the quotas; False, and the end, if one is used up."""
        if self._limits is None or await self._limits.spend(size):
            return True
        self._end(Outcome.QUOTA_USED)
        return False

    async def _pay(self, source: _Side, size: int) -> None:
        """Wait until `size` bytes that were passed on are within the rates."""
        if self._limits is not None:
            source.is_limited = True
            await self._limits.pay(size)
            source.is_limited = False

    async def _write(
        self, source: _Side, target: _Side, channel: trio.MemoryReceiveChannel[list[Piece]]
    ) -> None:
        async with channel:
            if target.greeting is not None:
                greeting = [Piece.whole(target.greeting)]
                await self._deliver(source, target, partial(target.link.send_pieces, greeting))
            target.link.limit_sends(limits.PAIRED_SEND_TIMEOUT)
            async for batch in channel:
                if not batch:
                    continue
                weight = sum(piece.weight for piece in batch)
                with self._delivering(source, target, sum(len(piece.data) for piece in batch)):
                    await self._deliver(source, target, partial(target.link.send_pieces, batch))
                source.in_flight -= 1
                del batch
                source.window.end(weight)
        await target.link.close(*self._farewell(target), patience=limits.TAIL_TIMEOUT)

    @contextmanager
    def _delivering(self, source: _Side, target: _Side, size: int) -> Iterator[None]:
        """Count the memory that delivering a batch takes: over TLS also that of its sealed bytes."""
        sealed = 0 if target.link.is_plain else min(size, transport_limits.TLS_TRIP)
        if sealed:
            source.window.begin(sealed)
        source.delivering_since = trio.current_time()
        try:
            yield
            source.window.widen(size)
        finally:
            source.delivering_since = math.inf
            if sealed:
                source.window.end(sealed)

    async def _deliver(self, source: _Side, target: _Side, send: Callable[[], Awaitable[None]]) -> None:
        if target.gone:
            return  # the batch is lost, but its sender must go on until it meets our close frame
        try:
            await send()
        except LinkBroken as error:
            target.gone = True
            source.link.drop_spliced()  # everything for this target is thrown away from now on
            if error.close_code not in POLITE and error.close_code not in _OUTCOMES:
                self._end(target.lost, target, undelivered=True)

    def _end(self, outcome: Outcome, offender: _Side | None = None, *, undelivered: bool = False) -> None:
        """Give the pairing its outcome, unless it has one.

        A later failure replaces `COMPLETE` if the last bytes were not delivered, or if a side's close code says so.
        """
        first = self._outcome is None
        denied = undelivered or outcome in _OUTCOMES.values()
        if not first and not (denied and self._outcome is Outcome.COMPLETE):
            return
        self._outcome = outcome
        self._offender = offender
        now = trio.current_time()
        if outcome in _PROPER:
            self._writing.deadline = now + limits.TAIL_TIMEOUT
        else:
            self._reads_no_more = True
            for scope in self._reads:
                scope.cancel()
            for side in (self._sender, self._receiver):
                side.link.stop_splicing()
            self._writing.deadline = min(self._writing.deadline, now + transport_limits.GOODBYE_TIMEOUT)
        if first:
            self._on_end()

    def _farewell(self, target: _Side) -> tuple[int, str]:
        match self._outcome:
            case outcome if outcome in _PROPER:
                return 1000, ""
            case Outcome.QUOTA_USED:
                return CloseCode.QUOTA_USED, "the quota of an access token is used up"
            case Outcome.DISMISSED:
                return CloseCode.DISMISSED, "the relay's operator ended this transfer"
            case Outcome.MEMORY_NEEDED:
                return CloseCode.MEMORY_NEEDED, "this transfer stood still, and the relay needs its memory"
            case Outcome.STOPPED:
                return CloseCode.STOPPING, "the relay is being stopped"
            case _ if target is not self._offender:
                return CloseCode.PEER_LOST, "the other side was lost"
            case target.misbehaved:
                return UNSUPPORTED, "only binary messages are copied"
            case _:  # a lost client reads nothing, except one whose new connection replaced this one
                return CloseCode.REPLACED, "replaced by a newer connection"

    def stop(self) -> None:
        """End the pairing because the relay stops."""
        self._end(Outcome.STOPPED)

    def lose(self, role: Role) -> None:
        """End the pairing because this side has connected again: it counts as lost, whatever became of its link."""
        side = self._sender if role is Role.SENDER else self._receiver
        self._end(side.lost, side)

    def dismiss(self) -> None:
        """End the pairing because the relay's operator wants that."""
        self._end(Outcome.DISMISSED)

    def free_memory(self) -> None:
        """End the pairing because it stands still, and others need the memory that it holds."""
        self._end(Outcome.MEMORY_NEEDED)
        sides = (self._sender, self._receiver)
        for source, target in (sides, sides[::-1]):
            if source.delivering_since < math.inf:
                target.link.abort()  # a close frame would wait behind bytes that it does not take

    @property
    def is_freeing_memory(self) -> bool:
        """Whether it was ended for its memory, which it gives back when both links are closed."""
        return self._outcome is Outcome.MEMORY_NEEDED

    @property
    def held(self) -> int:
        """Bytes of memory that it holds for data in transit."""
        return self._sender.window.held + self._receiver.window.held

    @property
    def undelivered_since(self) -> float:
        """Trio's time since when one of the two has not taken all of one batch; infinite if both have."""
        if self._outcome is not None:
            return math.inf  # it ends by itself
        return min(self._sender.delivering_since, self._receiver.delivering_since)

    @property
    def sent(self) -> tuple[int, int]:
        """Bytes received so far, from the sender and from the receiver."""
        return self._sender.sent, self._receiver.sent

    @property
    def seconds(self) -> float:
        """Seconds since the two were brought together."""
        return trio.current_time() - self._began

    @property
    def is_stalled(self) -> bool:
        """Whether nothing of what the sender has for the receiver moved lately, and that is not the relay's doing."""
        return self._sender.state in (FlowState.SILENT, FlowState.UNTAKEN)

    def check(self) -> None:
        """Find out what moves, and report it to clients that asked; each `limits.PAIRING_CHECK_INTERVAL` seconds."""
        if self._outcome is not None:
            return
        sides = (self._sender, self._receiver)
        for source, target in (sides, sides[::-1]):
            source.check(target)
        for side, other in (sides, sides[::-1]):
            side.report(FlowReport(side.state, other.state, other.answers), other)
        is_long = self.is_stalled and self._sender.still_for >= limits.LOG_STALL_AFTER
        if is_long and not self._stall_logged:
            events.STALLED.log(
                (), pairing=self.number, why=self._why(), seconds=round(limits.LOG_STALL_AFTER)
            )
        self._stall_logged = is_long

    def _why(self) -> str:
        """Return whose fault a stall is. A waiting receiver sends a heartbeat now and then, so it counts as moving."""
        untaken = self._sender.state is FlowState.UNTAKEN
        suspects = {} if untaken else {"sender": self._sender}
        if untaken or self._receiver.state is not FlowState.MOVES:
            suspects["receiver"] = self._receiver
        for name, side in suspects.items():
            if side.link.silent_for() >= limits.REPORT_STALL_AFTER:
                return f"the {name}'s machine does not answer"
        if untaken:
            return "the receiver takes nothing"
        return "neither side sends anything" if len(suspects) > 1 else "the sender sends nothing"
