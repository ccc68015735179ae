"""What a link's reader does before it reads: it waits until what came is taken, and lets pass by what it may."""

from __future__ import annotations

from typing import TYPE_CHECKING

from p2p_copy import limits
from p2p_copy.protocol.frames import LONGEST_HEADER

if TYPE_CHECKING:
    from p2p_copy.codec import Codec
    from p2p_copy.duct import Duct
    from p2p_copy.tap import Held


async def settled(codec: Codec, _: Held) -> bytes:
    """Wait until somebody has taken what came; return what of it was not looked at.

    By now pings and a goodbye that came along are answered: nobody is to act upon a message before that.
    """
    codec.inbox.show()
    await codec.inbox.empty()
    return codec.take_rest()


async def passing(codec: Codec, duct: Duct, tap: Held) -> bytes:
    """Let pass by what comes straight, through `duct`; then it is `settled`.

    Reads end where that begins and where it ends, so that little of it is copied.
    """
    while True:
        rest = await settled(codec, tap)
        straight = codec.straight
        if rest or not straight or duct.stopped:
            return rest
        if straight < limits.RELAY_PIECE:
            tap.most = straight + LONGEST_HEADER
            return rest
        parcel = await tap.receive_parcel(duct, min(straight, limits.DUCT), limits.RELAY_PIECE)
        if parcel is None:
            return rest
        codec.pass_by(parcel)
        if not codec.straight:
            tap.most = LONGEST_HEADER
