"""A relay process for faults: its log in files, its admin address a unix socket, and what it holds at a glance."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from tests.relay.clients import Relay
from tests.support.numbers import home_of
from tests.support.processes import QUICK, environment

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from p2p_copy.relay.log.abuse import Abuse
    from tests.relay.entry.test_certificates import Files

BUDGET = 2.0
"""Seconds from accept to hello at the relay; ten would only make us wait."""

DRAIN = 5
"""Seconds of a drain, unless a test says otherwise."""

OPTIONS = ("--log-level", "debug")

OTHER_RELAY = "P2P_COPY_FAULTS_RELAY"
"""Variable with an interpreter of another environment: the relay is the version that is installed there. It must
know `--admin`. Options that it does not know are left out."""

WORKERS = "P2P_COPY_FAULTS_WORKERS"
"""Variable with a number of workers that every relay gets which does not say its own."""

_SHORTEN = """
import json
from importlib import import_module
from importlib.util import find_spec
names = ["p2p_copy." + part for part in ("limits", "relay.limits", "transport.limits", "cli.limits")]
homes = [import_module(name) for name in names if find_spec(name)]  # of this version, or of an earlier one
for word in WORDS.split():
    name, _, value = word.partition("=")
    for home in homes:
        if hasattr(home, name):  # another version may not know it
            setattr(home, name, json.loads(value))
"""

_SHORTENED = """
if find_spec("p2p_copy.relay.workers"):
    from p2p_copy.cli.commands import relay_server
    usual = relay_server.worker_command
    def shortened():
        python, option, program, *more = usual()
        return [python, option, SHORTEN + program, *more]
    relay_server.worker_command = shortened
from p2p_copy.cli.main import main
main()
"""


def _program(numbers: Mapping[str, float]) -> str:
    """Return a program that runs p2p-copy, and the workers of a relay, with these numbers in place of its own."""
    words = " ".join(f"{name}={value}" for name, value in numbers.items())
    shorten = f"WORDS = {words!r}{_SHORTEN}"
    return f"{shorten}SHORTEN = {shorten!r}{_SHORTENED}"


def _known(python: str, options: Sequence[str]) -> Iterator[str]:
    """Yield the options, with their values, that the relay of another environment knows."""
    words = [python, "-P", "-m", "p2p_copy", "run-relay-server", "--help"]
    shown = subprocess.run(words, capture_output=True, text=True, check=True, env=environment()).stdout
    known = True
    for word in options:
        if word.startswith("--"):
            known = re.search(rf"{re.escape(word)}\b", shown) is not None
        if known:
            yield word


class Footprint(NamedTuple):
    """What a relay holds."""

    descriptors: int
    tasks: int
    rooms: int
    connections: int


class Server:
    """A relay process, its log in files, its admin address a unix socket."""

    def __init__(
        self,
        folder: Path,
        *options: str,
        files: Files | None = None,
        host: str = "127.0.0.1",
        reach: str = "127.0.0.1",
        port: int = 0,
        budget: float = BUDGET,
        drain: float = DRAIN,
        prefix: Sequence[str] = (),
        shortened: Mapping[str, float] | None = None,
        **variables: str,
    ) -> None:
        tls: tuple[str, ...] = ("--no-tls",)
        if files:
            tls = ("--certfile", files.names[0], "--keyfile", files.names[1], "--reload-certs", "signal")
        self._log, self._errors = folder / "relay.log", folder / "relay.errors"
        self.admin = str(folder / "admin")
        self._read = 0
        assert all(map(home_of, shortened or {})), "each number has a home"
        program = ("-c", _program(shortened)) if shortened else ("-m", "p2p_copy")
        options = (
            *(*OPTIONS, "--accept-budget", str(budget), "--drain", str(drain)),
            *("--admin", f"unix:{self.admin}", *options),
        )
        if (workers := os.environ.get(WORKERS)) and "--workers" not in options:
            options = (*options, "--workers", workers)
        python = [sys.executable]
        if other := os.environ.get(OTHER_RELAY):
            python, options = [other, "-P"], tuple(_known(other, options))
        with self._log.open("wb") as log, self._errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [*prefix, *python, *program, "run-relay-server", host, str(port), *tls, *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=errors,
                env=environment(**variables),
            )
        self.files = files
        try:
            port = self._port()
        except BaseException:
            self.process.kill()
            self.process.wait()
            raise
        self.clients = Relay(port, str(files.ca_file) if files else None, reach)
        self.url = str(self.clients.address)

    def _port(self) -> int:
        deadline = time.monotonic() + QUICK
        while time.monotonic() < deadline:
            if match := re.search(r"Relay listening on \S+:(\d+)\n", self._log.read_text()):
                self._read = self._log.stat().st_size  # the start lines name addresses, and may
                return int(match[1])
            assert self.process.poll() is None, self.errors
            time.sleep(0.05)
        raise AssertionError("the relay does not start")

    @property
    def errors(self) -> str:
        """What it said on standard error."""
        return self._errors.read_text()

    @property
    def log(self) -> str:
        """All that it has logged."""
        return self._log.read_text()

    def new_log(self) -> str:
        """Return what it has logged since this was called last."""
        data = self._log.read_bytes()[self._read :]
        self._read += len(data)
        return data.decode()

    def ask(self, method: str, path: str, order: object = None) -> Any:
        """Ask or order at the admin address."""
        body = json.dumps(order) if order is not None else ""
        request = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n{body}"
        with socket.socket(socket.AF_UNIX) as admin:
            admin.settimeout(QUICK)
            admin.connect(self.admin)
            admin.sendall(request.encode())
            reply = b"".join(iter(lambda: admin.recv(65536), b""))
        head, _, text = reply.decode().partition("\r\n\r\n")
        assert " 200 " in head.partition("\n")[0], reply
        return json.loads(text) if text.startswith("{") else text

    @property
    def status(self) -> Any:
        return self.ask("GET", "/status")

    def abuse(self, kind: Abuse) -> int:
        """Return how many cases of this kind it has counted."""
        pytest.importorskip("prometheus_client", reason="the extra [relay] is not installed")
        metrics = self.ask("GET", "/metrics")
        name = re.escape(kind.event.name)
        return int(float(re.findall(rf'p2p_copy_relay_abuse_total\{{kind="{name}"\}} (\S+)', metrics)[0]))

    @property
    def footprint(self) -> Footprint:
        # counted without the one for the question
        descriptors = sum(len(os.listdir(f"/proc/{process}/fd")) for process in self._processes)
        status = self.status
        return Footprint(descriptors, status["tasks"], status["rooms"], status["connections"])

    @property
    def _processes(self) -> tuple[int, ...]:
        """The relay's process and its workers."""
        pid = self.process.pid
        threads = Path(f"/proc/{pid}/task").glob("*/children")  # a worker is the child of a thread
        return pid, *(int(child) for thread in threads for child in thread.read_text("ascii").split())

    @property
    def memory(self) -> int:
        """Bytes of memory that its processes really have."""
        return sum(
            int(Path(f"/proc/{process}/statm").read_text(encoding="ascii").split()[1])
            for process in self._processes
        ) * os.sysconf("SC_PAGE_SIZE")

    @property
    def cpu(self) -> float:
        """Seconds of a processor that the process has had."""
        with open(f"/proc/{self.process.pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def ends(self, seconds: float = QUICK) -> int:
        """Wait for its end; return the exit code."""
        return self.process.wait(seconds)

    def close(self) -> None:
        """End it, if it lives: all must go well with that, too."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            code = self.ends()
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        assert self.errors == ""
        assert code in (0, -signal.SIGKILL)
