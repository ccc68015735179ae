from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest
import trio

from p2p_copy.cli.commands.relay_server import places
from p2p_copy.errors import CannotListen, UsageError
from p2p_copy.protocol.rendezvous import Role, Welcome, room_path
from p2p_copy.relay import limits
from p2p_copy.relay.config import Inherited, RelayConfig, Tcp, Unix
from p2p_copy.relay.entry.listeners import Listener, activated, listen
from p2p_copy.relay.log import events
from p2p_copy.relay.server import Relay
from p2p_copy.transport.address import RelayAddress
from tests.relay.clients import answer, hello, room
from tests.support.links import connect
from tests.support.processes import QUICK, environment
from tests.support.websocket import RawClient

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from p2p_copy.relay.config import Place

IPV6 = socket.has_ipv6


@asynccontextmanager
async def listening(*where: Place) -> AsyncIterator[list[Listener]]:
    listeners = await listen(where)
    try:
        yield listeners
    finally:
        for listener in listeners:
            await listener.aclose()


@asynccontextmanager
async def relay_at(*where: Place) -> AsyncIterator[Relay]:
    relay = Relay(RelayConfig(None, more=where))
    async with trio.open_nursery() as nursery:
        await nursery.start(relay.run)
        yield relay
        relay.stop(1)


@pytest.fixture
def handed() -> Any:
    """A listening socket whose descriptor belongs to the listener that it is handed to."""
    sock = socket.create_server(("127.0.0.1", 0))
    yield sock
    sock.close()


async def test_a_system_without_descriptors_ends_nothing_and_logs_no_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    resource = pytest.importorskip("resource")
    caplog.set_level("INFO")
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with listening(Tcp("127.0.0.1", 0)) as (listener,):
        assert listener.sockname
        async with await trio.open_tcp_stream(*listener.sockname), trio.open_nursery() as nursery:
            held = [os.open(os.devnull, os.O_RDONLY)]
            try:
                resource.setrlimit(resource.RLIMIT_NOFILE, (held[0] + 1, allowed[1]))
                with suppress(OSError):
                    while True:
                        held.append(os.open(os.devnull, os.O_RDONLY))

                async def take() -> None:
                    await (await listener.accept()).aclose()
                    nursery.cancel_scope.cancel()

                nursery.start_soon(take)
                with trio.fail_after(QUICK):
                    while not caplog.records:  # noqa: ASYNC110 - there is no event
                        await trio.sleep(0.01)
                await trio.sleep(1.5 * limits.ACCEPT_RETRY_PAUSE)  # it has tried again
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, allowed)
                for descriptor in held:
                    os.close(descriptor)
            await trio.sleep(QUICK)
            raise AssertionError("it is not taken when there is room again")
    assert {record.getMessage() for record in caplog.records} == {events.EXHAUSTED.text}
    assert not any(record.exc_info for record in caplog.records)


# Words


@pytest.mark.parametrize(
    ("words", "meaning"),
    [
        ("", []),
        ("localhost 0", [Tcp("localhost", 0)]),
        ("0.0.0.0 443 :: 443", [Tcp("0.0.0.0", 443), Tcp("::", 443)]),
        ("unix:/run/relay", [Unix("/run/relay")]),
        ("unix:a ::1 65535 unix:b", [Unix("a"), Tcp("::1", 65535), Unix("b")]),
    ],
)
def test_places_are_pairs_and_unix_sockets(words: str, meaning: list[Place]) -> None:
    assert places(words.split()) == meaning


@pytest.mark.parametrize(
    "words", ["localhost", "a 1 b", "a 65536", "a http", "a -1", "a ²", "a unix:b", "a " + 9000 * "9"]
)
def test_a_host_without_a_port_is_a_mistake(words: str) -> None:
    with pytest.raises(UsageError, match="HOST must be followed by a PORT"):
        places(words.split())


# TCP


@pytest.mark.skipif(not IPV6, reason="this machine has no IPv6")
async def test_all_of_ipv4_and_all_of_ipv6_share_a_port() -> None:
    async with listening(Tcp("0.0.0.0", 0)) as (one,):
        assert one.sockname is not None
        port = one.sockname[1]
        async with listening(Tcp("::", port)) as (other,):
            assert other.sockname == ("::", port)


async def test_a_relay_listens_at_several_places_at_once(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    async with relay_at(Tcp("127.0.0.1", 0), Tcp("localhost", 0), Unix(path)) as relay:
        *tcp, unix = relay.urls
        assert unix == f"unix:{path}"
        for url in tcp:
            host, port = url.removeprefix("ws://").rsplit(":", 1)
            async with connect(RelayAddress(False, host, int(port)), room_path(room(url))) as link:
                await link.send(hello(Role.SENDER))
                assert isinstance(await answer(link), Welcome)


async def test_either_all_places_can_be_had_or_none_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with pytest.raises(CannotListen, match="no address"):
        await listen([Unix(str(path)), Tcp("127.0.0.1", 0), Tcp("192.0.2.1", 0)])
    assert not path.exists()


@pytest.mark.parametrize(
    ("place", "tls", "url"),
    [("127.0.0.1", True, "wss://127.0.0.1:"), ("localhost", False, "ws://localhost:")],
)
async def test_a_url_has_the_host_as_it_was_asked_for(place: str, tls: bool, url: str) -> None:
    async with listening(Tcp(place, 0)) as listeners:
        for listener in listeners:
            assert listener.sockname is not None
            assert listener.url(tls=tls) == f"{url}{listener.sockname[1]}"


# Unix sockets


async def test_a_pair_meets_through_a_unix_socket(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    async with relay_at(Unix(path)):
        streams = [await trio.open_unix_socket(path) for _ in Role]
        async with streams[0], streams[1]:
            clients = [RawClient(stream) for stream in streams]
            for role, client in zip(Role, clients, strict=True):
                await client.upgrade(room_path(room("a")))
                await client.send(hello(role))
                assert "welcome" in str(await client.message())
            for client in clients:
                assert "paired" in str(await client.message())


async def test_a_unix_socket_is_for_its_user_and_group_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        async with listening(Unix(str(tmp_path / "socket"))):
            assert stat.S_IMODE((tmp_path / "socket").stat().st_mode) == 0o660
    finally:
        os.umask(before)


async def test_a_unix_socket_is_removed_with_its_relay(tmp_path: Path) -> None:
    async with relay_at(Unix(str(tmp_path / "socket"))):
        assert (tmp_path / "socket").is_socket()
    assert not (tmp_path / "socket").exists()


async def test_a_unix_socket_that_another_relay_has_replaced_stays(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    (first,) = await listen([Unix(str(path))])
    path.unlink()
    (second,) = await listen([Unix(str(path))])
    await first.aclose()
    async with await trio.open_unix_socket(str(path)):
        pass
    await second.aclose()
    assert not path.exists()


async def test_a_unix_socket_that_was_left_over_is_replaced(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
        dead.listen()
    async with listening(Unix(path)), await trio.open_unix_socket(path):
        pass


async def test_a_unix_socket_where_a_program_answers_is_in_use(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    async with listening(Unix(path)):
        with pytest.raises(CannotListen, match="in use"):
            await listen([Unix(path)])
        async with await trio.open_unix_socket(path):
            pass


async def test_nothing_but_a_socket_is_removed(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to("nowhere")
    for name in ("file", "link"):
        with pytest.raises(CannotListen, match="something else"):
            await listen([Unix(str(tmp_path / name))])
    assert (tmp_path / "file").read_text() == "mine"
    assert (tmp_path / "link").is_symlink()


@pytest.mark.parametrize("path", ["missing/socket", "x" * 200])
async def test_a_unix_socket_that_cannot_be_made_is_an_error_for_people(tmp_path: Path, path: str) -> None:
    with pytest.raises(CannotListen, match="Cannot listen at the unix socket"):
        await listen([Unix(str(tmp_path / path))])


# Sockets of systemd


def test_sockets_are_taken_only_by_the_process_that_they_are_meant_for() -> None:
    assert activated({}) == []
    assert activated({"LISTEN_PID": str(os.getppid()), "LISTEN_FDS": "1"}) == []
    environ = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "3", "LISTEN_FDNAMES": "a:b", "PATH": "/"}
    assert activated(environ) == [Inherited(3, "a"), Inherited(4, "b"), Inherited(5, "unknown")]
    assert environ == {"PATH": "/"}


def test_a_garbled_number_of_sockets_is_said_to_be() -> None:
    with pytest.raises(CannotListen, match="LISTEN_FDS"):
        activated({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "many"})


async def test_a_socket_that_was_handed_over_is_listened_at(handed: socket.socket) -> None:
    address = handed.getsockname()
    async with relay_at(Inherited(handed.detach(), "relay")) as relay:
        assert relay.urls == [f"ws://127.0.0.1:{address[1]}"]
        async with connect(RelayAddress(False, *address), "/"):
            pass


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
async def test_a_socket_that_does_not_listen_is_refused(kind: int) -> None:
    sock = socket.socket(socket.AF_INET, kind)
    with pytest.raises(CannotListen, match=r"'relay'.*Accept=no"):
        await listen([Inherited(sock.detach(), "relay")])


async def test_what_is_no_socket_is_refused(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        with pytest.raises(CannotListen, match="does not listen"):
            await listen([Inherited(descriptor, "relay")])
    finally:
        os.close(descriptor)


# Real processes


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "p2p_copy", "run-relay-server", *words, "--no-tls"]


def said_by(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def end(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=QUICK)
    assert process.returncode == 0, errors


def start(words: Sequence[str], **variables: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(**variables)
    )


def test_the_command_listens_at_every_place_that_is_named(tmp_path: Path) -> None:
    process = start(command("127.0.0.1", "0", f"unix:{tmp_path}/socket", "localhost", "0"))
    *_, unix, last = said_by(process).partition(" Relay listening on ")[2].split(" and ")[:3]
    assert unix == f"unix:{tmp_path}/socket"
    assert last.startswith("ws://localhost:")
    end(process)
    assert not (tmp_path / "socket").exists()


def test_the_command_wants_to_know_where_to_listen() -> None:
    process = start(command())
    _, errors = process.communicate(timeout=QUICK)
    assert process.returncode == UsageError.exit_code
    assert "run-relay-server HOST:PORT" in errors


@pytest.mark.skipif(not shutil.which("systemd-socket-activate"), reason="systemd is not installed")
def test_the_command_takes_the_sockets_of_systemd(tmp_path: Path) -> None:
    path = f"{tmp_path}/socket"
    process = start(
        ["systemd-socket-activate", f"--listen={path}", "--fdname=relay", *variables(), *command()]
    )
    assert process.stderr is not None
    assert path in process.stderr.readline()
    with socket.socket(socket.AF_UNIX) as client:  # systemd starts the relay when the first one comes
        client.connect(path)
        client.sendall(b"GET / HTTP/1.1\r\nHost: relay\r\n\r\n")
        assert said_by(process).endswith(f" Relay listening on unix:{path}")
        assert client.recv(100).startswith(b"HTTP/1.1 426")
    end(process)
    assert os.path.exists(path)  # it is the socket unit's, not the relay's


def variables() -> list[str]:
    """Tell systemd-socket-activate, which passes on hardly anything, what the interpreter must find."""
    return [
        f"--setenv={name}={value}" for name, value in os.environ.items() if name in {"PATH", "PYTHONPATH"}
    ]
