"""Asks as an authority does that checks a name (RFC 8737): does the relay answer at port 443, from here?

This machine may be in the relay's own network, so it cannot tell for all others; an authority asks from several places.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Final

import trio

from p2p_copy.doctor import limits
from p2p_copy.doctor.finding import Check, good, warning
from p2p_copy.transport import limits as transport_limits
from p2p_copy.transport.address import host_and_port
from p2p_copy.transport.certificate import facts_of
from p2p_copy.transport.diagnosis import causes_of, reasons
from p2p_copy.transport.tcp import TCPStream
from p2p_copy.transport.tls import TLSStream
from p2p_copy.transport.trust import unchecked_context

if TYPE_CHECKING:
    from p2p_copy.doctor.finding import Finding

_PROTOCOL: Final = "acme-tls/1"
_NO_CERTIFICATE: Final = "TLSV1_ALERT_INTERNAL_ERROR"
"""What OpenSSL calls the alert of a relay that has no certificate yet."""


async def ask_for_proof(host: str, of_relay: bytes) -> Finding:
    """Say who answers `acme-tls/1` at port 443 of `host`; `of_relay` is the relay's certificate (DER), if any."""
    where = host_and_port(host, limits.ACME_PORT)
    try:
        with trio.fail_after(transport_limits.CONNECT_TIMEOUT):
            stream = TCPStream(await trio.open_tcp_stream(host, limits.ACME_PORT))
    except (OSError, trio.TooSlowError) as error:
        found = causes_of(error) if isinstance(error, OSError) else (TimeoutError("no answer"),)
        causes = [leaf for leaf in found if isinstance(leaf, OSError)]
        return warning(
            Check.ACME,
            f"{where} cannot be reached from here ({reasons(causes)}). An authority that checks a relay's name "
            "asks there: open that port, or let it lead to the relay.",
        )
    secure = TLSStream(stream, unchecked_context((_PROTOCOL,)), server_hostname=host)
    try:
        with trio.fail_after(transport_limits.CONNECT_TIMEOUT):
            await secure.handshake()
        shown = secure.certificate
    except trio.TooSlowError:
        return warning(Check.ACME, f"{where} can be reached from here, and does not answer by TLS.")
    except trio.BrokenResourceError as error:
        reason = error.__cause__.reason if isinstance(error.__cause__, ssl.SSLError) else None
        if reason == _NO_CERTIFICATE:
            return good(
                Check.ACME,
                f"{where} can be reached from here, and a relay without a certificate answers: an authority that comes "
                "through as well can check the name",
            )
        said = (reason or "the connection ended").lower().replace("_", " ")
        return warning(
            Check.ACME,
            f"{where} is answered by a server that refuses {_PROTOCOL} ({said}), so not by a relay. An authority that "
            "checks a relay's name asks there.",
        )
    finally:
        await trio.aclose_forcefully(secure)
    if not of_relay or shown == of_relay:
        return good(Check.ACME, f"{where} can be reached from here, and the relay answers there")
    facts = facts_of(shown)
    issuer = (facts.issuer if facts else "") or "somebody who is not named"
    return warning(
        Check.ACME,
        f"{where} is answered by another server than this relay, with a certificate by {issuer}. An authority that "
        "checks a relay's name asks there.",
    )
