"""From a relay's address to an open stream: TCP, and TLS if the address asks for it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import trio

from p2p_copy.transport import limits
from p2p_copy.transport.diagnosis import no_tls, not_connected, timed_out
from p2p_copy.transport.monitored import LinkStream, MonitoredStream
from p2p_copy.transport.tcp import TCPStream
from p2p_copy.transport.tcp_info import acked_bytes, silent_for, tune
from p2p_copy.transport.timeouts import within
from p2p_copy.transport.tls import TLSStream
from p2p_copy.transport.trust import client_context

if TYPE_CHECKING:
    from p2p_copy.transport.address import RelayAddress


async def dial(address: RelayAddress, ca_file: str | None) -> LinkStream:
    """Open TCP, and TLS if the address says so. The deadline is the caller's.

    Raises:
        UsageError: `ca_file`, or the file in SSLKEYLOGFILE, cannot be used.
        SystemFailed: this process can open no more files.
        RelayUnreachable, CertificateNotTrusted, RelayWithoutTLS: no connection.

    """
    context = await client_context(ca_file) if address.tls else None
    try:
        with within(limits.DIAL_TIMEOUT) as deadline:
            plain = TCPStream(await trio.open_tcp_stream(address.host, address.port))
    except OSError as error:
        raise not_connected(address, error) from None
    if deadline.is_over:
        raise timed_out(address)
    tune(plain)
    stream: TCPStream | TLSStream = plain
    if context is not None:
        below = MonitoredStream(plain, remember=limits.HTTP_PEEK)
        stream = TLSStream(below, context, server_hostname=address.host)
        try:
            await stream.handshake()
        except BaseException as error:
            await trio.aclose_forcefully(plain)
            if isinstance(error, trio.BrokenResourceError):
                raise no_tls(address, below.first, error.__cause__) from None
            raise
    return LinkStream(
        stream,
        remember=limits.HTTP_PEEK,
        silent_for=partial(silent_for, plain),
        acked_bytes=partial(acked_bytes, plain),
    )
