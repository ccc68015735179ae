"""Refuses a client: by a message, and by the close code, which is all that p2p-copy 0.1.x understands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from p2p_copy.protocol import rendezvous
from p2p_copy.protocol.rendezvous import CloseCode, Refusal, Refused
from p2p_copy.relay import limits
from p2p_copy.relay.log import events

if TYPE_CHECKING:
    from p2p_copy.relay.tally import Tally
    from p2p_copy.transport.link import Link

_PROTOCOL_ERROR: Final = 1002
_POLICY_VIOLATION: Final = 1008
_TRY_AGAIN_LATER: Final = 1013
"""Close codes of RFC 6455 section 7.4.1 and its registry. The last one is that of all reasons not named below."""

_CLOSE_CODES: Final = {
    Refusal.BAD_HELLO: _PROTOCOL_ERROR,
    Refusal.VERSION: _PROTOCOL_ERROR,
    Refusal.STOPPING: CloseCode.STOPPING,
    Refusal.TOKEN: _POLICY_VIOLATION,
}

RELAY_STOPS: Final = Refused(Refusal.STOPPING, "The relay is being stopped or restarted.", 5)

NO_MEMORY: Final = Refused(
    Refusal.BUSY, "Other transfers use all the memory of the relay.", limits.BUSY_RETRY_AFTER, "max-memory"
)

FOREIGN_ROOM: Final = Refused(
    Refusal.UNKNOWN_ROOM,
    "This relay serves one transfer only, and its code is another. Check code and address.",
)

WAIT_OVER: Final = Refused(
    Refusal.WAIT_OVER, "The other side did not come in the time that this relay allows.", limit="max-wait"
)

SPOKE_EARLY: Final = Refused(Refusal.BAD_HELLO, "Clients say nothing between hello and paired.")


async def refuse(link: Link, refused: Refused, tally: Tally, *, legacy: bool) -> None:
    """Say why, and close. A 0.1.x client sees a close code that is not 1000, and the reason in the close frame."""
    tally.refused[str(refused.code)] += 1
    events.REFUSED.log(code=str(refused.code))
    if not legacy:
        await link.send(rendezvous.encode(refused))
    await link.close(_CLOSE_CODES.get(Refusal(refused.code), _TRY_AGAIN_LATER), refused.reason)
