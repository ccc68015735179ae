"""Bounds the memory of all pairings: one budget, and a window of it for each direction of each pairing.

A direction holds what was read from its source and not taken by its target: TLS records that are not opened, parts of
messages, pieces in the inbox and on their way. Three rules keep that small where nothing moves:

1. A window opens by what the target takes (slow start), and closes when nothing moves any more. A receiver that reads
   nothing makes the relay hold `limits.WINDOW_LEAST` and a part of what kernels have taken. The relay's own kernel may
   hold as much again that is not on its way, for that memory is scarce as well: Linux gives TCP a tenth of a machine's.
2. No window is larger than a part of what is free (dynamic thresholds; Choudhury and Hahne, IEEE/ACM Transactions on
   Networking 6, 1998). So many directions that hold much leave the same to each other, and never use all of the budget.
   `WINDOW_LEAST` is set aside for each direction when its pairing begins, so it is there whatever others hold.
3. Bytes that were read cannot be given back. So if little is free, the pairings whose targets have taken nothing for
   longest are ended, once that is `limits.MEMORY_STALL` seconds; if still less is free, the relay tells newcomers that
   it is busy.

How much a read may bring is decided when its bytes are there, so thousands of directions that wait hold nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from p2p_copy.relay import limits
from p2p_copy.transport.tcp import UnsentLimit

if TYPE_CHECKING:
    from collections.abc import Callable


def _ignore(_: int) -> None:
    pass


@dataclass(slots=True)
class Budget:
    """Bytes that all pairings of one relay may hold.

    Attributes:
        limit: how many.
        held: how many they hold, including those set aside for them.

    """

    limit: float
    held: int = 0

    @property
    def free(self) -> float:
        """Bytes that no pairing holds; negative if they hold more than the limit, as after it was lowered."""
        return self.limit - self.held

    @property
    def share(self) -> float:
        """Bytes that one direction may hold now, if that is more than `limits.WINDOW_LEAST`."""
        return self.free / limits.MEMORY_FREE_SHARE

    @property
    def missing(self) -> float:
        """Bytes that pairings which stand still should give back; 0 if enough is free."""
        return max(0, self.limit / limits.MEMORY_RELIEF - self.free)

    @property
    def is_nearly_used(self) -> bool:
        """Whether too little is free for further pairings."""
        return self.free < self.limit / limits.MEMORY_BUSY


class Window:
    """What one direction of a pairing may hold.

    Attributes:
        in_flight: bytes that are on their way from the source's link to the target's.
        listening_since: Trio's time when it last let a read begin; infinite while it lets none begin.

    """

    def __init__(
        self, budget: Budget, unread: Callable[[], int], limit_unsent: Callable[[int], None]
    ) -> None:
        """Begin with a window of `limits.WINDOW_LEAST`.

        Args:
            budget: the budget from which the window is taken.
            unread: returns how many bytes the source's link holds.
            limit_unsent: sets how many bytes the kernel may hold that the target's link has not sent yet.

        """
        self.in_flight = 0
        self.listening_since = 0.0
        self._budget = budget
        self._unread = unread
        self._limit_unsent = limit_unsent
        self._limit: int = limits.WINDOW_LEAST
        self._suits = UnsentLimit()  # as far as the window allows
        self._taken = 0
        self._counted = 0
        self._open = True
        self._waiting = trio.lowlevel.ParkingLot()
        budget.held += limits.WINDOW_LEAST
        self._let_kernel_hold(limits.WINDOW_LEAST)

    @property
    def held(self) -> int:
        """Bytes of this direction that the relay holds.

        This asks the link and all below it. So it is computed where bytes come in; those that leave are subtracted.
        """
        return self.in_flight + self._unread()

    async def room(self) -> None:
        """Wait until another read is worth it: until half the window is free, or nothing is in flight any more."""
        if self.in_flight > 0:  # else it is not full, and the next read counts
            self._charge(self.held)
        if self._is_full():
            self.listening_since = math.inf
            try:
                while self._is_full():
                    await self._waiting.park()
            finally:
                self.listening_since = trio.current_time()

    def allow(self, most: int) -> int:
        """Return how many of up to `most` bytes that are there may be read, and count them as held."""
        held = self.held
        size = min(most, max(limits.LEAST_READ, int(self._most() - held)))
        self._charge(held + size)
        return size

    def begin(self, size: int) -> None:
        """Count bytes that have left the source's link and are in flight."""
        self.in_flight += size
        self._charge(self.held)

    def end(self, size: int) -> None:
        """Count bytes in flight that the target has taken, or that are thrown away."""
        self.in_flight -= size
        self._charge(self._counted - size)
        self._waiting.unpark_all()

    def widen(self, size: int) -> None:
        """Open the window because the target has taken `size` bytes of messages."""
        self._limit = min(limits.WINDOW_MOST, self._limit + size // limits.WINDOW_GROWTH)
        self._taken += size
        if self._suits.is_due:
            self._suits.follow(self._taken)
        suits = self._suits.value
        if self._unsent > suits or (self._unsent < suits and self._limit >= 2 * self._unsent):
            self._let_kernel_hold(min(self._limit, suits))

    def narrow(self) -> None:
        """Close the window to the least again, because nothing moves."""
        if self._limit > limits.WINDOW_LEAST:
            self._limit = limits.WINDOW_LEAST
            self._let_kernel_hold(self._limit)

    def lift(self) -> None:
        """Let reads begin, however much is held: what they bring is thrown away."""
        self._open = False
        self._waiting.unpark_all()

    def close(self) -> None:
        """Give everything back; what is read from now on does not count. It may be called again."""
        self.lift()
        self._budget.held -= max(self._counted, limits.WINDOW_LEAST)
        self._budget = Budget(math.inf)
        # The links keep this window, and it would keep them: a cycle.
        self._unread, self._limit_unsent = int, _ignore

    def _let_kernel_hold(self, size: int) -> None:
        self._unsent = size
        self._limit_unsent(size)

    def _most(self) -> float:
        return max(limits.WINDOW_LEAST, min(self._limit, self._budget.share))

    def _is_full(self) -> bool:
        # What is not in flight may be a part of a piece that can only be passed on whole: more of it must come.
        return self._open and self.in_flight > 0 and self._counted > self._most() / 2

    def _charge(self, held: int) -> None:
        self._budget.held += max(held, limits.WINDOW_LEAST) - max(self._counted, limits.WINDOW_LEAST)
        self._counted = held
