from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import MockClock

from p2p_copy.relay import limits
from p2p_copy.relay.admin.systemd import Notifier
from tests.relay.clients import relay_running
from tests.support.processes import QUICK, environment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Manager:
    """The other end of NOTIFY_SOCKET."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address.replace("@", "\0", 1))
        self._socket.settimeout(QUICK)
        self.environ = {"NOTIFY_SOCKET": address}

    def next(self) -> dict[str, str]:
        """Return the next message."""
        return dict(line.split("=", 1) for line in self._socket.recv(4096).decode().split("\n"))

    def until(self, name: str) -> dict[str, str]:
        """Return the next message that says this."""
        while name not in (message := self.next()):
            pass
        return message

    def all(self) -> list[dict[str, str]]:
        """Return what has come by now."""
        self._socket.setblocking(False)
        messages = []
        while True:
            try:
                messages.append(self.next())
            except BlockingIOError:
                return messages

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    if request.param == "abstract" and sys.platform != "linux":
        pytest.skip("abstract sockets are Linux's")
    address = str(tmp_path / "notify") if request.param == "path" else f"@p2p-copy-test-{os.getpid()}"
    manager = Manager(address)
    yield manager
    manager.close()


async def test_every_step_is_notified(manager: Manager) -> None:
    notifier = Notifier(manager.environ)
    notifier.ready()
    before = time.monotonic_ns() // 1000
    async with notifier.reloading():
        pass
    notifier.stopping()
    ready, reloading, again, stopping = manager.all()
    assert ready == again == {"READY": "1"}
    assert stopping == {"STOPPING": "1"}
    assert reloading["RELOADING"] == "1"
    assert before <= int(reloading["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000


def test_a_status_is_sent_when_it_changes(manager: Manager) -> None:
    notifier = Notifier(manager.environ)
    for sentence in ("1 pair", "1 pair", "2 pairs"):
        notifier.status(sentence)
    assert manager.all() == [{"STATUS": "1 pair"}, {"STATUS": "2 pairs"}]


@pytest.mark.parametrize(
    ("microseconds", "owner", "seconds"),
    [
        ("5000000", str(os.getpid()), 5.0),
        ("5000000", None, 5.0),
        ("5000000", str(os.getppid()), None),
        ("0", None, None),
        ("soon", None, None),
        (None, None, None),
    ],
    ids=["ours", "anybody's", "another's", "off", "no number", "none"],
)
def test_the_watchdog_is_the_one_of_this_process(
    microseconds: str | None, owner: str | None, seconds: float | None
) -> None:
    given = {"NOTIFY_SOCKET": "/none", "WATCHDOG_USEC": microseconds, "WATCHDOG_PID": owner}
    assert Notifier({name: value for name, value in given.items() if value}).watchdog == seconds


def test_the_watchdog_is_fed_twice_in_its_time(tmp_path: Path) -> None:
    manager = Manager(str(tmp_path / "notify"))
    notifier = Notifier(manager.environ | {"WATCHDOG_USEC": "4000000"})

    async def main() -> None:
        with trio.move_on_after(9):
            await notifier.attend(lambda: "serving")

    trio.run(main, clock=MockClock(autojump_threshold=0))
    assert manager.all() == [{"WATCHDOG": "1"}, {"STATUS": "serving"}, *[{"WATCHDOG": "1"}] * 4]
    manager.close()


def test_without_a_watchdog_only_the_status_is_kept_up_to_date(tmp_path: Path) -> None:
    manager = Manager(str(tmp_path / "notify"))
    notifier = Notifier(manager.environ)
    statuses = iter(("serving: 0", "serving: 1", "serving: 2"))

    async def main() -> None:
        with trio.move_on_after(2.5 * limits.STATUS_INTERVAL):
            await notifier.attend(lambda: next(statuses))

    trio.run(main, clock=MockClock(autojump_threshold=0))
    assert [message["STATUS"] for message in manager.all()] == ["serving: 0", "serving: 1", "serving: 2"]
    manager.close()


async def test_without_a_manager_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "socket")
    notifier = Notifier({"WATCHDOG_USEC": "5000000"})
    notifier.ready()
    notifier.status("serving")
    async with notifier.reloading():
        notifier.stopping()
    await notifier.attend(lambda: pytest.fail("no status was wanted"))
    assert notifier.watchdog is None


@pytest.mark.parametrize("address", ["/nobody/there", "@nobody-there", "vsock:2:1", "\x00", "x" * 500])
async def test_a_manager_that_cannot_be_reached_does_not_stop_the_relay(address: str) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": address})
    async with relay_running() as relay:
        notifier.ready()
        await relay.works("a")


def test_a_manager_that_does_not_read_does_not_stop_the_relay(tmp_path: Path) -> None:
    manager = Manager(str(tmp_path / "notify"))
    notifier = Notifier(manager.environ)
    for _ in range(10_000):
        notifier.ready()
    manager.close()


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has no SIGHUP")
def test_the_command_notifies_of_each_step(tmp_path: Path) -> None:
    manager = Manager(str(tmp_path / "notify"))
    process = subprocess.Popen(
        [sys.executable, "-m", "p2p_copy", "run-relay-server", "127.0.0.1", "0", "--no-tls"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(**manager.environ, WATCHDOG_USEC="200000"),
    )
    assert manager.next() == {"READY": "1"}
    assert manager.until("STATUS")["STATUS"] == "serving: 0 pairs, 0 waiting, 0 pairs served"
    manager.until("WATCHDOG")
    process.send_signal(signal.SIGHUP)
    manager.until("RELOADING")
    manager.until("READY")
    process.send_signal(signal.SIGTERM)
    manager.until("STOPPING")
    out, errors = process.communicate(timeout=QUICK)
    assert (process.returncode, errors) == (0, "")
    assert " Relay listening on ws://127.0.0.1:" in out
    manager.close()
