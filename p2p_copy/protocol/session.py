"""One side of a conversation after the key exchange: turns messages into records and records into messages.

A session packs messages into sealed records and checks both sides against the table. It knows neither clock nor
link. `say` and `record` may run in one thread while `hear` runs in another: they share only the two states,
which change together and under a lock.
"""

from __future__ import annotations

from collections import deque
from threading import Lock
from typing import TYPE_CHECKING

from p2p_copy.errors import PeerMisbehaved
from p2p_copy.protocol import keys as schedule, limits, wire
from p2p_copy.protocol.messages import Abort
from p2p_copy.protocol.records import Opener, Sealer
from p2p_copy.protocol.rendezvous import Role
from p2p_copy.protocol.state_machine import LAST, ReceiverState, SenderState, State, say
from p2p_copy.protocol.verification import VERIFY, words_of

if TYPE_CHECKING:
    from collections.abc import Collection

    from p2p_copy.protocol.compression import Compressor
    from p2p_copy.protocol.key_exchange import SessionKeys
    from p2p_copy.protocol.messages import Message

ZSTD = "zstd"
"""The capability of a side that opens compressed records."""

_HAS = "has-"
"""How the capability of a side begins that has a ticket; the ticket's mark follows."""


def ticket_capability(ticket: bytes) -> str:
    """Return the capability of a side that has this ticket of an earlier meeting."""
    return _HAS + schedule.resume_mark(ticket)


def _compressor() -> Compressor:
    from p2p_copy.protocol.compression import Compressor  # its library delays the start of small transfers

    return Compressor()


class Session:
    """A conversation as `role` sees it, under fresh `keys`."""

    def __init__(self, role: Role, keys: SessionKeys) -> None:
        self.ticket = keys.resume
        """The secret with which both sides meet again after a loss."""
        self.words = words_of(keys.verify)
        """What both sides show, for their users to compare."""
        self.peer_verifies = VERIFY in keys.peer_capabilities
        """The other side's user is asked to compare the words."""
        self.abandoned = False
        """The other side has said that it gives up."""
        self._capabilities = keys.peer_capabilities
        self._sealer = Sealer(
            keys.send_key, compressor=_compressor if ZSTD in keys.peer_capabilities else None
        )
        self._opener = Opener(keys.receive_key)
        self._our_state: State = SenderState.NEW if role is Role.SENDER else ReceiverState.NEW
        self._their_state: State = ReceiverState.NEW if role is Role.SENDER else SenderState.NEW
        self._states = Lock()
        self._parts: list[bytes | memoryview] = []
        self._sealed: deque[bytes] = deque()
        self._final = False
        self.made = self.heard = 0
        """How many records this side has made, and how many of the other side it has opened."""
        self.pending = 0
        """Content bytes said and not yet in a record."""
        self._weight = 0

    def say(self, message: Message) -> None:
        """Add a message to the next record.

        Raises:
            AssertionError: we may not say this now, which is a bug of ours.

        """
        with self._states:
            states = say(self._our_state, self._their_state, message)
            if states is None:
                raise AssertionError(f"{type(message).__name__} while {self._our_state}")
            self._our_state, self._their_state = states
        parts = wire.encode(message)
        self._parts += parts
        self.pending += sum(map(len, parts))
        self._weight += wire.weight(message)
        self._final = isinstance(message, LAST)

    def fits(self, message: Message) -> bool:
        """Return whether this message would not make too many messages in the next record; its size is not checked."""
        return self._weight + wire.weight(message) <= limits.MAX_RECORD_MESSAGES

    def record(self) -> bytes:
        """Return all that was said since the last record, sealed."""
        parts, self._parts, self.pending, self._weight = self._parts, [], 0, 0
        self.made += 1
        record = self._sealer.seal(parts, final=self._final)
        self._sealed.append(record)
        return record

    def take_sealed(self) -> list[bytes]:
        """Return the records that were sealed since the last call, in order: all of them must be sent.

        The other side opens records only in order. So every sealed record is sent, even if the task or thread that
        sealed it was cancelled. A thread may seal the next record meanwhile.
        """
        records = []
        while self._sealed:
            records.append(self._sealed.popleft())
        return records

    def may_say(self, message: Message) -> bool:
        """Return whether the conversation is at a point where we may say this."""
        with self._states:
            return self._sealer.is_open and say(self._our_state, self._their_state, message) is not None

    def shared(self, tickets: Collection[bytes]) -> list[bytes]:
        """Return those of these tickets that the other side has, too."""
        return [ticket for ticket in tickets if ticket_capability(ticket) in self._capabilities]

    def hear(self, record: bytes | str, into: memoryview | None = None) -> list[Message]:
        """Return the messages in a record from the other side. File data in them may lie `into` a buffer: see `Opener`.

        Raises:
            PeerMisbehaved: this is not the next record of the other side, or has a message that may not come now.

        """
        if isinstance(record, str):
            raise PeerMisbehaved("The other side sent text where only sealed records are allowed.")
        opened = self._opener.open(record, into)
        messages = wire.decode(opened.content)
        with self._states:
            for message in messages:
                states = say(self._their_state, self._our_state, message)
                if states is None:
                    raise PeerMisbehaved(f"The other side sent {type(message).__name__} when it may not.")
                self._their_state, self._our_state = states
                self.abandoned = self.abandoned or isinstance(message, Abort)
        if opened.final != (bool(messages) and isinstance(messages[-1], LAST)):
            raise PeerMisbehaved("The other side marked its last record wrongly.")
        self.heard += 1
        return messages
