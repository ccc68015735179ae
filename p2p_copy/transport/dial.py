"""From a relay's address to an open stream, TCP and TLS; and a plain sentence where that fails.

What goes wrong here goes wrong on the user's first try, so every cause has its own error: the name, the port,
TLS on one side only, the certificate, something else that answers. The first bytes that come back tell them apart,
whatever the TLS library makes of them.
"""

from __future__ import annotations

import contextlib
import math
import re
import socket
import ssl
import struct
import sys
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import trio

from p2p_copy.errors import (
    CertificateNotTrusted,
    NotARelay,
    RelayExpectsTLS,
    RelayRefused,
    RelayUnreachable,
    RelayWithoutTLS,
    SystemFailed,
    UsageError,
    exhausted,
)
from p2p_copy.transport import limits
from p2p_copy.transport.monitored import LinkStream, MonitoredStream
from p2p_copy.transport.tcp import TCPStream
from p2p_copy.transport.timeouts import within
from p2p_copy.transport.tls import UNKNOWN_ISSUER, VERIFY_FLAGS, TLSStream

if TYPE_CHECKING:
    from p2p_copy.errors import P2PCopyError

_FORM: Final = "A relay's address looks like wss://relay.example or ws://localhost:8765"
_HTTP_STATUS: Final = re.compile(rb"HTTP/1\.[01] (\d{3})")
_NAMES_TLS: Final = re.compile(rb"https|tls|ssl", re.IGNORECASE)
_LOCATION: Final = re.compile(rb"\r?\nlocation:[ \t]*([^\r\n]*)", re.IGNORECASE)
_ROOM_PATH: Final = re.compile("/v1/[0-9a-f]{64}")
_END_OF_HEAD: Final = re.compile(rb"\r?\n\r?\n")

_RELAY_MISSES: Final = re.compile(
    rb"This is a p2p-copy relay|This relay speaks WebSocket|says Upgrade, but not|begins with GET and HTTP/1\.1"
)
"""What a relay answers to a request of ours only if somebody on the way has changed it: see `relay.greeting`."""

_TCP_INFO: Final = struct.Struct("Bx2B52xI")
"""Of Linux' struct tcp_info: state, retransmissions and probes in a row, milliseconds since the last ACK."""

_TCP_INFO_BYTES: Final = struct.Struct("120xQ16xI")
"""Of the same, since Linux 4.6: bytes that were acknowledged, and bytes that were never sent yet."""

_TCP_CLOSE: Final = 7
"""State of a connection that was reset (Linux' net/tcp_states.h); what came before may be there to be read."""

TLS_ALERT: Final = 0x15
TLS_HANDSHAKE: Final = 0x16
"""First bytes of TLS records (RFC 8446 section 5.1); no HTTP message begins with them."""


@dataclass(frozen=True, slots=True)
class RelayAddress:
    """Where a relay is. `prefix` is empty or a path that begins with `/` and does not end with it."""

    tls: bool
    host: str
    port: int
    prefix: str = ""

    def __str__(self) -> str:
        return f"{'wss' if self.tls else 'ws'}://{self.where}{self.prefix}"

    @property
    def where(self) -> str:
        """Host and port, as in an address."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def host_header(self) -> str:
        """What HTTP calls the host: without the port if that is the scheme's own."""
        return self.where.removesuffix(":443" if self.tls else ":80")


def parse_address(text: str) -> RelayAddress:
    """Return the address of a relay from `ws://host[:port][/prefix]` or `wss://…`; blanks around it are dropped.

    Raises:
        UsageError: it has another form. The text is not repeated: it may be a code in the wrong place.

    """
    text = text.strip()
    if not text.isprintable() or any(character in text for character in " ?#@\\"):
        raise UsageError(f"{_FORM}, without spaces, passwords or parameters.")
    try:
        parts = urlsplit(text)
        port = _port(parts.netloc)
        host = (parts.hostname or "").encode("idna").decode("ascii")
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


def _port(netloc: str) -> int | None:
    """Return the port of what stands between `//` and `/`, None if there is none.

    Raises:
        UsageError: it is none that TCP has, or part of an IPv6 address without brackets.

    """
    host, colon, port = netloc.rpartition(":")
    if not colon or netloc.endswith("]") or not port:
        return None
    if ":" in host and not host.startswith("["):
        raise UsageError(
            "An IPv6 address stands in brackets in the relay's address: wss://[2001:db8::1]:443."
        )
    if not (port.isascii() and port.isdecimal() and len(port) <= 5 and 1 <= int(port) <= limits.MAX_PORT):
        raise UsageError(f"The port in the relay's address is a number from 1 to {limits.MAX_PORT}. {_FORM}.")
    return int(port)


def tune(stream: TCPStream) -> None:
    """Let the kernel find out that the other end is gone, where it can."""
    idle, interval, count = limits.TCP_KEEPALIVE
    options = [
        (socket.SOL_SOCKET, "SO_KEEPALIVE", 1),
        (socket.IPPROTO_TCP, "TCP_KEEPIDLE", idle),
        (socket.IPPROTO_TCP, "TCP_KEEPINTVL", interval),
        (socket.IPPROTO_TCP, "TCP_KEEPCNT", count),
        (socket.IPPROTO_TCP, "TCP_USER_TIMEOUT", int(limits.TCP_USER_TIMEOUT * 1000)),
    ]
    for level, name, value in options:
        if hasattr(socket, name):
            with contextlib.suppress(OSError):  # the connection may be gone already; its next use says so
                stream.socket.setsockopt(level, getattr(socket, name), value)


def owed_for(stream: TCPStream) -> float:
    """Return the seconds for which the machine at the other end has owed us a sign of life; 0 if it owes none.

    It owes one while our kernel repeats a packet, or asks whether the window is open again. A closed window is
    answered for. So this tells a machine that has vanished from a program or a disk that stalls, which
    `limits.TCP_USER_TIMEOUT` has patience with. Infinite after a reset. Only Linux can tell; elsewhere it is 0.
    """
    return unanswered(_tcp_info(stream, _TCP_INFO.size))


def taken_by(stream: TCPStream) -> tuple[int, bool]:
    """Return how many bytes the machine at the other end has acknowledged, and whether more wait in our kernel.

    Only Linux can tell; elsewhere it is none, and nothing waits.
    """
    info = _tcp_info(stream, _TCP_INFO_BYTES.size)
    if len(info) < _TCP_INFO_BYTES.size:
        return 0, False
    taken, unsent = _TCP_INFO_BYTES.unpack_from(info)
    return taken, unsent > 0


def _tcp_info(stream: TCPStream, size: int) -> bytes:
    """Return so many bytes of Linux' struct tcp_info, or as many as there are; none elsewhere."""
    if sys.platform != "linux":
        return b""
    try:
        info: object = stream.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, size)
    except OSError:  # a unix socket, or closed
        return b""
    return info if isinstance(info, bytes) else b""


def unanswered(info: bytes) -> float:
    """Return what `owed_for` does, from Linux' struct tcp_info."""
    if len(info) < _TCP_INFO.size:
        return 0.0
    state, repeated, probes, silent = _TCP_INFO.unpack_from(info)
    if state == _TCP_CLOSE:
        return math.inf
    return silent / 1000 if max(repeated, probes) >= limits.TCP_UNANSWERED else 0.0


async def dial(address: RelayAddress, ca_file: str | None) -> LinkStream:
    """Open TCP, and TLS if the address says so. The deadline is the caller's.

    Raises:
        UsageError: `ca_file`, or the file in SSLKEYLOGFILE, cannot be used.
        SystemFailed: this process can open no more files.
        RelayUnreachable, CertificateNotTrusted, RelayWithoutTLS: no connection.

    """
    context = await _context(ca_file) if address.tls else None
    try:
        with within(limits.DIAL_TIMEOUT) as deadline:
            plain = TCPStream(await trio.open_tcp_stream(address.host, address.port))
    except OSError as error:
        raise _not_connected(address, error) from None
    if deadline.is_over:
        raise timed_out(address)
    tune(plain)
    if context is None:
        return _watched(LinkStream(plain, remember=limits.HTTP_PEEK), plain)
    below = MonitoredStream(plain, remember=limits.HTTP_PEEK)
    secure = TLSStream(below, context, server_hostname=address.host)
    try:
        await secure.handshake()
    except BaseException as error:
        await trio.aclose_forcefully(plain)
        if isinstance(error, trio.BrokenResourceError):
            raise _no_tls(address, below.first, error.__cause__) from None
        raise
    return _watched(LinkStream(secure, remember=limits.HTTP_PEEK), plain)


def _watched(held: LinkStream, plain: TCPStream) -> LinkStream:
    held.owed, held.taken = partial(owed_for, plain), partial(taken_by, plain)
    return held


async def _context(ca_file: str | None) -> ssl.SSLContext:
    """Return what knows the authorities to trust. Reading them takes milliseconds, and without end if a disk is gone.

    Raises:
        UsageError: `ca_file`, or the file in SSLKEYLOGFILE, cannot be used.
        RelayUnreachable: the disk does not answer, which may pass.

    """
    with within(limits.FILE_TIMEOUT):
        return await trio.to_thread.run_sync(_client_context, ca_file, abandon_on_cancel=True)
    raise RelayUnreachable(
        f"The certificates to trust here (the system's, and --ca-file) could not be read in {limits.FILE_TIMEOUT:.0f} "
        "s: the disk or network mount does not answer."
    )


def _client_context(ca_file: str | None) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context()
    except OSError as error:  # the only file that it opens, for whoever looks into TLS
        raise UsageError(
            f"The file that SSLKEYLOGFILE names cannot be written: {error.strerror}. Unset that variable, or name "
            "another file."
        ) from None
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.verify_flags |= VERIFY_FLAGS
    context.set_alpn_protocols(["http/1.1"])
    if ca_file is not None:
        try:
            context.load_verify_locations(cafile=ca_file)
        except ssl.SSLError:
            raise UsageError("The file given with --ca-file holds no certificates in PEM form.") from None
        except OSError as error:
            raise UsageError(f"The file given with --ca-file cannot be read: {error.strerror}.") from None
    return context


def _not_connected(address: RelayAddress, error: OSError) -> RelayUnreachable | SystemFailed:
    group = error.__cause__
    errors = group.exceptions if isinstance(group, ExceptionGroup) else (error,)
    for each in errors:
        if failed := exhausted(each, passes=True):
            return failed
    if isinstance(error, socket.gaierror):
        return RelayUnreachable(
            f"The name {address.host} cannot be resolved. Check the relay's address, and whether this machine "
            "has a network."
        )
    if all(isinstance(each, ConnectionRefusedError) for each in errors):
        return RelayUnreachable(
            f"{address.where} refuses connections. Check host and port, and whether the relay runs."
        )
    if all(isinstance(each, TimeoutError) for each in errors):
        return timed_out(address)
    causes = "; ".join(
        dict.fromkeys(each.strerror for each in errors if isinstance(each, OSError) and each.strerror)
    )
    return RelayUnreachable(f"{address.where} cannot be reached: {causes or 'no connection'}.")


def timed_out(address: RelayAddress) -> RelayUnreachable:
    """Say that nothing came back, which is what a firewall does."""
    return RelayUnreachable(
        f"{address.where} does not answer. Check host and port, and whether a firewall lets you reach it."
    )


_VERDICTS: Final = {
    9: "is not valid yet. Check the clock of this machine.",
    10: "has expired. Its operator must renew it; or the clock of this machine is wrong.",
    18: "is self-signed. If that is meant to be so, name it with --ca-file.",
    62: "is for another host name. Check the address.",
    64: "is for another address. Use the relay's name in place of its number.",
}
"""By OpenSSL's X509_V_ERR numbers."""

_UNKNOWN_ISSUER: Final = (
    "was issued by an authority that is not known here. If it is the right one, name it with --ca-file."
)


def _no_tls(address: RelayAddress, first: bytes, cause: BaseException | None) -> P2PCopyError:
    if isinstance(cause, ssl.SSLCertVerificationError):
        verdict = _VERDICTS.get(cause.verify_code)
        if verdict is None and cause.verify_code in UNKNOWN_ISSUER:
            verdict = _UNKNOWN_ISSUER
        if verdict is None:  # a text of OpenSSL's own, not the other side's
            verdict = (
                f"is not accepted: {cause.verify_message}. Its operator must replace it, or the one of the authority "
                "that issued it."
            )
        return CertificateNotTrusted(f"The certificate of {address.where} {verdict}")
    if not first:
        return RelayUnreachable(
            f"{address.where} closed the connection when TLS began. It may be too busy: try again in a minute. Or "
            "it does not speak TLS: then use ws:// instead of wss://."
        )
    if first[0] not in (TLS_ALERT, TLS_HANDSHAKE):
        return RelayWithoutTLS(
            f"{address.where} does not speak TLS. Use ws:// instead of wss://, or check the port."
        )
    reason = (cause.reason if isinstance(cause, ssl.SSLError) else None) or "unknown"
    return RelayUnreachable(
        f"This side and {address.where} cannot agree on TLS ({reason.lower().replace('_', ' ')})."
    )


def no_websocket(address: RelayAddress, first: bytes) -> P2PCopyError:
    """Say what it is that opened a connection and then spoke no WebSocket, going by its first bytes."""
    status = _HTTP_STATUS.match(first)
    number = int(status[1]) if status else 0
    plain_on_tls = number == 400 and _NAMES_TLS.search(first) is not None
    if not address.tls and (plain_on_tls or first[:2] == bytes((TLS_ALERT, 3))):
        return RelayExpectsTLS(f"{address.where} speaks TLS. Use wss:// instead of ws://.")
    if number == 429:
        return RelayRefused(
            f"{address.where} has too many connections from your network already. Try again in a minute.",
            passes=True,
        )
    if number == 426 or _RELAY_MISSES.search(first):
        error = RelayUnreachable if _RELAY_MISSES.search(first) else NotARelay
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
    """Return where an answer leads, in printable characters and without a room; empty if it does not say."""
    location = _LOCATION.search(_END_OF_HEAD.split(first, 1)[0])
    if location is None:
        return ""
    target = _ROOM_PATH.sub("", location[1].decode("ascii", "replace"))
    target = "".join(letter if letter.isascii() and letter.isprintable() else "?" for letter in target)
    return target if len(target) <= limits.REDIRECT_SHOWN else f"{target[: limits.REDIRECT_SHOWN]}..."
