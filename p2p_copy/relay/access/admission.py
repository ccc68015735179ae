"""Limits how many connections there are, in all and of one source, and how often a source may ask for a room.

Pure decisions, made at once: no await, no clock, no log. Rules:
1. A client that was welcomed is never evicted for a newcomer. A connection that has not said hello may be: when there
   is no room for one more, the relay evicts the oldest one of the network that has most of them.
2. A source is an IPv4 address or an IPv6 /64, the smallest network that a provider gives to one customer. Many
   customers have more: a /56 or a /48. So an IPv6 source counts for these networks as well, which have multiples of
   its limits (`limits.NETWORK_MULTIPLES`). A network is known here by a keyed hash with a key of this process, so
   that no address can be read out of memory or a log.
3. Loopback addresses and unix sockets are no source: such a client is on this machine, or is a proxy behind which many
   users look like one. The limits of the whole relay hold for them; those of a source do not.
"""

from __future__ import annotations

import hashlib
import ipaddress
import math
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, NewType, TypeAlias

from p2p_copy.relay import limits
from p2p_copy.transport.token_bucket import TokenBucket

if TYPE_CHECKING:
    from collections.abc import Callable

    from p2p_copy.relay.access.rates import Account
    from p2p_copy.relay.access.throttle import Throttle
    from p2p_copy.relay.config import RelayConfig

Source = NewType("Source", bytes)
"""The keyed hash of a network, be it a single address."""

Sources: TypeAlias = tuple[tuple[Source, int], ...]
"""The sources that a connection counts for, each with its multiple of the limits. The first one is the smallest."""

_MINUTE = 60.0


def sources_of(address: str | None, key: bytes) -> Sources:
    """Return the sources of an address; none for this machine itself, nor for anything but an IP address.

    An IPv4 address in an IPv6 one counts as an IPv4 address (RFC 4291 section 2.5.5.2). `key` is at most 64 bytes.
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
class Client:
    """One admitted connection, from accept to its end.

    Attributes:
        sources: the sources under which it is counted; only `Admission` changes this and the next three.
        records: the records of these sources.
        pending: it has not been welcomed yet, and may be evicted.
        gone: it has left, and no longer counts.
        throttle: limits how much is read from it; set when it is admitted.
        is_proxy: a trusted proxy is at the other end.
        number: its number at a relay of several processes, where it is the number of its pairing as well.
        budget: seconds that it has until its hello.
        claim: the claim of its hello, at a relay of several processes.
        is_decrypted: another process of the relay speaks TLS with it.
        address: its address for the log; None unless the operator wants addresses there.
        has_spoken: its first message has come, or its request for a file of the page.
        account: the account of the access token that it has shown.
        wants_reports: it has asked for messages of the kind `FlowReport`.

    """

    sources: Sources = ()
    records: tuple[_Record, ...] = ()
    pending: bool = True
    gone: bool = False
    throttle: Throttle = field(init=False, repr=False)
    is_proxy: bool = False
    number: int | None = None
    budget: float = math.inf
    claim: str | None = field(default=None, repr=False)
    is_decrypted: bool = False
    address: str | None = None
    has_spoken: bool = False
    account: Account | None = None
    wants_reports: bool = False

    @property
    def source(self) -> Source | None:
        """The smallest of its sources."""
        return self.sources[0][0] if self.sources else None


class _Record:
    """The record of one source, which has `multiple` times the limits of the smallest ones."""

    __slots__ = ("arrivals", "joins", "left_at", "multiple", "pending", "places")

    def __init__(self, config: RelayConfig, multiple: int, now: float) -> None:
        self.multiple = multiple
        self.places = 0
        self.pending = 0
        self.left_at = now
        self.arrivals = _per_minute(config.arrivals_per_minute * multiple, now)
        self.joins = _per_minute(config.joins_per_minute * multiple, now)

    def limit_hit(self, config: RelayConfig, now: float) -> LimitHit | None:
        """Return the limit that one more connection would exceed."""
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
    """The places of one relay, one for each connection. For a limit per source, 0 means no limit.

    Attributes:
        config: the limits for newcomers; may be replaced at any time.
        descriptors: how many connections the operating system allows; None for no limit.
        places: how many connections are open.

    """

    def __init__(self, config: RelayConfig, descriptors: int | None = None) -> None:
        """Begin with all places free."""
        self.config = config
        self.descriptors = descriptors
        self.places = 0
        self._pending: dict[Client, None] = {}  # the oldest one first
        self._present: dict[Source, _Record] = {}
        self._absent: dict[Source, _Record] = {}  # the source that left first comes first

    @property
    def pending(self) -> int:
        """How many connections have not been welcomed."""
        return len(self._pending)

    @property
    def most(self) -> int:
        """How many connections may be open at once, those without a hello included."""
        asked = self.config.max_connections + self.config.max_pending
        return asked if self.descriptors is None else min(asked, self.descriptors)

    @property
    def is_full(self) -> bool:
        """Whether as many clients are welcomed as may be."""
        return self.places - self.pending >= self.config.max_connections

    def arrive(self, sources: Sources, now: float, evict: Callable[[Client], None]) -> Client | LimitHit:
        """Give a connection a place, or return the limit that it exceeds. A pending client may be evicted for it."""
        hit = self._limit_hit(sources, now)
        if hit is not None:
            return hit
        while self.places >= self.most or self.pending >= self.config.max_pending:
            if not self._pending:
                return LimitHit.TOTAL
            evicted = self._client_to_evict()
            self.leave(evicted, now)
            evict(evicted)
        client = Client()
        self.places += 1
        self._pending[client] = None
        self._count_for(client, sources, now)
        return client

    def move(self, client: Client, sources: Sources, now: float) -> LimitHit | None:
        """Count a pending client under other sources, which a proxy has named; or return the limit that it exceeds."""
        if sources == client.sources or client.gone:
            return None
        hit = self._limit_hit(sources, now)
        if hit is None:
            self._count_for(client, sources, now)
        return hit

    def settle(self, client: Client) -> None:
        """Never evict this client from now on: it has said hello, and is welcome."""
        if client.pending:
            client.pending = False
            del self._pending[client]
            for record in client.records:
                record.pending -= 1

    def join(self, client: Client, now: float) -> int:
        """Count a client's request for a room. Return 0, or in how many seconds it may ask again."""
        if not self.config.joins_per_minute:
            return 0
        records = client.records
        wait = max((record.joins.seconds_until(1, now) for record in records), default=0.0)
        if wait > 0:
            return math.ceil(wait)
        for record in records:
            record.joins.take(1, now)
        return 0

    def excuse(self, client: Client, now: float) -> None:
        """Uncount an arrival: the client replaces its own connection, so its source has no new one."""
        for record in client.records:
            record.arrivals.take(-1, now)

    def leave(self, client: Client, now: float) -> None:
        """Free a client's place; nothing happens if it has left already."""
        if client.gone:
            return
        self.settle(client)
        self.places -= 1
        self._count_for(client, (), now)
        client.gone = True

    def _limit_hit(self, sources: Sources, now: float) -> LimitHit | None:
        """Return the limit that one more connection would exceed, of the smallest source first."""
        for source, _ in sources:
            record = self._present.get(source) or self._absent.get(source)
            hit = record.limit_hit(self.config, now) if record is not None else None
            if hit is not None:
                return hit
        return None

    def _client_to_evict(self) -> Client:
        """Return the oldest pending client of the network with the most pending clients, relative to its limit.

        All clients without a source count as one network of the widest kind.
        """
        without = sum(not client.sources for client in self._pending) / max(limits.NETWORK_MULTIPLES.values())
        first, most = None, 0.0
        for client in self._pending:  # this is done for each newcomer of a flood, and must be short
            crowd = 0.0 if client.records else without
            for record in client.records:
                crowd = max(crowd, record.pending / record.multiple)
            if crowd > most:
                first, most = client, crowd
        assert first is not None, "called only while there are pending clients"
        return first

    def _count_for(self, client: Client, sources: Sources, now: float) -> None:
        """Count a client for other sources than before; the caller has checked that they have room for it."""
        for (source, _), record in zip(client.sources, client.records, strict=True):
            record.places -= 1
            record.pending -= client.pending
            if not record.places:
                record.left_at = now
                self._absent[source] = self._present.pop(source)
        client.sources = sources
        client.records = tuple(self._record(source, multiple, now) for source, multiple in sources)
        for record in client.records:
            record.arrivals.take(1, now)
            record.places += 1
            record.pending += client.pending
        self._forget(now)

    def _record(self, source: Source, multiple: int, now: float) -> _Record:
        """Return the record of a source that is present from now on."""
        record = self._present.get(source) or self._absent.pop(source, None)
        record = self._present[source] = record or _Record(self.config, multiple, now)
        return record

    def _forget(self, now: float) -> None:
        """Forget sources that left a minute ago, whose buckets are full again; of too many, the oldest ones."""
        while self._absent:
            source, record = next(iter(self._absent.items()))
            is_recent = now - record.left_at < _MINUTE
            if is_recent and len(self._absent) <= limits.REMEMBERED_SOURCES:
                return
            del self._absent[source]
