"""Reads and checks the HTTP request that opens a WebSocket, before the WebSocket library sees it.

Browsers and scanners get a short answer in plain HTTP, or a file of the page if the relay serves one. So do other web
pages that ask for a WebSocket: a browser says by `Origin` whose page asks, and no client of ours sends one. Otherwise
any page could use a relay that only its visitor can reach, in an intranet or on the visitor's own machine. Of a good
request only path, key and the addresses from proxies are kept. The library gets a request that is written anew, because
it fails on many odd headers.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import h11
import trio

from p2p_copy.protocol import rendezvous
from p2p_copy.relay import limits
from p2p_copy.relay.entry.origins import Origins
from p2p_copy.relay.log.abuse import Abuse
from p2p_copy.transport import limits as transport_limits
from p2p_copy.transport.tls import drop_some
from p2p_copy.value import NamedTuple

if TYPE_CHECKING:
    from p2p_copy.relay.entry.page import Answer, Page
    from p2p_copy.relay.log.abuse import AbuseCounter

_WHAT_THIS_IS: Final = (
    "This is a p2p-copy relay. It passes encrypted file transfers from one p2p-copy client to another, and has no page "
    "for a browser."
)
_HOW_TO_USE_IT: Final = (
    "To send or receive files through it, install the program: python3 -m pip install p2p-copy, or see "
    "https://afuld.github.io/p2p-copy"
)
_ONE_PACKET: Final = 1000
"""Bytes of a body that fit into one packet with the head. A longer one is a file of the page, which is not copied."""

_NOTHING_THERE: Final = "There is nothing at this path."
_OTHER_PAGES: Final = (
    "This relay is not for other web pages, which it knows by their Origin. Its operator can allow some."
)
_TOO_MANY: Final = "Too many connections come from your network. Try again in a minute."
_PLAIN_ON_TLS: Final = "This port speaks TLS. Use wss:// (or https://) in place of ws:// (or http://)."

_OURS: Final = (
    "GET {path} HTTP/1.1\r\nHost: relay\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
)


@dataclass(frozen=True, slots=True)
class _Objection:
    """The answer to a request that the relay refuses."""

    status: HTTPStatus
    sentence: str
    header: str = ""
    abuse: Abuse | None = None


class UpgradeRequest(NamedTuple):
    """An accepted request: its path, its head, written anew by the relay, and the client's addresses from proxies."""

    path: str
    head: bytes
    forwarded: tuple[str, ...]


class PageRequest(NamedTuple):
    """A request about a file of the page: its answer, and the client's addresses from proxies."""

    answer: Answer
    forwarded: tuple[str, ...]


class Site(NamedTuple):
    """What a relay has for browsers: the origins of pages that may use it, and a page of its own, or None."""

    origins: Origins
    page: Page | None


NO_SITE: Final = Site(Origins(), None)
"""Nothing."""


async def read_upgrade(
    stream: trio.abc.Stream, abuse: AbuseCounter, certificate: str = "", site: Site = NO_SITE
) -> UpgradeRequest | PageRequest | None:
    """Read a request's head. Return what the relay needs of it if it is good, else answer it and return None.

    The deadline is the caller's; memory is bounded by `limits.MAX_HTTP_HEAD`. `certificate` is the digest of the one
    that was shown to this client, for the answer; empty without TLS.
    """
    parser = h11.Connection(h11.SERVER, max_incomplete_event_size=limits.MAX_HTTP_HEAD)
    try:
        request = await read_head(stream, parser, abuse)
    except h11.RemoteProtocolError as error:
        error.__traceback__ = None  # its frames hold it, and only a garbage collection would free them
        await _answer(
            stream, _Objection(HTTPStatus(error.error_status_hint), sentence_about(error)), certificate
        )
        return None
    if request is None:
        return None
    forwarded = tuple(value.decode("ascii", "replace") for value in _values(request, b"x-forwarded-for"))
    objection = _excess(request)
    if objection is None and site.page is not None and not _asks_for_websocket(request):
        if (answer := site.page.answer(request)) is not None:
            return PageRequest(answer, forwarded)
        if not rendezvous.is_path(request.target.decode()):
            objection = _Objection(HTTPStatus.NOT_FOUND, _NOTHING_THERE)
    objection = objection or _objection(request, site.origins)
    if objection is None and parser.trailing_data[0]:
        objection = _Objection(HTTPStatus.BAD_REQUEST, "Wait for the answer before you go on (RFC 6455 4.1).")
    if objection is not None:
        if objection.abuse is not None:
            abuse.count(objection.abuse)
        await _answer(stream, objection, certificate)
        return None
    path, key = request.target.decode(), _values(request, b"sec-websocket-key")[0].decode()
    return UpgradeRequest(path, _OURS.format(path=path, key=key).encode(), forwarded)


async def read_head(
    stream: trio.abc.Stream, parser: h11.Connection, abuse: AbuseCounter
) -> h11.Request | None:
    """Let `parser` read until it has the head of a request; None if the connection ends without a byte.

    No byte is read beyond `limits.MAX_HTTP_HEAD`: the own limit of a parser holds only while a head is incomplete.

    Raises:
        h11.RemoteProtocolError: what comes is no request, or is too long.

    """
    left = limits.MAX_HTTP_HEAD
    while (event := parser.next_event()) is h11.NEED_DATA:
        if not left:
            abuse.count(Abuse.HEAD_TOO_LONG)
            raise h11.RemoteProtocolError("", HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        data = bytes(await stream.receive_some(left))
        left -= len(data)
        parser.receive_data(data)
    return event if isinstance(event, h11.Request) else None


def sentence_about(error: h11.RemoteProtocolError) -> str:
    """Return a sentence that says why this is no request."""
    if error.error_status_hint == HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE:
        return f"The head of a request has at most {limits.MAX_HTTP_HEAD} bytes here."
    return "This is no HTTP request."


async def refuse_busy(stream: trio.abc.Stream) -> None:
    """Answer a good request of a client whose source has too many connections here."""
    later = f"Retry-After: {limits.BUSY_RETRY_AFTER}\r\n"
    await _answer(stream, _Objection(HTTPStatus.TOO_MANY_REQUESTS, _TOO_MANY, later))


async def refuse_plain(stream: trio.abc.Stream) -> None:
    """Answer a client that speaks plain HTTP, or anything but TLS, to a port that speaks TLS."""
    await stream.receive_some(limits.MAX_HTTP_HEAD)
    await _answer(stream, _Objection(HTTPStatus.BAD_REQUEST, _PLAIN_ON_TLS))


def _values(request: h11.Request, name: bytes) -> list[bytes]:
    return [value for key, value in request.headers if key == name]


def _excess(request: h11.Request) -> _Objection | None:
    if len(request.headers) > limits.MAX_HTTP_HEADERS:
        return _Objection(
            HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
            "The request has too many headers.",
            abuse=Abuse.HEAD_TOO_LONG,
        )
    return None


def _asks_for_websocket(request: h11.Request) -> bool:
    return [value.lower() for value in _values(request, b"upgrade")] == [b"websocket"]


def _objection(request: h11.Request, origins: Origins) -> _Objection | None:
    """Check a request by RFC 6455 section 4.2.1 and our own rules."""
    bad = HTTPStatus.BAD_REQUEST
    origin = _values(request, b"origin")
    if origin and not origins.allow(origin, _values(request, b"host")):
        return _Objection(HTTPStatus.FORBIDDEN, _OTHER_PAGES, abuse=Abuse.ORIGIN)
    if not all(value.isascii() for _, value in request.headers):
        return _Objection(bad, "The request has a header that is not ASCII.")
    if not _asks_for_websocket(request):
        return _Objection(
            HTTPStatus.UPGRADE_REQUIRED, f"{_WHAT_THIS_IS}\n{_HOW_TO_USE_IT}", "Upgrade: websocket\r\n"
        )
    if not rendezvous.is_path(request.target.decode()):
        return _Objection(HTTPStatus.NOT_FOUND, _NOTHING_THERE)
    if request.method != b"GET" or request.http_version != b"1.1":
        return _Objection(bad, "A WebSocket begins with GET and HTTP/1.1.")
    tokens = b",".join(_values(request, b"connection")).lower().split(b",")
    if b"upgrade" not in (token.strip() for token in tokens):
        return _Objection(bad, "The request says Upgrade, but not Connection: Upgrade.")
    if _values(request, b"sec-websocket-version") != [b"13"]:
        version = "Sec-WebSocket-Version: 13\r\n"
        return _Objection(HTTPStatus.UPGRADE_REQUIRED, "This relay speaks WebSocket version 13.", version)
    if _values(request, b"content-length") or _values(request, b"transfer-encoding"):
        return _Objection(bad, "A WebSocket begins with a request without a body.")
    keys = _values(request, b"sec-websocket-key")
    if len(keys) != 1 or not _is_key(keys[0]):
        return _Objection(bad, "The request has no proper Sec-WebSocket-Key.")
    return None


def _is_key(value: bytes) -> bool:
    try:
        return len(base64.b64decode(value, validate=True)) == 16
    except binascii.Error:
        return False


async def _answer(stream: trio.abc.Stream, objection: _Objection, certificate: str = "") -> None:
    body = f"{objection.sentence}\n".encode()
    shown = f"{rendezvous.CERTIFICATE_HEADER}: {certificate}\r\n" if certificate else ""
    head = (
        f"HTTP/1.1 {objection.status.value} {objection.status.phrase}\r\n"
        f"Date: {formatdate(usegmt=True)}\r\n{objection.header}{shown}"
        f"Content-Type: text/plain\r\nContent-Length: {len(body)}\r\n"
        f"Cache-Control: no-store\r\nConnection: close\r\n\r\n"
    )
    await send_last(stream, head.encode(), body)


async def send_last(stream: trio.abc.Stream, head: bytes, body: bytes) -> None:
    """Send an answer, and give the client a moment to read it: closing over unread bytes would destroy it."""
    if len(body) <= _ONE_PACKET:
        await stream.send_all(head + body)  # our clients look for its words in what comes first
    else:
        await stream.send_all(head)
        await stream.send_all(body)
    if isinstance(stream, trio.abc.HalfCloseableStream):
        await stream.send_eof()
    with trio.move_on_after(transport_limits.HTTP_LINGER):
        while await drop_some(stream):
            pass
