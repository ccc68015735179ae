"""Compares the speed of p2p-copy with that of other programs: the whole command against the whole command.

`python -m tests.bench.speed [--rival PROGRAM] [--wormhole PROGRAM] [--rounds N] [--scale SHARE] [--only WORK…]
[--many]` lets all contestants do the same work one after another, round by round, so that other load on the machine
slows all of them. It compares what arrived byte for byte, and prints medians as Markdown, with the lowest and the
highest value. It is a measurement: its exit code says nothing about speed.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from p2p_copy.relay import limits as relay_limits
from p2p_copy.transport import limits as transport_limits
from tests.bench.arena import Arena, Work
from tests.bench.bare import Bare
from tests.bench.contestants import Contestant, Ours, Rival, Wormhole
from tests.bench.data import GIB, KIB, random_file, small_files, touch_memory, workspace
from tests.bench.goals import HEADS, goal_rows
from tests.bench.interpreters import prepared
from tests.bench.markdown import Machine, mib, number, say, table
from tests.bench.pairings import MANY as MANY_PAIRINGS, Pairings, measure
from tests.bench.piping import Piping
from tests.bench.runs import Failed, end_in_order
from tests.bench.secure_shell import Rsync, Scp, Shell
from tests.support.certificates import Certificates

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tests.bench.arena import Results

NAMES = ("large-ws", "large-wss", "gib-ws", "gib-wss", "small", "one-byte", "help", "pairings")
STARTS = ("one-byte", "help")
SLOW = ("some", "many")
"""Works that are done only with `--many` or `--only`."""

LARGE = 2 * GIB
SMALL, SMALL_SIZE = 20_000, 4 * KIB
MANY = 1_000_000
FEW = 100
"""The peak memory for `MANY` files is compared with that for `MANY / FEW`."""

ROOM = 3
"""Space for a work, in sizes of its source: the source, the copy, and what a contestant keeps besides."""

EMPTY_FILE = 4 * KIB
"""Bytes of memory that an empty file in memory and its copy take, with some to spare."""

EXPLAINED = """\
Each figure is a median, with the lowest and the highest value behind it. Time runs from the start of the first client
to the end of the last one; for `send` of one byte it is the sender's alone. p2p-copy, 0.1.2 and magic-wormhole go
through their own relays. scp and rsync go straight to a server, whose CPU time counts as the receiver's. CPU time that
a server used before its first client is not counted. A peak of 9 MiB means 9 MiB or less: the process that measures
takes as much itself. "bare" is no program to use: it is three processes with the same libraries and records in blocking
loops, without event loop, WebSocket, key exchange, protocol, journal and limits. It shows how much is left to gain.
piping-server with curl only passes on: it neither encrypts nor checks. Memory was filled once before, so that no
program waits for it: if a receiver took much more time in the kernel than others, that was not enough.
"""

PAIRING = (
    6 * (transport_limits.RECEIVE_BUFFER + relay_limits.MAX_MESSAGE // relay_limits.PIECES_PER_MESSAGE) // KIB
)
"""KiB that one pairing may hold at a relay, as `limits.BATCHES_QUEUED` tells: two batches in flight for each direction,
and one more at each of its two links."""


def works(
    plain: Sequence[Contestant],
    secure: Sequence[Contestant],
    bare: Sequence[Bare],
    passing: Sequence[Contestant],
    rounds: int,
    scale: float,
) -> list[Work]:
    """Return all works.

    `plain` are the contestants without TLS, `secure` those with it; `bare` has one of each, and `passing` can only pass
    on one file.
    """
    size, gib, count = int(LARGE * scale), int(GIB * scale), int(SMALL * scale)

    def large(top: Path) -> Path:
        return random_file(top, size)

    def one_gib(top: Path) -> Path:
        return random_file(top, gib)

    def of_file(
        name: str, where: str, able: Sequence[Contestant], make: Callable[[Path], Path], size: int
    ) -> Work:
        amount = size / KIB**2
        return Work(name, f"{number(amount)} MiB, {where}", able, make, rounds, amount, "MiB/s", size / GIB)

    def small(top: Path) -> Path:
        return small_files(top, count, SMALL_SIZE)

    def one_byte(top: Path) -> Path:
        return random_file(top, 1)

    ours = plain[:1]
    own_help = [each for each in plain if isinstance(each, Ours | Rival | Wormhole)]
    return [
        of_file("large-ws", "ws", [*plain, *passing], large, size),
        of_file("large-wss", "wss on both legs", secure, large, size),
        of_file("gib-ws", "ws", [*ours, bare[0]], one_gib, gib),
        of_file("gib-wss", "wss on both legs", [*secure[:1], bare[1]], one_gib, gib),
        Work("small", f"{count:,} files of 4 KiB, ws", plain, small, rounds, count, "files/s"),
        Work("one-byte", "1 byte, receiver waiting, ws", plain, one_byte, rounds, receiver_waits=True),
        Work("help", "`--help`", own_help, None, rounds),
        many("some", ours, int(MANY * scale / FEW)),
        many("many", ours, int(MANY * scale)),
    ]


def many(name: str, ours: Sequence[Contestant], count: int) -> Work:
    """Return a work with so many files that memory matters most. It is measured once."""

    def make(top: Path) -> Path:
        return small_files(top, count, 0)

    return Work(name, f"{count:,} empty files, ws", ours, make, 1, count, "files/s")


def relay_memory(results: Results) -> str:
    """Return a sentence that says how much our relay's memory grew, and how much it may."""
    grown = [
        mib(run.relay.peak - run.relay_start)
        for work in ("large-ws", "large-wss")
        for run in results.get(work, {}).get(Ours.name, [])
        if run.relay
    ]
    if not grown:
        return ""
    return (
        f"Our relay grew by {number(max(grown))} MiB at most while one pairing went at full speed. By `limits` a "
        f"pairing holds {number(mib(PAIRING))} MiB of messages at most; the rest is what the allocator keeps.\n"
    )


def report(
    arena: Arena,
    done: Sequence[Work],
    pairings: Mapping[int, Sequence[Pairings]],
    size: int,
    about: Sequence[str],
) -> str:
    parts = ["# How fast p2p-copy is\n", *about, "\n" + EXPLAINED]
    if rows := goal_rows(arena.results, pairings, size / GIB):
        parts += ["## Goals\n", table(HEADS, rows) + "\n", relay_memory(arena.results)]
    start = [work for work in done if work.name in STARTS]
    large = [work for work in done if work.gib]
    files = [work for work in done if work not in (*start, *large)]
    for title, part in (("Large files", large), ("Many files", files), ("Start", start)):
        if part:
            parts += [f"## {title}\n", arena.table(part)]
    return "\n".join((*parts, arena.absent()))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--ours", default=str(Path(sys.executable).with_name("p2p-copy")), help="our program")
    parser.add_argument("--rival", help="the program of an installed p2p-copy 0.1.2")
    parser.add_argument("--wormhole", help="the program of magic-wormhole, its servers' `twist` beside it")
    parser.add_argument("--piping", help="the program of piping-server")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the data, to try it out")
    parser.add_argument("--only", nargs="+", choices=NAMES + SLOW, default=NAMES, metavar="WORK")
    parser.add_argument("--many", action="store_true", help="a million files, too, which takes minutes")
    words = parser.parse_args()
    names = {*words.only, *(SLOW if words.many else ())}
    size = int(LARGE * words.scale)
    need = max(ROOM * size, int(MANY * words.scale) * EMPTY_FILE if "many" in names else 0)
    end_in_order()
    machine = Machine()
    alike = prepared([words.ours, *([words.rival] if words.rival else [])])
    pairings: dict[int, list[Pairings]] = {1: [], MANY_PAIRINGS: []}
    with workspace(need) as folder:
        touch_memory(folder, need)
        arena = Arena(folder)
        certificates = Certificates(folder)
        plain, secure = _contestants(words, folder, certificates, arena)
        bare = Bare(), Bare(certificates)
        passing = _passing(words.piping, arena)
        arena.warm_up([*plain, *secure, *bare, *passing])
        all_works = works(plain, secure, bare, passing, words.rounds, words.scale)
        done = [work for work in all_works if work.name in names]
        for work in done:
            arena.do(work)
        for turn in range(words.rounds if "pairings" in names else 0):
            for count in pairings:
                say(f"pairings, round {turn + 1}: {count}", to_people=True)
                pairings[count].append(measure(words.ours, count, folder))
    programs = [words.ours, *([words.wormhole] if words.wormhole else []), "ssh", "rsync"]
    say(report(arena, done, pairings, size, [machine.about(programs), alike]))
    return 1 if arena.failed(Ours.name) else 0


def _contestants(
    words: argparse.Namespace, folder: Path, certificates: Certificates, arena: Arena
) -> tuple[list[Contestant], list[Contestant]]:
    """Return the contestants that can take part: without TLS, and with TLS. Ours is the first."""
    plain: list[Contestant] = [Ours(words.ours)]
    secure: list[Contestant] = [Ours(words.ours, certificates)]
    if words.rival:
        plain.append(Rival(words.rival))
        secure.append(Rival(words.rival, certificates))
    if words.wormhole:
        plain.append(Wormhole(words.wormhole, str(Path(words.wormhole).with_name("twist"))))
    for name, program in ((Rival.name, words.rival), (Wormhole.name, words.wormhole)):
        if not program:
            arena.missing[name] = "no program was named"
    try:
        shell = Shell(folder / "ssh")
    except Failed as failed:
        arena.missing |= dict.fromkeys((Scp.name, Rsync.name), str(failed))
        return plain, secure
    plain.append(Scp(shell))
    try:
        plain.append(Rsync(shell))
    except Failed as failed:
        arena.missing[Rsync.name] = str(failed)
    return plain, secure


def _passing(server: str | None, arena: Arena) -> list[Contestant]:
    """Return piping-server, if it can take part."""
    try:
        if server is None:
            raise Failed("no program was named")
        return [Piping(server)]
    except Failed as failed:
        arena.missing[Piping.name] = str(failed)
        return []


if __name__ == "__main__":
    sys.exit(main())
