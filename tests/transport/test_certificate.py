"""Certificates that nobody should have made: reading one never fails, and says nothing where nothing can be read."""

from __future__ import annotations

import base64
import ssl
import warnings
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
import trio
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509 import CertificateBuilder, DNSName, Name, NameAttribute, SubjectAlternativeName
from cryptography.x509.oid import NameOID
from hypothesis import given, strategies as st

from p2p_copy.errors import CertificateNotTrusted
from p2p_copy.transport.address import RelayAddress
from p2p_copy.transport.certificate import issuer_of, pin_of
from p2p_copy.transport.diagnosis import other_key
from tests.support.links import connect, serving

if TYPE_CHECKING:
    from pathlib import Path

    from p2p_copy.transport.tcp import TCPStream

KEY = ec.derive_private_key(12345, ec.SECP256R1())
NAME = Name(
    [
        NameAttribute(NameOID.COUNTRY_NAME, "XY"),
        NameAttribute(NameOID.COMMON_NAME, "Some CA"),
        NameAttribute(NameOID.ORGANIZATION_NAME, "Org"),
    ]
)
GOOD = (
    CertificateBuilder()
    .subject_name(NAME)
    .issuer_name(NAME)
    .public_key(KEY.public_key())
    .serial_number(5)
    .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
    .not_valid_after(datetime(2099, 1, 1, tzinfo=UTC))
    .add_extension(SubjectAlternativeName([DNSName("localhost")]), critical=False)
    .sign(KEY, hashes.SHA256())
    .public_bytes(Encoding.DER)
)


def edited(old: bytes, new: bytes) -> bytes:
    assert old in GOOD
    assert len(old) == len(new)
    return GOOD.replace(old, new, 1)


VERSION_4 = edited(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x03")
VERSION_9 = edited(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x08")
NAME_OF_BITS = edited(b"\x0c\x07Some CA", b"\x03\x07\x00ome CA")
OTHER_CURVE = edited(b"\x2a\x86\x48\xce\x3d\x03\x01\x07", b"\x2a\x86\x48\xce\x3d\x03\x01\x7f")
NEGATIVE_NUMBER = edited(b"\x02\x01\x05", b"\x02\x01\x85")
LONG_COUNTRY = edited(b"\x06\x03\x55\x04\x0a\x0c\x03Org", b"\x06\x03\x55\x04\x06\x0c\x03Org")


def test_what_is_read_of_a_good_certificate() -> None:
    assert issuer_of(GOOD) == "Some CA, Org"
    assert len(pin_of(GOOD)) == 32


@pytest.mark.parametrize(
    ("certificate", "issuer", "has_pin"),
    [
        (VERSION_4, "", False),
        (VERSION_9, "", False),
        (NAME_OF_BITS, "", True),
        (OTHER_CURVE, "Some CA, Org", False),
        (NEGATIVE_NUMBER, "Some CA, Org", True),
        (LONG_COUNTRY, "Some CA", True),
        (GOOD[:-1], "", False),
        (b"", "", False),
    ],
)
def test_what_is_read_of_a_bad_one(certificate: bytes, issuer: str, has_pin: bool) -> None:
    with warnings.catch_warnings(record=True) as told:
        assert issuer_of(certificate) == issuer
        assert pin_of(certificate) == (pin_of(GOOD) if has_pin else b"")
    assert not told, "a warning would stand on the user's terminal"


@given(
    st.lists(
        st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)),
        min_size=1,
        max_size=4,
    )
)
def test_no_change_of_bytes_makes_reading_fail(changes: list[tuple[int, int]]) -> None:
    certificate = bytearray(GOOD)
    for place, value in changes:
        certificate[place] = value
    assert issuer_of(bytes(certificate)).isprintable()
    assert len(pin_of(bytes(certificate))) in (0, 32)


@pytest.mark.parametrize("pin", [None, bytes(32)], ids=["authorities", "pin"])
@pytest.mark.parametrize("certificate", [VERSION_4, VERSION_9, NAME_OF_BITS, LONG_COUNTRY])
async def test_a_server_with_a_bad_certificate_is_not_trusted(
    certificate: bytes, pin: bytes | None, tmp_path: Path
) -> None:
    chain = tmp_path / "chain.pem"
    key = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    body = base64.encodebytes(certificate)
    chain.write_bytes(key + b"-----BEGIN CERTIFICATE-----\n" + body + b"-----END CERTIFICATE-----\n")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)

    async def handshake(stream: TCPStream) -> None:
        with suppress(trio.BrokenResourceError):  # the client leaves as soon as it has seen the certificate
            await trio.SSLStream(stream, context, server_side=True).do_handshake()

    async with serving(handshake) as address:
        with pytest.raises(CertificateNotTrusted):
            async with connect(RelayAddress(True, "127.0.0.1", address.port), "/", pin=pin):
                raise AssertionError("nobody to trust")


def test_a_key_that_cannot_be_read_has_no_pin_to_show() -> None:
    assert "but one that cannot be read." in str(other_key(RelayAddress(True, "relay.example", 443), b""))
