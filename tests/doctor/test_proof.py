"""If TLS is wrong, the doctor says who would answer an authority that checks the name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from p2p_copy import errors
from p2p_copy.doctor import limits
from p2p_copy.doctor.finding import Check
from p2p_copy.doctor.proof import ask_for_proof
from tests.contrib.programs import free_port
from tests.doctor.support import examined
from tests.relay.clients import relay_running
from tests.support.challenges import challenge_certificate
from tests.support.links import serving

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from p2p_copy.transport.tcp import TCPStream
    from tests.support.certificates import Certificates


async def test_a_relay_without_a_certificate_yet_can_be_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with relay_running(challenge_folder=tmp_path / "challenge") as relay:
        port = relay.address.port
        monkeypatch.setattr(limits, "ACME_PORT", port)
        found = await examined(f"wss://127.0.0.1:{port}", tmp_path)
        assert isinstance(found.wrong(Check.TLS), errors.RelayUnreachable)
        assert "has no certificate yet" in str(found.wrong(Check.TLS))
        assert "a relay without a certificate answers" in found.findings[Check.ACME].sentence
        assert relay.server.certificates is not None
        assert relay.server.certificates.challenge is not None
        await relay.server.certificates.challenge.open("127.0.0.1", *challenge_certificate())
        assert "the relay answers there" in (await ask_for_proof("127.0.0.1", b"")).sentence


async def test_a_port_that_is_closed_or_somebody_elses_is_named(
    certificates: Certificates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {"certfile": certificates.certificate, "keyfile": certificates.key}
    async with relay_running(**files) as relay:
        monkeypatch.setattr(limits, "ACME_PORT", relay.address.port)
        finding = await ask_for_proof("127.0.0.1", b"another one")
        assert "is answered by another server than this relay" in finding.sentence
        monkeypatch.setattr(limits, "ACME_PORT", free_port())
        found = await examined(f"wss://127.0.0.1:{relay.address.port}", tmp_path)
        assert "cannot be reached from here" in found.warning(Check.ACME)


async def test_what_speaks_no_tls_is_no_relay(monkeypatch: pytest.MonkeyPatch) -> None:
    async def serve(stream: TCPStream) -> None:
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with serving(serve) as address:
        monkeypatch.setattr(limits, "ACME_PORT", address.port)
        assert "refuses acme-tls/1" in (await ask_for_proof("127.0.0.1", b"")).sentence
