"""Faults 38 to 42: stopping, certificates that change, starts that must fail, floods of the log, and a kill."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
import trio

from p2p_copy.protocol.rendezvous import CloseCode, Refused, Role
from p2p_copy.transport.link import LinkBroken
from tests.faults.arena import CANARY, PAIR_WITHIN, Transfer
from tests.faults.attackers import closed_within, connected, crowd, over_both, over_tls
from tests.faults.server import DRAIN, Server
from tests.relay.clients import answer
from tests.relay.entry.test_certificates import Files, expire, mismatch, remove
from tests.relay.test_packets_of_death import say
from tests.support.processes import QUICK, environment

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import trustme

    from p2p_copy.transport.link import Link
    from tests.faults.arena import Arena

SECURE = pytest.mark.parametrize("secure", [False, True], ids=["ws", "wss"])


async def close_code(link: Link) -> int:
    with trio.fail_after(QUICK):
        while True:
            try:
                await link.receive()
            except LinkBroken as error:
                return error.close_code


def files_if(secure: bool, folder: Path, authority: trustme.CA) -> Files | None:
    return Files(folder, authority) if secure else None


async def serves_again(folder: Path, port: int, files: Files | None) -> None:
    """Start a relay at the same port, which must serve at once."""
    (folder / "again").mkdir()
    server = Server(folder / "again", files=files, port=port)
    try:
        began = trio.current_time()
        await server.clients.works(f"{CANARY} again")
        assert trio.current_time() - began < PAIR_WITHIN
    finally:
        server.close()


@SECURE
async def test_fault_38_sigterm_with_waiters_and_pairs(
    tmp_path: Path, authority: trustme.CA, secure: bool
) -> None:
    """Waiters are told, a transfer comes to its end, a pair that does not is closed, and the exit is in time."""
    files = files_if(secure, tmp_path, authority)
    server = Server(tmp_path, files=files)
    transfer = Transfer(server, tmp_path)
    transfer.begin()
    relay = server.clients
    async with (
        relay.pair(f"{CANARY} pair") as (sender, _),
        relay.waiting(Role.SENDER, f"{CANARY} w") as waiter,
    ):
        began = trio.current_time()
        server.process.send_signal(signal.SIGTERM)
        refused = await answer(waiter)
        assert isinstance(refused, Refused)
        assert refused.code == "stopping"
        assert await close_code(waiter) == CloseCode.STOPPING
        await trio.to_thread.run_sync(transfer.finish)
        assert await close_code(sender) == CloseCode.STOPPING
        assert await trio.to_thread.run_sync(server.ends) == 0
        assert DRAIN - 1 < trio.current_time() - began < DRAIN + 3
    transfer.close()
    assert "stopped: pairs served: 2" in server.log
    await serves_again(tmp_path, relay.address.port, files)


@SECURE
async def test_fault_38_sigterm_twice(tmp_path: Path, authority: trustme.CA, secure: bool) -> None:
    server = Server(tmp_path, drain=300, files=files_if(secure, tmp_path, authority))
    async with server.clients.pair(f"{CANARY} pair") as (sender, receiver):
        server.process.send_signal(signal.SIGTERM)
        await trio.sleep(0.3)
        began = trio.current_time()
        server.process.send_signal(signal.SIGTERM)
        assert {await close_code(sender), await close_code(receiver)} == {CloseCode.STOPPING}
        assert await trio.to_thread.run_sync(server.ends) == 0
        assert trio.current_time() - began < 3
    assert "stopped: pairs served: 1" in server.log


@pytest.mark.parametrize("delay", [0, 0.02, 0.05, 0.1, 0.15, 0.2])
def test_fault_38_sigterm_twice_when_no_client_is_there(tmp_path: Path, delay: float) -> None:
    """The first one suffices; the second one must not make a failure of it."""
    server = Server(tmp_path)
    for _ in range(2):
        server.process.send_signal(signal.SIGTERM)
        time.sleep(delay)
    assert server.ends() == 0
    assert server.errors == ""


@pytest.mark.parametrize("harm", [mismatch, remove, expire])
@over_tls
async def test_fault_39_certificates_that_change(arena: Arena, harm: Callable[[Files], None]) -> None:
    server, files = arena.server, arena.server.files
    assert files is not None
    async with arena.attacked() as relay, relay.pair(f"{CANARY} before") as (sender, receiver):
        before = files.shown(relay.address.port)
        files.renew()
        reload(server)
        good = files.shown(relay.address.port)
        assert good == files.leaf != before
        harm(files)
        assert "not reloaded" in reload(server)
        assert files.shown(relay.address.port) == good
        files.renew()
        reload(server)
        assert files.shown(relay.address.port) == files.leaf
        await sender.send(b"x")
        assert await receiver.receive() == b"x"


def reload(server: Server) -> str:
    """Let the relay read its files again; return what it says of it."""
    before = len(server.log)
    server.process.send_signal(signal.SIGHUP)
    deadline = time.monotonic() + QUICK
    while "reloaded" not in (new := server.log[before:]):
        assert time.monotonic() < deadline, new
        time.sleep(0.02)
    return new


def failing_start(*words: str, prefix: tuple[str, ...] = ()) -> str:
    done = subprocess.run(
        [*prefix, sys.executable, "-m", "p2p_copy", "run-relay-server", *words],
        capture_output=True,
        text=True,
        timeout=QUICK,
        env=environment(),
        check=False,
    )
    assert done.returncode == 19, done
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    return done.stderr


def test_fault_40_a_start_that_cannot_be(tmp_path: Path, authority: trustme.CA) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = str(busy.getsockname()[1])
        assert "is in use by another program" in failing_start("127.0.0.1", port, "--no-tls")
    files = Files(tmp_path, authority)
    tls = ("--certfile", files.names[0], "--keyfile", files.names[1])
    mismatch(files)
    assert "does not belong to the certificate" in failing_start("127.0.0.1", "0", *tls)
    files.key.write_text("garbage")
    assert "not in PEM form" in failing_start("127.0.0.1", "0", *tls)
    files.key.unlink()
    assert "cannot be read" in failing_start("127.0.0.1", "0", *tls)


def test_fault_40_a_port_without_permission() -> None:
    prefix: tuple[str, ...] = ()
    if os.geteuid() == 0:
        setpriv = shutil.which("setpriv")
        if setpriv is None:
            pytest.skip("setpriv is not installed here, and root may use every port")
        prefix = (setpriv, "--bounding-set=-net_bind_service", "--inh-caps=-net_bind_service")
    with open("/proc/sys/net/ipv4/ip_unprivileged_port_start") as file:
        if int(file.read()) <= 81:
            pytest.skip("every user may use every port here")
    assert "Ports below 1024 need root" in failing_start("127.0.0.1", "81", "--no-tls", prefix=prefix)


INJECTIONS = (
    f"GET /%0d%0a{CANARY} HTTP/1.1\r\nHost: x\r\n\r\n",
    f"GET / HTTP/1.1\r\nHost: x\r\nX: \x1b[2J\x1b]0;{CANARY}\x07\r\n\r\n",
    f"GET / HTTP/1.1\r\nHost: \r\n {CANARY}\r\n\r\n",
    f"\r\n2026-01-01 00:00:00,000 ! {CANARY}\r\n\x1b[31m\r\n\r\n",
    f"GET / HTTP/1.1\nHost: {CANARY}\n\x9b31m\n\n",
)


@over_both
async def test_fault_41_floods_and_injections_of_the_log(arena: Arena) -> None:
    async with arena.attacked() as relay:
        arena.check_log()

        async def one(number: int) -> None:
            async with connected(relay) as (_, stream):
                await say(stream, INJECTIONS[number % len(INJECTIONS)].encode("latin-1"))
                await closed_within(stream, QUICK)

        await crowd(500, one)
        assert len(arena.check_log().splitlines()) < 30


@SECURE
async def test_fault_42_a_kill_in_the_middle_of_a_transfer(
    tmp_path: Path, authority: trustme.CA, secure: bool
) -> None:
    """Both ends say that the relay is gone; the same commands at the relay that comes back are a success."""
    files = files_if(secure, tmp_path, authority)
    server = Server(tmp_path, files=files)
    transfer = Transfer(server, tmp_path)
    transfer.begin()
    server.process.kill()
    server.process.wait()
    assert transfer.exit_codes() == (13, 13)
    transfer.close()
    (tmp_path / "again").mkdir()
    server = Server(tmp_path / "again", files=files, port=server.clients.address.port)
    transfer = Transfer(server, tmp_path)
    transfer.begin()
    await trio.to_thread.run_sync(transfer.finish)
    transfer.close()
    server.close()
