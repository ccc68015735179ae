"""Measures what a second worker process brings a relay.

`python -m tests.bench.workers [--workers N] [--rounds N] [--waiters N] [--newcomers N]` measures a relay of one process
and one with workers in turn, both over TLS on this machine: bytes per second of eight pairings at full speed, the
processor time that they cost, and how long a new client waits to be paired while many others wait. It prints a table
in Markdown: medians of all rounds, with the lowest and the highest value. Clients and relay share the processors.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from p2p_copy.load.figures import percentile
from p2p_copy.relay.system_limits import processors_allowed, raise_descriptor_limit
from tests.bench import proc
from tests.bench.guests import Guests, Place
from tests.bench.markdown import say
from tests.bench.waiting import LEAVING, crowded, meet_one_after_another, relay
from tests.support.certificates import Certificates

if TYPE_CHECKING:
    from collections.abc import Iterator

PAIRINGS = 8
"""Pairings at full speed at the same time."""

WARM_UP = 3.0
"""Seconds for which they move before they are measured."""

SECONDS = 8.0
"""Seconds for which they are measured."""

PROGRAM = [sys.executable, "-m", "p2p_copy"]


@contextmanager
def pumping(place: Place, role: str) -> Iterator[subprocess.Popen[str]]:
    """Connect one side of all pairings."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.pump", str(place.port), place.ca_file, role, str(PAIRINGS)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "there\n"
        yield process
        process.stdin.close()
        process.wait(LEAVING)
    finally:
        process.kill()
        process.wait(LEAVING)
        process.stdout.close()


def moved(process: subprocess.Popen[str]) -> int:
    """Return the bytes that one side has moved."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    return int(process.stdout.readline())


def used(pid: int) -> float:
    """Return the processor time of a relay and its workers."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return sum(map(proc.processor_seconds, [pid, *map(int, children)]))


def throughput(certificates: Certificates, *options: str) -> dict[str, float]:
    """Return how fast pairings are, and what they cost."""
    with relay(PROGRAM, certificates, *options, legacy=False) as (pid, place), ExitStack() as stack:
        receivers = stack.enter_context(pumping(place, "receiver"))
        stack.enter_context(pumping(place, "sender"))
        time.sleep(WARM_UP)
        before, cpu, all_cpu, began = (
            moved(receivers),
            used(pid),
            proc.all_processor_seconds(),
            time.monotonic(),
        )
        time.sleep(SECONDS)
        size, seconds = (moved(receivers) - before) / 1e6, time.monotonic() - began
        relays = used(pid) - cpu
        return {
            f"{PAIRINGS} pairings at full speed, MB/s": size / seconds,
            "processor time of the relay, s per GB": relays / size * 1000,
            "processors that the relay used": relays / seconds,
            "processors that all programs used": (proc.all_processor_seconds() - all_cpu) / seconds,
        }


def times_to_pair(
    certificates: Certificates, waiters: int, newcomers: int, *options: str
) -> dict[str, float]:
    """Return how long new clients wait to be paired, while many others wait."""
    with (
        relay(PROGRAM, certificates, *options, legacy=False) as (_, place),
        crowded(place, "waiters", waiters),
    ):
        meetings = trio.run(meet_one_after_another, Guests(place), newcomers)
    times = [meeting.from_connect for meeting in meetings]
    what = f"TCP connect to paired, {waiters} wait, ms"
    return {f"{what}: median": statistics.median(times), f"{what}: 99th percentile": percentile(times, 0.99)}


def shown(values: list[float]) -> str:
    middle = statistics.median(values)
    return f"{middle:.2f} ({min(values):.2f} to {max(values):.2f})" if len(values) > 1 else f"{middle:.2f}"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--waiters", type=int, default=2000)
    parser.add_argument("--newcomers", type=int, default=200)
    words = parser.parse_args()
    raise_descriptor_limit()
    kinds = {"one process": (), f"{words.workers} workers": ("--workers", str(words.workers))}
    found: dict[str, dict[str, list[float]]] = {kind: {} for kind in kinds}
    with tempfile.TemporaryDirectory() as folder:
        certificates = Certificates(Path(folder))
        for number in range(words.rounds):
            for kind, options in kinds.items():
                say(f"Round {number + 1}: {kind}.", to_people=True)
                figures = throughput(certificates, *options)
                figures |= times_to_pair(certificates, words.waiters, words.newcomers, *options)
                for name, value in figures.items():
                    found[kind].setdefault(name, []).append(value)
    say("# One process and several\n")
    say(
        f"wss, {processors_allowed()} processors for relay and clients together, {words.rounds} rounds in turn.\n"
    )
    one, several = kinds
    say(f"| | {one} | {several} | ratio |\n| --- | ---: | ---: | ---: |")
    for name, values in found[one].items():
        others = found[several][name]
        ratio = statistics.median(others) / statistics.median(values)
        say(f"| {name} | {shown(values)} | {shown(others)} | {ratio:.2f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
