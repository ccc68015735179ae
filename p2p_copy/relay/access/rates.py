"""Limits how many bytes pass: a second, and in all; in a pairing, of a source, of a token, in the whole relay.

    the reading task takes a batch -> hands it on -> pays for it in every queue -> takes the next one

Bytes are paid for after they were passed on, so a rate holds nothing back in memory: it only delays the next read, and
the sender's own connection fills up.

Each rate is a `FairQueue` that all pairings below it share: a token bucket with a queue in front of it. The queue is
start-time fair (Goyal, Vin, Cheng: SIGCOMM 1996): each flow has a tag that grows by the bytes it has paid for, and the
smallest tag goes first. So flows that want more than their share get the same number of bytes, however large their
messages are. A flow that wants less waits at most for what each of the others is just paying for.
"""

from __future__ import annotations

import heapq
import math
from typing import TYPE_CHECKING, Final, Protocol

import trio

from p2p_copy.relay import limits
from p2p_copy.transport.token_bucket import TokenBucket

if TYPE_CHECKING:
    from collections.abc import Iterable

    from p2p_copy.relay.config import RelayConfig

_AT_ONCE: Final = 1e-6
"""Seconds that no clock can wait for."""


class _Ticket:
    """A payment that waits for its turn; tickets of equal tags keep their order."""

    __slots__ = ("gone", "number", "tag", "wake")

    def __init__(self, tag: float, number: int) -> None:
        self.tag = tag
        self.number = number
        self.wake = trio.Event()
        self.gone = False

    def __lt__(self, other: _Ticket) -> bool:
        return (self.tag, self.number) < (other.tag, other.number)


class FairQueue:
    """Bytes per second for all flows that pay here."""

    def __init__(self, rate: float) -> None:
        """Let `rate` bytes per second pass."""
        self.bucket = TokenBucket(rate, rate * limits.RATE_BURST, -math.inf)
        self._queue: list[_Ticket] = []
        self._tickets = 0
        self._tag = 0.0  # of the last payment

    @property
    def rate(self) -> float:
        """Bytes per second."""
        return self.bucket.rate

    def change(self, rate: float) -> None:
        """Set another rate, in bytes per second."""
        self.bucket.level(trio.current_time())
        self.bucket.rate, self.bucket.capacity = rate, rate * limits.RATE_BURST

    async def pay(self, flow: Flow, size: int) -> None:
        """Wait for the flow's turn and until the bucket is not in debt, then take `size` bytes of it."""
        self._tickets += 1
        ticket = _Ticket(max(self._tag, flow.tag), self._tickets)
        flow.tag = ticket.tag + size
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
            # The first ticket waits for the bucket, and a smaller tag may overtake it meanwhile.
            with trio.move_on_after(wait):
                await ticket.wake.wait()


class Flow:
    """What one pairing has paid for in one queue."""

    __slots__ = ("queue", "tag")

    def __init__(self, queue: FairQueue) -> None:
        """Begin with nothing paid: the first payment is tagged like the last one of the queue."""
        self.queue = queue
        self.tag = 0.0


def _with_rate(queue: FairQueue | None, rate: float | None) -> FairQueue | None:
    """Return the queue, or a new one, with this rate; None without a rate."""
    if not rate:
        return None
    if queue is None:
        return FairQueue(rate)
    queue.change(rate)
    return queue


class Account:
    """What one token may use, and has used.

    Attributes:
        quota: bytes that it may move in all; None for no limit.
        used: bytes that it has moved since the relay was started.
        queue: keeps all its pairings to its rate; None for no limit.

    """

    def __init__(self) -> None:
        """Begin without limits."""
        self.quota: int | None = None
        self.used = 0
        self.queue: FairQueue | None = None

    @property
    def left(self) -> int | None:
        """Bytes of the quota that are left; None without a quota."""
        return None if self.quota is None else max(0, self.quota - self.used)

    def can_spend(self, size: int) -> bool:
        """Tell whether `size` bytes are within the quota."""
        return self.left is None or size <= self.left

    def set_terms(self, rate: int | None, quota: int | None) -> None:
        """Set rate and quota; `used` stays."""
        self.quota = quota
        self.queue = _with_rate(self.queue, rate)


class Limits(Protocol):
    """The rates and quotas of one pairing."""

    async def spend(self, size: int) -> bool:
        """Take `size` bytes off the quotas; False if one is used up, and then nothing was taken."""

    async def pay(self, size: int) -> None:
        """Wait until `size` bytes that were passed on are within all rates."""


class PairingLimits(Limits):
    """The rates and quotas of one pairing, of which this process knows all."""

    def __init__(self, queues: Iterable[FairQueue], accounts: Iterable[Account] = ()) -> None:
        """Pay in all of `queues`, and take off the quotas of all of `accounts`."""
        self._flows = tuple(Flow(queue) for queue in queues)
        self._accounts = tuple(accounts)
        self._owed = 0

    @property
    def least_rate(self) -> float:
        """Bytes per second of the slowest of the rates; infinite without any."""
        return min((flow.queue.rate for flow in self._flows), default=math.inf)

    @property
    def left(self) -> float:
        """Bytes of the quotas that are left; infinite without any."""
        return min((account.left for account in self._accounts if account.left is not None), default=math.inf)

    def give_back(self, size: int) -> None:
        """Put bytes that were taken and not used back to the quotas."""
        for account in self._accounts:
            account.used -= size

    async def spend(self, size: int) -> bool:
        """Take `size` bytes off the quotas; False if one is used up, and then nothing was taken."""
        if not all(account.can_spend(size) for account in self._accounts):
            return False
        for account in self._accounts:
            account.used += size
        return True

    async def pay(self, size: int) -> None:
        """Wait until `size` bytes that were passed on are within all rates."""
        self._owed += size
        if not self._flows or self._owed < limits.RATE_GRAIN:
            return
        size, self._owed = self._owed, 0
        for flow in self._flows:
            await flow.queue.pay(flow, size)


class Rates:
    """The rates of one relay. A source is told apart by its hash (`admission.Source`)."""

    def __init__(self, config: RelayConfig) -> None:
        """Begin with the rates of the configuration."""
        self._rate = config.rate
        self._rate_per_source = config.rate_per_source
        self._total = _with_rate(None, config.rate_total)
        self._sources: dict[bytes, FairQueue] = {}
        self._pruned = -math.inf

    def change(self, config: RelayConfig) -> None:
        """Use the rates of another configuration.

        A rate that has another value holds at once; one that is new, or is gone, holds for new pairings.
        """
        self._rate = config.rate
        self._rate_per_source = config.rate_per_source
        if not config.rate_per_source:
            self._sources.clear()
        for queue in self._sources.values():
            queue.change(config.rate_per_source or queue.rate)
        self._total = _with_rate(self._total, config.rate_total)

    def best(self, source: bytes | None, account: Account | None) -> int | None:
        """Return the bytes per second that a client from this source can get at most; None for any number."""
        rates = (
            self._rate,
            self._rate_per_source if source is not None else None,
            self._total.rate if self._total else None,
            account.queue.rate if account and account.queue else None,
        )
        return min((int(rate) for rate in rates if rate), default=None)

    def pairing_limits(
        self,
        sources: Iterable[bytes | None],
        accounts: Iterable[Account | None],
        *,
        only_shared: bool = False,
    ) -> PairingLimits | None:
        """Return the limits of a pairing, None if it has none. A source or account of both sides counts once.

        With `only_shared` its own rate is not among them, only those that it shares with other pairings.
        """
        payers = list(dict.fromkeys(account for account in accounts if account is not None))
        queues = [FairQueue(self._rate)] if self._rate and not only_shared else []
        queues += [account.queue for account in payers if account.queue is not None]
        if self._rate_per_source:
            named = dict.fromkeys(source for source in sources if source is not None)
            queues += [self._of_source(source, self._rate_per_source) for source in named]
        if self._total is not None:
            queues.append(self._total)
        return PairingLimits(queues, payers) if queues or payers else None

    def _of_source(self, source: bytes, rate: float) -> FairQueue:
        """Return the queue of a source. It outlives a pairing, so that a new connection does not cancel debts."""
        now = trio.current_time()
        if now - self._pruned > limits.RATE_BURST:
            self._pruned = now
            for other, queue in list(self._sources.items()):
                if queue.bucket.level(now) >= queue.bucket.capacity:
                    del self._sources[other]  # it owes nothing, so a new queue is just the same
        return self._sources.setdefault(source, FairQueue(rate))
