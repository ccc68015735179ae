"""`send --serve`: a relay inside the sender's process, which serves this one transfer only.

It speaks ws:// without TLS. The transfer is encrypted from end to end all the same; TLS would only hide the room, and
users of `--serve` rarely have a certificate for this machine's name.
"""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Final

from p2p_copy.api.relay import Relay
from p2p_copy.cli import limits
from p2p_copy.errors import CannotListen
from p2p_copy.protocol import keys

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from p2p_copy import Code


_EVERYWHERE: Final = "0.0.0.0"  # noqa: S104 - the purpose is to be reached from other machines


class OwnRooms:
    """The rooms of one transfer: that of its code, and the latest ones that its two sides have agreed on."""

    def __init__(self, code: Code) -> None:
        """Start with the code's room, which is never dropped."""
        self._first = keys.room_id(code.room)
        self._agreed: dict[str, None] = {}  # the oldest one first

    def add(self, room: str) -> None:
        """Add a room, or make it the latest one again; beyond `limits.SERVE_ROOMS` the oldest one is dropped."""
        self._agreed.pop(room, None)
        self._agreed[room] = None
        if len(self._agreed) > limits.SERVE_ROOMS:
            del self._agreed[next(iter(self._agreed))]

    def __contains__(self, room: object) -> bool:
        """Tell whether a room is one of this transfer."""
        return room == self._first or room in self._agreed


@asynccontextmanager
async def embedded_relay(binds: Sequence[tuple[str, int]], rooms: OwnRooms) -> AsyncIterator[tuple[str, str]]:
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
