"""Makes a TLS context from the certificate files and tests it, or says in a sentence what is wrong with them."""

from __future__ import annotations

import hashlib
import re
import ssl
from pathlib import Path
from typing import Any, Final, TypeAlias

from p2p_copy.errors import CannotListen
from p2p_copy.relay import limits
from p2p_copy.relay.file_thread import read_regular
from p2p_copy.transport.trust import UNKNOWN_ISSUER, VERIFY_FLAGS
from p2p_copy.value import NamedTuple

_EXPIRED: Final = 10
_NOT_YET_VALID: Final = 9
"""OpenSSL's X509_V_ERR numbers."""


_CERTIFICATE: Final = re.compile(
    "-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----.*?-----END [^\n]*-----", re.DOTALL
)

_Certificate: TypeAlias = dict[str, Any]
"""As `ssl.SSLObject.getpeercert` has it."""

Fingerprint: TypeAlias = tuple[int, ...] | None
"""Differs between two versions of a file under the same name."""


def fingerprint(file: str) -> Fingerprint:
    """Return the fingerprint of a file, without reading it; None while there is no file.

    Symbolic links are followed: a renewal may change only where they lead.
    """
    try:
        found = Path(file).stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


class Proven(NamedTuple):
    """A certificate that has passed a handshake.

    Attributes:
        context: the TLS context for handshakes.
        digest: SHA-256 of the certificate, in hexadecimal digits.
        begins: Unix time of its beginning.
        expires: Unix time of its end.
        objection: why clients are likely to refuse it nevertheless; empty if there is no known reason.

    """

    context: ssl.SSLContext
    digest: str
    begins: float
    expires: float
    objection: str


def no_certificate() -> ssl.SSLContext:
    """Return a context for as long as there is no certificate: it ends each handshake with the alert internal_error.

    That is alert 80 (RFC 8446 section 6.2), and clients know what it means (`transport.diagnosis`).
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.sni_callback = lambda *_: ssl.ALERT_DESCRIPTION_INTERNAL_ERROR
    return context


def server_context(certfile: str, keyfile: str | None) -> Proven:
    """Return the context and the facts of a certificate that a handshake has shown to work.

    Raises:
        CannotListen: the files cannot be read, do not belong together, or hold a certificate that no client accepts.

    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    context.num_tickets = (
        0  # no client resumes a session, and closing a connection with an unread ticket would reset it
    )
    # The library opens the files itself, and would wait for a FIFO.
    text = read_regular("certificate", certfile, limits.MAX_CERTIFICATE_FILE)
    if keyfile is not None:
        read_regular("key", keyfile, limits.MAX_CERTIFICATE_FILE)
    try:
        context.load_cert_chain(certfile, keyfile, password=_no_password)
    except ssl.SSLError as error:
        raise CannotListen(_what_is_wrong(error)) from None
    except OSError as error:
        raise CannotListen(f"Certificate or key cannot be read: {error.strerror}.") from None
    # Whatever stands between the certificates may have any encoding.
    return Proven(context, *_rehearse(context, certfile, text.decode("latin-1")))


def _no_password() -> str:
    raise CannotListen(
        "The key is protected by a password. A relay starts without a person, so it needs a key without one."
    )


def _what_is_wrong(error: ssl.SSLError) -> str:
    if error.reason == "KEY_VALUES_MISMATCH":
        return "The key does not belong to the certificate: the two files are not from the same pair."
    if error.reason is not None and "TOO_" in error.reason:
        return "Key or signature of the certificate are too weak for TLS today. Have one made with ECDSA or RSA 2048."
    return (
        "Certificate or key are not in PEM form. The files begin with -----BEGIN CERTIFICATE----- and with "
        "-----BEGIN PRIVATE KEY----- or similar."
    )


def _rehearse(context: ssl.SSLContext, certfile: str, text: str) -> tuple[str, float, float, str]:
    """Shake hands in memory with a client that trusts the file; `text` is its contents.

    Return the certificate's digest, when it begins and ends, and why strict clients are likely to refuse it.
    """
    try:
        shown, encoded = _shake_hands(context, cafile=certfile)
    except ssl.SSLCertVerificationError as error:
        if error.verify_code == _EXPIRED:
            raise CannotListen("The certificate has expired. Renew it; no client would accept it.") from None
        if error.verify_code == _NOT_YET_VALID:
            raise CannotListen("The certificate is not valid yet. Check the clock of this machine.") from None
        raise CannotListen(f"No client would accept the certificate: {error.verify_message}.") from None
    except ssl.SSLError as error:
        raise CannotListen(f"The certificate cannot be used: {error.reason}.") from None
    except OSError as error:  # it was replaced or removed since it was loaded
        raise CannotListen(f"The certificate file '{certfile}' cannot be read: {error.strerror}.") from None
    begins, ends = (ssl.cert_time_to_seconds(str(shown[name])) for name in ("notBefore", "notAfter"))
    return hashlib.sha256(encoded).hexdigest(), begins, ends, _objection(context, text, shown)


def _shake_hands(
    context: ssl.SSLContext, flags: int = 0, cafile: str | None = None, cadata: str | None = None
) -> tuple[_Certificate, bytes]:
    """Shake hands with a client that trusts the certificates of a file or a text.

    Return the certificate that it gets: what Python reads of it, and itself (DER).

    Raises:
        SSLError: the handshake failed.

    """
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.check_hostname = False
    trusting.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | flags
    trusting.load_verify_locations(cafile=cafile, cadata=cadata)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = trusting.wrap_bio(to_client, to_server)
    server = context.wrap_bio(to_server, to_client, server_side=True)
    for side in (client, server) * 2:
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    shown: _Certificate | None = client.getpeercert()
    encoded = client.getpeercert(binary_form=True)
    assert shown is not None, "the handshake is complete"
    assert encoded is not None, "the handshake is complete"
    return shown, encoded


def _objection(context: ssl.SSLContext, text: str, shown: _Certificate) -> str:
    """Return why clients are likely to refuse a certificate that works; empty if there is no known reason.

    Its authority can be checked only if it is in the file as well.
    """
    certificates = _CERTIFICATE.findall(text)
    try:
        _shake_hands(context, VERIFY_FLAGS, cadata="\n".join(certificates[1:] or certificates))
    except ssl.SSLCertVerificationError as error:
        if error.verify_code not in UNKNOWN_ISSUER:  # clients may well know its issuer
            return f"{error.verify_message}"
    except (ssl.SSLError, ValueError):  # the rest of the file cannot be used, and need not be
        pass
    if not any(kind in {"DNS", "IP Address"} for kind, _ in shown.get("subjectAltName", ())):
        return "it names no host (no subjectAltName)"
    if shown.get("issuer") == shown.get("subject"):
        return "it is self-signed, so every client must be given it to trust"
    return ""
