"""A relay without TLS and one with it, for tests that must hold for both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trustme

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="session")
def tls_settings(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What makes a relay of the tests one with TLS."""
    directory: Path = tmp_path_factory.mktemp("tls")
    certificate = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(str(directory / "ca.pem"))
    certificate.private_key_pem.write_to_path(str(directory / "key.pem"))
    for blob in certificate.cert_chain_pems:
        blob.write_to_path(str(directory / "cert.pem"), append=True)
    return {
        "ca_file": str(directory / "ca.pem"),
        "certfile": str(directory / "cert.pem"),
        "keyfile": str(directory / "key.pem"),
    }


@pytest.fixture(params=["ws", "wss"])
def settings(request: pytest.FixtureRequest, tls_settings: dict[str, Any]) -> dict[str, Any]:
    """Settings of a relay without and with TLS."""
    return tls_settings if request.param == "wss" else {}
