"""What is told of a certificate by its own words: a public authority, a missing chain, and one that cannot be read."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import AuthorityInformationAccessOID, NameOID

from p2p_copy.doctor.finding import Check, Verdict
from p2p_copy.doctor.look import Look, about_certificate, about_clock
from p2p_copy.doctor.way import Way
from p2p_copy.options import RelayAccess

KEY = ec.derive_private_key(12345, ec.SECP256R1())

STAMP = b"\0" + bytes(32) + bytes(8) + b"\0\0" + b"\4\3" + b"\0\4" + bytes(4)
"""A signed timestamp of a log of certificates (RFC 6962 section 3.2), whose signature nobody checks here."""

LOGGED = x509.UnrecognizedExtension(
    x509.ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2"),
    bytes((4, len(STAMP) + 4)) + (len(STAMP) + 2).to_bytes(2) + len(STAMP).to_bytes(2) + STAMP,
)

ISSUER_IS_AT = x509.AuthorityInformationAccess(
    [
        x509.AccessDescription(
            AuthorityInformationAccessOID.CA_ISSUERS,
            x509.UniformResourceIdentifier("http://authority.example/ca"),
        )
    ]
)

WAY = Way.of(RelayAccess("wss://relay.example"))


def issued(*extensions: x509.ExtensionType, days: float = 90) -> bytes:
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Some Authority")]))
        .public_key(KEY.public_key())
        .serial_number(5)
        .not_valid_before(now - timedelta(days=100))
        .not_valid_after(now + timedelta(days=days))
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(KEY, hashes.SHA256()).public_bytes(Encoding.DER)


def digest(certificate: bytes) -> str:
    return hashlib.sha256(certificate).hexdigest()


@pytest.mark.parametrize(
    ("extensions", "of_relay", "trusted", "verdict", "said"),
    [
        ((), "own", True, Verdict.GOOD, "the relay itself shows it"),
        (
            (),
            "another",
            True,
            Verdict.WARNING,
            "TLS is decrypted on the way, with a certificate of 'Some Authority'",
        ),
        ((), "", True, Verdict.WARNING, "That is no public authority"),
        ((LOGGED,), "", True, Verdict.GOOD, "its authority is a public one"),
        # The operator's own proxy speaks TLS to the relay as well.
        ((LOGGED,), "another", True, Verdict.GOOD, "its authority is a public one"),
        ((ISSUER_IS_AT,), "", False, Verdict.WARNING, "does not send the certificate of that authority"),
        ((ISSUER_IS_AT,), "own", False, Verdict.GOOD, "the relay itself shows it"),
    ],
)
def test_what_a_certificate_says(
    extensions: tuple[x509.ExtensionType, ...], of_relay: str, trusted: bool, verdict: Verdict, said: str
) -> None:
    certificate = issued(*extensions)
    shown = {"own": digest(certificate), "another": "0" * 64, "": ""}[of_relay]
    finding = about_certificate(WAY, Look((certificate,), shown, None), trusted=trusted)
    assert (finding.check, finding.verdict) == (Check.CERTIFICATE, verdict)
    assert said in finding.sentence


@pytest.mark.parametrize("chain", [(), (b"",), (b"\x30\x82",)])
def test_a_certificate_that_cannot_be_read(chain: tuple[bytes, ...]) -> None:
    finding = about_certificate(WAY, Look(chain, "", None), trusted=False)
    assert finding.verdict is Verdict.WARNING
    assert "cannot be read" in finding.sentence
    assert about_clock(WAY, Look(chain, "", None)).verdict is Verdict.GOOD


def test_the_dates_of_a_certificate_tell_of_a_wrong_clock_if_nothing_else_does() -> None:
    finding = about_clock(WAY, Look((issued(days=-1),), "", None))
    assert finding.verdict is Verdict.WARNING
    assert (
        f"takes today for {datetime.now(UTC):%Y-%m-%d}, when the certificate is not valid" in finding.sentence
    )
    assert about_clock(WAY, Look((issued(),), "", None)).verdict is Verdict.GOOD


@pytest.mark.parametrize(("ahead", "said"), [(3600, "1 h behind"), (-7200, "2 h ahead of")])
def test_a_clock_is_compared_both_ways(ahead: float, said: str) -> None:
    assert said in about_clock(WAY, Look((), "", ahead)).sentence
