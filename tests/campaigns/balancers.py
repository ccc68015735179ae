"""Relays come and go behind nginx and HAProxy, which end TLS or pass it on: all sides meet, and nothing is lost.

`python -m tests.campaigns.balancers [--pairings N] [--balancer NAME]... [--scenario NAME]...` runs the files of
contrib/ with the real programs, and relays as processes; clients run in this process. A table has for each balancer
what became of the transfers, and the longest time for which data stood still. It fails if a transfer did not arrive
whole, or two sides did not meet. Four minutes for each balancer.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeAlias

import pytest
import trio

from tests.bench.data import GIB, KIB, MIB, random_file, workspace
from tests.bench.markdown import Machine, say, table
from tests.bench.runs import end_in_order
from tests.campaigns.balancers_arena import NOTICED, Arena, Transfer
from tests.contrib.balancers import KINDS, Certificates

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from tests.contrib.balancers import Kind

AT_ONCE: Final = 20
"""Pairings that are begun at the same time."""

RUNNING: Final = 10
"""Transfers that run while a relay is killed or added."""

RESTARTED: Final = 20
"""Transfers that run while all relays are restarted."""

WAITERS: Final = 6
"""Sides that wait already when their relay returns, or another is added."""

RATE: Final = int(1.5 * MIB)
"""Bytes per second of each transfer that is to run for a while; 20 of them leave both processors idle time."""

LINKED: Final = 4
"""Transfers over four links each: their 16 links are all at one of two relays in one of 30,000 tries."""

LINKS: Final = 4


@dataclass
class Outcome:
    """What became of one scenario behind one balancer.

    Attributes:
        transfers: all that were tried.
        facts: what is worth to be told besides.
        pause: the longest time for which data of a transfer stood still; None if none was to be disturbed.
        seconds: how long it took.

    """

    transfers: list[Transfer]
    facts: list[str] = field(default_factory=list)
    pause: float | None = None
    wrong: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def whole(self) -> int:
        return sum(not one.wrong for one in self.transfers)

    @property
    def failures(self) -> list[str]:
        return self.wrong + [f"transfer {one.number}: {one.wrong}" for one in self.transfers if one.wrong]


@dataclass(frozen=True)
class Sources:
    """What is sent: a small file, and one that takes a while at `RATE`."""

    small: Path
    large: Path
    pairings: int


Scenario: TypeAlias = "Callable[[Arena, Sources], Awaitable[Outcome]]"


async def meet(arena: Arena, sources: Sources) -> Outcome:
    """Many pairings, each side with another spelling of the host."""
    transfers = arena.transfers(sources.pairings, sources.small)
    await _few_at_once(transfers)
    shares = [await relay.pairings() for relay in arena.relays]
    return Outcome(transfers, [f"{' and '.join(map(str, shares))} at each relay"])


async def killed(arena: Arena, sources: Sources) -> Outcome:
    """One of two relays is killed, and stays away."""
    transfers = arena.transfers(RUNNING, sources.large, rate=RATE)
    async with trio.open_nursery() as nursery:
        _start(nursery, transfers)
        await _under_way(transfers)
        await arena.relays[0].kill()
    return _disturbed(transfers)


async def restarted(arena: Arena, sources: Sources) -> Outcome:
    """All relays are restarted, one after the other; none waits for its transfers to end."""
    transfers = arena.transfers(RESTARTED, sources.large, rate=RATE)
    async with trio.open_nursery() as nursery:
        _start(nursery, transfers)
        await _under_way(transfers)
        for relay in arena.relays:
            await relay.stop()
            await relay.start()
            await trio.sleep(NOTICED)
    return _disturbed(transfers)


async def added(arena: Arena, sources: Sources) -> Outcome:
    """A third relay comes, while some transfers run and others wait for their other side."""
    running = arena.transfers(RUNNING, sources.large, rate=RATE)
    waiting = arena.transfers(WAITERS, sources.small)
    later = arena.transfers(AT_ONCE, sources.small)
    async with trio.open_nursery() as nursery:
        _start(nursery, running)
        senders = await _waiters(nursery, waiting)
        await _under_way(running)
        await arena.another()
        arena.balancer.use([relay.port for relay in arena.relays])
        await trio.sleep(NOTICED)
        _start(nursery, later)
        senders.set()
    outcome = _disturbed(running)
    if any(one.receiver.lost_count for one in running):
        outcome.wrong.append("transfers were cut")
    outcome.transfers += [*waiting, *later]
    outcome.facts.append(f"{await arena.relays[-1].pairings()} at the new relay")
    return _slowest(outcome, waiting)


async def returned(arena: Arena, sources: Sources) -> Outcome:
    """Sides wait while one of two relays is away; it returns, and their other sides come."""
    await arena.relays[0].kill()
    await trio.sleep(NOTICED)
    transfers = arena.transfers(WAITERS, sources.small)
    async with trio.open_nursery() as nursery:
        senders = await _waiters(nursery, transfers)
        await arena.relays[0].start()
        await trio.sleep(NOTICED)
        senders.set()
    return _slowest(Outcome(transfers), transfers)


async def linked(arena: Arena, sources: Sources) -> Outcome:
    """Transfers over several links, each of which has a room of its own."""
    transfers = arena.transfers(LINKED, sources.large, links=LINKS)
    async with trio.open_nursery() as nursery:
        _start(nursery, transfers)
    shares = [await relay.pairings() for relay in arena.relays]
    outcome = Outcome(transfers, [f"{' and '.join(map(str, shares))} links at each relay"])
    if not all(shares):
        outcome.wrong.append("all links were at one relay")
    return outcome


SCENARIOS: Final[dict[str, Scenario]] = {
    "pairings": meet,
    "a relay is killed": killed,
    "rolling restart": restarted,
    "a relay is added": added,
    "a relay returns": returned,
    "several links": linked,
}


def _start(nursery: trio.Nursery, transfers: Sequence[Transfer]) -> None:
    for one in transfers:
        nursery.start_soon(one.run)


async def _few_at_once(transfers: Sequence[Transfer]) -> None:
    todo = iter(transfers)

    async def work() -> None:
        for one in todo:
            await one.run()

    async with trio.open_nursery() as nursery:
        for _ in range(AT_ONCE):
            nursery.start_soon(work)


async def _waiters(nursery: trio.Nursery, transfers: Sequence[Transfer]) -> trio.Event:
    """Start the receivers; return when all wait. When the event is set the senders come."""
    senders = trio.Event()
    for one in transfers:
        one.sends_after = senders
        nursery.start_soon(one.run)
    for one in transfers:
        await one.receiver.waits.wait()
    return senders


async def _under_way(transfers: Sequence[Transfer]) -> None:
    """Wait until all have moved something."""
    for one in transfers:
        await one.receiver.under_way.wait()


def _disturbed(transfers: list[Transfer]) -> Outcome:
    """Return the outcome of transfers to which something happened while they ran."""
    cut = sum(one.receiver.lost_count > 0 for one in transfers)
    return Outcome(transfers, [f"{cut} were cut and went on"], max(one.receiver.pause for one in transfers))


def _slowest(outcome: Outcome, transfers: Sequence[Transfer]) -> Outcome:
    """Add how long those had to wait whose other side was there already."""
    outcome.facts.append(
        f"the slowest waiter met its other side after {max(one.seconds for one in transfers):.0f} s"
    )
    return outcome


async def _run(
    kind: Kind, scenario: Scenario, sources: Sources, certificates: Certificates, folder: Path
) -> Outcome:
    arena = Arena(kind, certificates, folder)
    began = trio.current_time()
    async with arena.running(2):
        outcome = await scenario(arena, sources)
    outcome.seconds = trio.current_time() - began
    return outcome


def _row(kind: Kind, name: str, outcome: Outcome) -> list[str]:
    return [
        f"{kind}",
        name,
        f"{outcome.whole} of {len(outcome.transfers)}",
        "-" if outcome.pause is None else f"{outcome.pause:.1f}",
        "; ".join(outcome.facts) or "-",
        f"{outcome.seconds:.0f}",
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pairings", type=int, default=200)
    parser.add_argument("--balancer", action="append", choices=list(map(str, KINDS)), help="may be repeated")
    parser.add_argument("--scenario", action="append", choices=list(SCENARIOS), help="may be repeated")
    words = parser.parse_args()
    end_in_order()
    machine, began = Machine(), time.monotonic()
    kinds = [kind for kind in KINDS if words.balancer is None or str(kind) in words.balancer]
    names = words.scenario or list(SCENARIOS)
    rows, failures = [], []
    with workspace(1 * GIB) as folder:
        certificates = Certificates.issued(folder / "certificates")
        small, large = random_file(folder / "small", 1 * KIB), random_file(folder / "large", 24 * MIB)
        sources = Sources(small, large, words.pairings)
        for number, (kind, name) in enumerate((kind, name) for kind in kinds for name in names):
            place = folder / f"{number}"
            place.mkdir()
            try:
                outcome = trio.run(_run, kind, SCENARIOS[name], sources, certificates, place)
            except pytest.skip.Exception as why:
                say(f"{kind}: {why}", to_people=True)
                continue
            rows.append(_row(kind, name, outcome))
            say(" | ".join(rows[-1]), to_people=True)
            failures += [f"- FAILED: {kind}, {name}: {why}" for why in outcome.failures]
    say(table(("balancer", "what happens", "whole", "longest pause, s", "", "s"), rows))
    say("\n" + ("\n".join(failures) or "All is well."))
    say(f"\n{(time.monotonic() - began) / 60:.1f} minutes. {machine.about(('nginx', 'haproxy'))}")
    return 1 if failures or not rows else 0


if __name__ == "__main__":
    sys.exit(main())
