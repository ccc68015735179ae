"""A token bucket: so much a second, and a little saved up. Pure; whoever asks brings the time along."""

from __future__ import annotations


class TokenBucket:
    """Something that refills at `rate` a second up to `capacity`, and starts full.

    What is taken may be more than what is there: the level then is below zero, and the next one waits for it. So
    the long-run rate is exact whatever the size of the pieces.
    """

    __slots__ = ("_level", "_then", "capacity", "rate")

    def __init__(self, rate: float, capacity: float, now: float) -> None:
        """Fill it at the time `now`, in seconds of any steady clock; minus infinity will do."""
        self.rate = rate
        self.capacity = capacity
        self._level = capacity
        self._then = now

    def level(self, now: float) -> float:
        """Return what is in it."""
        self._level = min(self.capacity, self._level + (now - self._then) * self.rate)
        self._then = now
        return self._level

    def seconds_until(self, level: float, now: float) -> float:
        """Return how long it takes to fill up to `level`, 0 if it has."""
        return max(0.0, (level - self.level(now)) / self.rate)

    def take(self, amount: float, now: float) -> None:
        """Take `amount`, be it there or not."""
        self._level = self.level(now) - amount
