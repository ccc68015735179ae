"""How long nothing has moved, counted only while this process ran.

A stopped process (SIGSTOP, ^Z, a paused virtual machine) sees all its deadlines pass at once when it goes on,
although the other side may have answered long ago. So time is not compared with a moment in the past but watched:
somebody looks every `limits.TICK` seconds or so, and a look that comes more than `limits.NOT_RUN` seconds after the
last one means that this process did not run in between. The watched interval then starts again.

`Watch` is for those who look themselves. `within` is a deadline; one task looks at all of them.
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
    """Measures for how long nothing has moved. `look` at it at least every `limits.NOT_RUN` seconds."""

    def __init__(self, seen: object = None) -> None:
        """Start now; `seen` is compared with what the first look sees."""
        self._seen = seen
        self._since = self._looked = trio.current_time()

    def look(self, seen: object = None) -> float:
        """Return for how many seconds `seen` has been the same; 0 after a pause in which this process did not run."""
        now = trio.current_time()
        if seen != self._seen or now - self._looked > limits.NOT_RUN:
            self._seen, self._since = seen, now
        self._looked = now
        return now - self._since


class Deadline:
    """What `within` yields."""

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
        """Whether it has cut the body short."""
        return self._scope.cancelled_caught

    def restart(self, seconds: float) -> None:
        """Let the body take so many seconds without movement from now on; they may be infinite."""
        self._seconds = seconds
        self._since = trio.current_time()
        if self._moves is not None:
            self._seen = self._moves()
        if min(seconds, self._most) < math.inf:
            self._ticker.add(self)
        else:
            self._ticker.discard(self)

    def cancel(self) -> None:
        """End the body now."""
        self._scope.cancel()

    def look(self, now: float, *, has_paused: bool) -> float:
        """Cancel the body if its time is over; return the seconds that are left at most.

        A relay has thousands of these, and one look at all of them must be short.
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
    """Cancel the body after so many seconds, give or take a tick, in which this process ran and nothing moved.

    Args:
        seconds: without movement; may be infinite.
        moves: returns something that changes when something has moved. Without it nothing ever does.
        most: seconds for the body in all.
        shield: whatever else is cancelled, the body is not.

    """
    deadline = Deadline(moves, most, shield=shield)
    with deadline._scope:
        try:
            deadline.restart(seconds)
            yield deadline
        finally:
            deadline._ticker.discard(deadline)


class _Ticker:
    """Looks at all deadlines of one run of Trio, as long as there are any."""

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
