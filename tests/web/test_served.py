"""The page as a relay serves it, with `--web`: a real browser opens the link that `send --link` has printed."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from tests.contrib.balancers import KINDS, Balancer, Certificates as Balanced, Kind
from tests.contrib.caddy import running_caddy
from tests.support.certificates import Certificates
from tests.support.processes import CODE, relay, sender
from tests.web.conftest import PATIENCE, download, status

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.once,
    pytest.mark.slow,  # a browser, a relay and a command have to start for each of these
]


@pytest.mark.parametrize("tls", [False, True], ids=["ws", "wss"])
def test_a_browser_receives_by_the_link(browser: Any, tmp_path: Path, *, tls: bool) -> None:
    certificates = Certificates(tmp_path)
    source = tmp_path / "one file"
    source.write_bytes(os.urandom(100_000))
    trusted = ("--ca-file", certificates.authority) if tls else ()
    with relay(*(certificates.options if tls else ("--no-tls",)), "--web") as (address, _):
        sending = sender(address, source, options=("--link", *trusted))
        assert sending.process.stdout is not None
        sending.process.stdout.readline()
        link = sending.process.stdout.readline().strip().removeprefix("Or in a browser: ")
        assert link == f"{address.replace('ws', 'http', 1)}/#{quote(CODE)}"
        context = browser.new_context(ignore_https_errors=tls)
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        told: list[str] = []
        page.on("console", lambda message: told.append(message.text))
        page.on("pageerror", lambda error: told.append(str(error)))
        page.goto(link)
        page.wait_for_selector("#accept")
        assert re.fullmatch(r"https?://127\.0\.0\.1:[0-9]+/", page.url), "the code is out of the address"
        page.click("#accept")
        status(page, "Received")
        assert download(page, tmp_path / "got").read_bytes() == source.read_bytes()
        assert sending.wait()[0] == 0
        assert not told, "the policy of the page forbids nothing that it needs"
        context.close()


def test_a_browser_receives_behind_a_proxy(chromium: Any, tmp_path: Path) -> None:
    """The page comes through Caddy, and what it asks of the relay has the origin that Caddy passes on."""
    with running_caddy(tmp_path, "--web") as place:
        receives_behind_a_proxy(chromium, tmp_path, f"ws://{place}")


@pytest.mark.parametrize("kind", [kind for kind in KINDS if not kind.passes_tls], ids=str)
def test_a_browser_receives_behind_a_balancer(chromium: Any, tmp_path: Path, kind: Kind) -> None:
    """The page comes from one of two relays, and its path brings the WebSocket to the one where the sender waits."""
    certificates = Balanced.issued(tmp_path / "tls")
    balancer = Balancer(kind, certificates, tmp_path)
    options = (*kind.relay_options(certificates), "--web")
    with relay(*options) as (one, _), relay(*options) as (other, _):
        ports = [int(address.rpartition(":")[2]) for address in (one, other)]
        with balancer.running(ports):
            receives_behind_a_proxy(
                chromium, tmp_path, f"wss://127.0.0.1:{balancer.port}", "--ca-file", certificates.authority
            )


def receives_behind_a_proxy(chromium: Any, folder: Path, address: str, *options: str) -> None:
    """Let a browser open the page at this address of a relay, and receive there what the command sends."""
    source = folder / "one file"
    source.write_bytes(os.urandom(100_000))
    sending = sender(address, source, options=options)
    context = chromium.new_context(ignore_https_errors=True)
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(f"{address.replace('ws', 'http', 1)}/#{quote(CODE)}")
    page.click("#accept")
    status(page, "Received")
    assert download(page, folder / "got").read_bytes() == source.read_bytes()
    assert sending.wait()[0] == 0
    context.close()
