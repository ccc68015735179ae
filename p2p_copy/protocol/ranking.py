"""The order in which both sides try several relays: by a hash of the room and the relay's address.

So the two sides come to the same relay first, however each has listed them, and different rooms to different relays
(rendezvous hashing: Thaler and Ravishankar, IEEE/ACM Transactions on Networking 6, 1998).
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def ranked(room: str, addresses: Iterable[str]) -> list[str]:
    """Return the addresses of relays, each in its canonical form, in the order in which to try them for a room."""
    return sorted(addresses, key=lambda address: _rank(room, address))


def _rank(room: str, address: str) -> bytes:
    return hashlib.sha256(f"p2p-copy/1 relay{room}{address}".encode()).digest()
