"""Puts work off that other tasks need not wait for, once a turn of the event loop has lasted for a while.

Trio runs all tasks that can go on in one turn. If many links splice at full speed, each of them for a moment only, then
whoever else needs the event loop, such as a client that has just connected, waits for all of them in each turn. So in
a turn that has lasted for `limits.SHORT_TURN` no link begins to splice: the next turns come soon, and whose turn it is
there Trio leaves to chance.
"""

from __future__ import annotations

import trio

from p2p_copy.transport import limits


class _Clock(trio.abc.Instrument):
    """Notes when the turn began that the event loop is in."""

    def __init__(self) -> None:
        self.began = trio.current_time()

    def after_io_wait(self, timeout: float) -> None:
        self.began = trio.current_time()


_CLOCK: trio.lowlevel.RunVar[_Clock] = trio.lowlevel.RunVar("p2p_copy.transport.short_turn")


async def short_turn() -> None:
    """Return in a turn that has not lasted for long: in this one, if it has not."""
    try:
        clock = _CLOCK.get()
    except LookupError:
        clock = _Clock()
        trio.lowlevel.add_instrument(clock)
        _CLOCK.set(clock)
    while trio.current_time() - clock.began > limits.SHORT_TURN:
        await trio.lowlevel.checkpoint()
