"""The certificate that proves to an authority that a name leads here (TLS-ALPN-01, RFC 8737)."""

from __future__ import annotations

import hashlib
import ipaddress
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from p2p_copy.acme.settings import is_address

_ACME_IDENTIFIER: Final = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31")

_OCTETS: Final = b"\x04\x20"
"""What stands before 32 bytes in DER to make them an OCTET STRING."""

_LIFE: Final = timedelta(days=7)
"""Authorities do not look at it; it is long enough for clocks that differ."""


def general_name(identifier: str) -> x509.GeneralName:
    """Return a canonical name as certificates have it."""
    return (
        x509.IPAddress(ipaddress.ip_address(identifier))
        if is_address(identifier)
        else x509.DNSName(identifier)
    )


def challenge_certificate(identifier: str, key_authorization: str) -> tuple[bytes, bytes]:
    """Return certificate and key (PEM) for one challenge (RFC 8737, section 3).

    Args:
        identifier: the name to be proved; for an IP address the certificate has that (RFC 8738, section 6).
        key_authorization: token and hash of the account's key (RFC 8555, section 8.1).

    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "ACME challenge")])
    now = datetime.now(UTC)
    proof = _OCTETS + hashlib.sha256(key_authorization.encode()).digest()
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _LIFE)
        .not_valid_after(now + _LIFE)
        .add_extension(x509.SubjectAlternativeName([general_name(identifier)]), critical=False)
        .add_extension(x509.UnrecognizedExtension(_ACME_IDENTIFIER, proof), critical=True)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM), key_pem(key)


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return a private key as PEM, not encrypted."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
