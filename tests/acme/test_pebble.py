"""Certificates from pebble, a real authority."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from cryptography import x509

from p2p_copy.acme.interface import AccountMade, CertificateObtained, OrderBegun
from tests.acme.helpers import Operator, first_certificate, settings
from tests.support.acme_authorities import NAME, pebble

if TYPE_CHECKING:
    from pathlib import Path


def names_of(operator: Operator) -> set[str]:
    leaf = x509.load_pem_x509_certificate(operator.used[-1][0].read_bytes())
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    found = names.get_values_for_type(x509.DNSName)
    return {*found, *map(str, names.get_values_for_type(x509.IPAddress))}


async def test_the_first_certificate_for_a_name_that_is_proved(tmp_path: Path) -> None:
    with pebble(tmp_path / "pebble") as served:
        operator = Operator(settings(served, tmp_path / "acme"), tmp_path)
        await first_certificate(operator, served.tls_port)
    assert [type(event) for event in operator.events] == [AccountMade, OrderBegun, CertificateObtained]
    assert operator.responder.opened == operator.responder.closed == [NAME]
    assert names_of(operator) == {NAME}


@pytest.mark.slow  # three names are proved, and pebble refuses three of five nonces
async def test_bad_nonces_and_several_names_and_an_address(tmp_path: Path) -> None:
    wanted = ("relay.example", "other.example", "127.0.0.1")
    with pebble(tmp_path / "pebble", PEBBLE_WFE_NONCEREJECT="60") as served:
        operator = Operator(settings(served, tmp_path / "acme", *wanted), tmp_path)
        await first_certificate(operator, served.tls_port)
    assert set(operator.responder.opened) == names_of(operator) == set(wanted)
