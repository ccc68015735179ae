"""The address of a proxy: how people write it, how it is shown, and which one the environment names for a relay.

The variables are those of curl, and what they mean is what it means there and in httpx:

1. `https_proxy` names the proxy for wss://, `http_proxy` the one for ws://, and `all_proxy` the one for both if the
   other is not set. The lower-case name comes before the upper-case one, and an empty value names no proxy.
2. `HTTP_PROXY` is not read in a CGI program, where any client can set it by a header named `Proxy`.
3. `no_proxy` lists hosts to reach directly, with commas or blanks between them. A name stands for itself and all names
   below it, with or without a dot or `*.` in front; an address for itself; a network (10.0.0.0/8) for the addresses in
   it; and `*` for all. With a port (relay.example:8765) it stands for that port only. No name is resolved for it.
4. The loopback is always reached directly.

A password never appears in what is shown.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

from p2p_copy.errors import UsageError
from p2p_copy.transport.address import ascii_host, host_and_port, ip_of, port_of
from p2p_copy.value import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from p2p_copy.transport.address import RelayAddress

DIRECT: Final = "none"
"""In place of a proxy's address: connect directly."""

_SCHEMES: Final = {
    "http": "http",
    "https": "https",
    "socks5": "socks5",
    "socks5h": "socks5",
    "socks": "socks5",
}
"""What may stand in front of `://`, and what it means. GNOME writes socks:// for what is SOCKS 5 nearly everywhere."""

_PORTS: Final = {"http": 80, "https": 443, "socks5": 1080}

_MOST: Final = 255
"""Bytes of a user or a password that SOCKS 5 can send (RFC 1929 section 2)."""

_FORM: Final = "A proxy's address looks like http://proxy.example:3128, https://… or socks5://user:password@…"


class ProxyAddress(NamedTuple):
    """Scheme, host and port of a proxy, and the login for it. The scheme is `http`, `https` or `socks5`.

    Attributes:
        variable: the environment variable that has named it; empty if it was named otherwise.

    """

    scheme: str
    host: str
    port: int
    user: str | None = None
    password: str = ""
    variable: str = ""

    def __str__(self) -> str:
        return f"{self.scheme}://{self.where}"

    def __repr__(self) -> str:
        return f"ProxyAddress({self})"  # without the login

    @property
    def where(self) -> str:
        """Host and port, as in an address."""
        return host_and_port(self.host, self.port)

    @property
    def tls(self) -> bool:
        """Whether the proxy itself is reached by TLS."""
        return self.scheme == "https"

    @property
    def source(self) -> str:
        """Where this address was written, for sentences that say what to check."""
        return f"{self.variable} in the environment" if self.variable else "`proxy`"


class NamedProxy(NamedTuple):
    """A proxy's address as it is written, and the environment variable that names it; empty for none."""

    text: str
    variable: str


def chosen_proxy(
    address: RelayAddress, given: str | None, variables: Mapping[str, str]
) -> ProxyAddress | None:
    """Return the proxy by which to reach a relay, None for none.

    Args:
        address: the relay.
        given: the proxy that the caller has named, for this relay whatever it is; `none` for no proxy; None for what
            the environment says.
        variables: the environment.

    Raises:
        UsageError: it has the wrong form.

    """
    if given is not None:
        return parse_proxy(given)
    named = named_proxy(address, variables)
    return None if named is None else parse_proxy(named.text, named.variable)


def named_proxy(address: RelayAddress, variables: Mapping[str, str], default: str = "") -> NamedProxy | None:
    """Return the proxy that the environment names for a relay, else the default; None to reach it directly."""
    if address.is_loopback or _is_listed(address, _value("no_proxy", variables).text):
        return None
    for name in ("https_proxy" if address.tls else "http_proxy", "all_proxy"):
        if (named := _value(name, variables)).text:
            return named
    return NamedProxy(default, "") if default else None


def parse_proxy(text: str, variable: str = "") -> ProxyAddress | None:
    """Return the address in `[http://][user[:password]@]host[:port]`, or https:// or socks5://; None for `none`.

    User and password may have %XX in place of a character. Blanks around the address are dropped.

    Raises:
        UsageError: the text has another form. It is not repeated, since it may have a password.

    """
    whose = f"{variable} in the environment" if variable else "`proxy`"
    text = text.strip()
    if text.lower() == DIRECT:
        return None
    if not text.isprintable() or " " in text or "\\" in text:
        raise UsageError(f"{whose} is no address of a proxy. {_FORM}, without spaces.")
    scheme, separator, rest = text.partition("://")
    if not separator:
        scheme, rest = "http", text
    login, _, place = rest.rpartition("@")
    place = place.removesuffix("/")
    if kind := _SCHEMES.get(scheme.lower()):
        try:
            port = port_of(place, "proxy", _FORM)
            host = ascii_host(urlsplit(f"//{place}").hostname or "")
        except ValueError:
            host = ""
        if host and not any(character in place + login for character in "/?#"):
            user, password = _login(login, kind, whose)
            return ProxyAddress(kind, host, port or _PORTS[kind], user, password, variable)
        raise UsageError(
            f"{whose} has a host or port of the wrong form, or a user or password with a character that must be "
            f"written as %XX: / as %2F, # as %23, ? as %3F, @ as %40. {_FORM}."
        )
    raise UsageError(f"{whose} names a kind of proxy that p2p-copy does not speak. {_FORM}.")


def _login(text: str, kind: str, whose: str) -> tuple[str | None, str]:
    """Return user and password in the part of an address before `@`; no user if it is empty.

    Raises:
        UsageError: a proxy of this kind cannot be told them.

    """
    user, _, password = text.partition(":")
    user, password = unquote(user), unquote(password)
    if not user:
        return None, ""
    if kind == "socks5" and max(len(user.encode()), len(password.encode())) > _MOST:
        raise UsageError(
            f"{whose} has a user or a password of more than the {_MOST} bytes that SOCKS 5 allows."
        )
    if kind != "socks5" and ":" in user:
        raise UsageError(f"{whose} has a user with a colon, which a login at an HTTP proxy cannot have.")
    return user, password


def _value(name: str, variables: Mapping[str, str]) -> NamedProxy:
    """Return the value of a variable, and its name as it is spelt there."""
    if name in variables:
        return NamedProxy(variables[name].strip(), name)
    upper = name.upper()
    if upper == "HTTP_PROXY" and "REQUEST_METHOD" in variables:  # CVE-2016-5385 and its kin
        return NamedProxy("", upper)
    return NamedProxy(variables.get(upper, "").strip(), upper)


def _is_listed(address: RelayAddress, listed: str) -> bool:
    """Return whether `no_proxy` with this value has the relay."""
    host = address.host.lower().rstrip(".")
    number = ip_of(host)
    for entry, port in _entries(listed):
        if entry == "*":
            return True
        if port is not None and port != address.port:
            continue
        if number is None:
            if host == entry or host.endswith(f".{entry}"):
                return True
            continue
        try:
            if number in ipaddress.ip_network(entry, strict=False):
                return True
        except ValueError:  # a name, which no address can be
            continue
    return False


def _entries(listed: str) -> Iterator[tuple[str, int | None]]:
    """Yield the entries of `no_proxy`: a host or network, without dots around it, and a port if there is one."""
    for word in listed.lower().replace(",", " ").split():
        entry, port = word, None
        head, colon, tail = word.rpartition(":")
        if colon and tail.isascii() and tail.isdecimal() and (":" not in head or head.endswith("]")):
            entry, port = head, int(tail[:6])
        entry = entry.removeprefix("[").removesuffix("]").removeprefix("*.").strip(".")
        if not entry:
            continue
        if not entry.isascii():
            try:
                entry = entry.encode("idna").decode("ascii")
            except UnicodeError:  # no host has such a name
                continue
        yield entry, port
