"""Sends the records of one conversation over several links, and puts them in order again.

    ack      type u8 = 2 | link u8 | links u8 | received u64 | consumed u64 | HMAC-SHA-256(key, all before)

A record has its number in clear and opens only in its place (`records`), so it may take any link, and more than one.
Rules:

1. A sender keeps a record until the other side has acknowledged it, and sends it again over another link when the link
   that it took was lost, or is stuck.
2. A sender is never further ahead of what the other side has consumed than MULTIPATH_BYTES and MULTIPATH_RECORDS. So
   neither side ever keeps more than that, even if a relay loses, delays or invents records.
3. A record that comes twice is dropped. One that a relay made up cannot be opened in its turn, which ends the
   conversation.
4. Acks are authentic. An old one changes nothing. On a further link the first message of each side is an ack for this
   very link, so another client that knows a room and no key gets no further.
"""

from __future__ import annotations

import hmac
import struct
from collections import deque
from typing import Final

from p2p_copy.errors import PeerMisbehaved
from p2p_copy.protocol import keys, limits
from p2p_copy.protocol.records import number_of
from p2p_copy.protocol.rendezvous import Role
from p2p_copy.value import NamedTuple

ACK: Final = 2

_ACK: Final = struct.Struct(">BBBQQ")


def is_ack(message: bytes) -> bool:
    """Tell an ack from a record."""
    return message[:1] == bytes((ACK,))


class Ack(NamedTuple):
    """What one side acknowledges, on the link with number `link`.

    Attributes:
        link: 0 is the link over which the two sides have met.
        links: how many links this side would like to have by now; never fewer than in an earlier ack.
        received: number of the first record that has not arrived.
        consumed: number of the first record that was not acted upon; from this one on, records need memory here.

    """

    link: int
    links: int
    received: int
    consumed: int


class AckCodec:
    """Writes one side's acks and reads the other side's."""

    def __init__(self, role: Role, secret: bytes) -> None:
        """`secret` is the session's secret for links."""
        ours, theirs = keys.ack_sender(secret), keys.ack_receiver(secret)
        self._ours, self._theirs = (ours, theirs) if role is Role.SENDER else (theirs, ours)

    def write(self, ack: Ack) -> bytes:
        """Return an ack as a message."""
        fields = _ACK.pack(ACK, *ack)
        return fields + hmac.digest(self._ours, fields, "sha256")

    def read(self, message: bytes, link: int) -> Ack:
        """Return the ack in a message that came over `link`.

        Raises:
            PeerMisbehaved: the other side has not written this for this link.

        """
        fields, tag = message[: _ACK.size], message[_ACK.size :]
        if not hmac.compare_digest(tag, hmac.digest(self._theirs, fields, "sha256")) or fields[1] != link:
            raise PeerMisbehaved("An ack was changed on its way, or is not from the other side.")
        return Ack(*_ACK.unpack(fields)[1:])


class _Unacknowledged:
    """A record that is not acknowledged, and the links that have carried it."""

    __slots__ = ("links", "record")

    def __init__(self, record: bytes) -> None:
        self.record = record
        self.links: set[int] = set()


class SendQueue:
    """The records that one side sends, from number `first` on, until they are acknowledged.

    Attributes:
        received: number of the first record that is not acknowledged.
        delivered: how many bytes of records were acknowledged.

    """

    def __init__(self, first: int) -> None:
        self.received = first
        self.delivered = 0
        self._next = first
        self._consumed = first
        self._out: dict[int, _Unacknowledged] = {}  # all from `received` on, in order
        self._waiting: list[int] = []  # numbers to send next, in order
        self._sizes: deque[int] = deque()  # of all from `_consumed` on
        self._bytes = 0

    @property
    def waiting(self) -> int:
        """How many records wait for a link."""
        return len(self._waiting)

    @property
    def settled(self) -> bool:
        """Whether all has arrived at the other side."""
        return not self._out

    def has_room(self, size: int) -> bool:
        """Tell whether one more record, of `size` bytes, may go out (rule 2)."""
        return len(self._sizes) < limits.MULTIPATH_RECORDS and self._bytes + size <= limits.MULTIPATH_BYTES

    def add(self, record: bytes) -> None:
        """Add the next record; the first link that asks for it carries it. There must be room."""
        self._out[self._next] = _Unacknowledged(record)
        self._waiting.append(self._next)
        self._sizes.append(len(record))
        self._bytes += len(record)
        self._next += 1

    def take(self, link: int) -> bytes | None:
        """Return the record that this link carries next, if there is one."""
        for at, number in enumerate(self._waiting):
            out = self._out[number]
            if link not in out.links:
                del self._waiting[at]
                out.links.add(link)
                return out.record
        return None

    def lose(self, link: int) -> None:
        """Queue the records again that only this link has carried."""
        for out in self._out.values():
            out.links.discard(link)
        again = {number for number, out in self._out.items() if not out.links}
        self._waiting = sorted(again.union(self._waiting))

    def retransmit_elsewhere(self) -> None:
        """Queue the records again, for other links, that only the link of the oldest record has carried.

        Call this when nothing else is to be sent and no ack comes: that link may be stuck.
        """
        oldest = next(iter(self._out.values()), None)
        if oldest is not None and len(oldest.links) == 1 and not self._waiting:
            self._waiting = [number for number, out in self._out.items() if out.links == oldest.links]

    def acknowledge(self, received: int, consumed: int) -> None:
        """Act on an ack.

        Raises:
            PeerMisbehaved: the ack is about records that were never sent.

        """
        if not consumed <= received <= self._next:
            raise PeerMisbehaved("The other side acknowledges what was never sent.")
        while self.received < received:
            self.delivered += len(self._out.pop(self.received).record)
            self.received += 1
        while self._waiting and self._waiting[0] < received:
            del self._waiting[0]
        while self._consumed < consumed:
            self._bytes -= self._sizes.popleft()
            self._consumed += 1


class ReorderBuffer:
    """What one side receives, put in order from record number `first` on.

    Attributes:
        received: number of the first record that has not arrived.
        consumed: number of the record that `take` returns next.

    """

    def __init__(self, first: int) -> None:
        self.received = first
        self.consumed = first
        self._held: dict[int, bytes] = {}
        self._bytes = 0

    def put(self, record: bytes) -> None:
        """Add a record from any link.

        Raises:
            PeerMisbehaved: it is no record, or further ahead than it may be.

        """
        number = number_of(record)
        if number < self.received or number in self._held:
            return
        ahead = number - self.consumed
        if ahead >= limits.MULTIPATH_RECORDS or self._bytes + len(record) > limits.MULTIPATH_BYTES:
            raise PeerMisbehaved("The other side sent more than there is room for.")
        self._held[number] = record
        self._bytes += len(record)
        while self.received in self._held:
            self.received += 1

    def take(self) -> bytes | None:
        """Return the next record if it has arrived."""
        record = self._held.pop(self.consumed, None)
        if record is not None:
            self._bytes -= len(record)
            self.consumed += 1
        return record
