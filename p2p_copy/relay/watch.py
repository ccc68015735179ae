"""One look at all pairings every few seconds, in place of a clock for each of them or for each message.

If the memory of the relay is short then, those that stand still give back theirs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from p2p_copy.relay import limits
from p2p_copy.relay.log import abuse
from p2p_copy.relay.log.abuse import Abuse

if TYPE_CHECKING:
    from collections.abc import Mapping

    from p2p_copy.relay.budget import Budget
    from p2p_copy.relay.pairing import Pairing


async def watch(pairings: Mapping[int, Pairing], budget: Budget) -> None:
    """Let each of the pairings that there are look at itself, and keep to the budget, until this is cancelled."""
    while True:
        await trio.sleep(limits.PAIRING_CHECK_INTERVAL)
        for count, pairing in enumerate(tuple(pairings.values()), 1):
            pairing.look()
            if count % limits.PAIRINGS_A_TURN == 0:
                await (
                    trio.lowlevel.checkpoint()
                )  # thousands take a tenth of a second, and others move meanwhile
        if budget.missing:
            _relieve(pairings, budget)


def _relieve(pairings: Mapping[int, Pairing], budget: Budget) -> None:
    """End pairings of which one side takes nothing, those first where that is so for longest, until enough is free."""
    # Whoever was ended at an earlier look has a few seconds for the goodbye, and holds its memory until then.
    missing = budget.missing - sum(_gives_back(each) for each in pairings.values() if each.is_relieved)
    latest = trio.current_time() - limits.MEMORY_STALL
    for pairing in sorted(pairings.values(), key=lambda pairing: pairing.undelivered_since):
        if missing <= 0 or pairing.undelivered_since > latest:
            break
        missing -= _gives_back(pairing)
        pairing.relieve()
        abuse.note(Abuse.MEMORY)


def _gives_back(pairing: Pairing) -> int:
    return max(pairing.held, 2 * limits.WINDOW_LEAST)
