"""Answers an authority that checks whether this relay has a name, on the port that clients use (RFC 8737).

The authority connects and offers one protocol only, `acme-tls/1` (ALPN). It wants a certificate that says what the
owner of the account alone can know. Rules:
1. Clients pay for this only while a challenge is open, and then with a look at their ClientHello.
2. A connection that offers another protocol, or one besides, is a client's.
3. The connection of an authority ends after the handshake, so nothing else is ever said under that certificate.
4. `ssl` reads certificates and keys from files only. They are in a private folder for as long as that takes, and what a
   killed relay leaves there is removed at the next challenge.
"""

from __future__ import annotations

import contextlib
import ssl
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from p2p_copy.acme.interface import ACME_PROTOCOL, Challenges
from p2p_copy.relay import limits
from p2p_copy.relay.entry.client_hello import HEADER, first_record, protocols_in, record_size
from p2p_copy.relay.log import events
from p2p_copy.transport import limits as transport_limits
from p2p_copy.transport.tls import TLS_HANDSHAKE, TLSStream

if TYPE_CHECKING:
    from p2p_copy.transport.tcp import TCPStream


class Challenge(Challenges):
    """The challenge that is open, if there is one; at most one is at a time. False while there is none."""

    def __init__(self, folder: str) -> None:
        """Begin with none. `folder` is for this only; it is made when it is needed, with its parents."""
        self._folder = Path(folder)
        self._context: ssl.SSLContext | None = None

    def __bool__(self) -> bool:
        """Return whether a challenge is open."""
        return self._context is not None

    async def open(self, identifier: str, certificate_pem: bytes, key_pem: bytes) -> None:
        """Show this certificate to the authority until `close`, whatever name it asks for.

        Raises:
            OSError: the folder cannot be used, or the certificate (an `ssl.SSLError`).

        """
        context = partial(_challenge_context, self._folder, certificate_pem + key_pem)
        self._context = await trio.to_thread.run_sync(context, abandon_on_cancel=True)

    async def close(self, identifier: str) -> None:
        """End the challenge. Does nothing if none is open."""
        self._context = None

    async def answer(self, stream: TCPStream) -> bool:
        """Answer a connection if it is the authority's; return False, with nothing read, if it is a client's.

        The deadline is the caller's.

        Raises:
            BrokenResourceError: the connection has ended, or the handshake failed.

        """
        pause = limits.HELLO_LOOK_PAUSE
        while True:
            record = await first_record(stream)
            # Where the system does not say when all is there (unix sockets, early ends), look now and then.
            if self._context is None or len(record) >= limits.MAX_CLIENT_HELLO or not _is_a_part(record):
                break
            await trio.sleep(pause)
            pause = min(2 * pause, limits.HELLO_LOOK_PAUSE_MOST)
        if self._context is None or protocols_in(record) != [ACME_PROTOCOL.encode()]:
            return False
        secure = TLSStream(stream, self._context, server_side=True)
        await secure.handshake()
        with trio.move_on_after(transport_limits.HTTP_LINGER), contextlib.suppress(trio.BrokenResourceError):
            await secure.receive_some(1)  # a reset could overtake the end of the handshake
        events.CHALLENGE_ANSWERED.log()
        return True


def _challenge_context(folder: Path, pem: bytes) -> ssl.SSLContext:
    """Return a context with this certificate and its key, which are in a file of `folder` meanwhile."""
    folder.mkdir(0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)  # an umask may have taken away rights of the owner
    for left in folder.glob("*.pem"):
        left.unlink(missing_ok=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.num_tickets = 0
    context.set_alpn_protocols([ACME_PROTOCOL])
    descriptor, path = tempfile.mkstemp(".pem", dir=folder)
    try:
        with open(descriptor, "wb") as file:
            file.write(pem)
        context.load_cert_chain(path)
    finally:
        Path(path).unlink(missing_ok=True)
    return context


def _is_a_part(record: bytes) -> bool:
    """Return whether this is the beginning of a TLS record that is not all there."""
    if record[0] != TLS_HANDSHAKE:
        return False
    return len(record) < HEADER or len(record) < record_size(record)
