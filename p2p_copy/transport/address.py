"""The address of a relay: how people write it, and how it is shown."""

from __future__ import annotations

import ipaddress
import re
from contextlib import suppress
from typing import Final
from urllib.parse import urlsplit

from p2p_copy.errors import UsageError
from p2p_copy.transport import limits
from p2p_copy.value import NamedTuple

_HOST: Final = re.compile(r"[A-Za-z0-9._:%~-]*")

_LONGEST_HOST: Final = 253
"""Characters of the longest name that DNS can have (RFC 1035 section 2.3.4), which is as DNS writes it in 255 bytes."""

_LONGEST_LABEL: Final = 63
"""Characters between two dots of such a name, at most (the same section)."""

_FORM: Final = "A relay's address looks like wss://relay.example or ws://localhost:8765"


class RelayAddress(NamedTuple):
    """Scheme, host, port and path of a relay. `prefix` is empty, or a path that begins but does not end with `/`."""

    tls: bool
    host: str
    port: int
    prefix: str = ""

    def __str__(self) -> str:
        return f"{'wss' if self.tls else 'ws'}://{self.where}{self.prefix}"

    @property
    def where(self) -> str:
        """Host and port, as in an address."""
        return host_and_port(self.host, self.port)

    @property
    def canonical(self) -> str:
        """The address in the one form that all its spellings have: for comparing and hashing, not for people."""
        host = self.host.lower().removesuffix(".")
        with suppress(ValueError):  # it is a name
            host = str(ipaddress.ip_address(host))
        return str(self._replace(host=host))

    @property
    def is_loopback(self) -> bool:
        """Whether it is on this machine, by its name or number."""
        number = ip_of(self.host)
        return self.host.lower().rstrip(".") == "localhost" if number is None else number.is_loopback

    def keeps_secrets(self, *, proxied: bool) -> bool:
        """Tell whether the network cannot read what is sent to it: over TLS, or on this machine.

        The loopback of a proxy is another machine's, maybe.
        """
        return self.tls or (self.is_loopback and not proxied)

    @property
    def host_header(self) -> str:
        """The value of the `Host` header: without the port if it is the scheme's own."""
        return self.where.removesuffix(":443" if self.tls else ":80")


def parse_address(text: str) -> RelayAddress:
    """Return the address in `ws://host[:port][/prefix]` or `wss://…`. Blanks around it are dropped.

    Raises:
        UsageError: the text has another form. It is not repeated: it may be a code in the wrong place.

    """
    text = text.strip()
    if not text.isprintable() or any(character in text for character in " ?#@\\"):
        raise UsageError(f"{_FORM}, without spaces, passwords or parameters.")
    try:
        parts = urlsplit(text)
        port = port_of(parts.netloc, "relay", _FORM)
        host = ascii_host(parts.hostname or "")
        parts.path.encode("ascii")
    except ValueError:
        raise UsageError(
            f"The relay's address has a host, port or path of the wrong form. {_FORM}."
        ) from None
    if parts.scheme in ("http", "https"):
        raise UsageError(
            "A relay's address begins with ws:// where a web page's begins with http://, wss:// for https://."
        )
    if parts.scheme not in ("ws", "wss") or not host:
        raise UsageError(f"{_FORM}.")
    tls = parts.scheme == "wss"
    return RelayAddress(tls, host, port or (443 if tls else 80), parts.path.rstrip("/"))


def ascii_host(host: str) -> str:
    """Return a host as it stands in requests: a name in its ASCII form, or an address without brackets.

    Raises:
        ValueError: it cannot be one.

    """
    name = host if host.isascii() else host.encode("idna").decode("ascii")  # the codec is slow to load
    labels = name.removesuffix(".").split(".")
    if len(name.removesuffix(".")) > _LONGEST_HOST or max(map(len, labels)) > _LONGEST_LABEL:
        raise ValueError("too long for the name of a host")
    if len(labels) > 1 and "" in labels:
        raise ValueError("no name of a host")
    if not _HOST.fullmatch(name):  # some letters become blanks or slashes
        raise ValueError("no name of a host")
    return name


def ip_of(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return the address that a host is; None for a name. An IPv4 address in an IPv6 one is the former."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def host_and_port(host: str, port: int) -> str:
    """Return host and port as they stand in an address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def port_of(netloc: str, whose: str, form: str) -> int | None:
    """Return the port in the part of an address between `//` and `/`; None if there is none.

    Raises:
        UsageError: TCP has no such port, or this is a part of an IPv6 address without brackets. The sentence says
            `whose` address it is, and ends with its `form`.

    """
    host, colon, port = netloc.rpartition(":")
    if not colon or netloc.endswith("]") or not port:
        return None
    if ":" in host and not host.startswith("["):
        raise UsageError(f"An IPv6 address stands in brackets in the {whose}'s address: [2001:db8::1]:443.")
    if not (port.isascii() and port.isdecimal() and len(port) <= 5 and 1 <= int(port) <= limits.MAX_PORT):
        raise UsageError(
            f"The port in the {whose}'s address is a number from 1 to {limits.MAX_PORT}. {form}."
        )
    return int(port)
