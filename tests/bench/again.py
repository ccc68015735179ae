"""Measures what it takes to run a transfer again, beside `rsync -a`: seconds, and bytes on the network.

`python -m tests.bench.again [--files N] [--rounds N] [--large MIB]` copies a tree of small files with each program, and
then again in turn, with `--on-conflict update` and with `rsync -a` over ssh; then a large file of which a byte has
changed. Bytes are counted in a run of their own, by a program between the two sides that passes them on: those in both
directions, with the encryption.
"""

from __future__ import annotations

import argparse
import os
import socket
import statistics
import sys
import threading
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench.contestants import UNLIMITED, Ours
from tests.bench.data import MIB, difference, random_file, small_files, workspace
from tests.bench.markdown import Machine, median, say, table
from tests.bench.runs import HOST, end_in_order
from tests.bench.secure_shell import Rsync, Shell

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.bench.contestants import Contestant

FILE = 4096
"""Bytes of a small file."""


class Counter:
    """Passes on what comes to its port to another one, and counts it.

    Attributes:
        port: where it listens.
        to: the port to which it passes on.
        bytes: passed on in both directions.

    """

    def __init__(self) -> None:
        self._listener = socket.create_server((HOST, 0))
        self.port = self._listener.getsockname()[1]
        self.to = 0
        self.bytes = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            one, _ = self._listener.accept()
            other = socket.create_connection((HOST, self.to))
            for source, target in ((one, other), (other, one)):
                threading.Thread(target=self._carry, args=(source, target), daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(64 * 1024):
                self.bytes += len(data)
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)


class Update(Ours):
    """Our program with `--on-conflict update`; its sender reaches the relay through `counter`, if there is one."""

    counter: Counter | None = None

    def send(self, ports: Sequence[int], number: int, source: Path) -> Sequence[str]:
        if self.counter is None:
            return super().send(ports, number, source)
        self.counter.to = ports[0]
        return super().send([self.counter.port], number, source)

    def receive(self, ports: Sequence[int], number: int, out: Path) -> Sequence[str]:
        return *super().receive(ports, number, out), "--on-conflict", "update"


class CountedShell(Shell):
    """An ssh whose clients reach the server through `counter`, if there is one."""

    counter: Counter | None = None

    @property
    def options(self) -> Sequence[str]:
        if self.counter is None:
            return super().options
        self.counter.to = self.port
        through = f"ProxyCommand={sys.executable} -m tests.bench.again --connect {self.counter.port}"
        return *super().options, "-o", through


def connect(port: int) -> int:
    """Carry standard input and output to a port: what ssh runs in place of connecting by itself."""
    with socket.create_connection((HOST, port)) as link:

        def up() -> None:
            while data := os.read(sys.stdin.fileno(), 64 * 1024):
                link.sendall(data)
            link.shutdown(socket.SHUT_WR)

        threading.Thread(target=up, daemon=True).start()
        while data := link.recv(64 * 1024):
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
    return 0


@contextmanager
def counting(which: Update | CountedShell) -> Iterator[Counter]:
    """Count what the sides exchange meanwhile."""
    which.counter = Counter()
    try:
        yield which.counter
    finally:
        which.counter = None


def second_runs(
    contestants: Sequence[tuple[Contestant, Update | CountedShell]], source: Path, folder: Path, rounds: int
) -> str:
    """Return a table with seconds and bytes of further runs of an unchanged tree."""
    seconds: dict[str, list[float]] = {}
    passed: dict[str, int] = {}
    for one, counted in contestants:
        (folder / one.name).mkdir()
        one.copy(source, [folder / one.name], folder)
        with counting(counted) as counter:
            one.copy(source, [folder / one.name], folder)
        passed[one.name] = counter.bytes
    for _ in range(rounds):
        for one, _ in contestants:
            seconds.setdefault(one.name, []).append(one.copy(source, [folder / one.name], folder).seconds)
    for one, _ in contestants:
        if problem := difference(source, folder / one.name / source.name):
            raise SystemExit(f"{one.name}: {problem}")
    theirs = statistics.median(seconds[Rsync.name])
    rows = [
        [name, median(its), f"{statistics.median(its) / theirs:.2f}", f"{passed[name] / MIB:.2f}"]
        for name, its in seconds.items()
    ]
    return table(["", "s", f"of {Rsync.name}", "MiB on the network"], rows)


def changed_byte(
    contestants: Sequence[tuple[Contestant, Update | CountedShell]], source: Path, folder: Path
) -> str:
    """Return a table with seconds and bytes of one run after a byte in the middle of a large file has changed."""
    rows = []
    for one, _ in contestants:
        one.copy(source, [folder / one.name], folder)
    with source.open("r+b") as file:
        file.seek(source.stat().st_size // 2)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes((byte[0] ^ 1,)))
    for one, counted in contestants:
        with counting(counted) as counter:
            run = one.copy(source, [folder / one.name], folder)
        if problem := difference(source, folder / one.name / source.name):
            raise SystemExit(f"{one.name}: {problem}")
        rows.append([one.name, f"{run.seconds:.2f}", f"{counter.bytes / MIB:.2f}"])
    return table(["", "s", "MiB on the network"], rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--ours", default=str(Path(sys.executable).with_name("p2p-copy")), help="our program")
    parser.add_argument("--files", type=int, default=50_000, help="files of the tree")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each program")
    parser.add_argument("--large", type=int, default=2048, help="MiB of the large file")
    parser.add_argument("--connect", type=int, help=argparse.SUPPRESS)
    words = parser.parse_args()
    if words.connect:
        return connect(words.connect)
    end_in_order()
    with workspace(5 * max(words.files * FILE, words.large * MIB)) as folder:
        machine = Machine()
        ours, shell = Update(words.ours, None, None, UNLIMITED), CountedShell(folder / "ssh")
        contestants: list[tuple[Contestant, Update | CountedShell]] = [(ours, ours), (Rsync(shell), shell)]
        tree = small_files(folder / "tree", words.files, FILE)
        say(f"## The second run of an unchanged tree of {words.files:,} files\n")
        say(second_runs(contestants, tree, folder, words.rounds))
        large = random_file(folder / "large", words.large * MIB)
        say(f"\n## One byte changed in the middle of {words.large:,} MiB\n")
        say(changed_byte(contestants, large, folder))
        say(f"\n{machine.about([words.ours, 'ssh', 'rsync'])}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
