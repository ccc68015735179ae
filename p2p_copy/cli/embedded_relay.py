"""`send --serve`: a relay inside the sender's process, which serves this one transfer only.

It speaks ws:// without TLS. The transfer is encrypted from end to end all the same; TLS would only hide the room, and
users of `--serve` rarely have a certificate for this machine's name.
"""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Final

from p2p_copy import Relay
from p2p_copy.cli import limits
from p2p_copy.errors import CannotListen

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from p2p_copy import Rooms


_EVERYWHERE: Final = "0.0.0.0"  # noqa: S104 - the purpose is to be reached from other machines


@asynccontextmanager
async def embedded_relay(binds: Sequence[tuple[str, int]], rooms: Rooms) -> AsyncIterator[tuple[str, str]]:
    """Run a relay at the first of `binds` that is free; yield its URL for this process and for other machines.

    Args:
        binds: hosts and ports in the order of preference; an empty host is all of IPv4, port 0 any free one.
        rooms: the rooms that the relay serves.

    Raises:
        CannotListen: none of them can be used.

    """
    async with AsyncExitStack() as stack:
        for number, (host, port) in enumerate(binds, 1):
            relay = Relay(
                host or _EVERYWHERE,
                port,
                rooms=rooms,
                max_connections=limits.SERVE_CONNECTIONS,
                max_pending=limits.SERVE_PENDING,
            )
            try:
                await stack.enter_async_context(relay)
                break
            except CannotListen:
                if number == len(binds):
                    raise
        yield relay.urls[0], relay.urls[-1]
