"""One look at all pairings every few seconds, in place of a clock for each of them or for each message."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from p2p_copy import limits

if TYPE_CHECKING:
    from collections.abc import Mapping

    from p2p_copy.relay.pairing import Pairing


async def watch(pairings: Mapping[int, Pairing]) -> None:
    """Let each of the pairings that there are look at itself, until this is cancelled."""
    while True:
        await trio.sleep(limits.RELAY_LOOK)
        for pairing in tuple(pairings.values()):
            pairing.look()
