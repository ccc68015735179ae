"""The doctor says who would answer an authority that checks the name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from p2p_copy import errors
from p2p_copy.doctor import limits
from p2p_copy.doctor.finding import Check, Verdict
from p2p_copy.doctor.proof import ask_for_proof
from tests.contrib.programs import free_port
from tests.doctor.support import examined
from tests.relay.clients import relay_running
from tests.support.challenges import challenge_certificate
from tests.support.links import serving
from tests.support.proxies import Tunnel, serving_proxy

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
        proved = await ask_for_proof("127.0.0.1", b"", needed=True)
        assert proved.verdict is Verdict.GOOD
        assert "proves the name to an authority at this moment" in proved.sentence


async def test_a_port_that_is_closed_or_of_another_server_is_a_warning_without_an_accepted_certificate(
    certificates: Certificates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with relay_running(**served_with(certificates)) as relay:
        monkeypatch.setattr(limits, "ACME_PORT", relay.address.port)
        finding = await ask_for_proof("127.0.0.1", b"another one", needed=True)
        assert "is answered by another server than clients reach" in finding.sentence
        assert finding.verdict is Verdict.WARNING
        monkeypatch.setattr(limits, "ACME_PORT", free_port())
        found = await examined(f"wss://127.0.0.1:{relay.address.port}", tmp_path)
        assert "cannot be reached from here" in found.warning(Check.ACME)


async def test_while_the_certificate_is_accepted_the_answer_is_said_and_is_no_warning(
    certificates: Certificates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with relay_running(**served_with(certificates)) as relay:
        url = f"wss://127.0.0.1:{relay.address.port}"
        monkeypatch.setattr(limits, "ACME_PORT", relay.address.port)
        found = await examined(url, tmp_path, ca_file=certificates.authority)
        assert "the server that clients reach answers there" in found.findings[Check.ACME].sentence
        assert found.good == [*found.findings]
        monkeypatch.setattr(limits, "ACME_PORT", free_port())
        found = await examined(url, tmp_path, ca_file=certificates.authority)
        assert "cannot be reached from here" in found.findings[Check.ACME].sentence
        assert "matters only if the relay gets its own certificate" in found.findings[Check.ACME].sentence
        assert found.good == [*found.findings]


async def test_who_answers_is_not_asked_without_tls_or_beyond_a_proxy(
    certificates: Certificates, tmp_path: Path
) -> None:
    """An authority would not come by this proxy, so what it reaches says nothing."""
    async with relay_running() as relay:
        assert Check.ACME not in (await examined(str(relay.address), tmp_path)).findings
    async with (
        relay_running(**served_with(certificates)) as relay,
        serving_proxy(Tunnel(hosts={"127.0.0.1": "127.0.0.1"})) as proxy,
    ):
        url = f"wss://127.0.0.1:{relay.address.port}"
        found = await examined(url, tmp_path, ca_file=certificates.authority, proxy=f"http://{proxy.where}")
        assert {Check.TUNNEL, Check.TLS} <= {*found.good}
        assert Check.ACME not in found.findings


async def test_what_speaks_no_tls_is_no_relay(monkeypatch: pytest.MonkeyPatch) -> None:
    async def serve(stream: TCPStream) -> None:
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with serving(serve) as address:
        monkeypatch.setattr(limits, "ACME_PORT", address.port)
        assert "refuses acme-tls/1" in (await ask_for_proof("127.0.0.1", b"", needed=True)).sentence


def served_with(certificates: Certificates) -> dict[str, str]:
    return {"certfile": certificates.certificate, "keyfile": certificates.key}
