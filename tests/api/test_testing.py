"""The relay for tests of other projects: as a context manager, and as a fixture of pytest."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import trio

from p2p_copy import testing
from p2p_copy.api.bridge import InThread
from tests.api.support import nothing_stays
from tests.relay import clients
from tests.support.processes import PATIENCE, QUICK, environment

if TYPE_CHECKING:
    from pathlib import Path


def check(address: str) -> None:
    """Check that a relay serves at this address."""
    with InThread(clients.Relay(int(address.rpartition(":")[2]), None).pair("a")):
        pass


def test_it_serves_during_the_block_and_is_gone_after_it() -> None:
    with nothing_stays():
        with testing.relay() as address:
            assert address.startswith("ws://127.0.0.1:")
            check(address)
        with pytest.raises(OSError, match=r"refused|failed"):
            trio.run(trio.open_tcp_stream, "127.0.0.1", int(address.rpartition(":")[2]))


def test_it_may_be_used_in_any_event_loop() -> None:
    async def main() -> None:
        with testing.relay() as address:
            check(address)

    with nothing_stays():
        asyncio.run(main())
        trio.run(main)


def test_it_takes_the_settings_of_a_relay() -> None:
    with testing.relay(max_connections=1) as address, pytest.raises(AssertionError):
        check(address)
    with pytest.raises(ValueError, match="rate"), testing.relay(rate=1):
        raise AssertionError("it began")


OTHERS = {
    "without_import": """
import asyncio, socket, threading, pytest

def connect(address):
    host, port = address.removeprefix("ws://").split(":")
    socket.create_connection((host, int(port))).close()

def test_plain(relay):
    connect(relay)
    assert [one for one in threading.enumerate() if one.name == "p2p-copy"]

def test_no_thread_is_left():
    assert not [one for one in threading.enumerate() if one.name == "p2p-copy"]

@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
@pytest.mark.anyio
async def test_asynchronous(relay, anyio_backend):
    connect(relay)
""",
    "with_import": """
from p2p_copy.testing import relay

def test_fixture(relay):
    assert relay.startswith("ws://127.0.0.1:")

def test_context_manager():
    with relay(rate=1_000_000) as address:
        assert address.startswith("ws://127.0.0.1:")
""",
    "own_fixture": """
import pytest

@pytest.fixture
def relay():
    return "own"

def test_own(relay):
    assert relay == "own"
""",
}


@pytest.mark.slow  # another pytest starts
def test_pytest_finds_the_fixture(tmp_path: Path) -> None:
    for name, program in OTHERS.items():
        (tmp_path / f"test_{name}.py").write_text(program)
    words = ("-p", "no:xdist", "-p", "no:cacheprovider", "-q", "--rootdir", str(tmp_path), str(tmp_path))
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", *words],
        capture_output=True,
        text=True,
        env=environment(),
        cwd=tmp_path,
        timeout=PATIENCE,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_it_does_not_need_pytest() -> None:
    program = (
        "import sys; sys.modules['pytest'] = None; from p2p_copy.testing import relay\nwith relay(): pass"
    )
    subprocess.run([sys.executable, "-c", program], env=environment(), timeout=QUICK, check=True)
