"""How fast p2p-copy is beside what people use otherwise: the whole command against the whole command.

`python -m tests.bench.speed [--rival PROGRAM] [--wormhole PROGRAM] [--rounds N] [--scale SHARE] [--only WORK…]
[--million]` lets all contestants do the same work one after another, round by round, so that whatever else the
machine does meets them all; compares what arrived byte for byte; and prints medians as Markdown, with the least and
the most. It is a measurement: its exit code says nothing about speed.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from p2p_copy import limits
from tests.bench.arena import Arena, Work
from tests.bench.contestants import Contestant, Ours, Rival, Wormhole
from tests.bench.data import GIB, KIB, random_file, small_files, workspace
from tests.bench.goals import goals
from tests.bench.markdown import Machine, median, mib, number, say, table
from tests.bench.runs import Failed, Run, Usage
from tests.bench.secure_shell import Rsync, Scp, Shell
from tests.test_processes import Certificates

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.bench.arena import Results

LARGE = 2 * GIB
SMALL, SMALL_SIZE = 20_000, 4 * KIB
MANY = 1_000_000
FEW = 100
"""Part of `MANY` with whose peak memory the whole's is compared."""

ROOM = 3
"""Times the largest source: itself, its copy, and what a contestant keeps besides."""

EMPTY_FILE = 4 * KIB
"""Bytes of memory that Linux takes for an empty file there and its copy, with some to spare."""

PAIRING = 6 * limits.RELAY_MAX_MESSAGE // KIB
"""KiB that one pairing may hold at a relay, as `limits.RELAY_CHANNEL` tells: two messages in flight for each
direction, and one more that each of its two links puts together."""


def works(plain: Sequence[Contestant], secure: Sequence[Contestant], rounds: int, scale: float) -> list[Work]:
    """Return all that can be measured; `plain` are those who can copy, `secure` those of them that speak TLS."""
    size, count = int(LARGE * scale), int(SMALL * scale)

    def large(top: Path) -> Path:
        return random_file(top, size)

    def small(top: Path) -> Path:
        return small_files(top, count, SMALL_SIZE)

    def one_byte(top: Path) -> Path:
        return random_file(top, 1)

    mib_large, ours = size / KIB**2, plain[:1]
    own_help = [each for each in plain if isinstance(each, Ours | Rival | Wormhole)]
    return [
        Work("large-ws", f"{number(mib_large)} MiB, ws", plain, large, rounds, mib_large, "MiB/s"),
        Work("large-wss", f"{number(mib_large)} MiB, wss on both legs", secure, large, rounds, mib_large, "MiB/s"),
        Work("small", f"{count:,} files of 4 KiB, ws", plain, small, rounds, count, "files/s"),
        Work("one-byte", "1 byte, receiver waiting, ws", plain, one_byte, rounds, receiver_waits=True),
        Work("help", "`--help`", own_help, None, rounds),
        *(many(ours, int(MANY * scale / part)) for part in (FEW, 1)),
    ]


def many(ours: Sequence[Contestant], count: int) -> Work:
    """Return the work with so many files that only memory counts; once is enough."""
    name = f"many-{count}"
    return Work(name, f"{count:,} empty files, ws", ours, lambda top: small_files(top, count, 0), 1, count, "files/s")


def everything(works: Sequence[Work], results: Results) -> str:
    """Return a table with all that ran."""
    rows = []
    for work in works:
        for who, runs in results.get(work.name, {}).items():
            seconds = [run.sender.seconds if work.receiver_waits else run.seconds for run in runs]
            rate = f"{number(work.amount / statistics.median(seconds))} {work.unit}" if work.amount else ""
            processor = " / ".join(_sides(runs, lambda used: number(used.processor)))
            peak = " / ".join(_sides(runs, lambda used: number(mib(used.peak))))
            rows.append([work.title, who, rate, median(seconds), processor, peak])
    return table(["work", "", "rate", "s", "CPU s: sender / relay / receiver", "peak MiB: the same"], rows)
