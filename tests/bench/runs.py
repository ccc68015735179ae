"""Runs the programs that are measured, clients and servers, and tells what each of them used."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tests.bench import proc, usage
from tests.support.processes import environment

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Place:
    """Where servers listen, and how senders and receivers get there."""

    listen: str = HOST
    sender: str = HOST
    receiver: str = HOST
    inside: Sequence[str] = ()
    """Words before a server's command that run it in a network namespace."""


START = 30.0
"""Seconds in which a server must accept connections."""

ENDING = 10.0
"""Seconds in which a killed process must have ended."""

LONGEST = 3600.0
"""Seconds for one client: enough for a million files with the slowest program."""

CHECK_INTERVAL = 0.1
"""Seconds between two checks whether clients have ended; `usage` measures their times."""

PARTING = 0.3
"""Seconds in which a server notices that its clients have gone, and waits for its own children."""

LAST_WORDS = 600
"""Last characters of a failed program's output that are shown."""

_NUMBERS = itertools.count()


class Failed(Exception):
    """A measured program failed; the text has the end of its output."""


class Usage(NamedTuple):
    """What a program used between two moments of the monotonic clock: processor seconds, peak memory in KiB.

    `kernel` are the processor seconds in the kernel. Memory that the machine has to fetch first makes them many more.
    """

    began: float
    ended: float
    processor: float
    peak: int
    kernel: float = 0.0

    @property
    def seconds(self) -> float:
        return self.ended - self.began


@dataclass(frozen=True, slots=True)
class Run:
    """What one transfer, or several at once, used: the sums over senders and over receivers, and the largest peak."""

    sender: Usage
    receiver: Usage | None = None
    relay: Usage | None = None
    relay_start: int = 0
    """Memory of the relay before its first client, in KiB."""
    longest_pause: float | None = None
    """The longest time in seconds in which nothing arrived, if that was measured."""

    @property
    def seconds(self) -> float:
        """From the first client's start to the last one's end."""
        whole = together([each for each in (self.sender, self.receiver) if each])
        return whole.seconds

    @property
    def processor(self) -> float:
        """Processor seconds of all processes."""
        return sum(each.processor for each in (self.sender, self.receiver, self.relay) if each)


def together(used: Sequence[Usage]) -> Usage:
    """Return what several programs used together: from the first start to the last end, and the largest peak."""
    began, ended = min(each.began for each in used), max(each.ended for each in used)
    return Usage(
        began,
        ended,
        sum(each.processor for each in used),
        max(each.peak for each in used),
        sum(each.kernel for each in used),
    )


def variables(**more: str) -> dict[str, str]:
    """Return the environment of a measured program, without what leads to this checkout, the tests or an ssh-agent."""
    unwanted = ("PYTHONPATH", "PYTHONWARNINGS", "PYTHONDONTWRITEBYTECODE", "SSH_AUTH_SOCK")
    return {name: value for name, value in environment(**more).items() if name not in unwanted}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


class Program:
    """A process with its children, and their output; `end` kills all of them."""

    def __init__(self, words: Sequence[str], folder: Path, env: Mapping[str, str], name: str) -> None:
        self.name = name
        self._said = folder / f"said-{next(_NUMBERS)}"
        with self._said.open("wb") as said:
            self.process = subprocess.Popen(
                words,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                env=env,
                start_new_session=True,
            )

    def end(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(ENDING)

    def failed(self, what: str) -> Failed:
        said = self._said.read_text(encoding="utf-8", errors="replace").strip()[-LAST_WORDS:]
        return Failed(f"{self.name} {what}: {said}")


class Client(Program):
    """A program that does its work and ends."""

    def __init__(self, words: Sequence[str], folder: Path, env: Mapping[str, str]) -> None:
        self._report = folder / f"report-{next(_NUMBERS)}"
        launcher = (sys.executable, "-I", "-S", str(usage.__file__), str(self._report))
        super().__init__([*launcher, *words], folder, env, Path(words[0]).name)

    def used(self) -> Usage | None:
        """Return what it used; None while it runs.

        Raises:
            Failed: its exit code is not 0.

        """
        if self.process.poll() is None:
            return None
        code, *figures = self._report.read_text(encoding="ascii").split()
        if code != "0":
            raise self.failed(f"ended with {code}")
        began, ended, processor, kernel, peak = map(float, figures)
        return Usage(began, ended, processor, int(peak), kernel)


def wait(clients: Sequence[Client]) -> list[Usage]:
    """Wait for all clients, and return what they used; raise as soon as one fails."""
    deadline = time.monotonic() + LONGEST
    while True:
        used = [client.used() for client in clients]
        if None not in used:
            return [each for each in used if each]
        if time.monotonic() > deadline:
            raise clients[used.index(None)].failed("takes too long")
        time.sleep(CHECK_INTERVAL)


class Server(Program):
    """A program that accepts connections at a port until it is killed."""

    def __init__(
        self, words: Sequence[str], folder: Path, env: Mapping[str, str], port: int, place: Place
    ) -> None:
        super().__init__([*place.inside, *words], folder, env, Path(words[0]).name)
        try:
            self._wait_until_open(place.receiver, port)
        except BaseException:
            self.end()
            raise
        self.start = proc.peak(self.process.pid)
        self._began = time.monotonic()
        self._used = proc.processor_seconds(self.process.pid, children=True)
        self._kernel = proc.kernel_seconds(self.process.pid, children=True)

    def _wait_until_open(self, host: str, port: int) -> None:
        deadline = time.monotonic() + START
        while True:
            try:
                socket.create_connection((host, port), timeout=START).close()
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise self.failed("does not start") from None
                time.sleep(0.05)
            else:
                time.sleep(PARTING)
                return

    def used(self) -> Usage:
        """Return what it used since it was ready."""
        time.sleep(PARTING)
        if self.process.poll() is not None:
            raise self.failed("has ended")
        processor = proc.processor_seconds(self.process.pid, children=True) - self._used
        kernel = proc.kernel_seconds(self.process.pid, children=True) - self._kernel
        return Usage(self._began, time.monotonic(), processor, proc.peak(self.process.pid), kernel)


def end_in_order() -> None:
    """Let SIGTERM end this process as Ctrl-C does, so that it stops what it started and removes what it made."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("told to end"))


@contextmanager
def serving(
    words: Sequence[str], folder: Path, env: Mapping[str, str], port: int, place: Place
) -> Iterator[Server]:
    server = Server(words, folder, env, port, place)
    try:
        yield server
    finally:
        server.end()


@contextmanager
def started() -> Iterator[list[Client]]:
    """Yield a list for clients; all of them are killed at the end."""
    clients: list[Client] = []
    try:
        yield clients
    finally:
        for client in clients:
            client.end()
