"""Certificates for 127.0.0.1: good ones, and unusual and faulty ones."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from pathlib import Path


_SIGNS = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


class Certificates:
    """A certificate for 127.0.0.1, its key, and the authority that signed it."""

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        issued = authority.issue_cert("127.0.0.1")
        self.authority = str(folder / "ca.pem")
        self.certificate = str(folder / "cert.pem")
        self.key = str(folder / "key.pem")
        authority.cert_pem.write_to_path(self.authority)
        issued.private_key_pem.write_to_path(self.key)
        for number, blob in enumerate(issued.cert_chain_pems):
            blob.write_to_path(self.certificate, append=number > 0)

    @property
    def options(self) -> tuple[str, ...]:
        return "--certfile", self.certificate, "--keyfile", self.key


class Issued:
    """A certificate that may be unusual or faulty, by an authority of its own or by itself."""

    def __init__(self, *, lax: bool = False, names: bool = True, by_itself: bool = False) -> None:
        """Issue it.

        Args:
            lax: the authority does not mark as critical that it is one, which RFC 5280 demands.
            names: the certificate names its host.
            by_itself: it is self-signed.

        """
        self._key = ec.generate_private_key(ec.SECP256R1())
        of_authority = self._key if by_itself else ec.generate_private_key(ec.SECP256R1())
        public = of_authority.public_key()
        identifier = x509.SubjectKeyIdentifier.from_public_key(public)
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(public)
        host = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        own: list[tuple[x509.ExtensionType, bool]] = [(host, False)] if names else []
        if by_itself:
            own += (
                (x509.BasicConstraints(ca=True, path_length=None), True),
                (identifier, False),
                (_SIGNS, True),
            )
            self.authority = self.leaf = _signed("relay", self._key, "relay", of_authority, own)
        else:
            made: list[tuple[x509.ExtensionType, bool]] = [
                (x509.BasicConstraints(ca=True, path_length=None), not lax),
                (identifier, False),
                (_SIGNS, True),
            ]
            self.authority = _signed("authority", of_authority, "authority", of_authority, made)
            self.leaf = _signed("relay", self._key, "authority", of_authority, [*own, (issuer, False)])

    def write(self, folder: Path, *, chain: bool = True) -> tuple[str, str, str]:
        """Write certificate (with that of the authority behind it: `chain`), key and authority; return the paths."""
        paths = folder / "cert.pem", folder / "key.pem", folder / "ca.pem"
        key = self._key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        for path, data in zip(paths, (self.leaf, key, self.authority), strict=True):
            path.write_bytes(data)
        if chain and self.leaf != self.authority:
            paths[0].write_bytes(self.leaf + self.authority)
        certificate, key_file, authority = map(str, paths)
        return certificate, key_file, authority


def _signed(
    subject: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: str,
    by: ec.EllipticCurvePrivateKey,
    extensions: list[tuple[x509.ExtensionType, bool]],
) -> bytes:
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=90))
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(by, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
