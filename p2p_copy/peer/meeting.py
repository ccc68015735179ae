"""The values of a meeting: what the caller chose, and the room and the secret with which both sides meet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from p2p_copy.protocol import limits as protocol_limits
from p2p_copy.protocol.code import Code
from p2p_copy.value import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from typing import Self

    from p2p_copy.observer import Observer
    from p2p_copy.options import RelayAccess
    from p2p_copy.protocol.rendezvous import Role
    from p2p_copy.transport.pacer import Pacer


class ConnectOptions(NamedTuple):
    """How to reach the other side: what a caller has chosen.

    Attributes:
        role: which side this is.
        relays: the relays, at least one, and the token that each may want.
        code: None if this process knows only a ticket.
        wait: seconds to wait for the other side the first time.
        observer: is told of each step.
        links: how many links the transfer is to have; None for as many as make it faster.
        on_room: is called with each room in which both sides may meet, before the other side can know of it.
        pacer: keeps what a sender sends, or a receiver receives, to a rate; None for a receiver without a limit.
        verifies: this side's user is asked to compare words with the other one before anything is transferred.
        reports: the relay is asked to say what holds the transfer up.

    """

    role: Role
    relays: Sequence[RelayAccess]
    code: Code | None
    wait: float
    observer: Observer
    links: int | None = None
    on_room: Callable[[str], None] | None = None
    pacer: Pacer | None = None
    verifies: bool = False
    reports: bool = True

    def checked(self) -> Self:
        """Return these options unchanged.

        Raises:
            ValueError, TypeError: a field has a value that it may not have.

        """
        if self.code is not None and not isinstance(self.code, Code):
            raise TypeError("a code is a p2p_copy.Code, made of its room and its secret")
        if self.links is not None and not 1 <= self.links <= protocol_limits.MAX_LINKS:
            raise ValueError(f"the number of links is from 1 to {protocol_limits.MAX_LINKS}, or None")
        return self


class Meeting(NamedTuple):
    """Where to meet the other side once, and by what each side knows the other.

    Attributes:
        room: the relay's room.
        secret: what both sides prove to have. With None this side only tells the other side that the code is used up.
        claim: the token by which the relay recognises this client's next connection.
        tickets: the tickets of earlier meetings; the other side may have them, too.
        before_proof: is called before this side sends anything by which a guess can be checked, and after a wrong
            guess.

    """

    room: str
    secret: str | None
    claim: str
    tickets: tuple[bytes, ...] = ()
    before_proof: Callable[[], Awaitable[None]] | None = None

    async def risk(self) -> None:
        """Record that from now on another client may have tried one guess at the secret."""
        if self.before_proof is not None:
            await self.before_proof()
