"""Asks the kernel whether the machine at the other end of a TCP connection still answers."""

from __future__ import annotations

import contextlib
import math
import socket
import struct
import sys
from typing import TYPE_CHECKING, Final

from p2p_copy.transport import limits

if TYPE_CHECKING:
    from p2p_copy.transport.tcp import TCPStream

_TCP_INFO: Final = struct.Struct("Bx2B52xI")
"""Of Linux' struct tcp_info: state, retransmissions and probes in a row, milliseconds since the last ACK."""

_TCP_INFO_BYTES: Final = struct.Struct("120xQ16xI")
"""Of the same, since Linux 4.6: bytes that were acknowledged, and bytes that were never sent yet."""

_TCP_CLOSE: Final = 7
"""State of a connection that was reset (Linux' net/tcp_states.h). Bytes that came before may still be unread."""


def tune(stream: TCPStream) -> None:
    """Make the kernel find out that the other end is gone, as far as the system can do that."""
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


def silent_for(stream: TCPStream) -> float:
    """Return for how many seconds the other machine has not answered although it should have; 0 if it should not.

    An answer is due when our kernel has repeated a packet, or has asked whether a closed window is open again. A
    machine whose program stalls still answers; one that has vanished does not. This tells the two apart, for programs
    and disks may stall for as long as `limits.TCP_USER_TIMEOUT`. Infinite after a reset. Only on Linux, elsewhere 0.
    """
    return silence_in(_tcp_info(stream, _TCP_INFO.size))


def acked_bytes(stream: TCPStream) -> tuple[int, bool]:
    """Return how many bytes the other machine has acknowledged, and whether more wait in our kernel to be sent.

    Only Linux can tell; elsewhere it is `(0, False)`.
    """
    info = _tcp_info(stream, _TCP_INFO_BYTES.size)
    if len(info) < _TCP_INFO_BYTES.size:
        return 0, False
    acked, unsent = _TCP_INFO_BYTES.unpack_from(info)
    return acked, unsent > 0


def _tcp_info(stream: TCPStream, size: int) -> bytes:
    """Return up to `size` bytes of Linux' struct tcp_info; none elsewhere."""
    if sys.platform != "linux":
        return b""
    try:
        info: object = stream.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, size)
    except OSError:  # a unix socket, or closed
        return b""
    return info if isinstance(info, bytes) else b""


def silence_in(info: bytes) -> float:
    """Return what `silent_for` does, given Linux' struct tcp_info."""
    if len(info) < _TCP_INFO.size:
        return 0.0
    state, repeated, probes, silent = _TCP_INFO.unpack_from(info)
    if state == _TCP_CLOSE:
        return math.inf
    return silent / 1000 if max(repeated, probes) >= limits.TCP_UNANSWERED else 0.0
