"""Random trees between real processes, with options, conflicts and accidents: what arrives is what the docs say.

`python -m tests.campaigns.trees [--transfers N] [--seed S] [--only NUMBER]... [--at-once N] [--folder DIR]` runs N
transfers through real relays: trees with odd names, empty files, holes, links and sizes around every threshold, into
directories where something is already, with the options of both sides. Some of the processes are killed or stopped at
any moment and started again with the same command, and some relays are restarted. An oracle, written from
docs/transfers.md alone, says the exit codes and what must lie on the disk in the end. Five of nine transfers are
between processes (`python -m p2p_copy`); in the others both sides run here by the API, without accidents.

Each transfer is drawn from the seed and its number, so that `--seed S --only NUMBER` has one once more. Only the
moments of accidents depend on the machine. It fails if one transfer is not as it must be, and says what differed.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import trio

from tests.bench.data import MIB, workspace
from tests.bench.markdown import say
from tests.campaigns.trees_parties import relay
from tests.campaigns.trees_plan import RATES, plan
from tests.campaigns.trees_transfer import Outcome, run

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

AT_ONCE: Final = 4
"""Transfers at the same time: much of a transfer is waiting, on two processors, too."""

ROOM: Final = 200 * MIB
"""Bytes that one transfer may take: more than three files of two segments, at the sender and the receiver, are rare."""

ENOUGH: Final = 20
"""Transfers that failed, after which there is enough to look at."""

EVERY: Final = 100
"""Transfers after which one line says how it goes."""

STOPPED: Final = 130
"""Exit code after Ctrl-C."""


class Campaign:
    """All transfers."""

    def __init__(self, words: argparse.Namespace, folder: Path) -> None:
        self.counts: Counter[str] = Counter()
        self.failed: list[Outcome] = []
        self.stopped = False
        self._words = words
        self._folder = folder
        self._began = time.monotonic()
        self._numbers = iter(words.only or range(words.transfers))

    async def run(self) -> None:
        """Run all, or until a signal comes.

        With these handled here, programs that we start do not ignore them, whatever the shell that started us says.
        """
        async with trio.open_nursery() as nursery:
            with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:

                async def listen() -> None:
                    async for _ in signals:
                        self.stopped = True
                        nursery.cancel_scope.cancel()

                nursery.start_soon(listen)
                async with AsyncExitStack() as stack:
                    relays: dict[int | None, str] = {}
                    for rate in (None, *RATES):
                        options = () if rate is None else ("--rate", str(rate))
                        one = await stack.enter_async_context(relay(self._folder, f"relay {rate}", *options))
                        relays[rate] = one.url
                    async with trio.open_nursery() as workers:
                        for _ in range(self._words.at_once):
                            workers.start_soon(self._work, relays)
                nursery.cancel_scope.cancel()

    async def _work(self, relays: Mapping[int | None, str]) -> None:
        for number in self._numbers:
            folder = self._folder / f"{number}"
            folder.mkdir()
            try:
                self._note(await run(plan(self._words.seed, number), folder, relays))
            finally:
                await trio.to_thread.run_sync(shutil.rmtree, folder, abandon_on_cancel=False)
            if len(self.failed) >= ENOUGH:
                return

    def _note(self, outcome: Outcome) -> None:
        self.counts += outcome.counts
        if outcome.wrong:
            self.failed.append(outcome)
            say(told(outcome), to_people=True)
        if self.counts["transfers"] % EVERY == 0:
            minutes = (time.monotonic() - self._began) / 60
            say(f"{minutes:.1f} minutes: {summary(self.counts, len(self.failed))}", to_people=True)


def told(outcome: Outcome) -> str:
    """Return all that is known of a transfer that failed."""
    drawn = outcome.plan
    lines = [f"FAILED, seed {drawn.seed}, number {drawn.number}:", *(f"- {why}" for why in outcome.wrong)]
    lines += [f"asked: {drawn.case.asked}", f"links: {drawn.links}, preserve: {drawn.preserve}"]
    lines += [f"accident: {accident}" for accident in drawn.accidents]
    for name, tree in (("source", drawn.case.source), ("there", drawn.case.existing)):
        lines += [f"{name}: {path!r} {node}" for path, node in tree.items()]
    lines += [outcome.logs, f"--- once more: --seed {drawn.seed} --only {drawn.number}"]
    return "\n".join(lines)


def summary(counts: Counter[str], failed: int) -> str:
    """Return the counts in one line."""
    first = ("transfers", "by programs", "several links", "refusals", "resumes")
    rest = sorted(set(counts) - set(first))
    return ", ".join(f"{name}: {counts[name]}" for name in (*first, *rest)) + f", failed: {failed}"


@contextmanager
def _place(words: argparse.Namespace) -> Iterator[Path]:
    if words.folder is None:
        with workspace(words.at_once * ROOM) as folder:
            yield folder
        return
    with tempfile.TemporaryDirectory(prefix="p2p-copy-trees-", dir=words.folder) as name:
        yield Path(name)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--transfers", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--only", type=int, action="append", metavar="NUMBER", help="this transfer; may be repeated"
    )
    parser.add_argument("--at-once", type=int, default=AT_ONCE, help="transfers at the same time")
    parser.add_argument(
        "--folder", type=Path, help="where all of it lies; in memory if there is room, unless told"
    )
    words = parser.parse_args()
    began = time.monotonic()
    with _place(words) as folder:
        campaign = Campaign(words, folder)
        trio.run(campaign.run)
    say(f"Seed {words.seed}, {(time.monotonic() - began) / 60:.1f} minutes.")
    say(summary(campaign.counts, len(campaign.failed)))
    for outcome in campaign.failed:
        say(f"FAILED: number {outcome.plan.number}: {outcome.wrong[0]}")
    if campaign.failed:
        return 1
    return STOPPED if campaign.stopped else 0


if __name__ == "__main__":
    sys.exit(main())
