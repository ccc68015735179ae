"""Both sides of one link without a link: what they are told they hear at once, and they speak when they are asked.

They are the real parts, put together as `sender` and `receiver` do it. What was done is in a journal, which outlives
them; `kill` leaves it as it was when it was last written.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from p2p_copy.errors import P2PCopyError, PeerMisbehaved
from p2p_copy.files.source.digest_cache import DigestCache
from p2p_copy.files.source.entry import SourceTrees
from p2p_copy.files.state.journal import Journal
from p2p_copy.files.target.resume import ResumeIndex
from p2p_copy.files.target.target import Target
from p2p_copy.options import Conflict
from p2p_copy.protocol.key_exchange import HandshakeFailed, ReceiverHandshake, SenderHandshake
from p2p_copy.protocol.keys import room_id
from p2p_copy.protocol.manifest import Manifest
from p2p_copy.protocol.messages import (
    Abort,
    Accept,
    Goodbye,
    Holds,
    Message,
    Offer,
    Reason,
    Receipt,
    Reject,
    Unwanted,
)
from p2p_copy.protocol.rendezvous import Role
from p2p_copy.protocol.session import ZSTD, Session
from p2p_copy.transfer.reasons import farewell, given_up
from p2p_copy.transfer.tree.consumer import TreeConsumer
from p2p_copy.transfer.tree.producer import TreeProducer

if TYPE_CHECKING:
    from tests.stateful.world import World

SECRET: Final = "a long passphrase"
ROOM: Final = room_id("lab")
TAG: Final = "0123abcd"


class Desk:
    """What one side remembers from one link to the next.

    Attributes:
        journal: of its entries.
        done: what this side holds of the end: the receipt that the sender heard, or the receiver gave.
        restarted: its process was killed.
        refused: what the receiver did not take, by its name in the tree.

    """

    def __init__(self, path: str) -> None:
        self._path = path
        self.journal = Journal(path)
        self.done: Receipt | None = None
        self.restarted = False
        self.refused: frozenset[str] = frozenset()

    def forget(self) -> None:
        """Lose what is in the memory of a process, as a kill does."""
        self.restarted = True
        if self.journal._db is not None:
            self.journal._db.close()
        self.journal = Journal(self._path)


class Side(ABC):
    """One side of one link.

    Attributes:
        said: messages that the other side has not received yet.
        error: why this side's link is over.
        over: whether it is.

    """

    def __init__(self, handshake: SenderHandshake | ReceiverHandshake, role: Role, desk: Desk) -> None:
        self._handshake = handshake
        self._role = role
        self._desk = desk
        self._session: Session | None = None
        self._steps = 0
        self.said: list[bytes] = []
        self.error: P2PCopyError | None = None
        self.over = False
        if (first := handshake.start()) is not None:
            self.said.append(first)

    def hear(self, message: bytes | str) -> None:
        """Take what has come over the link; nothing but an error of ours for people may come of it."""
        assert not self.over, "a link that is over is not read"
        try:
            if self._session is None:
                self._agree(message.encode() if isinstance(message, str) else message)
            else:
                self._hear(self._session, message)
        except HandshakeFailed as failure:
            self.said += [failure.farewell] if failure.farewell else []
            self._fail(failure.error)
        except P2PCopyError as error:
            self._part_ways(error)
            self._fail(error)

    def _agree(self, message: bytes) -> None:
        reply = self._handshake.receive(message)
        self.said += [reply] if reply is not None else []
        if self._handshake.keys is not None:
            self._session = Session(self._role, self._handshake.keys)
            self._begin(self._session)

    def _fail(self, error: P2PCopyError) -> None:
        self.error = error
        self.close()

    def close(self) -> None:
        """The link is lost, or at its end."""
        self.over = True

    def speak(self) -> bool:
        """Say the next record, if there is anything to say; return whether there was."""
        return False

    def kill(self) -> None:
        """End without a word, and without a deed."""
        self.over = True
        self._desk.forget()

    def _begin(self, session: Session) -> None:  # noqa: B027
        """Both sides have agreed."""

    def _part_ways(self, error: P2PCopyError) -> None:  # noqa: B027
        """Tell the other side why this one ends."""

    @abstractmethod
    def _hear(self, session: Session, record: bytes | str) -> None:
        """Act on a record."""


class SenderSide(Side):
    """Offers, streams, hears the receipt."""

    def __init__(self, world: World, desk: Desk, nonce: bytes, scalar: bytes, secret: str = SECRET) -> None:
        super().__init__(SenderHandshake(secret, ROOM, nonce, scalar, frozenset({ZSTD})), Role.SENDER, desk)
        self._world = world
        self._outgoing: TreeProducer | None = None
        self._sent = DigestCache(desk.journal)

    def _begin(self, session: Session) -> None:
        session.say(Goodbye() if self._desk.done is not None else Offer("s"))
        self.said.append(session.record())
        if self._desk.done is not None:
            self.close()

    def _hear(self, session: Session, record: bytes | str) -> None:
        for message in session.hear(record):
            if self._outgoing is None:
                self._accepted(session, message)
            elif isinstance(message, Receipt):
                self._outgoing.check(message)
                self._desk.done = message
                session.say(Goodbye())
                self.said.append(session.record())
                self.close()
            elif isinstance(message, Reject | Unwanted | Holds):
                self._outgoing.hear(message)
            elif isinstance(message, Abort):
                raise given_up(message, "receiver")

    def _accepted(self, session: Session, message: Message) -> None:
        match message:
            case Accept():
                paths = [str(self._world.source)]
                self._outgoing = TreeProducer(SourceTrees(paths), session, message, self._sent)
            case Abort():
                raise given_up(message, "receiver")
            case _:
                raise AssertionError("the table lets no receiver say anything else here")

    def speak(self) -> bool:
        if self.over or self._outgoing is None or self._outgoing.ended:
            return False
        made: list[bytes] = []
        while not made and not self._outgoing.ended:
            made = self._outgoing.next_records()
            if self._outgoing.stuck:
                break
        self.said += made
        return bool(made)


class ReceiverSide(Side):
    """Accepts, writes, gives the receipt."""

    def __init__(self, world: World, desk: Desk, nonce: bytes, scalar: bytes, secret: str = SECRET) -> None:
        super().__init__(
            ReceiverHandshake(secret, ROOM, nonce, scalar, frozenset({ZSTD})), Role.RECEIVER, desk
        )
        kept = ResumeIndex(desk.journal, restarted=desk.restarted, tag=TAG)
        kept.mark_running()
        self._target = Target(str(world.out), conflict=Conflict.REFUSE, resume=kept)
        self._incoming: TreeConsumer | None = None
        self._now = 0.0
        self.knows = False

    def _hear(self, session: Session, record: bytes | str) -> None:
        if self._incoming is None:
            for message in session.hear(record):
                self._offered(session, message)
            return
        self._now += 1.0
        self.said += self._incoming.consume([record], self._now)
        if self._incoming.ending:
            self.said += self._incoming.finish()
        if self._incoming.root is not None:
            self._confirm(self._incoming)
        if self._incoming.goodbye:
            self.knows = True
            self.close()

    def _offered(self, session: Session, message: Message) -> None:
        match message:
            case Offer():
                session.say(Accept("r", True, not self._target.resume.fresh))
                self.said.append(session.record())
                manifest = Manifest(portable=True, key=bytes(16))
                self._incoming = TreeConsumer(self._target, session, manifest, max_size=None)
            case Goodbye() if self._desk.done is not None:
                self.knows = True
                self.close()
            case Goodbye():
                raise PeerMisbehaved("The sender says that the transfer is complete, but it is not.")
            case Abort():
                raise given_up(message, "sender")
            case _:
                raise AssertionError("the table lets no sender say anything else here")

    def _confirm(self, incoming: TreeConsumer) -> None:
        assert incoming.root is not None
        refused = [path for path, reason in incoming.outcomes.take_problems() if reason is Reason.EXISTS]
        assert self._desk.restarted or not refused, "what is there is known to be ours"
        self._desk.refused |= frozenset(path.partition("/")[2] for path in refused)
        done = incoming.outcomes
        self._desk.done = Receipt(done.files, done.delivered, done.failures, done.skipped, incoming.root)

    def _part_ways(self, error: P2PCopyError) -> None:
        with suppress(AssertionError):  # the conversation is over already
            if self._session is not None:
                self._session.say(farewell(error))
                self.said.append(self._session.record())

    def close(self) -> None:
        super().close()
        self._target.close(keep=True)

    def kill(self) -> None:
        super().kill()
        abandon(self._target)


def abandon(target: Target) -> None:
    """Close what the system closes when a process is killed, and do nothing else."""
    for part in target.files._parts.values():
        os.close(part._fd)
    target.files._parts.clear()
    for directory in [*target.directories._open.values(), target._top]:
        directory.close()
