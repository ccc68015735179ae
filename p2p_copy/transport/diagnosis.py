"""Says in a sentence for people why there is no connection to a relay, or to the proxy on the way to it.

A user's first try often fails here, so every cause has its own error: the name, the port, TLS on one side only, the
certificate, a server that is no relay. The first bytes that came back tell these apart, not the exceptions of the TLS
library and the WebSocket library.
"""

from __future__ import annotations

import re
import socket
import ssl
from typing import TYPE_CHECKING, Final

from p2p_copy.errors import (
    CertificateNotTrusted,
    NotAProxy,
    NotARelay,
    ProxyUnreachable,
    RelayExpectsTLS,
    RelayRefused,
    RelayUnreachable,
    RelayWithoutTLS,
    SystemFailed,
    exhausted,
)
from p2p_copy.transport import limits
from p2p_copy.transport.certificate import pin_text
from p2p_copy.transport.tls import TLS_ALERT, TLS_HANDSHAKE
from p2p_copy.transport.trust import objection

if TYPE_CHECKING:
    from collections.abc import Sequence

    from p2p_copy.errors import P2PCopyError
    from p2p_copy.transport.address import RelayAddress
    from p2p_copy.transport.proxy_address import ProxyAddress

_NO_CERTIFICATE: Final = "TLSV1_ALERT_INTERNAL_ERROR"
"""What OpenSSL calls the alert of a relay that has no certificate (`relay.entry.tls.no_certificate`)."""

_HTTP_STATUS: Final = re.compile(rb"HTTP/1\.[01] (\d{3})")
_MENTIONS_TLS: Final = re.compile(rb"https|tls|ssl", re.IGNORECASE)
_LOCATION: Final = re.compile(rb"\r?\nlocation:[ \t]*([^\r\n]*)", re.IGNORECASE)
_ROOM_PATH: Final = re.compile("/v1/[0-9a-f]{64}")
_END_OF_HEAD: Final = re.compile(rb"\r?\n\r?\n")

_REQUEST_WAS_CHANGED: Final = re.compile(
    rb"This is a p2p-copy relay|This relay speaks WebSocket|says Upgrade, but not|begins with GET and HTTP/1\.1"
)
"""A relay gives these answers to a request of ours only if a proxy has changed it; see `relay.entry.http_upgrade`."""


def not_connected(address: RelayAddress, error: OSError) -> RelayUnreachable | SystemFailed:
    """Return the error for a TCP connection that was not opened."""
    if failed := _exhausted(error):
        return failed
    causes = causes_of(error)
    if isinstance(error, socket.gaierror):
        return RelayUnreachable(
            f"The name {address.host} cannot be resolved. Check the relay's address, and whether this machine "
            "has a network."
        )
    if all(isinstance(each, ConnectionRefusedError) for each in causes):
        return RelayUnreachable(
            f"{address.where} refuses connections. Check host and port, and whether the relay runs."
        )
    if all(isinstance(each, TimeoutError) for each in causes):
        return timed_out(address)
    return RelayUnreachable(f"{address.where} cannot be reached: {reasons(causes)}.")


def proxy_not_connected(proxy: ProxyAddress, error: OSError) -> ProxyUnreachable | SystemFailed:
    """Return the error for a TCP connection to a proxy that was not opened."""
    if failed := _exhausted(error):
        return failed
    causes = causes_of(error)
    if all(isinstance(each, TimeoutError) for each in causes):
        return proxy_timed_out(proxy)
    if isinstance(error, socket.gaierror):
        what = "cannot be found: its name cannot be resolved"
    elif all(isinstance(each, ConnectionRefusedError) for each in causes):
        what = "refuses connections"
    else:
        what = f"cannot be reached: {reasons(causes)}"
    return ProxyUnreachable(f"The proxy {proxy} {what}. Check {proxy.source}, and whether the proxy runs.")


def causes_of(error: OSError) -> Sequence[BaseException]:
    """Return what became of each address of a host that was tried."""
    group = error.__cause__
    return group.exceptions if isinstance(group, ExceptionGroup) else (error,)


def _exhausted(error: OSError) -> SystemFailed | None:
    found = (exhausted(each, transient=True) for each in causes_of(error))
    return next((failed for failed in found if failed is not None), None)


def reasons(causes: Sequence[BaseException]) -> str:
    """Return what the system says of failed connections, each thing once; trio puts the address in front of it."""
    texts = (
        each.strerror.rpartition("): ")[2] for each in causes if isinstance(each, OSError) and each.strerror
    )
    return "; ".join(dict.fromkeys(texts)) or "no connection"


def proxy_timed_out(proxy: ProxyAddress) -> ProxyUnreachable:
    """Return the error for a proxy from which nothing came back."""
    return ProxyUnreachable(
        f"The proxy {proxy} does not answer. Check {proxy.source}, and whether this machine is in the proxy's network."
    )


def proxy_silent_to_tls(proxy: ProxyAddress) -> ProxyUnreachable:
    """Return the error for a proxy that took a TLS greeting, and from which nothing came back."""
    return ProxyUnreachable(  # an HTTP proxy waits for the end of what it takes for a request
        f"The proxy {proxy} accepts connections, but does not begin TLS. Check {proxy.source}: host and port, and "
        "whether it is http:// or socks5://."
    )


def proxy_has_not_connected(proxy: ProxyAddress, address: RelayAddress) -> RelayUnreachable:
    """Return the error for a proxy that was asked for a connection to the relay, and has not answered."""
    return RelayUnreachable(
        f"The proxy {proxy} did not connect to {address.where} within {limits.CONNECT_TIMEOUT:.0f} s. Check the "
        f"relay's address and whether it runs; or {proxy.source} names no proxy of that kind."
    )


def proxy_without_tls(proxy: ProxyAddress, first: bytes, cause: BaseException | None) -> P2PCopyError:
    """Return the error for a failed TLS handshake with a proxy; for the arguments see `no_tls`."""
    if isinstance(cause, ssl.SSLCertVerificationError):
        return CertificateNotTrusted(f"The certificate of the proxy {proxy} {objection(cause)}")
    if not first:
        return ProxyUnreachable(
            f"The proxy {proxy} closed the connection when TLS began. Check {proxy.source}."
        )
    if first[0] not in (TLS_ALERT, TLS_HANDSHAKE):
        return NotAProxy(
            f"The proxy {proxy} does not speak TLS. Use http:// instead of https:// in {proxy.source}, or check the "
            "port."
        )
    return ProxyUnreachable(f"This side and the proxy {proxy} cannot agree on TLS ({_reason(cause)}).")


def _reason(cause: BaseException | None) -> str:
    reason = (cause.reason if isinstance(cause, ssl.SSLError) else None) or "unknown"
    return reason.lower().replace("_", " ")


def timed_out(address: RelayAddress) -> RelayUnreachable:
    """Return the error for a connection on which nothing came back, which is what a firewall causes."""
    return RelayUnreachable(
        f"{address.where} does not answer. Check host and port, and whether a firewall lets you reach it."
    )


def no_tls(address: RelayAddress, first: bytes, cause: BaseException | None) -> P2PCopyError:
    """Return the error for a failed TLS handshake, given the first bytes that came back and OpenSSL's error."""
    if isinstance(cause, ssl.SSLCertVerificationError):
        return CertificateNotTrusted(f"The certificate of {address.where} {objection(cause)}")
    if not first:
        return RelayUnreachable(
            f"{address.where} closed the connection when TLS began. It may be too busy: try again in a minute. Or "
            "it does not speak TLS: then use ws:// instead of wss://."
        )
    if first[0] not in (TLS_ALERT, TLS_HANDSHAKE):
        return RelayWithoutTLS(
            f"{address.where} does not speak TLS. Use ws:// instead of wss://, or check the port."
        )
    if isinstance(cause, ssl.SSLError) and cause.reason == _NO_CERTIFICATE:
        return RelayUnreachable(
            f"The relay has no certificate yet: {address.where} is about to get one. Try again in a minute. If that "
            "does not help, the relay's log says why (TLS alert 80)."
        )
    return RelayUnreachable(f"This side and {address.where} cannot agree on TLS ({_reason(cause)}).")


def unknown_issuer(address: RelayAddress, issuer: str) -> CertificateNotTrusted:
    """Return the error for a certificate of an authority that is not known here, by the name that the authority has."""
    return CertificateNotTrusted(
        f"The certificate of {address.where} was issued by '{issuer}', an authority that is not known here. If that is "
        "the relay's own, name it with `ca_file`. If it is your network's, the network decrypts TLS: get that "
        "authority for `ca_file` from its administrators."
    )


def other_key(address: RelayAddress, found: bytes) -> CertificateNotTrusted:
    """Return the error for a relay with another key than the pinned one, given by its pin; empty if it has none."""
    shown = pin_text(found) if found else "one that cannot be read"
    return CertificateNotTrusted(
        f"The key of {address.where} is not the one that `pin` names but {shown}. If its operator has "
        "not changed the key, something answers in the relay's place: a network that decrypts TLS, or an attacker."
    )


def no_websocket(address: RelayAddress, first: bytes) -> P2PCopyError:
    """Return the error for a connection that became no WebSocket, given the first bytes that came back."""
    status = _HTTP_STATUS.match(first)
    number = int(status[1]) if status else 0
    plain_on_tls = number == 400 and _MENTIONS_TLS.search(first) is not None
    if not address.tls and (plain_on_tls or first[:2] == bytes((TLS_ALERT, 3))):
        return RelayExpectsTLS(f"{address.where} speaks TLS. Use wss:// instead of ws://.")
    if number == 429:
        return RelayRefused(
            f"{address.where} has too many connections from your network already. Try again in a minute.",
            transient=True,
        )
    if number == 426 or _REQUEST_WAS_CHANGED.search(first):
        error = RelayUnreachable if _REQUEST_WAS_CHANGED.search(first) else NotARelay
        return error(
            f"What answers at {address.where} misses the request for a WebSocket (HTTP status {number}): a proxy in "
            "between does not pass it on. It must speak HTTP/1.1 to the relay, with the headers Upgrade and Connection."
        )
    if number in (502, 503, 504):
        return RelayUnreachable(
            f"A server answers at {address.where}, but the relay behind it does not (HTTP status {number})."
        )
    if number >= 500:
        return RelayUnreachable(
            f"The server at {address.where} has a fault of its own (HTTP status {number}). Try again later, or "
            "tell its operator."
        )
    if number in (401, 407):
        whose = "The server" if number == 401 else "A proxy of the network"
        return NotARelay(
            f"{whose} at {address.where} wants a login first (HTTP status {number}), which p2p-copy cannot give. Its "
            "operator can let the relay's path pass without one."
        )
    if 300 <= number < 400:
        target = _redirect(first)
        to = f" to '{target}'" if target else ""
        return NotARelay(
            f"{address.where} redirects{to} (HTTP status {number}), and p2p-copy does not follow. If the relay "
            "is there, give that address, with wss:// for https://. If not, a network may want a login in a "
            "browser first."
        )
    if number == 101:
        return NotARelay(f"{address.where} speaks WebSocket wrongly. Check host, port and path.")
    if number:
        return NotARelay(
            f"{address.where} answers with HTTP status {number}, so it is a web server and no p2p-copy relay. "
            "Check host, port and path."
        )
    if first:
        return NotARelay(f"{address.where} is no p2p-copy relay and no web server. Check host and port.")
    or_tls = "" if address.tls else " Or it speaks TLS: then use wss:// instead of ws://."
    return RelayUnreachable(
        f"{address.where} closed the connection without an answer. It may be too busy: try again in a minute.{or_tls}"
    )


def _redirect(first: bytes) -> str:
    """Return where a redirect leads, in printable characters and without a room; empty if it does not say."""
    location = _LOCATION.search(_END_OF_HEAD.split(first, 1)[0])
    if location is None:
        return ""
    target = _ROOM_PATH.sub("", location[1].decode("ascii", "replace"))
    target = "".join(letter if letter.isascii() and letter.isprintable() else "?" for letter in target)
    return target if len(target) <= limits.REDIRECT_SHOWN else f"{target[: limits.REDIRECT_SHOWN]}..."
