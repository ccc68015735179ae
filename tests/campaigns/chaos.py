"""Transfers that meet accidents: programs that are killed, links that are down, a relay that moves.

`python -m tests.campaigns.chaos [--kills N] [--seed S] [--only large|tree] [--minutes M] [--rounds N] [--size BYTES]
[--files N] [--seconds S] [--program PROGRAM]` copies a large file and a tree of many small ones in turn, round after
round, between real processes in networks of their own, until N accidents have met them. Whoever is ended is started
again with the same command, and a round must come to its end with all that was promised: each byte, mode and time, no
leftovers, and little that was sent twice. It fails if one does not, names the seed, and keeps the logs.

Without root there are no networks: then no link goes down, the relay stays where it is, and it is the relay that
counts what crosses.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from p2p_copy import limits
from p2p_copy.cli.relay_limits import number_of_bytes
from tests.bench.data import GIB, KIB, MIB, workspace
from tests.bench.markdown import Machine, median, number, say, table
from tests.bench.runs import end_in_order
from tests.campaigns.chaos_data import MEDIUM, MEDIUM_ONE_OF, SMALL, make_large, make_tree, size_of
from tests.campaigns.chaos_network import Loopback, Networks, NoNetworks, networks
from tests.campaigns.chaos_parties import Setting, help_of
from tests.campaigns.chaos_plan import KINDS, LARGE, MOST, TREE, WITH_NETWORK, WORKS, plan
from tests.campaigns.chaos_round import Outcome, Round, deadline

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.campaigns.chaos_plan import Kind, Plan

STOPPED = 130
"""Exit code after Ctrl-C."""

BLOCK = 8 * KIB
"""Bytes that one more file takes in memory besides its contents: a page that is not full, and its name."""


ENOUGH = 5
"""Rounds that failed, after which there is enough to look at."""

EXPLAINED = """\
Bytes are those that the sender's machine sent beyond the data. Seconds lost are those beyond what the data takes at the
relay's rate; in part they are the accidents themselves, which last as long as they last."""


@dataclass
class Campaign:
    """All rounds.

    Attributes:
        words: of the command line.
        place: where they are.
        folder: for what is copied.
        logs: a folder for each round; those of rounds that went well are removed.
        stopped: whether somebody did not want to wait for the end.

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

        With these handled here, programs that we start do not ignore them, whatever the shell that started us says.
        """
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
            task_status.started()
            async for _ in signals:
                self.stopped = True
                scope.cancel()

    async def _rounds(self) -> None:
        began = trio.current_time()
        offered = help_of(self.words.program, "send")
        seed = self.words.seed
        while True:
            missing = self.words.kills - self.accidents
            await self._round(self._plan(seed, missing), offered)
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

    async def _round(self, plan: Plan, offered: str) -> None:
        source = await self._source(plan.work)
        size = await trio.to_thread.run_sync(size_of, source)
        rate = max(round(size / (self.words.seconds * plan.pace)), limits.LEAST_RATE)
        outcome = Outcome(plan, size, size / rate)
        logs, folder = self.logs / f"seed {plan.seed}", self.folder / f"round {plan.seed}"
        setting = Setting(
            program=self.words.program,
            place=self.place,
            folder=folder,
            logs=logs,
            code=f"chaos{plan.seed}-a long passphrase",
            source=source,
            out=folder / "out",
            rate=rate,
            tls=plan.tls,
            patience=2 * deadline(plan, outcome.expected),
        )
        for made in (logs, setting.out):
            made.mkdir(parents=True)
        setting.issue()
        say(f"seed {plan.seed}: {plan.work}, {size / MIB:,.0f} MiB, {rate / MIB:,.0f} MiB/s", to_people=True)
        try:
            await Round(plan, setting, outcome).run(offered)
        finally:
            self.outcomes.append(outcome)
            shutil.rmtree(folder)
        self._tell(outcome, logs)

    def _tell(self, outcome: Outcome, logs: Path) -> None:
        for why in outcome.wrong:
            say(f"FAILED, seed {outcome.plan.seed}: {why}", to_people=True)
        if outcome.wrong:
            for who, said in outcome.last_words.items():
                say(f"--- last words of the {who}\n{said}", to_people=True)
            words = self.words
            shape = f"--size {words.size} --files {words.files} --seconds {words.seconds:g}"
            again = f"--seed {outcome.plan.seed} --rounds 1 --only {outcome.plan.work} {shape}"
            say(f"--- whole logs: {logs}\n--- once more: {again}", to_people=True)
        else:
            shutil.rmtree(logs)
        say(
            f"seed {outcome.plan.seed}: {len(outcome.happened)} accidents, {outcome.seconds:.1f} s instead of "
            f"{outcome.expected:.1f}, {outcome.overhead:+.1%} bytes",
            to_people=True,
        )


def report(campaign: Campaign) -> str:
    """Return the report, in Markdown."""
    done = [outcome for outcome in campaign.outcomes if outcome.seconds]
    verdict = [
        f"- FAILED, seed {outcome.plan.seed} ({outcome.plan.work}): {why}"
        for outcome in done
        for why in outcome.wrong
    ]
    if campaign.stopped:
        verdict.append("- Stopped before the end.")
    if not verdict:
        verdict.append("All is well.")
    elif any(outcome.wrong for outcome in done):
        verdict.append(f"\nThe logs of rounds that failed are in {campaign.logs}.")
    good = [outcome for outcome in done if not outcome.wrong]
    return "\n\n".join(
        [
            f"# Chaos: {campaign.accidents} accidents, from seed {campaign.words.seed}",
            "\n".join(verdict),
            "## Rounds that went well",
            _rounds(good),
            EXPLAINED,
            "## Their accidents",
            _accidents(good),
            f"{sum(outcome.too_late for outcome in done)} came too late to meet anybody.",
        ]
    )


def _rounds(outcomes: Sequence[Outcome]) -> str:
    rows = []
    for work in WORKS:
        if some := [outcome for outcome in outcomes if outcome.plan.work == work]:
            overheads = [outcome.overhead for outcome in some]
            lost = [outcome.lost for outcome in some]
            hits = sum(len(outcome.happened) for outcome in some)
            rows.append(
                [
                    f"{work}, {some[0].data / MIB:,.0f} MiB",
                    f"{len(some)}",
                    f"{hits}",
                    f"{statistics.median(overheads):+.1%}",
                    f"{max(overheads):+.1%}",
                    median([outcome.seconds for outcome in some]),
                    median(lost),
                    number(sum(lost) / hits) if hits else "-",
                ]
            )
    if not rows:
        return "None."
    heads = (
        "work",
        "rounds",
        "accidents",
        "bytes",
        "worst",
        "s",
        "s lost",
        "s lost for each accident",
    )
    return table(heads, rows)


def _accidents(outcomes: Sequence[Outcome]) -> str:
    found: dict[Kind, list[float]] = defaultdict(list)
    for outcome in outcomes:
        for each in outcome.happened:
            found[each.kind].append(each.recovery)
    rows = [[f"{kind}", f"{len(found[kind])}", median(found[kind]) if found[kind] else "-"] for kind in KINDS]
    return table(("accident", "count", "s until bytes arrived again"), rows)


def room(words: argparse.Namespace) -> int:
    """Return the bytes that the sources and one copy take."""
    small = words.files * (SMALL // 2 + BLOCK) + words.files // MEDIUM_ONE_OF * sum(MEDIUM) // 2
    sizes: dict[str, int] = {LARGE: words.size, TREE: small}
    wanted = [sizes[work] for work in ([words.only] if words.only else WORKS)]
    return sum(wanted) + max(wanted)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    ours = Path(sys.executable).with_name("p2p-copy")
    parser.add_argument(
        "--kills", type=int, default=200, help="accidents in all; 0 is one round of each work"
    )
    parser.add_argument("--seed", type=int, default=1, help="of the first round")
    parser.add_argument("--only", choices=WORKS)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="after which no round begins")
    parser.add_argument("--rounds", type=int, default=10**6, help="at most")
    parser.add_argument("--size", type=number_of_bytes, default=5 * GIB, help="of the large file, like 500M")
    parser.add_argument("--files", type=int, default=50_000, help="in the tree")
    parser.add_argument(
        "--seconds", type=float, default=30, help="of a round without accidents, some more or less"
    )
    parser.add_argument("--program", default=str(ours), help="p2p-copy")
    return parser.parse_args()


def main() -> int:
    words, machine = arguments(), Machine()
    end_in_order()
    began = time.monotonic()
    logs = Path(tempfile.mkdtemp(prefix="p2p-copy-chaos-"))
    with ExitStack() as stack:
        place: Networks | Loopback
        try:
            place = stack.enter_context(networks())
        except NoNetworks as why:
            place = Loopback()
            left_out = ", ".join(f"{kind}" for kind in KINDS if kind.action in WITH_NETWORK)
            say(f"No networks of our own: {why}. Left out: {left_out}.", to_people=True)
        folder = stack.enter_context(workspace(room(words)))
        campaign = Campaign(words, place, folder, logs)
        trio.run(campaign.run)
    say(report(campaign))
    say(f"\n{(time.monotonic() - began) / 60:.1f} minutes. {machine.about()}")
    if any(outcome.wrong for outcome in campaign.outcomes):
        return 1
    shutil.rmtree(logs)
    return STOPPED if campaign.stopped else 0


if __name__ == "__main__":
    sys.exit(main())
