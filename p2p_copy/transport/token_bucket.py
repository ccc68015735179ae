"""Counts what may pass at a rate: bytes, frames, reads or connections. Pure: the caller tells the time."""

from __future__ import annotations


class TokenBucket:
    """Something that refills at `rate` a second up to `capacity`, and starts full. The caller tells the time.

    More may be taken than there is: then the level is below zero, and the next one waits until it is not. So the
    long-run rate is exact, however large the pieces are.
    """

    __slots__ = ("_level", "_then", "capacity", "rate")

    def __init__(self, rate: float, capacity: float, now: float) -> None:
        """Fill it at the time `now`, in seconds of any steady clock; minus infinity will do."""
        self.rate = rate
        self.capacity = capacity
        self._level = capacity
        self._then = now

    def level(self, now: float) -> float:
        """Return how much is in it; negative if more was taken than there was."""
        self._level = min(self.capacity, self._level + (now - self._then) * self.rate)
        self._then = now
        return self._level

    def seconds_until(self, level: float, now: float) -> float:
        """Return how long it takes to fill up to `level`, 0 if it has."""
        return max(0.0, (level - self.level(now)) / self.rate)

    def take(self, amount: float, now: float) -> None:
        """Take `amount`, even if the level falls below zero."""
        self._level = self.level(now) - amount

    def delay_after(self, amount: float, now: float) -> float:
        """Take `amount`; return for how many seconds the level is below zero then."""
        self.take(amount, now)
        return -self._level / self.rate if self._level < 0 else 0.0
