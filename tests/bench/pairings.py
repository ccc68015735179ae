"""One pairing and many at a relay of ours, as fast as they go, and how fast it pairs meanwhile.

The clients are those of `p2p-copy relay-load`. Many come from two processes, for a single one could not load the relay
as much as one pairing does. Those who pair come one pair after the other from a process of their own: in the process of
the others they would mostly wait for these.
"""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.bench.contestants import UNLIMITED
from tests.bench.runs import HOST, Failed, Place, free_port, serving, variables

if TYPE_CHECKING:
    from pathlib import Path

MANY = 32
PROCESSES = 2
"""Of the clients of many pairings. Those of one pairing are in one."""

SECONDS = 8.0
"""For how long all pairings move bytes."""

LOAD = ("relay-load", "--waiters", "0", "--rate", "none", "--json")
MOVES = ("--size", "256M", "--ramp", "1s")
PAIRS = ("--pairings", "1", "--size", "1K", "--ramp", "2s")
"""Begins to measure a second after the others have come."""


class Pairings(NamedTuple):
    """What pairings at once reached: bytes per second together, and seconds until a pair was told that it is one."""

    rate: float
    pair_p99: float


def measure(program: str, count: int, folder: Path, seconds: float = SECONDS) -> Pairings:
    """Let `count` pairings move bytes at once through one relay, and one pair after the other come.

    Raises:
        Failed: something went wrong, or not all came.

    """
    port, env = free_port(), variables()
    words = (program, "run-relay-server", HOST, str(port), "--no-tls", "--allow-load-test", *UNLIMITED)
    processes = str(min(count, PROCESSES))
    kinds = ((*MOVES, "--pairings", str(count), "--processes", processes, "--duration", f"{seconds:g}s"),
             (*PAIRS, "--duration", f"{seconds - 1:g}s"))  # fmt: skip
    with serving(words, folder, env, port, Place()):
        loads = [
            subprocess.Popen(
                [program, *LOAD, f"ws://{HOST}:{port}", *kind],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=env,
            )
            for kind in kinds
        ]
        moving, pairing = [_report(load) for load in loads]
    return Pairings(moving["rate"], pairing["pair"]["p99"])


def _report(load: subprocess.Popen[str]) -> dict[str, Any]:
    out, errors = load.communicate()
    if load.returncode:
        raise Failed(f"relay-load ended with {load.returncode}: {errors.strip()}")
    report: dict[str, Any] = json.loads(out.splitlines()[-1])
    if not report["is_whole"] or report["pair"] is None:
        raise Failed("relay-load ended before all pairings had come")
    return report
