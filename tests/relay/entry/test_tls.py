from __future__ import annotations

import os
import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from p2p_copy.errors import CannotListen
from p2p_copy.relay.config import RelayConfig
from p2p_copy.relay.entry.certificates import Certificates
from p2p_copy.relay.log.abuse import AbuseCounter
from p2p_copy.relay.server import prepared
from tests.relay.clients import Relay, relay_running
from tests.support.certificates import Issued

if TYPE_CHECKING:
    import trustme


def config(certfile: Path, keyfile: Path | None) -> RelayConfig:
    return RelayConfig("127.0.0.1", 0, certfile=str(certfile), keyfile=str(keyfile) if keyfile else None)


async def starts(certfile: Path, keyfile: Path | None) -> None:
    """Start a relay with these files, and stop it."""
    async with trio.open_nursery() as nursery:
        await nursery.start((await prepared(config(certfile, keyfile))).run)
        nursery.cancel_scope.cancel()


async def refused(certfile: Path, keyfile: Path | None) -> str:
    """Return why a relay does not start with these files."""
    with pytest.raises(CannotListen) as caught:
        await prepared(config(certfile, keyfile))
    return str(caught.value)


def contents(*files: Path) -> bytes:
    return b"".join(file.read_bytes() for file in files)


@pytest.fixture
def cert(tls_settings: dict[str, Any]) -> Path:
    return Path(tls_settings["certfile"])


@pytest.fixture
def key(tls_settings: dict[str, Any]) -> Path:
    return Path(tls_settings["keyfile"])


async def test_certificate_and_key_in_one_file_or_in_two(cert: Path, key: Path, tmp_path: Path) -> None:
    await starts(cert, key)
    (tmp_path / "both.pem").write_bytes(contents(key, cert))
    await starts(tmp_path / "both.pem", None)


async def test_a_missing_file_is_said_to_be(cert: Path, key: Path, tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    assert f"certificate file '{missing}' cannot be read: No such file" in await refused(missing, key)
    assert f"key file '{missing}' cannot be read: No such file" in await refused(cert, missing)
    assert f"certificate file '{tmp_path}' cannot be read: Is a directory" in await refused(tmp_path, key)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read every file")
async def test_a_file_that_may_not_be_read_is_said_to_be(cert: Path, key: Path, tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_bytes(contents(key))
    (tmp_path / "key.pem").chmod(0)
    assert "key.pem' cannot be read: Permission denied" in await refused(cert, tmp_path / "key.pem")


async def test_files_of_two_pairs_are_said_to_be(cert: Path, tmp_path: Path, authority: trustme.CA) -> None:
    authority.issue_cert("other").private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    assert "does not belong to the certificate" in await refused(cert, tmp_path / "key.pem")


@pytest.mark.parametrize(
    "data", [b"", b"garbage", b"-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n"]
)
async def test_files_that_hold_something_else_are_said_to(
    cert: Path, key: Path, tmp_path: Path, data: bytes
) -> None:
    (tmp_path / "x.pem").write_bytes(data)
    assert "not in PEM form" in await refused(tmp_path / "x.pem", key)
    assert "not in PEM form" in await refused(cert, tmp_path / "x.pem")


async def test_a_key_with_a_password_is_said_to_have_one(cert: Path, key: Path, tmp_path: Path) -> None:
    opened = load_pem_private_key(contents(key), None)
    (tmp_path / "key.pem").write_bytes(
        opened.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    )
    assert "protected by a password" in await refused(cert, tmp_path / "key.pem")


@pytest.mark.parametrize(
    ("dates", "words"),
    [
        ({"not_after": datetime(2020, 1, 1, tzinfo=UTC)}, "has expired"),
        ({"not_before": datetime(2200, 1, 1, tzinfo=UTC)}, "is not valid yet"),
    ],
)
async def test_a_certificate_out_of_its_time_is_said_to_be(
    tmp_path: Path, authority: trustme.CA, dates: dict[str, Any], words: str
) -> None:
    dates = {"not_after": datetime(2201, 1, 1, tzinfo=UTC)} | dates
    certificate = authority.issue_cert("127.0.0.1", **dates)
    certificate.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "x.pem"))
    assert words in await refused(tmp_path / "x.pem", None)


async def shake_hands(relay: Relay, context: ssl.SSLContext) -> tuple[Any, Any]:
    context.load_verify_locations(cafile=relay.ca_file)
    async with await relay.tcp() as below:
        stream = trio.SSLStream(below, context, server_hostname="127.0.0.1", https_compatible=True)
        await stream.do_handshake()
        return stream.version(), stream.selected_alpn_protocol()


async def test_tls_1_2_and_1_3_are_spoken_and_http_1_1_is_agreed_on(tls_settings: dict[str, Any]) -> None:
    async with relay_running(**tls_settings) as relay:
        for version, name in ((ssl.TLSVersion.TLSv1_2, "TLSv1.2"), (ssl.TLSVersion.TLSv1_3, "TLSv1.3")):
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.minimum_version = context.maximum_version = version
            context.set_alpn_protocols(["h2", "http/1.1"])
            assert await shake_hands(relay, context) == (name, "http/1.1")


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
async def test_older_tls_is_not_spoken(tls_settings: dict[str, Any]) -> None:
    async with relay_running(**tls_settings) as relay:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises(trio.BrokenResourceError):
            await shake_hands(relay, context)


@pytest.mark.parametrize(
    ("issued", "chain", "words"),
    [
        (Issued(), True, ""),
        (Issued(), False, ""),
        (Issued(lax=True), True, "Basic Constraints of CA cert not marked critical"),
        (Issued(lax=True), False, ""),  # the authority is not there to be looked at
        (Issued(names=False), True, "it names no host"),
        (Issued(by_itself=True), True, "it is self-signed"),
    ],
)
async def test_what_clients_will_refuse_is_said_at_the_start_and_after_a_reload(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, issued: Issued, chain: bool, words: str
) -> None:
    certificate, key, _ = issued.write(tmp_path, chain=chain)
    async with relay_running(certfile=certificate, keyfile=key):
        await trio.testing.wait_all_tasks_blocked(0.01)
    await Certificates(certificate, key, AbuseCounter()).reload()
    said = [one.getMessage() for one in caplog.records if "refuse" in one.getMessage()]
    assert len(said) == (2 if words else 0)
    assert all(words in line for line in said)
