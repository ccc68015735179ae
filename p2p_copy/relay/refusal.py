"""How a relay says no: in words, and in the close code, which is all that clients of p2p-copy 0.1.x understand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from p2p_copy.protocol import rendezvous
from p2p_copy.protocol.rendezvous import CloseCode, Refusal
from p2p_copy.relay.log import events

if TYPE_CHECKING:
    from p2p_copy.protocol.rendezvous import Refused
    from p2p_copy.transport.link import Link

PROTOCOL_ERROR: Final = 1002
POLICY_VIOLATION: Final = 1008
TRY_AGAIN_LATER: Final = 1013
"""Close codes of RFC 6455 section 7.4.1 and its registry."""

_CLOSE_CODES: Final = {
    Refusal.BAD_HELLO: PROTOCOL_ERROR,
    Refusal.VERSION: PROTOCOL_ERROR,
    Refusal.BUSY: TRY_AGAIN_LATER,
    Refusal.ROOM_TAKEN: TRY_AGAIN_LATER,
    Refusal.WAIT_OVER: TRY_AGAIN_LATER,
    Refusal.STOPPING: CloseCode.STOPPING,
    Refusal.TOKEN: POLICY_VIOLATION,
    Refusal.QUOTA: TRY_AGAIN_LATER,
    Refusal.UNKNOWN_ROOM: TRY_AGAIN_LATER,
}


async def refuse(link: Link, refused: Refused, *, legacy: bool) -> None:
    """Say no, and close. A 0.1.x client sees a close code that is not 1000, and its reason."""
    events.REFUSED.log(code=str(refused.code))
    if not legacy:
        await link.send(rendezvous.encode(refused))
    await link.close(_CLOSE_CODES[Refusal(refused.code)], refused.reason)
