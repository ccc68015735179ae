"""Shares one rate fairly among several flows: a token bucket with a queue in front of it.

The queue is start-time fair (Goyal, Vin, Cheng: SIGCOMM 1996): each flow has a tag that grows by the bytes it has paid
for, and the smallest tag goes first. So flows that want more than their share get the same number of bytes, however
large their messages are. A flow that wants less waits at most for what each of the others is just paying for.
"""

from __future__ import annotations

import heapq
import math
from typing import Final

import trio

from p2p_copy.relay import limits
from p2p_copy.relay.access.token_bucket import TokenBucket

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
