"""Measures p2p-copy with many pairings, by sizes of messages, with compression, and on slow and long links.

`python -m tests.bench.growth [--rival PROGRAM] [--rounds N] [--scale SHARE] [--only PART…]` prints tables in Markdown,
medians with the lowest and the highest value. It has no goals. Links are in a network namespace, in which a thread
carries the packets; this needs root, and is left out where it is not possible.
"""

from __future__ import annotations

import argparse
import sys
import sysconfig
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

from tests.bench import messages
from tests.bench.arena import Arena, Work
from tests.bench.contestants import UNLIMITED, Contestant, Ours, PeerToPeerCopy, Rival
from tests.bench.data import GIB, KIB, MIB, random_file, workspace
from tests.bench.markdown import Machine, number, say
from tests.bench.runs import Place, end_in_order
from tests.faults.network import BAD, GOOD, INSIDE, Weather, bad_road
from tests.support.certificates import Certificates

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.faults.network import Road

PAIRINGS = (1, 2, 4, 8, 16)

TOGETHER = 2 * GIB
"""Bytes that all pairings move together, however many they are."""

ROOM = 3
"""Space that is needed, in sizes of the data: the data, its copies, and some to spare."""

FAST, SLOW = 512 * MIB, 64 * MIB
"""Bytes of the data for compression, on loopback and on a link."""

FAST_ETHERNET = 100e6 / 8
HOME = 200e3
"""Bytes per second of two links."""

HOME_SIZE = 6 * 10**6
"""Bytes that take half a minute with `HOME`."""

FAR_PLACE = Place("0.0.0.0", f"{BAD}.2", f"{GOOD}.2", INSIDE)
"""A relay in a network namespace: senders come over the road with the weather, receivers over the other one."""

LINKS = {
    "200 kB/s": (Weather(delay=0.01, rate=HOME), HOME_SIZE),
    "100 Mbit/s, 50 ms round trip, 0.1 % loss": (
        Weather(delay=0.025, loss=0.001, rate=FAST_ETHERNET),
        SLOW,
    ),
    "100 Mbit/s, 200 ms round trip, 0.1 % loss": (
        Weather(delay=0.1, loss=0.001, rate=FAST_ETHERNET),
        SLOW,
    ),
}

PARTS = ("pairings", "messages", "compression", "links")


class Compressing(Rival):
    """The rival with its default: it decides by itself whether to compress."""

    name = f"{Rival.name} --compress auto"
    compress = "auto"


def text(path: Path, size: int, mode: Literal["w", "w:gz"] = "w") -> Path:
    """Make a file of that size: tars of Python's own source code, one after another."""
    library = Path(sysconfig.get_path("stdlib"))
    sources = sorted(each for each in library.rglob("*.py") if "site-packages" not in each.parts)
    with path.open("wb") as file:
        while file.tell() < size:
            with tarfile.open(fileobj=file, mode=mode) as tar:
                for source in sources:
                    tar.add(source, str(source.relative_to(library)))
                    if file.tell() >= size:
                        break
        file.truncate(size)
    return path


def packed(path: Path, size: int) -> Path:
    """Make the same of compressed tars: the data is not random, and cannot be compressed further."""
    return text(path, size, "w:gz")


DATA: dict[str, Callable[[Path, int], Path]] = {
    "text": text,
    "compressed text": packed,
    "random": random_file,
}


def pairings(contestants: Sequence[Contestant], rounds: int, scale: float) -> list[Work]:
    size = int(TOGETHER * scale)

    def work(count: int) -> Work:
        title = f"{count} pairing{'s' * (count > 1)}, {number(size / MIB)} MiB in all"

        def make(top: Path) -> Path:
            return random_file(top, size // count)

        return Work(title, title, contestants, make, rounds, size / MIB, "MiB/s", pairings=count)

    return [work(count) for count in PAIRINGS]


def compression(contestants: Sequence[Contestant], rounds: int, size: int, where: str) -> list[Work]:
    def work(name: str, make_data: Callable[[Path, int], Path]) -> Work:
        title = f"{name}, {number(size / MIB)} MiB, {where}"
        return Work(title, title, contestants, lambda top: make_data(top, size), rounds, size / MIB, "MiB/s")

    return [work(*each) for each in DATA.items()]


def links(contestants: Sequence[Contestant], rounds: int, scale: float, road: Road) -> list[Work]:
    def work(name: str, weather: Weather, size: int) -> Work:
        def prepare() -> None:
            road.weather = weather

        title = f"random, {number(size / MIB)} MiB, {name}"

        def make(top: Path) -> Path:
            return random_file(top, size)

        return Work(
            title, title, contestants, make, rounds, size / KIB, "KiB/s", watched=True, prepare=prepare
        )

    return [work(name, weather, int(size * scale)) for name, (weather, size) in LINKS.items()]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--ours", default=str(Path(sys.executable).with_name("p2p-copy")), help="our program")
    parser.add_argument("--rival", help="the program of an installed p2p-copy 0.1.2")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the data, to try it out")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, metavar="PART")
    words = parser.parse_args()
    rounds, scale = words.rounds, words.scale

    def contestants(
        rival: type[Rival], place: Place | None = None, certificates: Certificates | None = None
    ) -> list[PeerToPeerCopy]:
        ours = Ours(words.ours, certificates, place, UNLIMITED)
        return [ours, *([rival(words.rival, certificates, place)] if words.rival else [])]

    def measure(title: str, who: Sequence[Contestant], works: Sequence[Work]) -> None:
        arena = Arena(folder)
        arena.warm_up(who)
        for work in works:
            arena.do(work)
        say(f"\n## {title}\n\n{arena.table(works)}")

    end_in_order()
    machine = Machine()
    say("# p2p-copy with much to do\n")
    with workspace(int(ROOM * TOGETHER * scale)) as folder:
        if "pairings" in words.only:
            who = contestants(Rival)
            measure("Pairings at once, one relay, ws", who, pairings(who, rounds, scale))
        if "messages" in words.only:
            certificates = Certificates(folder)
            relays = contestants(Rival, certificates=certificates)
            say(
                f"\n## Messages through a relay, wss\n\n{messages.measure(relays, certificates, folder, rounds, scale)}"
            )
        if "compression" in words.only:
            who = contestants(Compressing)
            size = int(FAST * scale)
            measure("Compression, ws", who, compression(who, rounds, size, "loopback"))
        if "links" in words.only:
            try:
                with bad_road() as road:
                    who = contestants(Rival, FAR_PLACE)
                    measure("Links, ws", who, links(who, rounds, scale, road))
                    road.weather = Weather(delay=0.005, rate=FAST_ETHERNET)
                    who = contestants(Compressing, FAR_PLACE)
                    works = compression(who, rounds, int(SLOW * scale), "100 Mbit/s, 10 ms round trip")
                    measure("Compression on a link, ws", who, works)
            except pytest.skip.Exception as reason:
                say(f"\nLinks were not measured: {reason}")
    say(f"\n{machine.about([words.ours])}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
