"""Fault 92: files of the relay that block the program that opens them: FIFOs, and disks that do not answer."""

from __future__ import annotations

import os
import signal
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
import trio

from tests.faults.arena import CANARY
from tests.faults.attackers import over_tls
from tests.faults.fault_stopping import failing_start, reload
from tests.faults.server import Server
from tests.relay.clients import exchange
from tests.relay.entry.test_certificates import Files
from tests.support.hanging import hanging

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    import trustme

    from tests.faults.arena import Arena

SHORTENED = {"FILE_TIMEOUT": 2.0}


@contextmanager
def fifo(path: Path) -> Iterator[None]:
    """Put a FIFO in the place of a file."""
    kept = path.read_bytes()
    path.unlink()
    os.mkfifo(path)
    yield
    path.unlink()
    path.write_bytes(kept)


BLOCKED = pytest.mark.parametrize("blocked", [fifo, hanging])


@pytest.mark.fault(92, "certificate")
@BLOCKED
@over_tls
async def test_fault_92_a_key_that_cannot_be_read(
    arena: Arena, blocked: Callable[[Path], AbstractContextManager[None]]
) -> None:
    """Those who are there and those who come notice nothing; the old certificate stays, and the log says why."""
    server, files = arena.server, arena.server.files
    assert files is not None
    async with arena.attacked() as relay, relay.pair(f"{CANARY} before") as (sender, receiver):
        with blocked(files.key):
            server.process.send_signal(signal.SIGHUP)
            before, slowest = len(server.log), 0.0
            while "reloaded" not in server.log[before:]:
                began = trio.current_time()
                with trio.fail_after(10):
                    await exchange(sender, receiver)
                    await relay.works(f"{CANARY} meanwhile")
                slowest = max(slowest, trio.current_time() - began)
            assert "not reloaded" in server.log[before:]
            assert slowest < 1
        assert "not reloaded" not in reload(server)


@pytest.mark.fault(92, "tokens", "the end")
@BLOCKED
def test_fault_92_tokens_that_cannot_be_read(
    tmp_path: Path, blocked: Callable[[Path], AbstractContextManager[None]]
) -> None:
    """The relay answers meanwhile, and ends when it is told to, although a thread of it waits for the disk."""
    tokens = tmp_path / "tokens"
    tokens.write_text("")
    server = Server(tmp_path, "--tokens-file", str(tokens))
    with blocked(tokens):
        for _ in range(3):
            server.process.send_signal(signal.SIGHUP)
            time.sleep(0.2)
            began = time.monotonic()
            assert server.status["state"] == "serving"
            assert time.monotonic() - began < 1
        began = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        assert server.ends() == 0
        assert time.monotonic() - began < 3
    assert server.errors == ""


@pytest.mark.fault(92, "at the start")
@BLOCKED
def test_fault_92_a_start_with_a_key_that_cannot_be_read(
    tmp_path: Path, authority: trustme.CA, blocked: Callable[[Path], AbstractContextManager[None]]
) -> None:
    files = Files(tmp_path, authority)
    with blocked(files.key):
        said = failing_start("127.0.0.1", "0", "--certfile", files.names[0], "--keyfile", files.names[1])
    assert "is a pipe" in said or "does not answer" in said
