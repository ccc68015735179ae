"""One pairing and many at a relay of ours, as fast as they go: the clients are those of `p2p-copy relay-load`."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, NamedTuple

from tests.bench.contestants import UNLIMITED
from tests.bench.runs import HOST, Failed, Place, free_port, serving, variables

if TYPE_CHECKING:
    from pathlib import Path

MANY = 32
SECONDS = 8.0
"""For how long all pairings move bytes."""

SIZE = "16MiB"
"""Bytes of each pairing, after which the next one begins: so there are new pairs all the time."""


class Pairings(NamedTuple):
    """What pairings at once reached: bytes per second together, and seconds until a pair was told that it is one."""

    rate: float
    pair_p99: float


def measure(program: str, count: int, folder: Path, seconds: float = SECONDS) -> Pairings:
    """Let `count` pairings move bytes at once through one relay.

    Raises:
        Failed: something went wrong, or not all came.

    """
    port, env = free_port(), variables()
    words = (program, "run-relay-server", HOST, str(port), "--no-tls", "--allow-load-test", *UNLIMITED)
    with serving(words, folder, env, port, Place()):
        load = (
            "relay-load",
            f"ws://{HOST}:{port}",
            "--waiters",
            "0",
            "--pairings",
            str(count),
            "--rate",
            "none",
        )
        timing = ("--size", SIZE, "--ramp", "1s", "--duration", f"{seconds:g}s", "--json")
        done = subprocess.run([program, *load, *timing], capture_output=True, text=True, check=False, env=env)
    if done.returncode:
        raise Failed(f"relay-load ended with {done.returncode}: {done.stderr.strip()}")
    report = json.loads(done.stdout.splitlines()[-1])
    if not report["is_whole"] or report["pair"] is None:
        raise Failed("relay-load ended before all pairings had come")
    return Pairings(report["rate"], report["pair"]["p99"])
