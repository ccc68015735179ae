"""Whole transfers through a proxy, and what becomes of one when the proxy goes away or changes its mind."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
import trio
import trustme

from p2p_copy.errors import ProxyUnreachable, ProxyWantsLogin
from tests.contrib.programs import free_port
from tests.support.certificates import Certificates
from tests.support.proxies import Tunnel, saying, serving_proxy
from tests.support.transfers import Both, copy, running_relay
from tests.support.trees import make_tree, snapshot

if TYPE_CHECKING:
    from pathlib import Path

    from p2p_copy.transport.proxy_address import ProxyAddress

LARGE = 16_000_000
REFUSAL = b"HTTP/1.1 407 No\r\nProxy-Authenticate: Basic realm=x\r\n\r\n"


@pytest.fixture
def large(tmp_path: Path) -> Path:
    path = tmp_path / "large"
    path.write_bytes(random.Random(17).randbytes(LARGE))
    return path


@pytest.mark.parametrize("tls", [False, True])
async def test_a_tree_goes_through_the_proxies_of_both_sides(tls: bool, tmp_path: Path) -> None:
    tree, out = make_tree(tmp_path), tmp_path / "out"
    certificates = Certificates(tmp_path)
    settings = {"certfile": certificates.certificate, "keyfile": certificates.key} if tls else {}
    certificate = trustme.CA().issue_cert("127.0.0.1")  # of the proxy: another authority
    both_authorities = tmp_path / "both.pem"
    ours, theirs = Tunnel(), Tunnel()
    async with (
        running_relay(**settings) as relay,
        serving_proxy(ours, "https", certificate) as https,
        serving_proxy(theirs) as http,
    ):
        authorities = certificate.cert_chain_pems[0].bytes() + (tmp_path / "ca.pem").read_bytes()
        both_authorities.write_bytes(authorities)
        sending = {"proxy": str(https), "ca_file": str(both_authorities)}
        receiving = {"proxy": str(http), "ca_file": certificates.authority if tls else None}
        both = await copy([tree], out, relay=relay, sending=sending, receiving=receiving)
    both.reports  # noqa: B018 - raises if one side failed
    assert snapshot(out / tree.name) == snapshot(tree)
    assert len(ours.requests) == len(theirs.requests) == 1


async def test_several_links_all_go_through_the_proxy(large: Path, tmp_path: Path) -> None:
    tunnel = Tunnel()
    async with running_relay() as relay, serving_proxy(tunnel) as proxy:
        options = {"proxy": str(proxy), "links": 3}
        both = await copy([large], tmp_path / "out", relay=relay, sending=options, receiving=options)
    both.reports  # noqa: B018
    assert snapshot(tmp_path / "out") == {"large": snapshot(tmp_path)["large"]}
    assert len(tunnel.requests) == 6
    assert tunnel.passed > LARGE * 2


async def test_a_transfer_outlives_a_restart_of_the_proxy(large: Path, tmp_path: Path) -> None:
    """The proxy is gone for a while in the middle: nothing listens at its port."""
    both, half = Both(), trio.Event()

    def on_progress(_files: int, size: int) -> None:
        if size > LARGE // 3:
            half.set()

    both.receiver.on_progress = on_progress
    first, second = Tunnel(), Tunnel()

    async def proxies(*, task_status: trio.TaskStatus[ProxyAddress]) -> None:
        async with serving_proxy(first, port=free_port()) as proxy:
            task_status.started(proxy)
            await half.wait()
        await trio.sleep(0.3)
        async with serving_proxy(second, port=proxy.port):
            await trio.sleep_forever()

    async with running_relay(rate=8 * LARGE) as relay, trio.open_nursery() as nursery:
        proxy = await nursery.start(proxies)
        options = {"proxy": str(proxy), "patience": 30}
        await copy([large], tmp_path / "out", relay=relay, both=both, sending=options, receiving=options)
        nursery.cancel_scope.cancel()
    assert snapshot(tmp_path / "out") == {"large": snapshot(tmp_path)["large"]}
    assert both.reports[0].files == 1
    assert len(first.requests) == 2
    assert len(second.requests) >= 2


async def test_a_proxy_that_does_not_come_back_ends_the_transfer_and_is_named(
    large: Path, tmp_path: Path
) -> None:
    both, half = Both(), trio.Event()
    both.receiver.on_progress = lambda _files, size: half.set() if size > LARGE // 3 else None

    async def gone(*, task_status: trio.TaskStatus[ProxyAddress]) -> None:
        async with serving_proxy(Tunnel(), port=free_port()) as proxy:
            task_status.started(proxy)
            await half.wait()

    async with running_relay(rate=8 * LARGE) as relay, trio.open_nursery() as nursery:
        proxy = await nursery.start(gone)
        options = {"proxy": str(proxy), "patience": 1}
        await copy([large], tmp_path / "out", relay=relay, both=both, sending=options, receiving=options)
    for outcome in (both.sent, both.received):
        assert isinstance(outcome, ProxyUnreachable)
        assert str(proxy) in str(outcome)


async def test_a_login_that_the_proxy_refuses_in_the_middle_is_not_tried_again(
    large: Path, tmp_path: Path
) -> None:
    """Or it might lock the user's account."""
    both, half = Both(), trio.Event()
    both.receiver.on_progress = lambda _files, size: half.set() if size > LARGE // 3 else None
    asked = 0

    async def refuse(stream: trio.abc.Stream) -> None:
        nonlocal asked
        asked += 1
        await saying(REFUSAL)(stream)

    async def proxies(*, task_status: trio.TaskStatus[ProxyAddress]) -> None:
        async with serving_proxy(Tunnel(), port=free_port()) as proxy:
            task_status.started(proxy)
            await half.wait()
        async with serving_proxy(refuse, port=proxy.port):
            await trio.sleep_forever()

    async with running_relay(rate=8 * LARGE) as relay, trio.open_nursery() as nursery:
        proxy = await nursery.start(proxies)
        options = {"proxy": f"http://somebody:secretpassword@{proxy.where}", "patience": 30}
        await copy([large], tmp_path / "out", relay=relay, both=both, sending=options, receiving=options)
        nursery.cancel_scope.cancel()
    for outcome in (both.sent, both.received):
        assert isinstance(outcome, ProxyWantsLogin)
        assert "secretpassword" not in str(outcome)
    assert asked == 2, "each side asks once"
