"""Turns exceptions of links into errors for people: which side ended the connection, and why."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import anyio

from p2p_copy.errors import P2PCopyError, PeerLost, RelayLost, RelayRefused, exhausted, leaves
from p2p_copy.protocol.rendezvous import CloseCode
from p2p_copy.transport.link import LINK_ERRORS, POLITE, LinkBroken

if TYPE_CHECKING:
    from collections.abc import Iterator

STOPPING: Final = "The relay is being stopped or restarted."


@contextmanager
def plain_errors() -> Iterator[None]:
    """Raise one P2PCopyError in place of the groups and link errors that the body raises."""
    try:
        yield
    except BaseExceptionGroup as group:
        causes = leaves(group)
        for cause in causes:
            if isinstance(cause, P2PCopyError):
                raise cause from cause.__cause__
        for cause in causes:
            if failed := exhausted(cause):
                raise failed from cause
        for cause in causes:
            if isinstance(cause, LINK_ERRORS):
                raise lost(cause) from cause
        raise
    except (OSError, MemoryError, RuntimeError) as error:
        if failed := exhausted(error):
            raise failed from error
        raise
    except LINK_ERRORS as error:
        raise lost(error) from error


def lost(error: anyio.EndOfStream | LinkBroken) -> P2PCopyError:
    """Return an error that says who ended the link, as far as its close code tells."""
    if isinstance(error, anyio.EndOfStream) or error.close_code in POLITE:
        return PeerLost("The other side ended the connection before the transfer was complete.")
    match error.close_code:
        case CloseCode.PEER_LOST:
            return PeerLost()
        case CloseCode.QUOTA_USED:
            return RelayRefused(
                "The relay ended the transfer: the quota of an access token, of this side or the other, is used up."
            )
        case CloseCode.DISMISSED:
            return RelayRefused("The relay's operator ended the transfer.")
        case CloseCode.STOPPING:
            return RelayLost(STOPPING)
        case CloseCode.MEMORY_NEEDED:
            return RelayLost(
                "The relay ended the transfer: it stood still, and the relay needed the memory that it took."
            )
        case _:
            return RelayLost()
