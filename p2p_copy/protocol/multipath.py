"""One conversation over several links: records go out over any of them, and come together again in order.

    note     type u8 = 2 | link u8 | links u8 | arrived u64 | taken u64 | HMAC-SHA-256(key, all before)

A record says its number in clear and opens only in its place (`sealed`), so it may take any link, and more than one.
Rules:

1. Whoever sends keeps a record until the other side has noted that it arrived, and sends it again over another link
   when the one that it took was lost, or is stuck.
2. Whoever sends is never further ahead of what the other side has taken than BUNDLE_BYTES and BUNDLE_RECORDS. So
   neither side ever holds more than that, whatever is lost, held back or made up on the way.
3. What comes twice is dropped. What a relay makes up is found out when its turn comes, and ends the conversation.
4. Notes are authentic. An old one changes nothing. On a link that was opened later the first message of each side is
   a note for this very link, so whoever knows a room and no key gets no further.
"""

from __future__ import annotations

import hmac
import struct
from collections import deque
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from p2p_copy.errors import PeerMisbehaved
from p2p_copy.protocol import keys, limits
from p2p_copy.protocol.records import number_of
from p2p_copy.protocol.rendezvous import Role

NOTE: Final = 2

_NOTE: Final = struct.Struct(">BBBQQ")
_TAG: Final = 32


def is_note(message: bytes) -> bool:
    """Tell a note from a record."""
    return message[:1] == bytes((NOTE,))


class Ack(NamedTuple):
    """What one side tells the other, on the link with number `link`.

    Attributes:
        link: from 0; 0 is where the two have met.
        links: how many links this side would like to have by now; never fewer than it has said before.
        arrived: number of the first record that has not arrived.
        taken: number of the first record that still takes room or will: those before it were acted upon.

    """

    link: int
    links: int
    arrived: int
    taken: int


class AckCodec:
    """Writes one side's notes and reads the other side's."""

    def __init__(self, role: Role, secret: bytes) -> None:
        """`secret` is the session's secret of further links."""
        ours, theirs = keys.note_sender(secret), keys.note_receiver(secret)
        self._ours, self._theirs = (ours, theirs) if role is Role.SENDER else (theirs, ours)

    def write(self, note: Ack) -> bytes:
        """Return a note as a message."""
        fields = _NOTE.pack(NOTE, *note)
        return fields + hmac.digest(self._ours, fields, "sha256")

    def read(self, message: bytes, link: int) -> Ack:
        """Return the note in a message that came over `link`.

        Raises:
            PeerMisbehaved: the other side has not written this for this link.

        """
        fields, tag = message[: _NOTE.size], message[_NOTE.size :]
        if not hmac.compare_digest(tag, hmac.digest(self._theirs, fields, "sha256")) or fields[1] != link:
            raise PeerMisbehaved("A note was changed on its way, or is not from the other side.")
        return Ack(*_NOTE.unpack(fields)[1:])


@dataclass(slots=True)
class _Out:
    """A record that has not arrived, as far as is known, and the links that it has taken."""

    record: bytes
    links: set[int] = field(default_factory=set)


class SendQueue:
    """What one side sends, from record number `first` on.

    Attributes:
        arrived: number of the first record of which is not known that it arrived.
        delivered: bytes of the records that arrived.

    """

    def __init__(self, first: int) -> None:
        self.arrived = first
        self.delivered = 0
        self._next = first
        self._taken = first
        self._out: dict[int, _Out] = {}  # all from `arrived` on, in order
        self._waiting: list[int] = []  # numbers to send next, in order
        self._sizes: deque[int] = deque()  # of all from `_taken` on
        self._bytes = 0

    @property
    def waiting(self) -> int:
        """How many records wait for a link."""
        return len(self._waiting)

    @property
    def settled(self) -> bool:
        """Whether all has arrived."""
        return not self._out

    def has_room(self, size: int) -> bool:
        """Tell whether one more record of so many bytes may go out."""
        return len(self._sizes) < limits.BUNDLE_RECORDS and self._bytes + size <= limits.BUNDLE_BYTES

    def add(self, record: bytes) -> None:
        """Send the next record over whichever link comes for it. There must be room."""
        self._out[self._next] = _Out(record)
        self._waiting.append(self._next)
        self._sizes.append(len(record))
        self._bytes += len(record)
        self._next += 1

    def take(self, link: int) -> bytes | None:
        """Return what is to be sent over this link now, if there is anything."""
        for at, number in enumerate(self._waiting):
            out = self._out[number]
            if link not in out.links:
                del self._waiting[at]
                out.links.add(link)
                return out.record
        return None

    def lose(self, link: int) -> None:
        """Send again what took this link and no other."""
        for out in self._out.values():
            out.links.discard(link)
        again = {number for number, out in self._out.items() if not out.links}
        self._waiting = sorted(again.union(self._waiting))

    def doubt(self) -> None:
        """Send once more, over other links, what took the same link as the oldest record, if that took only one.

        For the time when nothing else is to be sent, and nothing arrives.
        """
        oldest = next(iter(self._out.values()), None)
        if oldest is not None and len(oldest.links) == 1 and not self._waiting:
            self._waiting = [number for number, out in self._out.items() if out.links == oldest.links]

    def hear(self, arrived: int, taken: int) -> None:
        """Note how far the other side is.

        Raises:
            PeerMisbehaved: it cannot be there.

        """
        if not taken <= arrived <= self._next:
            raise PeerMisbehaved("The other side notes the arrival of what was never sent.")
        while self.arrived < arrived:
            self.delivered += len(self._out.pop(self.arrived).record)
            self.arrived += 1
        while self._waiting and self._waiting[0] < arrived:
            del self._waiting[0]
        while self._taken < taken:
            self._bytes -= self._sizes.popleft()
            self._taken += 1


class ReorderBuffer:
    """What one side receives, put in order from record number `first` on.

    Attributes:
        arrived: number of the first record that has not arrived.
        taken: number of the record that is taken next.

    """

    def __init__(self, first: int) -> None:
        self.arrived = first
        self.taken = first
        self._held: dict[int, bytes] = {}
        self._bytes = 0

    def put(self, record: bytes) -> None:
        """Take a record from any link.

        Raises:
            PeerMisbehaved: it is no record, or further ahead than it may be.

        """
        number = number_of(record)
        if number < self.arrived or number in self._held:
            return
        ahead = number - self.taken
        if ahead >= limits.BUNDLE_RECORDS or self._bytes + len(record) > limits.BUNDLE_BYTES:
            raise PeerMisbehaved("The other side sent more than there is room for.")
        self._held[number] = record
        self._bytes += len(record)
        while self.arrived in self._held:
            self.arrived += 1

    def take(self) -> bytes | None:
        """Return the next record if it has arrived."""
        record = self._held.pop(self.taken, None)
        if record is not None:
            self._bytes -= len(record)
            self.taken += 1
        return record
