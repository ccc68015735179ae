"""The relay's side of TLS: a context that is known to work, or a sentence that says what is wrong with the files."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Final, TypeAlias

from p2p_copy.errors import CannotListen

_EXPIRED: Final = 10
_NOT_YET_VALID: Final = 9
"""OpenSSL's X509_V_ERR numbers."""


Fingerprint: TypeAlias = tuple[int, ...] | None
"""What tells one file from the next that takes its name."""


def fingerprint(file: str) -> Fingerprint:
    """Return what tells a file from its successor, without reading it; None while there is none.

    Symbolic links are followed: a renewal may change only where they lead.
    """
    try:
        found = Path(file).stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def server_context(certfile: str, keyfile: str | None) -> tuple[ssl.SSLContext, float]:
    """Return a context for a relay with this certificate, proven by one handshake, and the Unix time of its end.

    Raises:
        CannotListen: the files cannot be read, do not belong together, or hold what no client would accept.

    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    context.num_tickets = 0  # nobody resumes, and what a client leaves unread makes a reset of its goodbye
    for what, file in (("certificate", certfile), ("key", keyfile)):
        if file is not None:
            _check_readable(what, file)
    try:
        context.load_cert_chain(certfile, keyfile, password=_no_password)
    except ssl.SSLError as error:
        raise CannotListen(_what_is_wrong(error)) from None
    except OSError as error:
        raise CannotListen(f"Certificate or key cannot be read: {error.strerror}.") from None
    return context, _rehearse(context, certfile)


def _check_readable(what: str, file: str) -> None:
    try:
        Path(file).read_bytes()
    except OSError as error:
        raise CannotListen(f"The {what} file cannot be read: {error.strerror}.") from None


def _no_password() -> str:
    raise CannotListen(
        "The key is protected by a password. A relay starts by itself, so it needs one that is not."
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


def _rehearse(context: ssl.SSLContext, certfile: str) -> float:
    """Shake hands in memory with a client that trusts exactly what is in the file; return when that ends."""
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.check_hostname = False
    trusting.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        trusting.load_verify_locations(cafile=certfile)
        client = trusting.wrap_bio(to_client, to_server)
        server = context.wrap_bio(to_server, to_client, server_side=True)
        for side in (client, server) * 2:
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    except ssl.SSLCertVerificationError as error:
        if error.verify_code == _EXPIRED:
            raise CannotListen("The certificate has expired. Renew it; no client would accept it.") from None
        if error.verify_code == _NOT_YET_VALID:
            raise CannotListen("The certificate is not valid yet. Check the clock of this machine.") from None
        raise CannotListen(f"No client would accept the certificate: {error.verify_message}.") from None
    except ssl.SSLError as error:
        raise CannotListen(f"The certificate cannot be used: {error.reason}.") from None
    except OSError as error:  # it was replaced or removed since it was loaded
        raise CannotListen(f"The certificate file cannot be read: {error.strerror}.") from None
    shown = client.getpeercert()
    assert shown is not None, "the handshake is complete"
    return ssl.cert_time_to_seconds(str(shown["notAfter"]))
