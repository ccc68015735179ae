"""How transfers go on, measured: how soon a large file does, and in how much memory a tree of a million files.

Both sides are killed in the middle (-9) and started again with the same commands, over this machine's loopback. All
that is expected of a round of the campaign is expected here as well.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import trio

from tests.bench.data import GIB, KIB, MIB
from tests.bench.markdown import mib, number, say, table
from tests.campaigns.chaos_campaign import Campaign
from tests.campaigns.chaos_data import LONG_NAME, PREFIX, make_long_paths, make_sparse
from tests.campaigns.chaos_plan import LARGE, TREE, Accident, Action, Kind, Who, plan
from tests.campaigns.chaos_round import CHECK_INTERVAL, CLIENTS, REACHED, Happened, Outcome, Round

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from tests.campaigns.chaos_parties import Setting
    from tests.campaigns.chaos_plan import Plan

SHARES = (0.90, 0.91, 0.92, 0.93, 0.94)
"""Of a large file that are there when both sides are killed."""

SOONER = 2.0
"""Seconds after both have come to the relay within which the first new byte must be there."""

TICK = 0.002
"""Seconds between two looks at it."""

HALF = 0.5

GROWTH = 32 * KIB
"""KiB that ten times as many files may take more, in each process."""

ENTRY = 3 * KIB
"""Bytes that a file with a long path takes in memory: its name, and what the system remembers of it."""

SPARSE_RATE = 25 * MIB
"""Bytes per second at which a sparse file comes: holes are not sent, and it must be met half way."""

UNLIMITED = 2**40
"""Bytes per second that no relay passes on."""

SLOW = 40 * MIB, 2_000
"""Bytes and files per second on a busy machine. The rest is patience."""


class Return(NamedTuple):
    """How long it took until the first new byte: from the start of both, and from their arrival at the relay."""

    at: float
    since_start: float
    since_there: float


class LargeFile(Round):
    """A large file that is nearly there when both sides are killed, several times."""

    def __init__(self, plan: Plan, setting: Setting, outcome: Outcome) -> None:
        super().__init__(plan, setting, outcome)
        self.returns: list[Return] = []

    async def _happen(self) -> None:
        await self._until_reached()
        for accident in self._plan.accidents:
            part = await self._part(accident.at * self.outcome.data)
            arrivals = self._arrivals
            if part is None or not await self._do(accident):
                self._fail(f"it was complete before both sides could be killed at {accident.at:.0%}")
                return
            back = await self._until_it_grows(part, arrivals, accident.at)
            self._say(
                f"killed at {back.at:.0%}: first new byte {back.since_there:.2f} s after both were there, "
                f"{back.since_start:.2f} s after the start of both",
                to_people=True,
            )
            self.returns.append(back)
            self.outcome.happened.append(Happened(accident.kind, back.since_start))

    @property
    def _arrivals(self) -> int:
        """How often both sides have come to the relay."""
        return min(self._parties[who].said.count(REACHED) for who in CLIENTS)

    async def _part(self, size: float) -> Path | None:
        """Wait until a part has `size` bytes, and return it; None if all is there before."""
        while not self._over:
            for path in self._setting.out.glob(f"{PREFIX}*"):
                if _size(path) >= size:
                    return path
            await trio.sleep(CHECK_INTERVAL)
        return None

    async def _until_it_grows(self, part: Path, arrivals: int, at: float) -> Return:
        """Wait for the first new byte. What is not certain is cut off first, so it is new behind the least size."""
        started, there = trio.current_time(), None
        least = _size(part)
        while (size := _size(part)) <= least:
            least = size
            if there is None and self._arrivals > arrivals:
                there = trio.current_time()
            await trio.sleep(TICK)
        now = trio.current_time()
        return Return(at, now - started, now - (there or now))

    async def _judge(self) -> None:
        await super()._judge()
        if (longest := max(each.since_there for each in self.returns)) > SOONER:
            self._fail(
                f"the first new byte came {longest:.2f} s after both were there, {SOONER:g} s are allowed"
            )


def _size(part: Path) -> int:
    """Return the size of a part; of one that is gone, 0: nothing of it is new before it is there again."""
    try:
        return part.stat().st_size
    except FileNotFoundError:
        return 0


class ManyFiles(Round):
    """Many files with long paths; both sides are killed half way. `smaller` has the peaks of a smaller tree."""

    def __init__(
        self, plan: Plan, setting: Setting, outcome: Outcome, *, smaller: Mapping[Who, int] | None
    ) -> None:
        super().__init__(plan, setting, outcome)
        self._smaller = smaller

    @property
    def peaks(self) -> dict[Who, int]:
        """The most memory of each party, in KiB."""
        return {who: party.peak for who, party in self._parties.items()}

    async def _happen(self) -> None:
        source, copy = self._setting.source, self._setting.out / self._setting.source.name
        accidents = list(self._plan.accidents)
        folders = len(os.listdir(source))
        while True:
            if accidents and copy.exists() and len(os.listdir(copy)) >= accidents[0].at * folders:
                accident = accidents.pop()
                self._say(f"{accident}", to_people=True)
                if not await self._do(accident):
                    self._fail("all was there before both sides could be killed")
                self.outcome.happened.append(Happened(accident.kind, 0.0))
            for party in self._parties.values():
                party.look_at_memory()
            await trio.sleep(CHECK_INTERVAL)

    async def _judge(self) -> None:
        await super()._judge()
        for who, before in (self._smaller or {}).items():
            if (more := self.peaks[who] - before) > GROWTH:
                self._fail(f"the {who} took {mib(more):.0f} MiB more than with a tenth of the files")


@dataclass
class Proofs(Campaign):
    """What was asked for: a round with a large file, two with many files.

    Attributes:
        tables: the results, in Markdown.

    """

    tables: list[str] = field(default_factory=list)

    async def _rounds(self) -> None:
        if self.words.resume:
            await self._resume(self.words.resume)
        if self.words.many:
            await self._many([self.words.many // 10, self.words.many])

    async def _resume(self, size: int) -> None:
        source = self.folder / "large"
        await trio.to_thread.run_sync(make_sparse, source, size)
        outcome = Outcome(_kills(self.words.seed, LARGE, SHARES), size, size / SLOW[0])
        made = await self.have(LargeFile, outcome, source, SPARSE_RATE)
        rows = [
            [f"{each.at:.0%}", number(each.since_there), number(each.since_start)] for each in made.returns
        ]
        heads = ("killed at", "s from both being there to the first new byte", "s from the start of both")
        self.tables.append(f"## A file of {size / GIB:,.1f} GiB\n\n{table(heads, rows)}")

    async def _many(self, counts: Sequence[int]) -> None:
        rows = []
        smaller: dict[Who, int] | None = None
        for seed, count in enumerate(counts, self.words.seed + 1):
            source = self.folder / f"{count} files"
            say(f"making {source.name}", to_people=True)
            await trio.to_thread.run_sync(make_long_paths, source, count)
            outcome = Outcome(_kills(seed, TREE, [HALF]), count * len(LONG_NAME), count / SLOW[1])
            made = await self.have(partial(ManyFiles, smaller=smaller), outcome, source, UNLIMITED)
            await trio.to_thread.run_sync(shutil.rmtree, source)
            smaller = made.peaks
            rows.append([f"{count:,}", *(f"{mib(smaller[who]):.0f}" for who in Who), number(outcome.seconds)])
        heads = ("files", *(f"{who}, MiB" for who in Who), "s")
        self.tables.append(f"## Most memory, killed half way\n\n{table(heads, rows)}")

    def _again(self, plan: Plan) -> str:
        return "as it was"


def _kills(seed: int, work: str, shares: Sequence[float]) -> Plan:
    """Return a round in which sender and receiver are killed together, and started again at once."""
    kind = Kind(Action.BOTH_KILLED, None)
    accidents = tuple(Accident(kind, share, delay=0.0, pause=0.0) for share in shares)
    return replace(plan(seed, only=work, network=False), accidents=accidents)


def report(proofs: Proofs) -> str:
    """Return the report, in Markdown."""
    wrong = [why for outcome in proofs.outcomes for why in outcome.wrong]
    verdict = "\n".join(f"- FAILED: {why}" for why in wrong) if wrong else "All is well."
    return "\n\n".join(["# How transfers go on", verdict, *proofs.tables])


def room(words: argparse.Namespace) -> int:
    """Return the bytes that a copy takes, or a tree and its copy."""
    return max(words.resume or 0, 2 * ENTRY * (words.many or 0))
