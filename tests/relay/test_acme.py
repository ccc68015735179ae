"""A relay that gets its own certificates: the whole program with a real authority, while clients come and go."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import ssl
import stat
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest
import trio

from p2p_copy.acme.keeper import CertificateKeeper
from p2p_copy.cli.relay_service import _keep
from p2p_copy.protocol.rendezvous import room_hint
from tests.contrib.programs import free_port
from tests.relay.clients import exchange, room
from tests.relay.workers.relays import WorkersRelay
from tests.support.acme_authorities import Gate, Served, Watch, between, pebble
from tests.support.ordered import ADDRESS, Ordered
from tests.support.processes import QUICK, Running, environment, receiver, sender

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(
    not hasattr(socket, "AF_UNIX"), reason="the admin address of these relays is a unix socket"
)

OBTAINED = r"a new certificate for \S+ is in use"
ORDERED = "a certificate for .* is ordered"


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., WorkersRelay]]:
    """Return what starts a relay with a certificate to order; each is ended at the end of the test."""
    started: list[WorkersRelay] = []

    def start(ordered: Ordered, *options: str, workers: int = 1, **more: Any) -> WorkersRelay:
        folder = tmp_path / f"relay{len(started)}"
        folder.mkdir()
        more = {"where": ordered.where} | more
        relay = WorkersRelay(folder, *options, certificates=ordered, workers=workers, **more)
        started.append(relay)
        return relay

    yield start
    for relay in started:
        relay.close()


def test_the_first_certificate_comes_by_itself_and_is_served_at_once_after_a_restart(
    tmp_path: Path, start: Callable[..., WorkersRelay]
) -> None:
    with pebble(tmp_path / "pebble") as served:
        ordered = Ordered(served, tmp_path, ADDRESS, "relay.example")
        ordered.trust()
        relay = start(ordered)
        relay.wait_for("a new certificate for 127.0.0.1, relay.example is in use, valid for")
        first = ordered.shown("http/1.1")
        status = relay.status
        assert status["certificate_ends"] == first.not_valid_after_utc.timestamp()
        assert status["renewal"]["names"] == ["127.0.0.1", "relay.example"]
        assert (status["renewal"]["failures"], status["renewal"]["last_error"]) == (0, None)
        assert status["renewal"]["last_try"] <= time.time() + 1  # whole seconds
        assert "p2p_copy_relay_certificate_failures 0.0" in relay.ask("GET", "/metrics")[1]
        for path in (ordered.folder, *ordered.folder.rglob("*")):
            assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
        relay.close()
    again = start(ordered)  # the authority is away
    assert ordered.shown("http/1.1") == first
    assert "the certificate of the last time is in use" in again.log
    assert not re.search(ORDERED, again.log)


def test_without_its_authority_a_relay_runs_and_says_what_is_wrong_and_tries_when_it_is_told(
    tmp_path: Path, start: Callable[..., WorkersRelay]
) -> None:
    with pebble(tmp_path / "pebble") as served:
        pass
    port = int(served.directory.split(":")[2].split("/")[0])
    ordered = Ordered(served, tmp_path)
    relay = start(ordered)
    relay.wait_for("no certificate: ")
    assert relay.ask("GET", "/healthz") == (200, "serving\n")
    code, _, errors = receiver(relay.url, tmp_path / "out").wait()
    assert (code, "The relay has no certificate yet" in errors) == (4, True)
    assert (relay.status["certificate_ends"], relay.status["renewal"]["failures"]) == (None, 1)
    told = Running("relay-admin", f"unix:{relay.admin}", "status").wait()[1]
    assert "no certificate\ncertificate of: 127.0.0.1\n" in told
    assert "failed orders in a row: 1\nlast failure: " in told
    metrics = relay.ask("GET", "/metrics")[1]
    assert "p2p_copy_relay_certificate_needs_attention 1.0" in metrics
    assert "expiry" not in "".join(line for line in metrics.splitlines() if not line.startswith("#"))
    with pebble(tmp_path / "pebble", port=port, tls_port=served.tls_port):
        ordered.trust()
        relay.signal(signal.SIGHUP)
        relay.wait_for(OBTAINED)
        ordered.shown()
        assert relay.ask("POST", "/reload") == (200, "Reloaded.\n")
    assert len(re.findall("no certificate: ", relay.log)) == 1


HINTS = sorted({room_hint(room(name)) for name in map(str, range(8))}, key=lambda hint: int(hint[-1], 16) % 2)
"""Of rooms of both workers, if there are two."""


def shown_by_all(ordered: Ordered) -> int:
    """Return the serial number of the certificate that all workers show, once they show the same one."""
    deadline = time.monotonic() + QUICK
    while True:
        with suppress(ssl.SSLCertVerificationError):  # on a busy machine certificates of seconds come late
            numbers = {ordered.shown("http/1.1", hint).serial_number for hint in (HINTS[0], HINTS[-1])}
            if len(numbers) == 1:  # else a renewal came in between
                return numbers.pop()
        assert time.monotonic() < deadline, "they do not come to the same one"


@pytest.mark.slow  # several lives of a certificate pass
@pytest.mark.parametrize("workers", [1, 2])
def test_a_transfer_notices_nothing_of_renewals_and_new_clients_get_the_new_certificate(
    tmp_path: Path, start: Callable[..., WorkersRelay], workers: int
) -> None:
    source = tmp_path / "source"
    source.write_bytes(os.urandom(8 << 20))
    with pebble(tmp_path / "pebble", life=6) as served:
        ordered = Ordered(served, tmp_path)
        ordered.trust()
        relay = start(ordered, "--rate", "800K", workers=workers)
        relay.wait_for(OBTAINED)
        before = shown_by_all(ordered)
        options = ("--ca-file", ordered.authority)
        one = sender(relay.url, source, options=options)
        other = receiver(relay.url, tmp_path / "out", options=options)
        begun = len(re.findall(OBTAINED, relay.log))
        results = one.wait(), other.wait()
        assert [code for code, _, _ in results] == [0, 0], results
        assert len(re.findall(OBTAINED, relay.log)) >= begun + 2
        assert set(re.findall(r"pairing \d+ ended: (.*?),", relay.log)) == {"complete"}
        assert "reconnect" not in relay.log
        assert shown_by_all(ordered) != before
    assert (tmp_path / "out" / "source").read_bytes() == source.read_bytes()


def test_the_process_that_orders_answers_for_all_workers(
    tmp_path: Path, start: Callable[..., WorkersRelay]
) -> None:
    with pebble(tmp_path / "pebble") as served:
        ordered = Ordered(served, tmp_path)
        ordered.trust()
        relay = start(ordered, workers=2)
        assert "worker" not in relay.wait_for("an authority's check of the name was answered.*")[0]
        relay.wait_for(OBTAINED)
        hints = [("http/1.1", room_hint(room(name))) for name in map(str, range(8))]
        before = {ordered.shown(*hint) for hint in hints}
        assert relay.ask("POST", "/upgrade")[0] == 200  # workers that start later have it, too
        assert {ordered.shown(*hint) for hint in hints} == before
        assert len(before) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux changes the limits of another process")
def test_a_worker_that_cannot_read_a_new_certificate_is_asked_again(
    tmp_path: Path, start: Callable[..., WorkersRelay]
) -> None:
    import resource

    with pebble(tmp_path / "pebble") as served:
        pass
    port = int(served.directory.split(":")[2].split("/")[0])
    ordered = Ordered(served, tmp_path)
    relay = start(ordered, workers=2, shortened={"CERTIFICATE_CHECK_INTERVAL": 0.5})
    relay.wait_for("no certificate: ")
    pid = relay.pids[max(relay.pids)]
    limit = resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    with pebble(tmp_path / "pebble", port=port, tls_port=served.tls_port):
        ordered.trust()
        relay.signal(signal.SIGHUP)
        relay.wait_for(OBTAINED)
        relay.wait_for(rf"certificate.*{max(relay.pids)}\)")
        resource.prlimit(pid, resource.RLIMIT_NOFILE, limit)
        hints = [("http/1.1", room_hint(room(name))) for name in map(str, range(8))]
        deadline = time.monotonic() + QUICK
        while True:
            try:
                assert len({ordered.shown(*hint) for hint in hints}) == 1
                break
            except (ssl.SSLError, OSError):  # the worker has none yet
                assert time.monotonic() < deadline
                time.sleep(0.1)


@contextmanager
def balancer(port: int, target: int) -> Iterator[None]:
    """Pass connections on as a TCP balancer does, with the PROXY protocol."""
    threads: list[threading.Thread] = []

    def begin(work: Callable[..., None], *arguments: socket.socket) -> threading.Thread:
        thread = threading.Thread(target=work, args=arguments)
        thread.start()
        threads.append(thread)
        return thread

    def copy(source: socket.socket, to: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                to.sendall(data)
            to.shutdown(socket.SHUT_WR)

    def carry(client: socket.socket) -> None:
        with client, socket.create_connection((ADDRESS, target)) as behind:
            behind.sendall(b"PROXY TCP4 198.51.100.7 192.0.2.1 4711 443\r\n")
            up = begin(copy, client, behind)
            copy(behind, client)
            up.join()

    def serve(server: socket.socket) -> None:
        with suppress(OSError):
            while True:
                begin(carry, server.accept()[0])

    with socket.create_server((ADDRESS, port)) as server:
        begin(serve, server)
        yield
        server.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(QUICK)


@pytest.mark.parametrize("workers", [1, 2])
def test_behind_a_balancer_with_the_proxy_protocol(
    tmp_path: Path, start: Callable[..., WorkersRelay], workers: int
) -> None:
    with pebble(tmp_path / "pebble") as served:
        ordered = Ordered(served, tmp_path)
        ordered.trust()
        port = free_port()
        with balancer(served.tls_port, port):
            relay = start(
                ordered,
                *("--trusted-proxy", "127.0.0.1", "--log-addresses"),
                workers=workers,
                where=(f"{ADDRESS}:{port}",),
            )
            relay.wait_for(OBTAINED)
            relay.wait_for(r"check of the name was answered.*198\.51\.100\.7")
            ordered.shown("http/1.1")


ACTIVATED = (
    "import os, sys; os.umask(0); os.dup2(int(sys.argv.pop(1)), 3); os.environ['LISTEN_PID'] = str(os.getpid()); "
    "os.environ['LISTEN_FDS'] = '1'; from p2p_copy.__main__ import main; main()"
)


def test_with_a_socket_from_systemd_and_no_privilege_at_all(tmp_path: Path) -> None:
    """Without a capability root has no more rights than nobody."""
    powerless = []
    if os.getuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("setpriv, which takes root's privileges away, is not installed here")
        powerless = ["setpriv", "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"]
    with (
        pebble(tmp_path / "pebble") as served,
        socket.create_server((ADDRESS, served.tls_port)) as server,
        (tmp_path / "log").open("wb") as log,
    ):
        ordered = Ordered(served, tmp_path)
        ordered.trust()
        (options,) = [[*ordered.options[:-2]]]
        number = str(server.fileno())
        process = subprocess.Popen(
            [*powerless, sys.executable, "-c", ACTIVATED, number, "run-relay-server", *options],
            pass_fds=[server.fileno()],
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment(STATE_DIRECTORY=str(tmp_path / "state")),
        )
        try:
            deadline = time.monotonic() + QUICK
            while not re.search(OBTAINED, (tmp_path / "log").read_text()):
                assert process.poll() is None
                assert time.monotonic() < deadline, (tmp_path / "log").read_text()
                time.sleep(0.05)
            ordered.shown("http/1.1")
        finally:
            process.terminate()
            assert process.wait(QUICK) == 0, (tmp_path / "log").read_text()
    folder = tmp_path / "state" / "acme"
    assert [*folder.rglob("chain.pem")]
    for path in (folder, *folder.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_a_relay_that_is_stopped_while_it_orders_ends_at_once_and_the_next_one_goes_on(
    tmp_path: Path, start: Callable[..., WorkersRelay]
) -> None:
    gate = Gate()
    watch = Watch(chalZ=gate)
    with (
        pebble(tmp_path / "pebble") as real,
        between(real, tmp_path / "pebble", watch) as served,
    ):
        ordered = Ordered(served, tmp_path)
        ordered.trust()
        relay = start(ordered)
        relay.wait_for(ORDERED)
        assert gate.reached.wait(QUICK)
        relay.signal(signal.SIGTERM)
        assert relay.process.wait(QUICK) == 0
        gate.open.set()
        watch.instead.clear()
        assert not [*(ordered.folder / "challenge").glob("*")]
        assert "no certificate: " not in relay.log
        again = start(ordered)
        again.wait_for(OBTAINED)
        ordered.shown()


@pytest.mark.slow  # a life of a certificate passes
async def test_a_relay_that_drains_orders_nothing(tmp_path: Path, start: Callable[..., WorkersRelay]) -> None:
    with pebble(tmp_path / "pebble", life=6) as served:
        ordered = Ordered(served, tmp_path)
        ordered.trust()
        relay = start(ordered)
        relay.wait_for(OBTAINED)
        async with relay.clients.pair("a") as (one, other):
            relay.signal(signal.SIGTERM)
            relay.wait_for("stopping in")
            await trio.sleep(6)
            await exchange(one, other)
        assert relay.process.wait(QUICK) == 0
    assert not re.search(ORDERED, relay.log.partition("stopping in")[2])


def test_two_relays_with_one_directory_get_one_certificate(
    tmp_path: Path, start: Callable[..., WorkersRelay]
) -> None:
    gate = Gate()
    with (
        pebble(tmp_path / "pebble") as real,
        between(real, tmp_path / "pebble", Watch(chalZ=gate)) as served,
    ):
        ordered = Ordered(served, tmp_path)
        ordered.trust()
        there = Ordered(Served(served.directory, served.ca_file, free_port()), tmp_path)
        one = start(ordered)
        assert gate.reached.wait(QUICK)  # it holds the lock
        other = start(there)
        other.wait_for("another relay orders in")
        gate.open.set()
        one.wait_for(OBTAINED)
        other.wait_for(OBTAINED)
        assert there.shown() == ordered.shown()
        assert not re.search(ORDERED, other.log)


async def test_a_bug_of_what_renews_a_certificate_ends_no_relay(caplog: pytest.LogCaptureFixture) -> None:
    class Faulty(CertificateKeeper):
        def __init__(self) -> None:
            """Touch nothing."""

        async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
            raise ValueError

    async with trio.open_nursery() as nursery:
        await nursery.start(_keep, Faulty())
        assert "a bug ended what renews the certificate, which goes on in 600 s" in caplog.text
        nursery.cancel_scope.cancel()


# Words that cannot be meant


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--acme", "a.example", "--certfile", "c", "--keyfile", "k"), "Leave one of them out"),
        (("--acme", "a.example", "--no-tls"), "--no-tls turns off"),
        (("--acme-email", "a@b.example"), "--acme-email has no effect without --acme"),
        (("--acme", "*.example"), "wildcard"),
        (("--acme", "a.example", "--acme-directory", "http://ca.example"), "https://"),
        (("--acme", "a.example", "--acme-eab-kid", "x"), "--acme-eab-key-file"),
        (("--acme", "a.example", "--acme-eab-kid", "x", "--acme-eab-key-file", "no"), "cannot be read"),
        ((), "or --acme NAME"),
    ],
)
def test_options_that_do_not_go_together_are_named(words: tuple[str, ...], sentence: str) -> None:
    code, _, errors = Running("run-relay-server", "127.0.0.1:0", *words).wait()
    assert (code, sentence in errors) == (2, True), errors


def test_without_its_libraries_a_relay_says_how_to_install_them(tmp_path: Path) -> None:
    program = "import sys; sys.modules['acme'] = None; from p2p_copy.__main__ import main; sys.exit(main())"
    words = ("run-relay-server", "127.0.0.1:0", "--acme", "a.example", "--acme-dir", str(tmp_path))
    done = subprocess.run(
        [sys.executable, "-c", program, *words],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=QUICK,
        check=False,
    )
    assert (done.returncode, "p2p-copy[acme]" in done.stderr) == (2, True), done.stderr


def test_everything_may_stand_in_the_configuration_file(
    tmp_path: Path, start: Callable[..., WorkersRelay]
) -> None:
    with pebble(tmp_path / "pebble", eab=True) as served:
        ordered = Ordered(served, tmp_path)
        ordered.trust()
        from tests.support.acme_authorities import EAB_KEY, EAB_KID

        (tmp_path / "key").write_text(EAB_KEY + "\n")
        (tmp_path / "config.toml").write_text(
            f"""[run-relay-server]
acme = ["{ADDRESS}"]
acme-email = "someone@example.org"
acme-directory = "{served.directory}"
acme-ca-file = "{served.ca_file}"
acme-dir = "{ordered.folder}"
acme-eab-kid = "{EAB_KID}"
acme-eab-key-file = "{tmp_path / "key"}"
"""
        )

        class FromFile(Ordered):
            options = ("--config", str(tmp_path / "config.toml"))

        relay = start(FromFile(served, tmp_path))
        relay.wait_for(OBTAINED)
        ordered.shown()
