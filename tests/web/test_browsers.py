"""What each browser must do, over wss, with a real relay and commands: in Chromium and in Firefox."""

from __future__ import annotations

import json
import os
import threading
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.processes import Running, receiver, relay, sender
from tests.web.conftest import World, ask, download, place, status, until
from tests.web.test_page import LARGE, MIB, MIDDLE, begin, check, halfway, make_tree, same, stored, unpack

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.once,
    pytest.mark.slow,  # a browser, a relay and a command have to start for each of these
]

KNOWN = 60
"""Seconds within which the other side knows that a tab was closed, on any machine: the browser closes its connection,
and the relay passes that on at once. A side that was only silent would be given up after 80 (`KEEPALIVE_INTERVAL`, and
then `KEEPALIVE_TIMEOUT`)."""


def test_a_tree_arrives(secure: World, tmp_path: Path) -> None:
    tree = make_tree(tmp_path)
    sending = sender(secure.relay, tree, options=secure.trust)
    ask(secure.page)
    assert secure.page.inner_text("#status") == "Receive 62 files, 3.1 MiB?"
    assert secure.page.inner_text("#preview").splitlines()[0] == "tree/"
    assert "tree/zero, 0 B" in secure.page.inner_text("#preview")
    secure.page.click("#accept")
    assert "62 files" in status(secure.page, "Received")
    archive = download(secure.page, tmp_path)
    code, _, errors = sending.wait()
    assert (code, archive.name) == (0, "tree.zip"), errors
    assert same(unpack(archive, tmp_path / "got") / "tree", tree)


def test_files_are_sent(secure: World, tmp_path: Path) -> None:
    (tmp_path / "chosen").mkdir()
    for name, size in (("große Datei 😀.bin", 20 * MIB + 1), ("empty", 0)):
        (tmp_path / "chosen" / name).write_bytes(os.urandom(size))
    code = choose_files(secure.page, tmp_path / "chosen")
    receiving = receiver(secure.relay, tmp_path / "out", code=code, options=("--yes", *secure.trust))
    assert "2 files" in status(secure.page, "Sent")
    ended, _, errors = receiving.wait()
    assert ended == 0, errors
    assert same(tmp_path / "out", tmp_path / "chosen")


def choose_files(page: Any, folder: Path) -> str:
    """Choose all files of a folder to send, and return the code."""
    page.set_input_files("#files", [str(path) for path in folder.iterdir()])
    page.click("#send")
    page.wait_for_selector("#qr svg")
    return str(page.inner_text("#code-shown"))


def test_a_sender_hears_that_the_tab_was_closed(secure: World, tmp_path: Path) -> None:
    _, sending = begin(secure, tmp_path)
    secure.page.close()
    assert lost(sending)


def test_a_receiver_hears_that_the_tab_was_closed(secure: World, tmp_path: Path) -> None:
    (tmp_path / "chosen").mkdir()
    size = 3 * LARGE  # the browser still sends what the page has handed to it, `MULTIPATH_BYTES` and more
    (tmp_path / "chosen" / "file").write_bytes(os.urandom(size))
    secure.proxy.slow_after = MIDDLE
    code = choose_files(secure.page, tmp_path / "chosen")
    options = ("--yes", "--json", *secure.trust)
    receiving = receiver(secure.relay, tmp_path / "out", code=code, options=options)
    halfway(secure.page, size)
    secure.page.close()
    assert lost(receiving)


def lost(running: Running) -> bool:
    """Tell whether a command says in time that it has lost the other side; end it."""
    late = threading.Timer(KNOWN, running.process.kill)
    late.start()
    assert running.process.stdout is not None
    found = any(json.loads(line)["event"] == "reconnecting" for line in running.process.stdout)
    late.cancel()
    running.kill()
    return found


def test_a_page_that_is_loaded_again_goes_on(secure: World, tmp_path: Path) -> None:
    tree, sending = begin(secure, tmp_path)
    secure.page.reload()
    secure.proxy.hurry()
    events = check(secure.page, tree, sending, tmp_path)
    assert "resumed" in events


def test_a_relay_that_is_killed_comes_back(secure: World, tmp_path: Path) -> None:
    with relay(*secure.relay_options) as (another, _):
        through_proxy = secure.url.replace("http", "ws", 1).rstrip("/")
        tree, sending = begin(secure, tmp_path, through_proxy)
        secure.relay_process.kill()
        secure.proxy.cut()
        until(secure.page, "() => document.getElementById('status').textContent === 'Trying again'")
        secure.proxy.relay = place(another)
        events = check(secure.page, tree, sending, tmp_path)
    assert "resumed" in events
    secure.errors.clear()  # Firefox tells there of each connection that fails


def test_a_wrong_code_is_said_on_both_sides(secure: World, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("contents")
    sending = sender(secure.relay, tmp_path / "file", options=secure.trust)
    secure.page.fill("#code", "lab7-another passphrase")
    secure.page.press("#code", "Enter")
    assert "The codes differ" in status(secure.page, "It did not work")
    assert sending.wait()[0] != 0
    assert not stored(secure.page)


@pytest.mark.xdist_group("firefox")
def test_another_browser_receives(secure: World, other_browser: Any, tmp_path: Path) -> None:
    (tmp_path / "one file").write_bytes(os.urandom(3 * MIB))
    secure.page.set_input_files("#files", [str(tmp_path / "one file")])
    secure.page.click("#send")
    secure.page.wait_for_selector("#qr svg")
    link = secure.page.get_attribute("#copy-link", "data-link")
    context = other_browser.new_context(ignore_https_errors=True)
    other = secure.open(context, link.removeprefix(secure.url))
    other.click("#accept")
    status(other, "Received")
    status(secure.page, "Sent")
    got = download(other, tmp_path / "got")
    assert got.name == "one file", "a browser may want to add what it takes for the end of a name"
    assert got.read_bytes() == (tmp_path / "one file").read_bytes()
    context.close()
