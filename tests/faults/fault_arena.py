"""Fault 0: what the arena itself must notice, or none of the others would show anything."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest
import trio

from tests.faults.attackers import over_both

if TYPE_CHECKING:
    from tests.faults.arena import Arena

STOPPED = 2.0
"""Seconds for which the relay stands still."""


async def stand_still(arena: Arena) -> None:
    async with arena.attacked(stall=STOPPED / 2):
        arena.server.process.send_signal(signal.SIGSTOP)
        await trio.sleep(STOPPED)
        arena.server.process.send_signal(signal.SIGCONT)


@over_both
async def test_fault_00_a_relay_that_stands_still_for_a_moment(arena: Arena) -> None:
    with pytest.raises(AssertionError, match="an honest pair waited for"):
        await stand_still(arena)
