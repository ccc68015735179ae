"""Reads from a server's certificate what a client tells or compares: its public key, as a pin, and who has issued it.

A pin is the SHA-256 of the public key (SubjectPublicKeyInfo, RFC 5280 section 4.1), as curl and browsers have it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import warnings
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from p2p_copy.errors import UsageError
from p2p_copy.value import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

_PIN: Final = re.compile(r"sha256(?://?|:)", re.IGNORECASE)
"""What may stand in front of the digest of a key: sha256//… is how curl writes it."""

_DIGEST: Final = hashlib.sha256().digest_size

_MOST_ISSUER: Final = 100
"""Characters of an issuer's name that are shown: any text may be in it."""


def parse_pin(text: str) -> bytes:
    """Return the SHA-256 of a public key: `sha256//` and base64, as curl writes it, or hexadecimal digits.

    Raises:
        UsageError: the text has another form.

    """
    digest = _PIN.sub("", text.strip(), count=1)
    try:
        number = re.sub(":", "", digest)
        is_hex = len(number) == 2 * _DIGEST
        found = binascii.unhexlify(number) if is_hex else base64.b64decode(digest, validate=True)
    except ValueError:
        found = b""
    if len(found) != _DIGEST:
        raise UsageError(
            "`pin` is the SHA-256 of the relay's public key: sha256// and 44 letters of base64, or 64 hexadecimal "
            "digits."
        )
    return found


def pin_for(pin: str | None, *, tls: bool) -> bytes | None:
    """Return the pin of a relay, which is reached by TLS or not; None if there is none.

    Raises:
        UsageError: it has another form, or there will be no key to compare with it.

    """
    if pin is None:
        return None
    digest = parse_pin(pin)
    if not tls:
        raise UsageError(
            "`pin` has no effect with a ws:// relay, which shows no key. Use wss://, or leave the pin out, also of the "
            "configuration file."
        )
    return digest


def pin_of(certificate: bytes) -> bytes:
    """Return the SHA-256 of the public key in a certificate (DER, as the key itself); nothing if it cannot be read."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat  # slow, and rarely needed
    from cryptography.x509 import load_der_x509_certificate

    key = b""
    with _of_a_stranger():
        public = load_der_x509_certificate(certificate).public_key()
        key = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(key).digest() if key else b""


def pin_text(pin: bytes) -> str:
    """Return a pin as it is shown, and as curl takes it."""
    return f"sha256//{base64.b64encode(pin).decode()}"


class CertificateFacts(NamedTuple):
    """What a certificate says of itself. Nothing of it is proved.

    Attributes:
        issuer: who says that he has issued it, in printable characters; empty if it does not say.
        begins: Unix time from which it is valid.
        ends: Unix time at which it ends.
        is_logged: it has proofs that its authority has published it (RFC 6962), as browsers demand of every public
            authority. Those of an organisation, or of a box that decrypts TLS, have none.
        names_issuer: it says where its issuer's certificate can be fetched, as those of public authorities do.
        is_authority: it is that of an authority.

    """

    issuer: str
    begins: float
    ends: float
    is_logged: bool
    names_issuer: bool
    is_authority: bool


def facts_of(certificate: bytes) -> CertificateFacts | None:
    """Return what a certificate (DER) says of itself; None if it cannot be read."""
    from cryptography.x509 import (
        AuthorityInformationAccess,
        BasicConstraints,
        PrecertificateSignedCertificateTimestamps,
        load_der_x509_certificate,
    )

    with _of_a_stranger():
        read = load_der_x509_certificate(certificate)
        extensions = {type(each.value): each.value for each in read.extensions}
        constraints = extensions.get(BasicConstraints)
        return CertificateFacts(
            issuer_of(certificate),
            read.not_valid_before_utc.timestamp(),
            read.not_valid_after_utc.timestamp(),
            PrecertificateSignedCertificateTimestamps in extensions,
            AuthorityInformationAccess in extensions,
            isinstance(constraints, BasicConstraints) and constraints.ca,
        )
    return None


def issuer_of(certificate: bytes) -> str:
    """Return who says that he has issued a certificate, in printable characters; empty if it does not say."""
    from cryptography.x509 import load_der_x509_certificate
    from cryptography.x509.oid import NameOID

    found: list[str] = []
    with _of_a_stranger():
        issuer = load_der_x509_certificate(certificate).issuer
        found = [
            str(attribute.value)
            for kind in (NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME)
            for attribute in issuer.get_attributes_for_oid(kind)
        ]
    name = ", ".join(dict.fromkeys(found))
    name = "".join(letter if letter.isascii() and letter.isprintable() else "?" for letter in name)
    return name if len(name) <= _MOST_ISSUER else f"{name[:_MOST_ISSUER]}..."


@contextmanager
def _of_a_stranger() -> Iterator[None]:
    """End the block without exception or warning at what cannot be read: any stranger may have made the certificate.

    The exceptions of `cryptography` have no class in common: ValueError, TypeError, InvalidVersion and others.
    """
    with suppress(Exception), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
