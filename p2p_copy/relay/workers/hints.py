"""Finds out whose room a connection is for, from its first bytes, which stay to be read.

Over TLS a client says the first byte of its room by ALPN, in the ClientHello; without TLS it is in the request's first
line (docs/protocol.md section 2). Others have no hint: browsers, clients behind what ends TLS, clients of 0.1.x. The
bytes are a stranger's, so the rules are:
1. No more than `limits.MAX_CLIENT_HELLO` bytes are looked at, in one record. The deadline is the caller's.
2. A connection is looked at three times at most. A client that sends byte after byte wakes no task until there is
   enough: the kernel is told how many bytes are needed (SO_RCVLOWAT).
3. A wrong hint does no harm: the worker that gets it finds out, as it does if there is none (`remote_gate`).
"""

from __future__ import annotations

import re
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import trio

from p2p_copy.relay import limits
from p2p_copy.transport.tls import TLS_HANDSHAKE

if TYPE_CHECKING:
    from p2p_copy.transport.tcp import TCPStream

_HEADER: Final = 5
"""Bytes of the header of a TLS record."""

_CLIENT_HELLO: Final = 1
_ALPN: Final = 16
"""Numbers of RFC 8446 section 4, and of RFC 7301."""

_PLAIN: Final = re.compile(rb"GET /v1/([0-9a-f]{2})")
_NEEDED: Final = len(b"GET /v1/XX")
_HINT: Final = re.compile(rb"p2p-copy-([0-9a-f]{2})")


async def first_byte_of_room(stream: TCPStream) -> int | None:
    """Return the first byte of a client's room, once enough has come; None if the client does not say it.

    Raises:
        BrokenResourceError: the connection has ended.

    """
    needed = _NEEDED
    try:
        while True:
            data = await _peeked(stream, needed)
            if data[0] != TLS_HANDSHAKE:
                found = _PLAIN.match(data)
                return int(found[1], 16) if found else None
            if len(data) < needed:
                return None
            needed, before = min(_HEADER + int.from_bytes(data[3:5], "big"), limits.MAX_CLIENT_HELLO), needed
            if needed <= before:
                return hint_in(data)
    finally:
        _wake_at(stream.socket, 1)


def hint_in(record: bytes) -> int | None:
    """Return the byte that a ClientHello names, which begins with the header of its record; None if it names none.

    Bytes that are no ClientHello, or not all of one, name none.
    """
    try:
        protocols = _extension(record, _ALPN)
    except IndexError:
        return None
    at = 2
    while at < len(protocols):
        size = protocols[at]
        if found := _HINT.fullmatch(protocols[at + 1 : at + 1 + size]):
            return int(found[1], 16)
        at += 1 + size
    return None


def _extension(record: bytes, wanted: int) -> bytes:
    """Return the contents of an extension of a ClientHello (RFC 8446 section 4.1.2); none without it.

    Raises:
        IndexError: this is no ClientHello.

    """
    if record[_HEADER] != _CLIENT_HELLO:
        return b""
    at = _HEADER + 4 + 2 + 32  # type and length, version, random
    at += 1 + record[at]  # session
    at += 2 + _number(record, at)  # cipher suites
    at += 1 + record[at]  # compression
    end = at + 2 + _number(record, at)
    at += 2
    while at < end:
        kind, size = _number(record, at), _number(record, at + 2)
        if kind == wanted:
            return record[at + 4 : at + 4 + size]
        at += 4 + size
    return b""


def _number(data: bytes, at: int) -> int:
    return data[at] << 8 | data[at + 1]


async def _peeked(stream: TCPStream, needed: int) -> bytes:
    """Wait for the first `needed` bytes, and return them; fewer if the client has sent its end, but at least one.

    A system that ignores SO_RCVLOWAT, as Linux does for unix sockets, may return fewer as well.
    """
    data = _look(stream.socket, needed)
    if len(data) < needed:
        _wake_at(stream.socket, needed)
        await trio.lowlevel.wait_readable(stream.socket)
        data = _look(stream.socket, needed)
        if not data:
            raise trio.BrokenResourceError
    return data


def _look(sock: socket.socket, most: int) -> bytes:
    try:
        return sock.recv(most, socket.MSG_PEEK)
    except BlockingIOError:
        return b""
    except OSError as error:
        raise trio.BrokenResourceError from error


def _wake_at(sock: socket.socket, size: int) -> None:
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, size)
