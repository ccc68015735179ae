"""Measures what several links of a transfer gain where one TCP connection is the limit, and cost where it is not.

`python -m tests.bench.links [--rounds N] [--scale SHARE]` copies the same file with --links 1, 4 and auto in turn,
over a long distance with small windows and on loopback, and prints how many times as fast each is as one link. The long
distance is in a network namespace, in which a thread carries the packets; this needs root, and is left out where it is
not possible. The windows are small because the relay's namespace allows its sockets no larger buffers.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.bench.arena import Arena, Work
from tests.bench.contestants import UNLIMITED, Ours
from tests.bench.data import MIB, random_file, workspace
from tests.bench.growth import FAR_PLACE
from tests.bench.markdown import Machine, number, say, table
from tests.bench.runs import end_in_order
from tests.faults.network import INSIDE, Weather, bad_road

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.bench.runs import Place

CHOICES = ("1", "4", "auto")

FAR = Weather(delay=0.05)
"""A round trip of 100 ms."""

WINDOW = 256 * 1024
"""Bytes of the largest socket buffer there: one connection moves some 2 MB/s."""

FAR_SIZE = 64 * MIB
NEAR_SIZE = 1024 * MIB

ROOM = 3
"""Space that is needed, in sizes of the data: the data, its copy, and some to spare."""


class Links(Ours):
    """Our program with a number of links."""

    def __init__(self, program: str, place: Place | None, choice: str) -> None:
        super().__init__(program, None, place, UNLIMITED)
        self.name = f"--links {choice}"
        self._choice = choice

    def send(self, ports: Sequence[int], number: int, source: Path) -> Sequence[str]:
        return *super().send(ports, number, source), "--links", self._choice


def measure(folder: Path, title: str, place: Place | None, size: int, words: argparse.Namespace) -> None:
    """Measure each number of links in turn, and print the figures."""
    contestants = [Links(words.ours, place, choice) for choice in CHOICES]
    arena = Arena(folder)
    arena.warm_up(contestants)

    def make(top: Path) -> Path:
        return random_file(top, size)

    work = Work(title, title, contestants, make, words.rounds, size / MIB, "MiB/s")
    arena.do(work)
    runs = arena.results[title]
    medians = {name: statistics.median(run.seconds for run in its) for name, its in runs.items()}
    one = medians.get(contestants[0].name)
    rows = [[name, f"{number(one / seconds)} times"] for name, seconds in medians.items() if one]
    say(f"\n## {title}\n\n{arena.table([work])}\n{table(['', 'as fast as one link'], rows)}")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--ours", default=str(Path(sys.executable).with_name("p2p-copy")), help="our program")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the data, to try it out")
    words = parser.parse_args()
    far_size, near_size = int(FAR_SIZE * words.scale), int(NEAR_SIZE * words.scale)
    end_in_order()
    machine = Machine()
    say("# One transfer over several links\n")
    with workspace(ROOM * near_size) as folder:
        try:
            with bad_road() as road:
                for name in ("tcp_rmem", "tcp_wmem"):
                    setting = f"net.ipv4.{name}=4096 {WINDOW // 4} {WINDOW}"
                    subprocess.run([*INSIDE, "sysctl", "-q", "-w", setting], check=True)
                road.weather = FAR
                measure(folder, "100 ms round trip, small windows", FAR_PLACE, far_size, words)
        except pytest.skip.Exception as reason:
            say(f"\nThe long distance was not measured: {reason}")
        measure(folder, "loopback", None, near_size, words)
    say(f"\n{machine.about([words.ours])}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
