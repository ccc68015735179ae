"""What the doctor says of real relays, and of what answers in their place."""

from __future__ import annotations

import re
import socket
import ssl
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trustme

import p2p_copy as p2p
from p2p_copy import errors
from p2p_copy.doctor import limits
from p2p_copy.doctor.examination import Subject, examine
from p2p_copy.doctor.finding import Check, Finding, Verdict
from p2p_copy.doctor.machine import tls_library
from p2p_copy.options import RelayAccess
from p2p_copy.relay import limits as relay_limits
from p2p_copy.relay.access.tokens import line_for
from p2p_copy.transport import limits as transport_limits
from tests.doctor.support import AFTER_WELCOME, Front, examined, given_to, serving_front
from tests.relay.clients import Relay, relay_running
from tests.support.other_protocols import SSH
from tests.support.processes import QUICK
from tests.support.proxies import Tunnel, saying, serving_proxy

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.certificates import Certificates


async def test_all_is_well_without_tls(tmp_path: Path) -> None:
    async with p2p.Relay("127.0.0.1", 0) as relay:
        found = await examined(relay.urls[0], tmp_path)
        assert found.good == [*found.findings]
        assert {*AFTER_WELCOME, Check.UPGRADE, Check.WELCOME, Check.CLOCK} <= {*found.good}
        assert Check.TLS not in found.findings
        await until(lambda: relay.counts.served == 1)
    for check in (Check.SPEED_THERE, Check.SPEED_BACK, Check.DISK):
        assert (found.findings[check].rate or 0) > 0
    assert (found.findings[Check.ROUND_TRIP].seconds or 0) > 0


async def test_the_relay_counts_no_side_as_lost(tmp_path: Path) -> None:
    async with relay_running() as relay:
        await examined(str(relay.address), tmp_path)
        await until(lambda: +relay.server.tally.outcomes)
        assert +relay.server.tally.outcomes == {"complete": 1}


async def until(is_so: Callable[[], object]) -> None:
    """Wait for what a relay learns a moment after its clients."""
    with trio.fail_after(QUICK):
        while not is_so():  # noqa: ASYNC110 - there is no event
            await trio.sleep(0.01)


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
    assert found.left_out == [Check.UPGRADE, Check.WELCOME, *AFTER_WELCOME]
    assert "the relay itself shows it" in found.findings[Check.CERTIFICATE].sentence
    assert Check.CLOCK in found.good


async def test_nothing_listens_there(tmp_path: Path) -> None:
    found = await examined("wss://127.0.0.1:1", tmp_path)
    assert isinstance(found.wrong(Check.TCP), errors.RelayUnreachable)
    assert "127.0.0.1:1 refuses connections" in str(found.wrong(Check.TCP))
    assert found.left_out == [
        Check.TLS,
        Check.UPGRADE,
        Check.WELCOME,
        Check.CERTIFICATE,
        Check.CLOCK,
        *AFTER_WELCOME,
    ]


async def test_a_name_that_no_machine_has(tmp_path: Path) -> None:
    found = await examined("ws://relay.invalid", tmp_path)
    assert isinstance(found.wrong(Check.NAME), errors.RelayUnreachable)
    assert "The name relay.invalid cannot be resolved" in str(found.wrong(Check.NAME))
    assert found.left_out == [Check.TCP, Check.UPGRADE, Check.WELCOME, Check.CLOCK, *AFTER_WELCOME]


class TwoAddresses(trio.abc.HostnameResolver):
    """Names with two addresses, of which only the first is used by a relay of the tests."""

    async def getaddrinfo(self, host: bytes | None, port: Any, *more: int, **flags: int) -> list[Any]:
        assert host == b"relay.test"
        places = [("127.0.0.1", int(port)), ("127.0.0.2", int(port))]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", place) for place in places]

    async def getnameinfo(self, sockaddr: Any, flags: int) -> tuple[str, str]:
        raise NotImplementedError


async def test_of_several_addresses_one_is_enough(tmp_path: Path) -> None:
    trio.socket.set_custom_hostname_resolver(TwoAddresses())  # of this run of Trio
    async with p2p.Relay("127.0.0.1", 0) as relay:
        port = relay.urls[0].rpartition(":")[2]
        found = await examined(f"ws://relay.test:{port}", tmp_path, proxy="none")
    assert found.good == [*found.findings]
    assert "relay.test is 127.0.0.1 and 127.0.0.2" in found.findings[Check.NAME].sentence
    said = found.findings[Check.TCP].sentence
    assert f"connected to 127.0.0.1:{port} in" in said
    assert "; not to 127.0.0.2 (Connection refused)" in said


@pytest.mark.parametrize(
    ("answer", "error", "said"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", errors.NotARelay, "it is a web server"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://login/\r\n\r\n", errors.NotARelay, "redirects to"),
        (b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n", errors.RelayUnreachable, "502"),
        (SSH, errors.NotARelay, "no p2p-copy relay and no web server"),
    ],
)
async def test_another_server_answers(
    answer: bytes, error: type[errors.P2PCopyError], said: str, tmp_path: Path
) -> None:
    async with serving_proxy(saying(answer, stays=False)) as server:
        found = await examined(f"ws://{server.where}", tmp_path)
    assert type(found.wrong(Check.UPGRADE)) is error
    assert said in str(found.wrong(Check.UPGRADE))
    assert found.left_out == [Check.WELCOME, *AFTER_WELCOME]


async def test_a_server_that_says_nothing_keeps_no_check_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport_limits, "CONNECT_TIMEOUT", 0.2)
    async with serving_proxy(saying(b"", b"", b"")) as server:
        found = await examined(f"ws://{server.where}", tmp_path)
    assert "does not answer" in str(found.wrong(Check.UPGRADE))
    assert "does not say what time it is" in found.findings[Check.CLOCK].sentence


async def test_a_clock_that_is_wrong(tmp_path: Path) -> None:
    date = formatdate(datetime.now(UTC).timestamp() + 3 * 3600 + 330, usegmt=True)
    answer = f"HTTP/1.1 200 OK\r\nDate: {date}\r\nContent-Length: 0\r\n\r\n".encode()
    async with serving_proxy(saying(answer, stays=False)) as server:
        found = await examined(f"ws://{server.where}", tmp_path)
    assert "This machine's clock is 3 h 5 min behind that of 127.0.0.1:" in found.warning(Check.CLOCK)


# Certificates


async def test_a_certificate_for_another_host(tmp_path: Path) -> None:
    authority = trustme.CA()
    async with p2p.Relay("127.0.0.1", 0) as relay:
        front = Front(relay.urls[0], certificate=authority.issue_cert("relay.example"))
        async with serving_front(front, tls=True) as url:
            found = await examined(url, tmp_path, ca_file=given_to([authority], tmp_path))
    assert isinstance(found.wrong(Check.TLS), errors.CertificateNotTrusted)
    assert "is for another" in str(found.wrong(Check.TLS))
    assert found.left_out == [Check.UPGRADE, Check.WELCOME, *AFTER_WELCOME]


async def test_an_expired_certificate(tmp_path: Path) -> None:
    authority = trustme.CA()
    ended = datetime.now(UTC) - timedelta(days=3)
    expired = authority.issue_cert("127.0.0.1", not_before=ended - timedelta(days=90), not_after=ended)
    async with (
        p2p.Relay("127.0.0.1", 0) as relay,
        serving_front(Front(relay.urls[0], certificate=expired), tls=True) as url,
    ):
        found = await examined(url, tmp_path, ca_file=given_to([authority], tmp_path))
    assert isinstance(found.wrong(Check.TLS), errors.CertificateNotTrusted)
    assert "has expired" in str(found.wrong(Check.TLS))
    assert f"until {ended:%Y-%m-%d}" in found.findings[Check.CERTIFICATE].sentence
    assert Check.CLOCK in found.good, "so it is not this machine's clock that is wrong"


async def test_a_certificate_that_ends_soon(tmp_path: Path) -> None:
    authority = trustme.CA()
    ends = datetime.now(UTC) + timedelta(hours=30, minutes=5)
    async with p2p.Relay("127.0.0.1", 0) as relay:
        front = Front(relay.urls[0], certificate=authority.issue_cert("127.0.0.1", not_after=ends))
        async with serving_front(front, tls=True) as url:
            found = await examined(url, tmp_path, ca_file=given_to([authority], tmp_path))
    assert "It ends in 1 d 6 h: its operator must renew it." in found.warning(Check.CERTIFICATE)
    assert {*AFTER_WELCOME} <= {*found.good}


@pytest.mark.parametrize("is_known", [True, False])
async def test_a_box_that_decrypts_tls_is_named(
    is_known: bool, certificates: Certificates, tmp_path: Path
) -> None:
    box = trustme.CA(organization_name="Acme Web Gateway")
    async with p2p.Relay(
        "127.0.0.1", 0, certfile=certificates.certificate, keyfile=certificates.key
    ) as relay:
        front = Front(
            relay.urls[0], certificate=box.issue_cert("127.0.0.1"), authority=certificates.authority
        )
        async with serving_front(front, tls=True) as url:
            known = given_to([box], tmp_path) if is_known else None
            found = await examined(url, tmp_path, ca_file=known)
    said = found.warning(Check.CERTIFICATE)
    assert "TLS is decrypted on the way, with a certificate of 'Acme Web Gateway'" in said
    if is_known:
        assert {*AFTER_WELCOME, Check.TLS} <= {*found.good}
    else:
        assert "'Acme Web Gateway', an authority that is not known here" in str(found.wrong(Check.TLS))
        assert "get that authority from its administrators for `ca_file`" in said


async def test_a_pin_needs_no_authority_and_tells_another_key(
    certificates: Certificates, tmp_path: Path
) -> None:
    async with p2p.Relay(
        "127.0.0.1", 0, certfile=certificates.certificate, keyfile=certificates.key
    ) as relay:
        found = await examined(relay.urls[0], tmp_path, pin="00" * 32)
        error = str(found.wrong(Check.TLS))
        assert "The key of 127.0.0.1:" in error
        pin = next(word for word in error.split() if word.startswith("sha256//")).rstrip(".")
        found = await examined(relay.urls[0], tmp_path, pin=pin)
    assert found.good == [*found.findings]
    assert "its key is the one that `pin` names" in found.findings[Check.TLS].sentence
    assert "none is needed" in found.findings[Check.AUTHORITIES].sentence


# Proxies


async def test_the_way_through_a_proxy(certificates: Certificates, tmp_path: Path) -> None:
    async with (
        p2p.Relay("127.0.0.1", 0, certfile=certificates.certificate, keyfile=certificates.key) as relay,
        serving_proxy(Tunnel(hosts={"127.0.0.1": "127.0.0.1"})) as proxy,
    ):
        found = await examined(
            relay.urls[0], tmp_path, ca_file=certificates.authority, proxy=f"http://me:secret@{proxy.where}"
        )
    assert found.good == [*found.findings]
    assert f"{proxy}, from `proxy`" in found.findings[Check.PROXY].sentence
    assert f"{proxy} has connected to 127.0.0.1:" in found.findings[Check.TUNNEL].sentence
    assert not any("secret" in finding.sentence for finding in found.findings.values())


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", errors.ProxyForbids),
        (b"HTTP/1.1 407 Login\r\nContent-Length: 0\r\n\r\n", errors.ProxyWantsLogin),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", errors.NotAProxy),
    ],
)
async def test_a_proxy_that_refuses(answer: bytes, error: type[errors.P2PCopyError], tmp_path: Path) -> None:
    async with serving_proxy(saying(answer)) as proxy:
        found = await examined("wss://relay.invalid", tmp_path, proxy=str(proxy))
    assert type(found.wrong(Check.TUNNEL)) is error
    assert found.left_out == [
        Check.TLS,
        Check.UPGRADE,
        Check.WELCOME,
        Check.CERTIFICATE,
        Check.CLOCK,
        *AFTER_WELCOME,
    ]


async def test_a_proxy_that_is_not_there(tmp_path: Path) -> None:
    variables = {"HTTPS_PROXY": "http://127.0.0.1:1"}
    found = await examined("wss://relay.invalid", tmp_path, variables=variables)
    assert isinstance(found.wrong(Check.TCP), errors.ProxyUnreachable)
    assert "Check HTTPS_PROXY in the environment" in str(found.wrong(Check.TCP))


@pytest.mark.parametrize(
    ("name", "version", "is_slow"),
    [
        ("OpenSSL 3.0.19 27 Jan 2026", (3, 0, 0, 19, 0), True),
        ("OpenSSL 1.1.1w  11 Sep 2023", (1, 1, 1, 23, 15), True),
        ("OpenSSL 3.1.0 14 Mar 2023", (3, 1, 0, 0, 0), False),
        ("OpenSSL 3.5.8 25 Aug 2026", (3, 5, 0, 8, 0), False),
        ("LibreSSL 3.3.6", (2, 0, 0, 0, 0), False),
    ],
)
def test_it_says_if_a_newer_openssl_is_faster(name: str, version: tuple[int, ...], is_slow: bool) -> None:
    said = tls_library(name, version)
    assert said.startswith(name)
    assert ("faster" in said) is is_slow


async def test_the_program_line_has_the_version_of_openssl(tmp_path: Path) -> None:
    found = await examined("ws://127.0.0.1:1", tmp_path)
    assert (
        tls_library(ssl.OPENSSL_VERSION, ssl.OPENSSL_VERSION_INFO) in found.findings[Check.PROGRAM].sentence
    )


# What relays do


async def test_each_of_several_relays_is_examined(tmp_path: Path) -> None:
    found: list[Finding] = []
    async with p2p.Relay("127.0.0.1", 0) as relay:
        urls = ["ws://127.0.0.1:1", relay.urls[0]]
        subject = Subject([RelayAccess(url) for url in urls], 0, str(tmp_path), str(tmp_path))
        await examine(subject, found.append)
    dead, alive = ([each for each in found if each.relay == url] for url in urls)
    assert [each.check for each in dead if each.error] == [Check.TCP]
    assert {each.verdict for each in alive} == {Verdict.GOOD}
    assert [each.check for each in found if not each.relay] == [Check.PROGRAM, Check.DISK, Check.STATE]


async def test_an_access_token_is_wanted_and_the_right_one_opens(tmp_path: Path) -> None:
    tokens = tmp_path.parent / f"{tmp_path.name}-tokens"
    tokens.write_text(f"{line_for('me', 'a-long-enough-token-of-mine')}\n")
    async with p2p.Relay("127.0.0.1", 0, tokens_file=tokens) as relay:
        found = await examined(relay.urls[0], tmp_path)
        assert isinstance(found.wrong(Check.WELCOME), errors.RelayRefused)
        assert "This relay wants an access token" in str(found.wrong(Check.WELCOME))
        assert found.left_out == AFTER_WELCOME
        found = await examined(relay.urls[0], tmp_path, token="a-long-enough-token-of-mine")
        assert found.good == [*found.findings]
        async with serving_proxy(Tunnel()) as proxy:
            kept = await examined(
                relay.urls[0], tmp_path, token="a-long-enough-token-of-mine", proxy=str(proxy)
            )
    assert "wants an access token" in str(kept.wrong(Check.WELCOME)), (
        "it was not sent where others can read it"
    )


async def test_terms_and_notice_are_shown(tmp_path: Path) -> None:
    async with p2p.Relay("127.0.0.1", 0, rate=1_000_000, wait=120) as relay:
        found = await examined(relay.urls[0], tmp_path)
    assert "a client may wait 2 min, at most 976.6 KiB/s" in found.findings[Check.WELCOME].sentence


async def test_a_relay_that_drains(tmp_path: Path) -> None:
    async with p2p.Relay("127.0.0.1", 0) as relay, trio.open_nursery() as nursery:
        clients = Relay(int(relay.urls[0].rpartition(":")[2]), None)
        async with clients.pair("a transfer that runs"):
            nursery.start_soon(relay.drain, 60)
            with trio.fail_after(QUICK), suppress(OSError):  # once it takes no more clients
                while True:
                    await (await clients.tcp()).aclose()
            found = await examined(relay.urls[0], tmp_path)
    assert isinstance(found.wrong(Check.TCP), errors.RelayUnreachable)


async def test_a_link_that_drops_what_is_idle(tmp_path: Path) -> None:
    async with p2p.Relay("127.0.0.1", 0) as relay:
        async with serving_front(Front(relay.urls[0], idle=0.8)) as url:
            found = await examined(url, tmp_path, idle=1.6)
        error = found.wrong(Check.IDLE)
        assert isinstance(error, errors.RelayLost)
        assert re.search(r"A connection that was idle was cut after \d(\.\d)? s", str(error))
        assert "this side pings only every 20 s" in str(error)
        assert found.left_out == [Check.SPEED_THERE, Check.SPEED_BACK]
        found = await examined(relay.urls[0], tmp_path, idle=0.5)
        assert found.good == [*found.findings]
        assert "idle for 0.5 s still works" in found.findings[Check.IDLE].sentence


async def test_an_idle_link_is_idle_though_the_relay_would_report_that_nothing_moves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay_limits, "REPORT_STALL_AFTER", 0.6)
    monkeypatch.setattr(relay_limits, "PAIRING_CHECK_INTERVAL", 0.1)
    async with (
        p2p.Relay("127.0.0.1", 0) as relay,
        serving_front(Front(relay.urls[0], idle=1.0)) as url,
    ):
        found = await examined(url, tmp_path, idle=1.5)
    assert isinstance(found.wrong(Check.IDLE), errors.RelayLost)


async def test_two_relays_behind_one_address_that_part_their_clients(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "PAIR_WAIT", 0.3)
    async with (
        p2p.Relay("127.0.0.1", 0) as one,
        p2p.Relay("127.0.0.1", 0) as other,
        serving_front(Front(one.urls[0], other.urls[0])) as url,
    ):
        found = await examined(url, tmp_path)
    assert isinstance(found.wrong(Check.PAIRING), errors.PeerTimeout)
    assert "must go by the path" in str(found.wrong(Check.PAIRING))
    assert found.left_out == AFTER_WELCOME[1:]
