"""An examination in this process, and what may stand between it and a relay."""

from __future__ import annotations

import math
import os
import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import trio

from p2p_copy.doctor.examination import Subject, examine
from p2p_copy.doctor.finding import Check, Finding, Verdict
from p2p_copy.options import RelayAccess
from p2p_copy.transport.address import parse_address
from tests.support.links import serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import trustme

    from p2p_copy import errors
    from p2p_copy.transport.tcp import TCPStream

AFTER_WELCOME = [Check.PAIRING, Check.ROUND_TRIP, Check.SPEED_THERE, Check.SPEED_BACK]
"""What needs a welcome."""


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
        subject = Subject([RelayAccess(url, **access)], idle, str(folder / "out"), str(folder / "state"))
        await examine(subject, found.append)
    result = Examined(found)
    assert {Check.PROGRAM, Check.DISK, Check.STATE} <= {*result.good}, result.findings
    assert not os.listdir(folder), "nothing stays behind, and no directory is made"
    return result


class Front:
    """Stands in front of a relay, and passes everything on.

    Attributes:
        certificate: ends TLS here; None to pass on what comes as it is.
        behind: the relays to connect to, in turn.
        authority: PEM file with the authority of relays that are reached by TLS; None for no TLS behind.
        idle: seconds without a byte after which a connection is cut.

    """

    def __init__(
        self,
        *behind: str,
        certificate: trustme.LeafCert | None = None,
        authority: str | None = None,
        idle: float = math.inf,
    ) -> None:
        self._behind = [parse_address(each) for each in behind]
        self._certificate = certificate
        self._authority = authority
        self._idle = idle
        self._number = 0

    async def handle(self, plain: TCPStream) -> None:
        stream: trio.abc.Stream = plain
        if self._certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._certificate.configure_cert(context)
            stream = trio.SSLStream(plain, context, server_side=True, https_compatible=True)
        relay = self._behind[self._number % len(self._behind)]
        self._number += 1
        behind: trio.abc.Stream = await trio.open_tcp_stream(relay.host, relay.port)
        if self._authority is not None:
            trusting = ssl.create_default_context(cafile=self._authority)
            behind = trio.SSLStream(behind, trusting, server_hostname=relay.host, https_compatible=True)
        async with behind, trio.open_nursery() as nursery:
            scope = nursery.cancel_scope
            scope.deadline = trio.current_time() + self._idle
            nursery.start_soon(self._pass_on, stream, behind, scope)
            nursery.start_soon(self._pass_on, behind, stream, scope)

    async def _pass_on(
        self, source: trio.abc.Stream, target: trio.abc.Stream, scope: trio.CancelScope
    ) -> None:
        try:
            while data := await source.receive_some(65536):
                scope.deadline = trio.current_time() + self._idle
                await target.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        scope.cancel()


@asynccontextmanager
async def serving_front(front: Front, *, tls: bool = False) -> AsyncIterator[str]:
    """Run a front at a loopback port; yield its address as clients write it."""
    async with serving(front.handle) as address:
        yield str(address._replace(tls=tls))


def given_to(authorities: list[trustme.CA], folder: Path) -> str:
    """Write the certificates of authorities into one file beside a folder; return its path."""
    file = folder.parent / f"{folder.name}-authorities.pem"
    file.write_bytes(b"".join(each.cert_pem.bytes() for each in authorities))
    return str(file)
