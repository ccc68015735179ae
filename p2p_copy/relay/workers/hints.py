"""Finds out whose room a connection is for, from its first bytes, which stay to be read.

Over TLS a client says the first byte of its room by ALPN, in the ClientHello; without TLS it is in the request's first
line (docs/protocol.md section 2). Others have no hint: browsers, clients behind what ends TLS, clients of 0.1.x. The
bytes are a stranger's, so the rules are, besides those of `entry.client_hello`:
1. A connection is looked at three times at most.
2. A wrong hint does no harm: the worker that gets it finds out, as it does if there is none (`remote_gate`).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from p2p_copy.relay.entry.client_hello import first_bytes, first_record, protocols_in
from p2p_copy.transport.tls import TLS_HANDSHAKE

if TYPE_CHECKING:
    from p2p_copy.transport.tcp import TCPStream

_PLAIN: Final = re.compile(rb"GET /v1/([0-9a-f]{2})")
_NEEDED: Final = len(b"GET /v1/XX")
_HINT: Final = re.compile(rb"p2p-copy-([0-9a-f]{2})")


async def first_byte_of_room(stream: TCPStream) -> int | None:
    """Return the first byte of a client's room, once enough has come; None if the client does not say it.

    Raises:
        BrokenResourceError: the connection has ended.

    """
    data = await first_bytes(stream, _NEEDED)
    if data[0] == TLS_HANDSHAKE:
        return hint_in(await first_record(stream)) if len(data) == _NEEDED else None
    found = _PLAIN.match(data)
    return int(found[1], 16) if found else None


def hint_in(record: bytes) -> int | None:
    """Return the byte that a ClientHello names, which begins with the header of its record; None if it names none.

    Bytes that are no ClientHello, or not all of one, name none.
    """
    for protocol in protocols_in(record):
        if found := _HINT.fullmatch(protocol):
            return int(found[1], 16)
    return None
