"""Timeouts that count how long nothing has moved, and only while this process runs.

When a stopped process (SIGSTOP, ^Z, a paused virtual machine) goes on, all its deadlines have passed at once, although
the other side may have answered long ago. So time is measured by looking at the clock every `limits.TICK` seconds or
so. If a look comes more than `limits.NOT_RUN` seconds after the last one, this process did not run in between, and all
intervals begin again.

A `Watch` is looked at by its owner. `within` is a deadline; one task looks at all deadlines.
"""

from __future__ import annotations

import math
from contextlib import contextmanager
from typing import TYPE_CHECKING

import trio

from p2p_copy.transport import limits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Watch:
    """Measures for how long a value has not changed. `look` at it at least every `limits.NOT_RUN` seconds."""

    def __init__(self, seen: object = None) -> None:
        """Start now; `seen` is the value to which the first look is compared."""
        self._seen = seen
        self._since = self._looked = trio.current_time()

    def look(self, seen: object = None) -> float:
        """Return for how many seconds `seen` has been the same. A pause of this process counts as a change."""
        now = trio.current_time()
        if seen != self._seen or now - self._looked > limits.NOT_RUN:
            self._seen, self._since = seen, now
        self._looked = now
        return now - self._since


class Deadline:
    """The deadline of a body, as `within` yields it."""

    def __init__(self, moves: Callable[[], object] | None, most: float, *, shield: bool) -> None:
        self._seconds = math.inf
        self._moves = moves
        self._seen: object = None
        self._most = most
        self._scope = trio.CancelScope(shield=shield)
        self._began = self._since = trio.current_time()
        self._ticker = _ticker()

    @property
    def is_over(self) -> bool:
        """Whether the deadline has cancelled the body."""
        return self._scope.cancelled_caught

    def restart(self, seconds: float) -> None:
        """From now on allow the body `seconds` without movement; infinity is no deadline."""
        self._seconds = seconds
        self._since = trio.current_time()
        if self._moves is not None:
            self._seen = self._moves()
        if min(seconds, self._most) < math.inf:
            self._ticker.add(self)
        else:
            self._ticker.discard(self)

    def cancel(self) -> None:
        """Cancel the body now."""
        self._scope.cancel()

    def look(self, now: float, *, has_paused: bool) -> float:
        """Cancel the body if its time is over; return how many seconds it has left if nothing moves.

        A relay has thousands of deadlines, so this must be quick.
        """
        if has_paused:
            self._began = self._since = now
        if self._moves is not None and (seen := self._moves()) != self._seen:
            self._seen, self._since = seen, now
        left = min(self._since + self._seconds, self._began + self._most) - now
        if left <= 0:
            self._scope.cancel()
        return left


@contextmanager
def within(
    seconds: float,
    *,
    moves: Callable[[], object] | None = None,
    most: float = math.inf,
    shield: bool = False,
) -> Iterator[Deadline]:
    """Cancel the body after `seconds` without movement, give or take a tick. Pauses of this process do not count.

    Args:
        seconds: may be infinite.
        moves: returns a value that changes with each movement. Without this argument there is no movement.
        most: seconds for the body in all.
        shield: protects the body from all other cancellation.

    """
    deadline = Deadline(moves, most, shield=shield)
    with deadline._scope:
        try:
            deadline.restart(seconds)
            yield deadline
        finally:
            deadline._ticker.discard(deadline)


class _Ticker:
    """Looks at all deadlines of one run of Trio, while there are any."""

    def __init__(self) -> None:
        self._deadlines: set[Deadline] = set()
        self._runs = False
        self._looked = 0.0

    def add(self, deadline: Deadline) -> None:
        self._deadlines.add(deadline)
        if not self._runs:
            self._runs = True
            self._looked = trio.current_time()
            trio.lowlevel.spawn_system_task(self._tick)

    def discard(self, deadline: Deadline) -> None:
        self._deadlines.discard(deadline)

    async def _tick(self) -> None:
        try:
            while self._deadlines:
                now = trio.current_time()
                has_paused, self._looked = now - self._looked > limits.NOT_RUN, now
                left = min([deadline.look(now, has_paused=has_paused) for deadline in self._deadlines])
                await trio.sleep(min(max(left, 0), limits.TICK) or limits.TICK)
        finally:
            self._runs = False


_TICKER: trio.lowlevel.RunVar[_Ticker] = trio.lowlevel.RunVar("ticker")


def _ticker() -> _Ticker:
    try:
        return _TICKER.get()
    except LookupError:
        ticker = _Ticker()
        _TICKER.set(ticker)
        return ticker
