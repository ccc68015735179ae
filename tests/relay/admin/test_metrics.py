"""The metrics: the names that contrib/ uses, and numbers that are true."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from p2p_copy.protocol.rendezvous import Refused, Role
from p2p_copy.relay import limits
from p2p_copy.relay.admin.metrics import METRICS
from p2p_copy.relay.log.abuse import Abuse
from p2p_copy.transport.link import LinkBroken
from tests.contrib import test_monitoring
from tests.relay.admin.test_http_api import AdminClient, admin_running
from tests.relay.clients import answer, hello, room


def test_the_names_are_those_of_the_examples() -> None:
    assert {name: {label} - {None} for name, label, _ in METRICS} == test_monitoring.METRICS


async def scrape(admin: AdminClient) -> dict[str, float]:
    code, text = await admin.ask("GET", "/metrics")
    assert code == 200
    samples = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    return {name.removeprefix("p2p_copy_relay_"): float(value) for name, value in samples}


async def test_without_the_library_a_sentence_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    async with admin_running() as admin:
        code, text = await admin.ask("GET", "/metrics")
    assert code == 501
    assert "pip install 'p2p-copy[relay]'" in text


async def test_metrics_count_what_happens() -> None:
    pytest.importorskip("prometheus_client", reason="the extra [relay] is not installed")
    async with admin_running() as admin, admin.clients.waiting(Role.SENDER, "waits"):
        async with admin.clients.client("/v1/" + room("waits")) as link:
            await link.send(hello(Role.SENDER))
            await answer(link)
            assert isinstance(await answer(link), Refused)
        async with admin.clients.pair("a") as (sender, receiver):
            await sender.send(bytes(1000))
            await receiver.receive()
            during = await scrape(admin)
            await admin.ask("POST", "/end", {"id": 1})
            for link in (sender, receiver):
                with pytest.raises(LinkBroken):
                    await link.receive()
        after = await scrape(admin)
    assert during["pairings"] == 1
    assert during["waiting"] == 1
    assert during['pairings_total{outcome="sender lost"}'] == 0
    assert during['refused_total{code="busy"}'] == 0
    assert during['refused_total{code="room-taken"}'] == 1
    assert during['bytes_total{direction="from_sender"}'] == 1000
    assert during['bytes_total{direction="from_receiver"}'] == 0
    assert during["handshakes_failed_total"] == 0
    assert 2 * limits.WINDOW_LEAST <= during["memory_held_bytes"] < during["memory_limit_bytes"]
    assert "certificate_expiry_seconds" not in during
    assert after["memory_held_bytes"] == 0
    assert after["pairings"] == 0
    assert after['pairings_total{outcome="ended by the operator"}'] == 1
    assert after['bytes_total{direction="from_sender"}'] == 1000


async def test_each_kind_of_abuse_is_there_before_its_first_case() -> None:
    pytest.importorskip("prometheus_client", reason="the extra [relay] is not installed")
    async with admin_running() as admin:
        before = await scrape(admin)
        admin.relay.tally.abuse.count(Abuse.UNREAD)
        after = await scrape(admin)
    for kind in Abuse:
        name = f'abuse_total{{kind="{kind.event.name}"}}'
        assert after[name] - before[name] == (kind is Abuse.UNREAD)


async def test_the_certificates_end_is_a_metric(tls_settings: dict[str, Any]) -> None:
    pytest.importorskip("prometheus_client", reason="the extra [relay] is not installed")
    files = {name: tls_settings[name] for name in ("certfile", "keyfile")}
    async with admin_running(**files) as admin:
        async with await admin.clients.tcp() as stranger:
            await stranger.send_all(b"\x16garbage")
            await stranger.send_eof()
            while await stranger.receive_some():
                pass
        found = await scrape(admin)
    assert found["certificate_expiry_seconds"] > 0
    assert found["handshakes_failed_total"] == 1
