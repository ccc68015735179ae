"""What both clients are made with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from p2p_copy.api.work import ClientSettings

if TYPE_CHECKING:
    from os import PathLike

    from p2p_copy.api.work import Relays


class BaseClient:
    """How to reach the relays, and where transfers are saved."""

    def __init__(
        self,
        relay: Relays | None = None,
        *,
        token: str | None = None,
        ca_file: str | PathLike[str] | None = None,
        pin: str | None = None,
        proxy: str | None = None,
        state_dir: str | PathLike[str] | None = None,
    ) -> None:
        """Remember how to reach the relays; nothing is opened yet.

        Args:
            relay: the address, ws:// or wss://; or several, of which both sides must have one in common that works.
                One that differs from the others in what follows is a `RelayAccess`, to which nothing of that applies.
                None for a client that only lists, resumes and forgets saved transfers: each is resumed through the
                relays with which it was begun.
            token: access token, for relays that want one. Each relay in the list is told it.
            ca_file: PEM file with certificates to trust besides the system's.
            pin: SHA-256 of the relay's public key, `sha256//` and base64: that key is trusted, and no other
                one, without regard to who issued its certificate. A `ws://` relay has none.
            proxy: address of a proxy on the way to the relay: `http://user:password@host:port`, `https://…` or
                `socks5://…`; "none" for a direct connection. With None the environment decides, as in httpx:
                `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY`; the loopback is reached directly then.
            state_dir: where transfers are saved, so that another process can resume them; None to save none. It is made
                when it is needed, private to this user.

        Raises:
            TypeError: `ca_file` or `state_dir` is no path, or `proxy` no text.
            UsageError: `relay` is no address of a relay, or there are too many, `proxy` is none of a proxy, or `pin` no
                digest, or the relay is reached without TLS, so that a `pin` would have no effect.

        """
        self._settings = ClientSettings(relay, token, ca_file, pin, proxy, state_dir)
