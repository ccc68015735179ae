"""Single parts: the challenge's certificate, what answers say of time, errors in words, the extra that is missing."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from acme import messages
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from josepy.jwk import JWKEC

from p2p_copy.acme import limits
from p2p_copy.acme.authority import TlsAlpn01, problem_words, renewal_id, seconds
from p2p_copy.acme.challenge import challenge_certificate
from p2p_copy.acme.failures import words
from p2p_copy.acme.interface import Status
from tests.support.processes import environment

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@pytest.mark.parametrize("name", ["relay.example", "192.0.2.7", "2001:db8::1"])
def test_a_challenge_names_what_it_proves_and_has_the_proof(name: str) -> None:
    pem, key_pem = challenge_certificate(name, "token.thumbprint")
    certificate = x509.load_pem_x509_certificate(pem)
    proof = certificate.extensions.get_extension_for_oid(x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31"))
    assert proof.critical
    assert isinstance(proof.value, x509.UnrecognizedExtension)
    assert proof.value.value == b"\x04\x20" + hashlib.sha256(b"token.thumbprint").digest()
    (only,) = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert str(only.value) == name
    assert b"PRIVATE KEY" in key_pem


def test_a_token_stays_as_it_came() -> None:
    """The last character of this one has bits that decoding loses."""
    token = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oB"
    challenge = messages.ChallengeBody.from_json(
        {"type": "tls-alpn-01", "url": "https://ca.example/1", "token": token, "status": "pending"}
    ).chall
    assert isinstance(challenge, TlsAlpn01)
    key = JWKEC(key=ec.generate_private_key(ec.SECP256R1()))
    assert challenge.key_authorization(key).partition(".")[0] == token


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"Retry-After": "7200"}, 7200),
        ({"Retry-After": " 0 "}, 0),
        ({"Retry-After": "9" * 30}, limits.MOST_RETRY_AFTER),
        ({"Retry-After": "-5"}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": ""}, None),
        ({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT", "Date": "Wed, 21 Oct 2015 07:26:00 GMT"}, 120),
        ({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0),
        ({"Retry-After": "Fri, 31 Dec 9999 23:59:59 GMT"}, limits.MOST_RETRY_AFTER),
    ],
)
def test_what_an_answer_asks_to_wait(headers: Mapping[str, str], expected: float | None) -> None:
    assert seconds(headers) == expected


def test_the_name_of_a_certificate_for_its_authority_is_that_of_the_rfc() -> None:
    """The example of RFC 9773, section 4.1 and appendix A."""
    pem = b"""-----BEGIN CERTIFICATE-----
MIIBQzCB66ADAgECAgUAh2VDITAKBggqhkjOPQQDAjAVMRMwEQYDVQQDEwpFeGFt
cGxlIENBMCIYDzAwMDEwMTAxMDAwMDAwWhgPMDAwMTAxMDEwMDAwMDBaMBYxFDAS
BgNVBAMTC2V4YW1wbGUuY29tMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEeBZu
7cbpAYNXZLbbh8rNIzuOoqOOtmxA1v7cRm//AwyMwWxyHz4zfwmBhcSrf47NUAFf
qzLQ2PPQxdTXREYEnKMjMCEwHwYDVR0jBBgwFoAUaYhba4dGQEHhs3uEe6CuLN4B
yNQwCgYIKoZIzj0EAwIDRwAwRAIge09+S5TZAlw5tgtiVvuERV6cT4mfutXIlwTb
+FYN/8oCIClDsqBklhB9KAelFiYt9+6FDj3z4KGVelYM5MdsO3pK
-----END CERTIFICATE-----"""
    assert renewal_id(x509.load_pem_x509_certificate(pem)) == "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE"


def test_problems_are_told_with_those_about_single_names() -> None:
    about = {"type": "urn:ietf:params:acme:error:caa", "detail": "CAA forbids it."}
    problem = messages.Error.from_json(
        {
            "type": "urn:ietf:params:acme:error:rejectedIdentifier",
            "detail": "Some names are refused.\nSee below.",
            "subproblems": [{**about, "identifier": {"type": "dns", "value": "a.example"}}, about],
        }
    )
    said = "'Some names are refused. See below.' (rejectedIdentifier); a.example: 'CAA forbids it.'; 'CAA forbids it.'"
    assert problem_words(problem) == said


@pytest.mark.parametrize("text", ["a\nb", "a\x1b[31m\u202eb", "x" * 100_000, ""])
def test_what_others_say_stays_in_a_line(text: str) -> None:
    assert words(text).isprintable()
    assert len(words(text)) <= limits.MOST_WORDS + 1


@pytest.mark.parametrize(
    ("status", "looks"),
    [
        (Status(("a",)), False),
        (Status(("a",), failures=1), True),
        (Status(("a",), 0, 600, failures=9), False),
        (Status(("a",), 0, 600, failures=0, is_wanted=False), False),
        (Status(("a",), 0, 600, failures=1, is_wanted=False), True),
        (Status(("a",), 0, 121), False),
        (Status(("a",), 0, 119), True),
        (Status(("a",), 0, 99), True),
    ],
)
def test_an_operator_is_called_by_the_rest_of_the_life(status: Status, looks: bool) -> None:
    assert status.needs_attention(100.0) == looks


MISSING = """
import sys
from pathlib import Path
sys.modules["acme"] = None
from p2p_copy.acme.keeper import CertificateKeeper
from p2p_copy.acme.settings import AcmeSettings
from p2p_copy.errors import UsageError
try:
    CertificateKeeper(AcmeSettings(("a.example",), Path("acme")), None, None, None)
except UsageError as error:
    print(error)
"""


def test_without_the_extra_a_sentence_says_how_to_install_it(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", MISSING],
        capture_output=True,
        text=True,
        env=environment(),
        cwd=tmp_path,
        check=False,
    )
    assert "pip install 'p2p-copy[acme]'" in done.stdout, done.stderr
    assert list(tmp_path.iterdir()) == []
