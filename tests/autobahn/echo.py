"""What Autobahn's test suite talks to: the relay's way in, from the socket to the link, and an echo behind it."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

import anyio

from p2p_copy.relay import limits
from p2p_copy.relay.access.throttle import Newcomers, Throttle
from p2p_copy.relay.entry.http_upgrade import UpgradeRequest, read_upgrade
from p2p_copy.relay.log.abuse import AbuseCounter
from p2p_copy.transport.endpoints import accept
from p2p_copy.transport.link import LinkBroken
from p2p_copy.units import MIB

if TYPE_CHECKING:
    from p2p_copy.transport.tcp import TCPStream

LONGEST: Final = 16 * MIB
"""Bytes of the longest message: what the suite sends in its cases 9.1.6 and 9.2.6. A relay takes fewer."""


async def echo(stream: TCPStream) -> None:
    """Send every message of one client back to it, on the terms of a relay: of its limits only that one is another."""
    stream.tune()
    throttle = Throttle(Newcomers(), limits.FRAMES_PER_SECOND)
    throttle.limit(stream)
    request = await read_upgrade(stream, AbuseCounter())
    assert isinstance(request, UpgradeRequest), "the suite asks properly for a WebSocket"
    with suppress(LinkBroken, anyio.EndOfStream):  # most cases break a rule
        async with accept(stream, max_message=LONGEST, head=request.head, pace=throttle.frames) as (_, link):
            throttle.pair()
            while True:
                message = await link.receive()
                with suppress(LinkBroken):  # and some have done so already: stay until they have been told
                    await link.send(message)
