"""Who may come in, by numbers alone: how many are here, and how often a source has come.

Pure decisions, made at once: no await, no clock, no log. Rules:
1. Whoever was welcomed is never put out for a newcomer. Connections that have not said hello are: when there is no
   room for one more of them, the oldest one goes, of the network that has most of them.
2. A source is an IPv4 address or an IPv6 /64, the smallest thing that a provider gives to one customer. Many
   customers have more: a /56 or a /48. So an IPv6 source counts for these networks as well, which have multiples of
   its limits (`limits.NETWORK_MULTIPLES`). A network is known here by a keyed hash with a key of this process, so
   that no address can be read out of memory or a log.
3. Loopback addresses and unix sockets are no source: whoever comes from there is on this machine, or is a proxy, and
   then many users look like one. The limits of the whole relay hold for them; those of a source do not.
"""

from __future__ import annotations

import hashlib
import ipaddress
import math
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, NewType, TypeAlias

from p2p_copy.relay import limits
from p2p_copy.relay.access.token_bucket import TokenBucket

if TYPE_CHECKING:
    from collections.abc import Callable

    from p2p_copy.relay.config import RelayConfig

Source = NewType("Source", bytes)
"""The keyed hash of a network, be it a single address."""

Sources: TypeAlias = tuple[tuple[Source, int], ...]
"""What a connection counts for, each with the multiple of the limits that it has. The first one is the smallest."""

_MINUTE = 60.0


def sources_of(address: str | None, key: bytes) -> Sources:
    """Return the sources of an address; none for this machine itself, and for what is no IP address.

    An IPv4 address in an IPv6 one counts as what it is (RFC 4291 section 2.5.5.2). `key` is at most 64 bytes.
    """
    if address is None:
        return ()
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return ()
    if isinstance(ip, ipaddress.IPv6Address):
        ip = ip.ipv4_mapped or ip
    if ip.is_loopback:
        return ()
    prefixes = limits.NETWORK_MULTIPLES if ip.version == 6 else {32: 1}
    return tuple(
        (Source(hashlib.blake2b(ip.packed[: bits // 8], key=key, digest_size=16).digest()), multiple)
        for bits, multiple in prefixes.items()
    )


class LimitHit(Enum):
    """A limit that a newcomer met."""

    TOTAL = "connections in all"
    PENDING_PER_SOURCE = "connections of one source without a hello"
    PER_SOURCE = "connections of one source"
    ARRIVALS = "new connections of one source"
    NETWORK = "connections of one IPv6 network"


@dataclass(slots=True, eq=False)
class Guest:
    """One connection's guest. It is pending until `Admission.settle`, or until it leaves."""

    sources: Sources = ()
    records: tuple[_Record, ...] = ()  # of its sources
    pending: bool = True
    gone: bool = False

    @property
    def source(self) -> Source | None:
        """The smallest of its sources."""
        return self.sources[0][0] if self.sources else None


class _Record:
    """What is known of one source, which has `multiple` times the limits of the smallest ones."""

    __slots__ = ("arrivals", "joins", "left_at", "multiple", "pending", "places")

    def __init__(self, config: RelayConfig, multiple: int, now: float) -> None:
        self.multiple = multiple
        self.places = 0
        self.pending = 0
        self.left_at = now
        self.arrivals = _per_minute(config.arrivals_per_minute * multiple, now)
        self.joins = _per_minute(config.joins_per_minute * multiple, now)

    def over(self, config: RelayConfig, now: float) -> LimitHit | None:
        """Say which limit one more connection would be over."""
        found = None
        if config.max_per_source and self.places >= config.max_per_source * self.multiple:
            found = LimitHit.PER_SOURCE
        elif config.max_pending_per_source and self.pending >= config.max_pending_per_source * self.multiple:
            found = LimitHit.PENDING_PER_SOURCE
        elif config.arrivals_per_minute and self.arrivals.seconds_until(1, now) > 0:
            found = LimitHit.ARRIVALS
        return LimitHit.NETWORK if found and self.multiple > 1 else found


def _per_minute(count: int, now: float) -> TokenBucket:
    return TokenBucket(count / _MINUTE, count, now)


class Admission:
    """The places of one relay. A limit per source that is 0 is none.

    Attributes:
        config: the limits; may be replaced at any time, and holds for newcomers.
        descriptors: connections that the operating system allows; None for no limit.
        places: connections that are here.

    """

    def __init__(self, config: RelayConfig, descriptors: int | None = None) -> None:
        """Open an empty house."""
        self.config = config
        self.descriptors = descriptors
        self.places = 0
        self._pending: dict[Guest, None] = {}  # the oldest one first
        self._present: dict[Source, _Record] = {}
        self._absent: dict[Source, _Record] = {}  # the one who left first comes first

    @property
    def pending(self) -> int:
        """Connections that have not said hello."""
        return len(self._pending)

    @property
    def most(self) -> int:
        """Connections that may be here at once, those without a hello included."""
        asked = self.config.max_connections + self.config.max_pending
        return asked if self.descriptors is None else min(asked, self.descriptors)

    @property
    def is_full(self) -> bool:
        """Whether as many clients as may be served have settled."""
        return self.places - self.pending >= self.config.max_connections

    def arrive(self, sources: Sources, now: float, put_out: Callable[[Guest], None]) -> Guest | LimitHit:
        """Give a connection a place, or say what it is too many of. `put_out` ends the one that has to go for it."""
        over = self._over(sources, now)
        if over is not None:
            return over
        while self.places >= self.most or self.pending >= self.config.max_pending:
            if not self._pending:
                return LimitHit.TOTAL
            goes = self._first_to_go()
            self.leave(goes, now)
            put_out(goes)
        guest = Guest()
        self.places += 1
        self._pending[guest] = None
        self._move(guest, sources, now)
        return guest

    def name(self, guest: Guest, sources: Sources, now: float) -> LimitHit | None:
        """Note, for a pending place, whose it is, after a proxy has told. There may be none."""
        if sources == guest.sources or guest.gone:
            return None
        over = self._over(sources, now)
        if over is None:
            self._move(guest, sources, now)
        return over

    def settle(self, guest: Guest) -> None:
        """Note that a connection has said hello, and is welcome."""
        if guest.pending:
            guest.pending = False
            del self._pending[guest]
            for record in guest.records:
                record.pending -= 1

    def join(self, guest: Guest, now: float) -> int:
        """Note that a connection comes to a room. Return 0, or the seconds after which it may."""
        if not self.config.joins_per_minute:
            return 0
        records = guest.records
        wait = max((record.joins.seconds_until(1, now) for record in records), default=0.0)
        if wait > 0:
            return math.ceil(wait)
        for record in records:
            record.joins.take(1, now)
        return 0

    def excuse(self, guest: Guest, now: float) -> None:
        """Note that a connection takes the place of one that is here: it is no new one of its source."""
        for record in guest.records:
            record.arrivals.take(-1, now)

    def leave(self, guest: Guest, now: float) -> None:
        """Free a guest; nothing happens if it has left already."""
        if guest.gone:
            return
        self.settle(guest)
        self.places -= 1
        self._move(guest, (), now)
        guest.gone = True

    def _over(self, sources: Sources, now: float) -> LimitHit | None:
        """Say which limit one more connection would be over; those of the smallest source are asked first."""
        for source, _ in sources:
            record = self._present.get(source) or self._absent.get(source)
            over = record.over(self.config, now) if record is not None else None
            if over is not None:
                return over
        return None

    def _first_to_go(self) -> Guest:
        """Return the oldest pending guest of the network that has most of them, for what it may have.

        Those without a source count as one network of the widest kind.
        """
        without = sum(not guest.sources for guest in self._pending) / max(limits.NETWORK_MULTIPLES.values())
        first, most = None, 0.0
        for guest in self._pending:  # this is done for each newcomer of a flood, and must be short
            crowd = 0.0 if guest.records else without
            for record in guest.records:
                crowd = max(crowd, record.pending / record.multiple)
            if crowd > most:
                first, most = guest, crowd
        assert first is not None, "somebody is pending"
        return first

    def _move(self, guest: Guest, sources: Sources, now: float) -> None:
        """Let a guest count for other sources, which have been asked for their limits."""
        for (source, _), record in zip(guest.sources, guest.records, strict=True):
            record.places -= 1
            record.pending -= guest.pending
            if not record.places:
                record.left_at = now
                self._absent[source] = self._present.pop(source)
        guest.sources = sources
        guest.records = tuple(self._record(source, multiple, now) for source, multiple in sources)
        for record in guest.records:
            record.arrivals.take(1, now)
            record.places += 1
            record.pending += guest.pending
        self._forget(now)

    def _record(self, source: Source, multiple: int, now: float) -> _Record:
        """Return what is known of a source that is present from now on."""
        record = self._present.get(source) or self._absent.pop(source, None)
        record = self._present[source] = record or _Record(self.config, multiple, now)
        return record

    def _forget(self, now: float) -> None:
        """Drop the sources that left long enough ago to be as good as new, and the first ones if they are many."""
        while self._absent:
            source, record = next(iter(self._absent.items()))
            fresh = now - record.left_at < _MINUTE
            if fresh and len(self._absent) <= limits.REMEMBERED_SOURCES:
                return
            del self._absent[source]
