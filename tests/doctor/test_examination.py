"""What the doctor says of real relays, and of what answers in their place."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
import trio

import p2p_copy as p2p
from p2p_copy import errors
from p2p_copy.doctor import limits
from p2p_copy.doctor.examination import Subject, examine
from p2p_copy.doctor.finding import Check, Finding, Verdict
from p2p_copy.options import RelayAccess
from tests.support.certificates import Certificates

if TYPE_CHECKING:
    from pathlib import Path


WHOLE = [Check.PAIRING, Check.ROUND_TRIP, Check.SPEED_THERE, Check.SPEED_BACK]
"""What needs a welcome."""


@pytest.fixture(autouse=True)
def little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Send and write little."""
    monkeypatch.setattr(limits, "SPEED_BYTES", 1_000_000)
    monkeypatch.setattr(limits, "DISK_BYTES", 100_000)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("tls"))


class Examined:
    """The findings of an examination."""

    def __init__(self, findings: list[Finding]) -> None:
        self.findings = {finding.check: finding for finding in findings}
        assert len(self.findings) == len(findings), "each check comes once"
        assert [*self.findings] == [check for check in Check if check in self.findings], "and in their order"
        for finding in findings:
            assert (finding.error is not None) == (finding.verdict is Verdict.WRONG)
            assert finding.sentence.isprintable()

    def with_verdict(self, verdict: Verdict) -> list[Check]:
        return [check for check, finding in self.findings.items() if finding.verdict is verdict]

    @property
    def good(self) -> list[Check]:
        return self.with_verdict(Verdict.GOOD)

    @property
    def left_out(self) -> list[Check]:
        return self.with_verdict(Verdict.NOT_TRIED)

    def wrong(self, check: Check) -> errors.P2PCopyError:
        """Return the error of the only check that is wrong."""
        assert self.with_verdict(Verdict.WRONG) == [check]
        error = self.findings[check].error
        assert error is not None
        return error

    def warning(self, check: Check) -> str:
        """Return the sentence of a check that is a warning."""
        assert check in self.with_verdict(Verdict.WARNING), self.findings[check]
        return self.findings[check].sentence


async def examined(url: str, folder: Path, *, idle: float = 0, **access: Any) -> Examined:
    """Examine the way to a relay, and this machine, which is as it should be."""
    found: list[Finding] = []
    with trio.fail_after(30):
        subject = Subject(RelayAccess(url, **access), idle, str(folder / "out"), str(folder / "state"))
        await examine(subject, found.append)
    result = Examined(found)
    assert {Check.PROGRAM, Check.DISK, Check.STATE} <= {*result.good}, result.findings
    assert not os.listdir(folder), "nothing stays behind, and no directory is made"
    return result


async def test_all_is_well_without_tls(tmp_path: Path) -> None:
    async with p2p.Relay("127.0.0.1", 0) as relay:
        found = await examined(relay.urls[0], tmp_path)
        assert found.good == [*found.findings]
        assert {*WHOLE, Check.UPGRADE, Check.WELCOME, Check.CLOCK} <= {*found.good}
        assert Check.TLS not in found.findings
        assert relay.counts.served == 1
    for check in (Check.SPEED_THERE, Check.SPEED_BACK, Check.DISK):
        assert (found.findings[check].rate or 0) > 0
    assert (found.findings[Check.ROUND_TRIP].seconds or 0) > 0


async def test_all_is_well_with_tls_and_the_certificate_is_the_relays_own(
    certificates: Certificates, tmp_path: Path
) -> None:
    async with p2p.Relay(
        "127.0.0.1", 0, certfile=certificates.certificate, keyfile=certificates.key
    ) as relay:
        found = await examined(relay.urls[0], tmp_path, ca_file=certificates.authority)
    assert found.good == [*found.findings]
    assert "TLS 1.3; its certificate is trusted" in found.findings[Check.TLS].sentence
    said = found.findings[Check.CERTIFICATE].sentence
    assert "issued by 'trustme v" in said
    assert "the relay itself shows it, so nothing on the way decrypts TLS" in said
    assert certificates.authority in found.findings[Check.AUTHORITIES].sentence


async def test_a_relay_of_an_unknown_authority_is_looked_at_all_the_same(
    certificates: Certificates, tmp_path: Path
) -> None:
    async with p2p.Relay(
        "127.0.0.1", 0, certfile=certificates.certificate, keyfile=certificates.key
    ) as relay:
        found = await examined(relay.urls[0], tmp_path)
    error = found.wrong(Check.TLS)
    assert isinstance(error, errors.CertificateNotTrusted)
    assert "issued by 'trustme v" in str(error)
    assert found.left_out == [Check.UPGRADE, Check.WELCOME, *WHOLE]
    assert "the relay itself shows it" in found.findings[Check.CERTIFICATE].sentence
    assert Check.CLOCK in found.good
