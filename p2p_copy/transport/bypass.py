"""What a link's reader does before it reads: it waits until what came is taken, and lets pass by what it may."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from p2p_copy.transport import limits

if TYPE_CHECKING:
    from p2p_copy.transport.codec import Codec
    from p2p_copy.transport.monitored import LinkStream
    from p2p_copy.transport.splice import SplicePipe


class ReadWindow(Protocol):
    """Decides when a link's reader reads, and how much; see `relay.budget.Window`."""

    listening_since: float

    async def room(self) -> None:
        """Wait until a read may begin."""

    def allow(self, most: int) -> int:
        """Return how many of up to `most` bytes that are there may be read."""

    def lift(self) -> None:
        """Let reads begin at any time."""


async def settled(codec: Codec, tap: LinkStream) -> bytes:
    """Wait until somebody has taken what came, and there is room for more; return what of it was not looked at.

    By now pings and a goodbye that came along are answered: nobody is to act upon a message before that.
    """
    codec.inbox.show()
    await codec.inbox.empty()
    rest = codec.take_rest()
    if not rest and tap.window is not None:
        await tap.window.room()
    return rest


async def aligned(codec: Codec, tap: LinkStream) -> bytes:
    """Wait until it is `settled`. Then plain reads end where long payloads do: what came whole need not be copied."""
    rest = await settled(codec, tap)
    if tap.is_plain:  # TLS brings pieces that begin and end anywhere
        tap.most = codec.ahead
    return rest


async def passing(codec: Codec, duct: SplicePipe, tap: LinkStream) -> bytes:
    """Let pass by what comes straight, through `duct`; then it is `settled`.

    Reads end where that begins and where it ends, so that nothing of it is copied.
    """
    while True:
        rest = await settled(codec, tap)
        straight = codec.straight
        if rest or duct.stopped:
            return rest
        if straight < limits.RELAY_PIECE:
            tap.most = codec.ahead
            return rest
        parcel = await tap.receive_parcel(duct, min(straight, limits.DUCT), limits.RELAY_PIECE)
        if parcel is None:
            tap.most = codec.ahead
            return rest
        codec.pass_by(parcel)
