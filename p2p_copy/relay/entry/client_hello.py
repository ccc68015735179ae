"""Looks at a TLS ClientHello that stays to be read: its extensions, of which `ssl` shows a server nothing in time.

The bytes are a stranger's, so the rules are:
1. No more than `limits.MAX_CLIENT_HELLO` bytes are looked at, in one record. The deadline is the caller's.
2. A client that sends byte after byte wakes no task until there is enough: the kernel is told how many bytes are needed
   (SO_RCVLOWAT).
"""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import trio

from p2p_copy.relay import limits
from p2p_copy.transport.tls import TLS_HANDSHAKE

if TYPE_CHECKING:
    from p2p_copy.transport.tcp import TCPStream

HEADER: Final = 5
"""Bytes of the header of a TLS record."""

_CLIENT_HELLO: Final = 1
_ALPN: Final = 16
"""Numbers of RFC 8446 section 4, and of RFC 7301."""


async def first_bytes(stream: TCPStream, needed: int) -> bytes:
    """Wait for the first `needed` bytes, and return them; fewer if the client has sent its end, but at least one.

    A system that ignores SO_RCVLOWAT, as Linux does for unix sockets, may return fewer as well.

    Raises:
        BrokenResourceError: the connection has ended.

    """
    data = _look(stream.socket, needed)
    if len(data) < needed:
        _wake_at(stream.socket, needed)
        try:
            await trio.lowlevel.wait_readable(stream.socket)
        finally:
            _wake_at(stream.socket, 1)
        data = _look(stream.socket, needed)
        if not data:
            raise trio.BrokenResourceError
    return data


async def first_record(stream: TCPStream) -> bytes:
    """Wait for the first record of a client that speaks TLS, and return it, or what `first_bytes` returns of it.

    Of a client that does not speak TLS, and of a record that is too long, only the beginning is returned.

    Raises:
        BrokenResourceError: the connection has ended.

    """
    header = await first_bytes(stream, HEADER)
    if header[0] != TLS_HANDSHAKE or len(header) < HEADER:
        return header
    return await first_bytes(stream, min(record_size(header), limits.MAX_CLIENT_HELLO))


def record_size(record: bytes) -> int:
    """Return the size of a record, its header included, by that header."""
    return HEADER + _number(record, 3)


def protocols_in(record: bytes) -> list[bytes]:
    """Return the protocols that a ClientHello offers (ALPN), in their order.

    Bytes that are no ClientHello, or not all of one, offer none.
    """
    offered = _extension(record, _ALPN)[2:]
    found = []
    while offered:
        size = offered[0]
        found.append(offered[1 : 1 + size])
        offered = offered[1 + size :]
    return found


def _extension(record: bytes, wanted: int) -> bytes:
    """Return the contents of an extension of a ClientHello (RFC 8446 section 4.1.2); nothing without it."""
    try:
        if record[HEADER] != _CLIENT_HELLO:
            return b""
        at = HEADER + 4 + 2 + 32  # type and length, version, random
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
    except IndexError:  # this is no ClientHello, or not all of one
        pass
    return b""


def _number(data: bytes, at: int) -> int:
    return data[at] << 8 | data[at + 1]


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
