"""Certificates of challenges (RFC 8737), and clients that speak TLS in whatever pieces a test likes."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import trio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

ACME_IDENTIFIER = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31")


def challenge_certificate(name: str = "relay.example") -> tuple[bytes, bytes]:
    """Return certificate and key that answer a challenge, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.UnrecognizedExtension(ACME_IDENTIFIER, b"\x04\x20" + bytes(32)), critical=True)
        .sign(key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return certificate.public_bytes(encoding), key.private_bytes(encoding, *plain)


class Shown(NamedTuple):
    """What a server has shown: its certificate (DER), and the protocol that it chose."""

    certificate: bytes
    protocol: str | None


async def shake_hands(
    stream: trio.abc.Stream,
    *protocols: str,
    name: str | None = "relay.example",
    version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
    piece: int = 1 << 16,
) -> Shown:
    """Shake hands as a client that trusts everybody, and sends its bytes in pieces.

    Raises:
        SSLError: the server does not want to.

    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = context.maximum_version = version
    if protocols:
        context.set_alpn_protocols(list(protocols))
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname=name)
    while True:
        try:
            client.do_handshake()
        except ssl.SSLWantReadError:
            await _send(stream, outgoing.read(), piece)
            if data := await stream.receive_some():
                incoming.write(data)
            else:
                incoming.write_eof()
            continue
        await _send(stream, outgoing.read(), piece)
        certificate = client.getpeercert(binary_form=True)
        assert certificate is not None
        return Shown(certificate, client.selected_alpn_protocol())


async def _send(stream: trio.abc.Stream, data: bytes, piece: int) -> None:
    for at in range(0, len(data), piece):
        await stream.send_all(data[at : at + piece])
        if piece < len(data):
            await trio.sleep(0.0005)
