"""Measures a relay with 32 pairings at full speed beside one with a single pairing, and how fast it pairs meanwhile.

`python -m tests.bench.together [--rounds N] [--tls]` prints a table in Markdown: how much all pairings moved in a
second, what the relay took for it, and the time that a pair of clients of another process needed, who came again and
again. Both loads are made by `relay-load`, on the same processors as the relay.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.bench import proc
from tests.bench.data import GIB, MIB
from tests.bench.markdown import Machine, number, say, table
from tests.bench.scaling import relay
from tests.support.certificates import Certificates
from tests.support.processes import environment

if TYPE_CHECKING:
    from collections.abc import Sequence

COUNTS = (1, 32)
"""Pairings at full speed at once."""

SECONDS = 10
"""For which the whole load is measured."""

LOAD = ("--waiters", "0", "--size", "256M", "--rate", "none", "--ramp", "1s", "--duration", f"{SECONDS}s")

PAIRS = (
    *("--waiters", "0", "--pairings", "1", "--size", "1K", "--rate", "none"),
    *("--ramp", "2s", "--duration", f"{SECONDS - 2}s"),
)
"""What pairs meanwhile: it begins to measure when all the others are there."""

GOALS = (1.0, 0.1)
"""Least throughput of many beside one, and the longest time to pair at the 99th percentile in seconds."""


class Result(NamedTuple):
    """One measurement: bytes per second, the relay's processor seconds per GiB, percentiles of the time to pair."""

    rate: float
    processor: float
    p50: float
    p99: float


def measured(certificates: Certificates, count: int, words: Sequence[str]) -> Result:
    """Load one relay with `count` pairings at full speed."""
    with relay(certificates, words) as (pid, url):
        used = proc.processor_seconds(pid)
        trust = ("--ca-file", certificates.authority) if url.startswith("wss:") else ()
        loads = [
            subprocess.Popen(
                [sys.executable, "-m", "p2p_copy", "relay-load", url, *load, *trust, "--json"],
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environment(),
            )
            for load in ((*LOAD, "--pairings", str(count)), PAIRS)
        ]
        moving, pairing = [_report(load.communicate()[0]) for load in loads]
        gibibytes = moving["received"] / GIB
        return Result(
            moving["rate"],
            (proc.processor_seconds(pid) - used) / gibibytes,
            pairing["pair"]["p50"],
            pairing["pair"]["p99"],
        )


def _report(out: bytes) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(out.splitlines()[-1])
    assert report["event"] == "load_report", out
    assert not report["failures"], report["failures"]
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tls", action="store_true")
    words = parser.parse_args()
    machine = Machine()
    found: dict[int, list[Result]] = {count: [] for count in COUNTS}
    with tempfile.TemporaryDirectory() as folder:
        certificates = Certificates(Path(folder))
        for _ in range(words.rounds):
            for count in COUNTS:
                found[count].append(measured(certificates, count, () if words.tls else ("--no-tls",)))
    medians = {
        count: Result(*map(statistics.median, zip(*results, strict=True))) for count, results in found.items()
    }
    say(machine.about())
    say("")
    rows = [
        [
            str(count),
            number(one.rate / MIB),
            number(one.processor),
            number(one.p50 * 1000),
            number(one.p99 * 1000),
        ]
        for count, one in medians.items()
    ]
    heads = ("pairings", "MiB/s in all", "relay's CPU s per GiB", "ms to pair, median", "99th percentile")
    say(table(heads, rows))
    one, many = (medians[count] for count in COUNTS)
    ratio, (least, longest) = many.rate / one.rate, GOALS
    say("")
    say(f"{COUNTS[-1]} pairings beside one: {number(ratio)} of its throughput (goal: {least} or more);")
    say(f"{number(many.p99 * 1000)} ms to pair at the 99th percentile (goal: {longest * 1000:.0f} or less).")


if __name__ == "__main__":
    main()
