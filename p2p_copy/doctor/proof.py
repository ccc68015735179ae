"""Asks as an authority does that checks a name (RFC 8737): who answers at port 443, from here?

Rules:
1. This machine may be in the relay's own network, so it cannot tell for all others; an authority asks from several
   places.
2. A relay does not say from where it has its certificate. While that is accepted, port 443 may lead to another server
   or be closed by intention; so only a relay without an accepted certificate is warned.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Final

import trio

from p2p_copy.doctor import limits
from p2p_copy.doctor.finding import Check, good, warning
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


async def ask_for_proof(host: str, of_relay: bytes, *, needed: bool) -> Finding:
    """Say who answers `acme-tls/1` at port 443 of `host`.

    Args:
        host: name or address of the relay.
        of_relay: the certificate that the relay has shown to clients (DER); empty if it has none.
        needed: whether it is worth a warning if an authority could not check the name.

    """
    where = host_and_port(host, limits.ACME_PORT)

    def unfit(what: str) -> Finding:
        if needed:
            return warning(
                Check.ACME,
                f"{where} {what}. An authority that checks a relay's name asks there: let that port lead to the relay.",
            )
        return good(
            Check.ACME, f"{where} {what}: that matters only if the relay gets its own certificate (`acme`)"
        )

    try:
        with trio.fail_after(limits.ACME_WAIT):
            stream = TCPStream(await trio.open_tcp_stream(host, limits.ACME_PORT))
    except (OSError, trio.TooSlowError) as error:
        found = causes_of(error) if isinstance(error, OSError) else (TimeoutError("no answer"),)
        causes = [leaf for leaf in found if isinstance(leaf, OSError)]
        return unfit(f"cannot be reached from here ({reasons(causes)})")
    secure = TLSStream(stream, unchecked_context((_PROTOCOL,)), server_hostname=host)
    try:
        with trio.fail_after(limits.ACME_WAIT):
            await secure.handshake()
        shown, protocol = secure.certificate, secure.protocol
    except trio.TooSlowError:
        return unfit("can be reached from here, and does not answer by TLS")
    except trio.BrokenResourceError as error:
        reason = error.__cause__.reason if isinstance(error.__cause__, ssl.SSLError) else None
        if reason == _NO_CERTIFICATE:
            return good(
                Check.ACME,
                f"{where} can be reached from here, and a relay without a certificate answers: an authority that comes "
                "through as well can check the name",
            )
        said = (reason or "the connection ended").lower().replace("_", " ")
        return unfit(f"is answered by a server that refuses {_PROTOCOL} ({said}), so not by a relay")
    finally:
        await trio.aclose_forcefully(secure)
    if protocol == _PROTOCOL:
        return good(
            Check.ACME,
            f"{where} can be reached from here, and proves the name to an authority at this moment",
        )
    if shown == of_relay:
        return good(
            Check.ACME, f"{where} can be reached from here, and the server that clients reach answers there"
        )
    facts = facts_of(shown)
    issuer = (facts.issuer if facts else "") or "somebody who is not named"
    return unfit(f"is answered by another server than clients reach, with a certificate by {issuer}")
