"""What a program without an event loop can do."""

from __future__ import annotations

import _thread
import errno
import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import pytest
import trio

import p2p_copy as p2p
from tests.api.support import ctrl_c_while_it_waits, nothing_stays
from tests.support.processes import QUICK

if TYPE_CHECKING:
    from pathlib import Path


class Boom(Exception):
    """A bug in a program."""


@pytest.mark.parametrize("entered", [True, False])
def test_a_tree_is_copied(relay: str, tree: Path, tmp_path: Path, code: p2p.Code, entered: bool) -> None:
    events: list[p2p.Event] = []
    threads: set[threading.Thread] = set()

    def on_event(event: p2p.Event) -> None:
        events.append(event)
        threads.add(threading.current_thread())

    with nothing_stays(), p2p.Client(relay=relay) if entered else nullcontext() as client:
        client = client or p2p.Client(relay=relay)
        with ThreadPoolExecutor(1) as pool:
            received = pool.submit(client.receive, tmp_path / "out", code=code, accept=lambda offer: True)
            sent = client.send(tree, code=code, on_event=on_event)
            assert received.result().root == sent.root
    sent.raise_for_failures()
    assert [type(event) for event in events[:3]] == [p2p.Connecting, p2p.Waiting, p2p.Paired]
    assert threads == {threading.current_thread()}


def test_an_exception_in_a_callback_ends_the_transfer(
    relay: str, large: Path, tmp_path: Path, code: p2p.Code
) -> None:
    def fail(event: p2p.Event) -> None:
        if isinstance(event, p2p.Progress):
            raise Boom

    client = p2p.Client(relay=relay)
    with nothing_stays(), ThreadPoolExecutor(1) as pool:
        received = pool.submit(client.receive, tmp_path / "out", code=code)
        with pytest.raises(Boom):
            client.send(large, code=code, on_event=fail)
        with pytest.raises(p2p.PeerFailed):
            received.result()


def test_an_asynchronous_callback_is_refused(relay: str, tree: Path, code: p2p.Code) -> None:
    async def on_event(event: p2p.Event) -> None:
        raise AssertionError("is not awaited")

    with nothing_stays(), pytest.raises(TypeError, match="may not be asynchronous"):
        p2p.Client(relay=relay).send(tree, code=code, on_event=on_event)


@pytest.mark.skipif(sys.platform == "win32", reason="there this signal kills")
@pytest.mark.parametrize("entered", [True, False])
def test_ctrl_c_ends_the_transfer_cleanly(relay: str, tree: Path, code: p2p.Code, entered: bool) -> None:
    client: Any
    began = time.monotonic()
    with nothing_stays(), p2p.Client(relay=relay) if entered else nullcontext() as client:
        client = client or p2p.Client(relay=relay)
        with ctrl_c_while_it_waits() as on_event, pytest.raises(KeyboardInterrupt):
            client.send(tree, code=code, on_event=on_event)
    assert time.monotonic() - began < QUICK  # the other side does not come for an hour


def test_ctrl_c_that_ends_no_wait_is_noticed_soon(relay: str, tree: Path, code: p2p.Code) -> None:
    """As on Windows, or if it comes in the instant in which the wait begins."""

    def press() -> None:
        time.sleep(0.1)  # or the wait might begin later
        _thread.interrupt_main()

    client = p2p.Client(relay=relay)
    with (
        nothing_stays(),
        ctrl_c_while_it_waits(press) as on_event,
        pytest.raises(KeyboardInterrupt),
    ):
        client.send(tree, code=code, on_event=on_event)


@pytest.mark.parametrize("missing", ["threads", "files"])
def test_a_machine_without_threads_or_files_is_told_of(
    relay: str, tree: Path, code: p2p.Code, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    def no_thread(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    def no_file(main: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    if missing == "threads":
        monkeypatch.setattr(threading.Thread, "start", no_thread)
    else:
        monkeypatch.setattr(trio, "run", no_file)
    with pytest.raises(p2p.SystemFailed, match=missing):
        p2p.Client(relay=relay).send(tree, code=code)
