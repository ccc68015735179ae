from __future__ import annotations

import logging
import os
import signal
import socket
import ssl
import time
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from p2p_copy.errors import CannotListen
from p2p_copy.protocol.rendezvous import Role
from p2p_copy.relay import limits
from p2p_copy.relay.config import RelayConfig
from p2p_copy.relay.entry.certificates import Certificates
from p2p_copy.relay.log.abuse import AbuseCounter
from p2p_copy.relay.server import Relay
from tests.relay import clients
from tests.support.processes import PATIENCE, QUICK, receiver, relay, sender
from tests.support.trees import unfinished_size

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

DAY = 24 * 3600

KEY_TYPES = pytest.mark.parametrize("kind", trustme.KeyType, ids=lambda kind: kind.name)


class Files:
    """A certificate and its key on the disk, renewed as often as a test likes."""

    def __init__(
        self, folder: Path, authority: trustme.CA, kind: trustme.KeyType = trustme.KeyType.ECDSA
    ) -> None:
        self.authority = authority
        self.kind = kind
        self.folder = folder
        self.certificate = folder / "cert.pem"
        self.key = folder / "key.pem"
        self.ca_file = folder / "ca.pem"
        authority.cert_pem.write_to_path(str(self.ca_file))
        self.renew()

    def issue(self, **validity: Any) -> trustme.LeafCert:
        return self.authority.issue_cert("127.0.0.1", key_type=self.kind, **validity)

    def renew(self, **validity: Any) -> None:
        self.write(self.issue(**validity))

    def write(self, issued: trustme.LeafCert) -> None:
        self.write_certificate(issued)
        issued.private_key_pem.write_to_path(str(self.key))

    def write_certificate(self, issued: trustme.LeafCert) -> None:
        self.certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))

    @property
    def leaf(self) -> bytes:
        """The certificate as it is shown in a handshake."""
        end = "-----END CERTIFICATE-----\n"
        return ssl.PEM_cert_to_DER_cert(self.certificate.read_text().partition(end)[0] + end)

    @property
    def names(self) -> tuple[str, str]:
        return str(self.certificate), str(self.key)

    def shown(self, port: int) -> bytes:
        """Return the certificate that a new client is shown."""
        context = ssl.create_default_context(cafile=str(self.ca_file))
        with (
            socket.create_connection(("127.0.0.1", port), timeout=QUICK) as tcp,
            context.wrap_socket(tcp, server_hostname="127.0.0.1") as secure,
        ):
            certificate = secure.getpeercert(binary_form=True)
            assert certificate is not None
            return certificate


@pytest.fixture
def files(tmp_path: Path, authority: trustme.CA) -> Files:
    return Files(tmp_path, authority)


def remove(files: Files) -> None:
    files.certificate.unlink()


def make_unreadable(files: Files) -> None:
    files.key.unlink()
    files.key.mkdir()  # even for root


def mismatch(files: Files) -> None:
    files.write_certificate(files.issue())


def expire(files: Files) -> None:
    end = datetime.now(UTC) - timedelta(days=1)
    files.renew(not_before=end - timedelta(days=90), not_after=end)


def come_too_early(files: Files) -> None:
    begin = datetime.now(UTC) + timedelta(days=2)
    files.renew(not_before=begin, not_after=begin + timedelta(days=90))


def garble(files: Files) -> None:
    files.certificate.write_bytes(os.urandom(1000))


def cut(files: Files) -> None:
    files.certificate.write_bytes(files.certificate.read_bytes()[:300])


def protect(files: Files) -> None:
    key = serialization.load_pem_private_key(files.key.read_bytes(), None)
    files.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )


def self_signed(key: rsa.RSAPrivateKey, files: Files) -> None:
    now = datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "relay.example")])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=90))
        .sign(key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    files.certificate.write_bytes(certificate.public_bytes(encoding))
    plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    files.key.write_bytes(key.private_bytes(encoding, *plain))


def weaken(files: Files) -> None:
    self_signed(rsa.generate_private_key(65537, 1024), files)


FAULTS = pytest.mark.parametrize(
    ("fault", "words"),
    [
        (remove, "cert.pem' cannot be read: No such file"),
        (make_unreadable, "key.pem' cannot be read: Is a directory"),
        (mismatch, "does not belong to the certificate"),
        (expire, "has expired"),
        (come_too_early, "is not valid yet"),
        (garble, "not in PEM form"),
        (cut, "not in PEM form"),
        (protect, "protected by a password"),
        (weaken, "too weak"),
    ],
)


# At the start


@KEY_TYPES
@FAULTS
def test_what_is_wrong_with_the_files_is_said_at_the_start(
    tmp_path: Path, authority: trustme.CA, kind: trustme.KeyType, fault: Any, words: str
) -> None:
    files = Files(tmp_path, authority, kind)
    fault(files)
    with pytest.raises(CannotListen, match=words):
        Certificates(*files.names, AbuseCounter())


@KEY_TYPES
async def test_both_kinds_of_keys_serve(tmp_path: Path, authority: trustme.CA, kind: trustme.KeyType) -> None:
    files = Files(tmp_path, authority, kind)
    async with clients.relay_running(
        str(files.ca_file), certfile=files.names[0], keyfile=files.names[1]
    ) as relay:
        await relay.works("a")


def test_a_certificate_that_signed_itself_serves(files: Files) -> None:
    self_signed(rsa.generate_private_key(65537, 2048), files)
    assert Certificates(*files.names, AbuseCounter()).expires == pytest.approx(time.time() + 90 * DAY, abs=60)


def test_one_file_may_hold_certificate_and_key(files: Files) -> None:
    both = files.folder / "both.pem"
    both.write_bytes(files.key.read_bytes() + files.certificate.read_bytes())
    assert (
        Certificates(str(both), None, AbuseCounter()).expires
        == Certificates(*files.names, AbuseCounter()).expires
    )


# While it runs


@pytest.fixture
async def running(files: Files) -> AsyncIterator[Relay]:
    """A relay with these files that does not look at them by itself."""
    config = RelayConfig(
        "127.0.0.1", 0, certfile=files.names[0], keyfile=files.names[1], watch_certificates=False
    )
    relay = Relay(config)
    async with trio.open_nursery() as nursery:
        await nursery.start(relay.run)
        yield relay
        relay.stop(1)


def port_of(relay: Relay) -> int:
    return int(relay.urls[0].rpartition(":")[2])


async def shown(files: Files, relay: Relay) -> bytes:
    return await trio.to_thread.run_sync(files.shown, port_of(relay))


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [f"{record.levelname} {record.getMessage()}" for record in caplog.records if not record.exc_info]


@pytest.fixture(autouse=True)
def log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="p2p_copy.relay")


async def test_a_reload_is_for_new_clients_and_leaves_the_others_alone(files: Files, running: Relay) -> None:
    known = clients.Relay(port_of(running), str(files.ca_file))
    async with known.pair("a") as (one, other), known.waiting(Role.SENDER, "b"):
        before = await shown(files, running)
        files.renew()
        assert await shown(files, running) == before
        await running.reload()
        assert await shown(files, running) == files.leaf != before
        await clients.exchange(one, other)
        async with known.waiting(Role.RECEIVER, "b"):
            pass


async def test_a_reload_may_change_the_kind_of_key(files: Files, running: Relay) -> None:
    files.kind = trustme.KeyType.RSA
    files.renew()
    await running.reload()
    assert await shown(files, running) == files.leaf


@FAULTS
async def test_a_reload_that_fails_changes_nothing_and_says_why_in_one_line(
    files: Files, running: Relay, caplog: pytest.LogCaptureFixture, fault: Any, words: str
) -> None:
    before = files.leaf
    fault(files)
    await running.reload()
    assert await shown(files, running) == before
    (line,) = lines(caplog)
    assert line.startswith("ERROR certificate not reloaded, the old one stays: ")
    assert words in line
    assert "\n" not in line


async def test_changed_files_are_loaded_without_an_order(files: Files) -> None:
    certificates = Certificates(*files.names, AbuseCounter())
    first = certificates.context
    await certificates.reload_if_changed()
    assert certificates.context is first
    files.renew()
    await certificates.reload_if_changed()
    assert certificates.context is not first


async def test_symlinks_with_another_target_are_a_change(files: Files) -> None:
    live = files.folder / "live"
    live.mkdir()
    links = live / "cert.pem", live / "key.pem"
    for link, file in zip(links, (files.certificate, files.key), strict=True):
        link.symlink_to(file)
    certificates = Certificates(str(links[0]), str(links[1]), AbuseCounter())
    first = certificates.context
    archive = files.folder / "2"
    archive.mkdir()
    renewed = Files(archive, files.authority)
    for link, file in zip(links, (renewed.certificate, renewed.key), strict=True):
        link.unlink()
        link.symlink_to(file)
    await certificates.reload_if_changed()
    assert certificates.context is not first


async def test_files_that_are_half_renewed_are_tried_again_when_the_other_half_is_there(
    files: Files, caplog: pytest.LogCaptureFixture
) -> None:
    certificates = Certificates(*files.names, AbuseCounter())
    first = certificates.context
    renewed = files.issue()
    files.write_certificate(renewed)
    for _ in range(3):
        await certificates.reload_if_changed()
    assert certificates.context is first
    assert len(lines(caplog)) == 1, "an error is said once"
    files.write(renewed)
    await certificates.reload_if_changed()
    assert certificates.context is not first


@pytest.mark.parametrize("files_too", [True, False])
async def test_the_files_are_watched_if_wanted(
    files: Files, monkeypatch: pytest.MonkeyPatch, files_too: bool
) -> None:
    monkeypatch.setattr(limits, "CERTIFICATE_CHECK_INTERVAL", 0.01)
    certificates = Certificates(*files.names, AbuseCounter())
    first = certificates.context
    looked = trio.Event()
    look = certificates.reload_if_changed

    async def look_and_tell() -> None:
        await look()
        looked.set()

    monkeypatch.setattr(certificates, "reload_if_changed", look_and_tell)
    files.renew()
    with trio.move_on_after(QUICK if files_too else 0.1):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(certificates.watch, files=files_too))
            await looked.wait()
            nursery.cancel_scope.cancel()
    assert (certificates.context is not first) == looked.is_set() == files_too


# The end that comes near


async def test_the_coming_end_is_logged_once_at_each_mark(
    files: Files, caplog: pytest.LogCaptureFixture
) -> None:
    certificates = Certificates(*files.names, AbuseCounter())
    for days in (15, 14.1, 13.9, 13.8, 7.1, 6.9, 6.8, 1.1, 0.9, 0.1, -0.1, -5):
        certificates.expires = time.time() + days * DAY
        certificates.warn_of_end()
        certificates.warn_of_end()
    assert lines(caplog) == [
        "WARNING the certificate expires in 13 days: renew it",
        "WARNING the certificate expires in 6 days: renew it",
        "WARNING the certificate expires in 21 hours: renew it",
        "ERROR the certificate has expired: clients refuse this relay until it is renewed",
    ]


async def test_only_the_nearest_mark_counts_and_a_renewal_resets_it(
    files: Files, caplog: pytest.LogCaptureFixture
) -> None:
    files.renew(not_after=datetime.now(UTC) + timedelta(days=3.5))
    certificates = Certificates(*files.names, AbuseCounter())
    certificates.warn_of_end()
    await certificates.reload()  # the same one again
    files.renew(not_after=datetime.now(UTC) + timedelta(days=13.5))
    await certificates.reload()
    assert [line for line in lines(caplog) if line.startswith("WARNING")] == [
        "WARNING the certificate expires in 3 days: renew it",
        "WARNING the certificate expires in 13 days: renew it",
    ]


async def test_a_relay_logs_a_coming_end_when_it_starts(
    files: Files, caplog: pytest.LogCaptureFixture
) -> None:
    files.renew(not_after=datetime.now(UTC) + timedelta(days=1.5))
    settings = {"certfile": files.names[0], "keyfile": files.names[1]}
    async with clients.relay_running(str(files.ca_file), **settings) as relay:
        await relay.works("a")
    assert "WARNING the certificate expires in 1 day: renew it" in lines(caplog)


# Real processes


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has no SIGHUP")
def test_ten_renewals_do_not_disturb_a_running_transfer(tmp_path: Path, files: Files) -> None:
    source, out = tmp_path / "big", tmp_path / "out"
    source.write_bytes(os.urandom(1 << 20) * 192)
    options = ("--ca-file", str(files.ca_file))
    words = ("--certfile", files.names[0], "--keyfile", files.names[1], "--reload-certs", "signal")
    with relay(*words) as (url, server):
        port = int(url.rpartition(":")[2])
        one, other = sender(url, source, options=options), receiver(url, out, options=options)
        seen = {files.shown(port)}
        moved = 0
        for _ in range(10):
            moved = hold_when_moved(other, out, moved)
            files.renew()
            server.process.send_signal(signal.SIGHUP)
            wait_until_shown(files, port)
            seen.add(files.shown(port))
            other.process.send_signal(signal.SIGCONT)
        assert len(seen) == 11

        hold_when_moved(other, out, moved)
        last = files.leaf
        mismatch(files)
        server.process.send_signal(signal.SIGHUP)
        assert server.process.stdout is not None
        while "not reloaded" not in (line := server.process.stdout.readline()):
            assert line, "it ended"
        assert "does not belong to the certificate" in line
        assert files.shown(port) == last
        other.process.send_signal(signal.SIGCONT)

        for process in (one, other):
            code, _, errors = process.wait()
            assert code == 0, errors
    assert (out / "big").read_bytes() == source.read_bytes()


def hold_when_moved(other: Any, out: Path, moved: int) -> int:
    """Stop a receiver in the middle, when it has more than `moved` bytes; return how many it has."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        size = unfinished_size(out)
        if size > moved:
            other.process.send_signal(signal.SIGSTOP)
            assert list(out.rglob("*.part")), "the transfer was over too soon"
            return size
        assert other.process.poll() is None, other.wait()
        time.sleep(0.001)
    raise AssertionError("nothing moves")


def wait_until_shown(files: Files, port: int) -> None:
    deadline = time.monotonic() + QUICK
    while files.shown(port) != files.leaf:
        assert time.monotonic() < deadline, "the certificate was not reloaded"
