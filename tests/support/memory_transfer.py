"""A whole transfer in memory: both sides are real but for their link, which is lost as often as is asked for."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from p2p_copy.files.selection import Selection
from p2p_copy.files.source.digest_cache import DigestCache
from p2p_copy.files.source.entry import SourceTrees
from p2p_copy.files.target.resume import ResumeIndex
from p2p_copy.files.target.target import Target
from p2p_copy.protocol.manifest import Manifest
from p2p_copy.protocol.messages import (
    Accept,
    Goodbye,
    Holds,
    Offer,
    Preserved,
    Receipt,
    Reject,
    SameSegments,
    Unwanted,
)
from p2p_copy.transfer.tree.consumer import TreeConsumer
from p2p_copy.transfer.tree.producer import TreeProducer
from tests.stateful.sides import TAG, Desk, abandon
from tests.support.keys import both_sessions

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from p2p_copy.protocol.session import Session
    from tests.support.random_trees import Asked


@dataclass
class Said:
    """What both sides said at the end."""

    files: int
    size: int
    failures: int
    skipped: int
    sender_failures: int
    sender_skipped: int


class MemoryTransfer:
    """One transfer of `paths` into `out`. What happens in which order is drawn from `rng`."""

    def __init__(
        self, rng: random.Random, paths: Sequence[Path], out: Path, asked: Asked, memory: Path
    ) -> None:
        self._rng = rng
        self._paths = [str(path) for path in paths]
        self._out = out
        self._asked = asked
        self._sender = Desk(str(memory / "sender"))
        self._receiver = Desk(str(memory / "receiver"))
        self.now = 0.0

    def run(self, losses: int, meanwhile: Callable[[], None] | None = None) -> Said:
        """Run the transfer to its end. First lose the link, or end a process, `losses` times, and call `meanwhile`."""
        try:
            for _ in range(losses):
                if (said := self._converse(self._rng.randint(1, 40))) is not None:
                    return said
                if meanwhile is not None:
                    meanwhile()
            said = self._converse(None)
            assert said is not None, "nothing ended it"
            return said
        finally:
            for desk in (self._sender, self._receiver):
                desk.journal.close()

    def _converse(self, steps: int | None) -> Said | None:
        """Run one conversation from its beginning, for `steps` at most; return None if it did not end."""
        asked = self._asked
        sender, receiver = both_sessions()
        kept = ResumeIndex(self._receiver.journal, restarted=self._receiver.restarted, tag=TAG)
        target = Target(str(self._out), conflict=asked.conflict, checksum=asked.checksum, resume=kept)
        kept.mark_running()
        killed = False
        try:
            preserve = Preserved.HARD_LINKS if asked.hard_links else Preserved.NOTHING
            manifest = Manifest(portable=asked.portable, key=bytes(16), preserve=preserve)
            selection = Selection(asked.receiver_only, asked.receiver_exclude)
            incoming = TreeConsumer(target, receiver, manifest, max_size=None, selection=selection)
            sender.say(Offer("s", 0, preserve))
            receiver.hear(sender.record())
            accept = Accept("r", asked.portable, incoming.holds, preserve=preserve)
            receiver.say(accept)
            sender.hear(receiver.record())
            sent = DigestCache(self._sender.journal)
            outgoing = TreeProducer(
                SourceTrees(self._paths, asked.links, Selection(asked.sender_only, asked.sender_exclude)),
                sender,
                accept,
                sent,
            )
            pair = _Pair(self._rng, sender, outgoing, incoming)
            for _ in range(steps if steps is not None else 100_000):
                if (receipt := pair.step()) is not None:
                    report = outgoing.report(receipt, 0.0)
                    return Said(
                        incoming.outcomes.files,
                        incoming.outcomes.delivered,
                        incoming.outcomes.failures,
                        incoming.outcomes.skipped,
                        report.failures,
                        report.skipped,
                    )
            assert steps is not None, "it goes on for ever"
            killed = self._rng.random() < 0.4
            return None
        finally:
            if killed:
                abandon(target)
                self._receiver.forget()
            else:
                target.close(keep=True)


class _Pair:
    """Both sides, and what is on its way between them."""

    def __init__(
        self, rng: random.Random, session: Session, outgoing: TreeProducer, incoming: TreeConsumer
    ) -> None:
        self._rng = rng
        self._session = session
        self._outgoing = outgoing
        self._incoming = incoming
        self._there: deque[bytes] = deque()
        self._back: deque[bytes] = deque()
        self._stuck = False
        self._now = 0.0

    def step(self) -> Receipt | None:
        """Let one of the two do something; return the receipt once the sender has said that it knows."""
        can: list[Callable[[], Receipt | None]] = []
        if not self._outgoing.ended and not self._stuck and len(self._there) < 8:
            can += [self._produce] * 3
        if self._there:
            can += [self._take] * 2
        if self._back:
            can += [self._hear]
        assert can, "each waits for the other"
        return self._rng.choice(can)()

    def _produce(self) -> None:
        self._there.extend(self._outgoing.next_records(self._rng.randint(1, 3)))
        self._stuck = self._outgoing.stuck

    def _take(self) -> None:
        count = self._rng.randint(1, min(3, len(self._there)))
        self._now += 0.2
        self._back.extend(self._incoming.consume([self._there.popleft() for _ in range(count)], self._now))
        if self._incoming.ending:
            self._back.extend(self._incoming.finish())

    def _hear(self) -> Receipt | None:
        self._stuck = False
        for message in self._session.hear(self._back.popleft()):
            if isinstance(message, Receipt):
                self._outgoing.check(message)
                self._session.say(Goodbye())
                self._incoming.consume([self._session.record()], self._now)
                assert self._incoming.goodbye
                return message
            if isinstance(message, Reject | Unwanted | Holds | SameSegments):
                self._outgoing.hear(message)
        return None
