"""Decides which web pages may open a WebSocket here, by the `Origin` that a browser sends and a page cannot forge.

The relay's own page is known by the `Host` of the same request: no list has to be kept, and a proxy in front only has
to pass `Host` on. Two forms of an origin are believed in that way, those that browsers let use cryptography:

1. `https://` and the request's `Host`. A name that somebody points to this machine to get around the rule (DNS
   rebinding) does not pass: the browser wants a certificate for that name.
2. `http://` and the request's `Host`, if that is this machine itself: `localhost`, 127.0.0.0/8 or [::1].

The operator may name further origins (RFC 6454 section 6.2).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from p2p_copy.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

FROM_DISK: Final = "null"
"""What browsers say of a page that was opened from a disk. Any site can get it as well, by a frame in a sandbox."""

_ORIGIN: Final = re.compile(r"https?://(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?", re.ASCII)

_THIS_MACHINE: Final = re.compile(
    r"(?:localhost|127\.[0-9]+\.[0-9]+\.[0-9]+|\[::1\])(?::[0-9]{1,5})?", re.ASCII
)


class Origins:
    """The origins of web pages that may use a relay."""

    def __init__(self, named: Iterable[str] = (), *, own: bool = False) -> None:
        """Allow the `named` ones, and with `own` that of the relay itself. Without either there is none.

        Raises:
            UsageError: one of them is no origin.

        """
        self._named = frozenset(_parsed(origin) for origin in named)
        self._own = own

    def allow(self, origins: Sequence[bytes], hosts: Sequence[bytes]) -> bool:
        """Tell whether a page may have sent these values of `Origin` and `Host`. Browsers send one of each."""
        if len(origins) != 1 or len(hosts) != 1 or not (origins[0].isascii() and hosts[0].isascii()):
            return False
        origin, host = origins[0].decode().lower(), hosts[0].decode().lower()
        return origin in self._named or (self._own and host != "" and origin in _own(host))


def _own(host: str) -> tuple[str, ...]:
    """Return the origins of a page of this relay, which browsers write without the scheme's own port."""
    secure = f"https://{host.removesuffix(':443')}"
    return (secure, f"http://{host.removesuffix(':80')}") if _THIS_MACHINE.fullmatch(host) else (secure,)


def _parsed(text: str) -> str:
    origin = text.strip().lower()
    if origin == FROM_DISK:
        return origin
    if not _ORIGIN.fullmatch(origin):
        raise UsageError(
            f"{text!r} is no origin of a web page. It looks like https://files.example or https://files.example:8443, "
            "without a path; or it is null, for a page that is opened from a disk."
        )
    port = ":443" if origin.startswith("https:") else ":80"
    return origin.removesuffix(port)
