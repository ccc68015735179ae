"""Limits how many bytes pass a second: in a pairing, of a source, of a token, in the whole relay.

    the reading task takes a batch -> hands it on -> pays for it in every queue -> takes the next one

Bytes are paid for after they were passed on, so a limit holds nothing back in memory: it only delays the next read, and
the sender's own connection fills up. Each rate is a `FairQueue` that all pairings below it share.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import trio

from p2p_copy.relay import limits
from p2p_copy.relay.access.fair_queue import FairQueue, Flow

if TYPE_CHECKING:
    from collections.abc import Iterable

    from p2p_copy.relay.access.admission import Source
    from p2p_copy.relay.access.tokens import Account
    from p2p_copy.relay.config import RelayConfig


class PairingLimits:
    """The rates and quotas of one pairing."""

    def __init__(self, queues: Iterable[FairQueue] = (), accounts: Iterable[Account] = ()) -> None:
        """Pay in all of `queues`, and take off the quotas of all of `accounts`."""
        self._flows = tuple(Flow(queue) for queue in queues)
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
        """Wait until `size` bytes that were passed on are within all rates. Without rates it returns at once."""
        self._owed += size
        if not self._flows or self._owed < limits.RATE_GRAIN:
            return
        size, self._owed = self._owed, 0
        for flow in self._flows:
            await flow.queue.pay(flow, size)


UNLIMITED = PairingLimits()
"""Of pairings without limits."""


class Rates:
    """The rates of one relay."""

    def __init__(self, config: RelayConfig) -> None:
        """Begin with the rates of the configuration."""
        self._rate = config.rate
        self._rate_per_source = config.rate_per_source
        self._total = FairQueue(config.rate_total) if config.rate_total else None
        self._sources: dict[Source, FairQueue] = {}
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
        if not config.rate_total:
            self._total = None
        elif self._total is None:
            self._total = FairQueue(config.rate_total)
        else:
            self._total.change(config.rate_total)

    def best(self, source: Source | None, account: Account | None) -> int | None:
        """Return the bytes per second that a client from this source can get at most; None for any number."""
        rates = (
            self._rate,
            self._rate_per_source if source is not None else None,
            self._total.rate if self._total else None,
            account.rate if account else None,
        )
        return min((int(rate) for rate in rates if rate), default=None)

    def pairing_limits(
        self, sources: Iterable[Source | None], accounts: Iterable[Account | None]
    ) -> PairingLimits:
        """Return the limits of a pairing between these; a source or account of both sides pays once."""
        payers = list(dict.fromkeys(account for account in accounts if account is not None))
        queues = [FairQueue(self._rate)] if self._rate else []
        queues += [account.queue for account in payers if account.queue is not None]
        if self._rate_per_source:
            named = dict.fromkeys(source for source in sources if source is not None)
            queues += [self._of_source(source, self._rate_per_source) for source in named]
        if self._total is not None:
            queues.append(self._total)
        return PairingLimits(queues, payers) if queues or payers else UNLIMITED

    def _of_source(self, source: Source, rate: float) -> FairQueue:
        """Return the queue of a source. It outlives a pairing, so that a new connection does not cancel debts."""
        now = trio.current_time()
        if now - self._pruned > limits.RATE_BURST:
            self._pruned = now
            for other, queue in list(self._sources.items()):
                if queue.bucket.level(now) >= queue.bucket.capacity:
                    del self._sources[other]  # it owes nothing, so a new queue is just the same
        return self._sources.setdefault(source, FairQueue(rate))
