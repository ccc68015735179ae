"""A relay as it is installed: a process, a log in a file, an admin address; and what can be seen of it."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.request import urlopen

import trustme

from tests.bench import proc
from tests.bench.guests import HOST
from tests.relay.entry.test_certificates import Files
from tests.support.processes import QUICK, environment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RATE = "4M"
"""Bytes per second of one pairing at most: a file of some MiB is under way for seconds, at little cost."""


class Sample(NamedTuple):
    """What a relay was at one moment. Memory is in KiB, processor time in seconds."""

    second: int
    memory: int
    processor: float
    descriptors: int
    tasks: int
    rooms: int
    connections: int
    waiting: int
    pairings: int
    served: int


class Daemon:
    """A running relay."""

    def __init__(self, process: subprocess.Popen[bytes], files: Files, log: Path, errors: Path) -> None:
        self.process = process
        self.files = files
        self._log = log
        self._errors = errors
        self._began = time.monotonic()
        self._admin = self._find(r"admin address: (\S+)")
        self.url = self._find(r"Relay listening on (\S+)")
        self.port = int(self.url.rpartition(":")[2])

    def _find(self, pattern: str) -> str:
        while time.monotonic() < self._began + QUICK:
            if match := re.search(pattern + "\n", self.log):
                return match[1]
            assert self.process.poll() is None, self.errors
            time.sleep(0.05)
        raise AssertionError("the relay does not start")

    @property
    def log(self) -> str:
        return self._log.read_text(encoding="utf-8")

    @property
    def errors(self) -> str:
        """What it said on standard error: nothing, if all is well."""
        return self._errors.read_text(encoding="utf-8")

    def look(self) -> Sample:
        """Look at it once."""
        pid = self.process.pid
        open_files = proc.descriptors(pid)  # before there is one for the question
        with urlopen(f"http://{self._admin}/status", timeout=QUICK) as answer:
            status: dict[str, Any] = json.load(answer)
        return Sample(
            round(time.monotonic() - self._began),
            proc.memory(pid).resident,
            proc.processor_seconds(pid),
            open_files,
            status["tasks"],
            status["rooms"],
            status["connections"],
            status["waiting"],
            len(status["pairings"]),
            status["served"],
        )

    def reload(self) -> None:
        """Order it to read its certificate again."""
        self.process.send_signal(signal.SIGHUP)


@contextmanager
def running(folder: Path, *, tls: bool = True) -> Iterator[Daemon]:
    """Run a relay that trusts this machine as a proxy; check that it stops when it is told to."""
    files = Files(folder, trustme.CA())
    log, errors = folder / "relay.log", folder / "relay.errors"
    certificate, key = files.names
    options = (
        ("--certfile", certificate, "--keyfile", key, "--reload-certs", "signal") if tls else ("--no-tls",)
    )
    with log.open("wb") as out, errors.open("wb") as err:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "p2p_copy", "run-relay-server", HOST, "0", *options),
                *("--rate", RATE, "--admin", f"{HOST}:0", "--trusted-proxy", HOST),
            ],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            env=environment(),
        )
    try:
        yield Daemon(process, files, log, errors)
        process.send_signal(signal.SIGTERM)
        assert process.wait(QUICK) == 0, errors.read_text(encoding="utf-8")
    finally:
        process.kill()
        process.wait()
