"""What a relay's welcome means for us: which of its terms bind, in one line; and when a token may be said."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from p2p_copy.units import amount, duration

if TYPE_CHECKING:
    from p2p_copy.protocol.rendezvous import Welcome
    from p2p_copy.transport.address import RelayAddress


def binding(welcome: Welcome, wait: float) -> str | None:
    """Return a sentence with the terms that bind a client which waits for `wait` seconds; None if there are none."""
    terms = []
    if welcome.rate is not None:
        terms.append(f"{amount(welcome.rate)}/s at most")
    if welcome.quota is not None:
        terms.append(f"{amount(welcome.quota)} more with this token")
    if welcome.wait < wait:
        terms.append(f"waiting for {duration(welcome.wait)} at most")
    return f"The relay allows: {', '.join(terms)}." if terms else None


def may_tell_token(address: RelayAddress) -> bool:
    """Tell whether an access token can be said to a relay without the network between reading it."""
    if address.tls or address.host == "localhost":
        return True
    try:
        return ipaddress.ip_address(address.host).is_loopback
    except ValueError:
        return False
