"""Measures what a waiting client and an active pairing cost a relay, and how long a new client waits to be paired.

`python -m tests.bench.waiting [--rival PROGRAM] [--waiters N] [--pairings N] [--newcomers N] [--looking]` measures the
relay of this checkout and, in the same run, that of p2p-copy 0.1.2, whose installed program is PROGRAM; both over TLS,
on this machine. It prints a table in Markdown; with `--looking` only the processor time that our relay needs for
waiting clients that dial again. Each figure of memory comes from a new relay after a warm-up: in a relay that clients
have just left, new ones would use the memory that those have freed and seem to cost nothing. For the same reason the
figures of a few clients say little: they fit into what the warm-up has freed.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from p2p_copy.load.figures import percentile
from p2p_copy.protocol.rendezvous import Role
from p2p_copy.relay.system_limits import raise_descriptor_limit
from tests.bench import crowd, proc
from tests.bench.guests import HOST, Guests, Place, leave
from tests.bench.markdown import say
from tests.bench.proc import Memory
from tests.support.certificates import Certificates
from tests.support.processes import environment

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

WARM_UP = 50
"""Pairings, one after another with a message each, that a relay has served before it is measured."""

MEMORY_SAMPLES = 10
"""Measurements of memory, a second apart; the median counts."""

START = 15.0
"""Seconds in which a relay must accept connections."""

LEAVING = 30
"""Seconds in which a process must end when it is stopped."""

MEETING = 30.0
"""Seconds for one new client; one that waits longer counts as not served."""

REDIALS_SECONDS = 60
"""Seconds for which clients that dial again are measured, after as many in which each may have done so once."""

REDIALS_GOAL = 0.2
"""Share of one processor that they may cost a relay."""

GOAL = 100.0
"""Milliseconds in which our relay must have paired a new client, at the 99th percentile."""


@dataclass(frozen=True, slots=True)
class Meeting:
    """Milliseconds until a new client was paired with one that waited: from its TCP connect, and from its hello."""

    from_connect: float
    from_hello: float


@dataclass(frozen=True, slots=True)
class Figures:
    """What was measured at one relay. Memory is in KiB, processor time a share of one processor."""

    start: Memory
    per_waiter: tuple[float, float]
    per_pairing: tuple[float, float]
    busy: float
    others: float
    meetings: list[Meeting]
    full: Memory


@contextmanager
def relay(
    command: Sequence[str], certificates: Certificates, *options: str, legacy: bool
) -> Iterator[tuple[int, Place]]:
    """Run a relay, and warm it up; yield its process and its place. Its log is discarded."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
    variables = environment(PYTHONWARNINGS="default")
    if legacy:
        variables.pop("PYTHONPATH", None)  # it may lead to this checkout
    process = subprocess.Popen(
        [*command, "run-relay-server", HOST, str(port), *certificates.options, *options],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=variables,
    )
    try:
        place = Place(port, certificates.authority, legacy)
        wait_until_open(process, port)
        trio.run(_warm_up, Guests(place))
        yield process.pid, place
        assert process.poll() is None, "the relay has ended"
    finally:
        process.send_signal(signal.SIGKILL)  # how it stops is not measured here
        process.wait(LEAVING)


def wait_until_open(process: subprocess.Popen[bytes], port: int) -> None:
    """Wait until a relay accepts connections at this port."""
    deadline = time.monotonic() + START
    while True:
        try:
            socket.create_connection((HOST, port), timeout=START).close()
        except OSError:
            assert process.poll() is None, "the relay does not start"
            assert time.monotonic() < deadline, "the relay does not listen"
            time.sleep(0.1)
        else:
            return


async def _warm_up(guests: Guests) -> None:
    for number in range(WARM_UP):
        await _meet(guests, f"warm-up {number}")


async def _meet(guests: Guests, name: str) -> Meeting:
    """Measure how a receiver joins a waiting sender; a message must pass, too."""
    with trio.fail_after(MEETING):
        sender = await guests.come(Role.SENDER, name)
        began = time.perf_counter()
        receiver = await guests.connect(name)
        connected = time.perf_counter()
        await guests.say_hello(receiver, Role.RECEIVER, name)
        async with trio.open_nursery() as both:
            both.start_soon(guests.hear_paired, sender, Role.SENDER)

            async def hear() -> None:
                await guests.hear_welcome(receiver)
                await guests.hear_paired(receiver, Role.RECEIVER)

            both.start_soon(hear)
        paired = time.perf_counter()
        await sender.send(b"a message")
        assert await receiver.message() == b"a message"
        leave(receiver)
        leave(sender)
    return Meeting((paired - began) * 1000, (paired - connected) * 1000)


@contextmanager
def crowded(place: Place, kind: str, count: int) -> Iterator[int]:
    """Connect a crowd to a relay, and disconnect it; yield its process. No client of it may lose its connection."""
    words = [str(place.port), place.ca_file, kind, str(count), *(["--legacy"] if place.legacy else [])]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.crowd", *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        said = process.stdout.readline().strip()  # or nothing, after `crowd.GATHERING` seconds at the latest
        assert said == crowd.THERE, f"not all {kind} were let in"
        yield process.pid
        process.stdin.close()
        assert process.wait(LEAVING) == 0, f"some {kind} lost their connection"
    finally:
        process.kill()
        process.wait(LEAVING)


def _memory(pid: int) -> Memory:
    """Return the median of several measurements of a process' memory."""
    looks = []
    for _ in range(MEMORY_SAMPLES):
        time.sleep(1)
        looks.append(proc.memory(pid))
    return Memory(*(int(statistics.median(values)) for values in zip(*looks, strict=True)))


def measure(
    command: Sequence[str],
    certificates: Certificates,
    *,
    legacy: bool,
    waiters: int,
    pairings: int,
    newcomers: int,
) -> Figures:
    """Measure one relay; see `Figures`."""

    def each(before: Memory, after: Memory, count: int) -> tuple[float, float]:
        return (after.resident - before.resident) / count, (after.private - before.private) / count

    with relay(command, certificates, legacy=legacy) as (pid, place):
        start = _memory(pid)
        with crowded(place, "waiters", waiters):
            per_waiter = each(start, _memory(pid), waiters)
    with relay(command, certificates, legacy=legacy) as (pid, place):
        empty = _memory(pid)
        with crowded(place, "pairings", pairings) as moving:
            used, since = proc.processor_seconds(pid), time.monotonic()
            per_pairing = each(empty, _memory(pid), pairings)
            busy = (proc.processor_seconds(pid) - used) / (time.monotonic() - since)
            with crowded(place, "waiters", waiters) as waiting:
                used, since = _used_by_others(pid, moving, waiting), time.monotonic()
                meetings = trio.run(meet_one_after_another, Guests(place), newcomers)
                others = (_used_by_others(pid, moving, waiting) - used) / (time.monotonic() - since)
                full = proc.memory(pid)
    return Figures(start, per_waiter, per_pairing, busy, others, meetings, full)


def measure_looking(certificates: Certificates, waiters: int) -> tuple[float, float]:
    """Return the share of one processor that our relay takes for clients that dial again, and for ones that do not."""
    with relay([sys.executable, "-m", "p2p_copy"], certificates, legacy=False) as (pid, place):

        def busy() -> float:
            used, since = proc.processor_seconds(pid), time.monotonic()
            time.sleep(REDIALS_SECONDS)
            return (proc.processor_seconds(pid) - used) / (time.monotonic() - since)

        with crowded(place, "waiters", waiters):
            without = busy()
        with crowded(place, "lookers", waiters):
            time.sleep(REDIALS_SECONDS)
            return busy(), without


def _used_by_others(*ours: int) -> float:
    """Return the processor time that all other programs have used up to now."""
    return proc.all_processor_seconds() - sum(map(proc.processor_seconds, (os.getpid(), *ours)))


async def meet_one_after_another(guests: Guests, count: int) -> list[Meeting]:
    return [await _meet(guests, f"newcomer {number}") for number in range(count)]


def rows(figures: Figures) -> dict[str, float]:
    """Return figures under their names, in the table's order."""
    named = {
        "memory after warm-up, KiB (Rss)": figures.start.resident,
        "memory per waiter, KiB (Rss)": figures.per_waiter[0],
        "memory per waiter, KiB (private)": figures.per_waiter[1],
        "memory per active pairing, KiB (Rss)": figures.per_pairing[0],
        "memory per active pairing, KiB (private)": figures.per_pairing[1],
        "memory with all of them, KiB (Rss)": figures.full.resident,
        "share of one processor for the pairings, %": figures.busy * 100,
    }
    named["share of one processor for other programs while new clients came, %"] = figures.others * 100
    for what, values in (
        ("TCP connect to paired", [each.from_connect for each in figures.meetings]),
        ("hello to paired", [each.from_hello for each in figures.meetings]),
    ):
        named[f"{what}, ms: median"] = statistics.median(values)
        named[f"{what}, ms: 99th percentile"] = percentile(values, 0.99)
        named[f"{what}, ms: slowest"] = max(values)
    return named


def table(ours: dict[str, float], rival: dict[str, float] | None) -> str:
    lines = ["| | this relay | 0.1.2 | this / 0.1.2 |", "| --- | ---: | ---: | ---: |"]
    for name, value in ours.items():
        other = rival and rival[name]
        compared = f"{other:.1f} | {value / other:.2f}" if other else "not measured |"
        lines.append(f"| {name} | {value:.1f} | {compared} |")
    return "\n".join(lines)


def _say_looking(waiters: int, busy: float, without: float) -> int:
    say(f"{waiters} clients that wait cost the relay {without * 100:.1f} % of a processor,")
    say(f"and {busy * 100:.1f} % if they dial again as often as it says.")
    good = busy < REDIALS_GOAL
    say("The goal is met." if good else f"FAILED: it should be less than {REDIALS_GOAL * 100:g} %")
    return 0 if good else 1


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rival", help="the program of an installed p2p-copy 0.1.2")
    parser.add_argument("--waiters", type=int, default=2000)
    parser.add_argument("--pairings", type=int, default=200)
    parser.add_argument("--newcomers", type=int, default=200)
    parser.add_argument("--looking", action="store_true", help="measure only what dialling again costs")
    words = parser.parse_args()
    counts = {"waiters": words.waiters, "pairings": words.pairings, "newcomers": words.newcomers}
    raise_descriptor_limit()
    with tempfile.TemporaryDirectory() as folder:
        certificates = Certificates(Path(folder))
        if words.looking:
            return _say_looking(words.waiters, *measure_looking(certificates, words.waiters))
        say("Measuring this relay.", to_people=True)
        ours = rows(measure([sys.executable, "-m", "p2p_copy"], certificates, legacy=False, **counts))
        rival = None
        if words.rival:
            say("Measuring the relay of 0.1.2.", to_people=True)
            rival = rows(measure([words.rival], certificates, legacy=True, **counts))
    python = ".".join(map(str, sys.version_info[:3]))
    say("# A relay with many clients\n")
    say(
        f"{words.waiters} clients wait and {words.pairings} pairings move {crowd.MESSAGE // 1024} KiB every "
        f"{crowd.INTERVAL:g} s or so each; {words.newcomers} more pairs come one after another. Their time is "
        f"from the second client's TCP connect, through TLS, until both are told. wss, Python {python}, "
        f"{os.cpu_count()} processors for relay and clients together.\n"
    )
    say(table(ours, rival))
    worse = [
        f"{name}: not less than that of 0.1.2"
        for name, value in ours.items()
        if rival and "memory per" in name and value >= rival[name]
    ]
    slowest = ours["TCP connect to paired, ms: 99th percentile"]
    if slowest >= GOAL:
        worse.append(f"a new client is paired in {slowest:.1f} ms at the 99th percentile, not in {GOAL:g}")
    say("\n" + ("\n".join(f"FAILED: {each}" for each in worse) or "All goals met."))
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
