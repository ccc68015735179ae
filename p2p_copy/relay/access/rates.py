"""How fast bytes may pass: limits on one pairing, on one source, on one token, on the whole relay, shared fairly.

    fill takes a message -> hands it on -> pays for it at every gate -> takes the next one

What is paid for was passed on before, so a limit holds nothing back in memory: it only delays the next read, and
the sender's own connection fills up. A gate is a token bucket with a queue. The queue is start-time fair (Goyal,
Vin, Cheng: SIGCOMM 1996): each lane has a tag that grows by the bytes it has paid for, and the smallest tag goes
first. So lanes that want more than their share get the same number of bytes, however large their messages are,
and a lane that wants less never waits for more than what is just being paid for by each of the others.
"""

from __future__ import annotations

import heapq
import math
from typing import TYPE_CHECKING, Final

import trio

from p2p_copy.relay import limits
from p2p_copy.relay.access.token_bucket import TokenBucket

if TYPE_CHECKING:
    from collections.abc import Iterable

    from p2p_copy.relay.access.admission import Source
    from p2p_copy.relay.access.tokens import Account
    from p2p_copy.relay.config import RelayConfig

_AT_ONCE: Final = 1e-6
"""Seconds that no clock can wait for."""


class _Ticket:
    """One who waits at a gate."""

    __slots__ = ("gone", "number", "tag", "wake")

    def __init__(self, tag: float, number: int) -> None:
        self.tag = tag
        self.number = number
        self.wake = trio.Event()
        self.gone = False

    def __lt__(self, other: _Ticket) -> bool:
        return (self.tag, self.number) < (other.tag, other.number)


class FairQueue:
    """Bytes per second for everybody who passes, in lanes that share them."""

    def __init__(self, rate: float) -> None:
        """Open a gate for `rate` bytes per second."""
        self.bucket = TokenBucket(rate, rate * limits.RATE_BURST, -math.inf)
        self._queue: list[_Ticket] = []
        self._tickets = 0
        self._tag = 0.0  # of the last one who passed

    @property
    def rate(self) -> float:
        """Bytes per second."""
        return self.bucket.rate

    def change(self, rate: float) -> None:
        """Let another number of bytes per second pass from now on."""
        self.bucket.level(trio.current_time())
        self.bucket.rate, self.bucket.capacity = rate, rate * limits.RATE_BURST

    async def pay(self, lane: FlowLane, size: int) -> None:
        """Wait for one's turn and for the bucket to have something, then take `size` bytes of it."""
        self._tickets += 1
        ticket = _Ticket(max(self._tag, lane.tag), self._tickets)
        lane.tag = ticket.tag + size
        heapq.heappush(self._queue, ticket)
        try:
            await self._turn(ticket)
            self._tag = ticket.tag
            self.bucket.take(size, trio.current_time())
        finally:
            ticket.gone = True
            while self._queue and self._queue[0].gone:
                heapq.heappop(self._queue)
            if self._queue:
                self._queue[0].wake.set()

    async def _turn(self, ticket: _Ticket) -> None:
        while True:
            first = self._queue[0] is ticket
            wait = self.bucket.seconds_until(0, trio.current_time()) if first else math.inf
            if wait < _AT_ONCE:
                return
            ticket.wake = trio.Event()
            # Whoever is first watches the clock, and may be overtaken by a smaller tag meanwhile.
            with trio.move_on_after(wait):
                await ticket.wake.wait()


class FlowLane:
    """One pairing's way through one gate."""

    __slots__ = ("gate", "tag")

    def __init__(self, gate: FairQueue) -> None:
        """Begin behind nobody and before nobody."""
        self.gate = gate
        self.tag = 0.0


class Flow:
    """What one pairing owes: bytes at gates, and bytes of quotas."""

    def __init__(self, gates: Iterable[FairQueue] = (), accounts: Iterable[Account] = ()) -> None:
        """Pass through all of `gates`, at the cost of all of `accounts`."""
        self._lanes = tuple(FlowLane(gate) for gate in gates)
        self._accounts = tuple(accounts)
        self._owed = 0

    def spend(self, size: int) -> bool:
        """Take `size` bytes off the quotas; False if one is used up, and then nothing was taken."""
        if not all(account.can_spend(size) for account in self._accounts):
            return False
        for account in self._accounts:
            account.spend(size)
        return True

    async def pay(self, size: int) -> None:
        """Wait until `size` bytes that were passed on are within all limits. Without limits it returns at once."""
        self._owed += size
        if not self._lanes or self._owed < limits.RATE_GRAIN:
            return
        size, self._owed = self._owed, 0
        for lane in self._lanes:
            await lane.gate.pay(lane, size)


UNLIMITED = Flow()
"""Of pairings without limits."""


class Rates:
    """The gates of one relay."""

    def __init__(self, config: RelayConfig) -> None:
        """Open the gates that the configuration wants."""
        self._rate = config.rate
        self._rate_per_source = config.rate_per_source
        self._total = FairQueue(config.rate_total) if config.rate_total else None
        self._sources: dict[Source, FairQueue] = {}
        self._pruned = -math.inf

    def change(self, config: RelayConfig) -> None:
        """Keep to other limits. A rate that is another one holds at once, one that is new or gone for new pairings."""
        self._rate = config.rate
        self._rate_per_source = config.rate_per_source
        if not config.rate_per_source:
            self._sources.clear()
        for gate in self._sources.values():
            gate.change(config.rate_per_source or gate.rate)
        if not config.rate_total:
            self._total = None
        elif self._total is None:
            self._total = FairQueue(config.rate_total)
        else:
            self._total.change(config.rate_total)

    def offer(self, source: Source | None, account: Account | None) -> int | None:
        """Return the bytes per second that a client from this source can have at best; None for any number."""
        rates = (
            self._rate,
            self._rate_per_source if source is not None else None,
            self._total.rate if self._total else None,
            account.rate if account else None,
        )
        return min((int(rate) for rate in rates if rate), default=None)

    def flow(self, sources: Iterable[Source | None], accounts: Iterable[Account | None]) -> Flow:
        """Return the flow of a pairing between these; whoever is there twice pays once."""
        payers = list(dict.fromkeys(account for account in accounts if account is not None))
        gates = [FairQueue(self._rate)] if self._rate else []
        gates += [account.gate for account in payers if account.gate is not None]
        if self._rate_per_source:
            named = dict.fromkeys(source for source in sources if source is not None)
            gates += [self._of_source(source, self._rate_per_source) for source in named]
        if self._total is not None:
            gates.append(self._total)
        return Flow(gates, payers) if gates or payers else UNLIMITED

    def _of_source(self, source: Source, rate: float) -> FairQueue:
        """Return the gate of a source. It outlives a pairing: a new connection pays no debts otherwise."""
        now = trio.current_time()
        if now - self._pruned > limits.RATE_BURST:
            self._pruned = now
            for other, gate in list(self._sources.items()):
                if gate.bucket.level(now) >= gate.bucket.capacity:
                    del self._sources[other]  # a new one is just the same
        return self._sources.setdefault(source, FairQueue(rate))
