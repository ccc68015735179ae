"""Who may come in, by numbers alone: how many are here, and how often a source has come.

Pure decisions, made at once: no await, no clock, no log. Rules:
1. Newcomers over a limit go; whoever is inside is never put out for them.
2. A source is an IPv4 address or an IPv6 /64, the smallest thing that a provider gives to one customer. It is
   known here by a keyed hash with a key of this process, so that no address can be read out of memory or a log.
3. Loopback addresses and unix sockets are no source: whoever comes from there is on this machine, or is a proxy, and
   then many users look like one. The limits of the whole relay hold for them; those of a source do not.
"""

from __future__ import annotations

import hashlib
import ipaddress
import math
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, NewType

from p2p_copy import limits
from p2p_copy.relay.bucket import Bucket

if TYPE_CHECKING:
    from p2p_copy.relay.config import RelayConfig

Source = NewType("Source", bytes)
"""A source's keyed hash."""

_MINUTE = 60.0


def source_of(address: str | None, key: bytes) -> Source | None:
    """Return the source of an address; None for this machine itself, and for what is no IP address.

    An IPv4 address in an IPv6 one counts as what it is (RFC 4291 section 2.5.5.2). `key` is at most 64 bytes.
    """
    if address is None:
        return None
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return None
    if isinstance(ip, ipaddress.IPv6Address):
        ip = ip.ipv4_mapped or ip
    if ip.is_loopback:
        return None
    network = ip.packed[:8] if ip.version == 6 else ip.packed
    return Source(hashlib.blake2b(network, key=key, digest_size=16).digest())


class Over(Enum):
    """A limit that a newcomer met."""

    TOTAL = "connections in all"
    PENDING = "connections without a hello"
    PENDING_PER_SOURCE = "connections of one source without a hello"
    PER_SOURCE = "connections of one source"
    ARRIVALS = "new connections of one source"


@dataclass(slots=True, eq=False)
class Guest:
    """One connection's guest. It is pending until `Admission.settle`."""

    source: Source | None = None
    pending: bool = True


class _Record:
    """What is known of one source."""

    __slots__ = ("arrivals", "joins", "left_at", "pending", "places")

    def __init__(self, config: RelayConfig, now: float) -> None:
        self.places = 0
        self.pending = 0
        self.left_at = now
        self.arrivals = _per_minute(config.arrivals_per_minute, now)
        self.joins = _per_minute(config.joins_per_minute, now)


def _per_minute(count: int, now: float) -> Bucket:
    return Bucket(count / _MINUTE, count, now)


class Admission:
    """The places of one relay. A limit per source that is 0 is none.

    Attributes:
        config: the limits; may be replaced at any time, and holds for newcomers.
        descriptors: connections that the operating system allows; None for no limit.
        places: connections that are here.
        pending: those of them that have not said hello.

    """

    def __init__(self, config: RelayConfig, descriptors: int | None = None) -> None:
        """Open an empty house."""
        self.config = config
        self.descriptors = descriptors
        self.places = 0
        self.pending = 0
        self._present: dict[Source, _Record] = {}
        self._absent: dict[Source, _Record] = {}  # the one who left first comes first

    @property
    def most(self) -> int:
        """Connections that may be here at once, those without a hello included."""
        asked = self.config.max_connections + self.config.max_pending
        return asked if self.descriptors is None else min(asked, self.descriptors)

    @property
    def is_full(self) -> bool:
        """Whether as many clients as may be served have settled."""
        return self.places - self.pending >= self.config.max_connections

    def arrive(self, source: Source | None, now: float) -> Guest | Over:
        """Give a connection a place, or say what it is too many of."""
        if self.places >= self.most:
            return Over.TOTAL
        if self.pending >= self.config.max_pending:
            return Over.PENDING
        guest = Guest()
        over = self.name(guest, source, now)
        if over is not None:
            return over
        self.places += 1
        self.pending += 1
        return guest

    def name(self, guest: Guest, source: Source | None, now: float) -> Over | None:
        """Note, for a pending place, whose it is: the first time, or after a proxy has told. None is fine."""
        if source == guest.source:
            return None
        self._forget(now)
        if source is not None:
            record = self._present.get(source) or self._absent.get(source) or _Record(self.config, now)
            over = self._over(record, now)
            if over is not None:
                return over
            self._absent.pop(source, None)
            self._present[source] = record
            record.arrivals.take(1, now)
            record.places += 1
            record.pending += 1
        self._release(guest, now)
        guest.source = source
        return None

    def settle(self, guest: Guest) -> None:
        """Note that a connection has said hello."""
        if guest.pending:
            guest.pending = False
            self.pending -= 1
            if guest.source is not None:
                self._present[guest.source].pending -= 1

    def join(self, guest: Guest, now: float) -> int:
        """Note that a connection comes to a room. Return 0, or the seconds after which it may."""
        if guest.source is None or not self.config.joins_per_minute:
            return 0
        joins = self._present[guest.source].joins
        wait = joins.seconds_until(1, now)
        if wait > 0:
            return math.ceil(wait)
        joins.take(1, now)
        return 0

    def excuse(self, guest: Guest, now: float) -> None:
        """Note that a connection takes the place of one that is here: it is no new one of its source."""
        if guest.source is not None:
            self._present[guest.source].arrivals.take(-1, now)

    def leave(self, guest: Guest, now: float) -> None:
        """Free a guest."""
        self.settle(guest)
        self.places -= 1
        self._release(guest, now)

    def _over(self, record: _Record, now: float) -> Over | None:
        config = self.config
        if config.max_per_source and record.places >= config.max_per_source:
            return Over.PER_SOURCE
        if config.max_pending_per_source and record.pending >= config.max_pending_per_source:
            return Over.PENDING_PER_SOURCE
        if config.arrivals_per_minute and record.arrivals.seconds_until(1, now) > 0:
            return Over.ARRIVALS
        return None

    def _release(self, guest: Guest, now: float) -> None:
        if guest.source is None:
            return
        record = self._present[guest.source]
        record.places -= 1
        record.pending -= guest.pending
        if not record.places:
            record.left_at = now
            self._absent[guest.source] = self._present.pop(guest.source)
        guest.source = None

    def _forget(self, now: float) -> None:
        """Drop the sources that left long enough ago to be as good as new, and the first ones if they are many."""
        while self._absent:
            source, record = next(iter(self._absent.items()))
            fresh = now - record.left_at < _MINUTE
            if fresh and len(self._absent) < limits.RELAY_REMEMBERED_SOURCES:
                return
            del self._absent[source]
