"""Round after round, until there were enough accidents."""

from __future__ import annotations

import shutil
import signal
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

import trio

from p2p_copy.relay import limits
from tests.bench.data import MIB
from tests.bench.markdown import say
from tests.campaigns.chaos_data import make_large, make_tree, size_of
from tests.campaigns.chaos_network import Networks
from tests.campaigns.chaos_parties import Setting, help_of
from tests.campaigns.chaos_plan import LARGE, MOST, WORKS, plan
from tests.campaigns.chaos_round import Outcome, Round, deadline

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tests.campaigns.chaos_network import Loopback
    from tests.campaigns.chaos_plan import Plan

R = TypeVar("R", bound=Round)

ENOUGH = 5
"""Rounds that failed, after which there is enough to look at."""


@dataclass
class Campaign:
    """All rounds.

    Attributes:
        words: of the command line.
        place: where they are.
        folder: for what is copied.
        logs: a folder for each round; those of rounds that went well are removed.
        stopped: whether the user has interrupted it.

    """

    words: argparse.Namespace
    place: Networks | Loopback
    folder: Path
    logs: Path
    outcomes: list[Outcome] = field(default_factory=list)
    stopped: bool = False

    @property
    def accidents(self) -> int:
        return sum(len(outcome.happened) for outcome in self.outcomes)

    async def run(self) -> None:
        """Run all rounds, or until a signal comes."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self._listen, nursery.cancel_scope)
            await self._rounds()
            nursery.cancel_scope.cancel()

    async def _listen(
        self, scope: trio.CancelScope, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Stop at a signal.

        A shell may have started this program with these signals ignored, and its children would ignore them, too. A
        program that handles a signal does not pass that on.
        """
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
            task_status.started()
            async for _ in signals:
                self.stopped = True
                scope.cancel()

    async def _rounds(self) -> None:
        began = trio.current_time()
        seed = self.words.seed
        while True:
            missing = self.words.kills - self.accidents
            await self._round(self._plan(seed, missing))
            seed += 1
            done = len(self.outcomes)
            if sum(bool(outcome.wrong) for outcome in self.outcomes) >= ENOUGH:
                return
            if trio.current_time() - began > self.words.minutes * 60 or done >= self.words.rounds:
                return
            if self.accidents >= self.words.kills and (self.words.kills or done >= len(self._works)):
                return

    def _plan(self, seed: int, most: int) -> Plan:
        networked = isinstance(self.place, Networks)
        return plan(seed, only=self.words.only, network=networked, most=min(most, MOST))

    @property
    def _works(self) -> Sequence[str]:
        return [self.words.only] if self.words.only else WORKS

    async def _source(self, work: str) -> Path:
        """Return what is copied. It is made once."""
        path = self.folder / f"source {work}"
        if not path.exists():
            say(f"making {path.name}", to_people=True)
            make, count = (make_large, self.words.size) if work == LARGE else (make_tree, self.words.files)
            await trio.to_thread.run_sync(make, path, count)
        return path

    async def _round(self, plan: Plan) -> None:
        source = await self._source(plan.work)
        size = await trio.to_thread.run_sync(size_of, source)
        rate = max(round(size / (self.words.seconds * plan.pace)), limits.LEAST_RATE)
        await self.have(Round, Outcome(plan, size, size / rate), source, rate)

    async def have(
        self, kind: Callable[[Plan, Setting, Outcome], R], outcome: Outcome, source: Path, rate: int
    ) -> R:
        """Have one round, and return it."""
        plan, size = outcome.plan, outcome.data
        logs, folder = self.logs / f"seed {plan.seed}", self.folder / f"round {plan.seed}"
        setting = Setting(
            program=self.words.program,
            place=self.place,
            folder=folder,
            logs=logs,
            code=f"chaos{plan.seed}-a long passphrase",
            source=source,
            rate=rate,
            tls=plan.tls,
            patience=2 * deadline(plan, outcome.expected),
            links=self.words.links,
        )
        setting.prepare()
        say(f"seed {plan.seed}: {plan.work}, {size / MIB:,.0f} MiB, {rate / MIB:,.0f} MiB/s", to_people=True)
        made = kind(plan, setting, outcome)
        try:
            await made.run(help_of(self.words.program, "send"))
        finally:
            self.outcomes.append(outcome)
            shutil.rmtree(folder)
        self._tell(outcome, logs)
        return made

    def _tell(self, outcome: Outcome, logs: Path) -> None:
        for why in outcome.wrong:
            say(f"FAILED, seed {outcome.plan.seed}: {why}", to_people=True)
        if outcome.wrong:
            for who, said in outcome.last_words.items():
                say(f"--- last words of the {who}\n{said}", to_people=True)
            say(f"--- whole logs: {logs}\n--- once more: {self._again(outcome.plan)}", to_people=True)
        else:
            shutil.rmtree(logs)
        say(
            f"seed {outcome.plan.seed}: {len(outcome.happened)} accidents, {outcome.seconds:.1f} s instead of "
            f"{outcome.expected:.1f}, {outcome.overhead:+.1%} bytes",
            to_people=True,
        )

    def _again(self, plan: Plan) -> str:
        """Return the options that have a round once more."""
        words = self.words
        shape = f"--size {words.size} --files {words.files} --seconds {words.seconds:g}"
        links = "" if words.links is None else f" --links {words.links}"
        return f"--seed {plan.seed} --rounds 1 --only {plan.work} {shape}{links}"
