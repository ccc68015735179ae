"""Looks at what answers at the relay's address, whether or not it is trusted: its certificate, and its clock.

A plain HTTP request asks it. A relay names the certificate that it has shown, so a box that decrypts TLS on the way is
recognised even if this machine trusts it. Nothing that comes is believed for more than a hint.
"""

from __future__ import annotations

import hashlib
import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

import h11
import trio

from p2p_copy.doctor import limits
from p2p_copy.doctor.finding import Check, good, warning
from p2p_copy.protocol.rendezvous import CERTIFICATE_HEADER
from p2p_copy.transport import limits as transport_limits
from p2p_copy.transport.certificate import facts_of
from p2p_copy.transport.dial import open_unchecked
from p2p_copy.transport.timeouts import within
from p2p_copy.transport.tls import TLSStream
from p2p_copy.units import count, duration
from p2p_copy.value import NamedTuple
from p2p_copy.version import PROGRAM

if TYPE_CHECKING:
    from p2p_copy.doctor.finding import Finding
    from p2p_copy.doctor.way import Way
    from p2p_copy.transport.certificate import CertificateFacts
    from p2p_copy.transport.tcp import TCPStream


class Look(NamedTuple):
    """What was seen.

    Attributes:
        chain: the certificates (DER) that came; none without TLS.
        of_relay: SHA-256, in hexadecimal digits, of the certificate that the relay says to have shown; empty if it does
            not say.
        ahead: seconds by which its clock is ahead of this machine's; None if it does not say.

    """

    chain: tuple[bytes, ...]
    of_relay: str
    ahead: float | None


async def look_at(way: Way) -> Look:
    """Ask what answers for its head page.

    Raises:
        P2PCopyError: nothing answers, or not by TLS.

    """
    stream = await open_unchecked(way.address, way.proxy, way.ca_file)
    try:
        chain = stream.chain if isinstance(stream, TLSStream) and way.address.tls else ()
        headers: dict[str, str] = {}
        with within(transport_limits.CONNECT_TIMEOUT):
            headers = await _ask(stream, way)
    finally:
        await trio.aclose_forcefully(stream)
    return Look(tuple(chain), headers.get(CERTIFICATE_HEADER.lower(), ""), _ahead(headers.get("date", "")))


async def _ask(stream: TCPStream | TLSStream, way: Way) -> dict[str, str]:
    """Return the headers of the answer, by their names in small letters; none if what comes is no HTTP."""
    parser = h11.Connection(h11.CLIENT, max_incomplete_event_size=limits.ANSWER)
    headers = [("Host", way.address.host_header), ("User-Agent", PROGRAM), ("Connection", "close")]
    request = h11.Request(method="GET", target=f"{way.address.prefix}/", headers=headers)
    try:
        await stream.send_all(parser.send(request) + parser.send(h11.EndOfMessage()))
        while not isinstance(event := parser.next_event(), h11.Response):
            if event is h11.NEED_DATA:
                parser.receive_data(bytes(await stream.receive_some(limits.ANSWER)))
            elif not isinstance(event, h11.InformationalResponse):
                return {}
    except (h11.RemoteProtocolError, trio.BrokenResourceError):
        return {}
    return {name.decode(): value.decode("ascii", "replace") for name, value in event.headers}


def _ahead(date: str) -> float | None:
    try:
        return parsedate_to_datetime(date).timestamp() - time.time()
    except (ValueError, OverflowError):
        return None


def about_certificate(way: Way, look: Look, *, trusted: bool) -> Finding:
    """Return who has issued the certificate that came, and whether something on the way decrypts TLS.

    `trusted` says whether a transfer accepts it.
    """
    facts = facts_of(look.chain[0]) if look.chain else None
    if facts is None:
        return warning(Check.CERTIFICATE, "The certificate that comes cannot be read.")
    issuer = f"'{facts.issuer}'" if facts.issuer else "an authority without a name"
    ends = time.strftime("%Y-%m-%d", time.gmtime(facts.ends))
    what = f"issued by {issuer}, until {ends}, with {count(len(look.chain) - 1, 'certificate')} above it"
    own = hashlib.sha256(look.chain[0]).hexdigest()
    if look.of_relay not in ("", own) and not facts.is_logged:
        advice = (
            ""
            if trusted
            else " To connect all the same, get that authority from its administrators for `ca_file`."
        )
        return warning(
            Check.CERTIFICATE,
            f"TLS is decrypted on the way, with a certificate of {issuer}: the relay itself has another one. If that "
            "is not a proxy of the relay's operator, it is a box of this network. Files and names stay encrypted from "
            f"end to end; the access token, if there is one, does not.{advice}",
        )
    if look.of_relay == own:
        said = "the relay itself shows it, so nothing on the way decrypts TLS"
    elif way.pin and trusted:
        said = "it has the pinned key, so nothing on the way decrypts TLS"
    elif facts.is_logged:
        said = "its authority is a public one, so nothing on the way seems to decrypt TLS"
    elif not trusted and _lacks_chain(look, facts):
        return warning(
            Check.CERTIFICATE,
            f"{what}: the server does not send the certificate of that authority. Its operator must give it the whole "
            "chain (of certbot, fullchain.pem and not cert.pem).",
        )
    elif way.ca_file and trusted:
        said = "what answers does not say whether it is the relay's own"
    else:
        return warning(
            Check.CERTIFICATE,
            f"{what}. That is no public authority. If the relay's operator does not know it either, something on the "
            "way decrypts TLS, and that is its name.",
        )
    left = facts.ends - time.time()
    if trusted and not way.pin and left < limits.ENDS_SOON:
        return warning(
            Check.CERTIFICATE, f"{what}: {said}. It ends in {duration(left)}: its operator must renew it."
        )
    return good(Check.CERTIFICATE, f"{what}: {said}")


def _lacks_chain(look: Look, facts: CertificateFacts) -> bool:
    """Return whether a certificate that an authority above it has issued comes alone."""
    return len(look.chain) == 1 and facts.names_issuer and not facts.is_authority


def about_clock(way: Way, look: Look) -> Finding:
    """Return how this machine's clock agrees with that of what answers, or else with the dates of its certificate."""
    if look.ahead is not None:
        off = abs(look.ahead)
        if off < limits.CLOCK:
            return good(
                Check.CLOCK, f"within {limits.CLOCK:.0f} s of {way.address.where}", seconds=look.ahead
            )
        where = "behind" if look.ahead > 0 else "ahead of"
        return warning(
            Check.CLOCK,
            f"This machine's clock is {duration(off)} {where} that of {way.address.where}. Certificates are refused "
            "because of a wrong clock: set it, or find out why it is not set by the network (NTP).",
            seconds=look.ahead,
        )
    facts = facts_of(look.chain[0]) if look.chain else None
    if facts is not None and not facts.begins <= time.time() <= facts.ends:
        today = time.strftime("%Y-%m-%d", time.gmtime())
        return warning(
            Check.CLOCK,
            f"This machine takes today for {today}, when the certificate is not valid. If that is the wrong day, set "
            "the clock.",
        )
    return good(
        Check.CLOCK, f"{way.address.where} does not say what time it is there; nothing contradicts this clock"
    )
