"""Relays left alone with all kinds of visitors, for as long as you like: nothing may grow, and the log stays short.

`python -m tests.campaigns.soak [--minutes N] [--seed N]` runs a relay process for that time under random joins,
leaves, kills, scans, transfers, renewals and attacks, and another one without TLS for the attacks that need that. It
prints a report in Markdown. It fails if, with all visitors gone, a
relay holds more than it did after the warm-up; if its memory grows; if a visit did not go as promised; if the log
tells a secret or of a bug, or is long.
"""

from __future__ import annotations

import argparse
import math
import os
import re
import resource
import statistics
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import trio

from p2p_copy.relay.log.abuse import Abuse
from tests.bench import proc
from tests.campaigns.daemon import Daemon, Sample, running
from tests.campaigns.hostile import ATTACK
from tests.campaigns.visitors import CANARY, Visitors

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

WARM_UP = 0.1
"""Share of the time after which the relay's first measure is taken: caches are full then, and all code was run."""

PAUSE = 0.8
"""Seconds between two visits on average: relay and visitors together take some 20 % of one processor."""

AT_ONCE = 60
"""Visits at the same time; further ones are left out."""

LONGEST = 90.0
"""Seconds after which a visit hangs; the longest ones take half a minute."""

PARTING = 10.0
"""Seconds in which visitors may come to their end by themselves, before all that are left vanish at once."""

BACK_WITHIN = 15.0
"""Seconds after the last visitor in which nothing is left of any of them."""

INTERVAL = 30.0
"""Seconds between two samples."""

LEAST_SAMPLES = 12
"""Samples after the warm-up of a short run, too: four in each third."""

ROWS = 12
"""Samples shown in the report, one in five minutes of an hour."""

GROWTH = 8 * 1024
"""KiB by which the last third's memory may exceed the first third's: what the C library happens to keep."""

EXCERPT = 12
"""Lines shown of the log's beginning, and of its end."""

SPARE_LINES = 20
"""Lines an hour besides one for each pairing and attack, two for each renewal, and two a minute for each kind of abuse;
as many for a shorter time."""


class Held(NamedTuple):
    """What a relay with no visitors holds."""

    descriptors: int
    tasks: int
    rooms: int
    connections: int


def held(sample: Sample) -> Held:
    return Held(sample.descriptors, sample.tasks, sample.rooms, sample.connections)


class Watch:
    """What is seen of one relay."""

    def __init__(self, name: str, daemon: Daemon) -> None:
        self.name = name
        self.daemon = daemon
        self.samples: list[Sample] = []
        self.before: Sample
        self.after: Sample
        self.peak = 0

    async def look(self) -> Sample:
        return await trio.to_thread.run_sync(self.daemon.look)

    async def take_samples(self, interval: float) -> None:
        """Take samples until cancelled."""
        while True:
            self.samples.append(await self.look())
            await trio.sleep(interval)

    async def quiet(self, expected: Held | None) -> Sample:
        """Return what the relay holds when all have left, at the latest after `BACK_WITHIN` seconds."""
        deadline = trio.current_time() + BACK_WITHIN
        sample = await self.look()
        while trio.current_time() < deadline and (expected is None or held(sample) != expected):
            await trio.sleep(1)
            sample = await self.look()
        return sample

    def judge(self) -> Iterator[str]:
        """Yield what is wrong with what it held and took."""
        before, after = held(self.before), held(self.after)
        if before != after:
            yield f"{self.name}: not all is back: {before} before, {after} after"
        if self.growth > GROWTH:
            yield f"{self.name}: memory has grown by {self.growth} KiB, more than {GROWTH}"

    @property
    def growth(self) -> int:
        """KiB by which the last third of the samples is above the first third, both by their medians."""
        third = len(self.samples) // 3
        first, last = (
            statistics.median(sample.memory for sample in part)
            for part in (self.samples[:third], self.samples[-third:])
        )
        return round(last - first)


class Soak:
    """One run: what was seen, and what was wrong."""

    def __init__(self, watches: Sequence[Watch], visitors: Visitors) -> None:
        self.wrong: list[str] = []
        self.most_at_once = 0
        self._watches = watches
        self._visitors = visitors

    async def receive_visitors(self, seconds: float) -> None:
        """Let visitors come for so long; then all leave."""
        chance = self._visitors.chance
        async with trio.open_nursery() as nursery:
            with trio.move_on_after(seconds):
                while True:
                    await trio.sleep(chance.expovariate(1 / PAUSE))
                    visits = len(nursery.child_tasks)
                    self.most_at_once = max(self.most_at_once, visits)
                    if visits < AT_ONCE:
                        nursery.start_soon(self.visit, self._visitors.any_kind())
            nursery.cancel_scope.deadline = trio.current_time() + PARTING

    async def visit(self, visit: Callable[[], Awaitable[None]]) -> None:
        try:
            with trio.fail_after(LONGEST):
                await visit()
        except Exception as error:
            while isinstance(error, ExceptionGroup):
                error = error.exceptions[0]
            name = getattr(visit, "__name__", "a visit")
            self.wrong.append(f"{name}: {type(error).__name__}: {str(error)[:500]}")

    async def run(self, seconds: float) -> None:
        """Run. The watches look at their relays with no visitors, after the warm-up and at the end."""
        for visit in self._visitors.kinds:  # once each: a short warm-up may miss the rare ones
            await self.visit(visit)
        await self.receive_visitors(WARM_UP * seconds)
        for watch in self._watches:
            watch.before = await watch.quiet(None)
        async with trio.open_nursery() as nursery:
            rest = (1 - WARM_UP) * seconds
            for watch in self._watches:
                nursery.start_soon(watch.take_samples, min(INTERVAL, rest / LEAST_SAMPLES))
            await self.receive_visitors(rest)
            nursery.cancel_scope.cancel()
        for watch in self._watches:
            watch.after = await watch.quiet(held(watch.before))
            self.wrong += watch.judge()


def judge_log(log: str, errors: str, *, allowed: int) -> list[str]:
    """Return what is wrong with a log."""
    wrong = []
    for name, pattern in (
        ("a traceback", "Traceback"),
        ("a bug", "a bug ended"),
        ("a code or file name", CANARY),
        ("a room", r"[0-9a-f]{32}"),
    ):
        if re.search(pattern, log + errors):
            wrong.append(f"the log tells {name}")
    if errors:
        wrong.append(f"the relay wrote to standard error: {errors[:500]}")
    lines = len(log.splitlines())
    if lines > allowed:
        wrong.append(f"the log has {lines} lines, more than {allowed}")
    return wrong


def kind_of(line: str) -> str:
    """Return a line of the log without its time, and with signs for its numbers."""
    text = re.sub(r"^\d{4}-\d\d-\d\d \S+ ", "", line)
    return re.sub(r"\d+(\.\d+)*( [kMGT]?B\b)?", "#", text)


def table(head: tuple[str, ...], rows: Sequence[tuple[object, ...]]) -> str:
    lines = [head, ("---",) + ("---:",) * (len(head) - 1), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


HEAD = ("s", "memory KiB", "descriptors", "tasks", "rooms", "connections", "waiting", "pairings", "served")


def row(sample: Sample) -> tuple[object, ...]:
    return sample.second, sample.memory, *sample[3:]


def report_visits(soak: Soak, visitors: Visitors) -> str:
    """Return who came, in Markdown."""
    counts = table(("visit", "count"), sorted(visitors.counts.items()))
    return f"## Visits\n\n{counts}\n\nAt most {soak.most_at_once} visits at once."


def report_relay(watch: Watch) -> str:
    """Return what was seen of one relay, in Markdown."""
    log, before, after = watch.daemon.log, watch.before, watch.after
    lines = log.splitlines()
    step = math.ceil(len(watch.samples) / ROWS)
    busy = (after.processor - before.processor) / (after.second - before.second)
    excerpt = [*lines[:EXCERPT], "...", *lines[-EXCERPT:]] if len(lines) > 2 * EXCERPT else lines
    return "\n\n".join(
        [
            f"## The relay {watch.name}",
            f"It took {busy:.0%} of one processor, and {watch.peak} KiB of memory at most.",
            table(HEAD, [row(sample) for sample in watch.samples[::step]]),
            f"Median of the last third against the first: {watch.growth:+d} KiB.",
            "With no visitors, after the warm-up and at the end:",
            table(HEAD, [row(before), row(after)]),
            f"The log: {len(lines)} lines, {len(log.encode())} bytes, to the end of the relay.",
            table(("line", "count"), Counter(map(kind_of, lines)).most_common()),
            "```text\n" + "\n".join(excerpt) + "\n```",
        ]
    )


def processor_seconds() -> float:
    """Return the processor time of this process and of the clients that it waited for."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in used)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    words = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folders = [Path(name, kind) for kind in ("tls", "plain")]
        for folder in folders:
            folder.mkdir()
        secure, plain = (stack.enter_context(running(folder, tls=folder.name == "tls")) for folder in folders)
        watches = [Watch("with TLS", secure), Watch("without TLS", plain)]
        visitors = Visitors(secure, plain, Path(name), words.seed)
        soak = Soak(watches, visitors)
        trio.run(soak.run, words.minutes * 60)
        for watch in watches:
            watch.peak = proc.peak(watch.daemon.process.pid)
        stack.close()  # their last lines count
        attacks = sum(count for name, count in visitors.counts.items() if name.startswith(ATTACK))
        spare = attacks + math.ceil(SPARE_LINES * max(1, words.minutes / 60))
        spare += 2 * len(Abuse) * math.ceil(words.minutes + 1)  # a first line and a sum
        for watch, renewals in zip(watches, (visitors.counts["certificate renewed"], 0), strict=True):
            allowed = watch.after.served + 2 * renewals + spare
            wrong = judge_log(watch.daemon.log, watch.daemon.errors, allowed=allowed)
            soak.wrong += [f"{watch.name}: {each}" for each in wrong]
        used = processor_seconds() / (time.monotonic() - began)
        text = "\n\n".join([report_visits(soak, visitors), *map(report_relay, watches)])
    verdict = "\n".join(f"- FAILED: {each}" for each in soak.wrong) or "All is well."
    sys.stdout.write(
        f"# Soak of {words.minutes:g} minutes, seed {words.seed}\n\n{verdict}\n\n"
        f"Relays and visitors together took {used:.0%} of one processor, of {os.cpu_count()}.\n\n{text}\n"
    )
    return 1 if soak.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
